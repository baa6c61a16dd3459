-- Apps: the operator's registrations at providers. And logins by OAuth: the way there, and the tokens that come of it.

create table app (
    key bytea not null primary key check (length(key) = 16), -- Which is it (app_..)?
    provider text collate "C" not null,        -- At which provider?
    name text collate "C" not null unique,     -- What do people call it?
    plugin text collate "C",                   -- Whose receive takes its requests, and whose manifest says where to log in?
    client_id text,                            -- As whom does the hub ask for tokens?
    client_secret bytea,                       -- With which secret, sealed by the hub's key?
    secrets bytea,                             -- Which secrets prove its requests (a sealed JSON object: field to value)?
    created_at bigint not null,                -- When was it made?
    updated_at bigint not null                 -- When did an operator last change it?
);

create table app_source (
    id text collate "C" not null primary key,  -- Which public URL is it (src_..)?
    app bytea not null references app (key) on delete cascade, -- Whose requests come here?
    name text collate "C" not null,            -- Which of the app's sources is it?
    unique (app, name)
);

alter table connection add column app bytea;   -- Through which app does it log in?
alter table connection add column token_version bigint not null default 0; -- How often did its tokens change?
alter table connection add column refreshing_until bigint; -- Until when does somebody obtain the next token?
alter table connection add column access_token bytea; -- Which access token is in force, sealed by the tenant's key?
alter table connection add column access_expires_at bigint; -- When does it end?
alter table connection add column refresh_at bigint; -- When should the next one be obtained?
-- Who logs in through this app?
create index connection_app on connection (app) where app is not null;

create table oauth_state (
    hash bytea not null primary key check (length(hash) = 32), -- What is the SHA-256 of the state in the URL?
    tenant text collate "C" not null references tenant (id) on delete cascade, -- Whose login is it?
    connection bytea not null references connection (key) on delete cascade, -- Of which connection?
    api_key bytea not null check (length(api_key) = 16), -- Which API key began it?
    verifier bytea not null,                   -- Which PKCE verifier belongs to it, sealed by the tenant's key?
    return_to text,                            -- Where does the person want to go afterwards?
    expires_at bigint not null,                -- When is it too late?
    used_at bigint                             -- When did somebody come back with it?
);
-- Which are over?
create index oauth_state_expiry on oauth_state (expires_at);

do $$
declare the_table text;
begin
    foreach the_table in array array['oauth_state'] loop
        execute format('alter table %I enable row level security', the_table);
        execute format('alter table %I force row level security', the_table);
        execute format('create policy hub on %I to switchyard_hub using (true)', the_table);
        execute format('create policy tenant on %I to switchyard_tenant '
            'using (tenant = current_setting(''switchyard.tenant'', true))', the_table);
        execute format('grant select, insert, update, delete on %I to switchyard_hub, switchyard_tenant', the_table);
    end loop;
end $$;
grant select, insert, update, delete on app, app_source to switchyard_hub;
