//! Answers that no client should trust: the right status with a body that is cut, of wrong types, empty, endless or slow.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value, json};

use crate::{body::AnswerBody, faults::FaultBody, http::Reply};

/// The size of a huge body.
const HUGE: usize = 10 << 20;

/// A dripping body would take hours: so many bytes, one at each tick.
const DRIPS: usize = 64 << 10;
const DRIP_EVERY: Duration = Duration::from_millis(250);

/// The reply with its status and another body.
pub(crate) fn spoil(mut reply: Reply, body: FaultBody) -> Reply {
    let document = match &reply.body {
        AnswerBody::Whole(Some(bytes)) => bytes.to_vec(),
        _ => Vec::new(),
    };
    reply.body = match body {
        FaultBody::Provider => return reply,
        FaultBody::Empty => AnswerBody::whole(""),
        FaultBody::Html => {
            reply.headers.retain(|(name, _)| name != CONTENT_TYPE);
            reply.headers.push((CONTENT_TYPE, HeaderValue::from_static("text/html")));
            AnswerBody::whole("<html><body><h1>Something went wrong</h1></body></html>")
        }
        FaultBody::LogLineThenProvider => {
            let mut bytes = b"PHP Warning: pool exhausted in worker\n".to_vec();
            bytes.extend(document);
            AnswerBody::whole(bytes)
        }
        FaultBody::Truncated if document.len() < 2 => AnswerBody::whole("{\""),
        FaultBody::Truncated => AnswerBody::whole(document[..document.len() / 2].to_vec()),
        FaultBody::WrongTypes => {
            let parsed = serde_json::from_slice(&document).unwrap_or_default();
            AnswerBody::whole(of_wrong_types(parsed, true).to_string())
        }
        FaultBody::EmptyObject => AnswerBody::whole("{}"),
        FaultBody::Huge => AnswerBody::Huge { left: HUGE },
        FaultBody::Drip => AnswerBody::drip(DRIPS, DRIP_EVERY),
    };
    reply
}

/// The same names with values of other types. The outermost object stays one, so that a reader comes to its members.
fn of_wrong_types(value: Value, outermost: bool) -> Value {
    match value {
        Value::Null => json!([]),
        Value::Bool(_) => json!("perhaps"),
        Value::Number(_) => json!("many"),
        Value::String(text) => json!(text.len()),
        Value::Array(items) => {
            let members = items.into_iter().enumerate();
            let changed: Map<_, _> = members.map(|(n, item)| (n.to_string(), of_wrong_types(item, false))).collect();
            Value::Object(changed)
        }
        Value::Object(members) => {
            let changed = members.into_iter().map(|(name, member)| (name, of_wrong_types(member, false)));
            let changed = Value::Object(changed.collect());
            if outermost { changed } else { json!([changed]) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(reply: Reply) -> String {
        match reply.body {
            AnswerBody::Whole(Some(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            AnswerBody::Whole(None) => String::new(),
            AnswerBody::Huge { left } => format!("{left} bytes"),
            AnswerBody::Drip { left, .. } => format!("{left} drips"),
        }
    }

    #[test]
    fn a_document_is_cut_in_the_middle() {
        let cut = body(spoil(Reply::json(200, &json!({"id": "1"})), FaultBody::Truncated));
        assert_eq!(cut, "{\"id\"");
        assert_eq!(body(spoil(Reply::empty(204), FaultBody::Truncated)), "{\"");
    }

    #[test]
    fn every_value_gets_another_type_and_keeps_its_name() {
        let document = json!({"a": "text", "b": 1, "c": true, "d": null, "e": ["x"], "f": {"g": 2}});
        let spoilt: Value =
            serde_json::from_str(&body(spoil(Reply::json(200, &document), FaultBody::WrongTypes))).unwrap();
        let expected = json!({"a": 4, "b": "many", "c": "perhaps", "d": [], "e": {"0": 1}, "f": [{"g": "many"}]});
        assert_eq!(spoilt, expected);
    }

    #[tokio::test]
    async fn a_body_may_be_endless_and_slow_while_the_status_stays() {
        let reply = spoil(Reply::json(201, &json!({})), FaultBody::Huge);
        assert_eq!(reply.status, 201);
        assert_eq!(body(reply), "10485760 bytes");
        assert_eq!(body(spoil(Reply::json(200, &json!({})), FaultBody::Drip)), "65536 drips");
    }

    #[test]
    fn a_page_of_html_says_so() {
        let reply = spoil(Reply::json(500, &json!({})), FaultBody::Html);
        assert_eq!(reply.headers.len(), 1);
        assert_eq!(reply.headers[0].1, "text/html");
    }
}
