//! Words with which a person asks to be left alone, or to be written to again.

/// Every word is the whole message; English ones are those that carriers act on, Danish ones are ours.
const STOP: [&str; 17] = [
    "STOP",
    "STOPALL",
    "UNSUBSCRIBE",
    "CANCEL",
    "END",
    "QUIT",
    "REVOKE",
    "OPTOUT",
    "STOPSMS",
    "SMSSTOP",
    "STOPALT",
    "AFMELD",
    "AFMELDT",
    "AFMELDSMS",
    "FRAMELD",
    "FRAMELDT",
    "UDMELD",
];

const START: [&str; 6] = ["START", "UNSTOP", "STARTSMS", "TILMELD", "TILMELDT", "TILMELDSMS"];

/// An everyday answer, which carriers take for a START. With anything beside it, it is an answer.
const YES: &str = "YES";

/// No word is longer, whatever stands between its letters.
const LONGEST: usize = 64;

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// No more messages.
    Stop,
    /// Messages again.
    Start,
}

/// The wish that is all of a message. A STOP counts however it is spaced, punctuated and capitalised ("Stop!", "opt-out",
/// "S T O P"), since leaving somebody alone needs no certainty. A START may have punctuation around it and nothing within.
#[must_use]
pub fn wish(message: &str) -> Option<Wish> {
    let message = message.trim();
    if message.is_empty() || message.len() > LONGEST {
        return None;
    }
    if message.eq_ignore_ascii_case(YES) {
        return Some(Wish::Start);
    }
    let letters: String = message.chars().filter(|letter| letter.is_alphanumeric()).collect();
    if STOP.iter().any(|word| letters.eq_ignore_ascii_case(word)) {
        return Some(Wish::Stop);
    }
    let bare = message.trim_matches(|mark: char| !mark.is_alphanumeric());
    START.iter().any(|word| bare.eq_ignore_ascii_case(word)).then_some(Wish::Start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stop_counts_however_it_is_written() {
        let written = [
            "STOP",
            "stop",
            " Stop \r\n",
            "STOP!",
            "«stop»",
            "stop.",
            "S T O P",
            "Stop all",
            "stop-all",
            "opt-out",
            "Opt out!",
            "Unsubscribe",
            "cancel",
            "END",
            "quit",
            "Revoke",
            "afmeld",
            "Afmeld!",
            "Afmeld SMS",
            "FRAMELD",
            "stop 🛑",
            "STOP SMS",
        ];
        for text in written {
            assert_eq!(wish(text), Some(Wish::Stop), "{text}");
        }
    }

    #[test]
    fn a_start_must_be_plain() {
        for text in ["START", "start", " Start. ", "UNSTOP", "yes", " YES ", "tilmeld", "Tilmeld!"] {
            assert_eq!(wish(text), Some(Wish::Start), "{text}");
        }
        for text in ["yes!", "Yes, please", "s t a r t", "start now", "ja"] {
            assert_eq!(wish(text), None, "{text}");
        }
    }

    #[test]
    fn what_only_holds_a_word_is_no_wish() {
        for text in ["", "   ", "Please stop by tomorrow", "The end is near", "stopping", "help", "I quit smoking", "1"]
        {
            assert_eq!(wish(text), None, "{text}");
        }
        assert_eq!(wish(&format!("stop{}", " ".repeat(100))), Some(Wish::Stop));
        assert_eq!(wish(&format!("s{}top", " ".repeat(100))), None, "too long to be one word");
    }

    proptest! {
        #[test]
        fn marks_around_a_word_change_nothing(
            word in proptest::sample::select(STOP.to_vec()),
            before in "[ .,!?\"'()\n-]{0,8}",
            after in "[ .,!?\"'()\n-]{0,8}",
            lower in any::<bool>(),
        ) {
            let word = if lower { word.to_lowercase() } else { word.to_owned() };
            prop_assert_eq!(wish(&format!("{before}{word}{after}")), Some(Wish::Stop));
        }

        #[test]
        fn no_text_is_both_and_none_panics(text in ".{0,80}") {
            let _ = wish(&text);
        }
    }
}
