//! Contacts, their persons, and products.

use serde_json::{Value, json};

use super::{
    answer::{self, CONTACT, CONTACT_PERSON, Include, Kind, PRODUCT, RULESET},
    company::{Books, Company, Record, room, text},
    errors::ApiError,
};
use crate::http::{Call, Reply};

/// `POST /contacts`.
pub(crate) fn create(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let mut given = answer::body(call, CONTACT)?;
    company.own_organization(&given)?;
    for required in ["type", "name", "countryId"] {
        text(&given, required).ok_or_else(|| ApiError::blank(required))?;
    }
    if !matches!(text(&given, "type"), Some("company" | "person")) {
        return Err(ApiError::invalid("type", "This must be company or person."));
    }
    let persons = given.remove("contactPersons");
    let mut books = company.books();
    room(books.contacts.len())?;
    let id = company.ids.base62();
    let mut contact = new_record(company, &books, &id);
    contact.insert("isArchived".to_owned(), Value::from(false));
    merge(&mut contact, given);
    let persons = match persons {
        Some(persons) if !books.behaviour.ignore_contact_persons => build_persons(company, &books, &id, &persons)?,
        _ => Vec::new(),
    };
    books.contacts.push(contact.clone());
    let beside = if persons.is_empty() { Vec::new() } else { vec![(CONTACT_PERSON, values(&persons))] };
    books.contact_persons.extend(persons);
    Ok(answer::one(books.behaviour.write_shape, CONTACT, Value::Object(contact), beside))
}

/// `PUT /contacts/{id}`: what is given changes, a given list of persons replaces the old one.
pub(crate) fn update(company: &Company, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let mut given = answer::body(call, CONTACT)?;
    company.own_organization(&given)?;
    let persons = given.remove("contactPersons");
    let mut books = company.books();
    let at = books.contacts.iter().position(|contact| text(contact, "id") == Some(id));
    let at = at.ok_or_else(|| ApiError::not_found("The contact"))?;
    let mut beside = Vec::new();
    if let Some(persons) = persons {
        let persons = build_persons(company, &books, id, &persons)?;
        books.contact_persons.retain(|person| text(person, "contactId") != Some(id));
        beside.push((CONTACT_PERSON, values(&persons)));
        books.contact_persons.extend(persons);
    }
    merge(&mut books.contacts[at], given);
    let contact = Value::Object(books.contacts[at].clone());
    Ok(answer::one(books.behaviour.write_shape, CONTACT, contact, beside))
}

/// `GET /contacts/{id}`.
pub(crate) fn fetch(company: &Company, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let books = company.books();
    let mut contact = books.find(CONTACT, id).ok_or_else(|| ApiError::not_found("The contact"))?.clone();
    let persons: Vec<Value> = persons_of(&books, id);
    let mut beside = Vec::new();
    match answer::include(call, "contact.contactPersons") {
        Some(Include::Embed) => {
            contact.insert("contactPersons".to_owned(), Value::Array(persons));
        }
        Some(Include::Sideload) => beside.push((CONTACT_PERSON, persons)),
        None => {}
    }
    Ok(answer::one(books.behaviour.read_shape, CONTACT, Value::Object(contact), beside))
}

/// `GET /contacts` with `q`, `registrationNo`, `contactNo`, `name`, `isCustomer`.
pub(crate) fn list(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let books = company.books();
    let organization = call.query_value("organizationId");
    let own = organization.is_none_or(|id| id == company.fixed.organization);
    let needle = call.query_value("q").map(|q| q.to_lowercase());
    let equal: Vec<(&str, String)> = ["registrationNo", "contactNo", "name"]
        .into_iter()
        .filter_map(|name| Some((name, call.query_value(name)?)))
        .collect();
    let customer = call.query_value("isCustomer").map(|text| is_true(&text));
    let wanted = |contact: &&Record| {
        own && equal.iter().all(|(name, value)| text(contact, name) == Some(value.as_str()))
            && customer.is_none_or(|wanted| (contact.get("isCustomer") == Some(&Value::from(true))) == wanted)
            && needle.as_ref().is_none_or(|needle| speaks_of(&books, contact, needle))
    };
    let records = books.contacts.iter().filter(wanted).cloned().map(Value::Object).collect();
    answer::list(call, CONTACT, records)
}

/// `DELETE /contacts/{id}`.
pub(crate) fn delete(company: &Company, id: &str) -> Result<Reply, ApiError> {
    let mut books = company.books();
    if books.invoices.iter().any(|invoice| invoice.contact_id == id) {
        return Err(ApiError::new(422, "The contact has invoices and cannot be deleted."));
    }
    books.contacts.retain(|contact| text(contact, "id") != Some(id));
    Ok(answer::deleted(CONTACT, &[id]))
}

/// `POST /contactPersons`.
pub(crate) fn create_person(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let given = answer::body(call, CONTACT_PERSON)?;
    let contact = text(&given, "contactId").ok_or_else(|| ApiError::blank("contactId"))?.to_owned();
    let mut books = company.books();
    books.find(CONTACT, &contact).ok_or_else(|| ApiError::invalid("contactId", "This contact does not exist."))?;
    let persons = build_persons(company, &books, &contact, &json!([given]))?;
    let person = values(&persons).pop().unwrap_or_default();
    books.contact_persons.extend(persons);
    Ok(answer::one(books.behaviour.write_shape, CONTACT_PERSON, person, Vec::new()))
}

/// `GET /contactPersons?contactId=`; without the filter 400.
pub(crate) fn list_persons(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let contact = call.query_value("contactId");
    let contact = contact.ok_or_else(|| ApiError::new(400, "contactId is a required filter."))?;
    let persons = persons_of(&company.books(), &contact);
    answer::list(call, CONTACT_PERSON, persons)
}

/// `POST /products`.
pub(crate) fn create_product(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let given = answer::body(call, PRODUCT)?;
    company.own_organization(&given)?;
    text(&given, "name").ok_or_else(|| ApiError::blank("name"))?;
    let mut books = company.books();
    room(books.products.len())?;
    if let Some(ruleset) = text(&given, "salesTaxRulesetId")
        && books.find(RULESET, ruleset).is_none()
    {
        return Err(ApiError::invalid("salesTaxRulesetId", "This ruleset does not exist."));
    }
    let mut product = new_record(company, &books, &company.ids.base62());
    product.insert("accountId".to_owned(), Value::from(company.fixed.sales_account.clone()));
    product.insert("salesTaxRulesetId".to_owned(), Value::from(company.fixed.ruleset.clone()));
    product.insert("isArchived".to_owned(), Value::from(false));
    merge(&mut product, given);
    books.products.push(product.clone());
    Ok(answer::one(books.behaviour.write_shape, PRODUCT, Value::Object(product), Vec::new()))
}

/// `GET /products` with `q`.
pub(crate) fn list_products(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let needle = call.query_value("q").map(|q| q.to_lowercase());
    let wanted = |product: &&Record| {
        needle.as_ref().is_none_or(|q| text(product, "name").is_some_and(|name| name.to_lowercase().contains(q)))
    };
    let products = company.books().products.iter().filter(wanted).cloned().map(Value::Object).collect();
    answer::list(call, PRODUCT, products)
}

fn new_record(company: &Company, books: &Books, id: &str) -> Record {
    let mut record = Record::new();
    record.insert("id".to_owned(), Value::from(id));
    record.insert("organizationId".to_owned(), Value::from(company.fixed.organization.clone()));
    let now = company.time(&books.behaviour, company.clock.now_ms());
    record.insert("createdTime".to_owned(), Value::from(now));
    record
}

/// Takes over what was given; ids and stamps are not the caller's to set.
fn merge(record: &mut Record, given: Record) {
    for (name, value) in given {
        if !matches!(name.as_str(), "id" | "organizationId" | "createdTime") {
            record.insert(name, value);
        }
    }
}

/// The persons as they will be stored; nothing is stored yet, so that a bad one leaves no trace.
fn build_persons(company: &Company, books: &Books, contact: &str, given: &Value) -> Result<Vec<Record>, ApiError> {
    let Value::Array(given) = given else {
        return Err(ApiError::invalid("contactPersons", "This must be a list."));
    };
    room(books.contact_persons.len() + given.len())?;
    let build = |person: &Value| {
        let Value::Object(person) = person else {
            return Err(ApiError::invalid("contactPersons", "Each must be an object."));
        };
        let mut record = new_record(company, books, &company.ids.base62());
        merge(&mut record, person.clone());
        record.insert("contactId".to_owned(), Value::from(contact));
        Ok(record)
    };
    given.iter().map(build).collect()
}

fn values(records: &[Record]) -> Vec<Value> {
    records.iter().cloned().map(Value::Object).collect()
}

fn persons_of(books: &Books, contact: &str) -> Vec<Value> {
    let of_contact = |person: &&Record| text(person, "contactId") == Some(contact);
    books.contact_persons.iter().filter(of_contact).cloned().map(Value::Object).collect()
}

/// Whether the free text search finds this contact.
fn speaks_of(books: &Books, contact: &Record, needle: &str) -> bool {
    let contains =
        |record: &Record, name: &str| text(record, name).is_some_and(|value| value.to_lowercase().contains(needle));
    let own = ["name", "registrationNo", "contactNo", "phone"].iter().any(|name| contains(contact, name));
    let id = text(contact, "id");
    own || books
        .contact_persons
        .iter()
        .any(|person| text(person, "contactId") == id && (contains(person, "email") || contains(person, "name")))
}

pub(crate) fn is_true(text: &str) -> bool {
    matches!(text, "1" | "true")
}

/// The tables that are read only.
pub(crate) const READ_ONLY: [Kind; 3] = [answer::ACCOUNT, answer::TAX_RATE, RULESET];
