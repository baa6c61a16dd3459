use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// The field that carries our reference, should Gmail rewrite the Message-ID.
pub const REFERENCE_HEADER: &str = "X-Hub-Idempotency-Key";

/// A line of a header is folded before it grows longer than this.
const LINE: usize = 76;

/// Bytes of text in one encoded word, so that it stays below 75 characters.
const WORD_BYTES: usize = 39;

/// A message to be written as RFC 5322 asks for: CRLF, ASCII, lines that any server carries. The same message is written
/// to the same bytes every time, since a repeated run must make the same request; that is why no library writes it,
/// which would take boundaries and dates from the machine.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// The sender, with an optional name.
    pub from: Recipient,
    /// Recipients.
    pub to: Vec<Recipient>,
    /// Copies.
    pub cc: Vec<Recipient>,
    /// Hidden copies; Gmail takes the field away.
    pub bcc: Vec<Recipient>,
    /// Where answers go.
    pub reply_to: Vec<Recipient>,
    /// The subject.
    pub subject: String,
    /// As RFC 5322 writes it; Gmail adds one where it is missing.
    pub date: Option<String>,
    /// Without angle brackets.
    pub message_id: String,
    /// The message that this one answers, without angle brackets.
    pub in_reply_to: Option<String>,
    /// The conversation so far, without angle brackets.
    pub references: Vec<String>,
    /// Our reference.
    pub reference: String,
    /// Plain text.
    pub text: Option<String>,
    /// HTML, beside or instead of the text.
    pub html: Option<String>,
}

/// An address with an optional name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// The bare address.
    pub email: String,
    /// The name.
    pub name: Option<String>,
}

impl Outgoing {
    /// The message as it goes over the wire.
    pub fn rfc5322(&self) -> String {
        let mut out = String::new();
        field(&mut out, "From", &self.from.written());
        for (name, list) in [("To", &self.to), ("Cc", &self.cc), ("Bcc", &self.bcc), ("Reply-To", &self.reply_to)] {
            if !list.is_empty() {
                let all: Vec<String> = list.iter().map(Recipient::written).collect();
                field(&mut out, name, &all.join(",\r\n "));
            }
        }
        field(&mut out, "Subject", &encode(&self.subject));
        if let Some(date) = &self.date {
            field(&mut out, "Date", date);
        }
        field(&mut out, "Message-ID", &format!("<{}>", self.message_id));
        if let Some(id) = &self.in_reply_to {
            field(&mut out, "In-Reply-To", &format!("<{id}>"));
        }
        if !self.references.is_empty() {
            let all: Vec<String> = self.references.iter().map(|id| format!("<{id}>")).collect();
            field(&mut out, "References", &all.join("\r\n "));
        }
        field(&mut out, REFERENCE_HEADER, &self.reference);
        field(&mut out, "MIME-Version", "1.0");
        self.write_body(&mut out);
        out
    }

    /// As `messages.send` takes it.
    pub fn raw(&self) -> String {
        URL_SAFE.encode(self.rfc5322())
    }

    fn write_body(&self, out: &mut String) {
        match (&self.text, &self.html) {
            (Some(text), Some(html)) => {
                let boundary = format!("hub_{}", self.reference);
                field(out, "Content-Type", &format!("multipart/alternative;\r\n boundary=\"{boundary}\""));
                out.push_str("\r\n");
                for (kind, body) in [("plain", text), ("html", html)] {
                    out.push_str(&format!("--{boundary}\r\n"));
                    part(out, kind, body);
                }
                out.push_str(&format!("--{boundary}--\r\n"));
            }
            (None, Some(html)) => part(out, "html", html),
            (text, None) => part(out, "plain", text.as_deref().unwrap_or_default()),
        }
    }
}

impl Recipient {
    /// With its name in the form that its letters need.
    pub fn written(&self) -> String {
        let Some(name) = self.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) else {
            return self.email.clone();
        };
        if !is_plain(name) {
            format!("{} <{}>", words(name), self.email)
        } else if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" !#$%&'*+-/=?^_`{|}~".contains(&byte)) {
            format!("{name} <{}>", self.email)
        } else {
            let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{quoted}\" <{}>", self.email)
        }
    }
}

/// One field. What it holds is ASCII and folded already.
fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str(": ");
    out.push_str(value);
    out.push_str("\r\n");
}

/// Header and body of one text, in base64 so that no server changes it on the way.
fn part(out: &mut String, kind: &str, body: &str) {
    field(out, "Content-Type", &format!("text/{kind}; charset=utf-8"));
    field(out, "Content-Transfer-Encoding", "base64");
    out.push_str("\r\n");
    let encoded = STANDARD.encode(crlf(body));
    for line in encoded.as_bytes().chunks(LINE) {
        out.extend(line.iter().copied().map(char::from));
        out.push_str("\r\n");
    }
}

/// Every line ends as mail's lines end, and the last one ends too.
fn crlf(text: &str) -> String {
    let mut lines = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
    if !lines.ends_with("\r\n") {
        lines.push_str("\r\n");
    }
    lines
}

/// A field of free text: as it is where that is safe, else in encoded words (RFC 2047).
fn encode(text: &str) -> String {
    if is_plain(text) && text.len() <= LINE { text.to_owned() } else { words(text) }
}

/// Whether a text can stand in a header as it is, and is not taken for an encoded word.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && !text.contains("=?")
}

/// Encoded words, cut between letters. Control characters become blanks: a line break would end the field.
fn words(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut piece = String::new();
    for letter in text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }) {
        if piece.len() + letter.len_utf8() > WORD_BYTES {
            words.push(word(&std::mem::take(&mut piece)));
        }
        piece.push(letter);
    }
    words.push(word(&piece));
    words.join("\r\n ")
}

fn word(piece: &str) -> String {
    format!("=?utf-8?B?{}?=", STANDARD.encode(piece))
}
