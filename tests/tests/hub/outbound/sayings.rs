use serde_json::{Value, json};
use switchyard_simulators::subscriber::{Handle, Received, Script, Verdict};
use switchyard_tests::{
    api::{Api, SOON, Tenant, text, until},
    hub::Hub,
    sink::{Act, Sink},
    world::{ACCOUNT_SID, bundled, guest, subscriber, twilio},
};

/// Everything that the host says, to one subscriber.
async fn watcher(tenant: &Tenant, at: &Handle) {
    let said = ["delivery.*", "endpoint.*", "plugin.*", "connection.*"];
    let _ = tenant.endpoint(at, "/watcher", &said, json!({})).await;
}

/// Waits until the watcher has heard `count` events of a type, and checks each against the catalogue.
async fn heard(hub: &Api, at: &Handle, event_type: &str, count: usize) -> Vec<Value> {
    let of_type = |request: &Received| request.path == "/watcher" && request.json()["type"] == event_type;
    let requests = at.wait_for_where(count, SOON, of_type).await.unwrap_or_else(|_| {
        let all: Vec<_> = at.requests("/watcher").iter().map(Received::json).collect();
        panic!("{event_type} was not said {count} times; said was {all:#?}")
    });
    let described = hub.get(&format!("/v1/event-types/{event_type}")).await.expect(200);
    let required = described["schema"]["required"].as_array().cloned().expect("a schema");
    for request in &requests {
        assert_eq!(request.verdict, Verdict::Verified);
        let event = request.json();
        for name in required.iter().filter_map(Value::as_str) {
            assert!(event["data"][name].is_string(), "{event_type} without {name}: {event}");
        }
    }
    requests.iter().map(Received::json).collect()
}

/// How often something was said, as far as it is stored.
async fn said(tenant: &Tenant, event_type: &str) -> usize {
    tenant.list(&format!("/events?type={event_type}")).await.len()
}

#[tokio::test]
async fn a_delivery_that_is_dead_at_accept_is_told_with_it_and_its_own_deaths_are_not() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let _ = hub.push(bundled("twilio")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    watcher(&tenant, &at).await;
    let deaf = tenant.endpoint(&at, "/deaf", &["delivery.died"], json!({"retry_schedule": [0]})).await;
    at.set_script("/deaf", Script::statuses(&[500]));
    let command = json!({"type": "sms.send", "id": "once", "data": {"to": "+4521111111", "body": "Hej"}});
    let sent = tenant.publish(&command).await;
    let died = heard(&hub, &at, "delivery.died", 1).await.remove(0);
    let dead = tenant.delivery_in("unrouted", "dead").await;
    assert_eq!(died["data"]["delivery_id"], dead["id"], "{died}");
    assert_eq!((&died["data"]["target"], &died["data"]["reason"]), (&json!("unrouted"), &json!("config")), "{died}");
    assert_eq!((&died["data"]["event_id"], &died["correlationid"]), (&sent["id"], &sent["correlation_id"]), "{died}");
    // The news of it dies at the deaf endpoint, and that is no news.
    let _ = tenant.delivery_in(&deaf, "dead").await;
    // A repeat is a duplicate and tells nothing.
    assert_eq!(tenant.publish(&command).await["duplicate"], true);
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    assert_eq!(said(&tenant, "delivery.died").await, 1);
}

#[tokio::test]
async fn a_delivery_that_ends_too_late_is_told_by_the_sweep() {
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    watcher(&tenant, &at).await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"ordered": true})).await;
    let _ = tenant.post(&format!("/endpoints/{endpoint}/pause"), &json!({})).await.expect(200);
    for n in 0..3 {
        let late = json!({"type": "a.b", "data": {"n": n}, "ordering_key": "k", "expires_at": "2001-01-01T00:00:00Z"});
        let _ = tenant.publish(&late).await;
    }
    let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": 3}, "ordering_key": "k"})).await;
    // A sweep is made at every start.
    let _ = hub.stop().await;
    hub.restart().await;
    let died = heard(&hub, &at, "delivery.died", 3).await;
    for event in &died {
        assert_eq!(
            (&event["data"]["reason"], &event["data"]["target"]),
            (&json!("expired"), &json!(endpoint)),
            "{event}"
        );
    }
    let tenant = Tenant { api: (*hub).clone(), id: "acme".to_owned() };
    assert_eq!(tenant.list(&format!("/deliveries?target={endpoint}&state=dead")).await.len(), 3);
    let _ = tenant.post(&format!("/endpoints/{endpoint}/resume"), &json!({})).await.expect(200);
    let arrived = at.wait_for("/hook", 1, SOON).await.expect("what was in time goes on");
    assert_eq!(arrived[0].json()["data"]["n"], 3);
    assert_eq!(said(&tenant, "delivery.died").await, 3);
}

/// Installs Twilio with a base URL and a token, ready.
async fn sender(tenant: &Tenant, base_url: &str, token: &str) -> String {
    let secret = json!({"username": ACCOUNT_SID, "password": token});
    let wanted = json!({"provider": "twilio", "name": "Main", "kind": "basic", "base_url": base_url, "secret": secret});
    let connection = tenant.connection(&wanted).await;
    let wanted =
        json!({"config": {"account_sid": ACCOUNT_SID, "from": "+4570000001"}, "connections": {"twilio": connection}});
    let _ = tenant.install("twilio", &wanted).await;
    ready(tenant, "twilio").await;
    connection
}

async fn ready(tenant: &Tenant, plugin: &str) {
    until("the plugin to be ready", async || {
        let seen = tenant.get(&format!("/plugins/{plugin}")).await.expect(200);
        if seen["state"] == "ready" { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
}

fn sms() -> Value {
    json!({"type": "sms.send", "data": {"to": "+4521111111", "body": "Hej"}})
}

#[tokio::test]
async fn a_delivery_that_killed_the_hub_again_and_again_is_told_at_the_next_start() {
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let _ = hub.push(bundled("twilio")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    watcher(&tenant, &at).await;
    let hangs = Sink::start(vec![Act::ReadRequest, Act::Hang]).await;
    let _ = sender(&tenant, &hangs.url(""), "a-token-of-the-tests").await;
    let _ = tenant.publish(&sms()).await;
    // Three crashes make a suspect, the fourth is the last.
    for crash in 1..=4 {
        let calls = hangs.connections();
        until("it to run", async || {
            let tenant = Tenant { api: (*hub).clone(), id: "acme".to_owned() };
            let rows = tenant.list("/deliveries?target=plugin:twilio&state=running").await;
            let began = rows.iter().any(|row| row["event_type"] == "sms.send") && hangs.connections() >= calls.min(1);
            if began { Ok(()) } else { Err(format!("crash {crash}: {rows:?}")) }
        })
        .await;
        hub.kill().await;
        hub.restart().await;
    }
    let died = heard(&hub, &at, "delivery.died", 1).await.remove(0);
    assert_eq!(
        (&died["data"]["reason"], &died["data"]["code"]),
        (&json!("plugin_bug"), &json!("killed_host")),
        "{died}"
    );
    let tenant = Tenant { api: (*hub).clone(), id: "acme".to_owned() };
    let dead = tenant.delivery_in("plugin:twilio", "dead").await;
    assert_eq!((&dead["id"], &dead["crashes"]), (&died["data"]["delivery_id"], &json!(4)), "{dead}");
    assert_eq!(said(&tenant, "delivery.died").await, 1);
}

#[tokio::test]
async fn a_refused_credential_is_told_once_and_what_it_holds_goes_on_after_the_login() {
    let (hub, at, provider) = (Hub::start().await, subscriber().await, twilio("the-right-token").await);
    let _ = hub.push(bundled("twilio")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    watcher(&tenant, &at).await;
    let connection = sender(&tenant, &provider.base_url(), "a-wrong-token").await;
    for _ in 0..3 {
        let _ = tenant.publish(&sms()).await;
    }
    let needed = heard(&hub, &at, "connection.login_needed", 1).await.remove(0);
    assert_eq!(
        (&needed["data"]["connection_id"], &needed["data"]["name"]),
        (&json!(connection), &json!("Main")),
        "{needed}"
    );
    let held = heard(&hub, &at, "delivery.held", 1).await.remove(0);
    assert_eq!(
        (&held["data"]["code"], &held["data"]["target"]),
        (&json!("needs_login"), &json!("plugin:twilio")),
        "{held}"
    );
    until("all to be held", async || {
        let rows = tenant.list("/deliveries?target=plugin:twilio&state=held").await;
        if rows.len() == 3 { Ok(()) } else { Err(json!(rows).to_string()) }
    })
    .await;
    assert_eq!((said(&tenant, "connection.login_needed").await, said(&tenant, "delivery.held").await), (1, 1));
    let secret = json!({"secret": {"username": ACCOUNT_SID, "password": "the-right-token"}});
    let _ = tenant.post(&format!("/connections/{connection}/rotate"), &secret).await.expect(200);
    until("all to be delivered", async || {
        let rows = tenant.list("/deliveries?target=plugin:twilio").await;
        let sent = rows.iter().filter(|row| row["event_type"] == "sms.send" && row["state"] == "delivered").count();
        if sent == 3 { Ok(()) } else { Err(json!(rows).to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_version_that_keeps_trapping_and_one_that_needs_a_person_are_told_once() {
    let (hub, at) = (Hub::builder().time_factor(1).start().await, subscriber().await);
    let _ = hub.push(guest("misbehave")).await.expect(201);
    for (id, order, events) in [("traps", "trap", 7), ("asks", "needs_attention", 3)] {
        let tenant = hub.tenant(id).await;
        let said_to = format!("/{id}");
        let _ = tenant.endpoint(&at, &said_to, &["delivery.held", "plugin.broken"], json!({})).await;
        let _ = tenant.install("misbehave", &json!({"config": {}, "grants": ["emits:*"]})).await;
        ready(&tenant, "misbehave").await;
        for _ in 0..events {
            let _ = tenant.publish(&json!({"type": "test.do", "data": {"do": order}})).await;
        }
        let of = |kind: &'static str| {
            let said_to = said_to.clone();
            move |request: &Received| request.path == said_to && request.json()["type"] == kind
        };
        let held =
            at.wait_for_where(1, SOON, of("delivery.held")).await.expect("what is held is told").remove(0).json();
        let (reason, code) = if id == "traps" { ("plugin_bug", "version_broken") } else { ("bad_data", "planted") };
        assert_eq!((&held["data"]["reason"], &held["data"]["code"]), (&json!(reason), &json!(code)), "{held}");
        if id == "traps" {
            let broken = at.wait_for_where(1, SOON, of("plugin.broken")).await.expect("it is told").remove(0).json();
            assert_eq!((&broken["data"]["plugin"], &broken["data"]["version"]), (&json!("misbehave"), &json!("0.1.0")));
            assert!(broken["data"]["message"].is_string(), "{broken}");
        }
        until("nothing to run", async || {
            let rows = tenant.list("/deliveries?target=plugin:misbehave&state=running").await;
            if rows.is_empty() { Ok(()) } else { Err(json!(rows).to_string()) }
        })
        .await;
        assert_eq!(said(&tenant, "delivery.held").await, 1, "{id}");
        assert_eq!(said(&tenant, "plugin.broken").await, usize::from(id == "traps"), "{id}");
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_and_recovers_is_told_once_each_for_a_streak() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    watcher(&tenant, &at).await;
    let schedule: Vec<u32> = [0].into_iter().chain([1; 30]).collect();
    let endpoint =
        tenant.endpoint(&at, "/hook?token=MARKER", &["a.b", "endpoint.*"], json!({"retry_schedule": schedule})).await;
    at.set_script("/hook", Script::statuses(&[500]));
    for _ in 0..3 {
        let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    }
    let failing = heard(&hub, &at, "endpoint.failing", 1).await.remove(0);
    assert_eq!(failing["data"]["endpoint_id"], endpoint.as_str(), "{failing}");
    assert!(!failing.to_string().contains("MARKER"), "a token of a URL is told: {failing}");
    at.set_script("/hook", Script::default());
    let recovered = heard(&hub, &at, "endpoint.recovered", 1).await.remove(0);
    assert_eq!(recovered["data"]["since"], failing["data"]["since"], "{recovered}");
    until("nothing to wait", async || {
        let rows = tenant.list("/deliveries?state=queued,running,waiting").await;
        if rows.is_empty() { Ok(()) } else { Err(json!(rows).to_string()) }
    })
    .await;
    assert_eq!((said(&tenant, "endpoint.failing").await, said(&tenant, "endpoint.recovered").await), (1, 1));
}

/// Changes the database of a hub that is stopped.
async fn sql(hub: &Hub, statement: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(hub.database());
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("the file opens");
    sqlx::raw_sql(statement).execute(&pool).await.expect("the statement runs");
    pool.close().await;
}

#[tokio::test]
async fn five_days_of_nothing_but_failures_disable_an_endpoint_and_no_day_less() {
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    watcher(&tenant, &at).await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    at.set_script("/hook", Script::statuses(&[500]));
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let shown = until("its streak to begin", async || {
        let shown = tenant.get(&format!("/endpoints/{endpoint}")).await.expect(200);
        if shown["failing_since"].is_string() { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await;
    assert_eq!(shown["state"], "active");
    for (earlier, state) in [
        ("update endpoint set failing_since = failing_since - 4 * 86400000 where failing_since is not null", "active"),
        ("update endpoint set failing_since = failing_since - 86400000 where failing_since is not null", "disabled"),
    ] {
        let _ = hub.stop().await;
        sql(&hub, earlier).await;
        // What waits may be tried as soon as the hub is back.
        let before = at.requests("/hook").len();
        hub.restart().await;
        let tenant = Tenant { api: (*hub).clone(), id: "acme".to_owned() };
        for _ in 0..5 {
            let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
        }
        let _ = at.wait_for("/hook", before + 1, SOON).await.expect("it is tried");
        until("what came of it", async || {
            let shown = tenant.get(&format!("/endpoints/{endpoint}")).await.expect(200);
            if shown["state"] == state { Ok(()) } else { Err(shown.to_string()) }
        })
        .await;
    }
    let disabled = heard(&hub, &at, "endpoint.disabled", 1).await.remove(0);
    assert!(text(&disabled["data"], "message").contains("five days"), "{disabled}");
    let held = heard(&hub, &at, "delivery.held", 1).await.remove(0);
    assert_eq!(
        (&held["data"]["target"], &held["data"]["code"]),
        (&json!(endpoint), &json!("endpoint_disabled")),
        "{held}"
    );
    let tenant = Tenant { api: (*hub).clone(), id: "acme".to_owned() };
    until("all to be held", async || {
        let rows = tenant.list(&format!("/deliveries?target={endpoint}&state=held")).await;
        if rows.len() == 11 { Ok(()) } else { Err(format!("{} are", rows.len())) }
    })
    .await;
    assert_eq!((said(&tenant, "endpoint.disabled").await, said(&tenant, "delivery.held").await), (1, 1));
    // A person who switches it on again begins a new count.
    at.set_script("/hook", Script::default());
    let _ = tenant.post(&format!("/endpoints/{endpoint}/resume"), &json!({})).await.expect(200);
    until("all to be delivered", async || {
        let rows = tenant.list(&format!("/deliveries?target={endpoint}&state=delivered")).await;
        if rows.len() == 11 { Ok(()) } else { Err(format!("{} are", rows.len())) }
    })
    .await;
}
