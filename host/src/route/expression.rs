//! CEL expressions: compiled once, cheap and bounded at every event. Filters of endpoints and the parts of rules are both
//! made of them; a [`Vocabulary`] says what each may name and build.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError, Value,
    common::{ast::IdedExpr, value::Val},
    context::VariableResolver,
    objects::{Key, Map},
};
use regex::Regex;

use super::filter::{FilterError, bounds};

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// What an expression may name and build.
#[derive(Debug)]
pub struct Vocabulary {
    /// Its variables. Those of [`Vocabulary::fields`] have fixed fields.
    pub variables: &'static [&'static str],
    /// Whether it may build maps and lists from data. Then what it names is limited as well, since each naming may copy.
    pub builds: bool,
}

impl Vocabulary {
    /// What a filter of an endpoint sees.
    pub const FILTER: Self = Self { variables: &["event", "data"], builds: false };

    /// What the condition of a rule sees.
    pub const CONDITION: Self = Self { variables: &["event", "data", "settings", "tenant", "local"], builds: false };

    /// What the mappings of a rule see; these build what is emitted.
    pub const MAPPING: Self = Self { builds: true, ..Self::CONDITION };

    /// The fields of a variable that has no others.
    #[must_use]
    pub fn fields(variable: &str) -> Option<&'static [&'static str]> {
        match variable {
            "event" => Some(&["id", "type", "source", "subject", "time", "urgency"]),
            "tenant" => Some(&["id", "name", "time_zone"]),
            "local" => Some(&["date", "time", "hour", "minute", "weekday"]),
            _ => None,
        }
    }
}

/// A compiled expression.
pub struct Expression {
    source: String,
    root: IdedExpr,
    /// The patterns of its `matches` calls; the n-th is called as `bounds::pattern_function(n)`.
    patterns: Vec<(String, Arc<Regex>)>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

impl Expression {
    /// Parses and checks an expression.
    ///
    /// # Errors
    /// The first thing that is wrong: syntax, length, depth, an unknown variable, field or function, or a construct whose
    /// cost has no bound.
    pub fn compile(source: &str, vocabulary: &Vocabulary) -> Result<Self, FilterError> {
        Self::compile_with(source, vocabulary, |_, _| Ok(()))
    }

    /// The same, with `look` at what was parsed before it is made ready. `look` may refuse a node by its id.
    ///
    /// # Errors
    /// As [`Expression::compile`], or what `look` says.
    pub fn compile_with(
        source: &str,
        vocabulary: &Vocabulary,
        look: impl FnOnce(&IdedExpr, &dyn Fn(u64) -> (usize, usize)) -> Result<(), FilterError>,
    ) -> Result<Self, FilterError> {
        bounds::check_text(source)?;
        let program = ENV.compile(source).map_err(|errors| bounds::syntax_error(&errors))?;
        let mut root = program.expression().clone();
        let original = root.clone();
        let patterns = bounds::check_expression(&mut root, program.source_info(), vocabulary)?;
        look(&original, &|id| bounds::place(program.source_info(), id))?;
        Ok(Self { source: source.to_owned(), root, patterns })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its value over these variables.
    ///
    /// # Errors
    /// It cannot be evaluated: a missing field, types that do not fit. The text of the error may hold values; see
    /// [`why`].
    pub fn value(&self, variables: &dyn VariableResolver) -> Result<Value, ExecutionError> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.set_variable_resolver(variables);
        for (function, regex) in &self.patterns {
            let regex = Arc::clone(regex);
            let matches = move |text: Arc<String>| -> Result<Value, ExecutionError> {
                if text.len() > bounds::MAX_PATTERN_TEXT {
                    return Err(ExecutionError::function_error("matches", "the text is too long for a pattern"));
                }
                Ok(Value::Bool(regex.is_match(&text)))
            };
            context
                .add_function(function, matches)
                .map_err(|_| ExecutionError::InternalError("a pattern cannot be called".to_owned()))?;
        }
        Value::resolve(&self.root, &context)
    }
}

/// Why an expression could not be evaluated, without any value.
#[must_use]
pub fn why(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => format!("there is no field `{name}`; ask with `has(..)` first"),
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::ValuesNotComparable(..) => {
            "the types of the values do not fit its operators; convert them by int(..), double(..) or string(..)"
                .to_owned()
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by zero".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "a list is shorter than its index; ask with `size(..)` first".to_owned(),
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        ExecutionError::FunctionError { function, .. } => format!("the function `{function}` cannot take the value"),
        ExecutionError::DuplicateKey(_) => "a map names a key twice".to_owned(),
        _ => "it cannot be evaluated on this event".to_owned(),
    }
}

/// A variable with this value.
#[must_use]
pub fn variable(value: Value) -> Box<dyn Val> {
    <Box<dyn Val>>::try_from(value).unwrap_or_else(|_| Box::new(cel::common::types::CelNull))
}

/// Text as a value.
#[must_use]
pub fn text(value: &str) -> Value {
    Value::String(Arc::new(value.to_owned()))
}

/// A map with these fields.
pub fn map(fields: impl Iterator<Item = (String, Value)>) -> Value {
    let map = fields.map(|(name, value)| (Key::String(Arc::new(name)), value)).collect();
    Value::Map(Map { map: Arc::new(map) })
}

/// Whole numbers become `int` where they fit, so that an expression compares and adds them with plain literals.
#[must_use]
pub fn of_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(value) => text(value),
        serde_json::Value::Array(items) => Value::List(Arc::new(items.iter().map(of_json).collect())),
        serde_json::Value::Object(fields) => map(fields.iter().map(|(name, value)| (name.clone(), of_json(value)))),
    }
}

/// A value as JSON, if it has no more than `bytes` of text and numbers in it and nothing that JSON does not know.
///
/// # Errors
/// What is in the way.
pub fn to_json(value: &Value, bytes: &mut usize) -> Result<serde_json::Value, String> {
    let mut take = |needed: usize| match bytes.checked_sub(needed) {
        Some(left) => {
            *bytes = left;
            Ok(())
        }
        None => Err("it makes more data than an event may have".to_owned()),
    };
    Ok(match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(int) => {
            take(8)?;
            (*int).into()
        }
        Value::UInt(uint) => {
            take(8)?;
            (*uint).into()
        }
        Value::Float(float) => {
            take(8)?;
            serde_json::Number::from_f64(*float).ok_or("a number is not finite")?.into()
        }
        Value::String(text) => {
            take(text.len() + 2)?;
            text.as_str().into()
        }
        Value::List(items) => {
            take(2)?;
            serde_json::Value::Array(items.iter().map(|item| to_json(item, bytes)).collect::<Result<_, _>>()?)
        }
        Value::Map(map) => {
            take(2)?;
            let mut object = serde_json::Map::new();
            for (key, value) in map.map.iter() {
                let Key::String(name) = key else { return Err("the keys of a map must be texts".to_owned()) };
                *bytes = bytes.checked_sub(name.len() + 4).ok_or("it makes more data than an event may have")?;
                object.insert(name.to_string(), to_json(value, bytes)?);
            }
            object.into()
        }
        _ => return Err("it makes a value that JSON does not have".to_owned()),
    })
}
