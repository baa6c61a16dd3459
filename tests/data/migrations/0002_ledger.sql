-- One row at least in every table that step 0002 makes.
insert into event values (3, x'00000000000000000000000000000010', 'acme', 'order-1', 'invoice.paid', 'api', 'inv-1', 1700000000000, 1700000000001, 'inv-1', 'cor-1', '00-1-2-01', x'00000000000000000000000000000011', x'00000000000000000000000000000012', 2, 1, 1700009000000, 'billy', '{"ext":1}', '{"amount":"125.00"}');
insert into dedupe values ('acme', 'api', 'order-1', 'order-1', zeroblob(32), 1700000000002);
insert into person_index values ('acme', zeroblob(32), x'00000000000000000000000000000010');
insert into delivery values (x'00000000000000000000000000000013', 'acme', x'00000000000000000000000000000010', 'ep_00000000000000000000000000000002', 0, x'00000000000000000000000000000014', 2, 1700000000003, 3, 2, 1, 1, 'inv-1', 'subscriber', 'status_500', 'it said 500', 'f00d', 1, 1700000000004, 1700000000005, 1700009000000);
insert into delivery values (x'00000000000000000000000000000015', 'acme', x'00000000000000000000000000000010', 'plugin:billy', 1, x'00000000000000000000000000000016', 4, 1700000000003, 1, 1, 0, 0, null, 'plugin_bug', 'trap', 'it trapped', 'beef', 0, 1700000000004, 1700000000005, null);
insert into attempt values (x'00000000000000000000000000000013', 2, 1700000000006, 1500, 'failed', 'subscriber', 'status_500', 'it said 500', 500, null, '{"answer":"no"}');
insert into journal values (x'00000000000000000000000000000015', x'0102');
insert into kv values ('acme', 'billy', 'cursor', 4, x'76', 1700009000000, zeroblob(32), 1700000000007);
