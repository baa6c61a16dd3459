/// Signatures of providers.
mod signatures;

/// Bodies of API requests.
mod bodies;

/// A character that not every database stores.
mod characters;

/// Names of things that are not there, or are another tenant's.
mod unknown;

/// Configurations, components and grants.
mod plugins;

/// URLs that the hub must not call.
mod urls;

/// What keeps the hub from starting.
mod start;

/// Keys that may not do what they ask for.
mod scopes;
