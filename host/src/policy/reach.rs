//! Whom a command reaches.
//!
//! The fields stand here and are not taken from the schema in force: that is some plugin's, and a plugin must not say
//! who is asked before it may write to somebody.

use serde_json::Value;

use super::address::Channel;

/// Commands that reach persons.
pub const REACHING: [&str; 5] = ["sms.send", "email.send", "call.create", "appointment.create", "appointment.update"];

/// Recipients that are looked at; a command with more of them is not carried out by any plugin.
const MOST: usize = 1_000;

/// A person whom a command reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// On which way.
    pub channel: Channel,
    /// The address, normalised.
    pub address: String,
    /// Where it stands in the command's data: `to`, `cc[1]`, `attendees[0].email`.
    pub field: String,
}

/// The persons whom a command reaches. Attendees are reached when they are to be invited, which takes their `consent`.
#[must_use]
pub fn reached(command: &str, data: &Value) -> Vec<Reached> {
    let mut found = Vec::new();
    let fields: (Channel, &[&str]) = match command {
        "sms.send" => (Channel::Sms, &["to"]),
        "call.create" => (Channel::Call, &["to", "connect_to"]),
        "email.send" => (Channel::Email, &["to", "cc", "bcc"]),
        "appointment.create" | "appointment.update" => {
            attendees(data, &mut found);
            return found;
        }
        _ => return found,
    };
    for name in fields.1 {
        if let Some(value) = data.get(name) {
            collect(fields.0, value, (*name).to_owned(), &mut found);
        }
    }
    found
}

fn attendees(data: &Value, found: &mut Vec<Reached>) {
    for (index, attendee) in data.get("attendees").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if attendee.get("consent").and_then(Value::as_bool) == Some(true)
            && let Some(email) = attendee.get("email")
        {
            collect(Channel::Email, email, format!("attendees[{index}].email"), found);
        }
    }
}

/// Takes texts, lists of them, and objects that name an address.
fn collect(channel: Channel, value: &Value, field: String, found: &mut Vec<Reached>) {
    if found.len() >= MOST {
        return;
    }
    match value {
        Value::String(text) => {
            // One text may name several, as in a header of a mail.
            let parts: Vec<&str> = text.split([',', ';']).collect();
            for part in parts {
                found.extend(channel.normalised(part).map(|address| Reached {
                    channel,
                    address,
                    field: field.clone(),
                }));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(channel, item, format!("{field}[{index}]"), found);
            }
        }
        Value::Object(fields) => {
            for name in ["email", "address", "phone", "number"] {
                if let Some(value @ Value::String(_)) = fields.get(name) {
                    collect(channel, value, format!("{field}.{name}"), found);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(command: &str, data: &Value) -> Vec<String> {
        let one = |reached: Reached| format!("{} {} {}", reached.channel.as_str(), reached.address, reached.field);
        reached(command, data).into_iter().map(one).collect()
    }

    #[test]
    fn every_recipient_of_every_command_is_found() {
        assert_eq!(shown("sms.send", &json!({"to": "+45 20 12 34 56"})), ["sms +4520123456 to"]);
        assert_eq!(
            shown("call.create", &json!({"to": "+4520123456", "connect_to": "+4511111111"})),
            ["call +4520123456 to", "call +4511111111 connect_to"]
        );
        let mail = json!({"to": ["A@x.dk", {"email": "b@x.dk", "name": "B"}], "cc": [], "bcc": "C <c@x.dk>, d@x.dk"});
        assert_eq!(
            shown("email.send", &mail),
            ["email a@x.dk to[0]", "email b@x.dk to[1].email", "email c@x.dk bcc", "email d@x.dk bcc"]
        );
        let visit = json!({"attendees": [{"email": "a@x.dk", "consent": true}, {"email": "b@x.dk"},
            {"email": "c@x.dk", "consent": false}, {"phone": "+45", "consent": true}]});
        assert_eq!(shown("appointment.create", &visit), ["email a@x.dk attendees[0].email"]);
        assert_eq!(shown("appointment.update", &visit), ["email a@x.dk attendees[0].email"]);
    }

    #[test]
    fn other_commands_and_odd_data_reach_nobody() {
        assert!(shown("invoice.create", &json!({"to": "+4520123456"})).is_empty());
        for odd in [json!(null), json!({"to": 7}), json!({"to": null}), json!([]), json!({"to": {"name": "x"}})] {
            assert!(shown("sms.send", &odd).is_empty(), "{odd}");
        }
        let crowd = json!({"to": vec!["a@x.dk"; 3 * MOST]});
        assert_eq!(shown("email.send", &crowd).len(), MOST);
    }
}
