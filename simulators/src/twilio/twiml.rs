//! Reads the TwiML that a webhook answers with.

use serde::Serialize;

/// The verbs of a `<Response>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Twiml {
    /// In document order.
    pub verbs: Vec<Verb>,
}

/// A verb, or a noun inside one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verb {
    /// The element's name, for example `Message`.
    pub name: String,
    /// Its attributes, values unescaped.
    pub attributes: Vec<(String, String)>,
    /// All text inside, that of the elements in it too, unescaped, white space at both ends removed.
    pub text: String,
    /// The elements inside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Verb>,
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

impl Verb {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Ends the innermost element; answers the outermost once it is over.
fn close(open: &mut Vec<Verb>, name: &str) -> Result<Option<Verb>, TwimlError> {
    let mut ended = open.pop().filter(|element| element.name == name).ok_or_else(|| malformed(name))?;
    ended.text = ended.text.trim().to_owned();
    match open.last_mut() {
        Some(parent) => {
            parent.children.push(ended);
            Ok(None)
        }
        None => Ok(Some(ended)),
    }
}

impl Twiml {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// When it is not well-formed, or not a single `<Response>`.
    pub fn parse(document: &str) -> Result<Self, TwimlError> {
        let forbidden = |c: char| (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}');
        if let Some(at) = document.find(forbidden) {
            return Err(malformed(&document[at..]));
        }
        let mut rest = document.trim_start_matches('\u{feff}');
        let mut open: Vec<Verb> = Vec::new();
        let mut response = None;
        while let Some(token) = next_token(&mut rest)? {
            match token {
                Token::Text(text) if open.is_empty() => {
                    if !text.trim().is_empty() {
                        return Err(if response.is_some() { TwimlError::Trailing } else { TwimlError::NoResponse });
                    }
                }
                Token::Text(text) => {
                    let text = unescape(text)?;
                    for element in &mut open {
                        element.text.push_str(&text);
                    }
                }
                Token::Open { .. } if response.is_some() => return Err(TwimlError::Trailing),
                Token::Open { name, .. } if open.is_empty() && name != "Response" => {
                    return Err(TwimlError::NoResponse);
                }
                Token::Open { name, attributes, empty } => {
                    let attributes = read_attributes(attributes)?;
                    open.push(Verb { name: name.to_owned(), attributes, ..Verb::default() });
                    if empty {
                        response = close(&mut open, name)?;
                    }
                }
                Token::Close(name) => response = close(&mut open, name)?,
            }
        }
        let whole = response.ok_or_else(|| open.last().map_or(TwimlError::NoResponse, |left| malformed(&left.name)))?;
        Ok(Self { verbs: whole.children })
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
        let name = name.trim();
        let shaped =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'));
        if !shaped || value.contains('<') || attributes.iter().any(|(known, _)| known == name) {
            return Err(malformed(rest));
        }
        attributes.push((name.to_owned(), unescape(value)?));
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
