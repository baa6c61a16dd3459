//! Connections: a tenant's credentials at providers, how they are kept, and how calls made with them are judged.

/// Secrets at rest: a data key per tenant, wrapped by a master key.
pub mod vault;

/// Which master key wraps what, and moving everything to a new one.
pub mod master_keys;

/// What a connection's `secret` holds, per kind, and how it is put on a request.
pub mod credential;

/// Where a connection logs in, and for what.
pub mod login;

/// Access tokens, obtained once and stored before use.
pub mod tokens;

/// One request to a token endpoint.
pub mod token_endpoint;

/// Google's service accounts.
pub mod service_account;

/// Checks that a plugin asks for against secrets it cannot read.
pub mod verify;

/// Signed tokens, judged against public keys.
pub mod jwt;

/// A set of public keys as an issuer publishes it.
pub mod key_set;

/// The key sets of issuers, fetched and kept.
pub mod key_sets;

/// Where providers are instead of where manifests say.
pub mod origins;

/// What a plugin may write into a request: path and headers.
pub mod guard;

/// `{{secret:<slot>.<field>}}` in requests, and masking in what comes back.
pub mod template;

/// How fast a connection may be used, and when to leave the provider alone.
pub mod breaker;

/// What an answer to a provider call means: for the journal and for the plugin.
pub mod call;

/// One harmless call by which a connection is tried.
pub mod probe;

/// The gate of every connection of this process.
pub mod pace;
