-- One row at least in every table that step 0004 makes, and values in the columns that it adds.
update installation set shadow_version = '1.1.0', in_force = '1.0.0', upgrade_to = '1.1.0', upgrade_error = 'not yet' where tenant = 'acme' and plugin = 'billy';
insert into shadow_run values ('\x00000000000000000000000000000015', 'acme', 'billy', '1.0.0', '1.1.0', 'differs', '{"events":[0]}', 900, 1700000000006);
insert into shadow_total values ('acme', 'billy', '1.1.0', 'differs', 1, 1700000000006, 1700000000006);
