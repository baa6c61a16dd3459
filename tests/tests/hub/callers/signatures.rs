use std::collections::BTreeSet;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE},
};
use serde_json::json;
use switchyard_tests::{
    api::Reply,
    hub::Hub,
    world::{SENDER_SECRET, sender_signature},
};

use super::{
    senders::{STANDARD_KEY, Sender, Signed, TOKEN, mac, now, push_plugins, standard_secret, twilio_signature},
    wire,
};

const BODY: &[u8] = br#"{"order":1,"note":"caf\u00e9"}"#;

/// A request that proves nothing: what is wrong, where it goes, its fields and its body.
struct Forged {
    what: String,
    path: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Forged {
    fn new(what: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        Self { what: what.to_owned(), path: path.to_owned(), fields, body: body.to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("POST {} HTTP/1.1\r\nHost: hub.test\r\nConnection: close\r\n", self.path).into_bytes();
        for (name, value) in &self.fields {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend(format!("Content-Length: {}\r\n\r\n", self.body.len()).into_bytes());
        [bytes, self.body.clone()].concat()
    }
}

/// Status, names of the header fields, and body of an answer.
fn shape(said: &str) -> (u16, BTreeSet<String>, String) {
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or((said, ""));
    let names = head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_lowercase());
    (wire::status(said), names.collect(), body.to_owned())
}

async fn rejections_counted(hub: &Hub) -> u64 {
    let metrics = hub.get("/metrics").await.text;
    let line = metrics.lines().find(|line| line.starts_with("switchyard_rejections_total{cause=\"unauthenticated\"}"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

/// Each is refused as the others are, nothing of it is stored, and all are counted and shown to the tenant.
async fn all_are_refused_alike(hub: &Hub, sender: &Sender, forged: &[Forged]) {
    let (before, counted) = (sender.counts().await, rejections_counted(hub).await);
    let mut shapes = Vec::new();
    for forged in forged {
        let said = wire::talk(hub, &forged.bytes()).await;
        assert_eq!(wire::status(&said), 401, "{} was answered: {said}", forged.what);
        shapes.push(shape(&said));
    }
    let odd = shapes.iter().position(|shape| *shape != shapes[0]);
    assert_eq!(odd, None, "{:?} differs from {:?}", odd.map(|at| (&forged[at].what, &shapes[at])), shapes[0]);
    let (events, parked, rejections) = sender.counts().await;
    assert_eq!((events, parked), (before.0, before.1), "something was stored");
    assert_eq!(rejections - before.2, forged.len(), "each is shown to the tenant");
    assert_eq!(rejections_counted(hub).await - counted, forged.len() as u64, "each is counted");
}

fn accepted(said: &str, what: &str) {
    assert_eq!(wire::status(said), 200, "{what}: {said}");
}

/// The classes that a change of one header makes.
fn standard_headers(path: &str, good: &Signed, at: i64) -> Vec<Forged> {
    let mut all = Vec::new();
    let mut with = |what: &str, id: &str, stamp: &str, signature: &str| {
        let fields = [("webhook-id", id), ("webhook-timestamp", stamp), ("webhook-signature", signature)];
        all.push(Forged::new(what, path, &fields, BODY));
    };
    let (id, stamp, signature) = (good.id.as_str(), good.stamp.as_str(), good.signature.as_str());
    let tag = signature.trim_start_matches("v1,");
    let raw = STANDARD.decode(tag).expect("base64");
    let mut flipped = raw.clone();
    flipped[31] ^= 1;
    let wrong = format!("v1,{}", STANDARD.encode([7; 32]));
    for (what, signature) in [
        ("an empty signature", String::new()),
        ("no version", tag.to_owned()),
        ("version 0", format!("v0,{tag}")),
        ("version 2", format!("v2,{tag}")),
        ("an upper-case version", format!("V1,{tag}")),
        ("the tag under the version of public keys", format!("v1a,{tag}")),
        ("a signature of public keys under the version of tags", format!("v1,{}", STANDARD.encode([7; 64]))),
        ("a flipped bit", format!("v1,{}", STANDARD.encode(&flipped))),
        ("a tag cut by a byte", format!("v1,{}", STANDARD.encode(&raw[..31]))),
        ("a tag cut to nothing", "v1,".to_owned()),
        ("a tag with a byte more", format!("v1,{}", STANDARD.encode([&raw[..], &[0]].concat()))),
        ("hex", format!("v1,{}", hex::encode(&raw))),
        ("upper-case hex", format!("v1,{}", hex::encode_upper(&raw))),
        ("no padding", format!("v1,{}", STANDARD_NO_PAD.encode(&raw))),
        ("the alphabet of URLs", format!("v1,{}", URL_SAFE.encode([0xfb; 32]))),
        ("a comma for a space", format!("{wrong},{signature}")),
        ("a space inside", format!("v1, {tag}")),
        ("a tab inside", format!("v1,\t{tag}")),
        ("several that are all wrong", [wrong.as_str(); 3].join(" ")),
        ("more than are tried before the good one", format!("{} {signature}", [wrong.as_str(); 16].join(" "))),
        ("as many as a head can hold", [wrong.as_str(); 300].join(" ")),
    ] {
        with(what, id, stamp, &signature);
    }
    for (what, stamp) in [
        ("an empty stamp", String::new()),
        ("words for a stamp", "yesterday".to_owned()),
        ("milliseconds", format!("{stamp}000")),
        ("a negative stamp", format!("-{stamp}")),
        ("a signed stamp", format!("+{stamp}")),
        ("a stamp with a fraction", format!("{stamp}.5")),
        ("a stamp of 64 bits and more", "99999999999999999999".to_owned()),
        ("hex for a stamp", format!("{at:#x}")),
        ("another stamp", (at - 1).to_string()),
    ] {
        with(what, id, &stamp, signature);
    }
    for (what, id) in [("an empty id", ""), ("another id", "msg_2"), ("an id with a dot", "msg_1.5")] {
        with(what, id, stamp, signature);
    }
    all
}

/// The classes that other keys, times, bodies and repetitions of headers make.
fn standard_requests(path: &str, good: &Signed, at: i64, others_key: &[u8]) -> Vec<Forged> {
    let mut all = Vec::new();
    let whole = |what: &str, signed: &Signed, body: &[u8]| Forged::new(what, path, &signed.fields(), body);
    let signed = |key: &[u8], stamp: i64| Signed::new(key, "msg_1", &stamp.to_string(), BODY);
    all.push(whole("another key", &signed(b"not the key", at), BODY));
    all.push(whole("an empty key", &signed(b"", at), BODY));
    all.push(whole("the key of another tenant", &signed(others_key, at), BODY));
    all.push(whole("the text of the secret as key", &signed(standard_secret(&STANDARD_KEY).as_bytes(), at), BODY));
    all.push(whole("a stamp that is too old", &signed(&STANDARD_KEY, at - 330), BODY));
    all.push(whole("a stamp from the future", &signed(&STANDARD_KEY, at + 330), BODY));
    let dotted = Signed::new(&STANDARD_KEY, "msg.1", &good.stamp, BODY);
    all.push(whole("a signed id with a dot", &dotted, BODY));
    for (what, body) in [
        ("another body", br#"{"order":2,"note":"caf\u00e9"}"#.to_vec()),
        ("JSON written anew", "{\"order\":1,\"note\":\"café\"}".as_bytes().to_vec()),
        ("a byte order mark", [b"\xef\xbb\xbf", BODY].concat()),
        ("a line feed at the end", [BODY, b"\n"].concat()),
        ("half the body", BODY[..BODY.len() / 2].to_vec()),
        ("no body", Vec::new()),
    ] {
        all.push(whole(what, good, &body));
    }
    for left_out in 0..3 {
        let mut fields = good.fields();
        let (name, value) = fields.remove(left_out);
        all.push(Forged::new(&format!("no {name}"), path, &fields, BODY));
        let twice = [good.fields(), vec![(name, value)]].concat();
        all.push(Forged::new(&format!("{name} twice"), path, &twice, BODY));
        let mut odd = Forged::new(&format!("{name} with bytes that are no text"), path, &good.fields(), BODY);
        odd.fields[left_out].1.extend(b"\xff\xfe");
        all.push(odd);
    }
    all.push(Forged::new("no header at all", path, &[], BODY));
    all
}

#[tokio::test]
async fn g69_every_bad_standard_webhook_is_refused_alike_and_every_good_one_is_taken() {
    let hub = Hub::start().await;
    push_plugins(&hub).await;
    let sender = Sender::standard(&hub, "sender", &STANDARD_KEY, 300).await;
    let others_key = *b"another tenant's key of 32 bytes";
    let other = Sender::standard(&hub, "other", &others_key, 300).await;
    let at = now();
    let good = Signed::new(&STANDARD_KEY, "msg_1", &at.to_string(), BODY);
    let mut forged = standard_headers(&sender.path, &good, at);
    forged.extend(standard_requests(&sender.path, &good, at, &others_key));
    all_are_refused_alike(&hub, &sender, &forged).await;
    all_are_refused_alike(
        &hub,
        &other,
        &[Forged::new("a request for another source", &other.path, &good.fields(), BODY)],
    )
    .await;

    // What is good stays good: several signatures with one that fits, either edge of the window, chunks for a length.
    let wrong = format!("v1,{}", STANDARD.encode([7; 32]));
    let several = Signed { signature: format!("v1a,AAAA {wrong} {}", good.signature), ..good.clone() };
    accepted(&wire::exchange(&hub, "POST", &sender.path, &several.fields(), BODY).await, "several signatures");
    for (id, stamp) in [("old", at - 240), ("new", at + 240)] {
        let signed = Signed::new(&STANDARD_KEY, id, &stamp.to_string(), BODY);
        accepted(&wire::exchange(&hub, "POST", &sender.path, &signed.fields(), BODY).await, id);
    }
    let chunks = [format!("{:x}\r\n", BODY.len()).as_bytes(), BODY, b"\r\n0\r\n\r\n"].concat();
    let chunked = Signed::new(&STANDARD_KEY, "chunked", &at.to_string(), BODY);
    let fields = [chunked.fields(), vec![("Transfer-Encoding", "chunked")]].concat();
    let request = [wire::request("POST", &sender.path, &fields, b""), chunks].concat();
    accepted(&wire::talk(&hub, &request).await, "chunks");
    assert_eq!(sender.tenant.list("/events").await.len(), 4);
}

#[tokio::test]
async fn g69_an_old_key_proves_signatures_inside_its_overlap_and_not_after_it() {
    let hub = Hub::start().await;
    push_plugins(&hub).await;
    let sender = Sender::standard(&hub, "sender", &STANDARD_KEY, 300).await;
    let new_key = *b"a new key that also has 32 bytes";
    let send = async |key: &[u8], id: &str| -> Reply {
        let signed = Signed::new(key, id, &now().to_string(), BODY);
        hub.without_key().raw("POST", &sender.path, &signed.fields(), BODY).await
    };
    let rotate = sender.tenant.path(&format!("/connections/{}/rotate", sender.connection));
    let rotation = json!({"secret": {"secret": standard_secret(&new_key)}, "overlap_s": 600});
    assert_eq!(send(&new_key, "too-early").await.status, 401);
    let _ = hub.post(&rotate, &rotation).await.expect(200);
    for (key, id) in [(&STANDARD_KEY, "old"), (&new_key, "new")] {
        assert_eq!(send(key, id).await.status, 200, "{id} inside the overlap");
    }
    let at_once = json!({"secret": {"secret": standard_secret(b"a third key which has 32 bytes, ")}, "overlap_s": 0});
    let _ = hub.post(&rotate, &at_once).await.expect(200);
    for (key, id) in [(&STANDARD_KEY, "old"), (&new_key, "new")] {
        assert_eq!(send(key, id).await.status, 401, "{id} after the overlap");
    }
    assert_eq!(sender.counts().await, (2, 0, 3));
}

#[tokio::test]
async fn g69_every_bad_signature_of_a_plain_and_of_a_stamped_hmac_is_refused_alike() {
    let hub = Hub::start().await;
    push_plugins(&hub).await;
    let plain = Sender::plain(&hub, "plain").await;
    let tag = sender_signature(BODY);
    let with = |what: &str, signature: &str| Forged::new(what, &plain.path, &[("x-signature", signature)], BODY);
    let raw = hex::decode(&tag).expect("hex");
    let mut flipped = raw.clone();
    flipped[0] ^= 0x80;
    let mut forged: Vec<_> = [
        ("an empty signature", String::new()),
        ("a flipped bit", hex::encode(flipped)),
        ("half a digit less", tag[..63].to_owned()),
        ("a byte less", tag[..62].to_owned()),
        ("a byte more", format!("{tag}00")),
        ("base64", STANDARD.encode(&raw)),
        ("a prefix that is not the scheme's", format!("sha256={tag}")),
        ("a tag of a weaker hash", hex::encode(&mac(SENDER_SECRET.as_bytes(), BODY)[..20])),
        ("the tag of nothing", sender_signature(b"")),
        ("another key", hex::encode(mac(b"not the key", BODY))),
        ("two tags", format!("{tag},{tag}")),
    ]
    .iter()
    .map(|(what, signature)| with(what, signature))
    .collect();
    forged.push(Forged::new("no signature", &plain.path, &[], BODY));
    forged.push(Forged::new("the signature twice", &plain.path, &[("x-signature", &tag), ("X-Signature", &tag)], BODY));
    forged.push(Forged::new("another body", &plain.path, &[("x-signature", &tag)], b"{}"));
    all_are_refused_alike(&hub, &plain, &forged).await;
    accepted(&wire::exchange(&hub, "POST", &plain.path, &[("x-signature", &tag)], BODY).await, "the genuine one");

    let stamped = Sender::stamped(&hub, "stamped").await;
    let at = now();
    let tag = |stamp: &str| hex::encode(mac(SENDER_SECRET.as_bytes(), &[stamp.as_bytes(), b".", BODY].concat()));
    let (stamp, old) = (at.to_string(), (at - 330).to_string());
    let forged: Vec<_> = [
        ("no stamp", format!("v1={}", tag(&stamp))),
        ("two stamps", format!("t={stamp},t={stamp},v1={}", tag(&stamp))),
        ("a stamp that is too old", format!("t={old},v1={}", tag(&old))),
        ("an old stamp under a new tag", format!("t={old},v1={}", tag(&stamp))),
        ("words for a stamp", format!("t=now,v1={}", tag("now"))),
        ("an old version", format!("t={stamp},v0={}", tag(&stamp))),
        ("no tag", format!("t={stamp}")),
        ("no names", format!("{stamp},{}", tag(&stamp))),
    ]
    .iter()
    .map(|(what, value)| Forged::new(what, &stamped.path, &[("stripe-signature", value)], BODY))
    .collect();
    all_are_refused_alike(&hub, &stamped, &forged).await;
    let genuine = format!("t={stamp},v1={},v1={}", "00".repeat(32), tag(&stamp));
    let said = wire::exchange(&hub, "POST", &stamped.path, &[("stripe-signature", &genuine)], BODY).await;
    accepted(&said, "the genuine one");
}

#[tokio::test]
async fn g69_every_bad_twilio_signature_is_refused_alike() {
    let hub = Hub::start().await;
    push_plugins(&hub).await;
    let sender = Sender::twilio(&hub, "sender").await;
    let form = [("Body", "Hej"), ("From", "+4520123456"), ("MessageSid", "SM1"), ("To", "+4570000001")];
    let body = "Body=Hej&From=%2B4520123456&MessageSid=SM1&To=%2B4570000001";
    let media = ("content-type", "application/x-www-form-urlencoded");
    let good = twilio_signature(TOKEN, &sender.url, &form);
    let with = |what: &str, path: &str, signature: &str, body: &str| {
        Forged::new(what, path, &[media, ("x-twilio-signature", signature)], body.as_bytes())
    };
    let for_url = |url: &str| twilio_signature(TOKEN, url, &form);
    let host = sender.url.replace("127.0.0.1", "hub.test");
    let (path, query) = (&sender.path, format!("{}?b=2&a=1", sender.path));
    let mut forged = vec![
        with("a signature for another scheme", path, &for_url(&sender.url.replace("http:", "https:")), body),
        with("a signature for the host that a proxy saw", path, &for_url(&host), body),
        with("a signature for another port", path, &for_url(&sender.url.replace(":", ":1")), body),
        with("a signature for another order of the query", &query, &for_url(&format!("{}?a=1&b=2", sender.url)), body),
        with("a signature without the query", &query, &good, body),
        with("a signature for another path", &format!("{path}/more"), &good, body),
        with("another token", path, &twilio_signature("another token", &sender.url, &form), body),
        with("a parameter more", path, &good, &format!("{body}&NumMedia=0")),
        with("a parameter less", path, &good, "Body=Hej&From=%2B4520123456&MessageSid=SM1"),
        with("another value", path, &good, &body.replace("Hej", "Hey")),
        with("hex", path, &hex::encode(STANDARD.decode(&good).expect("base64")), body),
        with("no padding", path, good.trim_end_matches('='), body),
        with("an empty signature", path, "", body),
        with("more parameters than any message has", path, &good, &"a=1&".repeat(1_001)),
    ];
    forged.push(Forged::new("no signature", path, &[media], body.as_bytes()));
    let twice = [media, ("x-twilio-signature", &good), ("x-twilio-signature", &good)];
    forged.push(Forged::new("the signature twice", path, &twice, body.as_bytes()));
    let json = [("content-type", "application/json"), ("x-twilio-signature", &good)];
    forged.push(Forged::new("a body that is no form and has no hash", path, &json, b"{}"));
    let settings =
        [media, ("x-twilio-signature", &good), ("x-twilio-webhooks-signature-settings", "key=k,algorithm=none")];
    forged.push(Forged::new("an algorithm of the caller's choice", path, &settings, body.as_bytes()));
    all_are_refused_alike(&hub, &sender, &forged).await;

    // The order of the form does not matter: Twilio signs it sorted.
    let reordered = "To=%2B4570000001&MessageSid=SM1&From=%2B4520123456&Body=Hej";
    let fields = [media, ("x-twilio-signature", good.as_str())];
    accepted(&wire::exchange(&hub, "POST", path, &fields, reordered.as_bytes()).await, "the genuine one");
    assert_eq!(sender.tenant.list("/events?type=sms.received").await.len(), 1);
}
