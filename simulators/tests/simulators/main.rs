//! The simulators over real HTTP, one file per promise.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod billy_books;
mod billy_protocol;
mod calendar_events;
mod calendar_push;
mod control;
mod faults;
mod gmail;
mod gmail_push;
mod gmail_support;
mod oauth;
mod quickbooks;
mod quickbooks_books;
mod quickbooks_login;
mod quickbooks_webhooks;
mod stripe;
mod subscriber;
mod support;
mod twilio_api;
mod twilio_calls;
mod twilio_signature;
mod twilio_webhooks;
