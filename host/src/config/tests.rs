use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::{load::text, *};

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let variables = environment.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    load::settings(text(file), variables)
}

#[track_caller]
fn message(file: &str, environment: &[(&str, &str)]) -> String {
    load(file, environment).unwrap_err().to_string()
}

#[test]
fn the_commented_file_is_the_defaults() {
    // Every field must be in the file and every name in the file a field, else this fails.
    let settings = Settings::defaults().unwrap();
    assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
    assert!(matches!(settings.database_url, Database::Sqlite(path) if path.ends_with("data/switchyard.db")));
    assert_eq!(settings.limits.body_bytes, 1 << 20);
    assert_eq!(settings.retention.events, Duration::from_secs(30 * 86_400));
    assert!(settings.roles.has(Role::Api) && settings.roles.has(Role::Worker) && settings.roles.has(Role::Scheduler));
    assert!(settings.public_url.is_none() && settings.master_keys.is_none() && settings.admin_key.is_none());
}

#[test]
fn every_setting_has_prose() {
    let mut explained = false;
    for line in DEFAULTS.lines() {
        match line.trim() {
            "" => explained = false,
            comment if comment.starts_with('#') => explained = true,
            setting => assert!(explained, "no comment above `{setting}`"),
        }
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "listen = \"127.0.0.1:1\"\n[limits]\nbody_bytes = \"2MiB\"\nheader_count = 7";
    let settings = load(
        file,
        &[
            ("SWITCHYARD_LISTEN", "[::1]:0"),
            ("SWITCHYARD_LIMITS__HEADER_COUNT", "64"),
            ("SWITCHYARD_LIMITS__TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1"),
            ("SWITCHYARD_ROLES", "api,worker"),
            ("SWITCHYARD_URL", "an option of the command line"),
        ],
    )
    .unwrap();
    assert_eq!(settings.listen, "[::1]:0".parse().unwrap());
    assert_eq!(settings.limits.body_bytes, 2 << 20);
    assert_eq!(settings.limits.header_count, 64);
    assert_eq!(settings.limits.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "192.0.2.1/32".parse().unwrap()]);
    assert!(!settings.roles.has(Role::Scheduler));
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_one() {
    let text = message("[limits]\nbody_byte = 1", &[]);
    assert_eq!(
        text,
        "unknown setting `limits.body_byte` in test.toml; did you mean `limits.body_bytes`?; `switchyard config` lists \
         all"
    );
    let text = message("", &[("SWITCHYARD_DATABSE_URL", "x")]);
    assert!(text.contains("did you mean `SWITCHYARD_DATABASE_URL`?"), "{text}");
    let text = message("zzz = 1", &[]);
    assert!(text.contains("unknown setting `zzz`") && !text.contains("did you mean"), "{text}");
    let text = message("", &[("SWITCHYARD_LIMITS", "x")]);
    assert!(text.contains("unknown setting `SWITCHYARD_LIMITS`"), "{text}");
    let text = message("limits = 3", &[]);
    assert!(text.contains("write [limits]"), "{text}");
}

#[test]
fn a_wrong_value_names_its_place_and_the_fix() {
    for (file, environment, expected) in [
        ("listen = \"nowhere\"", vec![], "setting `listen` in test.toml: invalid socket address"),
        ("", vec![("SWITCHYARD_LISTEN", "x")], "setting `listen` in the environment (SWITCHYARD_LISTEN): invalid"),
        ("[shutdown]\ngrace = \"soon\"", vec![], "`soon` is no duration; write it as \"15s\""),
        ("", vec![("SWITCHYARD_POOL__SENDS", "many")], "(SWITCHYARD_POOL__SENDS): expected a whole number"),
        ("public_url = \"hub\"", vec![], "write it as https://hub.example.com"),
        ("egress_allow = [\"10.0.0.0/99\"]", vec![], "`10.0.0.0/99` is no network; write it as 10.0.0.0/8"),
        (
            "provider_origins = [\"https://a.example\"]",
            vec![],
            "write it as https://api.example.com=http://127.0.0.1:4711",
        ),
        (
            "broker_url = \"http://mq\"",
            vec![],
            "setting `broker_url` in test.toml: it is no broker address; write it as amqps://user:password@host/vhost",
        ),
        (
            "",
            vec![("SWITCHYARD_BROKER_URL", "amqp://mq/?heartbeat=1")],
            "setting `broker_url` in the environment (SWITCHYARD_BROKER_URL): it has a `?`",
        ),
        ("roles = []", vec![], "a process needs a role"),
        ("", vec![("SWITCHYARD_LOG", "loud")], "write a level and a format such as `info,json`"),
        ("listen = ", vec![], "test.toml, line 1: "),
    ] {
        let text = message(file, &environment);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn no_message_repeats_a_secret() {
    let cases = [
        ("admin_key = \"MARKER\"", vec![]),
        ("admin_key = 99997777", vec![]),
        ("admin_key = MARKER", vec![]),
        ("", vec![("SWITCHYARD_ADMIN_KEY", "MARKER")]),
        ("", vec![("SWITCHYARD_MASTER_KEYS", "MARKER")]),
        ("", vec![("SWITCHYARD_MASTER_KEYS", "a:MARKER")]),
        ("", vec![("SWITCHYARD_DATABASE_URL", "mysql://u:MARKER@db/x")]),
        ("", vec![("SWITCHYARD_BROKER_URL", "http://u:MARKER@mq/x")]),
        ("", vec![("SWITCHYARD_BROKER_URL", "amqp://u:MARKER@mq/x/y")]),
        ("", vec![("SWITCHYARD_BROKER_URL", "amqp://u:MARKER%ff@mq/x")]),
    ];
    for (file, environment) in cases {
        let error = load(file, &environment).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("MARKER") && !text.contains("99997777"), "{text}");
    }
}

#[test]
fn settings_can_be_printed_without_a_secret() {
    let environment = [
        ("SWITCHYARD_ADMIN_KEY", "MARKER-123456789012345678"),
        (
            "SWITCHYARD_MASTER_KEYS",
            "k1:TUFSS0VSTUFSS0VSTUFSS0VSTUFSS0VSTUFSS0VSTUE=,k0:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        ("SWITCHYARD_DATABASE_URL", "postgres://hub:MARKER@db/hub"),
        ("SWITCHYARD_BROKER_URL", "amqp://hub:MARKER@mq/"),
    ];
    let settings = load("", &environment).unwrap();
    let text = format!("{settings:?}");
    assert!(!text.contains("MARKER") && !text.contains("TUFS") && !text.contains("[77, 65"), "{text}");
    assert!(settings.master_keys.unwrap().expose_secret().starts_with("k1:TUFS"));
}

#[test]
fn a_missing_file_is_fine_unless_it_was_asked_for() {
    assert!(load::file(None).unwrap().is_none());
    let missing = std::path::Path::new("no/such/file.toml");
    assert!(matches!(load::file(Some(missing)), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn fuzz_config_files() {
    let seeds: [&[u8]; 8] = [
        DEFAULTS.as_bytes(),
        b"listen = \"127.0.0.1:0\"\nroles = [\"api\"]\n[limits]\nbody_bytes = \"1MiB\"\nheader_timeout = \"5s\"\n",
        b"egress_allow = [\"127.0.0.0/8\", \"::/0\"]\n[limits]\ntrusted_proxies = []\n",
        b"[limits]\nbody_bytes = 99999999999999999999\nbody_timeout = \"1e9h\"\n",
        b"[retention]\nevents = \"-1d\"\nrejections = \"0.5d\"\n",
        b"database_url = \"postgres://u:p@h/d\"\nmaster_keys = \"k1:%%\"\n",
        b"a.b.c = { d = [1979-05-27, inf, nan] }\n[a]\n[[a]]\n",
        b"listen = 'x\n",
    ];
    let words = ["[limits]\n", "body_bytes = ", "\"1GiB\"", "\"5s\"", "= ", "[[", "]]", "\"", "\n", "inf"];
    switchyard_fuzz::fuzz(&seeds, &words, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        switchyard_fuzz::outcome(&load::settings(load::text(&text), []).map(|_| ()))
    });
}
