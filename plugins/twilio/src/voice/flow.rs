use switchyard_sdk::prelude::*;
use switchyard_sdk::text::lowered;

use super::config::{Choice, Menu, Next, Voice};
use super::twiml::{Names, Twiml};
use super::{hours, nothing, step_of};
use crate::call::report::Step;
use crate::config::Config;

/// What is said when the usual address has failed and the config has no words for it.
const APOLOGY: &str = "We are sorry, something went wrong.";

/// Leads a caller through the config's steps. Which step is next stands in the addresses that the documents name, so
/// that nothing has to be remembered between two requests of one call.
pub(super) struct Flow<'a> {
    voice: Option<&'a Voice>,
    names: Names<'a>,
    /// The address of the source; addresses in documents begin with it.
    base: &'a str,
}

/// What follows from an input.
pub(super) struct Turn {
    pub(super) document: String,
    pub(super) step: Option<Step>,
    /// Which of the config's choices it was, from zero.
    pub(super) choice: Option<usize>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(
        ctx: &'a Ctx<Config>,
        voice: Option<&'a Voice>,
        request: &'a InboundRequest,
        names: Names<'a>,
    ) -> Self {
        let own = request.url.split(['?', '#']).next().unwrap_or_default();
        let to_id = own.find(request.source_id.as_str()).map_or(own.len(), |at| at + request.source_id.len());
        let base = ctx.source(&request.source_id).map_or(&own[..to_id], |source| source.url.as_str());
        Self { voice, names, base }
    }

    /// Whether it is outside the hours; none if the config has no hours.
    pub(super) fn is_closed(&self, time: u64) -> Result<Option<bool>, PluginError> {
        let hours = self.voice.and_then(|voice| voice.hours.as_ref());
        hours.map(|hours| Ok(!hours::is_open(hours, time)?)).transpose()
    }

    /// The first document of a call.
    pub(super) fn opening(&self, closed: bool) -> (String, Option<Step>) {
        let Some(voice) = self.voice else { return (nothing(), None) };
        let mut document = Twiml::new();
        let after_hours = voice.after_hours.as_ref().filter(|_| closed);
        if let Some(after_hours) = after_hours {
            document.say(self.voice, &after_hours.say, &self.names);
        } else if let Some(greeting) = &voice.greeting {
            document.say(self.voice, greeting, &self.names);
        }
        let menu = voice.menu.as_ref().filter(|_| !closed || after_hours.is_some_and(|after| after.menu));
        if let Some(menu) = menu {
            self.ask(&mut document, menu, 0);
            return (document.finish(), None);
        }
        let next = match (closed, after_hours) {
            (true, Some(after_hours)) => after_hours.then,
            (true, None) => Next::Hangup,
            (false, _) => Next::Forward,
        };
        self.lead(document, next)
    }

    /// The first document after a failure: no choices, straight to a person or a recording.
    pub(super) fn fallback(&self) -> (String, Option<Step>) {
        let mut document = Twiml::new();
        let apology = self.voice.and_then(|voice| voice.apology.as_deref()).unwrap_or(APOLOGY);
        document.say(self.voice, apology, &self.names);
        self.lead(document, Next::Forward)
    }

    /// The document after an input, or after silence.
    pub(super) fn gathered(&self, turn: u8) -> Turn {
        let Some((voice, menu)) = self.voice.and_then(|voice| Some((voice, voice.menu.as_ref()?))) else {
            return Turn { document: nothing(), step: None, choice: None };
        };
        let mut document = Twiml::new();
        let entered = !self.names.digits.is_empty() || !self.names.speech.is_empty();
        let chosen = menu.choices.iter().position(|choice| self.means(choice)).filter(|_| entered);
        if let Some(choice) = chosen.and_then(|at| menu.choices.get(at)) {
            if let Some(say) = &choice.say {
                document.say(self.voice, say, &self.names);
            }
            let (document, step) = self.lead(document, choice.then);
            return Turn { document, step, choice: chosen };
        }
        let free = entered && menu.choices.is_empty();
        if !free && turn.saturating_add(1) < menu.attempts {
            if let Some(sorry) = menu.not_understood.as_ref().filter(|_| entered) {
                document.say(Some(voice), sorry, &self.names);
            }
            self.ask(&mut document, menu, turn.saturating_add(1));
            return Turn { document: document.finish(), step: None, choice: None };
        }
        let (document, step) = self.lead(document, menu.otherwise);
        Turn { document, step, choice: None }
    }

    fn means(&self, choice: &Choice) -> bool {
        let said = lowered(self.names.speech);
        let word = |word: &String| !word.is_empty() && said.contains(&lowered(word));
        choice.digits.as_deref().is_some_and(|digits| digits == self.names.digits) || choice.words.iter().any(word)
    }

    /// The document after a forwarding that nobody answered.
    pub(super) fn unanswered(&self) -> (String, Option<Step>) {
        let mut document = Twiml::new();
        if let Some(text) = self.voice.and_then(|voice| voice.forward.as_ref()?.unanswered.as_ref()) {
            document.say(self.voice, text, &self.names);
        }
        self.lead(document, Next::Voicemail)
    }

    /// The last document.
    pub(super) fn farewell(&self) -> String {
        let mut document = Twiml::new();
        self.part(&mut document);
        document.finish()
    }

    /// Ends a document in the wanted step, or in the nearest that the config has.
    fn lead(&self, mut document: Twiml, next: Next) -> (String, Option<Step>) {
        let forward = self.voice.and_then(|voice| voice.forward.as_ref());
        let voicemail = self.voice.and_then(|voice| voice.voicemail.as_ref());
        let next = match next {
            Next::Forward if forward.is_some() => Next::Forward,
            Next::Forward | Next::Voicemail if voicemail.is_some() => Next::Voicemail,
            _ => Next::Hangup,
        };
        if let (Next::Forward, Some(forward)) = (next, forward) {
            let (action, recording) = (self.address("/voice/dial"), self.address("/voice/recording"));
            let timeout = forward.timeout_s.to_string();
            let mut attributes = vec![("action", action.as_str()), ("timeout", timeout.as_str())];
            if let Some(number) = &forward.caller_id {
                attributes.push(("callerId", number));
            }
            if forward.record {
                attributes.push(("record", "record-from-answer-dual"));
                attributes.push(("recordingStatusCallback", &recording));
            }
            document.open("Dial", &attributes);
            for number in &forward.numbers {
                document.element("Number", &[], number);
            }
            document.close("Dial");
        } else if let (Next::Voicemail, Some(voicemail)) = (next, voicemail) {
            document.say(self.voice, &voicemail.prompt, &self.names);
            let (action, recording) = (self.address("/voice/recorded"), self.address("/voice/recording"));
            let longest = voicemail.max_length_s.to_string();
            let attributes = [
                ("action", action.as_str()),
                ("maxLength", longest.as_str()),
                ("playBeep", "true"),
                ("finishOnKey", "#"),
                ("recordingStatusCallback", recording.as_str()),
            ];
            document.open("Record", &attributes);
            document.close("Record");
            // Reached when nothing was said.
            self.part(&mut document);
        } else {
            self.part(&mut document);
        }
        (document.finish(), step_of(next))
    }

    fn part(&self, document: &mut Twiml) {
        if let Some(goodbye) = self.voice.and_then(|voice| voice.goodbye.as_ref()) {
            document.say(self.voice, goodbye, &self.names);
        }
        document.open("Hangup", &[]);
        document.close("Hangup");
    }

    fn ask(&self, document: &mut Twiml, menu: &Menu, turn: u8) {
        let action = self.address(&format!("/voice/gather?turn={turn}"));
        let (digits, timeout) = (menu.digits.to_string(), menu.timeout_s.to_string());
        let mut attributes = vec![
            ("action", action.as_str()),
            ("numDigits", digits.as_str()),
            ("timeout", timeout.as_str()),
            ("input", if menu.speech { "dtmf speech" } else { "dtmf" }),
        ];
        if menu.speech {
            attributes.push(("speechTimeout", "auto"));
            if let Some(language) = self.voice.and_then(|voice| voice.language.as_deref()) {
                attributes.push(("language", language));
            }
            if let Some(hints) = menu.hints.as_deref() {
                attributes.push(("hints", hints));
            }
        }
        document.open("Gather", &attributes);
        document.say(self.voice, &menu.prompt, &self.names);
        document.close("Gather");
        // Reached when nothing was entered.
        document.element("Redirect", &[], &action);
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}
