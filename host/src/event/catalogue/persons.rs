//! Where a schema says that a person is named: fields annotated `"x-person": "phone"` or `"email"`.

use serde_json::Value;

use crate::connection::vault::PersonKind;

/// One step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The member of this name.
    Field(String),
    /// Every element of an array, or every member of an object.
    Each,
}

/// A place in data that names a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonField {
    steps: Vec<Step>,
    /// What stands there.
    pub kind: PersonKind,
}

/// Schemas deeper or with more marked fields than this are followed no further.
const MAX_DEPTH: usize = 16;
const MAX_FIELDS: usize = 64;
/// Subschemas visited, so that references cannot multiply without end.
const MAX_VISITS: usize = 4096;

impl PersonField {
    /// The place as a JSON Pointer, in which `*` stands for every element.
    #[must_use]
    pub fn pointer(&self) -> String {
        self.steps
            .iter()
            .map(|step| match step {
                Step::Field(name) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
                Step::Each => "/*".to_owned(),
            })
            .collect()
    }

    /// The texts that stand there in `data`.
    pub fn values<'a>(&self, data: &'a Value) -> impl Iterator<Item = (PersonKind, &'a str)> + use<'a> {
        let kind = self.kind;
        let mut reached = vec![data];
        for step in &self.steps {
            reached = reached
                .into_iter()
                .flat_map(|value| -> Vec<&'a Value> {
                    match (step, value) {
                        (Step::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
                        (Step::Each, Value::Array(items)) => items.iter().collect(),
                        (Step::Each, Value::Object(fields)) => fields.values().collect(),
                        _ => Vec::new(),
                    }
                })
                .collect();
        }
        reached.into_iter().filter_map(move |value| value.as_str().map(|text| (kind, text)))
    }
}

/// All marked fields of a schema, through properties, items, alternatives and references inside the document.
pub(super) fn fields(schema: &Value) -> Vec<PersonField> {
    let mut search = Search { root: schema, found: Vec::new(), visits: 0 };
    search.visit(schema, &mut Vec::new(), 0);
    search.found
}

struct Search<'a> {
    root: &'a Value,
    found: Vec<PersonField>,
    visits: usize,
}

impl<'a> Search<'a> {
    fn visit(&mut self, schema: &'a Value, path: &mut Vec<Step>, depth: usize) {
        self.visits += 1;
        if depth > MAX_DEPTH || self.visits > MAX_VISITS || self.found.len() >= MAX_FIELDS {
            return;
        }
        let kind = match schema.get("x-person").and_then(Value::as_str) {
            Some("phone") => Some(PersonKind::Phone),
            Some("email") => Some(PersonKind::Email),
            _ => None,
        };
        if let Some(kind) = kind {
            let field = PersonField { steps: path.clone(), kind };
            if !self.found.contains(&field) {
                self.found.push(field);
            }
        }
        for alternative in ["allOf", "anyOf", "oneOf"] {
            for part in schema.get(alternative).and_then(Value::as_array).into_iter().flatten() {
                self.visit(part, path, depth + 1);
            }
        }
        for conditional in ["then", "else"] {
            if let Some(part) = schema.get(conditional) {
                self.visit(part, path, depth + 1);
            }
        }
        let reference = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
        if let Some(target) = reference.and_then(|pointer| self.root.pointer(pointer)) {
            self.visit(target, path, depth + 1);
        }
        self.visit_parts(schema, path, depth);
    }

    fn visit_parts(&mut self, schema: &'a Value, path: &mut Vec<Step>, depth: usize) {
        for (name, part) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            path.push(Step::Field(name.clone()));
            self.visit(part, path, depth + 1);
            path.pop();
        }
        let repeated = ["items", "additionalProperties"].into_iter().filter_map(|keyword| schema.get(keyword));
        let prefixed = schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten();
        for part in repeated.chain(prefixed) {
            path.push(Step::Each);
            self.visit(part, path, depth + 1);
            path.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_fields_arrays_and_references_are_found() {
        let schema = json!({
            "$defs": {"party": {"properties": {"mail": {"x-person": "email"}}}},
            "properties": {
                "from": {"x-person": "phone"},
                "attendees": {"items": {"$ref": "#/$defs/party"}},
                "contact": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/party"}]},
                "by_role": {"additionalProperties": {"x-person": "phone"}},
                "a/b": {"x-person": "phone"},
                "plain": {"type": "string"}
            }
        });
        let found = fields(&schema);
        let pointers: Vec<_> = found.iter().map(PersonField::pointer).collect();
        assert_eq!(pointers, ["/from", "/attendees/*/mail", "/contact/mail", "/by_role/*", "/a~1b"]);
        let data = json!({"from": "+45", "attendees": [{"mail": "a@b"}, {"mail": 7}, {}, {"mail": "c@d"}], "contact": null,
            "by_role": {"owner": "+46"}});
        let values: Vec<_> = found.iter().flat_map(|field| field.values(&data)).collect();
        assert_eq!(
            values,
            [
                (PersonKind::Phone, "+45"),
                (PersonKind::Email, "a@b"),
                (PersonKind::Email, "c@d"),
                (PersonKind::Phone, "+46")
            ]
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}, "c": {"x-person": "phone"}}});
        let found = fields(&schema);
        assert!(!found.is_empty() && found.len() <= MAX_FIELDS);
    }
}
