//! Where sealed values live, so that those who seal and those who open name the same place.

use crate::{connection::vault::Place, event::TenantId, id::Key};

/// A secret of a connection.
#[must_use]
pub fn connection_secret<'a>(tenant: &'a TenantId, connection: &'a Key) -> Place<'a> {
    Place { tenant: tenant.as_str(), table: "connection", row: &connection.0, column: "secret" }
}

/// A signing secret of an endpoint.
#[must_use]
pub fn endpoint_secret<'a>(tenant: &'a TenantId, endpoint: &'a Key) -> Place<'a> {
    Place { tenant: tenant.as_str(), table: "endpoint", row: &endpoint.0, column: "secret" }
}

/// The own header fields of an endpoint.
#[must_use]
pub fn endpoint_headers<'a>(tenant: &'a TenantId, endpoint: &'a Key) -> Place<'a> {
    Place { tenant: tenant.as_str(), table: "endpoint", row: &endpoint.0, column: "headers" }
}

/// The broker's address of an endpoint.
#[must_use]
pub fn endpoint_broker<'a>(tenant: &'a TenantId, endpoint: &'a Key) -> Place<'a> {
    Place { tenant: tenant.as_str(), table: "endpoint", row: &endpoint.0, column: "amqp_url" }
}

/// The broker's address of a source.
#[must_use]
pub fn source_broker<'a>(tenant: &'a TenantId, source: &'a str) -> Place<'a> {
    Place { tenant: tenant.as_str(), table: "source", row: source.as_bytes(), column: "amqp_url" }
}

/// The PKCE verifier of a login, and its state's row.
#[must_use]
pub fn login_verifier<'a>(tenant: &'a TenantId, state: &'a [u8; 32]) -> Place<'a> {
    Place { tenant: tenant.as_str(), table: "oauth_state", row: state, column: "verifier" }
}

/// The access token of a connection.
#[must_use]
pub fn access_token<'a>(tenant: &'a TenantId, connection: &'a Key) -> Place<'a> {
    Place { tenant: tenant.as_str(), table: "connection", row: &connection.0, column: "access_token" }
}

/// The client secret of an app.
#[must_use]
pub fn app_client_secret(app: &Key) -> Place<'_> {
    Place { tenant: HUB, table: "app", row: &app.0, column: "client_secret" }
}

/// The secrets that prove an app's requests.
#[must_use]
pub fn app_secrets(app: &Key) -> Place<'_> {
    Place { tenant: HUB, table: "app", row: &app.0, column: "secrets" }
}

/// The address of a person whose consent is known, on any channel.
#[must_use]
pub fn consent<'a>(tenant: &'a TenantId, person: &'a [u8; 32]) -> Place<'a> {
    Place { tenant: tenant.as_str(), table: "consent", row: person, column: "address" }
}

/// The stored answer of an idempotent request. It belongs to the hub, whoever asked.
#[must_use]
pub fn stored_answer<'a>(caller: &'a Key) -> Place<'a> {
    Place { tenant: HUB, table: "idempotency", row: &caller.0, column: "body" }
}

/// Stands for a tenant where a value belongs to the hub itself. No tenant can have this name.
pub const HUB: &str = "";
