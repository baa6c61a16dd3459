//! What a bell says: the name of one lane that has work. It is a hint, so it says no more.
//!
//! A bell is one line of text of at most 1 KiB: the format's number, the tenant, the target and the shard, with one space
//! between them, as in `1 acme ep_0193a5c1d2e37f4f8a5b6c7d8e9fa0b1 0`. A node takes no other format, so that a later one
//! can begin with another number; such a bell is set aside, and the lane's owner finds the work by looking.

use crate::{
    event::{Target, TenantId, Urgency},
    queue::lane::Lane,
};

/// The longest bell.
pub const MAX_BYTES: usize = 1024;

/// The format's number.
const FORMAT: &str = "1";

/// Why bytes are no bell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BellError {
    /// Too long.
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not text.
    #[error("it is no text")]
    NotText,
    /// Another format, or none.
    #[error("it is not of format {FORMAT}")]
    Format,
    /// Too few parts, or too many.
    #[error("it has not exactly four parts")]
    Parts,
    /// No name of a tenant.
    #[error("it names no tenant")]
    Tenant,
    /// No target.
    #[error("it names no target")]
    Target,
    /// No shard.
    #[error("it names no shard")]
    Shard,
}

/// Writes the bell of a lane.
#[must_use]
pub fn encode(lane: &Lane) -> String {
    format!("{FORMAT} {} {} {}", lane.tenant, lane.target, lane.shard())
}

/// Reads a bell.
///
/// # Errors
/// It is none; what is read is bounded by [`MAX_BYTES`].
pub fn decode(bytes: &[u8]) -> Result<Lane, BellError> {
    if bytes.len() > MAX_BYTES {
        return Err(BellError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| BellError::NotText)?;
    let mut parts = text.split(' ');
    if parts.next() != Some(FORMAT) {
        return Err(BellError::Format);
    }
    let (Some(tenant), Some(target), Some(shard), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(BellError::Parts);
    };
    let urgency = match shard {
        "0" => Urgency::Normal,
        "1" => Urgency::Emergency,
        _ => return Err(BellError::Shard),
    };
    let tenant: TenantId = tenant.parse().map_err(|_| BellError::Tenant)?;
    let target: Target = target.parse().map_err(|_| BellError::Target)?;
    if matches!(&target, Target::Plugin(name) if !is_plugin_name(name)) {
        return Err(BellError::Target);
    }
    Ok(Lane { tenant, target, urgency })
}

fn is_plugin_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    matches!(name.len(), 1..=63) && name.as_bytes()[0].is_ascii_lowercase() && name.bytes().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;

    fn lane(target: Target, urgency: Urgency) -> Lane {
        Lane { tenant: "acme".parse().unwrap(), target, urgency }
    }

    #[test]
    fn every_kind_of_lane_comes_back_as_it_was() {
        for target in [Target::Endpoint(Key([7; 16])), Target::Plugin("billy".into()), Target::Unrouted] {
            for urgency in [Urgency::Normal, Urgency::Emergency] {
                let lane = lane(target.clone(), urgency);
                let bell = encode(&lane);
                assert!(bell.len() <= MAX_BYTES);
                assert_eq!(decode(bell.as_bytes()), Ok(lane));
            }
        }
    }

    #[test]
    fn the_longest_names_fit() {
        let tenant = "a".repeat(63).parse().unwrap();
        let lane = Lane { tenant, target: Target::Plugin("b".repeat(63).into()), urgency: Urgency::Emergency };
        assert_eq!(decode(encode(&lane).as_bytes()), Ok(lane));
    }

    #[test]
    fn what_is_no_bell_is_refused_for_what_is_wrong_with_it() {
        let million = vec![b'1'; 1 << 20];
        for (bytes, expected) in [
            (b"".as_slice(), BellError::Format),
            (b"2 acme unrouted 0", BellError::Format),
            (b"1 acme unrouted", BellError::Parts),
            (b"1 acme unrouted 0 0", BellError::Parts),
            (b"1 acme  unrouted 0", BellError::Parts),
            (b"1 Acme unrouted 0", BellError::Tenant),
            (b"1 acme ep_7 0", BellError::Target),
            (b"1 acme plugin:Billy 0", BellError::Target),
            (b"1 acme plugin: 0", BellError::Target),
            (b"1 acme unrouted 2", BellError::Shard),
            (b"1 acme unrouted 0\n", BellError::Shard),
            (b"\xff\xfe", BellError::NotText),
            (&million, BellError::TooLong),
        ] {
            assert_eq!(decode(bytes), Err(expected), "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(40)]));
        }
    }
}
