use serde_json::json;
use switchyard_sdk::Emit;

/// The event of a recording. A callback and a look-up of the same recording come to one event.
pub fn ready(account: &str, call_id: &str, id: &str, url: &str, duration_s: Option<u64>, source: Option<&str>) -> Emit {
    let mut data = json!({ "recording_id": id, "call_id": call_id, "account": account, "url": url });
    if let Some(seconds) = duration_s {
        data["duration_s"] = json!(seconds);
    }
    if let Some(source) = source {
        data["source"] = json!(source);
    }
    Emit::new("call.recording_ready", data).subject(id).dedupe(format!("twilio:{account}:recording:{id}"))
}
