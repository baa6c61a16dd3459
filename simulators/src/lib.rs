//! Providers and subscribers that run on this machine, so that the hub can be shown and tested without an account and
//! without a network: real HTTP on a listener that the caller gives, faithful protocol, faults on request.
//!
//! A request to a provider meets `http` (connections), `provider` (faults, counts, `/_sim/`), and then the provider's
//! own routes. What a provider sends to the hub leaves through `client`.

/// Time as a parameter.
pub mod clock;

/// What can go wrong, armed per operation.
pub mod faults;

mod body;
mod spoil;

mod client;
mod http;
mod ids;

mod provider;

/// A Twilio account.
pub mod twilio;

/// A company in Billy.
pub mod billy;

/// An OAuth 2 authorization server: grants, rotation, expiry.
pub mod oauth;

/// Google's token endpoint and its signing keys.
pub mod google;

/// A Gmail mailbox with its Pub/Sub topic.
pub mod gmail;

/// Google calendars.
pub mod calendar;

/// A QuickBooks company.
pub mod quickbooks;

/// Stripe's webhooks.
pub mod stripe;

/// A subscriber's endpoint.
pub mod subscriber;

pub use provider::Count;
