//! The simulators over real HTTP, one file per promise.

mod billy_books;
mod billy_protocol;
mod control;
mod faults;
mod subscriber;
mod support;
mod twilio_api;
mod twilio_signature;
mod twilio_webhooks;
