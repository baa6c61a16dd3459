-- One row at least in every table that step 0001 makes.
insert into tenant values ('acme', 'Acme', 'Europe/Copenhagen', '{"a":1}', true, 1700000000000, '{"invoice.create":"billy"}', '\x01026b31', 1700000000000);
insert into tenant values ('beta', 'Beta', 'UTC', '{}', false, null, '{}', '\x01026b32', 1700000000001);
insert into tenant_removal values ('gone');
insert into plugin_version values ('billy', '1.0.0', '\x0000000000000000000000000000000000000000000000000000000000000000', '{"id":"billy"}', 4, 1700000000000);
insert into plugin_wasm values ('billy', '1.0.0', '\x0061736d');
insert into installation values ('acme', 'billy', 'live', '1.0.0', '{"k":"v"}', '{"billing":"con_01"}', '["emits:*"]', '[0,5]', 'ready', null, 'auth', 'needs_login', 'log in', 1700000000002, '0.9.0', 1700000000003, 1700000000004);
insert into source values ('src_1', 'acme', 'billy', 'default');
insert into schedule values ('acme', 'billy', 'poll', 1700000000005, '\x00000000000000000000000000000000', true, 'cursor-7', 1700000000006);
insert into connection values ('\x00000000000000000000000000000001', 'acme', 'billy', 'books', 'bearer', 'org-1', 'https://api.example', 'expired', 1700000000007, 1700000000008, 1700000000009);
insert into connection_secret values ('\x00000000000000000000000000000001', 0, '\xaabb', null), ('\x00000000000000000000000000000001', 1, '\xccdd', 1700000000010);
insert into endpoint values ('\x00000000000000000000000000000002', 'acme', 'https://example.com/hook', '["invoice.*"]', 'data.a > 1', 'books', 'standard', 'paused', 'by hand', 1700000000011, '[0]', 5, 2, true, '\xee', 15000, 1700000000012, 1700000000013, 1700000000014, 1700000000015);
insert into endpoint_secret values ('\x00000000000000000000000000000002', 0, '\xff', null);
insert into api_key values ('\x00000000000000000000000000000003', '\x0000000000000000000000000000000000000000000000000000000000000000', 'sk_12345', 'reader', 'acme', 'reader', false, 1700000000016, 1700000000017, 1700000000018);
insert into answer values ('\x00000000000000000000000000000003', 'once', '\x0000000000000000000000000000000000000000000000000000000000000000', 201, '\x00', 1700000000019);
insert into audit overriding system value values (7, 1700000000020, 'acme', 'key_1', 'endpoint.created', 'ep_2', null, '{"url":"https://example.com/hook"}');
insert into meta values ('clock', '\x0000018bcfe56800');
