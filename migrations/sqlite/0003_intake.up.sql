-- Inbound requests: those that became events, those that wait for a judgement, and those that were refused.

create table raw_request (
    seq integer primary key,                  -- In which order was it stored?
    key blob not null check (length(key) = 16), -- Which is it (req_..)?
    tenant text not null,                     -- Whose source took it?
    source_id text not null,                  -- Which source?
    method text not null,                     -- Which method?
    url text not null,                        -- Which exact URL?
    headers text not null,                    -- Which header fields in order (JSON pairs, bytes as Latin-1)?
    body blob not null,                       -- Which exact bytes?
    received_at integer not null,             -- When did its last byte arrive?
    remote_addr text,                         -- From where?
    correlation_id text not null              -- What came from it?
) strict;
-- Which request was the cause?
create index raw_request_correlation on raw_request (tenant, correlation_id);

create table parked (
    key blob not null primary key check (length(key) = 16), -- Which request is it (req_..)?
    tenant text not null,                     -- Whose source took it?
    plugin text not null,                     -- Whose receive could not judge it?
    source_id text not null,                  -- Which source?
    method text not null,                     -- Which method?
    url text not null,                        -- Which exact URL?
    headers text not null,                    -- Which header fields in order (JSON pairs, bytes as Latin-1)?
    body blob not null,                       -- Which exact bytes?
    bytes integer not null,                   -- How many bytes count against the source's share?
    received_at integer not null,             -- When did its last byte arrive?
    remote_addr text,                         -- From where?
    correlation_id text not null,             -- What will come from it?
    reason text not null,                     -- Which class of failure?
    code text not null,                       -- Which failure?
    message text not null,                    -- What should a person read?
    tries integer not null                    -- How often was it tried?
) strict;
-- Which wait for this installation, oldest first?
create index parked_installation on parked (tenant, plugin, key);
-- How many requests and bytes does this source hold?
create index parked_source on parked (tenant, source_id, key, bytes);

create table rejection (
    tenant text not null,                     -- Whose source refused it?
    key blob not null check (length(key) = 16), -- Which request was it?
    source_id text not null,                  -- Which source?
    at integer not null,                      -- When?
    status integer not null,                  -- What was answered?
    code text not null,                       -- Why, for machines?
    reason text not null,                     -- Why, for people?
    bytes integer not null,                   -- How large was the body?
    remote_addr text,                         -- From where?
    correlation_id text not null,             -- Under which correlation id was it answered?
    primary key (tenant, key)
) strict, without rowid;
-- Which are the oldest of this source?
create index rejection_source on rejection (tenant, source_id, key);

create table rejection_count (
    tenant text not null,                     -- Whose source?
    source_id text not null,                  -- Which source?
    total integer not null,                   -- How many were ever refused?
    primary key (tenant, source_id)
) strict, without rowid;
