//! Customers, whose names are unique among each other.

use serde_json::{Map, Value, json};

use super::{
    company::{Books, Company, text},
    errors::Fault,
    record::{Kind, Record},
    sales::current,
    webhook::Operation,
};

const LONGEST_NAME: usize = 500;

const READ_ONLY: [&str; 6] = ["Id", "SyncToken", "MetaData", "domain", "sparse", "Balance"];

/// `POST /customer` without an id.
pub(crate) fn create(company: &Company, given: &Map<String, Value>) -> Result<Record, Fault> {
    let now = company.clock.now_ms();
    let mut books = company.books();
    let mut customer = given.clone();
    READ_ONLY.iter().for_each(|name| {
        customer.remove(*name);
    });
    if text(&customer, "DisplayName").is_none() {
        let parts = ["GivenName", "FamilyName"].map(|name| text(&customer, name).unwrap_or_default());
        let name = parts.join(" ").trim().to_owned();
        customer.insert("DisplayName".to_owned(), json!(name));
    }
    check(&books, &customer, None)?;
    customer.insert("Active".to_owned(), json!(true));
    customer.insert("Balance".to_owned(), json!(0));
    customer.insert("CurrencyRef".to_owned(), json!({"value": super::sale::CURRENCY}));
    let record = books.insert(Kind::Customer, now, customer)?;
    company.tell(&mut books, &record, Operation::Create);
    Ok(record)
}

/// `POST /customer` with an id. `Active: false` is how a customer is deleted: the name is given free.
pub(crate) fn update(company: &Company, given: &Map<String, Value>) -> Result<Record, Fault> {
    let now = company.clock.now_ms();
    let mut books = company.books();
    let before = current(&books, Kind::Customer, given)?.clone();
    let mut customer = super::routes::merged(&before.body, given, &READ_ONLY);
    let leaves = before.body["Active"] == true && customer.get("Active") == Some(&Value::Bool(false));
    if leaves && let Some(name) = text(&customer, "DisplayName").map(str::to_owned) {
        customer.insert("DisplayName".to_owned(), json!(format!("{name} (deleted)")));
    }
    check(&books, &customer, Some(&before.id))?;
    let record = books.change(Kind::Customer, &before.id, now, |body| *body = customer)?;
    company.tell(&mut books, &record, if leaves { Operation::Delete } else { Operation::Update });
    Ok(record)
}

fn check(books: &Books, customer: &Map<String, Value>, own_id: Option<&str>) -> Result<(), Fault> {
    let name = text(customer, "DisplayName").ok_or_else(|| Fault::missing("DisplayName"))?;
    if name.contains([':', '\t', '\n']) || name.chars().count() > LONGEST_NAME {
        let detail = "A name cannot contain a colon, a tab or a new line, nor more than 500 characters.";
        return Err(Fault::invalid("2040", "Invalid String", detail).at("DisplayName"));
    }
    let mail = customer.get("PrimaryEmailAddr").and_then(|mail| mail["Address"].as_str());
    if mail.is_some_and(|mail| !mail.contains('@')) {
        return Err(Fault::invalid("2210", "Invalid Email Address format", "PrimaryEmailAddr").at("PrimaryEmailAddr"));
    }
    // Vendors and employees share the name space; this company has vendors by name only.
    let same = |other: &str| other.to_lowercase() == name.to_lowercase();
    let taken = books
        .table(Kind::Customer)
        .iter()
        .any(|other| Some(other.id.as_str()) != own_id && text(&other.body, "DisplayName").is_some_and(same));
    if taken || super::VENDORS.into_iter().any(same) {
        let detail = "The name supplied already exists. : null";
        return Err(Fault::invalid("6240", "Duplicate Name Exists Error", detail).at("DisplayName"));
    }
    Ok(())
}
