-- One row at least in every table that step 0005 makes, and values in the columns that it adds.
insert into app values ('\x00000000000000000000000000000016', 'quickbooks', 'books', 'quickbooks', 'client-1', '\xaa01', '\xaa02', 1700000000000, 1700000000001);
insert into app_source values ('src_2', '\x00000000000000000000000000000016', 'default');
update connection set app = '\x00000000000000000000000000000016', token_version = 3, refreshing_until = 1700000000002, access_token = '\xaa03', access_expires_at = 1700000000003, refresh_at = 1700000000004 where key = '\x00000000000000000000000000000001';
insert into oauth_state values ('\x0000000000000000000000000000000000000000000000000000000000000000', 'acme', '\x00000000000000000000000000000001', '\x00000000000000000000000000000003', '\xaa04', '/console', 1700000000005, 1700000000006);
