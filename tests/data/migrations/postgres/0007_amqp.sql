-- Values in the columns that step 0007 adds.
update endpoint set amqp_url = '\xaa05', exchange = 'orders', routing_key = 'paid';
update source set amqp_url = '\xaa06', shown_url = 'amqps://mq.example.com:5671/%2f', queue = 'orders';
