use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::{
    outbound::{client::MaybeSent, egress::Blocked},
    secret::SecretString,
};

const NOW: Timestamp = Timestamp(1_700_000_060_000);
const SENT: Timestamp = Timestamp(1_700_000_000_000);

fn sending(method: Method, idempotency: Idempotency) -> Sending {
    Sending { method, read_only: false, idempotency, is_repeat: false, first_sent_at: SENT, response_cap: 1024 }
}

fn post() -> Sending {
    sending(Method::POST, Idempotency::None)
}

fn keyed_post() -> Sending {
    sending(Method::POST, Idempotency::Header)
}

fn repeat(sending: Sending) -> Sending {
    Sending { is_repeat: true, ..sending }
}

fn answer(status: u16) -> Answer {
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers: HeaderMap::new(), body: Bytes::from_static(b"{}"), truncated: false }
}

fn judged(sending: &Sending, status: u16) -> Judged {
    judge(sending, Ok(answer(status)), NOW)
}

fn failed(sending: &Sending, error: SendError) -> Judged {
    judge(sending, Err(error), NOW)
}

#[track_caller]
fn is_response(judged: &Judged, outcome: JournalOutcome, status: u16) {
    assert_eq!(judged.outcome, outcome, "{status}");
    assert_eq!(judged.seen.as_ref().map(|response| response.status), Ok(status));
}

fn unknown(judged: &Judged) -> bool {
    matches!(judged.seen, Err(CallError::UnknownOutcome { sent_at: SENT, .. }))
        && judged.outcome == JournalOutcome::Unknown
}

const SILENCE: SendError = SendError::MaybeSent(MaybeSent::Timeout);
const BROKEN: SendError = SendError::MaybeSent(MaybeSent::Reset);
const REFUSED: SendError = SendError::NotSent(NotSent::Refused);

#[test]
fn writes_are_all_methods_but_get_and_head_unless_they_only_ask() {
    for (method, read_only, write) in [
        (Method::GET, false, false),
        (Method::HEAD, false, false),
        (Method::POST, true, false),
        (Method::POST, false, true),
        (Method::PATCH, false, true),
        (Method::DELETE, false, true),
        (Method::OPTIONS, false, true),
    ] {
        assert_eq!(is_write(&method, read_only), write, "{method}");
    }
}

#[test]
fn put_and_delete_may_be_repeated_and_others_by_convention() {
    for method in [Method::PUT, Method::DELETE] {
        assert!(may_repeat(&method, Idempotency::None));
    }
    for method in [Method::POST, Method::PATCH] {
        assert!(!may_repeat(&method, Idempotency::None));
        for convention in [Idempotency::Header, Idempotency::Query, Idempotency::OwnId] {
            assert!(may_repeat(&method, convention));
        }
    }
}

#[test]
fn success_and_redirects_confirm_a_write() {
    for status in [200, 201, 204, 302, 304] {
        is_response(&judged(&post(), status), JournalOutcome::Confirmed, status);
        is_response(&judged(&repeat(keyed_post()), status), JournalOutcome::Confirmed, status);
    }
}

#[test]
fn a_conflict_confirms_only_with_an_id_of_ones_own() {
    is_response(&judged(&sending(Method::POST, Idempotency::OwnId), 409), JournalOutcome::Confirmed, 409);
    is_response(&judged(&keyed_post(), 409), JournalOutcome::Failed, 409);
    is_response(&judged(&post(), 409), JournalOutcome::Failed, 409);
}

#[test]
fn gone_confirms_a_delete_only() {
    is_response(&judged(&sending(Method::DELETE, Idempotency::None), 410), JournalOutcome::Confirmed, 410);
    is_response(&judged(&post(), 410), JournalOutcome::Failed, 410);
}

#[test]
fn refusals_fail_a_write_and_are_shown() {
    for status in [400, 403, 404, 408, 412, 422, 425] {
        is_response(&judged(&post(), status), JournalOutcome::Failed, status);
    }
    let unauthorised = judged(&post(), 401);
    assert!(
        unauthorised.outcome == JournalOutcome::Failed && matches!(unauthorised.seen, Err(CallError::NeedsLogin(_)))
    );
}

#[test]
fn too_many_requests_carries_the_wait_and_slows_the_connection() {
    let plain = judged(&post(), 429);
    assert_eq!((plain.outcome, plain.signal), (JournalOutcome::Failed, Signal::SlowDown(None)));
    assert_eq!(plain.seen, Err(CallError::RateLimited(DEFAULT_SLOW_DOWN)));
    let mut asked = answer(429);
    asked.headers.insert(RETRY_AFTER, HeaderValue::from_static("17"));
    let wait = Duration::from_secs(17);
    let judged = judge(&post(), Ok(asked), NOW);
    assert_eq!((judged.signal, judged.seen), (Signal::SlowDown(Some(wait)), Err(CallError::RateLimited(wait))));
}

#[test]
fn a_403_with_a_rate_reason_counts_as_too_many_requests() {
    let mut refusal = answer(403);
    refusal.body = Bytes::from_static(br#"{"error":{"code":403,"errors":[{"reason":"userRateLimitExceeded"}]}}"#);
    let judged = judge(&post(), Ok(refusal), NOW);
    assert_eq!((judged.outcome, judged.signal), (JournalOutcome::Failed, Signal::SlowDown(None)));
    assert_eq!(judged.seen, Err(CallError::RateLimited(DEFAULT_SLOW_DOWN)));
    for body in [r#"{"error":{"errors":[{"reason":"insufficientPermissions"}]}}"#, "{}", "<html>", ""] {
        let mut other = answer(403);
        other.body = Bytes::from_static(body.as_bytes());
        let judged = super::judge(&post(), Ok(other), NOW);
        is_response(&judged, JournalOutcome::Failed, 403);
        assert_eq!(judged.signal, Signal::Good, "{body}");
    }
}

#[test]
fn a_time_in_the_sentence_of_a_refusal_is_waited_for() {
    let until = NOW.after(Duration::from_secs(90));
    let body = |text: &str| Bytes::from(serde_json::json!({"error": {"code": 429, "message": text}}).to_string());
    let wait = |body: Bytes| {
        let mut refusal = answer(429);
        refusal.body = body;
        judge(&post(), Ok(refusal), NOW).signal
    };
    let said = body(&format!("User-rate limit exceeded.  Retry after {until}"));
    assert_eq!(wait(said), Signal::SlowDown(Some(Duration::from_secs(90))));
    for text in ["Retry after a while", "Retry after ", "Retry after 2001-01-01T00:00:00Z", "later"] {
        assert_eq!(wait(body(text)), Signal::SlowDown(None), "{text}");
    }
}

#[test]
fn a_server_error_leaves_a_write_unknown() {
    for status in [500, 502, 503, 504] {
        assert!(unknown(&judged(&post(), status)), "{status}");
        is_response(&judged(&keyed_post(), status), JournalOutcome::Unknown, status);
        is_response(&judged(&sending(Method::PUT, Idempotency::None), status), JournalOutcome::Unknown, status);
        assert_eq!(judged(&post(), status).signal, Signal::Failed);
    }
}

#[test]
fn silence_and_broken_lines_leave_a_write_unknown() {
    for error in [SILENCE, BROKEN, SendError::MaybeSent(MaybeSent::BodyTimeout(StatusCode::OK))] {
        assert!(unknown(&failed(&post(), error)));
        let repeatable = failed(&keyed_post(), error);
        assert_eq!((repeatable.outcome, repeatable.seen), (JournalOutcome::Unknown, Err(CallError::Timeout)));
    }
}

#[test]
fn what_was_not_sent_failed_and_is_unreachable() {
    for error in [REFUSED, SendError::NotSent(NotSent::Tls), SendError::NotSent(NotSent::Egress(EgressError::Dns))] {
        let judged = failed(&post(), error);
        assert_eq!((judged.outcome, judged.signal), (JournalOutcome::Failed, Signal::Failed));
        assert_eq!(judged.seen, Err(CallError::Unreachable(None)));
    }
    let blocked = SendError::NotSent(NotSent::Egress(EgressError::BlockedAddress(Blocked::NotPublic)));
    let judged = failed(&post(), blocked);
    assert!(judged.signal == Signal::Nothing && matches!(judged.seen, Err(CallError::Denied(_))));
}

#[test]
fn a_repeat_that_is_turned_away_stays_unknown() {
    let repeated = repeat(keyed_post());
    for status in [403, 408, 425] {
        is_response(&judged(&repeated, status), JournalOutcome::Unknown, status);
    }
    assert!(matches!(judged(&repeated, 401).seen, Err(CallError::NeedsLogin(_))));
    assert!(matches!(judged(&repeated, 429).seen, Err(CallError::RateLimited(_))));
    for outcome in [judged(&repeated, 401).outcome, judged(&repeated, 429).outcome, failed(&repeated, REFUSED).outcome]
    {
        assert_eq!(outcome, JournalOutcome::Unknown);
    }
    is_response(&judged(&repeated, 422), JournalOutcome::Failed, 422);
}

#[test]
fn an_answer_over_the_limit_keeps_its_outcome() {
    let too_large = |sending: &Sending, status| judge(sending, Ok(Answer { truncated: true, ..answer(status) }), NOW);
    let confirmed = too_large(&post(), 200);
    assert_eq!(confirmed.outcome, JournalOutcome::Confirmed);
    assert_eq!(confirmed.seen, Err(CallError::ResponseTooLarge { status: 200, limit: 1024 }));
    assert_eq!(too_large(&post(), 400).outcome, JournalOutcome::Failed);
    assert!(unknown(&too_large(&post(), 500)));
    assert_eq!(too_large(&sending(Method::GET, Idempotency::None), 200).outcome, JournalOutcome::Read);
}

#[test]
fn reads_are_reads_whatever_comes_back() {
    let get = sending(Method::GET, Idempotency::None);
    for status in [200, 302, 404, 409, 500] {
        is_response(&judged(&get, status), JournalOutcome::Read, status);
    }
    assert!(matches!(judged(&get, 401).seen, Err(CallError::NeedsLogin(_))));
    assert_eq!(failed(&get, SILENCE).seen, Err(CallError::Timeout));
    assert_eq!(failed(&get, REFUSED).seen, Err(CallError::Unreachable(None)));
    let asking = Sending { read_only: true, ..post() };
    assert_eq!(
        (failed(&asking, BROKEN).outcome, failed(&asking, BROKEN).seen),
        (JournalOutcome::Read, Err(CallError::Timeout))
    );
}

#[test]
fn a_response_loses_its_cookies_and_the_secrets_that_were_sent() {
    let mut echo = answer(200);
    echo.headers.insert(SET_COOKIE, HeaderValue::from_static("session=1"));
    echo.headers.insert("x-echo", HeaderValue::from_static("Bearer t0ken"));
    echo.body = Bytes::from_static(b"you sent t0ken");
    let mut used = UsedSecrets::default();
    used.also([SecretString::from("t0ken")]);
    let response = judge(&post(), Ok(echo), NOW).seen.unwrap().masked(&used);
    assert_eq!(response.headers, [(HeaderName::from_static("x-echo"), b"Bearer ***".to_vec())]);
    assert_eq!(response.body, "you sent ***");
}

fn any_sending() -> impl Strategy<Value = Sending> {
    let method = prop_oneof![
        Just(Method::GET),
        Just(Method::POST),
        Just(Method::PUT),
        Just(Method::PATCH),
        Just(Method::DELETE)
    ];
    let convention = prop_oneof![
        Just(Idempotency::None),
        Just(Idempotency::Header),
        Just(Idempotency::Query),
        Just(Idempotency::OwnId),
    ];
    (method, convention, any::<bool>(), any::<bool>()).prop_map(|(method, idempotency, read_only, repeated)| Sending {
        read_only,
        // Only what may be repeated ever is.
        is_repeat: repeated && may_repeat(&method, idempotency),
        ..sending(method, idempotency)
    })
}

proptest! {
    #[test]
    fn no_answer_is_ever_taken_for_a_definite_one_wrongly(sending in any_sending(), status in 200_u16..600) {
        let judged = judged(&sending, status);
        prop_assert_eq!(judged.outcome == JournalOutcome::Read, !sending.is_write());
        if sending.is_write() && status >= 500 {
            prop_assert_eq!(judged.outcome, JournalOutcome::Unknown);
        }
        if sending.is_write() && status < 400 {
            prop_assert_eq!(judged.outcome, JournalOutcome::Confirmed);
        }
        if matches!(judged.seen, Err(CallError::UnknownOutcome { .. })) {
            prop_assert!(sending.is_write() && !sending.may_repeat() && judged.outcome == JournalOutcome::Unknown);
        }
        prop_assert_ne!(judged.seen.as_ref().map(|response| response.status).unwrap_or_default(), 401);
        prop_assert_ne!(judged.seen.as_ref().map(|response| response.status).unwrap_or_default(), 429);
    }
}
