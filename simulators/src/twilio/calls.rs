//! The Calls resource, as far as creating and fetching one.

use serde_json::{Value, json};

use super::{
    account::Account,
    errors::ApiError,
    messages::{is_callback_url, is_e164},
};
use crate::http::{Call as Request, Reply};

/// A phone call that was asked for. It stays queued: nobody picks up in the simulator.
#[derive(Clone, Debug)]
pub struct Call {
    /// `CA` and 32 hex digits.
    pub sid: String,
    /// The caller's number.
    pub from: String,
    /// The number that is called.
    pub to: String,
}

impl Call {
    fn resource(&self, account_sid: &str) -> Value {
        let uri = format!("/2010-04-01/Accounts/{account_sid}/Calls/{}", self.sid);
        json!({
            "sid": self.sid, "account_sid": account_sid, "api_version": "2010-04-01", "status": "queued",
            "direction": "outbound-api", "from": self.from, "to": self.to, "from_formatted": self.from,
            "to_formatted": self.to, "duration": null, "start_time": null, "end_time": null, "queue_time": "0",
            "price": null, "price_unit": "USD", "parent_call_sid": null, "answered_by": null, "caller_name": null,
            "forwarded_from": null, "phone_number_sid": null,
            "subresource_uris": {"recordings": format!("{uri}/Recordings.json")}, "uri": format!("{uri}.json"),
        })
    }
}

/// `POST Calls.json`.
pub(crate) fn create(account: &Account, request: &Request) -> Result<Reply, ApiError> {
    let form = request.form_pairs();
    let filled =
        |name: &str| form.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.clone());
    let to = filled("To").ok_or_else(|| ApiError::new(400, 21201, "No 'To' number is specified"))?;
    if !is_e164(&to) {
        return Err(ApiError::new(400, 21211, format!("The 'To' number {to} is not a valid phone number.")));
    }
    let from = filled("From").ok_or_else(|| ApiError::new(400, 21213, "'From' phone number is required"))?;
    if !account.owns(&from) {
        return Err(ApiError::new(400, 21210, format!("'From' phone number {from} is not verified for this account")));
    }
    let url = filled("Url");
    if let Some(url) = url.as_deref().filter(|url| !is_callback_url(url)) {
        return Err(ApiError::new(400, 21205, format!("Url {url} is not a valid URL")));
    }
    if url.is_none() && filled("Twiml").is_none() && filled("ApplicationSid").is_none() {
        return Err(ApiError::new(400, 21205, "Url, Twiml or ApplicationSid is required"));
    }
    let call = Call { sid: account.ids.sid("CA"), from, to };
    let resource = call.resource(&account.options.account_sid);
    account.change(|state| state.add_call(call));
    Ok(Reply::json(201, &resource))
}

/// `GET Calls/{sid}.json`.
pub(crate) fn fetch(account: &Account, request: &Request, sid: &str) -> Result<Reply, ApiError> {
    account
        .read(|state| state.calls.iter().find(|call| call.sid == sid).cloned())
        .map(|call| Reply::json(200, &call.resource(&account.options.account_sid)))
        .ok_or_else(|| ApiError::not_found(&request.path))
}
