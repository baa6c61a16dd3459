use serde_json::{Value, json};
use switchyard_tests::{
    api::{SOON, until},
    broker::shared_url,
    database::Database,
    hub::Hub,
    world::subscriber,
};

/// What the doctor says of the broker: its verdict and all its words.
async fn looked_at(hub: &Hub) -> (String, String) {
    let said = hub.run(&["doctor", "--json"], &[]).await;
    let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let checks = report["checks"].as_array().expect("checks");
    let found = checks.iter().find(|check| check["check"] == "broker").unwrap_or_else(|| panic!("{report:#}"));
    (found["verdict"].as_str().unwrap_or_default().to_owned(), format!("{} {}", found["said"], found["fix"]))
}

fn shared(change: impl FnOnce(&mut url::Url)) -> String {
    let mut url: url::Url = shared_url().parse().expect("a URL");
    change(&mut url);
    url.into()
}

#[tokio::test]
async fn a_broker_that_cannot_be_used_is_named_with_its_setting_and_the_hub_works_without() {
    let database = Database::fresh().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let marked = |url: &mut url::Url| url.set_password(Some("MARKER-of-the-broker")).expect("a password");
    let cases = [
        (
            shared(|url| {
                marked(url);
                url.set_port(Some(nobody)).expect("a port");
            }),
            "refused",
        ),
        (shared(marked), "user and password"),
        (shared(|url| url.set_path("/no_such_vhost_here")), "no_such_vhost_here"),
    ];
    for (url, words) in cases {
        let mut hub = Hub::builder().on(&database).set("SWITCHYARD_BROKER_URL", &url).prepare();
        let (verdict, said) = looked_at(&hub).await;
        assert_eq!(verdict, "warn", "{said}");
        assert!(said.contains(words) && said.contains("SWITCHYARD_BROKER_URL"), "`{words}` is missing: {said}");
        hub.restart().await;
        until("the status to tell", async || {
            let cluster = hub.get("/v1/status").await.expect(200)["cluster"].clone();
            let told = cluster["broker"].as_str().is_some_and(|text| text.starts_with("down") && text.contains(words));
            if told && cluster["bells"] == "database" { Ok(()) } else { Err(cluster.to_string()) }
        })
        .await;
        assert!(hub.stop().await.success());
        assert!(!format!("{said}{}", hub.log()).contains("MARKER"), "the password is told");
    }
    let (mut hub, at) =
        (Hub::builder().on(&database).set("SWITCHYARD_BROKER_URL", &shared_url()).prepare(), subscriber().await);
    let (verdict, said) = looked_at(&hub).await;
    assert!(verdict == "ok" && said.contains("lets this machine in") && !said.contains('@'), "{said}");
    hub.restart().await;
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = at.wait_for("/hook", 1, SOON).await.expect("it arrives");
}

#[tokio::test]
async fn an_address_that_is_none_keeps_the_hub_from_starting_without_being_repeated() {
    for wrong in
        ["http://u:MARKER@127.0.0.1", "amqp://u:MARKER@127.0.0.1/a/b", "amqp://u:MARKER@127.0.0.1/v?x=1", "MARKER"]
    {
        let said = Hub::builder().set("SWITCHYARD_BROKER_URL", wrong).refuses().await;
        assert!(said.contains("`broker_url`") && !said.contains("MARKER"), "{said}");
    }
}

#[tokio::test]
async fn a_broker_beside_a_file_is_told_to_be_of_no_use() {
    let hub = Hub::builder().set("SWITCHYARD_BROKER_URL", &shared_url()).prepare();
    let (verdict, said) = looked_at(&hub).await;
    assert!(verdict == "warn" && said.contains("not used with SQLite") && !said.contains('@'), "{said}");
}
