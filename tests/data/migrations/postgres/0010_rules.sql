-- An earlier config, and values in the columns that step 0010 adds.
insert into config_version values ('acme', 'billy', 1, '{"rules":[]}', 1700000000000, 'key_00000000000000000000000000000001');
update schedule set timetable = '{"cron":"0 2 * * *"}', missed = 2, missed_at = 1700000000000;
