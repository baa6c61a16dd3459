use serde_json::{Value, json};
use switchyard_event_types::invoice_command::SendInvoice;
use switchyard_sdk::once::SendOnce;
use switchyard_sdk::prelude::*;

use crate::client::{self, done, get, post, read, segment};
use crate::config::Config;
use crate::contact;
use crate::event::Events;
use crate::model::{Invoice, SENT, State, records, text, truth};

/// Sends a booked invoice by Billy's own e-mail. One that was sent before is only reported, unless told to send again.
///
/// Billy cannot recognise a repeated sending. When an answer is lost, an invoice that was unsent before and is sent
/// now was sent by us. One that had been sent before says nothing, so that the outcome stays unknown.
pub fn send(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: SendInvoice = event.parse()?;
    let invoice = client::invoice(ctx, &command.invoice_id)?
        .ok_or_else(|| bad("no_such_invoice", "Billy has no such invoice."))?;
    if invoice.state != State::Approved {
        return Err(bad("not_approved", "Only a booked invoice can be sent; approve it first."));
    }
    let events = Events::new(ctx);
    let was_sent = invoice.sent >= SENT;
    if was_sent && !command.again {
        return Ok(events.sent(&invoice).into());
    }
    let (person_id, to) = recipient(ctx, &invoice, command.to.as_deref())?;
    let number = invoice.number.as_deref().unwrap_or_default();
    let text =
        |given: Option<&String>, usual: &str| given.map_or_else(|| usual.replace("{number}", number), Clone::clone);
    let body = json!({ "email": {
        "contactPersonId": person_id,
        "emailSubject": text(command.subject.as_ref(), &ctx.config.email_subject),
        "emailBody": text(command.message.as_ref(), &ctx.config.email_message),
        "copyToUserId": null,
    } });
    let path = format!("/invoices/{}/emails", segment(&invoice.id));
    SendOnce::default()
        .run(ctx, || Ok(done(post(ctx, &path, &body).send()?)), |_| {
            if was_sent {
                let message = "The e-mail got no answer, and the invoice had been sent before, so nothing tells the two apart.";
                return Err(PluginError::reject(Reason::UnknownOutcome, "unknown_outcome", message));
            }
            let now = client::invoice(ctx, &invoice.id)?;
            Ok(now.filter(|now| now.sent >= SENT).map(|_| Ok(())))
        })?
        .into_inner()?;
    let again = was_sent.then(|| ctx.reference());
    Ok(events.sent_to(&invoice, &to, again).into())
}

/// The person whom the e-mail goes to: whoever has the address that the command names, else the invoice's own, else
/// the contact's primary one, else any with an address.
fn recipient(ctx: &Ctx<Config>, invoice: &Invoice, to: Option<&str>) -> Result<(String, String), PluginError> {
    let contact = invoice.contact_id.as_deref().ok_or_else(|| bad("no_contact", "The invoice names no contact."))?;
    let answer = read(get(ctx, "/contactPersons").query("contactId", contact).send()?)?;
    let persons = records(&answer, "contactPerson", "contactPersons");
    let reachable: Vec<(&Value, String, String)> =
        persons.into_iter().filter_map(|person| Some((person, text(person, "id")?, text(person, "email")?))).collect();
    if let Some(to) = to {
        if let Some((_, id, email)) = reachable.into_iter().find(|(_, _, email)| contact::same(email, to)) {
            return Ok((id, email));
        }
        return Ok((contact::add_person(ctx, contact, to)?, to.to_owned()));
    }
    let attended = |id: &str| invoice.contact_person_id.as_deref() == Some(id);
    let is_primary = |person: &Value| person.get("isPrimary").is_some_and(truth);
    let best = reachable.into_iter().min_by_key(|(person, id, _)| (!attended(id), !is_primary(person)));
    best.map(|(_, id, email)| (id, email))
        .ok_or_else(|| bad("no_address", "The invoice's contact has no e-mail address; name one in `to`."))
}

fn bad(code: &str, message: &str) -> PluginError {
    PluginError::reject(Reason::BadData, code, message)
}
