//! The invoices resource: create with lines, approve, void, read, list, delete, and mail.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Behaviour,
    answer::{self, CONTACT, CONTACT_PERSON, INVOICE, INVOICE_LINE, Include},
    company::{Books, Company, room, text},
    contacts::is_true,
    draft,
    errors::ApiError,
    invoice::{Invoice, InvoiceState},
    money::Ore,
};
use crate::{
    clock::{date_utc, format_utc},
    http::{Call, Reply},
};

/// `POST /invoices`: invoice and lines together, or nothing.
pub(crate) fn create(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let given = answer::body(call, INVOICE)?;
    let mut books = company.books();
    room(books.invoices.len())?;
    let mut invoice = draft::blank(company);
    draft::apply(company, &books, &mut invoice, &given)?;
    if invoice.contact_id.is_empty() {
        return Err(ApiError::blank("contactId"));
    }
    move_to(company, &mut books, &mut invoice, text(&given, "state"))?;
    let reply = written(company, &books, &invoice);
    books.invoices.push(invoice);
    Ok(reply)
}

/// `PUT /invoices/{id}`: a draft can change in every attribute, later only its state can.
pub(crate) fn update(company: &Company, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let given = answer::body(call, INVOICE)?;
    let mut books = company.books();
    let mut invoice = books.invoice(id)?.clone();
    let only_state = given.keys().all(|name| matches!(name.as_str(), "id" | "organizationId" | "state"));
    if invoice.state == InvoiceState::Draft {
        draft::apply(company, &books, &mut invoice, &given)?;
    } else if !only_state {
        return Err(ApiError::new(422, "An approved invoice can no longer be changed."));
    }
    move_to(company, &mut books, &mut invoice, text(&given, "state"))?;
    let reply = written(company, &books, &invoice);
    *books.invoice_mut(id)? = invoice;
    Ok(reply)
}

/// Takes the invoice to the state that was asked for, or says why it cannot go there.
fn move_to(company: &Company, books: &mut Books, invoice: &mut Invoice, asked: Option<&str>) -> Result<(), ApiError> {
    let Some(asked) = asked else { return Ok(()) };
    let asked = InvoiceState::read(asked).ok_or_else(|| ApiError::invalid("state", "This is not a state."))?;
    match (invoice.state, asked) {
        (now, asked) if now == asked => Ok(()),
        (InvoiceState::Draft, InvoiceState::Approved) => approve(company, books, invoice),
        (InvoiceState::Approved, InvoiceState::Voided) if invoice.paid != Ore::default() => {
            Err(ApiError::invalid("state", "An invoice with payments cannot be voided."))
        }
        (InvoiceState::Approved, InvoiceState::Voided) => {
            invoice.state = InvoiceState::Voided;
            Ok(())
        }
        (now, asked) => {
            let message = format!("An invoice cannot go from {} to {}.", now.name(), asked.name());
            Err(ApiError::invalid("state", &message))
        }
    }
}

fn approve(company: &Company, books: &mut Books, invoice: &mut Invoice) -> Result<(), ApiError> {
    if invoice.lines.is_empty() {
        return Err(ApiError::invalid("lines", "An invoice without lines cannot be approved."));
    }
    let taken = |number: &str, books: &Books| {
        books.invoices.iter().any(|other| other.id != invoice.id && other.number.as_deref() == Some(number))
    };
    let number = match invoice.number.take() {
        Some(number) if taken(&number, books) => {
            return Err(ApiError::invalid("invoiceNo", "This number is already in use."));
        }
        Some(number) => number,
        None => loop {
            let number = books.next_invoice_no.to_string();
            books.next_invoice_no += 1;
            if !taken(&number, books) {
                break number;
            }
        },
    };
    invoice.number = Some(number);
    invoice.approved_ms = Some(company.clock.now_ms());
    invoice.state = InvoiceState::Approved;
    if books.behaviour.credit_note_sets_off {
        set_off(books, invoice);
    }
    Ok(())
}

/// Takes a booked credit note off what is open of its invoice; the rest of it stays open, to be paid out.
fn set_off(books: &mut Books, note: &mut Invoice) {
    let Some(original) = note.credited_invoice_id.as_ref().and_then(|id| books.invoice_mut(id).ok()) else { return };
    let part = note.gross().min(original.balance());
    original.set_off += part;
    note.set_off += part;
}

/// A write answers with all records it changed: the invoice and its lines.
fn written(company: &Company, books: &Books, invoice: &Invoice) -> Reply {
    let record = invoice.to_json(company, &books.behaviour);
    answer::one(books.behaviour.write_shape, INVOICE, record, vec![(INVOICE_LINE, invoice.lines_json())])
}

/// `GET /invoices/{id}`: without lines unless they are included.
pub(crate) fn fetch(company: &Company, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let books = company.books();
    let invoice = books.invoice(id)?;
    let mut record = invoice.to_json(company, &books.behaviour);
    let mut beside = Vec::new();
    match answer::include(call, "invoice.lines") {
        Some(Include::Embed) => record["lines"] = Value::Array(invoice.lines_json()),
        Some(Include::Sideload) => beside.push((INVOICE_LINE, invoice.lines_json())),
        None => {}
    }
    let contact = books.find(CONTACT, &invoice.contact_id).cloned().map_or(Value::Null, Value::Object);
    match answer::include(call, "invoice.contact") {
        Some(Include::Embed) => record["contact"] = contact,
        Some(Include::Sideload) => beside.push((CONTACT, vec![contact])),
        None => {}
    }
    Ok(answer::one(books.behaviour.read_shape, INVOICE, record, beside))
}

/// `GET /invoices` with its filters; an unknown state is answered with 404, as the real API was seen to do.
pub(crate) fn list(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let query = |name: &str| call.query_value(name);
    let state = match query("state") {
        None => None,
        Some(name) => Some(InvoiceState::read(&name).ok_or_else(|| ApiError::not_found("The state"))?),
    };
    let organization = query("organizationId").is_none_or(|id| id == company.fixed.organization);
    let exact =
        [query("contactId"), query("invoiceNo"), query("externalId"), query("currencyId"), query("creditedInvoiceId")];
    let (min_entry, max_entry) = (query("minEntryDate"), query("maxEntryDate"));
    let (min_due, max_due) = (query("minDueDate"), query("maxDueDate"));
    let (min_approved, max_approved) = (query("minApprovedTime"), query("maxApprovedTime"));
    let paid = query("isPaid").map(|text| is_true(&text));
    let needle = query("q").map(|text| text.to_lowercase());
    let wanted = |invoice: &&Invoice| {
        let fields = [
            Some(&invoice.contact_id),
            invoice.number.as_ref(),
            invoice.external_id.as_ref(),
            Some(&invoice.currency),
            invoice.credited_invoice_id.as_ref(),
        ];
        let approved = invoice.approved_ms.map(|ms| format_utc(ms, "%Y-%m-%d %H:%M:%S")).unwrap_or_default();
        organization
            && state.is_none_or(|state| invoice.state == state)
            && exact.iter().zip(fields).all(|(wanted, field)| wanted.is_none() || wanted.as_ref() == field)
            && within(&invoice.entry_date, min_entry.as_deref(), max_entry.as_deref())
            && within(&invoice.due_date, min_due.as_deref(), max_due.as_deref())
            && within(&approved, min_approved.as_deref(), max_approved.as_deref())
            && paid.is_none_or(|paid| invoice.is_paid() == paid)
            && needle.as_ref().is_none_or(|needle| speaks_of(invoice, needle))
    };
    let books = company.books();
    let embed = answer::include(call, "invoice.lines") == Some(Include::Embed);
    let records = books.invoices.iter().filter(wanted).map(|invoice| {
        let mut record = invoice.to_json(company, &books.behaviour);
        if embed {
            record["lines"] = Value::Array(invoice.lines_json());
        }
        record
    });
    let records = records.collect();
    answer::list(call, INVOICE, records)
}

/// Compares texts of dates or times; a bound is a prefix of what it bounds, or written with a `T`.
fn within(value: &str, min: Option<&str>, max: Option<&str>) -> bool {
    let plain = |bound: &str| bound.replace('T', " ").trim_end_matches('Z').to_owned();
    // An empty value, such as the approval time of a draft, lies outside every bound.
    min.is_none_or(|min| !value.is_empty() && value >= plain(min).as_str())
        && max.is_none_or(|max| !value.is_empty() && value <= plain(max).as_str())
}

fn speaks_of(invoice: &Invoice, needle: &str) -> bool {
    [&invoice.number, &invoice.contact_message, &invoice.line_description]
        .into_iter()
        .flatten()
        .any(|text| text.to_lowercase().contains(needle))
}

/// `GET /invoiceLines?invoiceId=`.
pub(crate) fn list_lines(company: &Company, call: &Call) -> Result<Reply, ApiError> {
    let id = call.query_value("invoiceId").ok_or_else(|| ApiError::new(400, "invoiceId is a required filter."))?;
    let lines = company.books().invoice(&id).map(Invoice::lines_json).unwrap_or_default();
    answer::list(call, INVOICE_LINE, lines)
}

/// `DELETE /invoices/{id}`: drafts only; one that does not exist counts as deleted.
pub(crate) fn delete(company: &Company, id: &str) -> Result<Reply, ApiError> {
    let mut books = company.books();
    if books.invoices.iter().any(|invoice| invoice.id == id && invoice.state != InvoiceState::Draft) {
        return Err(ApiError::new(422, "Only a draft can be deleted."));
    }
    books.invoices.retain(|invoice| invoice.id != id);
    Ok(answer::deleted(INVOICE, &[id]))
}

/// An e-mail that Billy sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// The invoice in it.
    pub invoice_id: String,
    /// Whom it went to.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub body: String,
}

/// `POST /invoices/{id}/emails`.
pub(crate) fn email(company: &Company, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let document: Value = call.json().map_err(|error| ApiError::new(400, error.to_string()))?;
    let mut books = company.books();
    let invoice = books.invoice(id)?;
    if invoice.state != InvoiceState::Approved {
        return Err(ApiError::new(422, "Only an approved invoice can be sent."));
    }
    let person = document["email"]["contactPersonId"].as_str().ok_or_else(|| ApiError::blank("contactPersonId"))?;
    let known = books
        .find(CONTACT_PERSON, person)
        .filter(|person| text(person, "contactId") == Some(invoice.contact_id.as_str()));
    let Some(known) = known else {
        return Err(ApiError::invalid("contactPersonId", "This is not a person of the invoice's contact."));
    };
    let to = text(known, "email").ok_or_else(|| ApiError::invalid("contactPersonId", "This person has no e-mail."))?;
    let part = |name: &str| document["email"][name].as_str().unwrap_or_default().to_owned();
    let mail =
        Mail { invoice_id: id.to_owned(), to: to.to_owned(), subject: part("emailSubject"), body: part("emailBody") };
    room(books.mails.len())?;
    books.mails.push(mail);
    books.invoice_mut(id)?.sent = true;
    Ok(written(company, &books, books.invoice(id)?))
}

/// The invoices as control requests show them: everything, lines included.
pub(crate) fn overview(company: &Company) -> Value {
    let books = company.books();
    let behaviour: Behaviour = books.behaviour;
    let invoices = books.invoices.iter().map(|invoice| {
        let mut record = invoice.to_json(company, &behaviour);
        record["lines"] = Value::Array(invoice.lines_json());
        record
    });
    json!({"invoices": invoices.collect::<Vec<_>>(), "today": date_utc(company.clock.now_ms())})
}
