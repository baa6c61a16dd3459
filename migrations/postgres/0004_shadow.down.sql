drop table shadow_total;
drop table shadow_run;
alter table installation drop column upgrade_error;
alter table installation drop column upgrade_to;
alter table installation drop column in_force;
alter table installation drop column shadow_version;
