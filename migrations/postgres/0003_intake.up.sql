-- Inbound requests: those that became events, those that wait for a judgement, and those that were refused.

create table raw_request (
    key bytea not null check (length(key) = 16), -- Which is it (req_..)?
    tenant text collate "C" not null,          -- Whose source took it?
    source_id text collate "C" not null,       -- Which source?
    method text not null,                      -- Which method?
    url text not null,                         -- Which exact URL?
    headers text not null,                     -- Which header fields in order (JSON pairs, bytes as Latin-1)?
    body bytea not null,                       -- Which exact bytes?
    received_at bigint not null,               -- When did its last byte arrive?
    remote_addr text,                          -- From where?
    correlation_id text collate "C" not null   -- What came from it?
) partition by range (key);
-- Which request was the cause?
create index raw_request_correlation on raw_request (tenant, correlation_id);

create table parked (
    key bytea not null primary key check (length(key) = 16), -- Which request is it (req_..)?
    tenant text collate "C" not null,          -- Whose source took it?
    plugin text collate "C" not null,          -- Whose receive could not judge it?
    source_id text collate "C" not null,       -- Which source?
    method text not null,                      -- Which method?
    url text not null,                         -- Which exact URL?
    headers text not null,                     -- Which header fields in order (JSON pairs, bytes as Latin-1)?
    body bytea not null,                       -- Which exact bytes?
    bytes bigint not null,                     -- How many bytes count against the source's share?
    received_at bigint not null,               -- When did its last byte arrive?
    remote_addr text,                          -- From where?
    correlation_id text collate "C" not null,  -- What will come from it?
    reason text collate "C" not null,          -- Which class of failure?
    code text collate "C" not null,            -- Which failure?
    message text not null,                     -- What should a person read?
    tries bigint not null                      -- How often was it tried?
);
-- Which wait for this installation, oldest first?
create index parked_installation on parked (tenant, plugin, key);
-- How many requests and bytes does this source hold?
create index parked_source on parked (tenant, source_id, key, bytes);

create table rejection (
    tenant text collate "C" not null,          -- Whose source refused it?
    key bytea not null check (length(key) = 16), -- Which request was it?
    source_id text collate "C" not null,       -- Which source?
    at bigint not null,                        -- When?
    status bigint not null,                    -- What was answered?
    code text collate "C" not null,            -- Why, for machines?
    reason text collate "C" not null,          -- Why, for people?
    bytes bigint not null,                     -- How large was the body?
    remote_addr text,                          -- From where?
    correlation_id text collate "C" not null,  -- Under which correlation id was it answered?
    primary key (tenant, key)
);
-- Which are the oldest of this source?
create index rejection_source on rejection (tenant, source_id, key);

create table rejection_count (
    tenant text collate "C" not null,          -- Whose source?
    source_id text collate "C" not null,       -- Which source?
    total bigint not null,                     -- How many were ever refused?
    primary key (tenant, source_id)
);

do $$
declare the_table text;
begin
    foreach the_table in array array['raw_request', 'parked', 'rejection', 'rejection_count'] loop
        execute format('alter table %I enable row level security', the_table);
        execute format('alter table %I force row level security', the_table);
        execute format('create policy hub on %I to switchyard_hub using (true)', the_table);
        execute format('create policy tenant on %I to switchyard_tenant '
            'using (tenant = current_setting(''switchyard.tenant'', true))', the_table);
        execute format('grant select, insert, update, delete on %I to switchyard_hub, switchyard_tenant', the_table);
    end loop;
end $$;
