use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{Clock as _, SystemClock},
    faults::Fault,
    quickbooks::{Forgery, Format},
};
use switchyard_tests::api::{Api, text};

use super::{REALM, World};

const VECTORS: &str = include_str!("../../../../data/vectors.json");

async fn opened(url: &str) -> switchyard_tests::api::Reply {
    Api::new("", None).raw("GET", url, &[], "").await
}

#[tokio::test]
async fn a_login_names_the_company_by_which_an_apps_webhooks_find_the_tenant() {
    let world = World::start().await;
    let connection = world.connection(json!({"app": text(&world.app, "id")})).await;
    let _ = world.install(json!({"quickbooks": connection})).await;
    let begun = world.tenant.post(&format!("/connections/{connection}/authorize"), &json!({})).await.expect(200);
    let back = opened(&text(&begun, "url")).await;
    assert_eq!(back.status, 302, "{}", back.text);
    let page = opened(back.header("location")).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let shown = world.tenant.get(&format!("/connections/{connection}")).await.expect(200);
    assert_eq!((&shown["account"], &shown["state"]), (&json!(REALM), &json!("ok")), "{shown}");
    world.settled().await;
    world.company.set_webhook_url(text(&world.app["sources"][0], "url"));
    let id = world.invoice("Kunde ApS");
    let told = world.wait("invoice.created", 1).await;
    assert_eq!((&told[0]["subject"], &told[0]["data"]["total"]["amount"]), (&json!(id), &json!("1000.00")));
    // Another company's change is nobody's here, and that is no reason to send it again.
    let foreign = json!([{"specversion": "1.0", "id": "e-1", "type": "qbo.invoice.created.v1", "intuitentityid": "1",
        "intuitaccountid": "999", "data": {}}]);
    assert_eq!(world.company.forge(foreign.to_string(), Forgery::None).await.expect("sent").status, Some(200));
}

#[tokio::test]
async fn the_connection_is_tried_by_one_look_at_the_company_and_the_forecast_says_when_the_login_ends() {
    let world = World::ready().await;
    let all = world.tenant.list("/connections").await;
    let connection = text(all.iter().find(|one| one["kind"] == "oauth2").expect("the login"), "id");
    let looks = || world.company.counts().get("companyinfo.fetch").map_or(0, |count| count.received);
    let before = looks();
    let tried = world.tenant.post(&format!("/connections/{connection}/test"), &Value::Null).await.expect(200);
    assert_eq!((tried["ok"].as_bool(), looks()), (Some(true), before + 1), "{tried}");
    let said = tried["checks"].to_string();
    assert!(said.contains(&format!("GET /v3/company/{REALM}/companyinfo/{REALM}: status 200")), "{said}");
    let forecast = world.tenant.get("/forecast").await.expect(200);
    let login = forecast["expires"].as_array().and_then(|all| all.iter().find(|one| one["kind"] == "login")).cloned();
    let login = login.unwrap_or_else(|| panic!("no end of the login: {forecast}"));
    assert_eq!((login["id"].as_str(), login["renews"].as_bool()), (Some(&*connection), Some(false)), "{login}");
    let at: jiff::Timestamp = text(&login, "at").parse().expect("a time");
    let days =
        (at.as_second() - jiff::Timestamp::from_millisecond(SystemClock.now_ms()).expect("now").as_second()) / 86_400;
    assert!((99..=101).contains(&days), "Intuit's refresh tokens live for 101 days: {login}");
}

#[tokio::test]
async fn every_format_tells_of_an_invoice_from_its_creation_to_its_end() {
    for format in [Format::CloudEvents, Format::Legacy, Format::LegacyUtc] {
        let world = World::ready().await;
        world.settled().await;
        world.company.set_behaviour(|behaviour| behaviour.format = format);
        let id = world.invoice("Kunde ApS");
        let _ = world.wait("invoice.created", 1).await;
        world.act(json!({"do": "send", "id": id, "to": "a@kunde.test"}));
        let _ = world.wait("invoice.sent", 1).await;
        world.act(json!({"do": "pay", "id": id, "amount": 400}));
        let _ = world.wait("invoice.updated", 1).await;
        world.act(json!({"do": "pay", "id": id}));
        let paid = world.wait("invoice.paid", 1).await;
        assert_eq!(paid[0]["data"]["payment_ids"].as_array().map(Vec::len), Some(2));
        let other = world.invoice("Anden ApS");
        let _ = world.wait("invoice.created", 2).await;
        world.act(json!({"do": "void", "kind": "Invoice", "id": other}));
        let _ = world.wait("invoice.voided", 1).await;
        world.quiet().await;
        let count = |story: &[String], name: &str| story.iter().filter(|line| line.starts_with(name)).count();
        let story = world.story().await;
        for (name, wanted) in
            [("invoice.created", 2), ("payment.recorded", 2), ("invoice.paid", 1), ("contact.created", 2)]
        {
            assert_eq!(count(&story, name), wanted, "{format:?}: {story:#?}");
        }
    }
}

#[tokio::test]
async fn requests_that_come_fifty_times_in_any_order_make_the_events_of_once() {
    let world = World::ready().await;
    world.settled().await;
    let id = world.invoice("Kunde ApS");
    let _ = world.wait("invoice.created", 1).await;
    world.act(json!({"do": "pay", "id": id}));
    let _ = world.wait("invoice.paid", 1).await;
    world.quiet().await;
    let once = world.story().await;
    let count = world.company.webhooks().len();
    assert!(count >= 2, "{count} webhooks");
    // A stride without a common divisor visits all of them in another order each time.
    for turn in 0..50 {
        for step in 0..count {
            let sent = world.company.replay((turn * 7 + step * (count - 1).max(1)) % count).await.expect("it was sent");
            assert_eq!(sent.status, Some(200), "{sent:?}");
        }
    }
    world.quiet().await;
    assert_eq!(world.story().await, once);
}

#[tokio::test]
async fn every_signature_case_is_judged_as_its_source_says() {
    let world = World::ready().await;
    let all: Vec<Value> = serde_json::from_str(VECTORS).expect("the cases are JSON");
    let cases: Vec<&Value> = all.iter().filter(|case| case["provider"] == "quickbooks").collect();
    assert!(cases.len() >= 4, "{} cases", cases.len());
    for (n, case) in cases.iter().enumerate() {
        let tenant = world.hub.tenant(&format!("case-{n}")).await;
        let secret = json!({"secret": case["inputs"]["verifier_token"]});
        let verifier = json!({"provider": "quickbooks", "name": "verifier", "kind": "hmac", "secret": secret});
        let verifier = tenant.connection(&verifier).await;
        let refresh_token = world.company.logged_in().refresh_token;
        let books = json!({"provider": "quickbooks", "name": "books", "kind": "oauth2",
            "secret": {"app": text(&world.app, "id"), "refresh_token": refresh_token}});
        let books = tenant.connection(&books).await;
        let wanted = json!({"config": {"realm_id": REALM}, "connections": {"quickbooks": books, "webhook": verifier}});
        let url = text(&tenant.install("quickbooks", &wanted).await["sources"][0], "url");
        let signature = text(&case["inputs"]["headers"], "intuit-signature");
        let body = text(&case["inputs"], "raw_body");
        let fields = [("content-type", "application/json"), ("intuit-signature", signature.as_str())];
        let reply = world.hub.without_key().raw("POST", &url, &fields, body.clone()).await;
        let expected = if case["expected"]["valid"] == true { 200 } else { 401 };
        assert_eq!(reply.status, expected, "{}: {}", case["id"], reply.text);
    }
}

#[tokio::test]
async fn forged_webhooks_are_refused_and_make_nothing() {
    let world = World::ready().await;
    world.settled().await;
    let before = world.story().await;
    let body = json!([{"specversion": "1.0", "id": "e-1", "type": "qbo.invoice.created.v1", "intuitentityid": "1",
        "intuitaccountid": REALM, "data": {}}]);
    for forgery in [Forgery::WrongKey, Forgery::NoSignature, Forgery::Reserialised, Forgery::AlteredBody] {
        let sent = world.company.forge(body.to_string(), forgery).await.expect("sent");
        assert_eq!(sent.status, Some(401), "{forgery:?}");
    }
    assert_eq!(world.story().await, before);
    assert_eq!(world.tenant.list("/rejections").await.len(), 4);
}

#[tokio::test]
async fn webhooks_that_are_late_doubled_badly_signed_or_out_of_order_lose_and_double_nothing() {
    let world = World::ready().await;
    world.settled().await;
    let faults = world.company.faults();
    faults.arm("webhook.changes", Fault::Duplicate, 3);
    faults.arm("webhook.changes", Fault::WrongSignature, 2);
    faults.arm("webhook.changes", Fault::OutOfOrder, 2);
    faults.arm("webhook.changes", Fault::Delay { ms: 60_000 }, 1);
    let ids: Vec<String> = (0..4).map(|n| world.invoice(&format!("Kunde {n}"))).collect();
    for id in &ids {
        world.act(json!({"do": "pay", "id": id}));
    }
    let _ = world.wait("invoice.paid", 4).await;
    world.quiet().await;
    let story = world.story().await;
    for name in ["invoice.created", "invoice.paid", "payment.recorded", "contact.created"] {
        assert_eq!(story.iter().filter(|line| line.starts_with(name)).count(), 4, "{name}: {story:#?}");
    }
}

#[tokio::test]
async fn what_no_webhook_told_is_found_by_the_poll() {
    let world = World::ready().await;
    world.settled().await;
    let known = world.invoice("Kunde ApS");
    let _ = world.wait("invoice.created", 1).await;
    world.company.set_behaviour(|behaviour| behaviour.lose_webhooks = true);
    let unknown = world.invoice("Anden ApS");
    for id in [&known, &unknown] {
        world.act(json!({"do": "pay", "id": id}));
    }
    let paid = world.wait("invoice.paid", 2).await;
    let mut subjects: Vec<&str> = paid.iter().filter_map(|event| event["subject"].as_str()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, [known.as_str(), unknown.as_str()]);
    assert_eq!(world.told("invoice.created").await.len(), 2);
}

#[tokio::test]
async fn a_hub_that_was_away_gets_what_waited() {
    let mut world = World::ready().await;
    world.settled().await;
    world.hub.kill().await;
    let id = world.invoice("Kunde ApS");
    world.hub.restart().await;
    assert_eq!(world.wait("invoice.created", 1).await[0]["subject"], id.as_str());
}

/// Intuit's library signs as this does; the simulator has its own.
#[test]
fn the_first_case_is_what_hmac_makes_of_it() {
    let all: Vec<Value> = serde_json::from_str(VECTORS).expect("the cases are JSON");
    let case = all.iter().find(|case| case["id"] == "qbo-01-java-sdk").expect("the case");
    let mut mac =
        Hmac::<sha2::Sha256>::new_from_slice(text(&case["inputs"], "verifier_token").as_bytes()).expect("a key");
    mac.update(text(&case["inputs"], "raw_body").as_bytes());
    assert_eq!(STANDARD.encode(mac.finalize().into_bytes()), text(&case["expected"], "signature"));
}
