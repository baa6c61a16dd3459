-- One row at least in every table that step 0008 makes; the partitions are there from the start.
insert into node values ('\x00000000000000000000000000000030', 'one:8080', 'api,worker', '0.1.0', '2026-01-01T00:00:00Z', '2026-01-01T00:00:10Z');
update lane_partition set node = '\x00000000000000000000000000000030', epoch = 4 where number = 7;
insert into duty values ('scheduler', '\x00000000000000000000000000000030', 3, '2026-01-01T00:00:10Z');
insert into change (id, xid, tenant) overriding system value values (1, '7', 'acme');
