//! `keys status` and `keys rotate`: master keys of a running hub, which alone has its database and its keys.

use serde_json::{Value, json};

use super::{
    client::{CliError, HubClient},
    output::{Output, table, text},
};

const KEYS: [&str; 2] = ["v1", "master-keys"];
const ROTATE: [&str; 3] = ["v1", "master-keys", "rotate"];

/// Prints what each master key wraps.
pub(super) async fn status(hub: &HubClient, output: Output) -> Result<(), CliError> {
    let keys = Value::from(hub.list(&KEYS).await?);
    output.result(&keys, |keys| {
        let row = |key: &Value| {
            let note = match (key["sealing"] == true, key["removable"] == true) {
                (true, _) => "seals what is new",
                (false, true) => "not needed: may be taken from SWITCHYARD_MASTER_KEYS",
                (false, false) => "still needed: `switchyard keys rotate` moves what it wraps",
            };
            let hub = if key["hub"] == true { "yes" } else { "-" };
            vec![text(key, "id").to_owned(), key["tenants"].to_string(), hub.to_owned(), note.to_owned()]
        };
        table(
            &["MASTER KEY", "TENANTS", "HUB", ""],
            &keys.as_array().into_iter().flatten().map(row).collect::<Vec<_>>(),
        )
    })
}

/// Has the hub move data keys, a part at a time, until none is left.
pub(super) async fn rotate(hub: &HubClient, output: Output) -> Result<(), CliError> {
    let mut moved = 0;
    loop {
        let state = hub.post(&ROTATE, &json!({})).await?;
        let (step, left) = (state["rewrapped"].as_u64().unwrap_or(0), state["remaining"].as_u64().unwrap_or(0));
        moved += step;
        output.progress(&format!("{moved} data keys moved, {left} left"), left == 0);
        if left == 0 {
            let done = json!({"sealing": state["sealing"], "rewrapped": moved, "remaining": 0});
            return output.result(&done, |done| {
                format!("every data key is under master key {} ({moved} moved)", text(done, "sealing"))
            });
        }
    }
}
