//! Whether what rules name exists and what they emit fits: asked when rules are saved, and told with rule, line and column.
//!
//! What depends on an event is not judged here. So a mapping is held against the schema of its type as far as it is
//! written down: its fields, its literals, and the kinds of what its functions answer.

use cel::IdedExpr;
use serde_json::{Map, Value};

use super::{
    definition::{Emission, MAX_OWN_TYPES, Rule, RuleMode, Rules},
    fault::{Faults, RuleFault},
    set,
    shape::{self, NodeId, Shape},
};
use crate::{
    clock::Timestamp,
    event::{
        EventType,
        catalogue::{Catalogue, check_against, compile_schema},
    },
    plugin::{grant::Grants, model::EventKind},
    route::{
        expression::{Expression, Vocabulary},
        filter::FilterError,
        pattern::TypePattern,
    },
    schedule::cron::{Cron, CronError},
};

/// How many references of a schema are followed one after the other.
const MAX_REFERENCES: usize = 8;

/// The longest delay that spreads a schedule, in seconds.
pub const MAX_JITTER_S: u32 = 3600;

/// What rules are held against.
pub struct Surroundings<'a> {
    /// The types that there are.
    pub catalogue: &'a Catalogue,
    /// What the installation may emit; none where there is no installation yet.
    pub grants: Option<&'a Grants>,
    /// The tenant's zone.
    pub time_zone: &'a str,
    /// Schedules must come true after this.
    pub now: Timestamp,
}

/// Everything that is wrong with these rules.
#[must_use]
pub fn check(rules: &Rules, around: &Surroundings<'_>) -> Vec<RuleFault> {
    let (_, mut faults) = set::compile(rules);
    let types = &Types { catalogue: around.catalogue, own: &rules.own_types };
    faults.extend(own_types(rules));
    for (index, rule) in rules.rules.iter().enumerate() {
        let mut found = Faults { index, rule: &rule.name, found: Vec::new() };
        check_types(rule, types, &mut found);
        check_schedule(rule, around, &mut found);
        check_condition(rule, around, &mut found);
        for (n, emission) in rule.emit.iter().enumerate() {
            check_emission(rule, n, emission, around, types, &mut found);
        }
        // Compiling has told of what it cannot read already.
        let known: Vec<_> = faults.iter().map(RuleFault::path).collect();
        faults.extend(found.found.into_iter().filter(|fault| !known.contains(&fault.path())));
    }
    faults.sort_by_key(|fault| fault.index);
    faults
}

/// The types that there are: those of the catalogue, and those that the tenant calls its own.
struct Types<'a> {
    catalogue: &'a Catalogue,
    own: &'a [String],
}

impl Types<'_> {
    fn has(&self, name: &str) -> bool {
        self.catalogue.get(name).is_some() || self.own.iter().any(|own| own == name)
    }

    fn any_of(&self, pattern: &TypePattern) -> bool {
        let covers = |name: &str| name.parse().is_ok_and(|known: EventType| pattern.matches(&known));
        self.catalogue.iter().any(|known| covers(&known.name)) || self.own.iter().any(|own| covers(own))
    }

    /// What to say of a type that there is not: the known ones that begin alike.
    fn unknown(&self, name: &EventType) -> String {
        let noun = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let catalogue = self.catalogue.iter().map(|known| known.name.as_str());
        let known = catalogue.chain(self.own.iter().map(String::as_str));
        let alike: Vec<_> = known.filter(|known| noun(known) == noun(name.as_str())).take(8).collect();
        let there = if alike.is_empty() { String::new() } else { format!("there are {}; ", alike.join(", ")) };
        format!("there is no event type `{name}`; {there}name one of your own in `own_types`")
    }
}

/// What is wrong with the tenant's own types, told of the set as a whole.
fn own_types(rules: &Rules) -> Vec<RuleFault> {
    let fault =
        |message: String| RuleFault { index: 0, rule: String::new(), field: "own_types".to_owned(), at: None, message };
    if rules.own_types.len() > MAX_OWN_TYPES {
        return vec![fault(format!("at most {MAX_OWN_TYPES}"))];
    }
    let wrong = rules.own_types.iter().filter_map(|own| match own.parse::<EventType>() {
        Ok(parsed) if parsed.is_private() => Some(fault(format!("`{own}` is private to a plugin"))),
        Ok(_) => None,
        Err(error) => Some(fault(format!("`{own}`: {error}"))),
    });
    wrong.collect()
}

fn check_types(rule: &Rule, types: &Types<'_>, faults: &mut Faults<'_>) {
    if rule.is_scheduled() {
        return;
    }
    for on in rule.on.all() {
        match on.parse::<TypePattern>() {
            Ok(TypePattern::Exact(exact)) if types.catalogue.is_command(exact.as_str()) => {
                faults.add("on", format!("`{exact}` is a command, which goes to its handler alone; name an event"));
            }
            Ok(TypePattern::Exact(exact)) if !exact.is_private() && !types.has(exact.as_str()) => {
                faults.add("on", types.unknown(&exact));
            }
            Ok(pattern) if !pattern.is_exact() && !types.any_of(&pattern) => {
                faults.add("on", format!("`{pattern}` covers no event type that there is; see /v1/event-types"));
            }
            // Compiling tells of what is no type; `schedule` among others is one such.
            Ok(_) | Err(_) => {}
        }
    }
}

fn check_schedule(rule: &Rule, around: &Surroundings<'_>, faults: &mut Faults<'_>) {
    let Some(expression) = rule.cron.as_deref().filter(|_| rule.is_scheduled()) else { return };
    let zone = rule.time_zone.as_deref().unwrap_or(around.time_zone);
    match Cron::parse_useful(expression, zone, around.now) {
        Ok(_) => {}
        Err(error @ CronError::Zone(_)) => faults.add("time_zone", error.to_string()),
        Err(error) => faults.add("cron", error.to_string()),
    }
    if rule.jitter_s.is_some_and(|jitter| jitter > MAX_JITTER_S) {
        faults.add("jitter_s", format!("at most {MAX_JITTER_S} seconds"));
    }
}

fn check_condition(rule: &Rule, around: &Surroundings<'_>, faults: &mut Faults<'_>) {
    let fields = DataFields::of(rule, around.catalogue);
    if let Some(when) = &rule.when {
        let looked = look(when, &Vocabulary::CONDITION, |root, place| {
            if shape::of(root).is_no_condition() {
                return refuse(
                    place(root.id),
                    "a condition must be true or false: compare it, as in `data.total > 100`",
                );
            }
            fields.check(root, place)
        });
        faults.take("when", looked);
    }
    let keys = [
        ("once_per".to_owned(), rule.once_per.as_ref()),
        ("throttle.key".to_owned(), rule.throttle.as_ref().and_then(|throttle| throttle.key.as_ref())),
    ];
    let subjects = rule.emit.iter().enumerate().map(|(n, said)| (format!("emit[{n}].subject"), said.subject.as_ref()));
    let orders =
        rule.emit.iter().enumerate().map(|(n, said)| (format!("emit[{n}].ordering_key"), said.ordering_key.as_ref()));
    for (field, source) in keys.into_iter().chain(subjects).chain(orders) {
        let is_text = field.starts_with("emit");
        let Some(source) = source else { continue };
        let vocabulary = if is_text { &Vocabulary::CONDITION } else { &Vocabulary::MAPPING };
        let looked = look(source, vocabulary, |root, place| {
            if is_text && shape::of(root).is_no_text() {
                return refuse(place(root.id), "it must make a text; write string(..) around it");
            }
            fields.check(root, place)
        });
        faults.take(&field, looked);
    }
}

fn check_emission(
    rule: &Rule,
    n: usize,
    emission: &Emission,
    around: &Surroundings<'_>,
    types: &Types<'_>,
    faults: &mut Faults<'_>,
) {
    let field = |name: &str| format!("emit[{n}].{name}");
    let name = emission.event_type.as_str();
    match name.parse::<EventType>() {
        Ok(parsed) if parsed.is_private() => {
            faults.add(field("type"), format!("`{name}` is private to a plugin"));
        }
        Ok(parsed) if !types.has(name) => faults.add(field("type"), types.unknown(&parsed)),
        Ok(_) => {}
        Err(error) => faults.add(field("type"), format!("`{name}`: {error}")),
    }
    if let Some(grants) = around.grants
        && rule.mode == RuleMode::Live
    {
        if let Err(denied) = grants.may_emit(name) {
            faults.add(field("type"), denied.to_string());
        }
        if emission.emergency
            && let Err(denied) = grants.may_raise_emergency()
        {
            faults.add(field("emergency"), denied.to_string());
        }
    }
    let fields = DataFields::of(rule, around.catalogue);
    let schema = around.catalogue.get(name).and_then(|definition| definition.schema.as_deref());
    let looked = look(&emission.data, &Vocabulary::MAPPING, |root, place| {
        let made = shape::of(root);
        if made.is_no_object() {
            return refuse(place(root.id), "it must make a map, as in `{'to': data.from}`");
        }
        if let Some(schema) = schema {
            Against { schema, place }.check(schema, "data", root.id, &made)?;
        }
        fields.check(root, place)
    });
    faults.take(&field("data"), looked);
}

/// Where a node stands.
type Place<'a> = &'a dyn Fn(NodeId) -> (usize, usize);

fn look(
    source: &str,
    vocabulary: &Vocabulary,
    at: impl FnOnce(&IdedExpr, Place<'_>) -> Result<(), FilterError>,
) -> Result<(), FilterError> {
    Expression::compile_with(source, vocabulary, at).map(drop)
}

fn refuse(at: (usize, usize), message: impl Into<String>) -> Result<(), FilterError> {
    Err(FilterError { line: at.0, column: at.1, message: message.into() })
}

/// A mapping against the schema of what it makes.
struct Against<'a> {
    schema: &'a Value,
    place: Place<'a>,
}

impl Against<'_> {
    fn check(&self, schema: &Value, path: &str, node: NodeId, made: &Shape) -> Result<(), FilterError> {
        let Some(schema) = resolved(self.schema, schema) else { return Ok(()) };
        match made {
            Shape::Unknown => Ok(()),
            Shape::Literal(value) => self.literal(&schema, path, node, value),
            Shape::Kind(kind) => self.kind(&schema, path, node, kind.as_str()),
            Shape::List(items) => {
                self.kind(&schema, path, node, "array")?;
                let Some(each) = schema.get("items") else { return Ok(()) };
                items
                    .iter()
                    .enumerate()
                    .try_for_each(|(n, (node, item))| self.check(each, &format!("{path}[{n}]"), *node, item))
            }
            Shape::Object(fields) => {
                self.kind(&schema, path, node, "object")?;
                self.object(&schema, path, node, fields)
            }
        }
    }

    fn object(
        &self,
        schema: &Map<String, Value>,
        path: &str,
        node: NodeId,
        fields: &[(String, NodeId, Shape)],
    ) -> Result<(), FilterError> {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let there = |name: &str| fields.iter().any(|(field, ..)| field == name);
        let missing: Vec<_> = required.filter_map(Value::as_str).filter(|name| !there(name)).collect();
        if !missing.is_empty() {
            return refuse((self.place)(node), format!("{path} lacks {}, which its type requires", missing.join(", ")));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, node, made) in fields {
            match properties.and_then(|properties| properties.get(name)) {
                Some(property) => self.check(property, &format!("{path}.{name}"), *node, made)?,
                None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    let known: Vec<_> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                    let message = format!("{path} has no field `{name}`; it has {}", known.join(", "));
                    return refuse((self.place)(*node), message);
                }
                None => {}
            }
        }
        Ok(())
    }

    fn kind(&self, schema: &Map<String, Value>, path: &str, node: NodeId, kind: &str) -> Result<(), FilterError> {
        let allowed: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => return Ok(()),
        };
        if allowed.contains(&kind) || (kind == "integer" && allowed.contains(&"number")) || allowed.is_empty() {
            return Ok(());
        }
        // A number may turn out to be whole.
        if kind == "number" && allowed.contains(&"integer") {
            return Ok(());
        }
        refuse((self.place)(node), format!("{path} must be of type {}, and this makes a {kind}", allowed.join(" or ")))
    }

    /// A literal is judged by the schema itself, beside which the whole document's definitions stand.
    fn literal(&self, schema: &Map<String, Value>, path: &str, node: NodeId, value: &Value) -> Result<(), FilterError> {
        let mut alone = schema.clone();
        for definitions in ["$defs", "definitions"] {
            if let Some(all) = self.schema.get(definitions) {
                alone.insert(definitions.to_owned(), all.clone());
            }
        }
        let Ok(validator) = compile_schema("a field", &Value::Object(alone)) else { return Ok(()) };
        check_against(&validator, value)
            .or_else(|fault| refuse((self.place)(node), format!("{path}{}: {}", fault.path, fault.message)))
    }
}

/// A schema with its reference inside the document followed. None where nothing can be told.
fn resolved(document: &Value, schema: &Value) -> Option<Map<String, Value>> {
    let mut schema = schema.as_object()?;
    for _ in 0..MAX_REFERENCES {
        // What combines schemas beside it asks for more and allows no more, so that what is looked at here holds.
        let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { return Some(schema.clone()) };
        schema = document.pointer(reference.strip_prefix('#')?)?.as_object()?;
    }
    None
}

/// The fields that the data of a rule's events can have, where all their schemas say so.
struct DataFields<'a> {
    schemas: Vec<&'a Value>,
}

impl<'a> DataFields<'a> {
    /// Nothing is known where a pattern, a command or a type without a schema is among them.
    fn of(rule: &Rule, catalogue: &'a Catalogue) -> Self {
        let schema =
            |name: &String| catalogue.get(name).filter(|known| known.kind == EventKind::Event)?.schema.as_deref();
        let schemas: Option<Vec<_>> = rule.on.all().iter().map(schema).collect();
        Self { schemas: schemas.unwrap_or_default() }
    }

    fn check(&self, root: &IdedExpr, place: Place<'_>) -> Result<(), FilterError> {
        let mut paths = Vec::new();
        shape::data_paths(root, &mut paths);
        for (path, node) in paths {
            // Some type among several may have it.
            let faults: Option<Vec<String>> = self.schemas.iter().map(|schema| absent(schema, &path)).collect();
            if let Some(message) = faults.and_then(|faults| faults.into_iter().next()) {
                return refuse(place(node), message);
            }
        }
        Ok(())
    }
}

/// What to say if data of this schema can never have a field at the path.
fn absent(document: &Value, path: &[String]) -> Option<String> {
    let mut schema = resolved(document, document)?;
    let mut shown = "data".to_owned();
    for name in path {
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        let properties = schema.get("properties").and_then(Value::as_object)?;
        let Some(property) = properties.get(name) else {
            let known: Vec<_> = properties.keys().map(String::as_str).collect();
            return closed.then(|| format!("`{shown}` has no field `{name}`; it has {}", known.join(", ")));
        };
        shown = format!("{shown}.{name}");
        schema = resolved(document, property)?;
    }
    None
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
