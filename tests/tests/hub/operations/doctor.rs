use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, process::Stdio};

use serde_json::Value;
use switchyard_tests::{
    hub::{Hub, Said},
    world::{build_folder, bundled},
};

use super::{keyring, query};

/// What a check said: its verdict, its words and its fix.
fn check(said: &Said, name: &str) -> (String, String, String) {
    let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert_eq!(report["ok"], said.success, "the exit code says otherwise: {report}");
    let checks = report["checks"].as_array().expect("checks");
    let found = checks.iter().find(|check| check["check"] == name);
    let found = found.unwrap_or_else(|| panic!("no check of {name}: {report:#}"));
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("verdict"), text("said"), text("fix"))
}

#[track_caller]
fn assert_found(said: &Said, name: &str, verdict: &str, words: &str, fix: &str) {
    let found = check(said, name);
    assert!(found.0 == verdict && found.1.contains(words) && found.2.contains(fix), "{name}: {found:?}");
    assert_eq!(said.success, !said.out.contains("\"fail\""), "{}", said.out);
}

const ASK: [&str; 2] = ["doctor", "--json"];

#[tokio::test]
async fn a_sound_set_up_passes_before_its_first_start_and_beside_the_running_hub() {
    let mut hub = Hub::builder().prepare();
    let plugins = build_folder().join("plugins").display().to_string();
    let fresh = hub.run(&ASK, &[("SWITCHYARD_PLUGIN_DIR", &plugins)]).await;
    assert!(fresh.success, "{}", fresh.out);
    assert_found(&fresh, "database", "ok", "not there yet", "");
    assert_found(&fresh, "master keys", "ok", "none yet", "");
    assert_found(&fresh, "plugins", "ok", "billy", "");
    assert!(!hub.database().exists() && !hub.folder().join("hub.key").exists(), "it made something");
    hub.restart().await;
    let _ = hub.push(bundled("webhook")).await.expect(201);
    let _ = hub.tenant("acme").await;
    let beside = hub.run(&ASK, &[]).await;
    assert!(beside.success, "{}", beside.out);
    assert_found(&beside, "database", "ok", "a hub has it open", "");
    assert_found(&beside, "listen", "ok", "taken, as it should be", "");
    assert_found(&beside, "data keys", "ok", "every one of 1 opens", "");
    assert_found(&beside, "plugin cache", "ok", "sealed files", "");
    assert_found(&beside, "schema", "ok", "steps are made", "");
    assert_found(&beside, "files", "ok", "owner only", "");
    // For people it is a table, with the same exit code, and the hub has not noticed.
    let table = hub.run(&["doctor"], &[]).await;
    assert!(table.success && table.out.contains("CHECK") && table.out.contains("a hub has it open"), "{}", table.out);
    let _ = hub.tenant("beta").await;
    assert!(hub.stop().await.success());
    assert_found(&hub.run(&ASK, &[]).await, "database", "ok", "no hub has it open", "");
}

#[tokio::test]
async fn keys_that_are_missing_open_or_wrong_are_found_with_their_fix() {
    let mut hub = Hub::start().await;
    let _ = hub.tenant("acme").await;
    assert!(hub.stop().await.success());
    let key = hub.folder().join("hub.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("changed");
    let said = hub.run(&ASK, &[]).await;
    assert_found(&said, "master keys", "fail", "read by others", "chmod 600");
    assert_found(&said, "files", "fail", "hub.key", "chmod go=");
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("changed");
    let other = hub.run(&ASK, &[("SWITCHYARD_MASTER_KEYS", &keyring("a"))]).await;
    assert_found(&other, "data keys", "fail", "tenant acme", "give the missing key back");
    std::fs::rename(&key, hub.folder().join("aside.key")).expect("moved");
    assert_found(&hub.run(&ASK, &[]).await, "master keys", "fail", "is not there", "put the key back");
    assert!(!key.exists(), "it made a key in the place of the lost one");
    std::fs::rename(hub.folder().join("aside.key"), &key).expect("moved");
    // A key whose row was changed by hand, or moved to another tenant.
    let _ = query(&hub, "update tenant set data_key = substr(data_key, 1, length(data_key) - 1)").await;
    assert_found(&hub.run(&ASK, &[]).await, "data keys", "fail", "tenant acme", "restore");
}

#[tokio::test]
async fn a_rotation_that_is_not_finished_and_a_key_under_anothers_name_are_told() {
    let mut hub = Hub::builder().set("SWITCHYARD_MASTER_KEYS", &keyring("a")).start().await;
    let _ = hub.tenant("acme").await;
    assert!(hub.stop().await.success());
    let both = hub.run(&ASK, &[("SWITCHYARD_MASTER_KEYS", &keyring("ba"))]).await;
    assert_found(&both, "data keys", "warn", "under key-a", "switchyard keys rotate");
    let swapped = keyring("b").replace("key-b", "key-a");
    let said = hub.run(&ASK, &[("SWITCHYARD_MASTER_KEYS", &swapped)]).await;
    assert_found(&said, "master keys", "fail", "fingerprint is", "`key-a`");
    assert!(!format!("{said:?}").contains(&keyring("a")[6..]), "it shows a key");
}

#[tokio::test]
async fn a_database_that_is_damaged_behind_newer_or_ahead_in_time_is_found() {
    let mut hub = Hub::start().await;
    let _ = hub.tenant("acme").await;
    assert!(hub.stop().await.success());
    let _ = query(
        &hub,
        "insert into meta values ('clock', x'000001f0a5b4c800') on conflict do update set value = excluded.value",
    )
    .await;
    assert_found(&hub.run(&ASK, &[]).await, "clock", "fail", "behind the latest time", "set the clock");
    let _ = query(&hub, "delete from meta where name = 'clock'").await;
    let _ = hub.run(&["migrate", "down", "--to", "2", "--yes"], &[]).await;
    assert_found(&hub.run(&ASK, &[]).await, "schema", "warn", "steps 0003, 0004, 0005, 0006", "switchyard migrate");
    let _ = query(
        &hub,
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'x', 1, x'', 0)",
    )
    .await;
    assert_found(&hub.run(&ASK, &[]).await, "schema", "fail", "9999", "start the newer version");
    let mut bytes = std::fs::read(hub.database()).expect("the file");
    bytes[4096..].fill(0x5a);
    std::fs::write(hub.database(), &bytes).expect("the damage is done");
    let said = hub.run(&ASK, &[]).await;
    let found = check(&said, "database");
    assert!(!said.success && found.0 == "fail" && found.2.contains("restore"), "{found:?}");
    assert_eq!(std::fs::read(hub.database()).expect("the file"), bytes, "it changed the file");
    std::fs::set_permissions(hub.database(), Permissions::from_mode(0o604)).expect("changed");
    assert_found(&hub.run(&ASK, &[]).await, "files", "fail", "hub.db", "chmod go=");
}

#[tokio::test]
async fn settings_that_cannot_work_or_guard_nothing_are_found() {
    let hub = Hub::builder().prepare();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    for (name, value, check, verdict, words, fix) in [
        ("SWITCHYARD_LISTEN", address.as_str(), "listen", "fail", address.as_str(), "SWITCHYARD_LISTEN"),
        ("SWITCHYARD_LISTEN", "0.0.0.0:0", "public url", "warn", "not set", "SWITCHYARD_PUBLIC_URL"),
        ("SWITCHYARD_PUBLIC_URL", "https://hub.example", "public url", "ok", "https://hub.example", ""),
        ("SWITCHYARD_PUBLIC_URL", "http://hub.example", "public url", "warn", "http://hub.example", "https://"),
        ("SWITCHYARD_PUBLIC_URL", "https://10.1.2.3", "public url", "warn", "10.1.2.3", "public name"),
        ("SWITCHYARD_PUBLIC_URL", "https://hub.example/?token=x", "public url", "fail", "hub.example", "query"),
        ("SWITCHYARD_EGRESS_ALLOW", "", "egress", "ok", "public addresses only", ""),
        ("SWITCHYARD_EGRESS_ALLOW", "10.0.0.0/8", "egress", "ok", "10.0.0.0/8", ""),
        ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.0/8", "egress", "warn", "this machine itself", "strangers"),
        ("SWITCHYARD_EGRESS_ALLOW", "169.254.0.0/16", "egress", "warn", "metadata", "leave"),
        (
            "SWITCHYARD_EGRESS_ALLOW",
            "10.0.0.0/8,0.0.0.0/0",
            "egress",
            "fail",
            "nothing is guarded",
            "name the networks",
        ),
        ("SWITCHYARD_LISSEN", "x", "settings", "fail", "SWITCHYARD_LISTEN", "switchyard config"),
        (
            "SWITCHYARD_DATABASE_URL",
            "postgres://u:p@127.0.0.1:1/d",
            "database",
            "fail",
            "cannot be reached",
            "DATABASE_URL",
        ),
    ] {
        let said = hub.run(&ASK, &[(name, value)]).await;
        assert_found(&said, check, verdict, words, fix);
    }
}

#[tokio::test]
async fn plugins_and_compiled_code_that_are_not_what_they_were_are_found() {
    let mut hub = Hub::start().await;
    let _ = hub.push(bundled("webhook")).await.expect(201);
    assert!(hub.stop().await.success());
    let cache = hub.folder().join("hub.plugins");
    let file = std::fs::read_dir(&cache).expect("a folder").flatten().next().expect("a file").path();
    let mut code = std::fs::read(&file).expect("code");
    let last = code.len() - 1;
    code[last] ^= 1;
    std::fs::write(&file, code).expect("written");
    assert_found(&hub.run(&ASK, &[]).await, "plugin cache", "warn", "not as the hub sealed it", "compiles it anew");
    let plugins = hub.folder().join("no-plugins");
    std::fs::write(plugins.join("broken.wasm"), b"\0asm and no more").expect("written");
    assert_found(&hub.run(&ASK, &[]).await, "plugins", "fail", "broken.wasm", "make plugins");
    let nowhere = hub.run(&ASK, &[("SWITCHYARD_PLUGIN_DIR", "/nowhere/at/all")]).await;
    assert_found(&nowhere, "plugins", "warn", "/nowhere/at/all", "SWITCHYARD_PLUGIN_DIR");
}

#[tokio::test]
async fn too_few_descriptors_are_found() {
    let hub = Hub::builder().prepare();
    for (limit, verdict) in [("200", "fail"), ("2000", "warn"), ("12000", "ok")] {
        let doctor = hub.prepared(&ASK);
        let program = doctor.as_std().get_program().to_owned();
        let mut limited = tokio::process::Command::new("bash");
        limited
            .args(["-c", "ulimit -Sn $1 && exec \"$2\" doctor --json", "-", limit])
            .arg(program)
            .env_clear()
            .envs(doctor.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(hub.folder())
            .stdin(Stdio::null());
        let ended = limited.output().await.expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = Said { success: ended.status.success(), out: text(&ended.stdout), err: text(&ended.stderr) };
        let found = check(&said, "descriptors");
        assert!(found.0 == verdict && found.1.contains(limit), "{found:?}");
        assert_eq!(found.2.contains("ulimit -n"), verdict != "ok", "{found:?}");
    }
}
