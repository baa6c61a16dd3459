use crate::event::TenantId;

/// The name of the hub's own data key among the values of [`Registry::meta`](super::Registry::meta); it seals what belongs to no tenant.
pub const HUB_DATA_KEY: &str = "hub_data_key";

/// Whose data key it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyHolder {
    /// The hub's own.
    Hub,
    /// A tenant's.
    Tenant(TenantId),
}

/// A data key as it is stored: wrapped by a master key that its bytes name.
#[derive(Clone, Debug)]
pub struct WrappedKey {
    /// Whose it is.
    pub holder: KeyHolder,
    /// The stored bytes.
    pub wrapped: Vec<u8>,
}

/// A data key that goes from one master key to another.
#[derive(Clone, Debug)]
pub struct Rewrapped {
    /// The key as it was read.
    pub from: WrappedKey,
    /// The same data key under the other master key.
    pub to: Vec<u8>,
}
