//! One harmless call by which an admin tries a connection, and what its answer means in plain words.

use std::time::Duration;

use http::StatusCode;

use super::{breaker::Signal, call::is_rate_refusal};
use crate::outbound::{
    client::{Answer, MaybeSent, NotSent, SendError},
    egress::EgressError,
};

/// Time for the call, so that an admin who waits gets an answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of the answer is read. It is looked at for the reason of a refusal and then dropped.
pub const ANSWER_BYTES: usize = 16 * 1024;

/// What a try showed. The text names neither the credential nor anything of the answer's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the connection works.
    pub ok: bool,
    /// What a person reads.
    pub message: String,
    /// What it says of the provider.
    pub signal: Signal,
}

/// What the end of the call means.
#[must_use]
pub fn explain(call: &str, result: &Result<Answer, SendError>) -> Finding {
    let found = |ok, signal, words: String| Finding { ok, message: format!("{call}: {words}"), signal };
    match result {
        Ok(answer) => {
            let (ok, signal, words) = of_status(answer.status, is_rate_refusal(answer.status, &answer.body));
            found(ok, signal, format!("status {}: {words}", answer.status.as_u16()))
        }
        Err(SendError::NotSent(cause)) => found(false, signal_of(*cause), of_not_sent(*cause)),
        Err(SendError::MaybeSent(cause)) => found(false, Signal::Failed, of_maybe_sent(*cause).to_owned()),
    }
}

fn of_status(status: StatusCode, over_rate: bool) -> (bool, Signal, &'static str) {
    match status.as_u16() {
        200..=299 => (true, Signal::Good, "the provider takes the credential"),
        300..=399 => (
            false,
            Signal::Good,
            "the provider points to another address, which the hub does not follow; correct the connection's base URL",
        ),
        401 => (
            false,
            Signal::Good,
            "the provider refuses the credential; it is wrong, has ended or was taken back. Give a new one, or log in again",
        ),
        429 => (false, Signal::SlowDown(None), TOO_MANY),
        403 if over_rate => (false, Signal::SlowDown(None), TOO_MANY),
        403 => (
            false,
            Signal::Good,
            "the provider knows the credential, but it may not do this; a scope or a permission is missing there",
        ),
        404 | 410 => {
            (false, Signal::Good, "there is nothing at this address; check the connection's base URL, and its account")
        }
        408 => (false, Signal::Failed, "the provider gave up waiting; try again"),
        400..=499 => (
            false,
            Signal::Good,
            "the provider does not take the test call; this says little of the credential. Check the account and the base URL",
        ),
        _ => (
            false,
            Signal::Failed,
            "the provider has trouble of its own, which says nothing of the credential; try again later",
        ),
    }
}

const TOO_MANY: &str = "the provider asks for fewer calls, which says nothing against the credential; try again later";

fn of_not_sent(cause: NotSent) -> String {
    match cause {
        NotSent::Egress(EgressError::Dns) => {
            "the host name of the base URL could not be resolved; check how it is written".to_owned()
        }
        NotSent::Egress(error @ (EgressError::BlockedAddress(_) | EgressError::MalformedUrl(_))) => {
            format!("the hub may not call there: {error}")
        }
        NotSent::Refused => "nobody listens at this address; check the base URL, or the provider is down".to_owned(),
        NotSent::ConnectTimeout => "no connection was made in time; the provider is down or out of reach".to_owned(),
        NotSent::Unreachable => "the provider's host cannot be reached from here".to_owned(),
        NotSent::Tls => {
            "no secure connection was made; the certificate does not fit the host, is not trusted or has expired"
                .to_owned()
        }
        NotSent::ConnectionEnded => "the provider ended the connection; try again".to_owned(),
    }
}

const fn signal_of(cause: NotSent) -> Signal {
    match cause {
        NotSent::Egress(EgressError::BlockedAddress(_) | EgressError::MalformedUrl(_)) => Signal::Nothing,
        _ => Signal::Failed,
    }
}

const fn of_maybe_sent(cause: MaybeSent) -> &'static str {
    match cause {
        MaybeSent::Timeout | MaybeSent::BodyTimeout(_) => "there was no answer in time; the provider is slow or down",
        MaybeSent::Reset | MaybeSent::BodyReset(_) => "the connection broke before the answer was complete; try again",
        MaybeSent::BadAnswer => "what came back is not HTTP; check the base URL and its port",
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    fn answered(status: u16, body: &'static str) -> Finding {
        let status = StatusCode::from_u16(status).unwrap();
        let body = Bytes::from_static(body.as_bytes());
        explain("GET /v1/me", &Ok(Answer { status, headers: HeaderMap::new(), body, truncated: false }))
    }

    #[test]
    fn only_a_success_proves_the_credential() {
        for status in 200..600 {
            assert_eq!(answered(status, "").ok, (200..300).contains(&status), "{status}");
        }
    }

    #[test]
    fn each_answer_is_explained_in_words_of_its_own() {
        for (status, words) in [
            (204, "takes the credential"),
            (302, "base URL"),
            (401, "refuses the credential"),
            (403, "permission is missing"),
            (404, "nothing at this address"),
            (422, "does not take the test call"),
            (429, "fewer calls"),
            (503, "trouble of its own"),
        ] {
            let message = answered(status, "").message;
            assert!(
                message.starts_with(&format!("GET /v1/me: status {status}: ")) && message.contains(words),
                "{message}"
            );
        }
        let rate = answered(403, r#"{"error":{"errors":[{"reason":"rateLimitExceeded"}]}}"#);
        assert!(rate.message.contains("fewer calls") && rate.signal == Signal::SlowDown(None));
    }

    #[test]
    fn nothing_of_the_answer_is_repeated() {
        for status in [200, 400, 401, 403, 500] {
            assert!(!answered(status, "token=SECRET").message.contains("SECRET"));
        }
    }

    #[test]
    fn each_failure_on_the_way_says_where_to_look() {
        let failed = |error| explain("GET /v1/me", &Err(error));
        for (error, words) in [
            (SendError::NotSent(NotSent::Egress(EgressError::Dns)), "could not be resolved"),
            (SendError::NotSent(NotSent::Tls), "certificate"),
            (SendError::NotSent(NotSent::Refused), "nobody listens"),
            (SendError::NotSent(NotSent::ConnectTimeout), "in time"),
            (SendError::MaybeSent(MaybeSent::Timeout), "no answer in time"),
            (SendError::MaybeSent(MaybeSent::BadAnswer), "not HTTP"),
        ] {
            let finding = failed(error);
            assert!(!finding.ok && finding.message.contains(words), "{}", finding.message);
        }
    }
}
