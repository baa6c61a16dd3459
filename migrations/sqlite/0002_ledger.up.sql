-- Events and deliveries: the hot path. Every index here costs each accepted event, so each names the question it
-- answers. No foreign keys on these tables: accept, settle and prune keep them consistent in their transactions.

create table event (
    seq integer primary key,                  -- In which order was it stored?
    key blob not null check (length(key) = 16), -- Which is it inside?
    tenant text not null,                     -- Whose is it?
    id text not null,                         -- Which is it outside: the sender's id, or evt_..?
    type text not null,                       -- What happened, or is asked?
    source text not null,                     -- Who emitted it?
    subject text,                             -- What is it about?
    time integer not null,                    -- When did it happen?
    accepted_at integer not null,             -- When did the hub store it?
    ordering_key text,                        -- With which events does it keep order?
    correlation_id text not null,             -- What else came from the same cause?
    traceparent text not null,                -- Which trace does it belong to?
    cause blob,                               -- Which delivery's run emitted it?
    request blob,                             -- Which inbound request brought it?
    hop integer not null,                     -- How many runs lie between the first cause and it?
    urgency integer not null check (urgency in (0, 1)), -- Is it an emergency?
    expires_at integer,                       -- When is it too late to deliver?
    private_to text,                          -- Which plugin's installation alone sees it?
    extensions text,                          -- Which other CloudEvents attributes did it bring (a JSON object)?
    data text not null                        -- What is the payload?
) strict;
-- Which event is behind this delivery? Which are a tenant's newest?
create unique index event_key on event (tenant, key);
-- Was this id used before?
create unique index event_id on event (tenant, id);
-- What else came from the same cause?
create index event_correlation on event (tenant, correlation_id);
-- What happened to this external object?
create index event_subject on event (tenant, subject, key) where subject is not null;

create table dedupe (
    tenant text not null,                     -- Whose event was it?
    scope text not null,                      -- Whose numbering is the key from?
    key text not null,                        -- Which event of that sender?
    event_id text not null,                   -- Which event was the first?
    hash blob not null check (length(hash) = 32), -- Is a second one the same (SHA-256 of type and data)?
    at integer not null,                      -- When may it be forgotten?
    primary key (tenant, scope, key)
) strict, without rowid;

create table person_index (
    tenant text not null,                     -- Whose data is it?
    hash blob not null check (length(hash) = 32), -- Which person (keyed hash)?
    event blob not null,                      -- Which event names the person?
    primary key (tenant, hash, event)
) strict, without rowid;
-- Which persons go with this event?
create index person_event on person_index (event);

create table delivery (
    key blob not null primary key check (length(key) = 16), -- Which is it (dlv_..)?
    tenant text not null,                     -- Whose is it?
    event blob not null,                      -- Which event is on its way?
    target text not null,                     -- To where: ep_.., plugin:.., unrouted?
    shard integer not null check (shard in (0, 1)), -- Is it the target's emergency lane?
    lane blob not null check (length(lane) = 16), -- With which deliveries does it wait (hash of tenant, target, shard)?
    state integer not null check (state between 0 and 5), -- queued, running, waiting, delivered, dead, cancelled?
    due_at integer not null,                  -- When may it start?
    epoch integer not null check (epoch >= 0), -- How many attempts ever? It fences each write of an attempt.
    tries integer not null check (tries between 0 and epoch), -- How many attempts of this retry cycle?
    crashes integer not null check (crashes >= 0), -- How many workers died holding it?
    behind integer not null check (behind in (0, 1)), -- Does it wait behind one with its ordering key?
    ordering_key text,                        -- With which deliveries of its lane does it keep order?
    reason text,                              -- Which class of failure came last?
    code text,                                -- Which failure?
    message text,                             -- What should a person read?
    fingerprint text,                         -- Which dead letters failed alike?
    replayed integer not null check (replayed in (0, 1)), -- Did a person ask for it again?
    created_at integer not null,              -- When was it made?
    updated_at integer not null,              -- When did its state last change?
    expires_at integer,                       -- When is it too late?
    check (behind = 0 or (ordering_key is not null and state in (0, 2))),
    check (state != 1 or epoch > 0),
    check (state != 4 or (reason is not null and fingerprint is not null))
) strict, without rowid;
-- Does this event go to this target already?
create unique index delivery_event on delivery (event, target);
-- What can start next in this lane, and which lanes have work?
create index delivery_ready on delivery (lane, due_at, key) where state in (0, 2) and behind = 0;
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
    delivery blob not null,                   -- Of which delivery?
    number integer not null,                  -- Which of its attempts (the epoch it held)?
    started_at integer not null,              -- When did it start?
    duration_us integer not null,             -- How long did it take?
    outcome text not null check (outcome in ('succeeded', 'failed', 'lost')), -- How did it end?
    reason text,                              -- Which class of failure?
    code text,                                -- Which failure?
    message text,                             -- What should a person read?
    status integer,                           -- What did the subscriber answer?
    plugin_version text,                      -- Which version ran?
    detail text,                              -- What else is known (a JSON object)?
    primary key (delivery, number)
) strict, without rowid;

create table journal (
    delivery blob not null primary key,       -- Whose host calls?
    record blob not null                      -- Which calls and answers, sealed?
) strict, without rowid;

create table kv (
    tenant text not null,                     -- Whose is it?
    plugin text not null,                     -- Which installation's?
    key text not null,                        -- Under which key?
    version integer not null,                 -- How often was it written, deletes included?
    value blob,                               -- What is there (null: deleted)?
    expires_at integer,                       -- When is it gone?
    person blob,                              -- Which person is it about (keyed hash)?
    updated_at integer not null,              -- When was it written?
    primary key (tenant, plugin, key)
) strict, without rowid;
-- What is known of this person?
create index kv_person on kv (tenant, person) where person is not null;
-- Which tombstones and expired values may go?
create index kv_gone on kv (updated_at) where value is null or expires_at is not null;
