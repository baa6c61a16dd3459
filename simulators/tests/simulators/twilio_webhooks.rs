//! What Twilio sends to the hub; a subscriber without keys plays the hub.

use std::time::Duration;

use switchyard_simulators::{
    faults::Fault,
    subscriber::{Received, Script, Step},
    twilio::{
        Forgery, InboundError, InboundSms, SharedKey, Signing, Twiml, TwimlError,
        signature::{Algorithm, Port, base_string, body_sha256, sign, whatwg},
    },
};

use crate::support::{
    ACCOUNT, LIMIT, NUMBER, PERSON, Running, TOKEN, deaf_address, send, subscriber, twilio, twilio_with,
};

type Hub = Running<switchyard_simulators::subscriber::Handle>;
type Twilio = Running<switchyard_simulators::twilio::Handle>;

const REPLY: &str =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Message>Vi ringer &amp; hj\u{e6}lper</Message></Response>";

async fn connected() -> (Twilio, Hub) {
    let hub = subscriber().await;
    let twilio = twilio().await;
    twilio.set_sms_url(hub.url("/in/sms?shop=1"), None);
    (twilio, hub)
}

fn form(request: &Received) -> Vec<(String, String)> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}

fn field(request: &Received, name: &str) -> String {
    form(request).into_iter().find(|(key, _)| key == name).map(|(_, value)| value).unwrap_or_default()
}

/// Whether the request carries the classic signature over this URL.
fn is_signed(request: &Received, url: &str) -> bool {
    let expected = sign(Algorithm::HmacSha1, TOKEN, &base_string(url, &form(request)));
    request.header("x-twilio-signature") == Some(expected.as_str())
}

fn sms(body: &str) -> InboundSms {
    InboundSms { to: NUMBER.to_owned(), from: PERSON.to_owned(), body: body.to_owned(), ..InboundSms::default() }
}

async fn only(hub: &Hub) -> Received {
    hub.wait_for("/in/sms", 1, LIMIT).await.unwrap().remove(0)
}

#[tokio::test]
async fn an_inbound_sms_is_posted_signed_and_the_answer_is_read_as_twiml() {
    let (twilio, hub) = connected().await;
    let answer = Step::Status { status: 200, retry_after: None, body: REPLY.to_owned() };
    hub.set_script("/in/sms", Script::always(answer));
    let text = "R\u{f8}rskade, vand overalt, ring nu!";
    let outcome = twilio.send_sms(NUMBER, PERSON, text).await.unwrap();
    let twiml = outcome.twiml.unwrap();
    assert_eq!((outcome.status, twiml.messages().collect::<Vec<_>>()), (Some(200), vec!["Vi ringer & hj\u{e6}lper"]));
    let request = only(&hub).await;
    assert!(is_signed(&request, &hub.url("/in/sms?shop=1")));
    assert_eq!((field(&request, "Body").as_str(), field(&request, "AccountSid").as_str()), (text, ACCOUNT));
    assert_eq!(field(&request, "MessageSid"), outcome.message_sid);
    assert!(form(&request).iter().any(|(_, value)| value.is_empty()), "blank values are part of what is signed");
    let reply = twilio.messages().into_iter().find(|message| message.direction == "outbound-reply").unwrap();
    assert_eq!((reply.to.as_str(), reply.body.as_str()), (PERSON, "Vi ringer & hj\u{e6}lper"));
}

#[tokio::test]
async fn a_public_url_is_signed_while_the_request_goes_to_the_hubs_own_address() {
    let hub = subscriber().await;
    let address = hub.base_url().strip_prefix("http://").unwrap().parse().unwrap();
    let twilio = twilio_with(|options| options.connect_to = Some(address)).await;
    twilio.set_sms_url("https://hub.example.test/in/sms", None);
    assert_eq!(twilio.send_sms(NUMBER, PERSON, "Hej").await.unwrap().status, Some(200));
    let request = only(&hub).await;
    assert_eq!(request.header("host"), Some("hub.example.test"));
    assert!(is_signed(&request, "https://hub.example.test/in/sms"));
}

#[tokio::test]
async fn after_stop_a_message_to_that_person_is_refused_until_start() {
    let (twilio, hub) = connected().await;
    let form = [("To", PERSON), ("From", NUMBER), ("Body", "Hej")];
    twilio.send_sms(NUMBER, PERSON, " stop ").await.unwrap();
    assert_eq!(field(&only(&hub).await, "Body"), " stop ", "the keyword still reaches the hub, untrimmed");
    assert_eq!(send(&twilio, &form).await.expect(400)["code"], 21610);
    twilio.send_sms(NUMBER, PERSON, "please start again").await.unwrap();
    assert_eq!(send(&twilio, &form).await.status, 400, "only a single word is a keyword");
    twilio.send_sms(NUMBER, PERSON, "START").await.unwrap();
    send(&twilio, &form).await.expect(201);
}

#[tokio::test]
async fn every_signing_variant_covers_what_it_says() {
    let hub = subscriber().await;
    let key = SharedKey {
        id: "webhooks_sharedkey_00000000000000000000000001".to_owned(),
        secret: "test-shared-key".to_owned(),
        algorithm: Algorithm::HmacSha256,
    };
    let twilio = twilio_with(|options| options.shared_key = Some(key)).await;
    let url = hub.url("/in/sms?q=It's");
    twilio.set_sms_url(url.clone(), None);
    let extra = vec![("Brand\u{f8}", "ny".to_owned())].into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let variants = [
        Signing { port: Port::Removed, ..Signing::default() },
        Signing { whatwg: true, extra, ..Signing::default() },
        Signing { shared_key: true, ..Signing::default() },
        Signing { json: true, ..Signing::default() },
    ];
    for signing in variants {
        twilio.send(&InboundSms { signing, ..sms("Hej") }).await.unwrap();
    }
    let requests = hub.wait_for("/in/sms", 4, LIMIT).await.unwrap();
    let port = format!(":{}", hub.base_url().rsplit_once(':').unwrap().1);
    assert!(is_signed(&requests[0], &url.replace(&port, "")));
    assert!(is_signed(&requests[1], &whatwg(&url)) && !is_signed(&requests[1], &url));
    assert_eq!(field(&requests[1], "Brand\u{f8}"), "ny");
    let shared = sign(Algorithm::HmacSha256, "test-shared-key", &base_string(&url, &form(&requests[2])));
    assert_eq!(requests[2].header("x-twilio-signature"), Some(shared.as_str()));
    let settings = "key=webhooks_sharedkey_00000000000000000000000001,algorithm=HMAC_SHA256";
    assert_eq!(requests[2].header("x-twilio-webhooks-signature-settings"), Some(settings));
    let signed_url = format!("{url}&bodySHA256={}", body_sha256(&requests[3].body));
    let json = sign(Algorithm::HmacSha1, TOKEN, &signed_url);
    assert_eq!(requests[3].header("x-twilio-signature"), Some(json.as_str()));
    assert_eq!(requests[3].json()["Body"], "Hej");
}

#[tokio::test]
async fn forged_requests_do_not_carry_the_right_signature() {
    let (twilio, hub) = connected().await;
    for forgery in [Forgery::WrongKey, Forgery::NoSignature, Forgery::AlteredBody] {
        twilio.send(&InboundSms { forgery, ..sms("Hej") }).await.unwrap();
    }
    twilio.faults().arm("webhook.sms", Fault::WrongSignature, 1);
    twilio.send(&sms("Hej")).await.unwrap();
    let requests = hub.wait_for("/in/sms", 4, LIMIT).await.unwrap();
    assert!(requests.iter().all(|request| !is_signed(request, &hub.url("/in/sms?shop=1"))));
    assert_eq!(requests[1].header("x-twilio-signature"), None);
    assert_eq!(field(&requests[2], "Body"), "Hej!");
}

#[tokio::test]
async fn a_replay_sends_the_same_bytes_and_only_the_unsigned_token_can_differ() {
    let (twilio, hub) = connected().await;
    let first = twilio.send_sms(NUMBER, PERSON, "Hej").await.unwrap();
    twilio.replay(Some(&first.message_sid), false).await.unwrap();
    twilio.replay(None, true).await.unwrap();
    let requests = hub.wait_for("/in/sms", 3, LIMIT).await.unwrap();
    let token = |at: usize| requests[at].header("i-twilio-idempotency-token").unwrap();
    assert!(requests.iter().all(|request| request.body == requests[0].body));
    assert!(requests.iter().all(|request| is_signed(request, &hub.url("/in/sms?shop=1"))));
    assert!(token(0) == token(1) && token(0) != token(2));
    assert!(matches!(twilio.replay(Some("SM0"), false).await, Err(InboundError::NothingToReplay)));
}

#[tokio::test]
async fn a_duplicate_delivery_keeps_its_idempotency_token() {
    let (twilio, hub) = connected().await;
    twilio.faults().arm("webhook.sms", Fault::Duplicate, 1);
    assert_eq!(twilio.send_sms(NUMBER, PERSON, "Hej").await.unwrap().attempts.len(), 2);
    let requests = hub.wait_for("/in/sms", 2, LIMIT).await.unwrap();
    let token = |at: usize| requests[at].header("i-twilio-idempotency-token");
    assert_eq!((requests[0].body.clone(), token(0)), (requests[1].body.clone(), token(1)));
}

#[tokio::test]
async fn a_delayed_delivery_waits_by_the_providers_time() {
    let (twilio, hub) = connected().await;
    // A minute of the provider's time is 60 ms here; real time would run into the limit of the wait.
    twilio.faults().arm("webhook.sms", Fault::Delay { ms: 60_000 }, 1);
    assert_eq!(twilio.send_sms(NUMBER, PERSON, "Hej").await.unwrap().status, Some(200));
    only(&hub).await;
    assert!(twilio.faults().armed().is_empty());
}

#[tokio::test]
async fn a_failed_connect_is_retried_once_and_then_the_fallback_url_is_told_why() {
    let hub = subscriber().await;
    let twilio = twilio().await;
    let (_socket, address) = deaf_address();
    let dead = format!("http://{address}/in/sms");
    twilio.set_sms_url(dead.clone(), Some(hub.url("/in/sms")));
    let outcome = twilio.send_sms(NUMBER, PERSON, "Hej").await.unwrap();
    let fallbacks: Vec<bool> = outcome.attempts.iter().map(|attempt| attempt.fallback).collect();
    assert_eq!((outcome.status, fallbacks), (Some(200), vec![false, false, true]));
    let request = only(&hub).await;
    assert!(is_signed(&request, &hub.url("/in/sms")));
    assert_eq!((field(&request, "ErrorCode").as_str(), field(&request, "ErrorUrl")), ("11205", dead));
}

#[tokio::test]
async fn an_error_status_is_not_retried_unless_the_fragment_says_so() {
    let (twilio, hub) = connected().await;
    hub.set_script("/in/sms", Script::statuses(&[503]));
    assert_eq!(twilio.send_sms(NUMBER, PERSON, "Hej").await.unwrap().attempts.len(), 1);
    hub.set_script("/in/sms", Script::statuses(&[503, 503, 200]));
    twilio.set_sms_url(hub.url("/in/sms#rc=2&rp=5xx"), None);
    let outcome = twilio.send_sms(NUMBER, PERSON, "Hej").await.unwrap();
    assert_eq!((outcome.status, outcome.attempts.len()), (Some(200), 3));
    let requests = hub.requests("/in/sms");
    assert!(is_signed(&requests[3], &hub.url("/in/sms")), "the fragment is not part of what is signed");
}

async fn callbacks(twilio: &Twilio, hub: &Hub, count: usize) -> Vec<Received> {
    let url = hub.url("/in/status?ref=17");
    let form = [("To", PERSON), ("From", NUMBER), ("Body", "Hej"), ("StatusCallback", url.as_str())];
    let sent = send(twilio, &form).await.expect(201);
    assert!(twilio.wait_for_webhooks(sent["sid"].as_str().unwrap(), count, LIMIT).await);
    let requests = hub.wait_for("/in/status", count, LIMIT).await.unwrap();
    assert!(requests.iter().all(|request| is_signed(request, &url)));
    requests
}

fn statuses(requests: &[Received]) -> Vec<String> {
    requests.iter().map(|request| field(request, "MessageStatus")).collect()
}

#[tokio::test]
async fn status_callbacks_tell_of_each_step_but_the_first() {
    let (twilio, hub) = connected().await;
    let requests = callbacks(&twilio, &hub, 3).await;
    assert_eq!(statuses(&requests), ["sending", "sent", "delivered"]);
    assert_eq!(field(&requests[2], "RawDlrDoneDate"), "2611201331");
}

#[tokio::test]
async fn status_callbacks_come_in_another_order_on_request() {
    let (twilio, hub) = connected().await;
    twilio.faults().arm("webhook.status", Fault::OutOfOrder, 1);
    let mut seen = statuses(&callbacks(&twilio, &hub, 3).await);
    assert_ne!(seen, ["sending", "sent", "delivered"]);
    seen.sort();
    assert_eq!(seen, ["delivered", "sending", "sent"]);
}

#[tokio::test]
async fn an_unreachable_phone_ends_undelivered_with_its_code() {
    let (twilio, hub) = connected().await;
    twilio.set_unreachable(PERSON, Some(30003));
    let requests = callbacks(&twilio, &hub, 3).await;
    assert_eq!(
        (field(&requests[2], "MessageStatus").as_str(), field(&requests[2], "ErrorCode").as_str()),
        ("undelivered", "30003")
    );
}

#[tokio::test]
async fn an_sms_that_cannot_be_passed_on_says_why() {
    let twilio = twilio().await;
    assert!(matches!(twilio.send_sms(NUMBER, PERSON, "Hej").await, Err(InboundError::NoUrl)));
    assert!(matches!(twilio.send_sms(PERSON, PERSON, "Hej").await, Err(InboundError::UnknownNumber(_))));
    assert!(matches!(twilio.send_sms(NUMBER, "112x", "Hej").await, Err(InboundError::BadSender(_))));
}

#[tokio::test]
async fn a_hub_that_never_answers_is_given_up_within_the_time_of_the_fragment() {
    let (twilio, hub) = connected().await;
    hub.set_script("/in/sms", Script::always(Step::Hang));
    twilio.set_sms_url(hub.url("/in/sms#rt=100"), None);
    let outcome = tokio::time::timeout(Duration::from_secs(5), twilio.send_sms(NUMBER, PERSON, "Hej")).await;
    let outcome = outcome.unwrap().unwrap();
    assert_eq!((outcome.status, outcome.attempts[0].error.as_deref()), (None, Some("no answer in time")));
}

#[test]
fn twiml_is_read_and_what_is_no_twiml_is_named() {
    let text =
        |document: &str| -> Vec<String> { Twiml::parse(document).unwrap().messages().map(str::to_owned).collect() };
    assert!(text("<Response/>").is_empty());
    assert!(text("<Response><!-- nothing > here --></Response>").is_empty());
    let nested =
        "<Response>\n <Message to=\"+45\" action='a>b'><Body>Hej &#x1F600;</Body></Message><Message/></Response>";
    assert_eq!(text(nested), ["Hej \u{1f600}", ""]);
    assert_eq!(Twiml::parse(nested).unwrap().verbs[0].attributes[1], ("action".to_owned(), "a>b".to_owned()));
    assert_eq!(Twiml::parse("{\"ok\":true}"), Err(TwimlError::NoResponse));
    assert_eq!(Twiml::parse("<Response/><Response/>"), Err(TwimlError::Trailing));
    for broken in ["<Response>", "<Response><Message></Response>", "<Response>a & b</Response x", "<Response"] {
        assert!(matches!(Twiml::parse(broken), Err(TwimlError::Malformed(_))), "{broken}");
    }
}
