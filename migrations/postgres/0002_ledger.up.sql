-- Events and deliveries: the hot path. Every index here costs each accepted event, so each names the question it
-- answers. No foreign keys on these tables: accept, settle and prune keep them consistent in their transactions.
--
-- What grows with traffic is partitioned by its key. A key begins with the time it was made, so a day is a range of keys
-- and goes as a whole when it is old. The hub makes the day before the first row of it; there is no default partition,
-- in which rows would be found by nobody. What must be unique over all days stands in a table of its own.

create table event (
    key bytea not null check (length(key) = 16), -- Which is it inside?
    tenant text collate "C" not null,          -- Whose is it?
    id text collate "C" not null,              -- Which is it outside: the sender's id, or evt_..?
    type text collate "C" not null,            -- What happened, or is asked?
    source text not null,                      -- Who emitted it?
    subject text collate "C",                  -- What is it about?
    time bigint not null,                      -- When did it happen?
    accepted_at bigint not null,               -- When did the hub store it?
    ordering_key text collate "C",             -- With which events does it keep order?
    correlation_id text collate "C" not null,  -- What else came from the same cause?
    traceparent text not null,                 -- Which trace does it belong to?
    cause bytea,                               -- Which delivery's run emitted it?
    request bytea,                             -- Which inbound request brought it?
    hop smallint not null,                     -- How many runs lie between the first cause and it?
    urgency smallint not null check (urgency in (0, 1)), -- Is it an emergency?
    expires_at bigint,                         -- When is it too late to deliver?
    private_to text,                           -- Which plugin's installation alone sees it?
    extensions text,                           -- Which other CloudEvents attributes did it bring (a JSON object)?
    data text not null,                        -- What is the payload?
    -- Which event is behind this delivery? Which are a tenant's newest?
    primary key (tenant, key)
) partition by range (key);
-- What else came from the same cause?
create index event_correlation on event (tenant, correlation_id);
-- What happened to this external object?
create index event_subject on event (tenant, subject, key) where subject is not null;

create table dedupe (
    tenant text collate "C" not null,          -- Whose event was it?
    scope text collate "C" not null,           -- Whose numbering is the key from?
    key text collate "C" not null,             -- Which event of that sender?
    event_id text collate "C" not null,        -- Which event was the first?
    hash bytea not null check (length(hash) = 32), -- Is a second one the same (SHA-256 of type and data)?
    at bigint not null,                        -- When may it be forgotten?
    primary key (tenant, scope, key)
);

create table person_index (
    tenant text collate "C" not null,          -- Whose data is it?
    hash bytea not null check (length(hash) = 32), -- Which person (keyed hash)?
    event bytea not null,                      -- Which event names the person?
    primary key (tenant, hash, event)
);

create table delivery (
    key bytea not null primary key check (length(key) = 16), -- Which is it (dlv_..)?
    tenant text collate "C" not null,          -- Whose is it?
    event bytea not null,                      -- Which event is on its way?
    target text collate "C" not null,          -- To where: ep_.., plugin:.., unrouted?
    shard smallint not null check (shard in (0, 1)), -- Is it the target's emergency lane?
    lane bytea not null check (length(lane) = 16), -- With which deliveries does it wait (hash of tenant, target, shard)?
    state smallint not null check (state between 0 and 5), -- queued, running, waiting, delivered, dead, cancelled?
    due_at bigint not null,                    -- When may it start?
    epoch bigint not null check (epoch >= 0),  -- How many attempts ever? It fences each write of an attempt.
    tries bigint not null check (tries between 0 and epoch), -- How many attempts of this retry cycle?
    crashes bigint not null check (crashes >= 0), -- How many workers died holding it?
    behind boolean not null,                   -- Does it wait behind one with its ordering key?
    ordering_key text collate "C",             -- With which deliveries of its lane does it keep order?
    reason text collate "C",                   -- Which class of failure came last?
    code text collate "C",                     -- Which failure?
    message text,                              -- What should a person read?
    fingerprint text collate "C",              -- Which dead letters failed alike?
    replayed boolean not null,                 -- Did a person ask for it again?
    created_at bigint not null,                -- When was it made?
    updated_at bigint not null,                -- When did its state last change?
    expires_at bigint,                         -- When is it too late?
    check (not behind or (ordering_key is not null and state in (0, 2))),
    check (state != 1 or epoch > 0),
    check (state != 4 or (reason is not null and fingerprint is not null))
) partition by range (key);
-- Does this event go to this target already? It is unique, since whoever adds a target holds the event's row.
create index delivery_event on delivery (event, target);
-- What can start next in this lane, and which lanes have work?
create index delivery_ready on delivery (lane, due_at, key) where state in (0, 2) and not behind;
-- Who is first in this order?
create index delivery_order on delivery (lane, ordering_key, key)
    where ordering_key is not null and state in (0, 1, 2);
-- What runs, waits or is dead, of the hub or of a tenant?
create index delivery_open on delivery (state, tenant, key) where state in (0, 1, 2, 4);
-- Which dead letters failed alike?
create index delivery_dead on delivery (tenant, fingerprint, key) where state = 4;
-- Which are a tenant's newest?
create index delivery_tenant on delivery (tenant, key);
-- What is too late?
create index delivery_expiry on delivery (expires_at) where expires_at is not null and state in (0, 2);

create table attempt (
    delivery bytea not null,                   -- Of which delivery?
    number bigint not null,                    -- Which of its attempts (the epoch it held)?
    started_at bigint not null,                -- When did it start?
    duration_us bigint not null,               -- How long did it take?
    outcome text collate "C" not null check (outcome in ('succeeded', 'failed', 'lost')), -- How did it end?
    reason text collate "C",                   -- Which class of failure?
    code text collate "C",                     -- Which failure?
    message text,                              -- What should a person read?
    status bigint,                             -- What did the subscriber answer?
    plugin_version text,                       -- Which version ran?
    detail text,                               -- What else is known (a JSON object)?
    primary key (delivery, number)
) partition by range (delivery);

create table journal (
    delivery bytea not null primary key,       -- Whose host calls?
    record bytea not null                      -- Which calls and answers, sealed?
) partition by range (delivery);

create table kv (
    tenant text collate "C" not null,          -- Whose is it?
    plugin text collate "C" not null,          -- Which installation's?
    key text collate "C" not null,             -- Under which key?
    version bigint not null,                   -- How often was it written, deletes included?
    value bytea,                               -- What is there (null: deleted)?
    expires_at bigint,                         -- When is it gone?
    person bytea,                              -- Which person is it about (keyed hash)?
    updated_at bigint not null,                -- When was it written?
    primary key (tenant, plugin, key)
);
-- What is known of this person?
create index kv_person on kv (tenant, person) where person is not null;
-- Which tombstones and expired values may go?
create index kv_gone on kv (updated_at) where value is null or expires_at is not null;

do $$
declare the_table text;
begin
    foreach the_table in array array['event', 'dedupe', 'person_index', 'delivery', 'kv'] loop
        execute format('alter table %I enable row level security', the_table);
        execute format('alter table %I force row level security', the_table);
        execute format('create policy hub on %I to switchyard_hub using (true)', the_table);
        execute format('create policy tenant on %I to switchyard_tenant '
            'using (tenant = current_setting(''switchyard.tenant'', true))', the_table);
        execute format('grant select, insert, update, delete on %I to switchyard_hub, switchyard_tenant', the_table);
    end loop;
end $$;
-- Attempts and journals have the tenant of their delivery.
alter table attempt enable row level security;
alter table attempt force row level security;
create policy hub on attempt to switchyard_hub using (true);
create policy tenant on attempt to switchyard_tenant
    using (exists (select 1 from delivery d where d.key = attempt.delivery));
grant select, insert, update, delete on attempt to switchyard_hub, switchyard_tenant;
alter table journal enable row level security;
alter table journal force row level security;
create policy hub on journal to switchyard_hub using (true);
create policy tenant on journal to switchyard_tenant
    using (exists (select 1 from delivery d where d.key = journal.delivery));
grant select, insert, update, delete on journal to switchyard_hub, switchyard_tenant;
