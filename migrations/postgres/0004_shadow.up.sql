-- Shadow runs: what another version would have done with the same event. And which version an installation runs while
-- another one is being set up.

alter table installation add column shadow_version text collate "C"; -- Which version runs beside it for comparison?
alter table installation add column in_force text; -- For which version was it set up last?
alter table installation add column upgrade_to text; -- For which version was `upgrade` called last?
alter table installation add column upgrade_error text; -- Why was that refused?

create table shadow_run (
    delivery bytea not null primary key check (length(delivery) = 16), -- Of which delivery?
    tenant text collate "C" not null,          -- Whose is it?
    plugin text collate "C" not null,          -- Which installation's?
    version text collate "C" not null,         -- Which version did the work?
    shadow_version text collate "C" not null,  -- Which version ran beside it?
    outcome text collate "C" not null check (outcome in ('same', 'differs', 'diverged', 'failed')), -- How did they compare?
    detail text not null,                      -- Where do they differ (a JSON object without values)?
    duration_us bigint not null,               -- How long did the shadow take?
    at bigint not null                         -- When did it end?
);
-- Which are this installation's newest?
create index shadow_run_installation on shadow_run (tenant, plugin, delivery);

create table shadow_total (
    tenant text collate "C" not null,          -- Whose is it?
    plugin text collate "C" not null,          -- Which installation's?
    shadow_version text collate "C" not null,  -- Of which version?
    outcome text collate "C" not null check (outcome in ('same', 'differs', 'diverged', 'failed')), -- Runs that compared how?
    total bigint not null,                     -- How many were there ever, also those no longer kept?
    first_at bigint not null,                  -- When was the first?
    last_at bigint not null,                   -- When was the last?
    primary key (tenant, plugin, shadow_version, outcome)
);

do $$
declare the_table text;
begin
    foreach the_table in array array['shadow_run', 'shadow_total'] loop
        execute format('alter table %I enable row level security', the_table);
        execute format('alter table %I force row level security', the_table);
        execute format('create policy hub on %I to switchyard_hub using (true)', the_table);
        execute format('create policy tenant on %I to switchyard_tenant '
            'using (tenant = current_setting(''switchyard.tenant'', true))', the_table);
        execute format('grant select, insert, update, delete on %I to switchyard_hub, switchyard_tenant', the_table);
    end loop;
end $$;
