use schemars::JsonSchema;
use serde::Deserialize;

/// What callers hear and where they get to. Texts may name `{from}`, `{to}`, `{caller_name}`, `{digits}` and `{speech}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Voice {
    /// The language that texts are spoken in, such as `da-DK`.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$"))]
    pub language: Option<String>,
    /// The voice, such as `Polly.Naja`.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[A-Za-z0-9.-]{1,64}$"))]
    pub voice: Option<String>,
    /// What is said first.
    #[serde(default)]
    #[schemars(length(max = 4000), regex(pattern = TEXT))]
    pub greeting: Option<String>,
    /// A choice by keys or words.
    #[serde(default)]
    pub menu: Option<Menu>,
    /// Who is called for the caller.
    #[serde(default)]
    pub forward: Option<Forward>,
    /// What happens when nobody can talk.
    #[serde(default)]
    pub voicemail: Option<Voicemail>,
    /// What is said last.
    #[serde(default)]
    #[schemars(length(max = 4000), regex(pattern = TEXT))]
    pub goodbye: Option<String>,
    /// What is said first at the fallback URL, when the usual one has failed.
    #[serde(default)]
    #[schemars(length(max = 4000), regex(pattern = TEXT))]
    pub apology: Option<String>,
    /// When somebody is there. Without it always.
    #[serde(default)]
    pub hours: Option<Hours>,
    /// What happens outside these hours; without it the call ends after the greeting.
    #[serde(default)]
    pub after_hours: Option<AfterHours>,
}

/// A text in which nothing stands in braces but what can be filled in.
const TEXT: &str = r"^([^{}]|\{(from|to|caller_name|digits|speech)\})*$";

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Next {
    /// Put through.
    Forward,
    /// Recorded.
    #[default]
    Voicemail,
    /// Over.
    Hangup,
}

/// A choice by keys or words.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Menu {
    /// What is asked.
    #[schemars(length(min = 1, max = 4000), regex(pattern = TEXT))]
    pub prompt: String,
    /// Whether words count beside keys.
    #[serde(default)]
    pub speech: bool,
    /// Words that are likely, divided by commas.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub hints: Option<String>,
    /// How many keys are waited for.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 20))]
    pub digits: u8,
    /// Seconds of silence after which it is asked again.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_s: u8,
    /// How often it is asked.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u8,
    /// What is said before it is asked again.
    #[serde(default)]
    #[schemars(length(max = 4000), regex(pattern = TEXT))]
    pub not_understood: Option<String>,
    /// What can be chosen. Without any, whatever is entered is told as an event, and `otherwise` follows.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub choices: Vec<Choice>,
    /// What follows when nothing was chosen.
    #[serde(default)]
    pub otherwise: Next,
}

/// One thing that can be chosen.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The keys.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[0-9*#]{1,20}$"))]
    pub digits: Option<String>,
    /// Words, any of which means it.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub words: Vec<String>,
    /// What is said then.
    #[serde(default)]
    #[schemars(length(max = 4000), regex(pattern = TEXT))]
    pub say: Option<String>,
    /// What follows.
    pub then: Next,
}

/// Who is called for the caller.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// The numbers, which ring together; whoever picks up first has the call.
    #[schemars(length(min = 1, max = 10), inner(regex(pattern = r"^\+[0-9]{7,15}$")))]
    pub numbers: Vec<String>,
    /// How long they ring, in seconds.
    #[serde(default = "twenty")]
    #[schemars(range(min = 5, max = 600))]
    pub timeout_s: u16,
    /// The number that they see; without it the caller's.
    #[serde(default)]
    #[schemars(regex(pattern = r"^\+[0-9]{7,15}$"))]
    pub caller_id: Option<String>,
    /// Whether the conversation is recorded. Say so to the caller first.
    #[serde(default)]
    pub record: bool,
    /// What is said when nobody picked up.
    #[serde(default)]
    #[schemars(length(max = 4000), regex(pattern = TEXT))]
    pub unanswered: Option<String>,
}

/// A message to be recorded.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Voicemail {
    /// What is said before the beep.
    #[schemars(length(min = 1, max = 4000), regex(pattern = TEXT))]
    pub prompt: String,
    /// Seconds.
    #[serde(default = "two_minutes")]
    #[schemars(range(min = 5, max = 3600))]
    pub max_length_s: u16,
}

/// When somebody is there.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// A name such as `Europe/Copenhagen`, or a POSIX rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
    #[schemars(length(min = 3, max = 64))]
    pub time_zone: String,
    /// The times of a week.
    #[schemars(length(max = 50))]
    pub open: Vec<Opening>,
    /// Days on which nobody is there, as `2026-12-24`.
    #[serde(default)]
    #[schemars(length(max = 366), inner(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")))]
    pub closed: Vec<String>,
}

/// A part of some days.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The days.
    #[schemars(length(min = 1, max = 7))]
    pub days: Vec<Day>,
    /// Its beginning, as `08:00`.
    #[schemars(regex(pattern = CLOCK))]
    pub from: String,
    /// Its end, as `16:00`; `24:00` is midnight.
    #[schemars(regex(pattern = CLOCK))]
    pub until: String,
}

const CLOCK: &str = r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$";

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the days have their names")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// What happens outside the hours.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AfterHours {
    /// What is said instead of the greeting.
    #[schemars(length(min = 1, max = 4000), regex(pattern = TEXT))]
    pub say: String,
    /// Whether the menu is offered all the same, for emergencies.
    #[serde(default)]
    pub menu: bool,
    /// What follows.
    #[serde(default)]
    pub then: Next,
}

const fn one() -> u8 {
    1
}

const fn three() -> u8 {
    3
}

const fn five() -> u8 {
    5
}

const fn twenty() -> u16 {
    20
}

const fn two_minutes() -> u16 {
    120
}
