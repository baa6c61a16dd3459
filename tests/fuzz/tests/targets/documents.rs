use serde_json::Value;
use switchyard::{
    event::{
        catalogue::{check_against, compile_schema},
        json_limits::{MAX_DEPTH, MAX_NODES, check_json_limits},
    },
    plugin::{guest::Exports, manifest, model::Manifest},
};
use switchyard_fuzz::{fuzz, outcome};

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(members) => members.values().map(nodes).sum(),
        _ => 0,
    }
}

#[test]
fn fuzz_json_limits() {
    let (deep, wide) = ("[".repeat(200), format!("[{}0]", "0,".repeat(2_000)));
    let seeds: [&[u8]; 10] = [
        deep.as_bytes(),
        wide.as_bytes(),
        br#"{"a":1,"a":2}"#,
        br#"{"a":1,"\u0061":2}"#,
        br#"{"a":{"a":[{"a":"\"}"}]}}"#,
        br#""\ud800""#,
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"\xef\xbb\xbf{}",
        b"{\"\\\":1}",
        b"]]}}::,,\"",
    ];
    fuzz(&seeds, &["{\"a\":", "[", "]", "}", ",", ":", "\"", "\\u0061", "null", "[[[[[[[["], |bytes| {
        let judged = check_json_limits(bytes);
        let parsed = serde_json::from_slice::<Value>(bytes);
        if let (Ok(()), Ok(value)) = (&judged, &parsed) {
            assert!(depth(value) <= MAX_DEPTH && nodes(value) <= MAX_NODES, "it is beyond the limits and passed");
            // No name twice: written again it has as many values as the text has separators.
            let again = serde_json::to_vec(value).unwrap();
            assert_eq!(check_json_limits(&again), Ok(()));
            let separators = |text: &[u8]| text.iter().filter(|byte| **byte == b':').count();
            assert!(bytes.contains(&b'\\') || separators(bytes) == separators(&again), "a member was lost");
        }
        (outcome(&judged), outcome(&parsed.map(|_| ())))
    });
}

#[test]
fn fuzz_schemas() {
    let instance = serde_json::json!({"a": "x".repeat(200), "l": [1, 2, [3]], "m": {"n": null}});
    let seeds: [&[u8]; 9] = [
        br#"{"type":"object","required":["a"],"properties":{"a":{"type":"string","pattern":"^x+$"}}}"#,
        br##"{"$defs":{"a":{"allOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/b"}]},"b":{"type":"string"}},"$ref":"#/$defs/a"}"##,
        br##"{"$ref":"#"}"##,
        br#"{"$ref":"https://example.com/schema.json"}"#,
        br#"{"patternProperties":{"^(a+)+$":{"type":"string"}},"additionalProperties":false}"#,
        br#"{"pattern":"((x{99}){99}){99}"}"#,
        br#"{"oneOf":[{"const":1},{"enum":[null]}],"if":{},"then":false,"else":true}"#,
        br#"{"contains":{"type":"integer"},"minContains":1e3,"uniqueItems":true,"multipleOf":0.1}"#,
        br##"{"$dynamicRef":"#x","unevaluatedProperties":{"$recursiveRef":"#"}}"##,
    ];
    let words = [
        "\"$ref\":",
        "\"#/$defs/a\"",
        "\"allOf\":[",
        "\"pattern\":",
        "\"items\":",
        "\"not\":",
        "true",
        "{\"type\":\"string\"}",
    ];
    fuzz(&seeds, &words, |bytes| {
        let Ok(schema) = serde_json::from_slice::<Value>(bytes) else { return None };
        let compiled = compile_schema("x", &schema);
        let valid = compiled.as_ref().ok().map(|validator| check_against(validator, &instance).is_ok());
        Some((compiled.is_ok(), valid))
    });
}

#[test]
fn fuzz_manifests() {
    let seed = serde_json::json!({
        "id": "demo", "version": "1.0.0", "api": "0.1", "description": "d",
        "emits": [{"name": "a.b", "kind": "event", "ordering_key": "data.id", "description": "d", "schema": "{}", "example": null}],
        "handles": [{"name": "a.*", "kind": "event", "ordering_key": null, "description": "d", "schema": null, "example": null}],
        "config_schema": "{}", "connections": [{"name": "api", "kind": {"header": "x-key"}, "base_url": "https://example.com/", "methods": [],
            "idempotency": "none", "required": true, "description": "d"}],
        "secrets": [{"name": "inbound", "kind": {"mac_key": "base64"}, "required": false, "description": "d"}],
        "schedules": [{"name": "poll", "trigger": {"cron": {"expression": "0 6 * * *", "time_zone": "UTC"}}, "description": "d"}],
        "limits": {}, "metrics": [], "extensions": null
    })
    .to_string();
    let words = ["\"cron\":", "\"schema\":\"", "\"_x.y\"", "\"lead.*\"", "null", "[]", "{}", "\"kind\":\"command\""];
    let exports = Exports { ingest: true, handler: true, poller: true, lifecycle: true };
    fuzz(&[seed.as_bytes(), b"{}", b"[]"], &words, |bytes| {
        let manifest = serde_json::from_slice::<Manifest>(bytes);
        assert!(manifest.is_ok() || bytes != seed.as_bytes(), "the seed is one: {:?}", manifest.err());
        let faults = manifest.ok().map(|manifest| manifest::validate(&manifest, exports).err());
        faults.map(|faults| faults.map(|faults| format!("{faults:?}").len() / 100))
    });
}
