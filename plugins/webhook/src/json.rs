use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What the hub takes as an event's data: no deeper, with no more values, and no name twice in one object, since readers
/// differ in which of two members counts.
const MAX_DEPTH: usize = 64;

/// See there.
pub const MAX_VALUES: usize = 10_000;

/// Room for the object that what is no object is put into.
const SPARE: usize = 1;

/// Parses a body that a hub takes as data.
pub fn parse(body: &[u8]) -> Result<Value, serde_json::Error> {
    let values = Cell::new(SPARE);
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Strict { depth: SPARE, values: &values }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads one value within its bounds.
struct Strict<'a> {
    depth: usize,
    values: &'a Cell<usize>,
}

impl Strict<'_> {
    fn inner<E: Error>(&self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("it nests deeper than {MAX_DEPTH} levels")));
        }
        Ok(Strict { depth: self.depth + 1, values: self.values })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > MAX_VALUES {
            return Err(D::Error::custom(format_args!("it has more than {MAX_VALUES} values")));
        }
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self.inner::<A::Error>()?)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self.inner::<A::Error>()?)?;
            if object.contains_key(&name) {
                return Err(A::Error::custom("an object has a name twice"));
            }
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_json_is_read_as_it_is() {
        let text = r#"{"a":[1,-2,3.5,true,null,"\u00e6"],"b":{"a":{}}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn what_the_hub_would_not_take_is_refused_with_the_reason() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let wide = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
        assert!(parse(deep(62).as_bytes()).is_ok() && parse(wide(9_990).as_bytes()).is_ok());
        for (text, why) in [
            (deep(64), "64 levels"),
            (deep(100_000), "64 levels"),
            (wide(10_000), "10000 values"),
            (r#"{"a":1,"\u0061":2}"#.to_owned(), "twice"),
            ("1 2".to_owned(), "trailing"),
            (r#""\ud800""#.to_owned(), ""),
            ("1e999".to_owned(), ""),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}
