-- compatible: yes
-- What persons ask for: all that is kept about them, or that it goes.

alter table event add column erased_at integer; -- When was it emptied for a person?

create table privacy_request (
    key blob not null primary key check (length(key) = 16), -- Which is it (prv_..)?
    tenant text not null references tenant (id) on delete cascade, -- Of whom is it asked?
    asked text not null check (asked in ('export', 'erase')), -- What is asked for?
    kind text not null check (kind in ('phone', 'email')), -- By what is the person known?
    person blob not null check (length(person) = 32), -- Which person (keyed hash)?
    standing text not null check (standing in ('running', 'done')), -- Where does it stand?
    progress text not null,                   -- How far did it come (a JSON object)?
    turn integer not null check (turn >= 0),  -- How many steps were written? It fences each.
    due_at integer not null,                  -- When is the next step due?
    created_at integer not null,              -- When was it asked?
    updated_at integer not null,              -- When was its last step written?
    actor text not null                       -- Who asked?
) strict, without rowid;
-- Which are a tenant's newest?
create index privacy_request_tenant on privacy_request (tenant, key);
-- Which have a step due?
create index privacy_request_due on privacy_request (due_at) where standing = 'running';

create table privacy_piece (
    request blob not null references privacy_request (key) on delete cascade, -- Of which export?
    number integer not null check (number >= 0), -- Which part of it?
    tenant text not null,                     -- Whose is it?
    sealed blob not null,                     -- What is it, sealed by the tenant's key?
    primary key (request, number)
) strict;
