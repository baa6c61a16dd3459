//! The map of an import: which column becomes which field, and what makes two rows the same person.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What a map file says. Unknown keys are refused, as in the hub's own configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Map {
    /// The type of the events that rows become.
    #[serde(rename = "type")]
    pub(super) event_type: String,
    /// Fields by which a row is known again, the strongest first.
    #[serde(default)]
    pub(super) identity: Vec<String>,
    /// Fields that together suggest that two rows are one although their identities differ.
    #[serde(default)]
    pub(super) possible: Vec<Vec<String>>,
    /// What becomes of a row whose identity an earlier row of the file has.
    #[serde(default)]
    pub(super) duplicates: Duplicates,
    /// What stands between cells: one character. The header tells when it is not given.
    #[serde(default)]
    pub(super) delimiter: Option<char>,
    /// How the file's characters are written, by the names of the web's encoding standard.
    #[serde(default = "utf8")]
    pub(super) encoding: String,
    /// The country calling code of phone numbers without one, such as `45`.
    #[serde(default)]
    pub(super) country_code: Option<String>,
    /// What stands before the decimals of numbers: `.` or `,`.
    #[serde(default)]
    pub(super) decimal: Decimal,
    /// Fields of the event's data, by name; a dot makes an object: `address.city`.
    pub(super) fields: BTreeMap<String, Field>,
}

fn utf8() -> String {
    "utf-8".to_owned()
}

/// What becomes of a row whose identity an earlier row of the file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Duplicates {
    /// It is reported and not sent.
    #[default]
    Skip,
    /// It is sent as an event of its own about the same subject, so that nothing it says is lost.
    Send,
}

/// What stands before the decimals of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Decimal {
    /// 1,234.50
    #[default]
    #[serde(rename = ".")]
    Point,
    /// 1.234,50
    #[serde(rename = ",")]
    Comma,
}

/// Where a field comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a column's name, { column = \"...\", as = \"...\" } or { value = ... }")]
pub(super) enum Field {
    /// A column's text.
    Column(String),
    /// A column, read in a certain way.
    Read(Reading),
    /// The same in every row.
    Fixed(Fixed),
}

/// The same in every row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixed {
    pub(super) value: serde_json::Value,
}

/// A column, read in a certain way.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reading {
    /// The column's name in the header.
    pub(super) column: String,
    /// How its text is read.
    #[serde(default, rename = "as")]
    pub(super) kind: Kind,
    /// A row without it is refused.
    #[serde(default)]
    pub(super) required: bool,
    /// How dates are written, in the letters of strftime; `%Y-%m-%d` when not given.
    #[serde(default)]
    pub(super) format: Option<String>,
    /// What stands between the entries of a list; `;` when not given.
    #[serde(default)]
    pub(super) separator: Option<String>,
}

/// How a column's text is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// As it is, without blanks around it.
    #[default]
    Text,
    /// A phone number, made E.164.
    Phone,
    /// An e-mail address, in lower case.
    Email,
    /// An amount, written as text with a point: money is never a floating-point number.
    Decimal,
    /// A whole number.
    Integer,
    /// yes, true, 1, ja, x; no, false, 0, nej, nothing.
    Boolean,
    /// A day, made ISO 8601.
    Date,
    /// Texts with a separator between them.
    List,
}

/// A map that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MapFault {
    /// It is no TOML, or has what no map has.
    #[error("{0}")]
    Malformed(String),
    /// `identity` or `possible` names no field.
    #[error("`{place}` names the field `{field}`, which is not under [fields]; there is {known}")]
    NoField {
        /// Where.
        place: &'static str,
        /// What is named.
        field: String,
        /// What could be named.
        known: String,
    },
    /// There is no such column.
    #[error("the field `{field}` is made of the column `{column}`, which the file does not have; it has {known}")]
    NoColumn {
        /// The field.
        field: String,
        /// The column.
        column: String,
        /// What the file has.
        known: String,
    },
    /// Two fields cannot stand beside each other.
    #[error("the fields `{0}` and `{1}` cannot both be there: one would lie inside the other's text")]
    Nested(String, String),
    /// The encoding has an unknown name.
    #[error("`encoding` is `{0}`, which is none that is known; usual ones are utf-8 and windows-1252")]
    NoEncoding(String),
    /// The delimiter is no single ASCII character.
    #[error("`delimiter` is `{0}`; it must be one ASCII character such as `,` or `;`")]
    Delimiter(char),
    /// The country code is no number.
    #[error("`country_code` is `{0}`; write the digits alone, such as `45`")]
    CountryCode(String),
    /// Nothing would be sent.
    #[error("[fields] is empty: name at least one column")]
    NoFields,
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Map {
    /// Reads a map file.
    ///
    /// # Errors
    /// See [`MapFault`].
    pub(super) fn parse(text: &str) -> Result<Self, MapFault> {
        let map: Self = toml::from_str(text).map_err(|error| MapFault::Malformed(error.to_string()))?;
        map.check()?;
        Ok(map)
    }

    fn check(&self) -> Result<(), MapFault> {
        if self.fields.is_empty() {
            return Err(MapFault::NoFields);
        }
        if let Some(delimiter) = self.delimiter.filter(|delimiter| !delimiter.is_ascii()) {
            return Err(MapFault::Delimiter(delimiter));
        }
        if let Some(code) = &self.country_code
            && (code.is_empty() || code.len() > 3 || !code.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Err(MapFault::CountryCode(code.clone()));
        }
        let used = self.identity.iter().map(|field| ("identity", field));
        let used = used.chain(self.possible.iter().flatten().map(|field| ("possible", field)));
        for (place, field) in used {
            if !self.fields.contains_key(field) {
                let known = listed(self.fields.keys().map(String::as_str));
                return Err(MapFault::NoField { place, field: field.clone(), known });
            }
        }
        // In order, a name comes right before those that lie inside it, but for names with signs before the dot.
        for outer in self.fields.keys() {
            let inside = format!("{outer}.");
            if let Some(inner) = self.fields.keys().find(|name| name.starts_with(&inside)) {
                return Err(MapFault::Nested(outer.clone(), inner.clone()));
            }
        }
        Ok(())
    }

    /// The place of every field's column in a file's header; none for fixed fields.
    ///
    /// # Errors
    /// A column is not there.
    pub(super) fn places(&self, header: &csv::StringRecord) -> Result<Vec<Option<usize>>, MapFault> {
        let place = |(field, from): (&String, &Field)| {
            let column = match from {
                Field::Column(column) => column,
                Field::Read(reading) => &reading.column,
                Field::Fixed(_) => return Ok(None),
            };
            let found = header.iter().position(|name| name.trim() == column.trim());
            found.map(Some).ok_or_else(|| MapFault::NoColumn {
                field: field.clone(),
                column: column.clone(),
                known: listed(header.iter()),
            })
        };
        self.fields.iter().map(place).collect()
    }
}

/// Words in the names of columns, in Danish and English, and what such a column most likely holds.
const GUESSES: [(&[&str], &str, &str); 9] = [
    (&["mail"], "email", "email"),
    (&["phone", "telefon", "mobil", "tlf"], "phone", "phone"),
    (&["address", "adresse", "street", "vej"], "address", "text"),
    (&["postal", "postnr", "postnummer", "zip"], "postal_code", "text"),
    (&["city", "by", "town"], "city", "text"),
    (&["date", "dato", "created", "oprettet"], "date", "date"),
    (&["value", "amount", "beløb", "pris", "price", "værdi"], "value", "decimal"),
    (&["note", "message", "besked", "wish", "ønske"], "wish", "text"),
    (&["name", "navn"], "name", "text"),
];

/// A map to begin with, for a file with these columns: every column has a field, some are guessed by their names.
pub(super) fn suggested(header: &csv::StringRecord) -> String {
    let mut taken: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for column in header {
        let plain = column.trim().to_lowercase();
        let fits = |words: &[&str]| {
            words.iter().any(|word| if word.len() < 3 { plain == *word } else { plain.contains(word) })
        };
        let guess = GUESSES.iter().find(|(words, field, _)| fits(words) && !taken.iter().any(|name| name == field));
        let (field, kind) =
            guess.map_or_else(|| (as_field(&plain), "text"), |(_, field, kind)| ((*field).to_owned(), *kind));
        let field = if taken.contains(&field) { format!("{field}_{}", taken.len() + 1) } else { field };
        let column = toml::Value::from(column.trim()).to_string();
        lines.push(match kind {
            "text" => format!("{field} = {column}"),
            kind => format!("{field} = {{ column = {column}, as = \"{kind}\" }}"),
        });
        taken.push(field);
    }
    let identity: Vec<String> = ["phone", "email"]
        .iter()
        .filter(|name| taken.iter().any(|taken| taken == *name))
        .map(|name| format!("{name:?}"))
        .collect();
    format!(
        "# The type of the events that rows become.\ntype = \"lead.created\"\n\
         # Fields by which a row is known again, the strongest first.\nidentity = [{}]\n\
         # Fields that together suggest that two rows are one: reported, for a person to decide.\npossible = []\n\
         # The calling code of phone numbers written without one.\ncountry_code = \"45\"\n\
         # What stands before decimals, \".\" or \",\".\ndecimal = \".\"\n\n[fields]\n{}\n",
        identity.join(", "),
        lines.join("\n")
    )
}

/// A name that needs no quotes in TOML.
fn as_field(column: &str) -> String {
    let name: String = column.chars().map(|sign| if sign.is_ascii_alphanumeric() { sign } else { '_' }).collect();
    let name = name.trim_matches('_').to_owned();
    if name.is_empty() { "column".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        Map::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_map_that_cannot_be_used_says_where_and_why() {
        let cases = [
            ("type = 'lead.created'\n[fields]\n", "[fields] is empty"),
            ("type = 'lead.created'\nidentity = ['fone']\n[fields]\nphone = 'P'", "`identity` names the field `fone`"),
            ("type = 'lead.created'\npossible = [['a']]\n[fields]\nphone = 'P'", "`possible` names the field `a`"),
            ("type = 'lead.created'\nidentiy = []\n[fields]\nphone = 'P'", "identiy"),
            ("type = 'lead.created'\ncountry_code = '+45'\n[fields]\nphone = 'P'", "write the digits alone"),
            ("type = 'lead.created'\n[fields]\na = 'P'\n'a.b' = 'Q'", "cannot both be there"),
            ("type = 'lead.created'\n[fields]\na = { column = 'P', as = 'fone' }", "a column's name"),
            ("type = 'lead.created'\ndelimiter = 'ø'\n[fields]\na = 'P'", "one ASCII character"),
        ];
        for (text, words) in cases {
            let said = fault(text);
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn a_column_that_is_not_there_is_named_with_those_that_are() {
        let map = Map::parse("type = 'lead.created'\n[fields]\nphone = 'Mobil'").unwrap();
        let said = map.places(&csv::StringRecord::from(vec!["Navn", "Telefon"])).unwrap_err().to_string();
        assert!(said.contains("`Mobil`") && said.contains("`Navn`, `Telefon`"), "{said}");
    }

    #[test]
    fn a_suggested_map_fits_the_file_that_it_was_made_for() {
        let header =
            csv::StringRecord::from(vec!["Navn", "E-mail", "Mobil", "Telefon 2", "Værdi (DKK)", "By", "\"", "navn"]);
        let text = suggested(&header);
        let map = Map::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(map.places(&header).unwrap().len(), header.len());
        assert_eq!(map.identity, ["phone", "email"]);
        assert!(matches!(&map.fields["phone"], Field::Read(reading) if reading.kind == Kind::Phone), "{text}");
        assert!(matches!(&map.fields["value"], Field::Read(reading) if reading.kind == Kind::Decimal), "{text}");
    }
}
