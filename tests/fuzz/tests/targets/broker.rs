use switchyard::broker::{BrokerAddress, bell};
use switchyard_fuzz::{fuzz, outcome};

#[test]
fn fuzz_bells() {
    let long = format!("1 {} plugin:{} 1", "a".repeat(63), "b".repeat(63));
    let seeds: [&[u8]; 6] = [
        b"1 acme ep_0193a5c1d2e37f4f8a5b6c7d8e9fa0b1 0",
        b"1 acme unrouted 1",
        b"1 acme plugin:billy 0",
        long.as_bytes(),
        b"2 acme unrouted 0",
        b"1  unrouted 0",
    ];
    fuzz(&seeds, &["1 ", " 0", " 1", "ep_", "plugin:", "unrouted", " "], |bytes| {
        let read = bell::decode(bytes);
        if let Ok(lane) = &read {
            assert_eq!(bell::encode(lane).as_bytes(), bytes, "there is one way to write a bell");
            assert!(bytes.len() <= bell::MAX_BYTES);
        }
        outcome(&read)
    });
}

#[test]
fn fuzz_broker_addresses() {
    let seeds: [&[u8]; 7] = [
        b"amqps://user:pass@broker.example.com:5671/vhost",
        b"amqp://u%40x:p%3aw@[::1]:5672/%2f",
        b"amqp://0x7f.1/",
        b"amqp://guest@localhost",
        b"amqp:///v",
        b"amqp://u:p@h/a/b?heartbeat=0#x",
        b"amqps://xn--bcher-kva.example/v",
    ];
    fuzz(&seeds, &["amqp://", "amqps://", "@", "/", "%2f", "[::1]", ":5672", "?"], |bytes| {
        let read = BrokerAddress::parse(&String::from_utf8_lossy(bytes));
        if let Ok(address) = &read {
            assert!(!address.host().is_empty());
            let again = BrokerAddress::parse(&address.to_string()).map(|again| again.to_string());
            assert_eq!(again, Ok(address.to_string()), "what is shown is an address as well");
        }
        outcome(&read.map(|_| ()))
    });
}
