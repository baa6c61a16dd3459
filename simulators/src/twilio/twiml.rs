//! Reads the TwiML that a webhook answers with, as far as messaging needs it.

use serde::Serialize;

/// The verbs of a `<Response>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Twiml {
    /// In document order.
    pub verbs: Vec<Verb>,
}

/// One verb.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verb {
    /// The element's name, for example `Message`.
    pub name: String,
    /// Its attributes, values unescaped.
    pub attributes: Vec<(String, String)>,
    /// All text inside, unescaped, white space at both ends removed.
    pub text: String,
}

/// The document is not TwiML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
pub enum TwimlError {
    /// The outermost element is not `<Response>`.
    #[error("the document has no Response element")]
    NoResponse,
    /// Tags do not match, or a tag, comment or entity does not end.
    #[error("the document is not well-formed near {0:?}")]
    Malformed(String),
    /// Something follows the `<Response>`.
    #[error("text follows the Response element")]
    Trailing,
}

enum Token<'a> {
    Open { name: &'a str, attributes: &'a str, empty: bool },
    Close(&'a str),
    Text(&'a str),
}

impl Twiml {
    /// Reads a document. Elements inside a verb count as its text.
    ///
    /// # Errors
    ///
    /// When it is not well-formed, or not a single `<Response>`.
    pub fn parse(document: &str) -> Result<Self, TwimlError> {
        let mut rest = document.trim_start_matches('\u{feff}');
        let mut twiml = Self::default();
        let mut open: Vec<&str> = Vec::new();
        let mut closed = false;
        while let Some(token) = next_token(&mut rest)? {
            match token {
                Token::Text(text) if open.is_empty() => {
                    if !text.trim().is_empty() {
                        return Err(if closed { TwimlError::Trailing } else { TwimlError::NoResponse });
                    }
                }
                Token::Text(text) => {
                    if let Some(verb) = twiml.verbs.last_mut().filter(|_| open.len() > 1) {
                        verb.text.push_str(&unescape(text)?);
                    }
                }
                Token::Open { .. } if closed => return Err(TwimlError::Trailing),
                Token::Open { name, attributes, empty } => {
                    match open.len() {
                        0 if name != "Response" => return Err(TwimlError::NoResponse),
                        1 => twiml.verbs.push(Verb {
                            name: name.to_owned(),
                            attributes: read_attributes(attributes)?,
                            text: String::new(),
                        }),
                        _ => {}
                    }
                    if empty { closed = open.is_empty() } else { open.push(name) }
                }
                Token::Close(name) => {
                    if open.pop() != Some(name) {
                        return Err(malformed(name));
                    }
                    closed = open.is_empty();
                }
            }
        }
        if !closed {
            return Err(open.last().map_or(TwimlError::NoResponse, |name| malformed(name)));
        }
        for verb in &mut twiml.verbs {
            verb.text = verb.text.trim().to_owned();
        }
        Ok(twiml)
    }

    /// The texts of all `<Message>` verbs, which Twilio sends back to the person.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.verbs.iter().filter(|verb| verb.name == "Message").map(|verb| verb.text.as_str())
    }
}

fn next_token<'a>(rest: &mut &'a str) -> Result<Option<Token<'a>>, TwimlError> {
    loop {
        if rest.is_empty() {
            return Ok(None);
        }
        if !rest.starts_with('<') {
            let end = rest.find('<').unwrap_or(rest.len());
            let (text, tail) = rest.split_at(end);
            *rest = tail;
            return Ok(Some(Token::Text(text)));
        }
        if let Some(tail) = rest.strip_prefix("<!--") {
            *rest = after(tail, "-->")?;
        } else if rest.starts_with("<?") {
            *rest = after(rest, "?>")?;
        } else {
            let end = tag_end(rest)?;
            let tag = &rest[1..end];
            *rest = &rest[end + 1..];
            return token_of(tag).map(Some);
        }
    }
}

/// Where the tag ends; a `>` inside quotes does not end it.
fn tag_end(text: &str) -> Result<usize, TwimlError> {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, '>') => return Ok(at),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    Err(malformed(text))
}

fn token_of(tag: &str) -> Result<Token<'_>, TwimlError> {
    if let Some(name) = tag.strip_prefix('/') {
        return Ok(Token::Close(name.trim_end()));
    }
    let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
    let (name, attributes) = tag.split_once(|c: char| c.is_whitespace()).unwrap_or((tag, ""));
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':')) {
        return Err(malformed(tag));
    }
    Ok(Token::Open { name, attributes, empty })
}

fn read_attributes(text: &str) -> Result<Vec<(String, String)>, TwimlError> {
    let mut rest = text.trim();
    let mut attributes = Vec::new();
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=').ok_or_else(|| malformed(rest))?;
        let tail = tail.trim_start();
        let quote = tail.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or_else(|| malformed(rest))?;
        let (value, tail) = tail[1..].split_once(quote).ok_or_else(|| malformed(rest))?;
        attributes.push((name.trim().to_owned(), unescape(value)?));
        rest = tail.trim_start();
    }
    Ok(attributes)
}

fn after<'a>(text: &'a str, end: &str) -> Result<&'a str, TwimlError> {
    text.split_once(end).map(|(_, tail)| tail).ok_or_else(|| malformed(text))
}

fn unescape(text: &str) -> Result<String, TwimlError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('&') {
        out.push_str(before);
        let (entity, tail) = tail.split_once(';').ok_or_else(|| malformed(rest))?;
        out.push(entity_character(entity).ok_or_else(|| malformed(entity))?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

fn entity_character(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

fn malformed(near: &str) -> TwimlError {
    TwimlError::Malformed(near.chars().take(40).collect())
}
