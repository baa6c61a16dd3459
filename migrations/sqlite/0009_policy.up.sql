-- compatible: yes
-- What the policy is asked about: who may be written to, what a plan allows, and how much of it was used.

create table consent (
    tenant text not null references tenant (id) on delete cascade, -- Who would write to the person?
    person blob not null check (length(person) = 32), -- Who is the person (keyed hash)?
    channel text not null check (channel in ('sms', 'call', 'email')), -- On which way are they reached?
    address blob,                             -- Which address is it, sealed (null: the person was erased)?
    state text not null check (state in ('granted', 'withdrawn')), -- May they be reached?
    source text not null,                     -- Who said so: a keyword, the carrier, an admin?
    at integer not null,                      -- When was it said?
    updated_at integer not null,              -- When was it stored?
    primary key (tenant, person, channel)
) strict, without rowid;

-- What was said of each, also what an answer that came late could not change.
create table consent_history (
    tenant text not null,                     -- Whose is it?
    person blob not null,                     -- Of whom?
    channel text not null,                    -- Of which way?
    at integer not null,                      -- When was it said?
    state text not null check (state in ('granted', 'withdrawn')), -- What was said?
    source text not null,                     -- Who said so?
    event blob,                               -- Which event brought it (null: an admin)?
    recorded_at integer not null,             -- When was it stored?
    primary key (tenant, person, channel, at, state, source),
    foreign key (tenant, person, channel) references consent (tenant, person, channel) on delete cascade
) strict, without rowid;

create table plan (
    tenant text not null primary key references tenant (id) on delete cascade, -- Whose plan is it?
    state text not null check (state in ('trialing', 'active', 'past_due', 'canceled')), -- Is it paid for?
    since integer not null,                   -- Since when is it in this state?
    grace_days integer not null check (grace_days between 0 and 90), -- How long do commands go on when it is past due?
    caps text not null,                       -- How many of which commands does it allow (JSON: type to day and month)?
    follows_tenant text,                      -- In whose events is its state told (null: nowhere)?
    follows_customer text,                    -- Of which customer there?
    told_at integer,                          -- Of when is the last telling that was followed?
    updated_at integer not null,              -- When did an operator last change it?
    check ((follows_tenant is null) = (follows_customer is null))
) strict, without rowid;
-- Which plans follow this customer?
create index plan_follows on plan (follows_tenant, follows_customer) where follows_tenant is not null;

-- Commands that were carried out.
create table usage (
    tenant text not null references tenant (id) on delete cascade, -- Who gave them?
    day integer not null,                     -- On which day of the tenant's time zone (days since 1970)?
    command text not null,                    -- Of which type?
    total integer not null check (total > 0), -- How many?
    primary key (tenant, day, command)
) strict, without rowid;
-- Which days are over for long?
create index usage_day on usage (day);

-- Commands that run now and will count if they succeed. One whose delivery does not run any more counts nothing.
create table reservation (
    delivery blob not null primary key check (length(delivery) = 16), -- Which delivery runs?
    tenant text not null references tenant (id) on delete cascade, -- Whose is it?
    command text not null                     -- Of which type?
) strict, without rowid;
-- How many of a tenant run?
create index reservation_tenant on reservation (tenant);
