use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use switchyard_event_types::customer::Customer;
use switchyard_sdk::prelude::*;
use switchyard_sdk::text::lowered;

use crate::client::{self, malformed, post, query, quoted};
use crate::config::Config;
use crate::fault::{self, Fault};
use crate::model::text;
use crate::observe;
use crate::write::{self, Changed};

/// The longest name that QuickBooks takes.
const LONGEST_NAME: usize = 500;

/// Finds a customer and brings it up to date, or creates it.
pub fn upsert(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let customer: Customer = event.parse()?;
    let Some(found) = find(ctx, &customer)? else {
        let (_, events) = create(ctx, &customer)?;
        return Ok(events.into());
    };
    let id = id_of(&found)?;
    let changed = write::change(ctx, "Customer", &id, "/customer", |there| {
        let changes = differences(&customer, there);
        (!changes.is_empty()).then_some(Value::Object(changes))
    })?;
    remember(ctx, &customer, &id)?;
    match changed {
        Changed::Done(record) => Ok(observe::customer(ctx, &record)?.into()),
        Changed::Already => Ok(Output::none()),
        Changed::Missing => {
            Err(PluginError::retry(Reason::BadData, "customer_gone", "The customer was removed meanwhile."))
        }
    }
}

/// The customer's id, with the event of its creation if it was not there.
pub fn find_or_create(ctx: &Ctx<Config>, customer: &Customer) -> Result<(String, Vec<Emit>), PluginError> {
    match find(ctx, customer)? {
        Some(found) => {
            let id = id_of(&found)?;
            remember(ctx, customer, &id)?;
            Ok((id, Vec::new()))
        }
        None => create(ctx, customer),
    }
}

/// Creates the customer under its name. A name that somebody else has, a vendor perhaps, is made different by the
/// address; one that this customer has turns out to be this customer.
fn create(ctx: &Ctx<Config>, customer: &Customer) -> Result<(String, Vec<Emit>), PluginError> {
    let mut refused: Option<Fault> = None;
    for name in names(customer) {
        let mut body = attributes(customer);
        body.insert("DisplayName".to_owned(), json!(name));
        let request = post(ctx, "/customer", &Value::Object(body));
        let record = match write::create(&request, "Customer", || named(ctx, customer, &name))? {
            Ok(record) => record,
            Err(fault) if fault.code == fault::DUPLICATE_NAME => match named(ctx, customer, &name)? {
                Some(record) => {
                    let id = id_of(&record)?;
                    remember(ctx, customer, &id)?;
                    return Ok((id, Vec::new()));
                }
                None => {
                    refused = Some(fault);
                    continue;
                }
            },
            Err(fault) => return Err(fault.into()),
        };
        let id = id_of(&record)?;
        remember(ctx, customer, &id)?;
        return Ok((id, observe::customer(ctx, &record)?));
    }
    Err(refused.map_or_else(malformed, |fault| fault.disposition()))
}

/// The customer that was found before and is still there, else what a search by name finds.
fn find(ctx: &Ctx<Config>, customer: &Customer) -> Result<Option<Value>, PluginError> {
    if let Some(id) = ctx.kv().get_json::<String>(&memory(ctx, customer))? {
        let usable = |record: &Value| record.get("Active") != Some(&Value::Bool(false)) && fits(customer, record);
        if let Some(record) = client::fetch(ctx, "Customer", &id)?.filter(usable) {
            return Ok(Some(record));
        }
    }
    for name in names(customer) {
        if let Some(record) = named(ctx, customer, &name)? {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The customer of this name, unless it is somebody else.
fn named(ctx: &Ctx<Config>, customer: &Customer, name: &str) -> Result<Option<Value>, PluginError> {
    let found = query(ctx, "Customer", &format!("where DisplayName = {} maxresults 10", quoted(name)))?;
    Ok(found.into_iter().find(|record| fits(customer, record)))
}

/// Two people may have one name: where both sides know an address, the addresses must be the same.
fn fits(customer: &Customer, record: &Value) -> bool {
    let theirs = |outer: &str, name: &str| record.get(outer).and_then(|part| text(part, name));
    let differ = |ours: &Option<String>, theirs: Option<String>| {
        ours.as_deref().zip(theirs).is_some_and(|(ours, theirs)| !same(ours, &theirs))
    };
    !differ(&customer.registration_no, text(record, "BusinessNumber"))
        && !differ(&customer.email, theirs("PrimaryEmailAddr", "Address"))
}

fn same(a: &str, b: &str) -> bool {
    lowered(a.trim()) == lowered(b.trim())
}

/// The name, and the name made different by what tells this customer from others of the same name.
fn names(customer: &Customer) -> Vec<String> {
    let clean = |text: &str| -> String {
        let plain = text.chars().map(|char| if char == ':' || char.is_control() { ' ' } else { char });
        plain.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST_NAME).collect()
    };
    let name = clean(&customer.name);
    let other = [&customer.email, &customer.registration_no, &customer.phone].into_iter().flatten().next();
    let mut names = vec![name.clone()];
    names.extend(other.map(|other| clean(&format!("{name} ({other})"))));
    names
}

/// What was given, under QuickBooks' names.
fn attributes(customer: &Customer) -> Map<String, Value> {
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| {
        all.insert(name.to_owned(), value);
    };
    let is_company = customer.kind.as_deref().map_or(customer.registration_no.is_some(), |kind| kind == "company");
    if is_company {
        put("CompanyName", json!(customer.name));
    }
    if let Some(email) = &customer.email {
        put("PrimaryEmailAddr", json!({ "Address": email }));
    }
    if let Some(phone) = &customer.phone {
        put("PrimaryPhone", json!({ "FreeFormNumber": phone }));
    }
    if let Some(number) = &customer.registration_no {
        put("BusinessNumber", json!(number));
    }
    let parts = [
        ("Line1", &customer.street),
        ("City", &customer.city),
        ("PostalCode", &customer.zip),
        ("Country", &customer.country),
    ];
    let address: Map<String, Value> =
        parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), json!(part.as_ref()?)))).collect();
    if !address.is_empty() {
        put("BillAddr", Value::Object(address));
    }
    all
}

/// What was given and is not so yet. An address is written as a whole, so what it has besides stays.
fn differences(customer: &Customer, there: &Value) -> Map<String, Value> {
    let mut changes = Map::new();
    for (name, wanted) in attributes(customer) {
        let now = there.get(&name).unwrap_or(&Value::Null);
        let merged = match (&wanted, now) {
            (Value::Object(wanted), Value::Object(now)) => {
                let mut merged = now.clone();
                merged.extend(wanted.clone());
                Value::Object(merged)
            }
            _ => wanted.clone(),
        };
        if merged != *now {
            changes.insert(name, merged);
        }
    }
    changes
}

/// Under which the customer is remembered: by the best identification, hashed, since it may name a person.
fn memory(ctx: &Ctx<Config>, customer: &Customer) -> String {
    let identity = match (&customer.registration_no, &customer.email) {
        (Some(number), _) => format!("reg:{}", lowered(number.trim())),
        (None, Some(email)) => format!("email:{}", lowered(email.trim())),
        (None, None) => format!("name:{}", lowered(customer.name.trim())),
    };
    format!("customer/{}", hex::encode(Sha256::digest(format!("{}|{identity}", ctx.config.realm_id))))
}

fn remember(ctx: &Ctx<Config>, customer: &Customer, id: &str) -> Result<(), PluginError> {
    let key = memory(ctx, customer);
    if ctx.kv().get_json::<String>(&key)?.as_deref() != Some(id) {
        let person = customer.email.as_deref().or(customer.phone.as_deref());
        ctx.kv().set_json(&key, &id, &KvOptions { ttl: None, person: person.map(str::to_owned) })?;
    }
    Ok(())
}

fn id_of(record: &Value) -> Result<String, PluginError> {
    text(record, "Id").ok_or_else(malformed)
}
