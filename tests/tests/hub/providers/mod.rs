//! Each provider through the real sandbox, the real journal and its simulator.

/// Logins: OAuth, service accounts, refresh, and what happens when they end.
mod connections;

/// The operator's own registrations, and requests that belong to several tenants.
mod apps;

/// Mail.
mod gmail;

/// Appointments.
mod calendar;

/// Accounting at QuickBooks.
mod quickbooks;

/// Accounting at Billy.
mod billy;

/// Subscriptions and card payments.
mod stripe;

/// Telephone and text messages.
mod twilio;

/// Every fault at every provider, and every writing command through a hub that dies.
mod matrix;

/// What the bundled plugins say about themselves.
mod catalogue;
