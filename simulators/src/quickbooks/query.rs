//! The query language, as far as hubs need it, and change data capture.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::{
    company::{Company, pacific},
    errors::Fault,
    record::{Kind, Record},
};

const LARGEST_PAGE: usize = 1_000;
const USUAL_PAGE: usize = 100;

/// Change data capture looks back this far.
const LOOK_BACK_MS: i64 = 30 * 86_400_000;

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

/// One comparison of a `where`.
struct Condition {
    path: String,
    operator: String,
    values: Vec<String>,
}

struct Query {
    count: bool,
    kind: Kind,
    conditions: Vec<Condition>,
    order: Vec<(String, bool)>,
    start: usize,
    most: usize,
}

/// Answers a query.
pub(crate) fn answer(company: &Company, text: &str) -> Result<Value, Fault> {
    let query = parse(text)?;
    let books = company.books();
    let mut found: Vec<Value> = Vec::new();
    let asks_active = query.conditions.iter().any(|condition| condition.path == "Active");
    for record in books.table(query.kind).iter().filter(|record| !record.deleted) {
        let hidden = query.kind.is_list() && record.body.get("Active") == Some(&Value::Bool(false));
        let json = record.to_json();
        if (!hidden || asks_active) && query.conditions.iter().all(|condition| holds(condition, &json)) {
            found.push(json);
        }
    }
    let total = found.len();
    for (path, descending) in query.order.iter().rev() {
        found.sort_by(|a, b| {
            let order = compare(at(a, path), at(b, path));
            if *descending { order.reverse() } else { order }
        });
    }
    let mut response = Map::new();
    if query.count {
        response.insert("totalCount".to_owned(), json!(total));
    } else {
        let page: Vec<Value> = found.into_iter().skip(query.start - 1).take(query.most).collect();
        if !page.is_empty() {
            response.insert("startPosition".to_owned(), json!(query.start));
            response.insert("maxResults".to_owned(), json!(page.len()));
            response.insert(query.kind.name().to_owned(), Value::Array(page));
        }
    }
    Ok(json!({"QueryResponse": response, "time": pacific(company.clock.now_ms())}))
}

/// `GET /cdc`.
pub(crate) fn changes(company: &Company, entities: &str, since: &str) -> Result<Value, Fault> {
    let now = company.clock.now_ms();
    let since = instant(since).ok_or_else(|| Fault::query("changedSince is not a date and time."))?;
    if since < now - LOOK_BACK_MS {
        return Err(Fault::query("changedSince can be no longer than 30 days in the past."));
    }
    let books = company.books();
    let limit = books.behaviour.most_changes.min(LARGEST_PAGE);
    let mut responses = Vec::new();
    for name in entities.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let kind = Kind::named(name).filter(|kind| kind.has_changes());
        let kind = kind.ok_or_else(|| Fault::query(&format!("{name} is not supported by change data capture.")))?;
        let mut changed: Vec<&Record> =
            books.table(kind).iter().filter(|record| record.updated_ms >= since - 999).collect();
        changed.sort_by_key(|record| std::cmp::Reverse(record.updated_ms));
        let shown = changed.into_iter().take(limit);
        let shown: Vec<Value> =
            shown.map(|record| if record.deleted { record.tombstone() } else { record.to_json() }).collect();
        let mut response = Map::new();
        if !shown.is_empty() {
            response.insert("startPosition".to_owned(), json!(1));
            response.insert("maxResults".to_owned(), json!(shown.len()));
            response.insert(name.to_owned(), Value::Array(shown));
        }
        responses.push(Value::Object(response));
    }
    if responses.is_empty() {
        return Err(Fault::query("entities names nothing."));
    }
    Ok(json!({"CDCResponse": [{"QueryResponse": responses}], "time": pacific(now)}))
}

fn parse(text: &str) -> Result<Query, Fault> {
    let tokens = tokens(text)?;
    let mut rest = tokens.as_slice();
    expect(&mut rest, "select")?;
    let count = match rest {
        [Token::Sign(star), tail @ ..] if star == "*" => {
            rest = tail;
            false
        }
        [Token::Word(count), Token::Sign(open), Token::Sign(star), Token::Sign(close), tail @ ..]
            if count.eq_ignore_ascii_case("count") && open == "(" && star == "*" && close == ")" =>
        {
            rest = tail;
            true
        }
        _ => return Err(Fault::query("Encountered something other than * or count(*) after select.")),
    };
    expect(&mut rest, "from")?;
    let name = word(&mut rest)?;
    let kind = Kind::named(&name).ok_or_else(|| Fault::query(&format!("Invalid context declaration: {name}")))?;
    let mut query = Query { count, kind, conditions: Vec::new(), order: Vec::new(), start: 1, most: USUAL_PAGE };
    while let Some(clause) = rest.first() {
        let Token::Word(clause) = clause else { return Err(Fault::query("Encountered a sign where a clause begins.")) };
        let clause = clause.to_ascii_lowercase();
        rest = &rest[1..];
        match clause.as_str() {
            "where" => query.conditions = conditions(&mut rest)?,
            "order" => {
                expect(&mut rest, "by")?;
                query.order = order(&mut rest)?;
            }
            "orderby" => query.order = order(&mut rest)?,
            "startposition" => query.start = number(&mut rest)?,
            "maxresults" => query.most = number(&mut rest)?,
            other => return Err(Fault::query(&format!("Encountered \"{other}\"."))),
        }
    }
    if query.most > LARGEST_PAGE {
        return Err(Fault::query("maxresults can be 1,000 at most."));
    }
    Ok(query)
}

fn conditions(rest: &mut &[Token]) -> Result<Vec<Condition>, Fault> {
    let mut found = Vec::new();
    loop {
        let path = word(rest)?;
        let operator = match rest.first() {
            Some(Token::Sign(sign)) if matches!(sign.as_str(), "=" | "<" | ">" | "<=" | ">=") => sign.clone(),
            Some(Token::Word(name)) if matches!(name.to_ascii_lowercase().as_str(), "like" | "in") => {
                name.to_ascii_lowercase()
            }
            _ => return Err(Fault::query(&format!("{path} is not followed by an operator."))),
        };
        *rest = &rest[1..];
        let mut values = Vec::new();
        if operator == "in" {
            sign(rest, "(")?;
            loop {
                values.push(value(rest)?);
                match rest.first() {
                    Some(Token::Sign(comma)) if comma == "," => *rest = &rest[1..],
                    _ => break,
                }
            }
            sign(rest, ")")?;
        } else {
            values.push(value(rest)?);
        }
        found.push(Condition { path, operator, values });
        match rest.first() {
            Some(Token::Word(and)) if and.eq_ignore_ascii_case("and") => *rest = &rest[1..],
            Some(Token::Word(or)) if or.eq_ignore_ascii_case("or") => return Err(Fault::query("OR is not supported.")),
            _ => return Ok(found),
        }
    }
}

fn order(rest: &mut &[Token]) -> Result<Vec<(String, bool)>, Fault> {
    let mut found = Vec::new();
    loop {
        let path = word(rest)?;
        let direction = match rest.first() {
            Some(Token::Word(way)) if way.eq_ignore_ascii_case("desc") => Some(true),
            Some(Token::Word(way)) if way.eq_ignore_ascii_case("asc") => Some(false),
            _ => None,
        };
        if direction.is_some() {
            *rest = &rest[1..];
        }
        found.push((path, direction.unwrap_or(false)));
        match rest.first() {
            Some(Token::Sign(comma)) if comma == "," => *rest = &rest[1..],
            _ => return Ok(found),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            ' ' | '\t' | '\n' | '\r' => {}
            '\'' => {
                let mut inside = String::new();
                loop {
                    match chars.next() {
                        Some('\\') => inside.extend(chars.next()),
                        Some('\'') => break,
                        Some(other) => inside.push(other),
                        None => return Err(Fault::query("A text does not end.")),
                    }
                }
                found.push(Token::Text(inside));
            }
            '<' | '>' => {
                let mut sign = char.to_string();
                sign.extend(chars.next_if_eq(&'='));
                found.push(Token::Sign(sign));
            }
            '=' | '(' | ')' | ',' | '*' => found.push(Token::Sign(char.to_string())),
            other if other.is_alphanumeric() || matches!(other, '.' | '_' | '-') => {
                let mut word = other.to_string();
                while let Some(next) = chars.next_if(|next| next.is_alphanumeric() || matches!(next, '.' | '_' | '-')) {
                    word.push(next);
                }
                found.push(Token::Word(word));
            }
            other => return Err(Fault::query(&format!("Encountered {other:?}."))),
        }
    }
    Ok(found)
}

fn expect(rest: &mut &[Token], keyword: &str) -> Result<(), Fault> {
    match rest.first() {
        Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword) => {
            *rest = &rest[1..];
            Ok(())
        }
        _ => Err(Fault::query(&format!("Expected {keyword}."))),
    }
}

fn word(rest: &mut &[Token]) -> Result<String, Fault> {
    match rest.first() {
        Some(Token::Word(word)) => {
            *rest = &rest[1..];
            Ok(word.clone())
        }
        _ => Err(Fault::query("Expected a name.")),
    }
}

fn sign(rest: &mut &[Token], wanted: &str) -> Result<(), Fault> {
    match rest.first() {
        Some(Token::Sign(sign)) if sign == wanted => {
            *rest = &rest[1..];
            Ok(())
        }
        _ => Err(Fault::query(&format!("Expected {wanted}."))),
    }
}

/// Texts stand in quotes; only truth values may stand without.
fn value(rest: &mut &[Token]) -> Result<String, Fault> {
    let found = match rest.first() {
        Some(Token::Text(text)) => text.clone(),
        Some(Token::Word(word)) if matches!(word.to_ascii_lowercase().as_str(), "true" | "false") => {
            word.to_ascii_lowercase()
        }
        _ => return Err(Fault::query("Expected a value in quotes.")),
    };
    *rest = &rest[1..];
    Ok(found)
}

fn number(rest: &mut &[Token]) -> Result<usize, Fault> {
    let text = word(rest)?;
    text.parse().ok().filter(|number| *number >= 1).ok_or_else(|| Fault::query("Expected a positive number."))
}

/// The value at a path; a reference stands for its `value`.
fn at<'a>(record: &'a Value, path: &str) -> &'a Value {
    let found = path.split('.').fold(record, |value, part| &value[part]);
    if found.is_object() { &found["value"] } else { found }
}

fn holds(condition: &Condition, record: &Value) -> bool {
    let found = at(record, &condition.path);
    let equals = |wanted: &String| order_of(found, wanted) == Some(Ordering::Equal);
    let Some(wanted) = condition.values.first() else { return false };
    match condition.operator.as_str() {
        "like" => like(found.as_str().unwrap_or_default(), wanted),
        "=" | "in" => condition.values.iter().any(equals),
        "<" => order_of(found, wanted) == Some(Ordering::Less),
        ">" => order_of(found, wanted) == Some(Ordering::Greater),
        "<=" => matches!(order_of(found, wanted), Some(Ordering::Less | Ordering::Equal)),
        _ => matches!(order_of(found, wanted), Some(Ordering::Greater | Ordering::Equal)),
    }
}

/// `%` stands for anything, at either end.
fn like(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.to_lowercase(), pattern.to_lowercase());
    match (pattern.strip_prefix('%'), pattern.strip_suffix('%')) {
        (Some(_), Some(_)) => text.contains(pattern.trim_matches('%')),
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => text == pattern,
    }
}

/// Numbers by size, moments by time, all else by text without regard to case; none if there is nothing to compare.
fn order_of(found: &Value, wanted: &str) -> Option<Ordering> {
    match found {
        Value::Number(number) => number.as_f64()?.partial_cmp(&wanted.parse().ok()?),
        Value::Bool(truth) => Some(truth.to_string().as_str().cmp(wanted)),
        Value::String(text) => match (instant(text), instant(wanted)) {
            (Some(found), Some(wanted)) => Some(found.cmp(&wanted)),
            _ => Some(text.to_lowercase().cmp(&wanted.to_lowercase())),
        },
        _ => None,
    }
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (a, b) => a.to_string().cmp(&b.to_string()),
    }
}

/// A moment with its zone, in milliseconds; one without is Pacific time.
fn instant(text: &str) -> Option<i64> {
    if text.len() < 19 || text.as_bytes().get(10) != Some(&b'T') {
        return None;
    }
    let parsed = text.parse::<jiff::Timestamp>().or_else(|_| format!("{text}-08:00").parse::<jiff::Timestamp>());
    parsed.ok().map(jiff::Timestamp::as_millisecond)
}
