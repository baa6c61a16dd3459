-- One row at least in every table that step 0005 makes, and values in the columns that it adds.
insert into app values (x'00000000000000000000000000000016', 'quickbooks', 'books', 'quickbooks', 'client-1', x'aa01', x'aa02', 1700000000000, 1700000000001);
insert into app_source values ('src_2', x'00000000000000000000000000000016', 'default');
update connection set app = x'00000000000000000000000000000016', token_version = 3, refreshing_until = 1700000000002, access_token = x'aa03', access_expires_at = 1700000000003, refresh_at = 1700000000004 where key = x'00000000000000000000000000000001';
insert into oauth_state values (zeroblob(32), 'acme', x'00000000000000000000000000000001', x'00000000000000000000000000000003', x'aa04', '/console', 1700000000005, 1700000000006);
