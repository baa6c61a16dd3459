//! Whom a mail goes to, as its header says (RFC 5322), read so that nobody is missed: what is no address to a strict
//! reader may be one to a lenient server.

/// Fields whose addresses get the mail.
const FIELDS: [&str; 6] = ["to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"];

/// The texts with an `@` in the fields that name recipients, without quoted names.
#[must_use]
pub fn addresses(message: &[u8]) -> Vec<String> {
    // A lone carriage return ends a line for some.
    let text = String::from_utf8_lossy(message).replace("\r\n", "\n").replace('\r', "\n");
    let mut found = Vec::new();
    let mut named = false;
    for line in text.split('\n') {
        if line.is_empty() {
            break;
        }
        let value = if line.starts_with([' ', '\t']) {
            line
        } else {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            named = FIELDS.contains(&name.trim().to_ascii_lowercase().as_str());
            value
        };
        if named {
            collect(value, &mut found);
        }
    }
    found
}

/// Quoted names end with their line: a quote that is left open, or one that may be escaped, hides nothing.
fn collect(value: &str, found: &mut Vec<String>) {
    let sound = value.matches('"').count().is_multiple_of(2) && !value.contains('\\');
    let plain = if sound { value.split('"').step_by(2).collect::<Vec<_>>().join(" ") } else { value.replace('"', " ") };
    let apart = |letter: char| letter.is_whitespace() || ",;:<>()[]".contains(letter);
    found.extend(plain.split(apart).filter(|part| part.contains('@')).map(str::to_owned));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipient_is_found_and_nobody_else() {
        let message =
            b"From: Office <office@x.dk>\r\nTo: =?utf-8?B?U8O4?= <a@x.dk>,\r\n \"b, @ home\" <b@x.dk>\r\nCC:c@x.dk\r\n\
            bcc : d@x.dk;e@x.dk\r\nReply-To: f@x.dk\r\nSubject: to: g@x.dk\r\n\r\nTo: h@x.dk\r\n";
        assert_eq!(addresses(message), ["a@x.dk", "b@x.dk", "c@x.dk", "d@x.dk", "e@x.dk"]);
    }

    #[test]
    fn tricks_hide_nobody() {
        assert_eq!(addresses(b"To: \"a <b@x.dk>\n\nbody"), ["b@x.dk"], "an open quote");
        assert_eq!(addresses(b"To: \"\\\"\" , b@x.dk, \"\\\"\"\n"), ["b@x.dk"], "escaped quotes");
        assert_eq!(addresses(b"Subject: a\rTo: b@x.dk\r\n\r\n"), ["b@x.dk"], "a lone carriage return");
        assert_eq!(addresses(b"To: a@x.dk\nTo: b@x.dk\n"), ["a@x.dk", "b@x.dk"], "twice");
        assert_eq!(addresses(b"To: group: a@x.dk, b@x.dk;\n"), ["a@x.dk", "b@x.dk"]);
        assert_eq!(addresses(b"To:\n\ta@x.dk (the boss) ,\n b@x.dk\n"), ["a@x.dk", "b@x.dk"]);
        assert!(addresses(b"").is_empty() && addresses(b"\r\nTo: a@x.dk").is_empty());
    }
}
