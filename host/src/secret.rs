//! Secrets in memory, and the two kinds of key that the hub itself makes: master keys and API keys.
//!
//! Secret text is a [`SecretString`] from the moment it is read: its `Debug` shows nothing, it is wiped when dropped, and
//! the places that look inside are found by searching for `expose_secret`.

/// Keys with which callers of the API prove who they are.
pub mod api_key;

/// The operator's master keys, which wrap every tenant's data key.
pub mod keyring;

pub use secrecy::{ExposeSecret, SecretString};

/// Raw secret bytes, wiped when dropped. It has no `Debug` that shows them.
pub type SecretBytes = secrecy::SecretSlice<u8>;
