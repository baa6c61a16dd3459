use switchyard_sdk::prelude::*;

use crate::event::Events;
use crate::model::{Invoice, SENT, State};
use crate::snapshot::Entry;

/// What happened between two sights of an invoice, and what to remember. An invoice never seen before is reported from
/// its creation on. Of a credit note only its booking counts, which credits an invoice.
pub fn changes(
    events: &Events,
    before: Option<&Entry>,
    invoice: &Invoice,
    payment_ids: &[String],
) -> (Vec<Emit>, Entry) {
    let mut now = Entry::of(invoice, before);
    let mut found = Vec::new();
    if invoice.is_credit_note {
        let was_booked = before.is_some_and(|before| before.is(State::Approved));
        let credited = invoice.credited_invoice_id.as_deref().filter(|_| invoice.state == State::Approved);
        found.extend(credited.filter(|_| !was_booked).map(|id| events.refunded(id, None, invoice)));
        return (found, now);
    }
    let was = |state: State| before.is_some_and(|before| before.is(state));
    if before.is_none() {
        found.push(events.created(invoice));
    }
    let was_booked = was(State::Approved) || was(State::Voided);
    let approved = !was_booked && (invoice.state == State::Approved || invoice.approved_at.is_some());
    if approved {
        found.push(events.approved(invoice));
    }
    let sent_before = before.map_or(0, |before| before.sent);
    if invoice.sent >= SENT && sent_before < SENT {
        found.push(events.sent(invoice));
    }
    let was_paid = before.is_some_and(|before| before.paid);
    if invoice.is_paid && !was_paid {
        found.push(events.paid(invoice, now.times_paid, payment_ids));
    }
    let voided = invoice.state == State::Voided && !was(State::Voided);
    if voided {
        found.push(events.voided(invoice));
    }
    if let Some(before) = before {
        let mut changed = Vec::new();
        if before.hash != now.hash {
            changed.push("details");
        }
        // A balance that moved because of one of the above is no news.
        let explained = approved || voided || (invoice.is_paid && !was_paid);
        if before.balance != now.balance && !explained {
            changed.push("balance");
        }
        if invoice.sent > SENT && sent_before >= SENT && invoice.sent > sent_before {
            changed.push("sent_state");
        }
        if !changed.is_empty() {
            now.updates += 1;
            found.push(events.updated(invoice, &changed, now.updates, &now.hash));
        }
    }
    (found, now)
}
