-- An event whose ids the hub made, and what the other one says of its persons.
insert or ignore into event values (40, x'00000000000000000000000000000020', 'acme', 'evt_00000000000000000000000000000020', 'invoice.paid', 'api', null, 1700000000010, 1700000000011, null, '00000000000000000000000000000020', '00-3-4-01', null, null, 0, 0, null, null, null, '{"amount":"1.00"}', null);
update event set persons = zeroblob(32) where seq = 3;
