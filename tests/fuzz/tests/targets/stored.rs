use base64::{Engine as _, engine::general_purpose::STANDARD};
use switchyard::{
    clock::{ManualClock, Timestamp},
    connection::{
        credential::{ConnectionKind, Credential},
        vault::{Place, Vault},
    },
    id::Ids,
    run::journal::{Journal, Record},
    secret::keyring::MasterKeys,
};
use switchyard_fuzz::{fuzz, outcome};

fn ids() -> Ids {
    Ids::seeded(ManualClock::starting_at(Timestamp(1_795_176_000_000)), [7; 32])
}

#[test]
fn fuzz_sealed_values() {
    let keys = MasterKeys::parse(&format!("k1:{}", STANDARD.encode([1; 32]))).unwrap();
    let vault = Vault::new(keys, ids());
    let wrapped = vault.new_tenant_key("acme").unwrap();
    let key = vault.open_tenant_key("acme", &wrapped).unwrap();
    let place = Place { tenant: "acme", table: "connection", row: &[1; 16], column: "secret" };
    let sealed = vault.seal(&key, place, b"a secret").unwrap();
    fuzz(&[&wrapped, &sealed, &sealed[..20], b"v1", b"\0"], &["k1", "v1"], |bytes| {
        let opened = vault.open(&key, place, bytes);
        assert!(opened.is_err() || bytes == sealed, "bytes that were not sealed here were opened");
        let unwrapped = vault.open_tenant_key("acme", bytes);
        assert!(unwrapped.is_err() || bytes == wrapped, "a key that was not wrapped here was opened");
        (outcome(&opened.map(|_| ())), outcome(&unwrapped.map(|_| ())), Vault::wrapped_by(bytes).is_ok())
    });
}

#[test]
fn fuzz_master_keys() {
    let good = format!("k1:{}", STANDARD.encode([1; 32]));
    let two = format!("{good},k2:{}", STANDARD.encode([2; 32]));
    fuzz(&[good.as_bytes(), two.as_bytes(), b":", b"k1:,k1:", b"k1:%%%%"], &[":", ",", "k1:", "=="], |bytes| {
        outcome(&MasterKeys::parse(&String::from_utf8_lossy(bytes)).map(|_| ()))
    });
}

#[test]
fn fuzz_stored_credentials() {
    let seeds: [&[u8]; 4] = [
        br#"{"username":"u","password":"p"}"#,
        br#"{"name":"x-key","value":"v"}"#,
        br#"{"secret":"s","secret":"t"}"#,
        br#"{"token":["t"]}"#,
    ];
    fuzz(&seeds, &["\"token\":", "\"secret\":", "{", "null"], |bytes| {
        use ConnectionKind::{Basic, Bearer, Generated, Header, Hmac};
        [Basic, Bearer, Generated, Header, Hmac].map(|kind| outcome(&Credential::from_stored(kind, bytes).map(|_| ())))
    });
}

#[test]
fn fuzz_journals() {
    let zeros = "0".repeat(64);
    let whole = format!(
        r#"{{"started_at_ms":1,"seed":"{zeros}","version":"1.0.0","config":"{{}}","sources":[],"traceparent":"t","entries":[
        {{"call":"POST billy /x","print":"{zeros}","outcome":"confirmed","key":"k","sent_at_ms":1,"at_ms":2,"status":200,
        "answer":{{"kv_done":{{"Ok":null}}}}}},{{"call":"kv.get a","print":"{zeros}","outcome":"intent","at_ms":3}}]}}"#
    );
    let words = ["\"outcome\":\"unknown\"", "\"outcome\":\"read\"", "\"answer\":", "\"Err\":", "\"entries\":[", "null"];
    fuzz(&[whole.as_bytes(), b"{}", b"[[["], &words, |bytes| {
        let record = serde_json::from_slice::<Record>(bytes);
        assert!(record.is_ok() || bytes != whole.as_bytes(), "the seed is one: {:?}", record.err());
        let reopened = record.as_ref().ok().map(|record| {
            let entries = record.entries.len();
            Journal::reopen(record.clone()).map(|mut journal| {
                assert!(journal.record().entries.len() <= entries);
                for _ in 0..=entries {
                    let _ = journal.meet("POST billy /x", [0; 32], false);
                }
                journal.finish().is_ok()
            })
        });
        (outcome(&record.map(|_| ())), reopened)
    });
}
