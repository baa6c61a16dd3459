-- Apps: the operator's registrations at providers. And logins by OAuth: the way there, and the tokens that come of it.

create table app (
    key blob not null primary key check (length(key) = 16), -- Which is it (app_..)?
    provider text not null,                   -- At which provider?
    name text not null unique,                -- What do people call it?
    plugin text,                              -- Whose receive takes its requests, and whose manifest says where to log in?
    client_id text,                           -- As whom does the hub ask for tokens?
    client_secret blob,                       -- With which secret, sealed by the hub's key?
    secrets blob,                             -- Which secrets prove its requests (a sealed JSON object: field to value)?
    created_at integer not null,              -- When was it made?
    updated_at integer not null               -- When did an operator last change it?
) strict, without rowid;

create table app_source (
    id text not null primary key,             -- Which public URL is it (src_..)?
    app blob not null references app (key) on delete cascade, -- Whose requests come here?
    name text not null,                       -- Which of the app's sources is it?
    unique (app, name)
) strict, without rowid;

alter table connection add column app blob; -- Through which app does it log in?
alter table connection add column token_version integer not null default 0; -- How often did its tokens change?
alter table connection add column refreshing_until integer; -- Until when does somebody obtain the next token?
alter table connection add column access_token blob; -- Which access token is in force, sealed by the tenant's key?
alter table connection add column access_expires_at integer; -- When does it end?
alter table connection add column refresh_at integer; -- When should the next one be obtained?
-- Who logs in through this app?
create index connection_app on connection (app) where app is not null;

create table oauth_state (
    hash blob not null primary key check (length(hash) = 32), -- What is the SHA-256 of the state in the URL?
    tenant text not null references tenant (id) on delete cascade, -- Whose login is it?
    connection blob not null references connection (key) on delete cascade, -- Of which connection?
    api_key blob not null check (length(api_key) = 16), -- Which API key began it?
    verifier blob not null,                   -- Which PKCE verifier belongs to it, sealed by the tenant's key?
    return_to text,                           -- Where does the person want to go afterwards?
    expires_at integer not null,              -- When is it too late?
    used_at integer                           -- When did somebody come back with it?
) strict, without rowid;
-- Which are over?
create index oauth_state_expiry on oauth_state (expires_at);
