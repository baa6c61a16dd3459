//! Bodies: read once, bounded, and refused with the place named.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::problem::{Answer, Code, Problem};
use crate::{
    event::{
        json_limits::check_json_limits,
        text::{NOT_STORABLE, is_storable},
    },
    ingress::body::BodyError,
};

/// The largest JSON body, batches of events included; the listener has the same bound.
pub(super) const MAX_JSON: usize = 1 << 20;

/// A JSON body of type `T`, at most [`MAX_JSON`]. An empty body counts as `{}`.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let media = media_type(request.headers());
        let bytes = read(request, MAX_JSON).await?;
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        if !media.as_deref().is_some_and(is_json) {
            let found = media.unwrap_or_else(|| "nothing".to_owned());
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                format!("send the body as `Content-Type: application/json`, not {found}"),
            ));
        }
        let said = parse_object(&bytes)?;
        refuse_unstorable(&bytes)?;
        Ok(Self(said))
    }
}

/// The parameters of the query, with unknown ones refused.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(params)| Self(params)).map_err(|error| {
            let detail = error.to_string();
            let detail = detail.strip_prefix("Failed to deserialize query string: ").unwrap_or(&detail);
            Problem::new(Code::InvalidRequest, format!("query: {detail}")).with_error("query", detail)
        })
    }
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(request: Request, limit: usize) -> Answer<Bytes> {
    let (parts, body) = request.into_parts();
    let said = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_large(limit));
    }
    axum::body::to_bytes(body, limit).await.map_err(|error| refused(&error, limit))
}

/// Why a body was not read: our own limit, or one of the listener's.
fn refused(error: &(dyn std::error::Error + 'static), limit: usize) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return too_large(limit);
        }
        if let Some(refused) = error.downcast_ref::<BodyError>() {
            return match refused {
                BodyError::TooLarge { limit } => too_large(*limit),
                BodyError::Overloaded => Problem::new(Code::Overloaded, refused.to_string()).retry_after(5),
                BodyError::Encoded => Problem::new(Code::UnsupportedMediaType, refused.to_string()),
                BodyError::Idle | BodyError::TooSlow | BodyError::Broken => {
                    Problem::new(Code::InvalidRequest, refused.to_string())
                }
            };
        }
        cause = error.source();
    }
    Problem::new(Code::InvalidRequest, "the body broke off")
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the body is larger than {limit} bytes"))
}

/// The media type without its parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Whether a media type is JSON.
pub(super) fn is_json(media: &str) -> bool {
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// Parses a JSON object as [`parse`] does. An array is refused: it would be read as the object's fields by their place.
pub(super) fn parse_object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Answer<T> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let problem = Problem::new(Code::InvalidRequest, "the body must be a JSON object");
        return Err(problem.with_error("body", "it is an array"));
    }
    parse(bytes)
}

/// Refuses settings with a character that not every database stores. That is seen on the bytes; the path is looked for
/// only then.
fn refuse_unstorable(bytes: &[u8]) -> Answer<()> {
    const ESCAPED: &[u8] = b"\\u0000";
    if !bytes.windows(ESCAPED.len()).any(|window| window == ESCAPED) {
        return Ok(());
    }
    let value: Value = parse(bytes)?;
    unstorable(&value, String::new()).map_or(Ok(()), |path| Err(Problem::field(path, NOT_STORABLE)))
}

/// The path of the first text, or name of a member, with such a character.
fn unstorable(value: &Value, path: String) -> Option<String> {
    match value {
        Value::String(text) => (!is_storable(text)).then_some(path),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| unstorable(item, format!("{path}[{index}]")))
        }
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            let joint = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{joint}{}", name.replace('\0', "\\u0000"));
            if is_storable(name) { unstorable(member, path) } else { Some(path) }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Parses JSON after judging its shape. Errors name line and column, or the path of the field that is wrong.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Answer<T> {
    check_json_limits(bytes)?;
    // The plain parser is the fast one; only a body that it refuses is read again to find the path.
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(plain) => Err(explain::<T>(bytes, &plain)),
    }
}

fn explain<'a, T: Deserialize<'a>>(bytes: &'a [u8], plain: &serde_json::Error) -> Problem {
    if plain.is_syntax() || plain.is_eof() {
        return Problem::new(Code::InvalidJson, plain.to_string());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => {
            let path = error.path().to_string();
            let field = if path == "." { "body".to_owned() } else { path };
            Problem::field(field, without_place(&error.inner().to_string()))
        }
        Ok(_) => Problem::new(Code::InvalidJson, plain.to_string()),
    }
}

/// The text of a JSON error without its line and column: the path says it better.
fn without_place(text: &str) -> String {
    text.rsplit_once(" at line ").map_or(text, |(message, _)| message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its type matters")]
        retry_schedule: Vec<u64>,
    }

    fn problem(text: &str) -> serde_json::Value {
        serde_json::to_value(parse::<Sample>(text.as_bytes()).unwrap_err()).unwrap()
    }

    #[test]
    fn malformed_json_gives_line_and_column() {
        let problem = problem("{\n  \"retry_schedule\": [1,,2]\n}");
        assert_eq!(problem["code"], "invalid_json");
        assert!(problem["detail"].as_str().unwrap().contains("line 2 column"), "{problem}");
    }

    #[test]
    fn a_wrong_type_names_the_path() {
        let problem = problem(r#"{"retry_schedule": [1, "x"]}"#);
        assert_eq!(problem["code"], "invalid_request");
        assert_eq!(problem["errors"][0]["field"], "retry_schedule[1]");
        assert!(!problem["detail"].as_str().unwrap().contains("line"), "{problem}");
    }

    #[test]
    fn an_unknown_field_is_named() {
        let problem = problem(r#"{"retry_schedule": [], "retries": 1}"#);
        assert!(problem["detail"].as_str().unwrap().contains("retries"), "{problem}");
    }

    #[test]
    fn a_character_that_not_every_database_stores_is_refused_with_its_path() {
        for (text, path) in [
            (r#"{"name":"a\u0000"}"#, "name"),
            (r#"{"a":[1,{"b":["x","\u0000"]}]}"#, "a[1].b[1]"),
            (r#"{"a":{"b\u0000":1}}"#, r"a.b\u0000"),
        ] {
            let problem = serde_json::to_value(refuse_unstorable(text.as_bytes()).unwrap_err()).unwrap();
            assert_eq!(problem["errors"][0]["field"], path, "{problem}");
        }
        for text in [r#"{"name":"a\\u0000"}"#, r#"{"name":"\u0001"}"#, "{}"] {
            assert!(refuse_unstorable(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn deep_json_is_refused_before_it_is_parsed() {
        let problem = problem(&format!("{{\"retry_schedule\": {}", "[".repeat(100_000)));
        assert!(problem["detail"].as_str().unwrap().contains("64 levels"), "{problem}");
    }
}
