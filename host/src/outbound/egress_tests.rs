use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

fn open() -> EgressPolicy {
    EgressPolicy::default()
}

fn allowing(nets: &[&str]) -> EgressPolicy {
    EgressPolicy::new(nets.iter().map(|net| net.parse().unwrap()).collect(), Vec::new())
}

const NOT_PUBLIC: EgressError = EgressError::BlockedAddress(Blocked::NotPublic);
const SCHEME_OR_PORT: EgressError = EgressError::BlockedAddress(Blocked::SchemeOrPort);

/// Answers each look-up with the next of its lists.
struct Scripted(Mutex<Vec<Vec<IpAddr>>>);

impl Scripted {
    fn guard(policy: EgressPolicy, answers: &[&[&str]]) -> EgressGuard {
        let parse = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let answers = answers.iter().rev().map(parse).collect();
        EgressGuard::new(policy, Arc::new(Self(Mutex::new(answers))))
    }
}

#[async_trait]
impl Resolve for Scripted {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, EgressError> {
        self.0.lock().unwrap().pop().ok_or(EgressError::Dns)
    }
}

fn uri(text: &str) -> Uri {
    text.parse().unwrap()
}

#[test]
fn ordinary_https_urls_are_accepted_in_canonical_form() {
    for (text, canonical) in [
        ("https://example.com/hook?a=1", "https://example.com/hook?a=1"),
        ("HTTPS://EXAMPLE.com:443", "https://example.com/"),
        ("https://example.com:8443/x", "https://example.com:8443/x"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
    ] {
        assert_eq!(open().check_url(text).unwrap().uri().to_string(), canonical, "{text}");
    }
}

#[test]
fn malformed_urls_are_refused_with_the_reason() {
    let long = format!("https://example.com/{}", "a".repeat(2048));
    let long_host = format!("https://{}example/", "a.".repeat(130));
    for (text, reason) in [
        ("", "absolute"),
        ("example.com/hook", "absolute"),
        ("https://", "absolute"),
        ("https://exa mple.com", "absolute"),
        ("https://[::1%25eth0]/", "absolute"),
        ("https://256.1.1.1/", "absolute"),
        ("ftp://example.com/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://example.com/", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("https://user@example.com/", "user name"),
        ("https://:pw@example.com/", "user name"),
        ("https://example.com/#top", "fragment"),
        (&long, "2048"),
        (&long_host, "host name"),
    ] {
        let error = open().check_url(text).unwrap_err();
        assert_eq!(error.code(), "malformed_url", "{text}");
        assert!(error.to_string().contains(reason), "{text}: {error}");
    }
}

#[test]
fn every_row_of_the_deny_table_is_refused_as_a_literal() {
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
    ] {
        assert_eq!(open().check_url(&format!("https://{address}/")), Err(NOT_PUBLIC), "{address}");
        let mapped = format!("https://[::ffff:{address}]/");
        assert_eq!(open().check_url(&mapped), Err(NOT_PUBLIC), "{mapped}");
    }
    for address in [
        "::",
        "::1",
        "::7f00:1",
        "::8.8.8.8",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "2001:db8::1",
        "3fff::1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2001::1",
        "2001:20::1",
        "5f00::1",
        "::ffff:0:127.0.0.1",
        "4000::1",
    ] {
        assert_eq!(open().check_url(&format!("https://[{address}]/")), Err(NOT_PUBLIC), "{address}");
    }
}

#[test]
fn neighbours_of_denied_ranges_are_accepted() {
    for address in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "168.63.129.17",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "[2001:200::1]",
        "[2003::1]",
        "[2a00:1450::1]",
        "[3ffe::1]",
    ] {
        assert!(open().check_url(&format!("https://{address}/")).is_ok(), "{address}");
    }
}

#[test]
fn disguised_loopback_is_recognised() {
    for text in [
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0x7f000001/",
        "https://017700000001/",
        "https://127.1/",
        "https://127.0.1/",
        "https://１２７.0.0.1/",
        "https://127。0。0。1/",
        "https://127.0.0.1./",
        "https://[::ffff:7f00:1]/",
    ] {
        assert_eq!(open().check_url(text), Err(NOT_PUBLIC), "{text}");
    }
}

#[test]
fn plain_http_and_other_ports_need_an_allowed_address() {
    for text in [
        "http://example.com/",
        "https://example.com:444/",
        "http://8.8.8.8/",
        "https://8.8.8.8:22/",
        "http://example.com:443/",
    ] {
        assert_eq!(open().check_url(text), Err(SCHEME_OR_PORT), "{text}");
    }
    let local = allowing(&["127.0.0.0/8", "::1/128"]);
    for text in
        ["http://127.0.0.1:9000/hook", "https://127.0.0.1/", "http://[::1]:80/", "http://[::ffff:127.0.0.1]:81/"]
    {
        assert!(local.check_url(text).is_ok(), "{text}");
    }
    assert_eq!(local.check_url("http://8.8.8.8/"), Err(SCHEME_OR_PORT));
    assert_eq!(local.check_url("http://10.0.0.1/"), Err(NOT_PUBLIC));
    // A name can be judged only when it is resolved.
    assert!(local.check_url("http://simulator.internal:9000/").is_ok());
}

#[test]
fn the_hubs_own_public_addresses_are_refused_unless_allowed() {
    let own: IpAddr = "198.20.0.9".parse().unwrap();
    assert_eq!(EgressPolicy::new(Vec::new(), vec![own]).check_url("https://198.20.0.9/"), Err(NOT_PUBLIC));
    let allowed = EgressPolicy::new(vec!["198.20.0.9/32".parse().unwrap()], vec![own]);
    assert!(allowed.check_url("https://198.20.0.9/").is_ok());
}

#[tokio::test]
async fn one_private_address_in_an_answer_refuses_all_of_it() {
    let guard = Scripted::guard(open(), &[&["93.184.216.34", "10.0.0.7"], &["93.184.216.34", "2606:4700::1"]]);
    let target = uri("https://example.com/");
    assert_eq!(guard.addresses(&target).await, Err(NOT_PUBLIC));
    assert_eq!(guard.addresses(&target).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_name_that_turns_to_loopback_later_is_refused_then() {
    let guard = Scripted::guard(open(), &[&["93.184.216.34"], &["127.0.0.1"]]);
    let target = guard.policy().check_url("https://rebind.example/").unwrap();
    assert!(guard.addresses(target.uri()).await.is_ok());
    assert_eq!(guard.addresses(target.uri()).await, Err(NOT_PUBLIC));
}

#[tokio::test]
async fn plain_http_by_name_needs_every_address_allowed() {
    let guard = Scripted::guard(allowing(&["127.0.0.0/8"]), &[&["127.0.0.1"], &["127.0.0.1", "93.184.216.34"]]);
    let target = uri("http://simulator.internal:9000/");
    assert!(guard.addresses(&target).await.is_ok());
    assert_eq!(guard.addresses(&target).await, Err(SCHEME_OR_PORT));
}

#[tokio::test]
async fn literals_are_judged_without_a_look_up_and_endless_answers_refused() {
    let guard = Scripted::guard(open(), &[]);
    assert_eq!(guard.addresses(&uri("https://[::1]/")).await, Err(NOT_PUBLIC));
    assert_eq!(guard.addresses(&uri("https://1.1.1.1/")).await.unwrap().len(), 1);
    assert_eq!(guard.addresses(&uri("https://gone.example/")).await, Err(EgressError::Dns));
    let many: Vec<String> = (0..65).map(|last| format!("8.8.8.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let guard = Scripted::guard(open(), &[&many, &[]]);
    assert_eq!(guard.addresses(&uri("https://many.example/")).await, Err(EgressError::Dns));
    assert_eq!(guard.addresses(&uri("https://none.example/")).await, Err(EgressError::Dns));
}

#[tokio::test]
async fn the_system_resolver_finds_loopback_and_reports_unknown_names() {
    let found = SystemResolver::new().resolve("localhost").await.unwrap();
    assert!(found.iter().all(IpAddr::is_loopback));
    assert_eq!(SystemResolver::new().resolve("no-such-host.invalid").await, Err(EgressError::Dns));
}

#[test]
fn error_texts_never_name_an_address() {
    for text in ["https://10.1.2.3/", "http://93.184.216.34/", "https://[fd00::1]/"] {
        let error = open().check_url(text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("10.1.2.3") && !shown.contains("93.184") && !shown.contains("fd00"), "{shown}");
    }
}

#[test]
fn a_url_does_not_show_its_path_in_debug() {
    let target = open().check_url("https://hooks.example:8443/T0/marker?key=marker").unwrap();
    assert_eq!(format!("{target:?}"), "Target(https://hooks.example:8443/..)");
}

#[test]
fn paths_are_appended_to_the_base_url() {
    let base = open().check_url("https://api.example/v2/").unwrap();
    assert_eq!(base.join("/invoices?x=1").unwrap().uri().to_string(), "https://api.example/v2/invoices?x=1");
    let bare = open().check_url("https://api.example").unwrap();
    assert_eq!(bare.join("/a").unwrap().uri().to_string(), "https://api.example/a");
    assert_eq!(bare.join("/a b").unwrap_err().code(), "malformed_url");
}

proptest! {
    #[test]
    fn no_text_gets_a_private_literal_through(text in "https?://[0-9a-fx.:\\[\\]]{1,40}(:[0-9]{1,5})?/?") {
        if let Ok(target) = open().check_url(&text) {
            let host = target.uri().host().unwrap().trim_matches(['[', ']']).to_owned();
            if let Ok(address) = host.parse::<IpAddr>() {
                prop_assert!(is_public(address.to_canonical()));
            }
        }
    }

    #[test]
    fn an_ipv4_address_is_judged_alike_in_its_mapped_form(bits in any::<u32>()) {
        let plain = Ipv4Addr::from_bits(bits);
        let mapped = plain.to_ipv6_mapped();
        let judge = |address: IpAddr| open().judge(address, None);
        prop_assert_eq!(judge(plain.into()), judge(mapped.into()));
    }

    #[test]
    fn arbitrary_text_never_makes_the_check_fail_over(text in "\\PC{0,200}") {
        let _ = open().check_url(&text);
    }
}
