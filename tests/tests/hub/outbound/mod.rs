/// Sinks that hang, drip, reset, lie or redirect.
mod sinks;

/// Endless and compressed answers.
mod size;

/// Writes of plugins: not sent, or perhaps sent.
mod writes;

/// What a sink asks for, and one that is down among many.
mod patience;

/// Names that resolve to what must not be called.
mod names;

/// URLs that must not be called, when they are saved and when they are used.
mod forgery;

/// What the host itself says.
mod sayings;

/// Signatures with published keys, and secrets that change under load.
mod keys;

/// Replays of a window of time.
mod replays;

/// What the hub says about itself while somebody tries to stop it.
mod watching;
