//! What can be told of an expression without an event: the maps and literals that it builds, the kinds of what its
//! functions answer, and which fields of `data` it reads.

use cel::{
    IdedExpr,
    common::ast::{EntryExpr, Expr, LiteralValue, operators},
};
use serde_json::Value;

/// Where a node stands, by its id in the parsed text.
pub(super) type NodeId = u64;

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// Nothing: it depends on the event.
    Unknown,
    /// Its kind.
    Kind(Kind),
    /// The value itself.
    Literal(Value),
    /// A map with these fields.
    Object(Vec<(String, NodeId, Self)>),
    /// A list.
    List(Vec<(NodeId, Self)>),
}

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Whole,
    Number,
    Truth,
}

impl Kind {
    /// As JSON Schema calls it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Whole => "integer",
            Self::Number => "number",
            Self::Truth => "boolean",
        }
    }
}

impl Shape {
    /// The kind, if one is known.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Kind(kind) => Some(*kind),
            Self::Literal(Value::String(_)) => Some(Kind::Text),
            Self::Literal(Value::Bool(_)) => Some(Kind::Truth),
            Self::Literal(Value::Number(number)) if number.is_f64() => Some(Kind::Number),
            Self::Literal(Value::Number(_)) => Some(Kind::Whole),
            _ => None,
        }
    }

    /// Whether it is certainly no condition.
    pub(super) fn is_no_condition(&self) -> bool {
        match self {
            Self::Unknown | Self::Kind(Kind::Truth) | Self::Literal(Value::Bool(_)) => false,
            Self::Kind(_) | Self::Literal(_) | Self::Object(_) | Self::List(_) => true,
        }
    }

    /// Whether it is certainly no map.
    pub(super) const fn is_no_object(&self) -> bool {
        !matches!(self, Self::Unknown | Self::Object(_))
    }

    /// Whether it is certainly no text.
    pub(super) fn is_no_text(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Object(_) | Self::List(_) => true,
            Self::Kind(_) | Self::Literal(_) => self.kind() != Some(Kind::Text),
        }
    }
}

/// The shape of what a node makes.
pub(super) fn of(node: &IdedExpr) -> Shape {
    match &node.expr {
        Expr::Literal(literal) => of_literal(literal),
        Expr::Map(map) => {
            let field = |entry: &cel::common::ast::IdedEntryExpr| match &entry.expr {
                EntryExpr::MapEntry(entry) => match &entry.key.expr {
                    Expr::Literal(LiteralValue::String(name)) => {
                        Some((name.inner().to_owned(), entry.value.id, of(&entry.value)))
                    }
                    _ => None,
                },
                EntryExpr::StructField(_) => None,
            };
            map.entries.iter().map(field).collect::<Option<_>>().map_or(Shape::Unknown, Shape::Object)
        }
        Expr::List(list) => Shape::List(list.elements.iter().map(|element| (element.id, of(element))).collect()),
        Expr::Select(select) if select.test => Shape::Kind(Kind::Truth),
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(variable) => of_field(variable, &select.field),
            _ => Shape::Unknown,
        },
        Expr::Call(call) => of_call(&call.func_name, &call.args),
        Expr::Unspecified | Expr::Comprehension(_) | Expr::Ident(_) | Expr::Struct(_) => Shape::Unknown,
    }
}

fn of_literal(literal: &LiteralValue) -> Shape {
    let value = match literal {
        LiteralValue::Boolean(flag) => Value::from(*flag.inner()),
        LiteralValue::Double(number) => Value::from(*number.inner()),
        LiteralValue::Int(number) => Value::from(*number.inner()),
        LiteralValue::UInt(number) => Value::from(*number.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(text) => Value::from(text.inner()),
        LiteralValue::Bytes(_) => return Shape::Unknown,
    };
    Shape::Literal(value)
}

fn of_field(variable: &str, field: &str) -> Shape {
    match (variable, field) {
        ("event", "id" | "type" | "source" | "time" | "urgency") | ("tenant", _) | ("local", "date" | "time") => {
            Shape::Kind(Kind::Text)
        }
        ("local", _) => Shape::Kind(Kind::Whole),
        _ => Shape::Unknown,
    }
}

fn of_call(name: &str, args: &[IdedExpr]) -> Shape {
    const TRUTHS: [&str; 9] = [
        operators::LOGICAL_AND,
        operators::LOGICAL_OR,
        operators::LOGICAL_NOT,
        operators::EQUALS,
        operators::NOT_EQUALS,
        operators::GREATER_EQUALS,
        operators::LESS_EQUALS,
        operators::GREATER,
        operators::LESS,
    ];
    match name {
        name if TRUTHS.contains(&name) || name == operators::IN => Shape::Kind(Kind::Truth),
        "contains" | "startsWith" | "endsWith" | "matches" | "bool" => Shape::Kind(Kind::Truth),
        "string" => Shape::Kind(Kind::Text),
        "size" | "int" | "uint" => Shape::Kind(Kind::Whole),
        "double" => Shape::Kind(Kind::Number),
        name if name == operators::ADD => {
            let text = args.iter().any(|arg| of(arg).kind() == Some(Kind::Text));
            if text { Shape::Kind(Kind::Text) } else { Shape::Unknown }
        }
        name if name == operators::CONDITIONAL => match args {
            [_, yes, no] => {
                let (yes, no) = (of(yes), of(no));
                match (yes.kind(), no.kind()) {
                    (Some(kind), Some(other)) if kind == other => Shape::Kind(kind),
                    _ => Shape::Unknown,
                }
            }
            _ => Shape::Unknown,
        },
        _ => Shape::Unknown,
    }
}

/// The paths into `data` that an expression reads, each with its place.
pub(super) fn data_paths(node: &IdedExpr, found: &mut Vec<(Vec<String>, NodeId)>) {
    if let Some(path) = data_path(node) {
        if !path.is_empty() {
            found.push((path, node.id));
        }
        return;
    }
    match &node.expr {
        Expr::Select(select) => data_paths(&select.operand, found),
        Expr::List(list) => list.elements.iter().for_each(|element| data_paths(element, found)),
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    data_paths(&entry.value, found);
                }
            }
        }
        Expr::Call(call) => {
            let parts = call.target.iter().map(|target| &**target).chain(&call.args);
            parts.for_each(|part| data_paths(part, found));
        }
        Expr::Unspecified | Expr::Comprehension(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
    }
}

/// The names from `data` to a field, if the node is nothing but such a path.
fn data_path(node: &IdedExpr) -> Option<Vec<String>> {
    match &node.expr {
        Expr::Ident(name) if name == "data" => Some(Vec::new()),
        Expr::Select(select) => {
            let mut path = data_path(&select.operand)?;
            path.push(select.field.clone());
            Some(path)
        }
        _ => None,
    }
}
