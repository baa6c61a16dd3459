-- One row at least in every table that step 0009 makes.
insert into consent values ('acme', '\x0101010101010101010101010101010101010101010101010101010101010101', 'sms', '\xaa07', 'withdrawn', 'stop_keyword', 1700000000007, 1700000000008);
insert into consent_history values ('acme', '\x0101010101010101010101010101010101010101010101010101010101010101', 'sms', 1700000000007, 'withdrawn', 'stop_keyword', null, 1700000000008);
insert into plan values ('acme', 'active', 1700000000001, 7, '{"sms.send":{"month":500}}', 'acme', 'cus_1', null, 1700000000001);
insert into usage values ('acme', 19675, 'sms.send', 3);
insert into reservation values ('\x00000000000000000000000000000015', 'acme', 'sms.send');
