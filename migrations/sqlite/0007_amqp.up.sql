-- Brokers of tenants: endpoints that are exchanges, and sources that are queues. Credentials stand in the address, so the
-- address is sealed, and `endpoint.url` shows it without them.

alter table endpoint add column amqp_url blob; -- Which broker is it, credentials included, sealed (null: it takes HTTP)?
alter table endpoint add column exchange text; -- Where at the broker are messages published?
alter table endpoint add column routing_key text; -- Under which key (null: each event's type)?

alter table source add column amqp_url blob; -- Which broker feeds it, credentials included, sealed (null: none does)?
alter table source add column shown_url text; -- How is that broker shown, without credentials?
alter table source add column queue text; -- From which of its queues?
