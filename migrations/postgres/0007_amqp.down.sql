alter table source drop column queue;
alter table source drop column shown_url;
alter table source drop column amqp_url;
alter table endpoint drop column routing_key;
alter table endpoint drop column exchange;
alter table endpoint drop column amqp_url;
