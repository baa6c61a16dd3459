//! What an endpoint's answer means. Only a 2xx is success; everything else is a failure that is tried again, with these
//! differences: 410 disables the endpoint, 429 and 503 may say when to come back.

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};

use crate::{
    broker::dial::DialError,
    clock::Timestamp,
    outbound::{
        client::{Answer, MaybeSent, NotSent, SendError},
        egress::EgressError,
        publish::PublishError,
    },
    queue::{reason::ReasonClass, retry::RETRY_AFTER_CAP},
};

/// The end of one attempt at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The subscriber has it.
    Delivered,
    /// The subscriber does not have it, as far as we know.
    Failed(Failure),
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class.
    pub reason: ReasonClass,
    /// Stable and groupable: `http_500`, `timeout`, `dns`, ...
    pub code: Cow<'static, str>,
    /// One sentence for a person. Holds neither addresses nor anything the other side said.
    pub message: String,
    /// How long the other side asked us to wait, at most a day.
    pub retry_after: Option<Duration>,
    /// The other side said that it is gone for good: nothing is sent there until a person switches it on again.
    pub disable_endpoint: bool,
}

/// Judges one attempt at an exchange.
#[must_use]
pub fn classify_published(result: &Result<(), PublishError>) -> Outcome {
    let Err(error) = result else { return Outcome::Delivered };
    let reason = match error {
        // Only a person who changes the address or the allow-list can help.
        PublishError::NoConnection(DialError::Egress(
            EgressError::BlockedAddress(_) | EgressError::MalformedUrl(_),
        ))
        | PublishError::Key => ReasonClass::Config,
        _ => ReasonClass::Subscriber,
    };
    // The broker's own words may name what is not for everybody who sees a delivery.
    let said = match error {
        PublishError::NoConnection(DialError::Refusal(_)) => "the broker refused the connection".to_owned(),
        error => error.to_string(),
    };
    Outcome::Failed(Failure {
        reason,
        code: Cow::Borrowed(error.code()),
        message: format!("Delivery failed: {said}."),
        retry_after: None,
        disable_endpoint: false,
    })
}

/// Judges one attempt; `now` is when its answer came, for a `Retry-After` that is a date.
#[must_use]
pub fn classify(result: &Result<Answer, SendError>, now: Timestamp) -> Outcome {
    match result {
        Ok(answer) if answer.status.is_success() => Outcome::Delivered,
        Ok(answer) => Outcome::Failed(answered(answer.status, &answer.headers, now)),
        Err(error) => Outcome::Failed(unanswered(*error)),
    }
}

fn answered(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Failure {
    let (reason, code, message) = match status {
        StatusCode::TOO_MANY_REQUESTS => (ReasonClass::RateLimited, None, "The endpoint asked for fewer requests"),
        StatusCode::GONE => (ReasonClass::Subscriber, None, "The endpoint said that it is gone; it is disabled"),
        _ if status.is_redirection() => {
            (ReasonClass::Subscriber, Some("redirect"), "The endpoint answered with a redirect, which is not followed")
        }
        _ => (ReasonClass::Subscriber, None, "The endpoint did not accept the event"),
    };
    let says_when = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    Failure {
        reason,
        code: code.map_or_else(|| Cow::Owned(format!("http_{}", status.as_u16())), Cow::Borrowed),
        message: format!("{message} (status {}).", status.as_u16()),
        retry_after: if says_when { headers.get(RETRY_AFTER).and_then(|value| retry_after(value, now)) } else { None },
        disable_endpoint: status == StatusCode::GONE,
    }
}

fn unanswered(error: SendError) -> Failure {
    let reason = match error {
        // Only a person who changes the URL or the allow-list can help.
        SendError::NotSent(NotSent::Egress(EgressError::BlockedAddress(_) | EgressError::MalformedUrl(_))) => {
            ReasonClass::Config
        }
        SendError::NotSent(
            NotSent::Egress(EgressError::Dns)
            | NotSent::Refused
            | NotSent::ConnectTimeout
            | NotSent::Unreachable
            | NotSent::Tls
            | NotSent::ConnectionEnded,
        )
        | SendError::MaybeSent(
            MaybeSent::Timeout
            | MaybeSent::BodyTimeout(_)
            | MaybeSent::Reset
            | MaybeSent::BodyReset(_)
            | MaybeSent::BadAnswer,
        ) => ReasonClass::Subscriber,
    };
    Failure {
        reason,
        code: Cow::Borrowed(error.code()),
        message: format!("Delivery failed: {error}."),
        retry_after: None,
        disable_endpoint: false,
    }
}

/// The wait that a `Retry-After` asks for: seconds, or a date measured from `now`; at most a day. A negative number, a date
/// that has passed or anything else is no wish.
#[must_use]
pub fn retry_after(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large to read is longer than a day.
        return Some(text.parse().map_or(RETRY_AFTER_CAP, Duration::from_secs).min(RETRY_AFTER_CAP));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_millis(u64::try_from(now.0).ok()?);
    date.checked_sub(now).map(|wait| wait.min(RETRY_AFTER_CAP))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::outbound::egress::Blocked;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW: Timestamp = Timestamp(784_111_777_000);

    fn answer(status: u16, retry: Option<&str>) -> Result<Answer, SendError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry {
            headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Answer { status, headers, body: Bytes::from_static(b"marker 10.0.0.1"), truncated: false })
    }

    #[track_caller]
    fn failure(result: Result<Answer, SendError>) -> Failure {
        match classify(&result, NOW) {
            Outcome::Failed(failure) => failure,
            Outcome::Delivered => panic!("expected a failure"),
        }
    }

    #[test]
    fn only_2xx_is_success() {
        for status in 100..600 {
            let delivered = classify(&answer(status, None), NOW) == Outcome::Delivered;
            assert_eq!(delivered, (200..300).contains(&status), "{status}");
        }
    }

    #[test]
    fn statuses_have_their_class_and_code() {
        for (status, reason, code) in [
            (301, ReasonClass::Subscriber, "redirect"),
            (304, ReasonClass::Subscriber, "redirect"),
            (400, ReasonClass::Subscriber, "http_400"),
            (401, ReasonClass::Subscriber, "http_401"),
            (429, ReasonClass::RateLimited, "http_429"),
            (500, ReasonClass::Subscriber, "http_500"),
            (503, ReasonClass::Subscriber, "http_503"),
        ] {
            let failure = failure(answer(status, None));
            assert_eq!((failure.reason, failure.code.as_ref()), (reason, code));
            assert!(!failure.disable_endpoint);
            assert!(!failure.message.contains("marker"));
        }
    }

    #[test]
    fn what_was_not_published_has_its_class_and_code() {
        let blocked = DialError::Egress(EgressError::BlockedAddress(Blocked::NotPublic));
        for (error, reason, code) in [
            (PublishError::NoConnection(blocked), ReasonClass::Config, "blocked_address"),
            (PublishError::NoConnection(DialError::Refused), ReasonClass::Subscriber, "connect_refused"),
            (PublishError::NoConnection(DialError::Denied), ReasonClass::Subscriber, "amqp_login_refused"),
            (PublishError::Unroutable, ReasonClass::Subscriber, "amqp_unroutable"),
            (PublishError::Nack, ReasonClass::Subscriber, "amqp_nack"),
            (PublishError::Timeout, ReasonClass::Subscriber, "timeout"),
            (PublishError::Key, ReasonClass::Config, "amqp_routing_key"),
        ] {
            let Outcome::Failed(failure) = classify_published(&Err(error)) else { panic!("expected a failure") };
            assert_eq!((failure.reason, failure.code.as_ref()), (reason, code));
        }
        assert_eq!(classify_published(&Ok(())), Outcome::Delivered);
        let refusal = PublishError::NoConnection(DialError::Refusal("marker 10.0.0.1".to_owned()));
        let Outcome::Failed(failure) = classify_published(&Err(refusal)) else { panic!("expected a failure") };
        assert!(!failure.message.contains("marker"), "{}", failure.message);
    }

    #[test]
    fn gone_disables_the_endpoint() {
        let failure = failure(answer(410, Some("60")));
        assert!(failure.disable_endpoint);
        assert_eq!(failure.retry_after, None);
    }

    #[test]
    fn retry_after_counts_for_429_and_503_only() {
        for (status, expected) in [(429, true), (503, true), (500, false), (404, false), (301, false)] {
            assert_eq!(failure(answer(status, Some("60"))).retry_after.is_some(), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_capped() {
        let read = |text: &str| retry_after(&HeaderValue::from_str(text).unwrap(), NOW).map(|wait| wait.as_secs());
        for (text, expected) in [
            ("0", Some(0)),
            ("60", Some(60)),
            (" 7 ", Some(7)),
            ("86401", Some(86_400)),
            ("315360000", Some(86_400)),
            ("99999999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Tue, 08 Nov 1994 08:50:37 GMT", Some(86_400)),
            ("Sun, 06 Nov 1994 08:49:36 GMT", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None),
            ("-5", None),
            ("+5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_was_not_answered_has_its_class_and_code() {
        let blocked = NotSent::Egress(EgressError::BlockedAddress(Blocked::NotPublic));
        for (error, reason, code) in [
            (SendError::NotSent(blocked), ReasonClass::Config, "blocked_address"),
            (SendError::NotSent(NotSent::Egress(EgressError::MalformedUrl("x"))), ReasonClass::Config, "malformed_url"),
            (SendError::NotSent(NotSent::Egress(EgressError::Dns)), ReasonClass::Subscriber, "dns"),
            (SendError::NotSent(NotSent::Refused), ReasonClass::Subscriber, "connect_refused"),
            (SendError::NotSent(NotSent::Tls), ReasonClass::Subscriber, "tls"),
            (SendError::MaybeSent(MaybeSent::Timeout), ReasonClass::Subscriber, "timeout"),
            (SendError::MaybeSent(MaybeSent::BodyTimeout(StatusCode::OK)), ReasonClass::Subscriber, "body_too_slow"),
            (SendError::MaybeSent(MaybeSent::Reset), ReasonClass::Subscriber, "reset"),
        ] {
            let failure = failure(Err(error));
            assert_eq!((failure.reason, failure.code.as_ref()), (reason, code));
        }
    }

    proptest! {
        #[test]
        fn no_retry_after_is_longer_than_a_day(text in "[ -~]{0,40}", now in any::<i64>()) {
            let value = HeaderValue::from_str(&text).unwrap();
            if let Some(wait) = retry_after(&value, Timestamp(now)) {
                prop_assert!(wait <= RETRY_AFTER_CAP);
            }
        }
    }
}
