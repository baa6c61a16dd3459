//! The shape that JSON may have: judged on the raw bytes, before anything is parsed.

use std::hash::{DefaultHasher, Hasher as _};

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 64;

/// How many values a document may have, the outermost one included.
pub const MAX_NODES: usize = 10_000;

/// Why a document is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonLimit {
    /// Arrays and objects nest too deeply.
    #[error("the JSON nests deeper than {MAX_DEPTH} levels (byte {at})")]
    TooDeep {
        /// Where the first level too many begins.
        at: usize,
    },
    /// It has too many values.
    #[error("the JSON has more than {MAX_NODES} values (byte {at})")]
    TooManyNodes {
        /// Where the first value too many begins.
        at: usize,
    },
    /// An object has two members of one name. Readers differ in which of them counts, so that a filter and a subscriber
    /// could see two different events.
    #[error("an object of the JSON has the name `{name}` twice (byte {at})")]
    Twice {
        /// The name, no longer than [`SHOWN`] characters.
        name: String,
        /// Where the second one begins.
        at: usize,
    },
}

/// How much of a name is shown.
const SHOWN: usize = 64;

/// Checks depth, number of values and names. Bytes that are no JSON pass or fail; the parser that comes next refuses
/// them. One pass; what it keeps is a hash for each name of the objects that are open.
///
/// # Errors
/// The first limit that is passed.
pub fn check_json_limits(bytes: &[u8]) -> Result<(), JsonLimit> {
    let mut nodes = 0_usize;
    let mut names = Names { all: Vec::new(), begins: [0; MAX_DEPTH], depth: 0 };
    let mut at = 0;
    // Whether the last token ended a value or was a separator, so that each scalar counts once.
    let mut inside_scalar = false;
    let mut last_text = 0..0;
    while at < bytes.len() {
        let byte = bytes[at];
        let starts_value = match byte {
            b'{' | b'[' => {
                if !names.open() {
                    return Err(JsonLimit::TooDeep { at });
                }
                true
            }
            b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => !inside_scalar,
            _ => false,
        };
        inside_scalar = match byte {
            b'"' => {
                let start = at;
                at = end_of_string(bytes, at);
                last_text = start..at;
                false
            }
            b'{' | b'[' | b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => false,
            b'}' | b']' => {
                names.close(bytes)?;
                false
            }
            _ => true,
        };
        // A member's name was counted when its string began: the colon takes it back. A name has one colon, so that a
        // long one is looked at once, whatever follows it.
        if byte == b':' && !last_text.is_empty() {
            nodes = nodes.saturating_sub(1);
            names.add(bytes, &std::mem::take(&mut last_text));
        }
        if starts_value {
            nodes += 1;
            // One above the limit may still be a name whose colon follows.
            if nodes > MAX_NODES + 1 {
                return Err(JsonLimit::TooManyNodes { at });
            }
        }
        at += 1;
    }
    if nodes > MAX_NODES { Err(JsonLimit::TooManyNodes { at: bytes.len() }) } else { Ok(()) }
}

/// The names of the objects that are open, as hashes with their places; the members of one object stand together.
struct Names {
    all: Vec<(u64, usize)>,
    /// Where the names of each open array or object begin.
    begins: [usize; MAX_DEPTH],
    depth: usize,
}

impl Names {
    /// False if that is one level too many.
    fn open(&mut self) -> bool {
        let Some(begin) = self.begins.get_mut(self.depth) else { return false };
        *begin = self.all.len();
        self.depth += 1;
        true
    }

    fn add(&mut self, bytes: &[u8], text: &std::ops::Range<usize>) {
        let mut hash = DefaultHasher::new();
        let quoted = bytes.get(text.start..=text.end).unwrap_or_default();
        match unescaped(quoted) {
            Some(name) => hash.write(name.as_bytes()),
            None => hash.write(bytes.get(text.start + 1..text.end).unwrap_or_default()),
        }
        self.all.push((hash.finish(), text.start));
    }

    fn close(&mut self, bytes: &[u8]) -> Result<(), JsonLimit> {
        let Some(depth) = self.depth.checked_sub(1) else { return Ok(()) };
        self.depth = depth;
        let begin = self.begins[depth];
        let names = self.all.get_mut(begin..).unwrap_or_default();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1);
        self.all.truncate(begin);
        match twice {
            None => Ok(()),
            Some(at) => {
                let text = bytes.get(at + 1..end_of_string(bytes, at)).unwrap_or_default();
                Err(JsonLimit::Twice { name: String::from_utf8_lossy(text).chars().take(SHOWN).collect(), at })
            }
        }
    }
}

/// What a name with escapes says: `"\u0061"` is the same name as `"a"`.
fn unescaped(quoted: &[u8]) -> Option<String> {
    if quoted.contains(&b'\\') { serde_json::from_slice(quoted).ok() } else { None }
}

/// The position of the quote that ends the string beginning at `start`, or the last byte.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn nodes(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(nodes).sum::<usize>(),
            Value::Object(fields) => fields.values().map(nodes).sum(),
            _ => 0,
        }
    }

    #[test]
    fn depth_counts_arrays_and_objects() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check_json_limits(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(matches!(check_json_limits(nested(MAX_DEPTH + 1).as_bytes()), Err(JsonLimit::TooDeep { at: 64 })));
        let wide = format!("[{}]", vec!["[]"; 100].join(","));
        assert!(check_json_limits(wide.as_bytes()).is_ok());
    }

    #[test]
    fn brackets_and_quotes_inside_text_do_not_count() {
        let text = json!({"a": "[[[{{{\"\\".repeat(100)}).to_string();
        assert!(check_json_limits(text.as_bytes()).is_ok());
    }

    #[test]
    fn values_are_counted_without_names() {
        let array = |count: usize| Value::Array(vec![json!(true); count]);
        assert!(check_json_limits(array(MAX_NODES - 1).to_string().as_bytes()).is_ok());
        assert!(check_json_limits(array(MAX_NODES).to_string().as_bytes()).is_err());
        let object = |count: usize| Value::Object((0..count).map(|n| (n.to_string(), json!(n))).collect());
        assert!(check_json_limits(object(MAX_NODES - 1).to_string().as_bytes()).is_ok());
        assert!(check_json_limits(object(MAX_NODES).to_string().as_bytes()).is_err());
    }

    #[test]
    fn a_name_twice_in_one_object_is_refused_and_named() {
        for (text, name, place) in [
            (r#"{"a":1,"a":2}"#, "a", 7),
            (r#"{"a":1,"\u0061":2}"#, "\\u0061", 7),
            (r#"{"x":[{"b":{},"c":[],"b":0}]}"#, "b", 21),
            (r#"{"":0,"":0}"#, "", 6),
        ] {
            let twice = JsonLimit::Twice { name: name.to_owned(), at: place };
            assert_eq!(check_json_limits(text.as_bytes()), Err(twice), "{text}");
        }
        let long = format!("{{\"{}\"{}", "x".repeat(500_000), ":".repeat(500_000));
        assert_eq!(check_json_limits(long.as_bytes()), Ok(()), "it is no JSON, and that is soon seen");
        for text in [r#"[{"a":1},{"a":1}]"#, r#"{"a":{"a":{"a":"a"}},"A":0}"#, r#"{"a":":","b":"a"}"#, r#"["a","a"]"#] {
            assert_eq!(check_json_limits(text.as_bytes()), Ok(()), "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f32>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| json!(f)),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 400, 12, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,6}", inner, 0..12)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn small_documents_always_pass(value in any_json()) {
            prop_assume!(nodes(&value) <= MAX_NODES);
            prop_assert_eq!(check_json_limits(value.to_string().as_bytes()), Ok(()));
            let pretty = serde_json::to_vec_pretty(&value).unwrap();
            prop_assert_eq!(check_json_limits(&pretty), Ok(()));
        }

        #[test]
        fn a_repeated_document_fails_exactly_when_its_values_are_too_many(value in any_json(), times in 1_usize..3000) {
            let total = 1 + nodes(&value) * times;
            prop_assume!(total < 4 * MAX_NODES);
            let text = format!("[{}]", vec![value.to_string(); times].join(","));
            prop_assert_eq!(check_json_limits(text.as_bytes()).is_ok(), total <= MAX_NODES);
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = check_json_limits(&bytes);
        }
    }
}
