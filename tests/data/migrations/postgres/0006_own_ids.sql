-- An id that the sender gave, an event whose ids the hub made, and what the other one says of its persons.
insert into event_name values ('acme', 'order-1', '\x00000000000000000000000000000010');
insert into event values ('\x00000000000000000000000000000020', 'acme', 'evt_00000000000000000000000000000020', 'invoice.paid', 'api', null, 1700000000010, 1700000000011, null, '00000000000000000000000000000020', '00-3-4-01', null, null, 0, 0, null, null, null, '{"amount":"1.00"}', null) on conflict do nothing;
update event set persons = '\x0000000000000000000000000000000000000000000000000000000000000000' where id = 'order-1';
