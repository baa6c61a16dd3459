//! The verbs of a voice document, as strictly as Twilio's schema has them: an unknown verb, attribute or value is refused
//! with the error that Twilio would log.

use std::time::Duration;

use crate::twilio::twiml::{Twiml, Verb};

/// Twilio's code for a document that is not well-formed.
pub(crate) const PARSE_FAILURE: u32 = 12100;
/// Its code for a document that its schema refuses.
pub(crate) const INVALID: u32 = 12200;

/// What a voice document cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {why}")]
pub(crate) struct Refused {
    pub(crate) code: u32,
    pub(crate) why: String,
}

/// One step of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Say(String),
    Play(String),
    Pause(Duration),
    Gather(Gather),
    Dial(Dial),
    Record(Record),
    Redirect(String),
    Reject { busy: bool },
    Hangup,
}

/// Asks the caller for digits or words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gather {
    pub(crate) action: Option<String>,
    pub(crate) digits: bool,
    pub(crate) speech: bool,
    pub(crate) num_digits: Option<usize>,
    pub(crate) on_empty: bool,
    /// What is said or played meanwhile.
    pub(crate) prompts: Vec<Step>,
}

/// Puts the caller through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) action: Option<String>,
    pub(crate) numbers: Vec<String>,
    pub(crate) records: bool,
    pub(crate) recording_callback: Option<String>,
}

/// Records the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) action: Option<String>,
    pub(crate) max_length_s: u32,
    pub(crate) callback: Option<String>,
}

/// Reads a document.
pub(crate) fn read(document: &str) -> Result<Vec<Step>, Refused> {
    let parsed = Twiml::parse(document).map_err(|error| Refused { code: PARSE_FAILURE, why: error.to_string() })?;
    parsed.verbs.iter().map(step).collect()
}

fn step(verb: &Verb) -> Result<Step, Refused> {
    match verb.name.as_str() {
        "Say" => {
            allow(verb, &["voice", "language", "loop"], &[])?;
            filled(verb).map(Step::Say)
        }
        "Play" => {
            allow(verb, &["loop", "digits"], &[])?;
            let target = verb.attribute("digits").unwrap_or(&verb.text);
            if target.is_empty() { Err(invalid(verb, "nothing to play")) } else { Ok(Step::Play(target.to_owned())) }
        }
        "Pause" => {
            allow(verb, &["length"], &[])?;
            Ok(Step::Pause(Duration::from_secs(number(verb, "length", 1, 1, 600)?.into())))
        }
        "Gather" => gather(verb).map(Step::Gather),
        "Dial" => dial(verb).map(Step::Dial),
        "Record" => record(verb).map(Step::Record),
        "Redirect" => {
            allow(verb, &["method"], &[])?;
            posted(verb, "method")?;
            filled(verb).map(Step::Redirect)
        }
        "Reject" => {
            allow(verb, &["reason"], &[])?;
            match verb.attribute("reason").unwrap_or("rejected") {
                "busy" => Ok(Step::Reject { busy: true }),
                "rejected" => Ok(Step::Reject { busy: false }),
                other => Err(invalid(verb, &format!("reason is {other:?}"))),
            }
        }
        "Hangup" => {
            allow(verb, &[], &[])?;
            Ok(Step::Hangup)
        }
        _ => Err(invalid(verb, "no such voice verb")),
    }
}

fn gather(verb: &Verb) -> Result<Gather, Refused> {
    const KNOWN: [&str; 12] = [
        "input",
        "action",
        "method",
        "timeout",
        "numDigits",
        "finishOnKey",
        "speechTimeout",
        "language",
        "hints",
        "actionOnEmptyResult",
        "bargeIn",
        "profanityFilter",
    ];
    allow(verb, &KNOWN, &["Say", "Play", "Pause"])?;
    posted(verb, "method")?;
    number(verb, "timeout", 5, 1, 600)?;
    let mut gather = Gather {
        action: verb.attribute("action").map(str::to_owned),
        num_digits: verb.attribute("numDigits").map(|_| number(verb, "numDigits", 1, 1, 255)).transpose()?.map(size),
        on_empty: flag(verb, "actionOnEmptyResult")?,
        ..Gather::default()
    };
    for input in verb.attribute("input").unwrap_or("dtmf").split(' ') {
        match input {
            "dtmf" => gather.digits = true,
            "speech" => gather.speech = true,
            other => return Err(invalid(verb, &format!("input is {other:?}"))),
        }
    }
    gather.prompts = verb.children.iter().map(step).collect::<Result<_, _>>()?;
    Ok(gather)
}

fn dial(verb: &Verb) -> Result<Dial, Refused> {
    const KNOWN: [&str; 11] = [
        "action",
        "method",
        "timeout",
        "callerId",
        "record",
        "recordingStatusCallback",
        "recordingStatusCallbackMethod",
        "recordingStatusCallbackEvent",
        "answerOnBridge",
        "timeLimit",
        "hangupOnStar",
    ];
    allow(verb, &KNOWN, &["Number"])?;
    posted(verb, "method")?;
    posted(verb, "recordingStatusCallbackMethod")?;
    number(verb, "timeout", 30, 1, 600)?;
    let records = match verb.attribute("record").unwrap_or("do-not-record") {
        "do-not-record" => false,
        "record-from-answer" | "record-from-ringing" | "record-from-answer-dual" | "record-from-ringing-dual" => true,
        other => return Err(invalid(verb, &format!("record is {other:?}"))),
    };
    let mut numbers: Vec<String> = Vec::new();
    for child in &verb.children {
        allow(child, &["sendDigits", "url", "method", "statusCallback", "statusCallbackEvent"], &[])?;
        numbers.push(filled(child)?);
    }
    if numbers.is_empty() {
        numbers.push(filled(verb)?);
    }
    if let Some(wrong) = numbers.iter().find(|number| !crate::twilio::messages::is_e164(number)) {
        return Err(Refused { code: 13223, why: format!("<Dial>: {wrong:?} is no phone number") });
    }
    Ok(Dial {
        action: verb.attribute("action").map(str::to_owned),
        numbers,
        records,
        recording_callback: verb.attribute("recordingStatusCallback").map(str::to_owned),
    })
}

fn record(verb: &Verb) -> Result<Record, Refused> {
    const KNOWN: [&str; 9] = [
        "action",
        "method",
        "timeout",
        "maxLength",
        "finishOnKey",
        "playBeep",
        "trim",
        "recordingStatusCallback",
        "recordingStatusCallbackMethod",
    ];
    allow(verb, &[&KNOWN[..], &["recordingStatusCallbackEvent"]].concat(), &[])?;
    posted(verb, "method")?;
    posted(verb, "recordingStatusCallbackMethod")?;
    number(verb, "timeout", 5, 1, 600)?;
    flag(verb, "playBeep")?;
    Ok(Record {
        action: verb.attribute("action").map(str::to_owned),
        max_length_s: number(verb, "maxLength", 3600, 1, 14_400)?,
        callback: verb.attribute("recordingStatusCallback").map(str::to_owned),
    })
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn invalid(verb: &Verb, why: &str) -> Refused {
    Refused { code: INVALID, why: format!("<{}>: {why}", verb.name) }
}

fn allow(verb: &Verb, attributes: &[&str], children: &[&str]) -> Result<(), Refused> {
    if let Some((name, _)) = verb.attributes.iter().find(|(name, _)| !attributes.contains(&name.as_str())) {
        return Err(invalid(verb, &format!("no attribute {name:?}")));
    }
    match verb.children.iter().find(|child| !children.contains(&child.name.as_str())) {
        Some(child) => Err(invalid(verb, &format!("<{}> may not stand in it", child.name))),
        None => Ok(()),
    }
}

fn filled(verb: &Verb) -> Result<String, Refused> {
    if verb.text.is_empty() { Err(invalid(verb, "it is empty")) } else { Ok(verb.text.clone()) }
}

/// Webhooks of the simulator are POST.
fn posted(verb: &Verb, name: &str) -> Result<(), Refused> {
    match verb.attribute(name) {
        None | Some("POST") => Ok(()),
        Some(other) => Err(invalid(verb, &format!("{name} is {other:?}"))),
    }
}

fn flag(verb: &Verb, name: &str) -> Result<bool, Refused> {
    match verb.attribute(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(invalid(verb, &format!("{name} is {other:?}"))),
    }
}

fn number(verb: &Verb, name: &str, usual: u32, least: u32, most: u32) -> Result<u32, Refused> {
    let Some(text) = verb.attribute(name) else { return Ok(usual) };
    let value = text.parse().ok().filter(|value| (least..=most).contains(value));
    value.ok_or_else(|| invalid(verb, &format!("{name} is {text:?}, not {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> u32 {
        read(&format!("<Response>{body}</Response>")).unwrap_err().code
    }

    #[test]
    fn a_document_with_every_verb_is_read() {
        let document = "<?xml version=\"1.0\"?><Response><Say language=\"da-DK\">Hej &amp; velkommen</Say>\
            <Gather input=\"dtmf speech\" numDigits=\"1\" action=\"/g\"><Say>Tryk 1</Say></Gather>\
            <Dial timeout=\"20\" action=\"/d\"><Number>+4511111111</Number><Number>+4522222222</Number></Dial>\
            <Record maxLength=\"60\" recordingStatusCallback=\"/r\"/><Pause length=\"2\"/><Play>https://a/b.mp3</Play>\
            <Redirect>/next</Redirect><Reject reason=\"busy\"/><Hangup/></Response>";
        let steps = read(document).unwrap();
        assert_eq!(steps.len(), 9);
        assert_eq!(steps[0], Step::Say("Hej & velkommen".to_owned()));
        let Step::Gather(gather) = &steps[1] else { panic!("{:?}", steps[1]) };
        assert!(gather.digits && gather.speech && gather.num_digits == Some(1));
        let Step::Dial(dial) = &steps[2] else { panic!("{:?}", steps[2]) };
        assert_eq!(dial.numbers, ["+4511111111", "+4522222222"]);
    }

    #[test]
    fn what_twilio_would_refuse_is_refused() {
        for body in
            ["<Shout>x</Shout>", "<Say/>", "<Say loudness=\"1\">x</Say>", "<Gather><Dial>+4511111111</Dial></Gather>"]
        {
            assert_eq!(refused(body), INVALID, "{body}");
        }
        assert_eq!(refused("<Dial>112</Dial>"), 13223);
        assert_eq!(refused("<Record maxLength=\"0\"/>"), INVALID);
        assert_eq!(refused("<Say>Hej & x</Say>"), PARSE_FAILURE);
        assert_eq!(refused("<Say>\u{7}</Say>"), PARSE_FAILURE);
    }
}
