//! Host calls, as many as the command says.

use serde_json::{Value, json};

use crate::{
    bindings::switchyard::plugin::{
        crypto,
        http::{self, Request},
        kv, log, metrics,
        types::{CallContext, Header, Method},
    },
    crimes,
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
        "kv_until_stopped" => loop {
            // Goes on inside a host call long after the budget is used up.
            let _ = kv::get("k");
        },
        "kv_value" => json!({ "set": shown(kv::set("v", &bytes(n), &options(None))) }),
        "kv_key" => json!({ "get": shown(kv::get(&"k".repeat(size(n))).map(|_| ())) }),
        "kv_many" => {
            let keys: Vec<_> = (0..n).map(|key| key.to_string()).collect();
            json!({ "got": kv::get_many(&keys).map_or_else(|error| format!("{error:?}"), |found| found.len().to_string()) })
        }
        "kv_page" => {
            let page = kv::list_keys("", None, u32::try_from(n).unwrap_or(u32::MAX));
            json!({ "listed": shown(page.map(|_| ())) })
        }
        "kv_fill" => {
            let value = bytes(256 << 10);
            let done = (0..n).map_while(|key| kv::set(&format!("fill/{key:04}"), &value, &options(None)).ok());
            json!({ "stored": done.count() })
        }
        "kv_rewrite" => {
            let value = bytes(200 << 10);
            let done = (0..n).map(|_| kv::set("again", &value, &options(None))).filter(Result::is_ok);
            json!({ "stored": done.count() })
        }
        "kv_read_whole" => {
            // The answers are larger each than what they cost to ask for.
            let keys = vec!["fill/0000".to_owned(); 100];
            json!({ "read": (0..n).map_while(|_| kv::get_many(&keys).ok()).count() })
        }
        "line" => {
            log::emit(log::Level::Info, &"x".repeat(size(n)), &[]);
            json!({ "bytes": n })
        }
        "headers" => answer(&Request {
            headers: (0..n).map(|at| header(&format!("x-{at}"), b"1")).collect(),
            ..request("GET", "provider", "/echo")
        }),
        "header" => answer(&Request { headers: vec![header("x", &bytes(n))], ..request("GET", "provider", "/echo") }),
        "body" => answer(&Request { body: Some(bytes(n)), ..request("PUT", "provider", "/sink") }),
        "path" => answer(&request("GET", "provider", &format!("/{}", "p".repeat(size(n))))),
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
    http::send(&request("GET", "provider", path))
}

fn request(method: &str, connection: &str, path: &str) -> Request {
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        other => Method::Other(other.to_owned()),
    };
    Request {
        connection: connection.to_owned(),
        method,
        path: path.to_owned(),
        headers: vec![],
        body: None,
        timeout: None,
        read_only: false,
        idempotency: None,
        extensions: None,
    }
}

fn header(name: &str, value: &[u8]) -> Header {
    Header { name: name.to_owned(), value: value.to_vec() }
}

/// Sends what the command says: method, connection, path, header fields, body, and whether it claims to only read.
pub(crate) fn call(order: &Value) -> Value {
    let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
    let fields = order["headers"].as_array().into_iter().flatten();
    let named = |field: &Value| Some(header(field[0].as_str()?, field[1].as_str()?.as_bytes()));
    let mut seen = answer(&Request {
        headers: fields.filter_map(named).collect(),
        body: order["body"].as_str().map(|body| body.as_bytes().to_vec()),
        read_only: order["read_only"] == true,
        ..request(&text("method"), &text("connection"), &text("path"))
    });
    if order["weigh"] == true {
        seen["body"] = seen["body"].as_str().map_or(0, str::len).into();
    }
    seen
}

/// Everything of an answer, or of the refusal.
fn answer(request: &Request) -> Value {
    match http::send(request) {
        Ok(response) => json!({
            "status": response.status,
            "headers": response.headers.iter().map(|field| format!("{}: {}", field.name, String::from_utf8_lossy(&field.value))).collect::<Vec<_>>(),
            "body": String::from_utf8_lossy(&response.body),
        }),
        Err(error) => json!({ "error": format!("{error:?}") }),
    }
}

/// One write that the provider cannot recognise, then a question. The write's body is made of everything that differs
/// between two runs on an ordinary machine. Answers whether the question was answered.
pub(crate) fn steps(config: &Value, version: &str) -> (Value, bool) {
    let path = config["path"].as_str().unwrap_or("/first");
    if config["early"] == true {
        return (json!({ "early": true }), true);
    }
    let chance = crimes::commit("random", 0);
    let clock = crimes::commit("clock", 0);
    let body = json!({ "version": version, "config": config, "chance": chance, "clock": clock }).to_string();
    let written = answer(&Request { body: Some(body.into_bytes()), ..request("POST", "provider", path) });
    let asked = answer(&request("GET", "provider", "/second"));
    let answered = asked["status"] == 200;
    (json!({ "version": version, "config": config, "written": written, "asked": asked }), answered)
}

/// Every byte that the guest can get hold of, as text.
pub(crate) fn hunt(ctx: &CallContext, event: &str) -> Value {
    let mut found = vec![format!("{ctx:?}"), event.to_owned()];
    found.extend(std::env::vars().map(|(name, value)| format!("{name}={value}")));
    found.extend(std::env::args());
    found.extend(std::io::stdin().lines().map_while(Result::ok));
    for folder in ["/", ".", "/proc/self", "/tmp", "/etc"] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    found.extend(
        ["/proc/self/environ", "/etc/passwd", "hub.key", "hub.db"]
            .into_iter()
            .filter_map(|file| std::fs::read_to_string(file).ok()),
    );
    for connection in ["provider", "basic", "bearer", "unbound", "stranger"] {
        found.push(answer(&request("GET", connection, "/echo")).to_string());
        let template =
            "{{secret:provider.value}} {{secret:basic.password}} {{secret:bearer.token}} {{secret:inbound.secret}}";
        found.push(
            answer(&Request {
                headers: vec![header("x-copy", template.as_bytes())],
                body: Some(template.as_bytes().to_vec()),
                ..request("PUT", connection, "/echo")
            })
            .to_string(),
        );
        for field in ["value", "token", "password", "username", "name", "secret"] {
            let name = format!("{connection}.{field}");
            found.push(format!("{:?}", crypto::verify_token(&name, "guess")));
            found.push(format!("{:?}", crypto::verify_mac(&name, crypto::Mac::HmacSha256, b"", b"")));
        }
    }
    let mut cursor = None;
    while let Ok(page) = kv::list_keys("", cursor.as_deref(), 1_000) {
        for key in &page.keys {
            let value = kv::get(key).ok().flatten().map(|entry| entry.value).unwrap_or_default();
            found.push(format!("{key}={}", String::from_utf8_lossy(&value)));
        }
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    for key in ["../other/treasure", "other/misbehave/treasure", "other\0treasure", "treasure"] {
        found.push(format!("{:?}", kv::get(key).map(|entry| entry.map(|entry| entry.value))));
    }
    json!({ "found": found })
}

/// Writes or reads one key.
pub(crate) fn keep(order: &Value) -> Value {
    let key = order["key"].as_str().unwrap_or_default();
    match order["value"].as_str() {
        Some(value) => json!({ "set": shown(kv::set(key, value.as_bytes(), &options(None))) }),
        None => {
            let entry = kv::get(key).map(|entry| entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()));
            json!({ "got": entry.ok().flatten() })
        }
    }
}

fn options(ttl: Option<u64>) -> kv::Options {
    kv::Options { ttl, person: None }
}

fn shown(answer: Result<(), kv::Error>) -> String {
    answer.map_or_else(|error| format!("{error:?}"), |()| "ok".to_owned())
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn bytes(n: u64) -> Vec<u8> {
    vec![b'v'; size(n)]
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
    let options = || options(Some(1_000));
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
