//! Which rows are the same person.
//!
//! Only digests of the identities are kept, some tens of bytes a row, so that a large file needs little memory.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{map::Map, row::text_at};

/// Part of a SHA-256, wide enough that two values of one file do not meet by chance.
type Mark = u128;

/// How a row stands to those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No row before it is the same.
    New,
    /// A row before it has the same identity.
    Duplicate {
        /// The row.
        of: u64,
        /// The field in which they agree, and no stronger one differs.
        by: String,
    },
    /// A row before it may be the same: a person should look.
    Possible {
        /// The row.
        of: u64,
        /// The fields in which they agree.
        by: String,
    },
}

/// What is known of a row.
pub(super) struct Identified {
    /// How it stands to those before it.
    pub(super) standing: Standing,
    /// Names the person: the same for every row with this identity, in each run and each file.
    pub(super) subject: String,
    /// The event's id: a row that was sent before has it again.
    pub(super) id: String,
}

/// The rows so far.
pub(super) struct Known<'m> {
    map: &'m Map,
    /// For each identity field, the first row with a value.
    firsts: Vec<HashMap<Mark, usize>>,
    /// For each set of fields that suggests the same person, the first row with its values.
    alike: Vec<HashMap<Mark, usize>>,
    rows: Vec<Row>,
}

struct Row {
    /// Its place in the file, for people.
    number: u64,
    marks: Vec<Option<Mark>>,
    subject: Mark,
}

impl<'m> Known<'m> {
    pub(super) fn new(map: &'m Map) -> Self {
        let empty = |count| (0..count).map(|_| HashMap::new()).collect();
        Self { map, firsts: empty(map.identity.len()), alike: empty(map.possible.len()), rows: Vec::new() }
    }

    /// Looks at the next row and remembers it.
    ///
    /// Two rows are the same if they agree in an identity field and in no stronger one that both have they differ. Rows
    /// that agree in a weaker field only, or in all fields of a set under `possible`, may be the same.
    pub(super) fn add(&mut self, number: u64, data: &Value) -> Identified {
        let marks: Vec<Option<Mark>> = self.map.identity.iter().map(|field| field_mark(data, field)).collect();
        let alike: Vec<Option<Mark>> = self.map.possible.iter().map(|fields| set_mark(data, fields)).collect();
        let (standing, first) = self.standing(&marks, &alike);
        let own = marks.iter().flatten().next().copied().unwrap_or_else(|| mark(&["row", &data.to_string()]));
        let subject = match (&standing, first) {
            (Standing::Duplicate { .. }, Some(first)) => self.rows[first].subject,
            _ => own,
        };
        // A second row about the same person is an event of its own, by what it says.
        let id = match &standing {
            Standing::Duplicate { .. } => mark(&["row", &data.to_string()]),
            Standing::New | Standing::Possible { .. } => subject,
        };
        let at = self.rows.len();
        for (firsts, mark) in self.firsts.iter_mut().chain(&mut self.alike).zip(marks.iter().chain(&alike)) {
            if let Some(mark) = mark {
                firsts.entry(*mark).or_insert(at);
            }
        }
        self.rows.push(Row { number, marks, subject });
        let event = mark(&["event", &self.map.event_type, &format!("{id:032x}")]);
        Identified { standing, subject: format!("person-{subject:032x}"), id: format!("import-{event:032x}") }
    }

    /// How a row with these marks stands, and to which one.
    fn standing(&self, marks: &[Option<Mark>], alike: &[Option<Mark>]) -> (Standing, Option<usize>) {
        let mut possible = None;
        for (at, (firsts, mark)) in self.firsts.iter().zip(marks).enumerate() {
            let Some(first) = mark.and_then(|mark| firsts.get(&mark)).copied() else { continue };
            let row = &self.rows[first];
            let differs = row.marks[..at]
                .iter()
                .zip(marks)
                .any(|(theirs, ours)| theirs.zip(*ours).is_some_and(|(theirs, ours)| theirs != ours));
            let (of, by) = (row.number, self.map.identity[at].clone());
            if !differs {
                return (Standing::Duplicate { of, by }, Some(first));
            }
            possible.get_or_insert(Standing::Possible { of, by });
        }
        let similar = || {
            self.alike.iter().zip(alike).zip(&self.map.possible).find_map(|((firsts, mark), fields)| {
                let first = mark.and_then(|mark| firsts.get(&mark))?;
                Some(Standing::Possible { of: self.rows[*first].number, by: fields.join(" and ") })
            })
        };
        (possible.or_else(similar).unwrap_or(Standing::New), None)
    }
}

fn field_mark(data: &Value, field: &str) -> Option<Mark> {
    text_at(data, field).map(plain).filter(|text| !text.is_empty()).map(|text| mark(&[field, &text]))
}

fn set_mark(data: &Value, fields: &[String]) -> Option<Mark> {
    let texts: Option<Vec<String>> = fields.iter().map(|field| text_at(data, field).map(plain)).collect();
    let texts = texts.filter(|texts| texts.iter().all(|text| !text.is_empty()))?;
    Some(mark(&texts.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// Without case, signs and blanks, in which people write the same name or address differently.
fn plain(text: &str) -> String {
    text.chars().filter(|sign| sign.is_alphanumeric() || "@+".contains(*sign)).flat_map(char::to_lowercase).collect()
}

fn mark(parts: &[&str]) -> Mark {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    digest.iter().take(16).fold(0, |mark, byte| mark << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map() -> Map {
        Map::parse(
            "type = 'lead.created'\nidentity = ['phone', 'email', 'address']\npossible = [['name', 'zip']]\n\
             [fields]\nphone = 'P'\nemail = 'E'\naddress = 'A'\nname = 'N'\nzip = 'Z'",
        )
        .unwrap()
    }

    fn standings(rows: &[Value]) -> Vec<Standing> {
        let map = map();
        let mut known = Known::new(&map);
        rows.iter().zip(1..).map(|(row, number)| known.add(number, row).standing).collect()
    }

    #[test]
    fn the_strongest_field_that_both_have_decides() {
        let found = standings(&[
            json!({"phone": "+4520123456", "email": "a@x.dk"}),
            json!({"email": "A@x.dk"}),
            json!({"phone": "+4599999999", "email": "a@x.dk"}),
            json!({"phone": "+4520123456", "email": "b@x.dk"}),
            json!({"address": "Nygade 1, 2. tv"}),
            json!({"address": "nygade 1 2 tv"}),
        ]);
        let duplicate = |of, by: &str| Standing::Duplicate { of, by: by.to_owned() };
        let wanted = [
            Standing::New,
            duplicate(1, "email"),
            Standing::Possible { of: 1, by: "email".to_owned() },
            duplicate(1, "phone"),
            Standing::New,
            duplicate(5, "address"),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn rows_with_the_same_name_and_postal_code_are_listed_for_a_person() {
        let found = standings(&[
            json!({"phone": "+4511111111", "name": "Ada Lund", "zip": "8000"}),
            json!({"phone": "+4522222222", "name": "ada lund", "zip": "8000"}),
            json!({"phone": "+4533333333", "name": "Ada Lund", "zip": "2100"}),
        ]);
        assert_eq!(found[1], Standing::Possible { of: 1, by: "name and zip".to_owned() });
        assert_eq!(found[2], Standing::New);
    }

    #[test]
    fn a_person_is_one_subject_in_every_file_and_no_two_share_an_id() {
        let map = map();
        let rows = [
            json!({"phone": "+4520123456", "email": "a@x.dk"}),
            json!({"email": "a@x.dk", "name": "Ada"}),
            json!({"name": "nobody"}),
        ];
        let mut known = Known::new(&map);
        let first: Vec<_> = rows.iter().zip(1..).map(|(row, number)| known.add(number, row)).collect();
        let mut again = Known::new(&map);
        let second: Vec<_> = rows.iter().zip(1..).map(|(row, number)| again.add(number, row)).collect();
        assert_eq!(first[0].subject, first[1].subject);
        assert_ne!(first[0].subject, first[2].subject);
        let ids: std::collections::HashSet<_> = first.iter().map(|row| &row.id).collect();
        assert_eq!(ids.len(), 3);
        assert!(first.iter().zip(&second).all(|(one, other)| (&one.id, &one.subject) == (&other.id, &other.subject)));
        let alone = Known::new(&map).add(1, &json!({"phone": "+45 20 12 34 56", "name": "written otherwise"}));
        assert_eq!(alone.subject, first[0].subject, "a later file knows the person again");
    }
}
