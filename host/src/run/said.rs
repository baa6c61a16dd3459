//! What providers said, for the attempt's page: the beginning of each answer that was no success, and of the last one.

use http::StatusCode;

use crate::connection::template::UsedSecrets;

/// Bytes of an answer that are shown.
const SHOWN: usize = 1024;

/// Bytes that are looked through for secrets, so that none is shown that begins before the end and goes on after it.
const LOOKED_THROUGH: usize = SHOWN + 16 * 1024;

/// Refusals of one attempt that are kept.
const KEPT: usize = 8;

/// The beginnings of answers, by the calls' places in the journal.
pub(super) struct Said {
    refusals: Vec<(usize, String)>,
    last: Option<(usize, String)>,
}

impl Said {
    pub(super) const fn new() -> Self {
        Self { refusals: Vec::new(), last: None }
    }

    /// Keeps the beginning of an answer, with secrets masked.
    pub(super) fn note(&mut self, index: usize, status: StatusCode, body: &[u8], used: &UsedSecrets) {
        let text = beginning(body, used);
        if !status.is_success() && self.refusals.len() < KEPT {
            self.refusals.push((index, text.clone()));
        }
        self.last = Some((index, text));
    }

    /// What was said to a call, if it was refused, or if the attempt failed after it.
    pub(super) fn to(&self, index: usize, failed: bool) -> Option<&str> {
        let last = self.last.iter().filter(|_| failed);
        let mut all = self.refusals.iter().chain(last);
        all.find(|(place, text)| *place == index && !text.is_empty()).map(|(_, text)| text.as_str())
    }
}

fn beginning(body: &[u8], used: &UsedSecrets) -> String {
    let looked_through = &body[..body.len().min(LOOKED_THROUGH)];
    let masked = used.mask(looked_through);
    let shown = String::from_utf8_lossy(&masked[..masked.len().min(SHOWN)]).into_owned();
    // A character that was cut in two ends as a replacement character, and zero bytes mean nothing to anybody.
    let shown = shown.trim_end_matches('\u{fffd}').replace('\0', "");
    if body.len() > shown.len() && masked.len() > SHOWN { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(answers: &[(u16, &str)]) -> Said {
        let mut said = Said::new();
        for (index, (status, body)) in answers.iter().enumerate() {
            said.note(index, StatusCode::from_u16(*status).unwrap(), body.as_bytes(), &UsedSecrets::default());
        }
        said
    }

    #[test]
    fn refusals_are_kept_and_a_success_only_as_the_last_words_of_a_failure() {
        let said = noted(&[(200, "fine"), (422, "no such contact"), (200, "{\"id\":")]);
        assert_eq!(
            [said.to(0, true), said.to(1, true), said.to(2, true)],
            [None, Some("no such contact"), Some("{\"id\":")]
        );
        assert_eq!([said.to(1, false), said.to(2, false)], [Some("no such contact"), None]);
    }

    #[test]
    fn an_answer_is_shown_from_its_beginning() {
        let long = "æ".repeat(SHOWN);
        let said = noted(&[(500, &long), (500, "")]);
        let shown = said.to(0, true).unwrap();
        assert!(shown.len() <= SHOWN + '…'.len_utf8() && shown.starts_with("ææ") && shown.ends_with("æ…"), "{shown}");
        assert_eq!(said.to(1, true), None, "nothing was said");
    }

    #[test]
    fn a_secret_is_masked_even_where_the_beginning_ends_in_it() {
        let mut used = UsedSecrets::default();
        used.also([secrecy::SecretString::from("secret-of-the-connection")]);
        let mut said = Said::new();
        let body = format!("{}secret-of-the-connection", "x".repeat(SHOWN - 6));
        said.note(0, StatusCode::FORBIDDEN, body.as_bytes(), &used);
        assert!(!said.to(0, true).unwrap().contains("secret"));
    }
}
