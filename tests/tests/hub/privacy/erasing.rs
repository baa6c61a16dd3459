use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _};
use switchyard_tests::{
    api::text,
    database::Database,
    hub::{ADMIN_KEY, Hub},
};

use super::{EMAIL, OTHER, PHONE, Planted, TRACES, stored};

/// Asks for the erasure of the number and of the address, and waits for both.
async fn erase_both(planted: &Planted) {
    let by_phone = planted.done("erase", json!({"phone": "0045 99-88-77-66"})).await;
    assert!(by_phone["progress"]["walks"].as_u64() >= Some(1), "a last walk finds nothing: {by_phone}");
    for place in ["events", "deliveries", "requests", "parked", "kv"] {
        assert!(by_phone["progress"]["found"][place].as_u64() >= Some(1), "nothing in {place}: {by_phone}");
    }
    let _ = planted.done("erase", json!({"email": EMAIL})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_erased_person_is_left_in_any_answer_or_any_byte_of_the_file() {
    let mut planted = Planted::on(Hub::builder()).await;
    let before = planted.told().await;
    for path in ["/events/", "/deliveries/", "/traces/"] {
        assert!(before.iter().any(|one| one.starts_with(path)), "nothing was planted under {path}: {before:?}");
    }
    assert!(!stored(&planted.hub).is_empty(), "nothing was planted in the file");
    erase_both(&planted).await;
    assert_eq!(planted.told().await, Vec::<String>::new());
    assert_eq!(stored(&planted.hub), Vec::<String>::new());
    assert!(planted.hub.stop().await.success());
    assert_eq!(stored(&planted.hub), Vec::<String>::new(), "after the log was written back");
    let log = planted.hub.log();
    assert!(TRACES.iter().all(|trace| !log.to_ascii_lowercase().contains(trace)), "the log tells of the person");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_has_ids_types_times_and_hashes_and_is_never_delivered() {
    let planted = Planted::on(Hub::builder()).await;
    let waiting = text(&planted.waiting, "id");
    let before = planted.tenant.get(&format!("/events/{waiting}")).await.expect(200);
    erase_both(&planted).await;
    let after = planted.tenant.get(&format!("/events/{waiting}")).await.expect(200);
    for same in ["id", "type", "time", "source", "correlation_id"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert_eq!(after["data"]["erased"], true, "{after}");
    assert!(after["data"]["hmac_sha256"].as_str().is_some_and(|hash| hash.len() == 64), "{after}");
    // Somebody else's stays, and goes out as it was.
    let others = planted.tenant.get(&format!("/events/{}", text(&planted.others, "id"))).await.expect(200);
    assert_eq!((&others["data"]["from"], &others["subject"]), (&json!(OTHER), &json!(OTHER)));
    let resume = format!("/endpoints/{}/resume", planted.paused);
    let _ = planted.tenant.post(&resume, &json!({})).await.expect(200);
    let arrived = planted.at.wait_for("/paused", 1, switchyard_tests::api::SOON).await.expect("it arrives");
    assert_eq!(arrived[0].webhook_id(), planted.others["id"].as_str(), "only the other person's");
    // Not by a person's replay either.
    let dead = text(&planted.dead, "id");
    let _ = planted.tenant.post(&format!("/events/{dead}/replay"), &json!({})).await;
    let _ = planted.tenant.post(&format!("/events/{waiting}/replay"), &json!({"include_delivered": true})).await;
    assert!(planted.tenant.list("/dead-letters").await.is_empty(), "there is nothing left to replay");
    let all = planted.tenant.all("/deliveries").await;
    let of =
        |id: &str| all.iter().filter(|one| one["event_id"] == id).map(|one| text(one, "state")).collect::<Vec<_>>();
    assert_eq!((of(&dead), of(&waiting)), (vec!["cancelled".to_owned()], vec!["cancelled".to_owned()]));
    // Who keeps something elsewhere is told, by hash alone.
    let told = planted.told_of_erasure(2).await;
    assert!(told.iter().all(|event| event["data"]["person"].as_str().is_some_and(|hash| hash.len() == 64)), "{told:?}");
    let mut kinds: Vec<String> = told.iter().map(|event| text(&event["data"], "kind")).collect();
    kinds.sort();
    assert_eq!(kinds, ["email", "phone"]);
    let audit = planted.tenant.all("/audit").await;
    let actions: Vec<String> = audit.iter().map(|row| text(row, "action")).collect();
    for action in ["privacy.erasure_asked", "privacy.erased"] {
        assert_eq!(actions.iter().filter(|one| *one == action).count(), 2, "{action} in {actions:?}");
    }
    // A hash is enough to do it again, when nobody knows the number any more.
    let person = text(&told[0]["data"], "person");
    let again = planted.done("erase", json!({"person": person, "kind": text(&told[0]["data"], "kind")})).await;
    assert_eq!(again["progress"]["found"], json!({}), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_a_crash_cut_short_is_finished_by_the_next_start() {
    let mut hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let event = |n: usize| {
        json!({"specversion": "1.0", "id": format!("n-{n}"), "source": "shop", "type": "order.noted",
            "data": {"phone": PHONE, "n": n}})
    };
    for batch in 0..15 {
        let events: Vec<_> = (batch * 100..batch * 100 + 100).map(event).collect();
        let media = [("content-type", "application/cloudevents-batch+json")];
        let sent = tenant.api.raw("POST", &tenant.path("/events"), &media, json!(events).to_string()).await;
        assert_eq!(sent.status, 202, "{}", sent.text);
    }
    let asked = tenant.post("/privacy/erase", &json!({"phone": PHONE})).await.expect(202);
    let path = format!("/privacy/requests/{}", text(&asked, "id"));
    switchyard_tests::api::until("the erasure to have begun", async || {
        let shown = tenant.get(&path).await.expect(200);
        if shown["progress"]["looked_at"].as_u64() > Some(0) { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    hub.kill().await;
    hub.restart().await;
    let done = switchyard_tests::api::until_within(super::DONE_WITHIN, "the erasure to be done", async || {
        let shown = tenant.get(&path).await.expect(200);
        if shown["state"] == "done" { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await;
    assert_eq!(done["progress"]["found"]["events"], 1500, "each once, whatever was cut short: {done}");
    assert_eq!(stored(&hub), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_is_carried_out_again_on_a_copy_that_was_made_before_it() {
    let mut planted = Planted::on(Hub::builder()).await;
    let copy = planted.hub.folder().join("copy.db").display().to_string();
    let _ = planted.hub.run(&["backup", &copy, "--json"], &[]).await.json();
    erase_both(&planted).await;
    assert!(planted.hub.stop().await.success());
    for ending in ["", "-wal", "-shm"] {
        // Not all of them are there.
        std::fs::remove_file(format!("{}{ending}", planted.hub.database().display())).ok();
    }
    let back = planted.hub.run(&["restore", &copy, "--json"], &[]).await.json();
    assert_eq!(back["erasures"], 2, "{back}");
    assert!(!stored(&planted.hub).is_empty(), "the copy is older than the erasures");
    let list = std::fs::read(planted.hub.database().with_extension("erasures")).expect("the list");
    assert!(super::traces(&list).is_empty(), "the list says who was erased");
    planted.hub.restart().await;
    let requests = planted.tenant.list("/privacy/requests").await;
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert_eq!(request["actor"], "host", "{request}");
        let _ = planted.until_done(&text(request, "id")).await;
    }
    assert_eq!(planted.told().await, Vec::<String>::new());
    assert_eq!(stored(&planted.hub), Vec::<String>::new());
    // Not another time.
    assert!(planted.hub.stop().await.success());
    planted.hub.restart().await;
    assert_eq!(planted.tenant.list("/privacy/requests").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_erased_person_is_left_in_any_table_of_a_server() {
    let database = Database::fresh().await;
    let planted = Planted::on(Hub::builder().on(&database)).await;
    assert!(!rows_with_traces(&database).await.is_empty(), "nothing was planted");
    erase_both(&planted).await;
    assert_eq!(planted.told().await, Vec::<String>::new());
    assert_eq!(rows_with_traces(&database).await, Vec::<String>::new());
}

/// Tables with rows in which something tells of the person, bytes as what they are.
async fn rows_with_traces(database: &Database) -> Vec<String> {
    let mut conn = database.connect().await;
    let tables = "select c.table_name::text, c.column_name::text, c.data_type::text from information_schema.columns c \
        join information_schema.tables t on t.table_name = c.table_name and t.table_schema = c.table_schema \
        where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.data_type in ('text', 'bytea')";
    let columns = sqlx::query(tables).fetch_all(&mut conn).await.expect("the columns");
    let mut found = Vec::new();
    for column in &columns {
        let (table, name): (String, String) = (column.get(0), column.get(1));
        let bytes = if column.get::<String, _>(2) == "bytea" {
            format!("\"{name}\"")
        } else {
            format!("convert_to(\"{name}\", 'UTF8')")
        };
        let select = AssertSqlSafe(format!("select {bytes} from \"{table}\" where \"{name}\" is not null"));
        for row in sqlx::query(select).fetch_all(&mut conn).await.expect("rows") {
            let bytes: Vec<u8> = row.get(0);
            found.extend(super::traces(&bytes).into_iter().map(|trace| format!("{trace} in {table}.{name}")));
        }
    }
    found
}

#[tokio::test]
async fn who_is_meant_must_be_said_and_only_admins_may_ask() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    for (about, field) in [
        (json!({}), "phone"),
        (json!({"phone": PHONE, "email": EMAIL}), "phone"),
        (json!({"phone": "12"}), "phone"),
        (json!({"email": "nobody"}), "email"),
        (json!({"person": "xyz", "kind": "phone"}), "person"),
        (json!({"person": "00".repeat(32), "kind": "name"}), "kind"),
    ] {
        let problem = tenant.post("/privacy/erase", &about).await.problem(400, "invalid_request");
        assert_eq!(switchyard_tests::api::faulty(&problem), [field], "{about}");
    }
    let reader = hub.key(&json!({"tenant": "acme", "scope": "publisher"})).await;
    let denied = tenant.with_key(&reader).post("/privacy/export", &json!({"phone": PHONE})).await;
    let _ = denied.problem(403, "forbidden");
    let missing = tenant.get("/privacy/requests/prv_00000000000000000000000000000000").await;
    let _ = missing.problem(404, "not_found");
    let other = hub.tenant("globex").await;
    let asked = tenant.post("/privacy/export", &json!({"phone": PHONE})).await.expect(202);
    let foreign = other.with_key(ADMIN_KEY).get(&format!("/privacy/requests/{}", text(&asked, "id"))).await;
    let _ = foreign.problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opt_out_outlives_the_erasure_without_the_address() {
    let planted = Planted::on(Hub::builder()).await;
    let path = planted.tenant.path("/consents");
    for address in [PHONE, OTHER] {
        let said = json!({"channel": "sms", "address": address, "state": "withdrawn"});
        let _ = planted.hub.put(&path, &said).await.expect(200);
    }
    let exported = planted.done("export", json!({"phone": PHONE})).await;
    assert_eq!(exported["progress"]["found"]["consents"], 1, "{exported}");
    let erased = planted.done("erase", json!({"phone": PHONE})).await;
    assert_eq!(erased["progress"]["found"]["consents"], 1, "{erased}");
    let consents = planted.tenant.list("/consents").await;
    assert_eq!(consents.len(), 2, "{consents:?}");
    for consent in &consents {
        assert_eq!(consent["state"], "withdrawn");
    }
    let addresses: Vec<_> = consents.iter().filter_map(|consent| consent["address"].as_str()).collect();
    assert_eq!(addresses, [OTHER], "only the other person's is kept");
    // Whoever knows the number still finds what its owner wants.
    let asked = planted.tenant.get("/consents?address=%2B4599887766").await.expect(200);
    assert_eq!(
        (&asked["data"][0]["state"], &asked["data"][0]["address"]),
        (&json!("withdrawn"), &json!(null)),
        "{asked}"
    );
}
