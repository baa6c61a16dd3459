-- One row at least in every table that step 0011 makes, and values in the columns that it adds.
update event set erased_at = 1700000000021;
insert into privacy_request values ('\x00000000000000000000000000000021', 'acme', 'erase', 'phone', '\x0000000000000000000000000000000000000000000000000000000000000000', 'running', '{"pass":0}', 3, 1700000000022, 1700000000020, 1700000000021, 'key_1');
insert into privacy_piece values ('\x00000000000000000000000000000021', 0, 'acme', '\xaabb');
