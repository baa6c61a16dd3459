//! Strangers and customers at their worst. The names begin with the row of the list of faults that they show.

/// Raw bytes to a hub, and what comes back.
mod wire;

/// Senders whose secrets a hub knows.
mod senders;

/// The same request again and again.
mod repeated;

/// Signatures that prove nothing.
mod signatures;

/// JSON that breaks readers.
mod json;

/// Bodies and heads that are too much.
mod floods;

/// Frames of HTTP/2 that are too much.
mod http2;

/// Callers that take their time.
mod slow;

/// Callers by the thousand.
mod crowd;

/// Bytes that two readers would divide in two ways.
mod smuggling;

/// Browsers, other hosts' names, paths that climb, fields that one may not set.
mod access;

/// What takes as long tells nothing.
mod timing;

/// Filters and schemas made to be slow.
mod costly;

/// Requests that are wrong in one respect each.
mod wrong;
