use std::fmt;

use serde::Deserialize;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use crate::json;

/// Reads JSON into a type.
///
/// All that a plugin reads goes through here. A deserialiser is compiled anew for each type that is read with it, so a
/// component with one is a good deal smaller than with one for text, one for values and one that tells paths. It takes
/// what `serde_json` takes, but for a list instead of an object for a struct, which nobody means.
///
/// # Errors
/// It does not fit.
pub fn read<'de, T: Deserialize<'de>>(value: &'de Value) -> Result<T, Misfit> {
    T::deserialize(Node(value))
}

/// Reads text into a type.
///
/// # Errors
/// It is no JSON, or does not fit.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, Misfit> {
    read(&json::parse(text).map_err(|error| Misfit::new(error.to_string()))?)
}

/// What does not fit, and where.
#[derive(Debug)]
pub struct Misfit(Box<Inner>);

#[derive(Debug)]
struct Inner {
    message: String,
    /// The innermost first.
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Member(String),
    Index(usize),
}

impl Misfit {
    #[cold]
    fn new(message: String) -> Self {
        Self(Box::new(Inner { message, steps: Vec::new() }))
    }

    #[cold]
    fn inside(mut self, step: Step) -> Self {
        self.0.steps.push(step);
        self
    }

    #[cold]
    fn at(self, member: &str) -> Self {
        self.inside(Step::Member(member.to_owned()))
    }

    /// Where it is: member names with dots, list indexes in brackets; a single dot for the whole.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for step in self.0.steps.iter().rev() {
            match step {
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Member(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
            }
        }
        if path.is_empty() { ".".to_owned() } else { path }
    }

    /// What is wrong there; it may quote the value.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    #[cold]
    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("invalid type: {}, expected {expected}", found(unexpected)))
    }

    #[cold]
    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("invalid value: {}, expected {expected}", found(unexpected)))
    }

    #[cold]
    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("missing field `{field}`"))
    }

    #[cold]
    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("duplicate field `{field}`"))
    }
}

/// What was found, as `serde_json` says it. Serde's own words are not taken, since they bring the formatting of floats.
fn found(unexpected: Unexpected<'_>) -> String {
    let kind = match unexpected {
        Unexpected::Bool(truth) => return format!("boolean `{truth}`"),
        Unexpected::Unsigned(number) => return format!("integer `{number}`"),
        Unexpected::Signed(number) => return format!("integer `{number}`"),
        Unexpected::Float(number) => return format!("floating point `{}`", Value::from(number)),
        Unexpected::Char(letter) => return format!("character `{letter}`"),
        Unexpected::Str(text) => return format!("string {text:?}"),
        Unexpected::Other(other) => other,
        Unexpected::Bytes(_) => "byte array",
        Unexpected::Unit => "null",
        Unexpected::Option => "Option value",
        Unexpected::NewtypeStruct => "newtype struct",
        Unexpected::Seq => "sequence",
        Unexpected::Map => "map",
        Unexpected::Enum => "enum",
        Unexpected::UnitVariant => "unit variant",
        Unexpected::NewtypeVariant => "newtype variant",
        Unexpected::TupleVariant => "tuple variant",
        Unexpected::StructVariant => "struct variant",
    };
    kind.to_owned()
}

/// One value on its way into a type.
#[derive(Clone, Copy)]
struct Node<'de>(&'de Value);

impl<'de> Node<'de> {
    fn kind(self) -> Unexpected<'de> {
        match self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(truth) => Unexpected::Bool(*truth),
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => Unexpected::Unsigned(number),
                (None, Some(number)) => Unexpected::Signed(number),
                (None, None) => Unexpected::Float(number.as_f64().unwrap_or_default()),
            },
        }
    }

    #[cold]
    fn misfit(self, expected: &dyn Expected) -> Misfit {
        de::Error::invalid_type(self.kind(), expected)
    }
}

fn number<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, Misfit> {
    match (number.as_u64(), number.as_i64()) {
        (Some(number), _) => visitor.visit_u64(number),
        (None, Some(number)) => visitor.visit_i64(number),
        (None, None) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
    }
}

fn list<'de, V: Visitor<'de>>(items: &'de [Value], visitor: V) -> Result<V::Value, Misfit> {
    let mut left = Items { items, next: 0 };
    let value = visitor.visit_seq(&mut left)?;
    if left.next < items.len() {
        return Err(de::Error::invalid_length(items.len(), &"fewer elements in array"));
    }
    Ok(value)
}

fn object<'de, V: Visitor<'de>>(members: &'de Map<String, Value>, visitor: V) -> Result<V::Value, Misfit> {
    visitor.visit_map(Members { members: members.iter(), current: None })
}

/// Reads one shape, or says that another was found.
macro_rules! shape {
    ($($method:ident($($extra:ty),*) $pattern:pat => $visit:expr;)+) => {
        $(fn $method<V: Visitor<'de>>(self, $(_: $extra,)* visitor: V) -> Result<V::Value, Misfit> {
            match self.0 {
                $pattern => ($visit)(visitor),
                _ => Err(self.misfit(&visitor)),
            }
        })+
    };
}

/// Reads any number.
macro_rules! numbers {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            match self.0 {
                Value::Number(found) => number(found, visitor),
                _ => Err(self.misfit(&visitor)),
            }
        })+
    };
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Number(found) => number(found, visitor),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => list(items, visitor),
            Value::Object(members) => object(members, visitor),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_f32 deserialize_f64
    }

    shape! {
        deserialize_bool() Value::Bool(truth) => |visitor: V| visitor.visit_bool(*truth);
        deserialize_char() Value::String(text) => |visitor: V| visitor.visit_borrowed_str(text);
        deserialize_str() Value::String(text) => |visitor: V| visitor.visit_borrowed_str(text);
        deserialize_string() Value::String(text) => |visitor: V| visitor.visit_borrowed_str(text);
        deserialize_identifier() Value::String(text) => |visitor: V| visitor.visit_borrowed_str(text);
        deserialize_unit() Value::Null => |visitor: V| visitor.visit_unit();
        deserialize_unit_struct(&'static str) Value::Null => |visitor: V| visitor.visit_unit();
        deserialize_seq() Value::Array(items) => |visitor: V| list(items, visitor);
        deserialize_tuple(usize) Value::Array(items) => |visitor: V| list(items, visitor);
        deserialize_tuple_struct(&'static str, usize) Value::Array(items) => |visitor: V| list(items, visitor);
        deserialize_map() Value::Object(members) => |visitor: V| object(members, visitor);
        deserialize_struct(&'static str, &'static [&'static str])
            Value::Object(members) => |visitor: V| object(members, visitor);
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let mut members = match self.0 {
            Value::String(name) => return visitor.visit_enum(Variant { name, content: None }),
            Value::Object(members) => members.iter(),
            _ => return Err(self.misfit(&"string or map")),
        };
        match (members.next(), members.next()) {
            (Some((name, content)), None) => visitor.visit_enum(Variant { name, content: Some(Node(content)) }),
            _ => Err(de::Error::invalid_value(Unexpected::Map, &"map with a single key")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_unit()
    }
}

struct Items<'de> {
    items: &'de [Value],
    next: usize,
}

impl<'de> SeqAccess<'de> for &mut Items<'de> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        let Some(item) = self.items.get(self.next) else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        seed.deserialize(Node(item)).map(Some).map_err(|misfit| misfit.inside(Step::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

struct Members<'de> {
    members: serde_json::map::Iter<'de>,
    current: Option<(&'de str, &'de Value)>,
}

impl<'de> Members<'de> {
    /// Goes on to the next member; its name. It is one function for all types.
    #[inline(never)]
    fn step(&mut self) -> Option<&'de str> {
        let (name, value) = self.members.next()?;
        self.current = Some((name, value));
        Some(name)
    }
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some(name) = self.step() else { return Ok(None) };
        match seed.deserialize(Key(name)) {
            Ok(key) => Ok(Some(key)),
            Err(misfit) => Err(misfit.at(name)),
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Misfit> {
        let (name, value) = self.current.take().unwrap_or(("", &Value::Null));
        match seed.deserialize(Node(value)) {
            Ok(value) => Ok(value),
            Err(misfit) => Err(misfit.at(name)),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.members.len())
    }
}

/// The name of a member. Where a type wants a number as the key of a map, its digits are one.
struct Key<'de>(&'de str);

/// Reads the digits of a name as a number.
macro_rules! digits {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            match self.0.parse() {
                Ok(found) => number(&found, visitor),
                Err(_) => visitor.visit_borrowed_str(self.0),
            }
        })+
    };
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_enum(Variant { name: self.0, content: None })
    }

    digits! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_f32 deserialize_f64
    }

    serde::forward_to_deserialize_any! {
        bool char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Variant<'de> {
    name: &'de str,
    content: Option<Node<'de>>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Misfit;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Misfit> {
        let value = seed.deserialize(BorrowedStrDeserializer::<Misfit>::new(self.name))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        self.content.map_or(Ok(()), |content| <()>::deserialize(content).map_err(|misfit| misfit.at(self.name)))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Misfit> {
        let content = self.content.ok_or_else(|| content_missing(&"newtype variant"))?;
        seed.deserialize(content).map_err(|misfit| misfit.at(self.name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        let content = self.content.ok_or_else(|| content_missing(&"tuple variant"))?;
        let read = match content.0 {
            Value::Array(items) => list(items, visitor),
            _ => Err(content.misfit(&"tuple variant")),
        };
        read.map_err(|misfit| misfit.at(self.name))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Misfit> {
        let content = self.content.ok_or_else(|| content_missing(&"struct variant"))?;
        let read = match content.0 {
            Value::Object(items) => object(items, visitor),
            _ => Err(content.misfit(&"struct variant")),
        };
        read.map_err(|misfit| misfit.at(self.name))
    }
}

#[cold]
fn content_missing(expected: &dyn Expected) -> Misfit {
    de::Error::invalid_type(Unexpected::UnitVariant, expected)
}
