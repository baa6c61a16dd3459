//! What checking a value against a schema may cost.
//!
//! Each place of a schema is met at most once for each value, unless references bring the same place in several times:
//! thirty definitions that each refer to the next one twice are a thousand million places. So references are counted
//! as what they stand for, and a definition may not contain itself.

use std::collections::BTreeMap;

use serde_json::Value;

/// The most places that a schema may have, references counted as what they stand for.
const MAX_PLACES: usize = 10_000;

/// How many definitions may stand inside each other, one referring to the next.
const MAX_REFERENCES: usize = 32;

/// Refuses a schema whose checks could take long.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut count = Count { root: schema, known: BTreeMap::new(), depth: 0 };
    match count.places(schema)? {
        places if places > MAX_PLACES => Err(format!(
            "it has more than {MAX_PLACES} places once each $ref stands for what it refers to; simplify it"
        )),
        _ => Ok(()),
    }
}

struct Count<'a> {
    root: &'a Value,
    /// The places below a reference; none while they are being counted.
    known: BTreeMap<&'a str, Option<usize>>,
    depth: usize,
}

impl<'a> Count<'a> {
    fn places(&mut self, schema: &'a Value) -> Result<usize, String> {
        match schema {
            Value::Object(members) => {
                let mut places = 1_usize;
                for (name, value) in members {
                    let inner = match (name.as_str(), value) {
                        // Definitions cost where they are referred to. What stands in these is data and no schema.
                        ("$defs" | "definitions" | "const" | "enum" | "default" | "examples" | "example", _) => 0,
                        ("$ref", Value::String(reference)) => self.referred(reference)?,
                        ("$dynamicRef" | "$recursiveRef", _) => {
                            return Err(format!("{name} is not offered; use $ref"));
                        }
                        _ => self.places(value)?,
                    };
                    places = places.saturating_add(inner);
                }
                Ok(places)
            }
            Value::Array(items) => {
                items.iter().try_fold(0_usize, |places, item| Ok(places.saturating_add(self.places(item)?)))
            }
            _ => Ok(0),
        }
    }

    fn referred(&mut self, reference: &'a str) -> Result<usize, String> {
        match self.known.get(reference) {
            Some(Some(places)) => return Ok(*places),
            Some(None) => {
                return Err(format!("the definition {reference} contains itself, so that its depth has no bound"));
            }
            None => {}
        }
        let root = self.root;
        let pointer = reference.strip_prefix('#').filter(|pointer| pointer.starts_with('/'));
        let Some(definition) = pointer.and_then(|pointer| root.pointer(pointer)) else {
            return Err(format!("{reference} is no definition of this schema: write `#/$defs/<name>`"));
        };
        if self.depth == MAX_REFERENCES {
            return Err(format!(
                "more than {MAX_REFERENCES} definitions refer to each other in a row, up to {reference}"
            ));
        }
        self.known.insert(reference, None);
        self.depth += 1;
        let places = self.places(definition)?;
        self.depth -= 1;
        self.known.insert(reference, Some(places));
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Definitions that each refer to the next one twice.
    fn doubling(levels: usize) -> Value {
        let mut definitions = serde_json::Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            definitions.insert(format!("d{level}"), json!({"allOf": [next, next]}));
        }
        definitions.insert(format!("d{levels}"), json!({"type": "string"}));
        json!({"$defs": definitions, "$ref": "#/$defs/d0"})
    }

    #[test]
    fn definitions_that_double_are_counted_as_what_they_stand_for() {
        assert_eq!(check(&doubling(8)), Ok(()));
        for levels in [14, 30] {
            assert!(check(&doubling(levels)).unwrap_err().contains("10000 places"), "{levels}");
        }
        assert!(check(&doubling(20_000)).unwrap_err().contains("32 definitions"));
    }

    #[test]
    fn a_definition_that_contains_itself_is_refused_and_named() {
        let tree = json!({"$defs": {"tree": {"anyOf": [{"items": {"$ref": "#/$defs/tree"}}, {"type": "null"}]}}, "$ref": "#/$defs/tree"});
        assert!(check(&tree).unwrap_err().contains("#/$defs/tree contains itself"));
        assert!(check(&json!({"properties": {"a": {"$ref": "#"}}})).is_err());
        assert!(check(&json!({"$dynamicRef": "#/a"})).unwrap_err().contains("use $ref"));
        assert!(check(&json!({"$ref": "#/$defs/nowhere"})).unwrap_err().contains("nowhere"));
        assert!(check(&json!({"const": {"$ref": "https://example.com/"}})).is_ok());
    }
}
