use std::net::IpAddr;

use http::HeaderValue;
use secrecy::SecretString;
use switchyard::{
    clock::Timestamp,
    connection::template::{UsedSecrets, fill},
    outbound::{egress::EgressPolicy, outcome::retry_after},
};
use switchyard_fuzz::{fuzz, outcome};

#[test]
fn fuzz_urls_and_addresses() {
    let policy = EgressPolicy::new(Vec::new(), Vec::new());
    let seeds: [&[u8]; 14] = [
        b"https://example.com/hook",
        b"https://127.0.0.1/",
        b"https://2130706433/",
        b"https://0x7f.1/",
        b"https://0177.0.0.1/",
        b"https://[::ffff:127.0.0.1]/",
        b"https://[64:ff9b::a9fe:a9fe]/",
        b"https://[fe80::1%25eth0]/",
        b"https://user:pw@example.com:22/#x",
        b"https:\\\\169.254.169.254\\",
        b"https://example.com@10.0.0.1/",
        b"https://xn--\xc3\xa6.example/",
        b"//10.0.0.1/",
        b"https://1.1.1.1.:443/%00",
    ];
    fuzz(&seeds, &["https://", "http://", "127.0.0.1", "[::1]", "@", ":443", "0x", "%2e"], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let checked = policy.check_url(&text);
        if let Ok(target) = &checked {
            let host = target.uri().host().unwrap_or_default();
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            assert!(!address.is_ok_and(|address| !is_public(address)), "{text} leads to {host}");
            assert_eq!(target.uri().scheme_str(), Some("https"), "{text}");
            assert!(target.join("/path").is_ok(), "{text} takes no path");
        }
        outcome(&checked.map(|_| ()))
    });
}

/// What must never be called, said in another way than the guard says it.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local())
        }
    }
}

#[test]
fn fuzz_retry_after() {
    let now = Timestamp(1_795_176_000_000);
    let seeds: [&[u8]; 8] = [
        b"120",
        b"0",
        b"-1",
        b"99999999999999999999",
        b"Fri, 20 Nov 2026 12:01:00 GMT",
        b"Friday, 20-Nov-26 12:01:00 GMT",
        b"Fri Nov 20 12:01:00 2026",
        b"Fri, 31 Feb 9999 99:99:99 GMT",
    ];
    fuzz(&seeds, &["GMT", "Nov", ":", "2026", "Fri, "], |bytes| {
        let wait = HeaderValue::from_bytes(bytes).ok().map(|value| retry_after(&value, now));
        assert!(wait.flatten().is_none_or(|wait| wait.as_secs() <= 86_400), "longer than a day");
        wait.map(|wait| wait.is_some())
    });
}

#[test]
fn fuzz_secret_templates() {
    let secret = SecretString::from("{{secret:a.b}}");
    let seeds: [&[u8]; 5] = [
        b"Bearer {{secret:push.token}}",
        b"{{secret:a.b}}{{secret:a.b}}",
        b"{{secret:}}",
        b"{{secret:a.b",
        b"{{secret:a.b.c}}{{",
    ];
    fuzz(&seeds, &["{{secret:", "}}", "a.b", "{{"], |bytes| {
        let mut used = UsedSecrets::default();
        let filled = fill(bytes, &mut used, |slot, field| ((slot, field) == ("a", "b")).then_some(&secret));
        outcome(&filled.map(|_| ()))
    });
}
