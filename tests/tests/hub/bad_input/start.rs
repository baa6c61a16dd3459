use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use switchyard_tests::hub::Hub;

fn master_key(id: &str, byte: u8) -> String {
    format!("{id}:{}", STANDARD.encode([byte; 32]))
}

async fn sql(hub: &Hub, statement: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(hub.database());
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("the file opens");
    sqlx::raw_sql(statement).execute(&pool).await.expect("the statement runs");
    pool.close().await;
}

#[tokio::test]
async fn a_wrong_master_key_is_refused_and_the_missing_one_is_named() {
    let right = master_key("k1", 1);
    let mut hub = Hub::builder().set("SWITCHYARD_MASTER_KEYS", &right).start().await;
    let tenant = hub.tenant("acme").await;
    let secret =
        json!({"provider": "p", "name": "n", "kind": "bearer", "secret": {"token": "a-token-of-the-provider"}});
    let _ = tenant.connection(&secret).await;
    hub.kill().await;
    let other = master_key("k2", 2);
    let said = hub.refuses(&[("SWITCHYARD_MASTER_KEYS", &other)]).await;
    assert!(said.contains("`k1`") && said.contains("SWITCHYARD_MASTER_KEYS"), "{said}");
    let same_name = master_key("k1", 2);
    let said = hub.refuses(&[("SWITCHYARD_MASTER_KEYS", &same_name)]).await;
    assert!(said.contains("`k1`") && said.contains("fingerprint"), "{said}");
    for wrong in ["k1", "k1:AAAA", "k1:%%%%", ":", "k1:"] {
        let said = hub.refuses(&[("SWITCHYARD_MASTER_KEYS", wrong)]).await;
        assert!(said.contains("`master_keys`") && said.contains("32 bytes in base64"), "{wrong}: {said}");
    }
    let twice = format!("{right},{right}");
    let said = hub.refuses(&[("SWITCHYARD_MASTER_KEYS", &twice)]).await;
    assert!(said.contains("given twice"), "{said}");
    assert!(!hub.log().contains(&STANDARD.encode([1; 32])), "a message repeats a key");

    hub.restart().await;
    let kept = hub.get("/v1/tenants/acme/connections").await.expect(200);
    assert_eq!(kept["data"].as_array().map(Vec::len), Some(1), "{kept}");
}

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused_and_the_first_goes_on() {
    let mut hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let said = hub.refuses(&[]).await;
    assert!(said.contains("another switchyard has") && said.contains("SWITCHYARD_DATABASE_URL"), "{said}");
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    assert_eq!(tenant.list("/events").await.len(), 1);
}

#[tokio::test]
async fn a_database_newer_than_the_binary_is_left_alone() {
    let mut hub = Hub::start().await;
    let _ = hub.tenant("acme").await;
    hub.kill().await;
    sql(
        &hub,
        "insert into _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
         values (9999, 'from the future', current_timestamp, true, x'00', 0)",
    )
    .await;
    let said = hub.refuses(&[]).await;
    assert!(said.contains("schema 9999") && said.contains("start the newer version"), "{said}");
    sql(&hub, "delete from _sqlx_migrations where version = 9999").await;
    hub.restart().await;
    let _ = hub.get("/v1/tenants/acme").await.expect(200);
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_not_repaired_by_guessing() {
    let mut hub = Hub::start().await;
    let _ = hub.tenant("acme").await;
    assert!(hub.stop().await.success());
    // Whoever closes the last connection brings the log into the file, so that damage to the file counts.
    sql(&hub, "select 1").await;
    let mut bytes = std::fs::read(hub.database()).expect("the file is there");
    let end = bytes.len();
    bytes[4096..end].fill(0x5a);
    std::fs::write(hub.database(), &bytes).expect("it can be written");
    let said = hub.refuses(&[]).await;
    assert!(said.contains("is damaged") && said.contains("restore"), "{said}");
    assert_eq!(std::fs::read(hub.database()).expect("it is still there"), bytes, "the damaged file was changed");
}

#[tokio::test]
async fn h82_a_setting_that_does_not_exist_or_does_not_fit_is_refused_with_its_place_and_the_fix() {
    let unknown = Hub::builder().file("lisen = \"127.0.0.1:0\"\n").refuses().await;
    assert!(unknown.contains("unknown setting `lisen`") && unknown.contains("did you mean `listen`"), "{unknown}");
    assert!(unknown.contains("switchyard.toml"), "{unknown}");
    let inner = Hub::builder().file("[limits]\nbody_byte = 5\n").refuses().await;
    assert!(inner.contains("`limits.body_byte`") && inner.contains("`limits.body_bytes`"), "{inner}");
    let syntax = Hub::builder().file("listen = \"127.0.0.1:0\"\nroles = [\n").refuses().await;
    assert!(syntax.contains("switchyard.toml, line"), "{syntax}");
    for (name, value, words) in [
        (
            "SWITCHYARD_LISSEN",
            "127.0.0.1:0",
            ["unknown setting `SWITCHYARD_LISSEN`", "did you mean `SWITCHYARD_LISTEN`"],
        ),
        ("SWITCHYARD_ADMIN_KEY", "short", ["`admin_key`", "at least 24"]),
        ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.0/99", ["`egress_allow`", "127.0.0.0/99"]),
        ("SWITCHYARD_LISTEN", "everywhere", ["`listen`", "SWITCHYARD_LISTEN"]),
        ("SWITCHYARD_ROLES", "api,king", ["`roles`", "king"]),
        ("SWITCHYARD_LIMITS__BODY_BYTES", "lots", ["`limits.body_bytes`", "SWITCHYARD_LIMITS__BODY_BYTES"]),
        ("SWITCHYARD_DATABASE_URL", "mysql://localhost/hub", ["`database_url`", "sqlite"]),
        ("SWITCHYARD_DATABASE_URL", "postgres://user:MARKER@localhost/hub", ["SWITCHYARD_MASTER_KEYS", "PostgreSQL"]),
    ] {
        let said = Hub::builder().set(name, value).refuses().await;
        for word in words {
            assert!(said.contains(word), "`{word}` is missing for {name}={value}: {said}");
        }
        assert!(!said.contains("MARKER"), "a password is repeated: {said}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_the_setting_that_changes_it() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let said = Hub::builder().set("SWITCHYARD_LISTEN", &address).refuses().await;
    assert!(said.contains(&address) && said.contains("SWITCHYARD_LISTEN"), "{said}");
}
