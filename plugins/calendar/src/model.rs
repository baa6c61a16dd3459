use serde_json::{Map, Value};

use crate::time::{Moment, Span, read_exact};
use crate::zone::Zone;

/// More attendees than this are counted and not listed.
pub const MOST_GUESTS: usize = 50;

/// Titles and places are cut to this many characters.
const TEXT: usize = 1_000;

/// An event as Google shows it, read with tolerance.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// Google's id.
    pub id: String,
    /// It was deleted.
    pub cancelled: bool,
    /// It may take place.
    pub tentative: bool,
    /// Changes with every change.
    pub etag: Option<String>,
    /// When it was made, as Google writes it.
    pub created: Option<String>,
    /// Its title.
    pub title: Option<String>,
    /// When it begins; none where a deletion does not say.
    pub start: Option<When>,
    /// When it ends.
    pub end: Option<When>,
    /// Where it is.
    pub location: Option<String>,
    /// Who was invited, the first of them.
    pub guests: Vec<Guest>,
    /// Whether there are more.
    pub more_guests: bool,
    /// The same in every calendar that has it.
    pub ical_uid: Option<String>,
    /// The series that it belongs to.
    pub series: Option<String>,
    /// It takes nobody's time.
    pub free: bool,
    /// What programs noted for themselves.
    pub private: Map<String, Value>,
}

/// A start or an end, as it was written and as it is meant.
#[derive(Clone, Debug, PartialEq)]
pub struct When {
    /// As Google writes it.
    pub text: String,
    /// What it means.
    pub moment: Moment,
}

/// Somebody who was invited.
#[derive(Clone, Debug, PartialEq)]
pub struct Guest {
    /// The address.
    pub email: String,
    /// The name, if Google knows it.
    pub name: Option<String>,
    /// `needsAction`, `accepted`, `declined`, `tentative`.
    pub response: Option<String>,
}

impl Remote {
    /// Reads an event; none for what has no id, or takes place at no readable time.
    pub fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let own = |name: &str| text(name).map(cut);
        let status = text("status").unwrap_or("confirmed");
        let cancelled = status == "cancelled";
        let (start, end) = (when(value.get("start")), when(value.get("end")));
        if !cancelled && (start.is_none() || end.is_none()) {
            return None;
        }
        let attendees = value.get("attendees").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let declined = attendees.iter().any(|guest| guest["self"] == true && guest["responseStatus"] == "declined");
        let private = value.pointer("/extendedProperties/private").and_then(Value::as_object);
        Some(Self {
            id: text("id").filter(|id| id.len() <= 1_024)?.to_owned(),
            cancelled,
            tentative: status == "tentative",
            etag: own("etag"),
            created: own("created"),
            title: own("summary"),
            start,
            end,
            location: own("location"),
            guests: attendees.iter().filter_map(guest).take(MOST_GUESTS).collect(),
            more_guests: attendees.len() > MOST_GUESTS || value["attendeesOmitted"] == true,
            ical_uid: own("iCalUID"),
            series: own("recurringEventId"),
            free: text("transparency") == Some("transparent") || declined,
            private: private.cloned().unwrap_or_default(),
        })
    }

    /// The time that it takes from its owner; none if it takes none.
    pub fn busy(&self, zone: Zone) -> Option<Span> {
        let span = self.span(zone)?;
        (!self.cancelled && !self.free && span.start < span.end).then_some(span)
    }

    /// When it is.
    pub fn span(&self, zone: Zone) -> Option<Span> {
        let (start, end) = (self.start.as_ref()?, self.end.as_ref()?);
        Some(Span::new(start.moment.begins(zone), end.moment.begins(zone)))
    }

    /// A note of ours.
    pub fn note(&self, name: &str) -> Option<&str> {
        self.private.get(name).and_then(Value::as_str)
    }
}

fn when(value: Option<&Value>) -> Option<When> {
    let value = value?;
    let text = value.get("dateTime").or_else(|| value.get("date"))?.as_str()?;
    Some(When { text: text.to_owned(), moment: read_exact(text)? })
}

fn guest(value: &Value) -> Option<Guest> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(cut);
    Some(Guest { email: text("email")?, name: text("displayName"), response: text("responseStatus") })
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}
