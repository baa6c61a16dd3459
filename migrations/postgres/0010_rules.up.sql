-- compatible: yes
-- Rules: earlier configs to go back to, and times of the tenant's own for schedules.

alter table schedule add column timetable text; -- Which times of the tenant's own replace the manifest's (a JSON object)?
alter table schedule add column missed bigint not null default 0; -- How many runs were missed ever?
alter table schedule add column missed_at bigint; -- When was that last found?

create table config_version (
    tenant text collate "C" not null,          -- Whose is it?
    plugin text collate "C" not null,          -- Which installation's?
    number bigint not null,                    -- Which of its configs, counted from 1?
    config text not null,                      -- What was the config (a JSON object)?
    made_at bigint not null,                   -- When was it saved?
    made_by text not null,                     -- By whom (key_.., host or cli)?
    primary key (tenant, plugin, number),      -- Which is the newest?
    foreign key (tenant, plugin) references installation (tenant, plugin) on delete cascade
);

alter table config_version enable row level security;
alter table config_version force row level security;
create policy hub on config_version to switchyard_hub using (true);
create policy tenant on config_version to switchyard_tenant
    using (tenant = current_setting('switchyard.tenant', true));
grant select, insert, update, delete on config_version to switchyard_hub, switchyard_tenant;
