//! Labels: those of messages, and those of the mailbox.

use std::{collections::BTreeSet, sync::Arc};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Gmail, errors::ApiError, mailbox::Happened, messages, pubsub};
use crate::http::Call;

/// The most labels of one change.
const MOST: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Modify {
    add_label_ids: Vec<String>,
    remove_label_ids: Vec<String>,
}

/// `messages.modify`.
pub(crate) fn modify(gmail: &Arc<Gmail>, call: &Call, id: &str) -> Result<Value, ApiError> {
    let wanted: Modify = call.json().map_err(|_| ApiError::bad_request("Invalid JSON payload received."))?;
    if wanted.add_label_ids.len() > MOST || wanted.remove_label_ids.len() > MOST {
        return Err(ApiError::bad_request("Too many labels"));
    }
    {
        let mailbox = gmail.mailbox();
        let all = wanted.add_label_ids.iter().chain(&wanted.remove_label_ids);
        if let Some(unknown) = all.into_iter().find(|label| !mailbox.labels.contains_key(*label)) {
            return Err(ApiError::bad_request(format!("Invalid label: {unknown}")));
        }
        if !mailbox.messages.contains_key(id) {
            return Err(ApiError::not_found());
        }
    }
    let names = |list: &[String]| list.to_vec();
    let (add, remove) = (names(&wanted.add_label_ids), names(&wanted.remove_label_ids));
    let add: Vec<&str> = add.iter().map(String::as_str).collect();
    let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
    relabel(gmail, id, &add, &remove);
    messages::get(&gmail.mailbox(), call, id)
}

/// Changes a message's labels, with a record for those that came and one for those that went.
pub(crate) fn relabel(gmail: &Arc<Gmail>, id: &str, add: &[&str], remove: &[&str]) -> bool {
    let touched: Vec<String> = {
        let mut mailbox = gmail.mailbox();
        let Some(message) = mailbox.messages.get_mut(id) else { return false };
        let before: BTreeSet<String> = message.labels.clone();
        let added: Vec<String> = add
            .iter()
            .filter(|label| message.labels.insert((**label).to_owned()))
            .map(|label| (*label).to_owned())
            .collect();
        let removed: Vec<String> =
            remove.iter().filter(|label| message.labels.remove(**label)).map(|label| (*label).to_owned()).collect();
        if !added.is_empty() {
            mailbox.note(id, Happened::LabelsAdded { message: id.to_owned(), labels: added.clone() });
        }
        if !removed.is_empty() {
            mailbox.note(id, Happened::LabelsRemoved { message: id.to_owned(), labels: removed.clone() });
        }
        if added.is_empty() && removed.is_empty() {
            return true;
        }
        before.into_iter().chain(added).collect()
    };
    let touched: Vec<&str> = touched.iter().map(String::as_str).collect();
    pubsub::announce(gmail, &touched);
    true
}

/// `labels.list`.
pub(crate) fn list(gmail: &Gmail) -> Value {
    let mailbox = gmail.mailbox();
    let labels: Vec<Value> = mailbox
        .labels
        .iter()
        .map(|(id, name)| {
            let kind = if id == name { "system" } else { "user" };
            json!({"id": id, "name": name, "type": kind})
        })
        .collect();
    json!({"labels": labels})
}

#[derive(Deserialize)]
struct NewLabel {
    name: String,
}

/// `labels.create`.
pub(crate) fn create(gmail: &Gmail, call: &Call) -> Result<Value, ApiError> {
    let new: NewLabel = call.json().map_err(|_| ApiError::bad_request("Invalid JSON payload received."))?;
    let mut mailbox = gmail.mailbox();
    if new.name.trim().is_empty() {
        return Err(ApiError::bad_request("Invalid label name"));
    }
    if mailbox.labels.values().any(|name| name.eq_ignore_ascii_case(&new.name)) {
        return Err(ApiError::conflict("Label name exists or conflicts"));
    }
    let id = format!("Label_{}", mailbox.labels.len());
    mailbox.labels.insert(id.clone(), new.name.clone());
    Ok(
        json!({"id": id, "name": new.name, "type": "user", "labelListVisibility": "labelShow", "messageListVisibility": "show"}),
    )
}
