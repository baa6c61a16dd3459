//! What identifies a host call in a record: its words for people, and the print of all its arguments. The live run and
//! whatever is served from its record must agree on both, byte for byte.

use super::journal::{call_print, http_print};
use crate::plugin::model::{HttpRequest, KvOptions, Mac};

/// A call's words and its print.
pub(super) type Named = (String, [u8; 32]);

/// `http.send`; the words leave the query out.
pub(super) fn http(request: &HttpRequest) -> Named {
    let path = request.path.split('?').next().unwrap_or_default();
    (format!("{} {} {path}", request.method, request.connection), http_print(request))
}

/// `kv.get`.
pub(super) fn kv_get(key: &str) -> Named {
    (format!("kv.get {key}"), call_print("kv.get", &[key.as_bytes()]))
}

/// `kv.get-many`.
pub(super) fn kv_get_many(keys: &[String]) -> Named {
    let parts: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    (format!("kv.get-many of {} keys", keys.len()), call_print("kv.get-many", &parts))
}

/// `kv.set`.
pub(super) fn kv_set(key: &str, value: &[u8], options: &KvOptions) -> Named {
    let ttl = options.ttl_ms.unwrap_or(0).to_be_bytes();
    let person = options.person.as_deref().unwrap_or_default();
    (format!("kv.set {key}"), call_print("kv.set", &[key.as_bytes(), value, &ttl, person.as_bytes()]))
}

/// `kv.delete`.
pub(super) fn kv_delete(key: &str) -> Named {
    (format!("kv.delete {key}"), call_print("kv.delete", &[key.as_bytes()]))
}

/// `kv.swap`.
pub(super) fn kv_swap(key: &str, expected: Option<u64>, value: &[u8], options: &KvOptions) -> Named {
    let (wanted, ttl) = (expected.unwrap_or(0).to_be_bytes(), options.ttl_ms.unwrap_or(0).to_be_bytes());
    let person = options.person.as_deref().unwrap_or_default();
    (format!("kv.swap {key}"), call_print("kv.swap", &[key.as_bytes(), &wanted, value, &ttl, person.as_bytes()]))
}

/// `kv.list-keys`.
pub(super) fn kv_list_keys(prefix: &str, after: &str, limit: u32) -> Named {
    let parts = [prefix.as_bytes(), after.as_bytes(), &limit.to_be_bytes()];
    (format!("kv.list-keys {prefix}"), call_print("kv.list-keys", &parts))
}

/// `crypto.verify-mac`.
pub(super) fn verify_mac(secret: &str, algorithm: Mac, data: &[u8], tag: &[u8]) -> Named {
    let name = format!("{algorithm:?}");
    let print = call_print("crypto.verify-mac", &[secret.as_bytes(), name.as_bytes(), data, tag]);
    (format!("crypto.verify-mac {secret}"), print)
}

/// `crypto.verify-token`.
pub(super) fn verify_token(secret: &str, token: &str) -> Named {
    let print = call_print("crypto.verify-token", &[secret.as_bytes(), token.as_bytes()]);
    (format!("crypto.verify-token {secret}"), print)
}

/// `crypto.verify-jwt`.
pub(super) fn verify_jwt(secret: &str, token: &str, audience: &str) -> Named {
    let print = call_print("crypto.verify-jwt", &[secret.as_bytes(), token.as_bytes(), audience.as_bytes()]);
    (format!("crypto.verify-jwt {secret}"), print)
}
