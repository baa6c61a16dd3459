-- One row at least in every table that step 0003 makes.
create table raw_request_day_0 partition of raw_request for values from ('\x00000000000000000000000000000000') to ('\x00000005265c00000000000000000000');
insert into raw_request values ('\x00000000000000000000000000000012', 'acme', 'src_1', 'POST', 'https://hub.example/in/src_1?a=1', '[["x-signature","00"]]', '\x7b7d', 1700000000000, '192.0.2.1', 'cor-1');
insert into parked values ('\x00000000000000000000000000000020', 'acme', 'billy', 'src_1', 'POST', 'https://hub.example/in/src_1', '[]', '\x7b7d', 130, 1700000000001, null, 'cor-2', 'plugin_bug', 'trap', 'it trapped', 2);
insert into rejection values ('acme', '\x00000000000000000000000000000021', 'src_1', 1700000000002, 401, 'unauthenticated', 'no signature fits', 12, '192.0.2.1', 'cor-3');
insert into rejection_count values ('acme', 'src_1', 9);
