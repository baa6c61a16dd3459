use super::config::Voice;

/// What a text may name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// The caller's number.
    pub from: &'a str,
    /// The number that was called.
    pub to: &'a str,
    /// The caller's name, if it is known.
    pub caller_name: &'a str,
    /// Keys that were pressed.
    pub digits: &'a str,
    /// Words that were said.
    pub speech: &'a str,
}

/// A document in the making. Whatever a caller, an admin or a command says is escaped, so that it stays text.
pub struct Twiml(String);

impl Default for Twiml {
    fn default() -> Self {
        Self::new()
    }
}

impl Twiml {
    /// An empty document, which ends a call.
    pub const EMPTY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response/>";

    /// A document without verbs yet.
    pub fn new() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>".to_owned())
    }

    /// Opens an element with these attributes.
    pub fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.0.push('<');
        self.0.push_str(name);
        for (name, value) in attributes {
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("=\"");
            escape(value, &mut self.0);
            self.0.push('"');
        }
        self.0.push('>');
    }

    /// Closes the element of this name.
    pub fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element with a text in it.
    pub fn element(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.open(name, attributes);
        escape(text, &mut self.0);
        self.close(name);
    }

    /// Says a text with its names filled in; nothing if nothing is left of it.
    pub fn say(&mut self, voice: Option<&Voice>, text: &str, names: &Names) {
        let text = fill(text, names);
        if text.trim().is_empty() {
            return;
        }
        let mut attributes = Vec::with_capacity(2);
        if let Some(language) = voice.and_then(|voice| voice.language.as_deref()) {
            attributes.push(("language", language));
        }
        if let Some(name) = voice.and_then(|voice| voice.voice.as_deref()) {
            attributes.push(("voice", name));
        }
        self.element("Say", &attributes, &text);
    }

    /// The whole document.
    pub fn finish(mut self) -> String {
        self.close("Response");
        self.0
    }
}

/// Puts values where their names stand in braces. What a value contains is not looked at again.
fn fill(text: &str, names: &Names) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let known = after.split_once('}').and_then(|(name, tail)| {
            let value = match name {
                "from" => names.from,
                "to" => names.to,
                "caller_name" => names.caller_name,
                "digits" => names.digits,
                "speech" => names.speech,
                _ => return None,
            };
            Some((value, tail))
        });
        match known {
            Some((value, tail)) => {
                filled.push_str(value);
                rest = tail;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// Appends a text as XML, without the characters that XML cannot carry in any form.
fn escape(text: &str, into: &mut String) {
    for character in text.chars() {
        match character {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&apos;"),
            '\t' | '\n' | '\r' => into.push(' '),
            control if control < ' ' || matches!(control, '\u{fffe}' | '\u{ffff}') => {}
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_once_and_escaped() {
        let names = Names { from: "+4520123456", caller_name: "A{from}<Hangup/>&\"\u{7}", ..Names::default() };
        let mut document = Twiml::new();
        document.say(None, "Hej {caller_name} fra {from}, {ukendt} {", &names);
        assert_eq!(
            document.finish(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Say>Hej A{from}&lt;Hangup/&gt;&amp;&quot; fra \
             +4520123456, {ukendt} {</Say></Response>"
        );
    }

    #[test]
    fn a_text_of_which_nothing_is_left_is_not_said() {
        let mut document = Twiml::new();
        document.say(None, " {caller_name} ", &Names::default());
        assert!(!document.finish().contains("Say"));
    }
}
