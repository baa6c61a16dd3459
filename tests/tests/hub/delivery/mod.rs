/// Signatures, their rotation, and what the body looks like.
mod signing;

/// Which events an endpoint gets.
mod choosing;

/// Endpoints that are paused, gone, slow or redirect.
mod answers;

/// Order, retries and dead letters.
mod trouble;

/// What links one request to everything that it causes.
mod following;
