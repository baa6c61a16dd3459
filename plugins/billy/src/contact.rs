use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use switchyard_event_types::customer::{CONTACT_CREATED, CONTACT_UPDATED, Contact, Customer};
use switchyard_sdk::once::{Once, SendOnce};
use switchyard_sdk::prelude::*;
use switchyard_sdk::text::lowered;

use crate::client::{done, found_if_unreadable, get, list, malformed, post, put, read, segment};
use crate::config::Config;
use crate::model::{records, text, truth};

/// How many contacts of a search are compared.
const CANDIDATES: usize = 5;

/// Finds a contact and brings it up to date, or creates it.
pub fn upsert(ctx: &Ctx<Config>, command: &Event) -> Result<Output, PluginError> {
    let customer: Customer = command.parse()?;
    let Some(contact) = find(ctx, &customer)? else {
        let (_, events) = create(ctx, &customer)?;
        return Ok(events.into());
    };
    let id = id_of(&contact)?;
    let mut changes = attributes(&customer);
    changes.retain(|name, value| contact.get(name) != Some(value));
    let changed = !changes.is_empty();
    if changed {
        let record = json!({ "contact": changes });
        done(put(ctx, &format!("/contacts/{}", segment(&id)), &record).send()?)?;
    }
    let person_added = ensure_person(ctx, &id, &customer, &contact)?;
    remember(ctx, &customer, &id)?;
    if changed || person_added { Ok(event(ctx, CONTACT_UPDATED, &customer, &id).into()) } else { Ok(Output::none()) }
}

/// The id of the customer's contact, with the event of its creation if it was not there.
pub fn find_or_create(ctx: &Ctx<Config>, customer: &Customer) -> Result<(String, Vec<Emit>), PluginError> {
    match find(ctx, customer)? {
        Some(contact) => {
            let id = id_of(&contact)?;
            remember(ctx, customer, &id)?;
            Ok((id, Vec::new()))
        }
        None => create(ctx, customer),
    }
}

fn create(ctx: &Ctx<Config>, customer: &Customer) -> Result<(String, Vec<Emit>), PluginError> {
    let mut attributes = attributes(customer);
    attributes.insert("type".to_owned(), json!(kind(customer)));
    attributes.insert("organizationId".to_owned(), json!(ctx.config.organization_id));
    attributes.insert("countryId".to_owned(), json!(customer.country.as_deref().unwrap_or("DK")));
    attributes.insert("isCustomer".to_owned(), json!(true));
    if let Some(email) = &customer.email {
        let person = json!([{ "name": customer.name, "email": email, "isPrimary": true }]);
        attributes.insert("contactPersons".to_owned(), person);
    }
    let record = json!({ "contact": attributes });
    // A contact found by the same identity is the one that was wanted, whoever made it.
    let made = SendOnce::default().run(
        ctx,
        || Ok(read(post(ctx, "/contacts", &record).send()?)),
        |_| Ok(search(ctx, customer)?.map(|contact| Ok(json!({ "contact": contact })))),
    )?;
    let adopted = matches!(made, Once::Adopted(_));
    let readable = made.into_inner().and_then(|answer| first(&answer).map(|_| answer));
    let answer = found_if_unreadable(readable, || Ok(search(ctx, customer)?.map(|found| json!({ "contact": found }))))?;
    let (contact, id) = first(&answer)?;
    if adopted || records(&answer, "contactPerson", "contactPersons").is_empty() {
        ensure_person(ctx, &id, customer, &contact)?;
    }
    remember(ctx, customer, &id)?;
    let created = event(ctx, CONTACT_CREATED, customer, &id);
    let key = format!("billy:{}:contact:{id}:created", ctx.config.organization_id);
    Ok((id, vec![created.dedupe(key)]))
}

/// The contact that was found before and is still there, else what a search finds.
fn find(ctx: &Ctx<Config>, customer: &Customer) -> Result<Option<Value>, PluginError> {
    if let Some(id) = ctx.kv().get_json::<String>(&key_of(customer, &ctx.config.organization_id))? {
        let response = get(ctx, &format!("/contacts/{}", segment(&id))).send()?;
        if response.status != 404 {
            let answer = read(response)?;
            let usable = |contact: &&&Value| !contact.get("isArchived").is_some_and(truth);
            if let Some(contact) = records(&answer, "contact", "contacts").iter().find(usable) {
                return Ok(Some((*contact).clone()));
            }
        }
    }
    search(ctx, customer)
}

/// Searches by what identifies best: registration number, e-mail address, name.
fn search(ctx: &Ctx<Config>, customer: &Customer) -> Result<Option<Value>, PluginError> {
    let terms = [customer.registration_no.as_deref(), customer.email.as_deref(), Some(customer.name.as_str())];
    for term in terms.into_iter().flatten() {
        let answer = read(list(ctx, "/contacts").query("q", term).query("pageSize", "100").send()?)?;
        let mut compared = 0;
        for contact in records(&answer, "contact", "contacts") {
            let Some(found) = fit(customer, contact) else { continue };
            if found == Fit::Certain {
                return Ok(Some(contact.clone()));
            }
            compared += 1;
            if compared > CANDIDATES {
                break;
            }
            if confirmed(ctx, customer, contact, found)? {
                return Ok(Some(contact.clone()));
            }
        }
    }
    Ok(None)
}

/// How well a contact fits before its persons are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The registration numbers are equal.
    Certain,
    /// The names are equal.
    Name,
    /// Only one of its persons could be the customer.
    Persons,
}

/// Two customers may have one name: where the customer has an address, the contact must have it too or have none.
fn confirmed(ctx: &Ctx<Config>, customer: &Customer, contact: &Value, fit: Fit) -> Result<bool, PluginError> {
    let Some(email) = &customer.email else { return Ok(fit == Fit::Name) };
    let known = emails(ctx, &id_of(contact)?, contact)?;
    if known.iter().any(|known| same(known, email)) {
        return Ok(true);
    }
    Ok(fit == Fit::Name && known.is_empty())
}

/// The addresses of a contact's persons, embedded or asked for.
fn emails(ctx: &Ctx<Config>, id: &str, contact: &Value) -> Result<Vec<String>, PluginError> {
    let of = |persons: Vec<&Value>| persons.into_iter().filter_map(|person| text(person, "email")).collect();
    if contact.get("contactPersons").is_some_and(Value::is_array) {
        return Ok(of(records(contact, "contactPerson", "contactPersons")));
    }
    let answer = read(get(ctx, "/contactPersons").query("contactId", id).send()?)?;
    Ok(of(records(&answer, "contactPerson", "contactPersons")))
}

/// Billy was seen to drop persons given with a new contact, so they are read back and added. Whether it was added.
fn ensure_person(ctx: &Ctx<Config>, id: &str, customer: &Customer, contact: &Value) -> Result<bool, PluginError> {
    let Some(email) = &customer.email else { return Ok(false) };
    if emails(ctx, id, contact)?.iter().any(|known| same(known, email)) {
        return Ok(false);
    }
    let person = json!({ "contactPerson": {
        "contactId": id, "name": customer.name, "email": email, "isPrimary": true
    } });
    SendOnce::default()
        .run(
            ctx,
            || Ok(done(post(ctx, "/contactPersons", &person).send()?)),
            |_| Ok(emails(ctx, id, &Value::Null)?.iter().any(|known| same(known, email)).then_some(Ok(()))),
        )?
        .into_inner()?;
    Ok(true)
}

/// Adds a person to a contact who has only an address, and answers the person's id.
pub fn add_person(ctx: &Ctx<Config>, contact_id: &str, email: &str) -> Result<String, PluginError> {
    let person =
        json!({ "contactPerson": { "contactId": contact_id, "name": email, "email": email, "isPrimary": false } });
    let id = |answer: &Value| {
        let persons = records(answer, "contactPerson", "contactPersons");
        let of_it = |person: &&Value| text(person, "email").is_some_and(|known| same(&known, email));
        persons.into_iter().find(of_it).and_then(|person| text(person, "id"))
    };
    let find = || -> Result<Option<String>, PluginError> {
        let answer = read(get(ctx, "/contactPersons").query("contactId", contact_id).send()?)?;
        Ok(id(&answer))
    };
    let unreadable = || malformed("Billy's answer has no readable person.");
    let made = SendOnce::default()
        .run(
            ctx,
            || {
                let answer = read(post(ctx, "/contactPersons", &person).send()?);
                Ok(answer.and_then(|answer| id(&answer).ok_or_else(unreadable)))
            },
            |_| Ok(find()?.map(Ok)),
        )?
        .into_inner();
    found_if_unreadable(made, find)
}

fn remember(ctx: &Ctx<Config>, customer: &Customer, id: &str) -> Result<(), PluginError> {
    let person = customer.email.as_deref().or(customer.phone.as_deref());
    let options = KvOptions { ttl: None, person: person.map(str::to_owned) };
    let key = key_of(customer, &ctx.config.organization_id);
    if ctx.kv().get_json::<String>(&key)?.as_deref() != Some(id) {
        ctx.kv().set_json(&key, &id, &options)?;
    }
    Ok(())
}

/// The contact that a write answers with, and its id.
fn first(answer: &Value) -> Result<(Value, String), PluginError> {
    let contact = records(answer, "contact", "contacts").into_iter().next().cloned().unwrap_or_default();
    id_of(&contact).map(|id| (contact, id))
}

fn id_of(contact: &Value) -> Result<String, PluginError> {
    text(contact, "id").ok_or_else(|| malformed("Billy's answer has no readable contact."))
}

/// Whether two addresses or names are the same to a person.
pub fn same(a: &str, b: &str) -> bool {
    lowered(a.trim()) == lowered(b.trim())
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase()
}

/// Whether it is a company or a person; who is in the register of companies is one.
fn kind(customer: &Customer) -> &str {
    customer.kind.as_deref().unwrap_or(if customer.registration_no.is_some() { "company" } else { "person" })
}

/// What was given, under Billy's names.
fn attributes(customer: &Customer) -> Map<String, Value> {
    let given = [
        ("name", Some(&customer.name)),
        ("phone", customer.phone.as_ref()),
        ("registrationNo", customer.registration_no.as_ref()),
        ("countryId", customer.country.as_ref()),
        ("street", customer.street.as_ref()),
        ("zipcodeText", customer.zip.as_ref()),
        ("cityText", customer.city.as_ref()),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))).collect()
}

/// Under which the contact is remembered: by the best identification only, hashed, since it may name a person.
fn key_of(customer: &Customer, organization: &str) -> String {
    let identity = match (&customer.registration_no, &customer.email) {
        (Some(number), _) => format!("reg:{}", digits(number)),
        (None, Some(email)) => format!("email:{}", lowered(email.trim())),
        (None, None) => format!("name:{}", lowered(customer.name.trim())),
    };
    format!("contact/{}", hex::encode(Sha256::digest(format!("{organization}|{identity}"))))
}

/// None if the contact is somebody else.
fn fit(customer: &Customer, contact: &Value) -> Option<Fit> {
    if contact.get("isArchived").is_some_and(truth) {
        return None;
    }
    let theirs = text(contact, "registrationNo").map(|number| digits(&number));
    let ours = customer.registration_no.as_deref().map(digits);
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours == theirs => Some(Fit::Certain),
        (Some(_), Some(_)) => None,
        _ if text(contact, "name").is_some_and(|name| same(&name, &customer.name)) => Some(Fit::Name),
        _ => Some(Fit::Persons),
    }
}

fn event(ctx: &Ctx<Config>, name: &str, customer: &Customer, id: &str) -> Emit {
    Emit::new(name, json!(Contact::of(customer, id)))
        .subject(id)
        .ordering(format!("billy:{}:contact:{id}", ctx.config.organization_id))
}
