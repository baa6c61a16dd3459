//! How long `receive` of each bundled plugin takes in the sandbox for one genuine request, and how large its file is.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use switchyard::plugin::{
    model::Received,
    sandbox::{Sandbox, SandboxOptions},
};
use switchyard_sdk::testing::NOON;
use switchyard_simulators::twilio::signature::{self, Algorithm};
use switchyard_tests::world::build_folder;

use super::{
    sandbox::{Keys, call_of, request},
    webhooks,
};
use crate::{
    Bench,
    load::histogram,
    options::Scenario,
    report::{Report, Target},
};

const RECEIVE: Scenario = Scenario::Receive;
const URL: &str = "https://hub.test/in/src_0";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What a `receive` may take at most, in microseconds, and a file in KiB.
const LONGEST: f64 = 60.0;
const LARGEST: f64 = 400.0;

/// A genuine request to a plugin.
struct Sample {
    plugin: &'static str,
    what: &'static str,
    config: Value,
    claims: Option<Value>,
    url: String,
    fields: Vec<(&'static str, String)>,
    body: String,
}

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let sandbox = Arc::new(Sandbox::new(SandboxOptions::uncached(), bench.clock.clone())?);
    let samples = samples();
    for (name, path) in bundled()? {
        let wasm = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let size = stripped(&wasm).with_context(|| format!("{name}.wasm is no component"))? as f64 / 1024.0;
        report.figure(
            RECEIVE,
            &format!("size of {name}.wasm, stripped"),
            "KiB",
            &[size],
            Some(Target::AtMost(LARGEST)),
        );
        let guest = sandbox.compile(wasm).await?;
        if guest.exports().ingest && !samples.iter().any(|sample| sample.plugin == name) {
            eprintln!("receive: there is no sample request for {name}");
        }
        for sample in samples.iter().filter(|sample| sample.plugin == name) {
            let claims = sample.claims.as_ref().map(Value::to_string);
            let keys = Keys { secret: SECRET.to_owned(), claims };
            let fields: Vec<_> = sample.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let mut medians = Vec::new();
            for _ in 0..bench.runs {
                let mut took = histogram();
                // The first part warms up.
                let calls = bench.pick(5_000, 100);
                for call in 0..calls {
                    let request = request(&sample.url, &fields, sample.body.clone().into_bytes());
                    let context = call_of(sample.plugin, &sample.config, keys.clone());
                    let began = bench.clock.monotonic();
                    let ended = sandbox.receive(&guest, request, context).await;
                    let time = bench.clock.monotonic() - began;
                    let taken = matches!(ended.result, Ok(Received::Accepted { .. } | Received::Handled(_)));
                    ensure!(taken, "{name}, {}: {:?} {:?}", sample.what, ended.failure(), ended.result);
                    if call >= calls / 10 {
                        took.saturating_record(u64::try_from(time.as_nanos())?);
                    }
                }
                medians.push(took.value_at_quantile(0.5) as f64 / 1000.0);
            }
            let what = format!("receive of {name}, {}", sample.what);
            report.figure(RECEIVE, &what, "us", &medians, Some(Target::AtMost(LONGEST)));
        }
    }
    Ok(())
}

/// The bytes of a module or component without its custom sections: names for traps, and what tools left.
fn stripped(binary: &[u8]) -> Option<usize> {
    const PREAMBLE: usize = 8;
    const MODULE: [u8; 4] = [1, 0, 0, 0];
    let (head, mut rest) = binary.split_at_checked(PREAMBLE)?;
    let is_component = head.strip_prefix(b"\0asm")? != MODULE;
    let mut size = PREAMBLE;
    while let Some((id, tail)) = rest.split_first() {
        let (length, tail) = leb128(tail)?;
        let (section, after) = tail.split_at_checked(length)?;
        size += match id {
            0 => 0,
            // A module or a component inside a component, which has custom sections of its own.
            1 | 4 if is_component => rest.len() - tail.len() + stripped(section)?,
            _ => rest.len() - after.len(),
        };
        rest = after;
    }
    Some(size)
}

fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().take(5).position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    Some((value, &bytes[end + 1..]))
}

/// The bundled plugins with their files, by name.
fn bundled() -> anyhow::Result<Vec<(String, PathBuf)>> {
    let folder = build_folder().join("plugins");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            all.push((name, path));
        }
    }
    all.sort();
    Ok(all)
}

fn samples() -> Vec<Sample> {
    vec![
        text_message(),
        telephone_call(),
        standard_webhook(),
        push(),
        channel(),
        changed_invoice(),
        changed_subscription(),
    ]
}

fn twilio(what: &'static str, config: Value, url: String, fields: &[(&str, &str)]) -> Sample {
    let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    let signature = signature::sign(Algorithm::HmacSha1, SECRET, &signature::base_string(&url, &fields));
    let content_type = "application/x-www-form-urlencoded; charset=UTF-8".to_owned();
    let fields = vec![("content-type", content_type), ("x-twilio-signature", signature)];
    Sample { plugin: "twilio", what, config, claims: None, url, fields, body }
}

fn text_message() -> Sample {
    let (id, text) = (format!("SM{:032x}", 7), "Rørskade i kælderen, vand overalt. Ring hurtigst muligt!");
    let fields = [
        ("ToCountry", "DK"),
        ("SmsMessageSid", &id),
        ("NumMedia", "0"),
        ("FromCountry", "DK"),
        ("SmsSid", &id),
        ("SmsStatus", "received"),
        ("Body", text),
        ("To", "+4570000001"),
        ("NumSegments", "1"),
        ("MessageSid", &id),
        ("AccountSid", webhooks::ACCOUNT),
        ("From", "+4520123456"),
        ("ApiVersion", "2010-04-01"),
    ];
    twilio("a text message", webhooks::config(), URL.to_owned(), &fields)
}

fn telephone_call() -> Sample {
    let mut config = webhooks::config();
    config["voice"] = json!({
        "language": "da-DK", "greeting": "Velkommen til Acme VVS.",
        "menu": {"prompt": "Tryk 1 for akut.", "choices": [{"digits": "1", "then": "forward"}]},
        "forward": {"numbers": ["+4511111111"]}, "voicemail": {"prompt": "Læg en besked."},
        "hours": {"time_zone": "Europe/Copenhagen", "open": [{"days": ["mon", "fri"], "from": "08:00", "until": "16:00"}]},
    });
    let id = format!("CA{:032x}", 7);
    let fields = [
        ("CallSid", id.as_str()),
        ("AccountSid", webhooks::ACCOUNT),
        ("From", "+4520123456"),
        ("To", "+4570000001"),
        ("Caller", "+4520123456"),
        ("Called", "+4570000001"),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
        ("ApiVersion", "2010-04-01"),
        ("FromCountry", "DK"),
        ("ToCountry", "DK"),
        ("CallerName", "VVS & Søn"),
    ];
    twilio("a call with a menu", config, format!("{URL}/voice"), &fields)
}

fn standard_webhook() -> Sample {
    let body = json!({"order": 1, "lines": [{"sku": "A-1", "count": 2}], "total": "125.00"}).to_string();
    let (id, stamp) = ("msg_1", (NOON / 1000).to_string());
    let signature = format!("v1,{}", STANDARD.encode(mac(&format!("{id}.{stamp}.{body}"))));
    let config = json!({"scheme": {"kind": "standard-webhooks"}, "event": {"from": "fixed", "type": "order.placed"}});
    let fields = vec![
        ("content-type", "application/json".to_owned()),
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", stamp),
        ("webhook-signature", signature),
    ];
    Sample { plugin: "webhook", what: "a standard webhook", config, claims: None, url: URL.to_owned(), fields, body }
}

fn mac(text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length is a key");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A webhook of QuickBooks about one invoice.
fn changed_invoice() -> Sample {
    let body = json!([{
        "specversion": "1.0", "id": "88cd52aa-33b6-4351-9aa4-47572edbd068", "source": "intuit.dsnBgbseACLLRZNxo2dfc4evmEJdxde58xeeYcZliOU=",
        "type": "qbo.invoice.updated.v1", "datacontenttype": "application/json",
        "time": "2026-11-20T21:31:25.179851517Z", "intuitentityid": "1234", "intuitaccountid": "310687", "data": {}
    }]);
    let body = body.to_string();
    Sample {
        plugin: "quickbooks",
        what: "a changed invoice",
        config: json!({"realm_id": "310687"}),
        claims: None,
        url: URL.to_owned(),
        fields: vec![
            ("content-type", "application/json".to_owned()),
            ("intuit-signature", STANDARD.encode(mac(&body))),
        ],
        body,
    }
}

/// A webhook of Stripe with a whole subscription.
fn changed_subscription() -> Sample {
    let now = NOON / 1000;
    let price = json!({
        "id": "price_1", "object": "price", "active": true, "billing_scheme": "per_unit", "created": now - 90_000,
        "currency": "dkk", "livemode": true, "lookup_key": "pro_monthly", "metadata": {}, "nickname": null,
        "product": "prod_1", "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
        "tax_behavior": "exclusive", "type": "recurring", "unit_amount": 29_900, "unit_amount_decimal": "29900"
    });
    let item = json!({
        "id": "si_1", "object": "subscription_item", "created": now - 80_000, "current_period_start": now - 100,
        "current_period_end": now + 2_592_000, "metadata": {}, "price": price, "quantity": 1, "subscription": "sub_1"
    });
    let object = json!({
        "id": "sub_1", "object": "subscription", "automatic_tax": {"enabled": true, "liability": {"type": "self"}},
        "billing_cycle_anchor": now - 100, "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null,
        "collection_method": "charge_automatically", "created": now - 80_000, "currency": "dkk", "customer": "cus_1",
        "default_payment_method": "pm_1", "ended_at": null, "items": {"object": "list", "data": [item]},
        "latest_invoice": "in_2", "livemode": true, "metadata": {"seats": "3"}, "start_date": now - 80_000,
        "status": "active", "trial_end": now - 100, "trial_start": now - 80_000
    });
    let body = json!({
        "id": "evt_1", "object": "event", "api_version": "2026-01-28", "created": now, "livemode": true,
        "type": "customer.subscription.updated", "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null},
        "data": {"object": object, "previous_attributes": {"status": "trialing"}}
    });
    let body = body.to_string();
    Sample {
        plugin: "stripe",
        what: "a changed subscription",
        config: json!({}),
        claims: None,
        url: URL.to_owned(),
        fields: vec![
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("stripe-signature", format!("t={now},v1={}", hex::encode(mac(&format!("{now}.{body}"))))),
        ],
        body,
    }
}

/// A push of Pub/Sub; its token is judged by the host.
fn push() -> Sample {
    let pusher = "push-sa@hub-test.iam.gserviceaccount.com";
    let news = STANDARD.encode(json!({"emailAddress": "office@firma.test", "historyId": "123"}).to_string());
    let body = json!({"message": {"data": news, "messageId": "1"}, "subscription": "s"}).to_string();
    let now = NOON / 1000;
    let claims = json!({"iss": "https://accounts.google.com", "aud": URL, "email": pusher, "email_verified": true,
        "iat": now - 60, "exp": now + 3540, "sub": "1"});
    let push = json!({"topic": "projects/p/topics/gmail", "service_account": pusher});
    Sample {
        plugin: "gmail",
        what: "a push",
        config: json!({"mailbox": "office@firma.test", "push": push}),
        claims: Some(claims),
        url: URL.to_owned(),
        fields: vec![("content-type", "application/json".to_owned()), ("authorization", "Bearer a.b.c".to_owned())],
        body,
    }
}

/// A notification of a calendar's channel.
fn channel() -> Sample {
    let fields = [
        ("x-goog-channel-token", SECRET),
        ("x-goog-channel-id", "0123456789abcdef0123456789abcdef"),
        ("x-goog-resource-id", "resource-1"),
        ("x-goog-resource-state", "exists"),
        ("x-goog-message-number", "7"),
    ];
    Sample {
        plugin: "calendar",
        what: "a notification",
        config: json!({"calendars": [{"id": "work@firma.test"}], "time_zone": "Europe/Copenhagen"}),
        claims: None,
        url: URL.to_owned(),
        fields: fields.map(|(name, value)| (name, value.to_owned())).to_vec(),
        body: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_sections_are_left_out_at_every_depth() {
        let module = [&b"\0asm\x01\0\0\0"[..], &[0, 3, 1, b'n', 9], &[1, 2, 7, 7]].concat();
        assert_eq!(stripped(&module), Some(8 + 4));
        let length = u8::try_from(module.len()).unwrap();
        let component = [&b"\0asm\x0d\0\x01\0"[..], &[0, 1, 0], &[1, length], &module, &[8, 1, 0]].concat();
        assert_eq!(stripped(&component), Some(8 + 2 + 12 + 3));
        assert_eq!(stripped(&component[..component.len() - 1]), None);
        assert_eq!(stripped(b"\0asm"), None);
    }
}
