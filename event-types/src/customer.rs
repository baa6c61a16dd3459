use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_sdk::compact_json;
use switchyard_sdk::prelude::*;

use crate::schema::{json, object};

/// Finds a customer and updates it, or creates it.
pub const UPSERT_CUSTOMER: &str = "customer.upsert";

/// The same under the name that Billy's books use.
pub const UPSERT_CONTACT: &str = "contact.upsert";

/// A contact was created.
pub const CONTACT_CREATED: &str = "contact.created";

/// A contact was changed.
pub const CONTACT_UPDATED: &str = "contact.updated";

/// Who is sold to, as commands say it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Customer {
    /// The name of the company or person.
    pub name: String,
    /// `company` or `person`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// An e-mail address.
    #[serde(default)]
    pub email: Option<String>,
    /// A phone number, E.164.
    #[serde(default)]
    pub phone: Option<String>,
    /// The number in the register of companies.
    #[serde(default)]
    pub registration_no: Option<String>,
    /// ISO 3166 code of two letters.
    #[serde(default)]
    pub country: Option<String>,
    /// Street and number.
    #[serde(default)]
    pub street: Option<String>,
    /// Postal code.
    #[serde(default)]
    pub zip: Option<String>,
    /// Town.
    #[serde(default)]
    pub city: Option<String>,
}

/// The data of `contact.created` and `contact.updated`.
#[derive(Clone, Debug, Serialize)]
pub struct Contact {
    /// The provider's id.
    pub contact_id: String,
    /// Its name.
    pub name: String,
    /// An e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// A phone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// The number in the register of companies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org_no: Option<String>,
}

impl Contact {
    /// What a command said of the customer who has this id.
    pub fn of(customer: &Customer, contact_id: &str) -> Self {
        Self {
            contact_id: contact_id.to_owned(),
            name: customer.name.clone(),
            email: customer.email.clone(),
            phone: customer.phone.clone(),
            org_no: customer.registration_no.clone(),
        }
    }
}

/// `customer.upsert`.
pub fn upsert_customer() -> EventType {
    EventType::command(UPSERT_CUSTOMER, "Finds a customer and updates it, or creates it.").data(schema(), example())
}

/// `contact.upsert`.
pub fn upsert_contact() -> EventType {
    EventType::command(UPSERT_CONTACT, "Finds a contact and updates it, or creates it.").data(schema(), example())
}

/// `contact.created`.
pub fn contact_created() -> EventType {
    contact(CONTACT_CREATED, "A contact was created.")
}

/// `contact.updated`.
pub fn contact_updated() -> EventType {
    contact(CONTACT_UPDATED, "A contact was changed.")
}

/// The schema of [`Customer`], also inside other commands.
pub(crate) fn schema() -> Value {
    object(
        &["name"],
        json(compact_json!(
            r#"{
        "name": "$text",
        "type": {"enum": ["company", "person"]},
        "email": "$email",
        "phone": {"type": "string", "minLength": 1, "x-person": "phone"},
        "registration_no": "$text",
        "country": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "street": "$any_text",
        "zip": "$any_text",
        "city": "$any_text"
    }"#
        )),
    )
}

pub(crate) fn example() -> Value {
    json(r#"{"name": "Kunde ApS", "email": "bogholderi@kunde.test", "registration_no": "12345678", "country": "DK"}"#)
}

fn contact(name: &str, description: &str) -> EventType {
    let schema = object(
        &["contact_id", "name"],
        json(compact_json!(
            r#"{
        "contact_id": "$text",
        "name": "$text",
        "email": {"type": "string", "x-person": "email"},
        "phone": {"type": "string", "x-person": "phone"},
        "org_no": "$any_text"
    }"#
        )),
    );
    let example = json(compact_json!(
        r#"{
    "contact_id": "con1", "name": "Kunde ApS", "email": "bogholderi@kunde.test", "org_no": "12345678"
}"#
    ));
    EventType::event(name, description).data(schema, example)
}
