use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::{Map, Number, Value};

/// How deep lists and objects may be inside each other, as in `serde_json`.
const DEPTH: usize = 127;

/// Digits that fit into 64 bits, whatever they are.
const SHORT: usize = 18;

/// Text that is no JSON, and where that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The byte at which it cannot go on.
    pub at: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no JSON from byte {} on", self.at)
    }
}

impl std::error::Error for Malformed {}

/// Text as any JSON, exactly what `serde_json` takes.
///
/// A component that reads and writes JSON here alone holds one parser and one writer, both small. `serde_json`'s own are
/// compiled anew for text, for bytes and for each type, and each of them is larger.
///
/// # Errors
/// It is no JSON.
pub fn parse(text: &[u8]) -> Result<Value, Malformed> {
    let text = std::str::from_utf8(text).map_err(|error| Malformed { at: error.valid_up_to() })?;
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = reader.value()?;
    match reader.next_token() {
        None => Ok(value),
        Some(_) => Err(reader.malformed()),
    }
}

/// A value as text, without blanks.
pub fn write(value: &Value) -> String {
    let mut text = String::new();
    put(value, &mut text);
    text
}

/// JSON text without the blanks between its tokens, at compile time, so that a file which people read costs a component no
/// more than it says: `compact_json!(include_str!("config.schema.json"))`.
#[macro_export]
macro_rules! compact_json {
    ($text:expr) => {{
        const TEXT: &str = $text;
        const COMPACT: [u8; $crate::json::compact_length(TEXT)] = $crate::json::compacted(TEXT);
        const RESULT: &str = match ::std::str::from_utf8(&COMPACT) {
            Ok(text) => text,
            Err(_) => panic!("blanks were left out of the middle of a letter"),
        };
        RESULT
    }};
}

/// How long [`compacted`] text is.
#[doc(hidden)]
pub const fn compact_length(text: &str) -> usize {
    compact(text.as_bytes(), &mut [])
}

/// The text of [`compact_json!`].
#[doc(hidden)]
pub const fn compacted<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    compact(text.as_bytes(), &mut bytes);
    bytes
}

/// Copies what is no blank between tokens as far as there is room, and says how much it is.
const fn compact(text: &[u8], into: &mut [u8]) -> usize {
    let (mut from, mut to, mut quoted) = (0, 0, false);
    while from < text.len() {
        let is_escape = quoted && text[from] == b'\\';
        if text[from] == b'"' {
            quoted = !quoted;
        }
        // What an escape stands before is copied with it, since it may be a quote.
        let mut left = if is_escape { 2 } else { 1 };
        while left > 0 {
            if quoted || !text[from].is_ascii_whitespace() {
                if to < into.len() {
                    into[to] = text[from];
                }
                to += 1;
            }
            from += 1;
            left -= 1;
        }
    }
    to
}

/// Anything as text, by way of its [`value`].
///
/// # Errors
/// It cannot be JSON: a map with keys that are no text, or a failure of the type's own.
pub fn written(from: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_value(from).map(|value| write(&value))
}

/// Anything as JSON; null where it cannot be.
pub fn value(from: &impl Serialize) -> Value {
    serde_json::to_value(from).unwrap_or_default()
}

/// The text of an object, written member by member: for what no [`Value`] holds, such as a number with the digits that it
/// was given.
#[derive(Clone, Debug)]
pub struct ObjectText(String);

impl ObjectText {
    /// An object without members.
    pub fn new() -> Self {
        Self("{".to_owned())
    }

    /// Adds a member.
    pub fn member(&mut self, name: &str, value: &Value) {
        self.verbatim(name, &write(value));
    }

    /// Adds a member whose text must be JSON.
    pub fn verbatim(&mut self, name: &str, text: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        quote(name, &mut self.0);
        self.0.push(':');
        self.0.push_str(text);
    }

    /// All of it.
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

impl Default for ObjectText {
    fn default() -> Self {
        Self::new()
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    #[cold]
    fn malformed(&self) -> Malformed {
        Malformed { at: self.at }
    }

    /// The next byte that is no blank; it is not consumed.
    fn next_token(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, word: &str) -> Result<(), Malformed> {
        match self.text.as_bytes().get(self.at..) {
            Some(rest) if rest.starts_with(word.as_bytes()) => {
                self.at += word.len();
                Ok(())
            }
            _ => Err(self.malformed()),
        }
    }

    fn value(&mut self) -> Result<Value, Malformed> {
        match self.next_token() {
            Some(b'n') => self.expect("null").map(|()| Value::Null),
            Some(b't') => self.expect("true").map(|()| Value::Bool(true)),
            Some(b'f') => self.expect("false").map(|()| Value::Bool(false)),
            Some(b'"') => self.string().map(Value::String),
            Some(b'[') => self.list(),
            Some(b'{') => self.object(),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            _ => Err(self.malformed()),
        }
    }

    fn deeper(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH { Err(self.malformed()) } else { Ok(()) }
    }

    /// Whether another item follows, of which the first needs no comma before it.
    fn goes_on(&mut self, end: u8, is_first: bool) -> Result<bool, Malformed> {
        match self.next_token() {
            Some(byte) if byte == end => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(_) if is_first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.malformed()),
        }
    }

    fn list(&mut self) -> Result<Value, Malformed> {
        self.deeper()?;
        let mut items = Vec::new();
        while self.goes_on(b']', items.is_empty())? {
            items.push(self.value()?);
        }
        Ok(Value::Array(items))
    }

    fn object(&mut self) -> Result<Value, Malformed> {
        self.deeper()?;
        let mut members = Map::new();
        while self.goes_on(b'}', members.is_empty())? {
            if self.next_token() != Some(b'"') {
                return Err(self.malformed());
            }
            let name = self.string()?;
            self.next_token();
            self.expect(":")?;
            let value = self.value()?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }

    /// Digits that are a small number are counted up here; all else that a number can be is left to `serde_json`.
    fn number(&mut self) -> Result<Number, Malformed> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let token = &rest[..rest.bytes().take_while(is_part).count()];
        let has_digits_alone = token.bytes().all(|byte| byte.is_ascii_digit());
        let number = if has_digits_alone && token.len() <= SHORT && (token.len() == 1 || !token.starts_with('0')) {
            Number::from(token.bytes().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
        } else {
            token.parse().map_err(|_| self.malformed())?
        };
        self.at += token.len();
        Ok(number)
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
            let plain = &rest[..rest.bytes().take_while(is_plain).count()];
            text.push_str(plain);
            self.at += plain.len();
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                _ => return Err(self.malformed()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        let plain = match letter {
            Some(b'"' | b'\\' | b'/') => letter,
            Some(b'b') => Some(8),
            Some(b'f') => Some(12),
            Some(b'n') => Some(b'\n'),
            Some(b'r') => Some(b'\r'),
            Some(b't') => Some(b'\t'),
            _ => None,
        };
        if let Some(plain) = plain {
            self.at += 2;
            return Ok(char::from(plain));
        }
        let first = self.unit()?;
        let code = match first {
            0xd800..0xdc00 => match self.unit()? {
                second @ 0xdc00..0xe000 => 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                _ => return Err(self.malformed()),
            },
            _ => first,
        };
        char::from_u32(code).ok_or_else(|| self.malformed())
    }

    /// One `\uXXXX`.
    fn unit(&mut self) -> Result<u32, Malformed> {
        self.expect("\\u")?;
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or_else(|| self.malformed())?;
        self.at += 4;
        Ok(unit)
    }
}

fn put(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => number_into(number, text),
        Value::String(string) => quote(string, text),
        Value::Array(items) => {
            let mut between = '[';
            for item in items {
                text.push(between);
                between = ',';
                put(item, text);
            }
            text.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        Value::Object(members) => {
            let mut between = '{';
            for (name, member) in members {
                text.push(between);
                between = ',';
                quote(name, text);
                text.push(':');
                put(member, text);
            }
            text.push_str(if members.is_empty() { "{}" } else { "}" });
        }
    }
}

fn quote(string: &str, text: &mut String) {
    text.push('"');
    let mut rest = string;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        text.push_str(&rest[..at]);
        let escaped = rest.as_bytes()[at];
        text.push('\\');
        match escaped {
            8 => text.push('b'),
            12 => text.push('f'),
            b'\n' => text.push('n'),
            b'\r' => text.push('r'),
            b'\t' => text.push('t'),
            0..0x20 => code_into(escaped, text),
            _ => text.push(char::from(escaped)),
        }
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
    text.push('"');
}

fn number_into(number: &Number, text: &mut String) {
    let _ = write!(text, "{number}");
}

fn code_into(control: u8, text: &mut String) {
    let _ = write!(text, "u{control:04x}");
}
