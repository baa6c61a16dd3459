//! The types of accounting events and commands that do not depend on the provider.
//!
//! A command such as `invoice.create` goes to whichever accounting plugin a tenant has, and a subscriber to
//! `invoice.paid` need not know where the invoice stands. Of several definitions of a type the first installed one
//! stands, so all accounting plugins take theirs from here: each function answers the whole [`EventType`], with schema
//! and example, the same for everybody.
//!
//! Commands have structs that read them; events have structs that write them and leave out what is not known. A field
//! that a provider adds of its own is no fault: every schema takes further ones.
//!
//! [`EventType`]: switchyard_sdk::manifest::EventType

/// Whom books are about: `customer.upsert`, `contact.created` and their like.
pub mod customer;

/// What is asked about an invoice: `invoice.create` and its like.
pub mod invoice_command;

/// What happened to an invoice: `invoice.paid` and its like.
pub mod invoice;

/// Money that came in: `payment.record`, `payment.recorded`, `payment.voided`.
pub mod payment;

/// Sales that are paid on the spot: `salesreceipt.create`, `salesreceipt.created`.
pub mod sales_receipt;

/// Whether the provider's books add up: `invoice.mismatched`, `books.reconciled`.
pub mod reconcile;

/// A place that was lost: `sync.reset`.
pub mod sync;

/// What the schemas are made of.
mod schema;
