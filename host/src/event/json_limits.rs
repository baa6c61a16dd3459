//! The shape that JSON may have: judged on the raw bytes, before anything is parsed or allocated.

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 64;

/// How many values a document may have, the outermost one included.
pub const MAX_NODES: usize = 10_000;

/// Why a document is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
}

/// Checks depth and number of values. Bytes that are no JSON pass or fail; the parser that comes next refuses them. One
/// pass, no allocation.
///
/// # Errors
/// The first limit that is passed.
pub fn check_json_limits(bytes: &[u8]) -> Result<(), JsonLimit> {
    let (mut depth, mut nodes) = (0_usize, 0_usize);
    let mut at = 0;
    // Whether the last token ended a value or was a separator, so that each scalar counts once.
    let mut inside_scalar = false;
    while at < bytes.len() {
        let byte = bytes[at];
        let starts_value = match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(JsonLimit::TooDeep { at });
                }
                true
            }
            b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => !inside_scalar,
            _ => false,
        };
        inside_scalar = match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                false
            }
            b'{' | b'[' | b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => false,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                false
            }
            _ => true,
        };
        // A member's name was counted when its string began: the colon takes it back.
        if byte == b':' {
            nodes = nodes.saturating_sub(1);
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
