-- compatible: yes
-- Rules: earlier configs to go back to, and times of the tenant's own for schedules.

alter table schedule add column timetable text; -- Which times of the tenant's own replace the manifest's (a JSON object)?
alter table schedule add column missed integer not null default 0; -- How many runs were missed ever?
alter table schedule add column missed_at integer; -- When was that last found?

create table config_version (
    tenant text not null,                     -- Whose is it?
    plugin text not null,                     -- Which installation's?
    number integer not null,                  -- Which of its configs, counted from 1?
    config text not null,                     -- What was the config (a JSON object)?
    made_at integer not null,                 -- When was it saved?
    made_by text not null,                    -- By whom (key_.., host or cli)?
    primary key (tenant, plugin, number),     -- Which is the newest?
    foreign key (tenant, plugin) references installation (tenant, plugin) on delete cascade
) strict, without rowid;
