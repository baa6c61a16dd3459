-- What admins create. Times are milliseconds since 1970 in UTC; keys are the 16 bytes behind an identifier.

create table tenant (
    id text collate "C" not null primary key,  -- What is it called in URLs?
    name text collate "C" not null,            -- What do people call it?
    time_zone text not null,                   -- Which local time do its schedules and business hours follow?
    settings text not null,                    -- What did its admin set freely (a JSON object)?
    lockdown boolean not null,                 -- Are its commands, polls and endpoint deliveries held?
    lockdown_since bigint,                     -- Since when?
    command_handlers text not null,            -- Which plugin handles a command when two could (JSON: type to plugin)?
    data_key bytea not null,                   -- Which wrapped key seals its secrets?
    created_at bigint not null                 -- When was it made?
);

-- Rows of a removed tenant that are still being deleted in small steps; its name is free again when it is gone.
create table tenant_removal (
    tenant text collate "C" not null primary key -- Whose rows are going?
);

create table plugin_version (
    name text collate "C" not null,            -- Which plugin?
    version text collate "C" not null,         -- Which semantic version of it?
    sha256 bytea not null check (length(sha256) = 32), -- Are offered bytes the published ones?
    manifest text not null,                    -- What does it say of itself (JSON)?
    size bigint not null,                      -- How many bytes is the component?
    created_at bigint not null,                -- When was it published?
    primary key (name, version)
);

-- The bytes stand apart, so that listing versions does not read them.
create table plugin_wasm (
    name text collate "C" not null,            -- Which plugin?
    version text collate "C" not null,         -- Which version?
    wasm bytea not null,                       -- What is compiled and run?
    primary key (name, version),
    foreign key (name, version) references plugin_version (name, version) on delete cascade
);

create table installation (
    tenant text collate "C" not null references tenant (id) on delete cascade, -- Whose is it?
    plugin text collate "C" not null,          -- Which plugin is switched on?
    mode text collate "C" not null check (mode in ('live', 'off')), -- Do events and requests go to it?
    version text collate "C",                  -- Which version is pinned (null: the newest)?
    config text not null,                      -- How is it configured (a JSON object)?
    connections text not null,                 -- Which connection fills which slot (JSON: slot to con_..)?
    grants text not null,                      -- What has the admin granted (a JSON array)?
    retry_schedule text,                       -- Which delays replace the plugin table (a JSON array of seconds)?
    state text collate "C" not null check (state in ('installing', 'ready', 'failed', 'removing')), -- Where does it stand?
    state_reason text,                         -- Why did it fail?
    blocked_reason text,                       -- Which class of failure waits for a person?
    blocked_code text,                         -- Which failure?
    blocked_message text,                      -- What should the person read?
    blocked_since bigint,                      -- Since when?
    broken_version text,                       -- Which version traps again and again here?
    broken_since bigint,                       -- Since when?
    updated_at bigint not null,                -- When did an admin last change it?
    primary key (tenant, plugin)
);

create table source (
    id text collate "C" not null primary key,  -- Which public URL is it (src_..)?
    tenant text collate "C" not null,          -- Whose requests come here?
    plugin text collate "C" not null,          -- Whose receive takes them?
    name text collate "C" not null,            -- Which of the installation's sources is it?
    unique (tenant, plugin, name),
    foreign key (tenant, plugin) references installation (tenant, plugin) on delete cascade
);

create table schedule (
    tenant text collate "C" not null,          -- Whose is it?
    plugin text collate "C" not null,          -- Whose poll or tick is it?
    name text collate "C" not null,            -- Which schedule of the manifest?
    due_at bigint not null,                    -- When is it due next?
    poll_event bytea,                          -- Which event is its latest poll? It is live while a delivery of it is.
    hinted boolean not null default false,     -- Did a push ask for another poll while one was live?
    cursor text,                               -- Where does the next poll go on?
    succeeded_at bigint,                       -- When did a poll last succeed?
    primary key (tenant, plugin, name),
    foreign key (tenant, plugin) references installation (tenant, plugin) on delete cascade
);
create index schedule_due on schedule (due_at);

create table connection (
    key bytea not null primary key check (length(key) = 16), -- Which is it (con_..)?
    tenant text collate "C" not null references tenant (id) on delete cascade, -- Whose is it?
    provider text collate "C" not null,        -- At which provider?
    name text collate "C" not null,            -- What do people call it?
    kind text collate "C" not null,            -- How does the credential go into a request?
    account text collate "C",                  -- Which account at the provider is it?
    base_url text,                             -- Which base URL replaces the manifest's?
    needs_login_reason text,                   -- Why must a person log in again?
    needs_login_since bigint,                  -- Since when?
    created_at bigint not null,                -- When was it made?
    updated_at bigint not null,                -- When was its secret last changed?
    unique (tenant, name)
);
create unique index connection_account on connection (provider, account) where account is not null;

create table connection_secret (
    connection bytea not null references connection (key) on delete cascade, -- Whose secret is it?
    place bigint not null,                     -- How many newer ones are there?
    sealed bytea not null,                     -- What is it, sealed by the tenant's key?
    expires_at bigint,                         -- When does its overlap end (null: it is the current one)?
    primary key (connection, place)
);

create table endpoint (
    key bytea not null primary key check (length(key) = 16), -- Which is it (ep_..)?
    tenant text collate "C" not null references tenant (id) on delete cascade, -- Whose is it?
    url text not null,                         -- Where do deliveries go?
    event_types text not null,                 -- Which types and patterns does it take (a JSON array)?
    filter text,                               -- Which CEL expression narrows them?
    description text,                          -- What do people call it?
    format text not null,                      -- Which body format does it get?
    state text collate "C" not null check (state in ('active', 'paused', 'disabled')), -- Does it take deliveries?
    state_reason text,                         -- Why does it not?
    state_since bigint,                        -- Since when?
    retry_schedule text,                       -- Which delays replace the endpoint table (a JSON array of seconds)?
    rate_per_s bigint,                         -- How many starts per second?
    concurrency bigint,                        -- How many attempts at once?
    ordered boolean not null,                  -- Are ordering keys honoured?
    headers bytea,                             -- Which header fields of its own does it get, sealed?
    timeout_ms bigint,                         -- How long may an attempt take?
    failing_since bigint,                      -- Since when has every attempt failed?
    last_success bigint,                       -- When did an attempt last succeed?
    created_at bigint not null,                -- When was it made?
    updated_at bigint not null                 -- When did an admin last change it?
);
create index endpoint_tenant on endpoint (tenant);

create table endpoint_secret (
    endpoint bytea not null references endpoint (key) on delete cascade, -- Whose signing secret is it?
    place bigint not null,                     -- How many newer ones are there?
    sealed bytea not null,                     -- What is it, sealed by the tenant's key?
    expires_at bigint,                         -- When does its overlap end (null: it is the current one)?
    primary key (endpoint, place)
);

create table api_key (
    key bytea not null primary key check (length(key) = 16), -- Which is it (key_..)?
    hash bytea not null unique check (length(hash) = 32), -- What is the SHA-256 of its text?
    hint text not null,                        -- How does a person recognise it?
    name text collate "C" not null,            -- What is it for?
    tenant text collate "C" references tenant (id) on delete cascade, -- Whose is it (null: the operator's)?
    scope text collate "C" not null check (scope in ('reader', 'publisher', 'admin', 'operator')), -- What may it do?
    emergency boolean not null,                -- May it set the emergency lane?
    created_at bigint not null,                -- When was it made?
    expires_at bigint,                         -- When does it stop?
    last_used_at bigint                        -- When was it last used?
);

create table answer (
    caller bytea not null,                     -- Which API key asked?
    key text collate "C" not null,             -- Under which Idempotency-Key?
    request bytea not null,                    -- Which request was it (SHA-256)?
    status bigint not null,                    -- What was answered?
    body bytea not null,                       -- With which body?
    at bigint not null,                        -- When?
    primary key (caller, key)
);
create index answer_at on answer (at);

create table audit (
    number bigint generated always as identity primary key, -- In which order?
    at bigint not null,                        -- When?
    tenant text collate "C",                   -- Whose object was it?
    actor text not null,                       -- Who did it?
    action text collate "C" not null,          -- What was done?
    target text collate "C" not null,          -- To what?
    before text,                               -- What was there before (JSON)?
    after text                                 -- What is there now (JSON)?
);
create index audit_tenant on audit (tenant, number);

create table meta (
    name text collate "C" not null primary key, -- Which fact of the database itself?
    value bytea not null                       -- What is it?
);

-- The second wall. The hub works as `switchyard_hub` and sees all; what it reads for people of a tenant it reads as
-- `switchyard_tenant`, which sees the rows of the tenant that the transaction names. The owner of the tables sees none
-- (a later step that changes rows does so under `set local role switchyard_hub`).
do $$
begin
    execute format('grant usage on schema %I to switchyard_hub, switchyard_tenant', current_schema());
end $$;
do $$
declare the_table text;
begin
    foreach the_table in array array['tenant_removal', 'installation', 'source', 'schedule', 'connection', 'endpoint', 'api_key', 'audit'] loop
        execute format('alter table %I enable row level security', the_table);
        execute format('alter table %I force row level security', the_table);
        execute format('create policy hub on %I to switchyard_hub using (true)', the_table);
        execute format('create policy tenant on %I to switchyard_tenant '
            'using (tenant = current_setting(''switchyard.tenant'', true))', the_table);
        execute format('grant select, insert, update, delete on %I to switchyard_hub, switchyard_tenant', the_table);
    end loop;
end $$;
alter table tenant enable row level security;
alter table tenant force row level security;
create policy hub on tenant to switchyard_hub using (true);
create policy tenant on tenant to switchyard_tenant
    using (id = current_setting('switchyard.tenant', true));
grant select, insert, update, delete on tenant to switchyard_hub, switchyard_tenant;
-- Secrets have the tenant of what they belong to; what is seen of that, is seen of them.
alter table connection_secret enable row level security;
alter table connection_secret force row level security;
create policy hub on connection_secret to switchyard_hub using (true);
create policy tenant on connection_secret to switchyard_tenant
    using (exists (select 1 from connection c where c.key = connection));
grant select, insert, update, delete on connection_secret to switchyard_hub, switchyard_tenant;
alter table endpoint_secret enable row level security;
alter table endpoint_secret force row level security;
create policy hub on endpoint_secret to switchyard_hub using (true);
create policy tenant on endpoint_secret to switchyard_tenant
    using (exists (select 1 from endpoint e where e.key = endpoint));
grant select, insert, update, delete on endpoint_secret to switchyard_hub, switchyard_tenant;
grant select, insert, update, delete on plugin_version, plugin_wasm, answer, meta to switchyard_hub;
-- Which plugins there are is no secret.
grant select on plugin_version to switchyard_tenant;
