use switchyard::{
    clock::Timestamp,
    event::{Event, EventType, Target, TenantId, Urgency},
    id::Key,
    observe::trace::{CorrelationId, TraceParent},
    route::{
        filter::{EventFacts, Filter},
        pattern::TypePattern,
    },
    schedule::next_cron,
};
use switchyard_fuzz::{fuzz, outcome};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn fuzz_event_types_and_patterns() {
    let seeds: [&[u8]; 7] = [b"invoice.paid", b"invoice.*", b"*", b"_poll.due", b"a..b", b".*", b"*.a"];
    let known: [EventType; 2] = ["invoice.paid".parse().unwrap(), "_poll.due".parse().unwrap()];
    fuzz(&seeds, &[".*", "*", "_", "."], |bytes| {
        let text = text(bytes);
        let pattern = text.parse::<TypePattern>();
        if let Ok(pattern) = &pattern {
            assert_eq!(pattern.to_string().parse::<TypePattern>().as_ref(), Ok(pattern), "it is written as it is read");
            let open = matches!(pattern, TypePattern::Any | TypePattern::Below(_));
            assert!(!(open && pattern.matches(&known[1])), "a wildcard matched a private type");
        }
        (
            outcome(&text.parse::<EventType>()),
            outcome(&pattern),
            pattern.is_ok_and(|pattern| pattern.matches(&known[0])),
        )
    });
}

#[test]
fn fuzz_names_and_ids() {
    let seeds: [&[u8]; 8] = [
        b"acme",
        b"src_0190a0b1c2d37e4f8a9b0c1d2e3f4a5b",
        b"ep_0190a0b1c2d37e4f8a9b0c1d2e3f4a5b",
        b"plugin:billy",
        b"unrouted",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"req-1_A",
        b"src_\xc3\xa6",
    ];
    fuzz(&seeds, &["src_", "ep_", "plugin:", "00-", "-01"], |bytes| {
        let text = text(bytes);
        if let Some(key) = Key::parse("src", &text) {
            assert_eq!(key.with_prefix("src"), text, "two spellings of one source");
        }
        if let Ok(target) = text.parse::<Target>() {
            assert_eq!(target.to_string(), text);
        }
        (
            outcome(&text.parse::<TenantId>()),
            Key::parse("src", &text).is_some(),
            outcome(&text.parse::<Target>()),
            outcome(&text.parse::<CorrelationId>()),
            outcome(&text.parse::<TraceParent>()),
            outcome(&text.parse::<Timestamp>()),
        )
    });
}

#[test]
fn fuzz_source_paths() {
    let mut limits = switchyard::config::Settings::defaults().unwrap().limits;
    let usual = limits.body("/");
    let bytes = usual.bytes * 4;
    let large = switchyard::ingress::limits::BodyLimits { bytes, ..usual };
    limits.large_bodies = vec![switchyard::ingress::limits::LargeBody { path: "/v1/plugins", limits: large }];
    let seeds: [&[u8]; 6] =
        [b"/in/src_0190", b"/in/../v1/plugins", b"/v1/plugins", b"/v1//plugins", b"/v1/plugins/", b"//"];
    fuzz(&seeds, &["/in/", "/v1/plugins", "%2f", "..", "?", "#"], |bytes| {
        let Ok(uri) = text(bytes).parse::<http::Uri>() else { return None };
        let large = limits.body(uri.path()) != usual;
        assert_eq!(large, uri.path() == "/v1/plugins", "{uri}");
        Some(large)
    });
}

fn event() -> Event {
    Event {
        key: Key::default(),
        id: "evt_1".into(),
        tenant: "acme".parse().unwrap(),
        event_type: "invoice.paid".parse().unwrap(),
        source: "api".into(),
        subject: None,
        time: Timestamp(1_700_000_000_000),
        accepted_at: Timestamp(1_700_000_000_000),
        ordering_key: None,
        correlation_id: "c".into(),
        traceparent: "t".into(),
        cause: None,
        request: None,
        hop: 0,
        urgency: Urgency::Normal,
        expires_at: None,
        private_to: None,
        extensions: None,
        data: "{}".into(),
    }
}

#[test]
fn fuzz_filters() {
    let (event, data) = (event(), serde_json::json!({"a": 1, "t": "x".repeat(1000), "l": [1, [2]], "m": {"n": null}}));
    let seeds: [&[u8]; 12] = [
        b"event.type == 'invoice.paid' && data.a > 0",
        b"data.t.matches('^x+$') || has(data.m)",
        b"data.l[0] in [1, 2] ? true : size(data.l) == 1",
        b"data.l.all(x, x > 1)",
        b"r'\\' == \"\\\"\" || b'\\xff' == b''",
        b"'''a''' == \"\"\"b\"\"\"",
        b"((((((((((((((((((((((((((((((((true))))))))))))))))))))))))))))))))",
        b"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!true",
        b"data.t + data.t + data.t == ''",
        b"-9223372036854775808 - 1 == 0 || 1 / 0 == 1 || 5 % 0 == 0",
        b"1.0e999 == 18446744073709551615u || int('x') == int(1e99)",
        b"data.t.matches('((x{9}){9}){9}')",
    ];
    let words = [
        "data.",
        "event.type",
        "matches(",
        "has(",
        " ? true : ",
        " && ",
        " in ",
        "size(",
        "[0]",
        "'''",
        "r'",
        "int(",
        "type(",
    ];
    fuzz(&seeds, &words, |bytes| {
        let filter = Filter::compile(&text(bytes));
        let passed = filter.as_ref().ok().map(|filter| filter.matches(&EventFacts::new(&event, &data)));
        (outcome(&filter.map(|_| ())), passed)
    });
}

#[test]
fn fuzz_cron() {
    let now = Timestamp(1_795_176_000_000);
    // A list of nothing made the search go on to the year 5000 by the minute.
    let seeds: [&[u8]; 11] = [
        b", * * * *|UTC",
        b"* , * * *|UTC",
        b"59 23 29 2 +1|America/Nuuk",
        b"0 6 * * *|Europe/Copenhagen",
        b"*/5 * * * *|UTC",
        b"0 0 29 2 *|UTC",
        b"0 0 31 2 *|UTC",
        b"0 0 L * FRI#5|UTC",
        b"30 2 29 3 *|Europe/Copenhagen",
        b"@yearly|Nowhere/At all",
        b"0-59/0 * * * *|",
    ];
    fuzz(&seeds, &["* ", "*/", "L", "#", "W", "@daily", "MON-FRI", "|"], |bytes| {
        let text = text(bytes);
        let (expression, zone) = text.split_once('|').unwrap_or((&text, "UTC"));
        let next = next_cron(expression, Some(zone), now);
        assert!(next.is_none_or(|next| next > now), "the next time lies in the past");
        next.is_some()
    });
}
