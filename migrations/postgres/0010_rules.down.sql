-- Without the rules' own tables and columns.
drop table config_version;
alter table schedule drop column missed_at;
alter table schedule drop column missed;
alter table schedule drop column timetable;
