-- Values in the columns that step 0007 adds.
update endpoint set amqp_url = x'aa05', exchange = 'orders', routing_key = 'paid';
update source set amqp_url = x'aa06', shown_url = 'amqps://mq.example.com:5671/%2f', queue = 'orders';
