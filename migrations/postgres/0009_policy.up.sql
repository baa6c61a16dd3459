-- compatible: yes
-- What the policy is asked about: who may be written to, what a plan allows, and how much of it was used.

create table consent (
    tenant text collate "C" not null references tenant (id) on delete cascade, -- Who would write to the person?
    person bytea not null check (length(person) = 32), -- Who is the person (keyed hash)?
    channel text collate "C" not null check (channel in ('sms', 'call', 'email')), -- On which way are they reached?
    address bytea,                             -- Which address is it, sealed (null: the person was erased)?
    state text collate "C" not null check (state in ('granted', 'withdrawn')), -- May they be reached?
    source text collate "C" not null,          -- Who said so: a keyword, the carrier, an admin?
    at bigint not null,                        -- When was it said?
    updated_at bigint not null,                -- When was it stored?
    primary key (tenant, person, channel)
);

-- What was said of each, also what an answer that came late could not change.
create table consent_history (
    tenant text collate "C" not null,          -- Whose is it?
    person bytea not null,                     -- Of whom?
    channel text collate "C" not null,         -- Of which way?
    at bigint not null,                        -- When was it said?
    state text collate "C" not null check (state in ('granted', 'withdrawn')), -- What was said?
    source text collate "C" not null,          -- Who said so?
    event bytea,                               -- Which event brought it (null: an admin)?
    recorded_at bigint not null,               -- When was it stored?
    primary key (tenant, person, channel, at, state, source),
    foreign key (tenant, person, channel) references consent (tenant, person, channel) on delete cascade
);

create table plan (
    tenant text collate "C" not null primary key references tenant (id) on delete cascade, -- Whose plan is it?
    state text collate "C" not null check (state in ('trialing', 'active', 'past_due', 'canceled')), -- Is it paid for?
    since bigint not null,                     -- Since when is it in this state?
    grace_days bigint not null check (grace_days between 0 and 90), -- How long do commands go on when it is past due?
    caps text not null,                        -- How many of which commands does it allow (JSON: type to day and month)?
    follows_tenant text collate "C",           -- In whose events is its state told (null: nowhere)?
    follows_customer text collate "C",         -- Of which customer there?
    told_at bigint,                            -- Of when is the last telling that was followed?
    updated_at bigint not null,                -- When did an operator last change it?
    check ((follows_tenant is null) = (follows_customer is null))
);
-- Which plans follow this customer?
create index plan_follows on plan (follows_tenant, follows_customer) where follows_tenant is not null;

-- Commands that were carried out.
create table usage (
    tenant text collate "C" not null references tenant (id) on delete cascade, -- Who gave them?
    day bigint not null,                       -- On which day of the tenant's time zone (days since 1970)?
    command text collate "C" not null,         -- Of which type?
    total bigint not null check (total > 0),   -- How many?
    primary key (tenant, day, command)
);
-- Which days are over for long?
create index usage_day on usage (day);

-- Commands that run now and will count if they succeed. One whose delivery does not run any more counts nothing.
create table reservation (
    delivery bytea not null primary key check (length(delivery) = 16), -- Which delivery runs?
    tenant text collate "C" not null references tenant (id) on delete cascade, -- Whose is it?
    command text collate "C" not null          -- Of which type?
);
-- How many of a tenant run?
create index reservation_tenant on reservation (tenant);

do $$
declare the_table text;
begin
    foreach the_table in array array['consent', 'consent_history', 'plan', 'usage', 'reservation'] loop
        execute format('alter table %I enable row level security', the_table);
        execute format('alter table %I force row level security', the_table);
        execute format('create policy hub on %I to switchyard_hub using (true)', the_table);
        execute format('create policy tenant on %I to switchyard_tenant '
            'using (tenant = current_setting(''switchyard.tenant'', true))', the_table);
        execute format('grant select, insert, update, delete on %I to switchyard_hub, switchyard_tenant', the_table);
    end loop;
end $$;
