-- What admins create. Times are milliseconds since 1970 in UTC; keys are the 16 bytes behind an identifier.

create table tenant (
    id text not null primary key,             -- What is it called in URLs?
    name text not null,                       -- What do people call it?
    time_zone text not null,                  -- Which local time do its schedules and business hours follow?
    settings text not null,                   -- What did its admin set freely (a JSON object)?
    lockdown integer not null check (lockdown in (0, 1)), -- Are its commands, polls and endpoint deliveries held?
    lockdown_since integer,                   -- Since when?
    command_handlers text not null,           -- Which plugin handles a command when two could (JSON: type to plugin)?
    data_key blob not null,                   -- Which wrapped key seals its secrets?
    created_at integer not null               -- When was it made?
) strict, without rowid;

-- Rows of a removed tenant that are still being deleted in small steps; its name is free again when it is gone.
create table tenant_removal (
    tenant text not null primary key          -- Whose rows are going?
) strict, without rowid;

create table plugin_version (
    name text not null,                       -- Which plugin?
    version text not null,                    -- Which semantic version of it?
    sha256 blob not null check (length(sha256) = 32), -- Are offered bytes the published ones?
    manifest text not null,                   -- What does it say of itself (JSON)?
    size integer not null,                    -- How many bytes is the component?
    created_at integer not null,              -- When was it published?
    primary key (name, version)
) strict, without rowid;

-- The bytes stand apart, so that listing versions does not read them.
create table plugin_wasm (
    name text not null,                       -- Which plugin?
    version text not null,                    -- Which version?
    wasm blob not null,                       -- What is compiled and run?
    primary key (name, version),
    foreign key (name, version) references plugin_version (name, version) on delete cascade
) strict;

create table installation (
    tenant text not null references tenant (id) on delete cascade, -- Whose is it?
    plugin text not null,                     -- Which plugin is switched on?
    mode text not null check (mode in ('live', 'off')), -- Do events and requests go to it?
    version text,                             -- Which version is pinned (null: the newest)?
    config text not null,                     -- How is it configured (a JSON object)?
    connections text not null,                -- Which connection fills which slot (JSON: slot to con_..)?
    grants text not null,                     -- What has the admin granted (a JSON array)?
    retry_schedule text,                      -- Which delays replace the plugin table (a JSON array of seconds)?
    state text not null check (state in ('installing', 'ready', 'failed', 'removing')), -- Where does it stand?
    state_reason text,                        -- Why did it fail?
    blocked_reason text,                      -- Which class of failure waits for a person?
    blocked_code text,                        -- Which failure?
    blocked_message text,                     -- What should the person read?
    blocked_since integer,                    -- Since when?
    broken_version text,                      -- Which version traps again and again here?
    broken_since integer,                     -- Since when?
    updated_at integer not null,              -- When did an admin last change it?
    primary key (tenant, plugin)
) strict, without rowid;

create table source (
    id text not null primary key,             -- Which public URL is it (src_..)?
    tenant text not null,                     -- Whose requests come here?
    plugin text not null,                     -- Whose receive takes them?
    name text not null,                       -- Which of the installation's sources is it?
    unique (tenant, plugin, name),
    foreign key (tenant, plugin) references installation (tenant, plugin) on delete cascade
) strict, without rowid;

create table schedule (
    tenant text not null,                     -- Whose is it?
    plugin text not null,                     -- Whose poll or tick is it?
    name text not null,                       -- Which schedule of the manifest?
    due_at integer not null,                  -- When is it due next?
    poll_event blob,                          -- Which event is its latest poll? It is live while a delivery of it is.
    hinted integer not null default 0 check (hinted in (0, 1)), -- Did a push ask for another poll while one was live?
    cursor text,                              -- Where does the next poll go on?
    succeeded_at integer,                     -- When did a poll last succeed?
    primary key (tenant, plugin, name),
    foreign key (tenant, plugin) references installation (tenant, plugin) on delete cascade
) strict, without rowid;
create index schedule_due on schedule (due_at);

create table connection (
    key blob not null primary key check (length(key) = 16), -- Which is it (con_..)?
    tenant text not null references tenant (id) on delete cascade, -- Whose is it?
    provider text not null,                   -- At which provider?
    name text not null,                       -- What do people call it?
    kind text not null,                       -- How does the credential go into a request?
    account text,                             -- Which account at the provider is it?
    base_url text,                            -- Which base URL replaces the manifest's?
    needs_login_reason text,                  -- Why must a person log in again?
    needs_login_since integer,                -- Since when?
    created_at integer not null,              -- When was it made?
    updated_at integer not null,              -- When was its secret last changed?
    unique (tenant, name)
) strict, without rowid;
create unique index connection_account on connection (provider, account) where account is not null;

create table connection_secret (
    connection blob not null references connection (key) on delete cascade, -- Whose secret is it?
    place integer not null,                   -- How many newer ones are there?
    sealed blob not null,                     -- What is it, sealed by the tenant's key?
    expires_at integer,                       -- When does its overlap end (null: it is the current one)?
    primary key (connection, place)
) strict, without rowid;

create table endpoint (
    key blob not null primary key check (length(key) = 16), -- Which is it (ep_..)?
    tenant text not null references tenant (id) on delete cascade, -- Whose is it?
    url text not null,                        -- Where do deliveries go?
    event_types text not null,                -- Which types and patterns does it take (a JSON array)?
    filter text,                              -- Which CEL expression narrows them?
    description text,                         -- What do people call it?
    format text not null,                     -- Which body format does it get?
    state text not null check (state in ('active', 'paused', 'disabled')), -- Does it take deliveries?
    state_reason text,                        -- Why does it not?
    state_since integer,                      -- Since when?
    retry_schedule text,                      -- Which delays replace the endpoint table (a JSON array of seconds)?
    rate_per_s integer,                       -- How many starts per second?
    concurrency integer,                      -- How many attempts at once?
    ordered integer not null check (ordered in (0, 1)), -- Are ordering keys honoured?
    headers blob,                             -- Which header fields of its own does it get, sealed?
    timeout_ms integer,                       -- How long may an attempt take?
    failing_since integer,                    -- Since when has every attempt failed?
    last_success integer,                     -- When did an attempt last succeed?
    created_at integer not null,              -- When was it made?
    updated_at integer not null               -- When did an admin last change it?
) strict, without rowid;
create index endpoint_tenant on endpoint (tenant);

create table endpoint_secret (
    endpoint blob not null references endpoint (key) on delete cascade, -- Whose signing secret is it?
    place integer not null,                   -- How many newer ones are there?
    sealed blob not null,                     -- What is it, sealed by the tenant's key?
    expires_at integer,                       -- When does its overlap end (null: it is the current one)?
    primary key (endpoint, place)
) strict, without rowid;

create table api_key (
    key blob not null primary key check (length(key) = 16), -- Which is it (key_..)?
    hash blob not null unique check (length(hash) = 32), -- What is the SHA-256 of its text?
    hint text not null,                       -- How does a person recognise it?
    name text not null,                       -- What is it for?
    tenant text references tenant (id) on delete cascade, -- Whose is it (null: the operator's)?
    scope text not null check (scope in ('reader', 'publisher', 'admin', 'operator')), -- What may it do?
    emergency integer not null check (emergency in (0, 1)), -- May it set the emergency lane?
    created_at integer not null,              -- When was it made?
    expires_at integer,                       -- When does it stop?
    last_used_at integer                      -- When was it last used?
) strict, without rowid;

create table answer (
    caller blob not null,                     -- Which API key asked?
    key text not null,                        -- Under which Idempotency-Key?
    request blob not null,                    -- Which request was it (SHA-256)?
    status integer not null,                  -- What was answered?
    body blob not null,                       -- With which body?
    at integer not null,                      -- When?
    primary key (caller, key)
) strict, without rowid;
create index answer_at on answer (at);

create table audit (
    number integer primary key autoincrement, -- In which order?
    at integer not null,                      -- When?
    tenant text,                              -- Whose object was it?
    actor text not null,                      -- Who did it?
    action text not null,                     -- What was done?
    target text not null,                     -- To what?
    before text,                              -- What was there before (JSON)?
    after text                                -- What is there now (JSON)?
) strict;
create index audit_tenant on audit (tenant, number);

create table meta (
    name text not null primary key,           -- Which fact of the database itself?
    value blob not null                       -- What is it?
) strict, without rowid;
