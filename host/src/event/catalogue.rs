//! The catalogue of event types: what may be published and emitted, with a schema, an example and who knows it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;

use crate::{
    clock::Timestamp,
    connection::vault::PersonKind,
    plugin::model::{EventKind, EventType, Manifest},
};

/// What checking a value may cost.
mod cost;
/// The types that the host itself emits.
mod host_types;
/// Where a schema says that a person is named.
mod persons;

pub use persons::PersonField;

/// The memory that one pattern of a schema may take.
const MAX_PATTERN_MEMORY: usize = 256 * 1024;

/// One type of event or command.
pub struct TypeDefinition {
    /// `invoice.paid`.
    pub name: String,
    /// Fact or request.
    pub kind: EventKind,
    /// One sentence.
    pub description: String,
    /// JSON Schema of `data`; none means that any JSON is taken.
    pub schema: Option<Arc<Value>>,
    /// An example of `data`.
    pub example: Option<Value>,
    /// The plugins that emit it, and `host`.
    pub emitted_by: Vec<String>,
    /// The plugins that name it in what they handle.
    pub handled_by: Vec<String>,
    /// Where its data names a person.
    pub persons: Vec<PersonField>,
    validator: Option<Validator>,
}

impl fmt::Debug for TypeDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypeDefinition").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl TypeDefinition {
    /// The phone numbers and e-mail addresses that `data` holds in fields marked `x-person`.
    #[must_use]
    pub fn persons_in<'a>(&self, data: &'a Value) -> Vec<(PersonKind, &'a str)> {
        self.persons.iter().flat_map(|field| field.values(data)).collect()
    }
}

/// Data does not follow the schema of its type. Names the place and the rule, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct SchemaFault {
    /// JSON Pointer into `data`; empty for `data` itself.
    pub path: String,
    /// The rule that is broken.
    pub message: String,
}

/// A schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema of {name} cannot be used: {message}")]
pub struct UnusableSchema {
    /// The type, or `config`.
    pub name: String,
    /// Why.
    pub message: String,
}

/// Compiles a JSON Schema (2020-12). References stay inside the document, what they multiply is bounded, and patterns
/// run in linear time.
///
/// # Errors
/// The schema is malformed, points outside itself, contains itself, or has a pattern that is no plain regular expression.
pub fn compile_schema(name: &str, schema: &Value) -> Result<Validator, UnusableSchema> {
    cost::check(schema).map_err(|message| UnusableSchema { name: name.to_owned(), message })?;
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_MEMORY))
        .offline()
        .build(schema)
        .map_err(|error| UnusableSchema { name: name.to_owned(), message: error.to_string() })
}

/// The first place where `value` breaks the schema.
///
/// # Errors
/// It does not follow the schema.
pub fn check_against(validator: &Validator, value: &Value) -> Result<(), SchemaFault> {
    validator.validate(value).map_err(|error| fault(&error, 0))
}

/// Alternatives inside alternatives are looked into so deep.
const MAX_ALTERNATIVES: u8 = 4;

/// Says a fault at its most exact place: a missing member by its own path, and of alternatives the one that was meant.
fn fault(error: &ValidationError<'_>, depth: u8) -> SchemaFault {
    let path = error.instance_path().as_str();
    let at = |name: &str| format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
    match error.kind() {
        ValidationErrorKind::Required { property: Value::String(name) } => {
            SchemaFault { path: at(name), message: "it is required".to_owned() }
        }
        ValidationErrorKind::AdditionalProperties { unexpected } if !unexpected.is_empty() => {
            SchemaFault { path: at(&unexpected[0]), message: "there is no such field".to_owned() }
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }
            if depth < MAX_ALTERNATIVES && meant(context).is_some() =>
        {
            meant(context).map_or_else(|| plain(error), |inner| fault(inner, depth + 1))
        }
        _ => plain(error),
    }
}

fn plain(error: &ValidationError<'_>) -> SchemaFault {
    SchemaFault { path: error.instance_path().as_str().to_owned(), message: error.masked_with("the value").to_string() }
}

/// The first fault of the one alternative whose kind fits: the others differ in a type or a fixed value already.
fn meant<'a>(alternatives: &'a [Vec<ValidationError<'static>>]) -> Option<&'a ValidationError<'static>> {
    let fits = |errors: &&Vec<ValidationError<'static>>| {
        !errors.iter().any(|error| {
            matches!(
                error.kind(),
                ValidationErrorKind::Constant { .. }
                    | ValidationErrorKind::Enum { .. }
                    | ValidationErrorKind::Type { .. }
            )
        })
    };
    let mut fitting = alternatives.iter().filter(fits);
    let only = fitting.next()?;
    if fitting.next().is_some() { None } else { only.first() }
}

/// All types known at one moment.
#[derive(Debug, Default)]
pub struct Catalogue {
    types: BTreeMap<String, TypeDefinition>,
}

impl Catalogue {
    /// The host's types and those of all plugin versions. Of several definitions of a type the first installed one that
    /// has a schema stands. A schema that cannot be used is logged and not enforced; adding a plugin refuses it before.
    #[must_use]
    pub fn build<'a>(versions: impl IntoIterator<Item = (Timestamp, &'a Manifest)>) -> Self {
        let mut catalogue = Self::default();
        for entry in host_types::all() {
            catalogue.enter(&entry, Some("host"), None);
        }
        let mut versions: Vec<_> = versions.into_iter().collect();
        versions.sort_by(|(a, left), (b, right)| (a, &left.id, &left.version).cmp(&(b, &right.id, &right.version)));
        for (_, manifest) in versions {
            for entry in manifest.emits.iter().filter(|entry| is_exact(&entry.name)) {
                catalogue.enter(entry, Some(&manifest.id), None);
            }
            for entry in manifest.handles.iter().filter(|entry| is_exact(&entry.name)) {
                catalogue.enter(entry, None, Some(&manifest.id));
            }
        }
        catalogue
    }

    /// The definition of a type.
    #[must_use]
    pub fn get(&self, event_type: &str) -> Option<&TypeDefinition> {
        self.types.get(event_type)
    }

    /// All types, by name.
    pub fn iter(&self) -> impl Iterator<Item = &TypeDefinition> {
        self.types.values()
    }

    /// Checks `data` against the schema of its type. Types without one, or not in the catalogue, take anything.
    ///
    /// # Errors
    /// The first place that breaks the schema.
    pub fn check(&self, event_type: &str, data: &Value) -> Result<(), SchemaFault> {
        match self.get(event_type).and_then(|definition| definition.validator.as_ref()) {
            Some(validator) => check_against(validator, data),
            None => Ok(()),
        }
    }

    /// Whether a type is a command. Types that are not in the catalogue are events.
    #[must_use]
    pub fn is_command(&self, event_type: &str) -> bool {
        self.get(event_type).is_some_and(|definition| definition.kind == EventKind::Command)
    }

    fn enter(&mut self, entry: &EventType, emitted_by: Option<&str>, handled_by: Option<&str>) {
        let parsed = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let definition = self.types.entry(entry.name.clone()).or_insert_with(|| TypeDefinition {
            name: entry.name.clone(),
            kind: entry.kind,
            description: entry.description.clone(),
            schema: None,
            example: parsed(&entry.example),
            emitted_by: Vec::new(),
            handled_by: Vec::new(),
            persons: Vec::new(),
            validator: None,
        });
        for (list, name) in [(&mut definition.emitted_by, emitted_by), (&mut definition.handled_by, handled_by)] {
            if let Some(name) = name
                && !list.iter().any(|known| known == name)
            {
                list.push(name.to_owned());
            }
        }
        if definition.schema.is_some() {
            return;
        }
        let Some(schema) = parsed(&entry.schema) else { return };
        match compile_schema(&entry.name, &schema) {
            Ok(validator) => {
                definition.persons = persons::fields(&schema);
                definition.example = parsed(&entry.example).or_else(|| definition.example.take());
                definition.description.clone_from(&entry.description);
                definition.schema = Some(Arc::new(schema));
                definition.validator = Some(validator);
            }
            Err(error) => tracing::warn!(error = %error, "a schema is not enforced"),
        }
    }
}

/// Patterns and private types have no entry.
fn is_exact(name: &str) -> bool {
    !name.contains('*') && !name.starts_with('_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event_type(name: &str, kind: EventKind, schema: Option<Value>) -> EventType {
        EventType {
            name: name.to_owned(),
            kind,
            ordering_key: None,
            description: format!("About {name}."),
            schema: schema.map(|schema| schema.to_string()),
            example: None,
        }
    }

    fn manifest(id: &str, emits: Vec<EventType>, handles: Vec<EventType>) -> Manifest {
        Manifest {
            id: id.to_owned(),
            version: "1.0.0".to_owned(),
            api: "0.1".to_owned(),
            description: String::new(),
            emits,
            handles,
            config_schema: "{}".to_owned(),
            connections: Vec::new(),
            secrets: Vec::new(),
            schedules: Vec::new(),
            limits: crate::plugin::model::LimitsRequest::default(),
            metrics: Vec::new(),
            extensions: None,
        }
    }

    fn text_field(name: &str) -> Value {
        json!({"type": "object", "required": [name], "properties": {(name): {"type": "string"}}})
    }

    #[test]
    fn every_type_of_the_host_has_a_schema_that_its_example_follows() {
        let catalogue = Catalogue::build([]);
        let mut count = 0;
        for definition in catalogue.iter() {
            count += 1;
            let example = definition.example.as_ref().expect("an example");
            assert!(definition.schema.is_some(), "{}", definition.name);
            assert_eq!(catalogue.check(&definition.name, example), Ok(()), "{}", definition.name);
            assert_eq!(definition.emitted_by, ["host"]);
        }
        assert_eq!(count, 10);
    }

    #[test]
    fn the_first_installed_definition_stands() {
        let old =
            manifest("billy", vec![event_type("invoice.paid", EventKind::Event, Some(text_field("number")))], vec![]);
        let new = manifest("other", vec![event_type("invoice.paid", EventKind::Event, Some(text_field("id")))], vec![]);
        let catalogue = Catalogue::build([(Timestamp(2), &new), (Timestamp(1), &old)]);
        assert_eq!(catalogue.check("invoice.paid", &json!({"number": "1"})), Ok(()));
        let fault = catalogue.check("invoice.paid", &json!({"id": "1"})).unwrap_err();
        assert_eq!(fault.path, "/number");
        assert_eq!(catalogue.get("invoice.paid").unwrap().emitted_by, ["billy", "other"]);
    }

    #[test]
    fn a_definition_with_a_schema_fills_one_without() {
        let handler = manifest("rules", vec![], vec![event_type("invoice.paid", EventKind::Event, None)]);
        let emitter =
            manifest("billy", vec![event_type("invoice.paid", EventKind::Event, Some(text_field("id")))], vec![]);
        let catalogue = Catalogue::build([(Timestamp(1), &handler), (Timestamp(2), &emitter)]);
        assert!(catalogue.check("invoice.paid", &json!({})).is_err());
        assert_eq!(catalogue.get("invoice.paid").unwrap().handled_by, ["rules"]);
    }

    #[test]
    fn a_fault_names_the_path_and_not_the_value() {
        let schema = json!({"type": "object", "properties": {"lines": {"type": "array", "items": {
            "type": "object", "properties": {"price": {"type": "number"}}}}}});
        let plugin = manifest("billy", vec![], vec![event_type("invoice.create", EventKind::Command, Some(schema))]);
        let catalogue = Catalogue::build([(Timestamp(1), &plugin)]);
        let fault =
            catalogue.check("invoice.create", &json!({"lines": [{"price": 1}, {"price": "s3cret"}]})).unwrap_err();
        assert_eq!(fault.path, "/lines/1/price");
        assert!(fault.message.contains("number") && !fault.message.contains("s3cret"), "{fault}");
        assert!(catalogue.is_command("invoice.create"));
        assert!(!catalogue.is_command("never.heard_of"));
    }

    #[test]
    fn missing_and_unknown_members_and_meant_alternatives_are_named_by_their_path() {
        let schema = json!({"type": "object", "required": ["scheme"], "additionalProperties": false, "properties": {"scheme": {
        "oneOf": [
            {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "hmac"}, "size": {"type": "integer"}}},
            {"type": "object", "required": ["kind", "prefix"], "properties": {"kind": {"const": "standard"}}},
        ]}}});
        let validator = compile_schema("config", &schema).unwrap();
        let path = |value: Value| check_against(&validator, &value).unwrap_err().path;
        assert_eq!(path(json!({})), "/scheme");
        assert_eq!(path(json!({"scheme": {"kind": "hmac"}, "shceme": 1})), "/shceme");
        assert_eq!(path(json!({"scheme": {"kind": "standard"}})), "/scheme/prefix");
        assert_eq!(path(json!({"scheme": {"kind": "other"}})), "/scheme");
    }

    #[test]
    fn patterns_and_private_types_have_no_entry() {
        let entries = ["lead.*", "*", "_poll.due"].map(|name| event_type(name, EventKind::Event, None));
        let catalogue = Catalogue::build([(Timestamp(1), &manifest("rules", entries.to_vec(), entries.to_vec()))]);
        assert_eq!(catalogue.iter().count(), 10);
        assert_eq!(catalogue.check("_poll.due", &json!(1)), Ok(()));
    }

    #[test]
    fn remote_references_and_backtracking_patterns_are_refused() {
        assert!(compile_schema("x", &json!({"$ref": "https://example.com/schema.json"})).is_err());
        assert!(compile_schema("x", &json!({"$ref": "file:///etc/passwd"})).is_err());
        assert!(compile_schema("x", &json!({"pattern": "(?=a)b"})).is_err());
        assert!(compile_schema("x", &json!({"type": "nonsense"})).is_err());
        assert!(compile_schema("x", &json!({"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"})).is_ok());
    }

    #[test]
    fn persons_are_found_in_data() {
        let schema = json!({"type": "object", "properties": {"from": {"type": "string", "x-person": "phone"}}});
        let plugin = manifest("twilio", vec![event_type("sms.received", EventKind::Event, Some(schema))], vec![]);
        let catalogue = Catalogue::build([(Timestamp(1), &plugin)]);
        let data = json!({"from": "+4512345678"});
        let found = catalogue.get("sms.received").unwrap().persons_in(&data);
        assert_eq!(found, [(PersonKind::Phone, "+4512345678")]);
    }
}
