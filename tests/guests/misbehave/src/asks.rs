//! Host calls, as many as the command says.

use serde_json::{Value, json};

use crate::bindings::switchyard::plugin::{
    crypto,
    http::{self, Request},
    kv, log, metrics,
    types::Method,
};

pub(crate) fn ask(what: &str, n: u64) -> Value {
    match what {
        "logs" => {
            for line in 0..n {
                log::emit(log::Level::Info, &format!("line {line}"), &[]);
            }
            json!({ "lines": n })
        }
        "metrics" => {
            for _ in 0..n {
                metrics::counter_add("calls_total", 1, &[]);
            }
            metrics::histogram_record("wait_seconds", f64::NAN, &[]);
            json!({ "samples": n })
        }
        "kv_flood" => {
            flood(n, || kv::get("k").map(|_| ()).map_err(|error| matches!(error, kv::Error::BudgetExhausted)))
        }
        "http_flood" => {
            flood(n, || send("/").map(|_| ()).map_err(|error| matches!(error, http::Error::BudgetExhausted)))
        }
        "http_until_stopped" => loop {
            // Swallows every error that it is shown.
            let _ = send("/");
        },
        "http" => match send("/invoices") {
            Ok(response) => json!({ "status": response.status, "body": String::from_utf8_lossy(&response.body) }),
            Err(error) => json!({ "error": format!("{error:?}") }),
        },
        "crypto" => json!({
            "mac": crypto::verify_mac("inbound.secret", crypto::Mac::HmacSha256, b"data", b"tag").ok(),
            "token": crypto::verify_token("inbound.secret", "token").ok(),
            "jwt": format!("{:?}", crypto::verify_jwt("google.jwt", "a.b.c", "us")),
        }),
        _ => keys(),
    }
}

fn send(path: &str) -> Result<http::Response, http::Error> {
    http::send(&Request {
        connection: "provider".to_owned(),
        method: Method::Get,
        path: path.to_owned(),
        headers: vec![],
        body: None,
        timeout: None,
        read_only: false,
        idempotency: None,
        extensions: None,
    })
}

/// How many of `n` calls were answered, and how many met the end of the budget.
fn flood(n: u64, call: impl Fn() -> Result<(), bool>) -> Value {
    let (mut answered, mut exhausted) = (0, 0);
    for _ in 0..n {
        match call() {
            Ok(()) => answered += 1,
            Err(true) => exhausted += 1,
            Err(false) => {}
        }
    }
    json!({ "answered": answered, "exhausted": exhausted })
}

/// Every operation of `kv` once, and each of the contract's rules broken once.
fn keys() -> Value {
    let options = || kv::Options { ttl: Some(1_000), person: None };
    let set = kv::set("a", b"one", &options());
    let many = kv::get_many(&["a".to_owned(), "b".to_owned()]).map(|entries| entries.len());
    let swapped = kv::swap("a", Some(1), b"two", &options());
    let deleted = kv::delete("a");
    let listed = kv::list_keys("", None, 10).map(|page| page.keys);
    json!({
        "set": format!("{set:?}"),
        "many": format!("{many:?}"),
        "swapped": format!("{swapped:?}"),
        "deleted": format!("{deleted:?}"),
        "listed": format!("{listed:?}"),
        "empty_key": format!("{:?}", kv::get("").map(|_| ())),
        "long_key": format!("{:?}", kv::get(&"k".repeat(513)).map(|_| ())),
        "large_value": format!("{:?}", kv::set("a", &vec![0; (256 << 10) + 1], &options())),
        "page_of_none": format!("{:?}", kv::list_keys("", None, 0).map(|page| page.keys)),
    })
}
