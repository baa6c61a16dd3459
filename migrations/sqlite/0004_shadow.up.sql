-- Shadow runs: what another version would have done with the same event. And which version an installation runs while
-- another one is being set up.

alter table installation add column shadow_version text; -- Which version runs beside it for comparison?
alter table installation add column in_force text; -- For which version was it set up last?
alter table installation add column upgrade_to text; -- For which version was `upgrade` called last?
alter table installation add column upgrade_error text; -- Why was that refused?

create table shadow_run (
    delivery blob not null primary key check (length(delivery) = 16), -- Of which delivery?
    tenant text not null,                     -- Whose is it?
    plugin text not null,                     -- Which installation's?
    version text not null,                    -- Which version did the work?
    shadow_version text not null,             -- Which version ran beside it?
    outcome text not null check (outcome in ('same', 'differs', 'diverged', 'failed')), -- How did they compare?
    detail text not null,                     -- Where do they differ (a JSON object without values)?
    duration_us integer not null,             -- How long did the shadow take?
    at integer not null                       -- When did it end?
) strict, without rowid;
-- Which are this installation's newest?
create index shadow_run_installation on shadow_run (tenant, plugin, delivery);

create table shadow_total (
    tenant text not null,                     -- Whose is it?
    plugin text not null,                     -- Which installation's?
    shadow_version text not null,             -- Of which version?
    outcome text not null check (outcome in ('same', 'differs', 'diverged', 'failed')), -- Runs that compared how?
    total integer not null,                   -- How many were there ever, also those no longer kept?
    first_at integer not null,                -- When was the first?
    last_at integer not null,                 -- When was the last?
    primary key (tenant, plugin, shadow_version, outcome)
) strict, without rowid;
