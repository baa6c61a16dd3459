//! What an expression may contain, so that evaluating it has a bound.

use std::sync::Arc;

use cel::{
    IdedExpr, ParseErrors,
    common::ast::{CallExpr, EntryExpr, Expr, IdedEntryExpr, LiteralValue, SourceInfo, operators},
};
use regex::{Regex, RegexBuilder};

use super::{FilterError, MAX_BYTES};
use crate::route::expression::Vocabulary;

/// How many operators a term between `&&`, `||` and commas may have: each can be one level of recursion.
const MAX_OPERATORS_OF_A_TERM: usize = 96;
/// How deep parentheses, indexes and conditionals may nest.
const MAX_NESTING: usize = 32;
/// How many `+` and `*` a filter may have: a sum of texts copies them at each step.
const MAX_ADDITIONS: usize = 16;
/// The memory of one compiled pattern, and how many there may be: a text is read once for each, at a speed that falls
/// with its size.
const MAX_PATTERN_MEMORY: usize = 256 * 1024;
const MAX_PATTERNS: usize = 8;
/// The longest text that a pattern is tried on; on a longer one the filter cannot be evaluated.
pub(in super::super) const MAX_PATTERN_TEXT: usize = 8 * 1024;

/// How often an expression that builds may name a variable: each may put a copy into what it makes.
const MAX_NAMINGS: usize = 128;

const FUNCTIONS: [&str; 11] =
    ["size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bool", "type"];
const TYPE_NAMES: [&str; 9] = ["int", "uint", "double", "string", "bool", "list", "map", "null_type", "bytes"];
const OPERATORS: [&str; 17] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
];

/// Refuses text that is empty, too long or so deep that parsing or evaluating it could exhaust the stack.
pub(in super::super) fn check_text(source: &str) -> Result<(), FilterError> {
    let refuse = |at: usize, message: String| Err(error_at(source, source[..at].chars().count(), message));
    if source.trim().is_empty() {
        return refuse(0, "the filter is empty; leave the field out to let every event pass".to_owned());
    }
    if source.len() > MAX_BYTES {
        return refuse(0, format!("the filter has {} bytes; at most {MAX_BYTES} are allowed", source.len()));
    }
    let bytes = source.as_bytes();
    let (mut at, mut operators, mut nesting) = (0, 0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'\'' | b'"' => {
                at = after_literal(bytes, at);
                continue;
            }
            b'&' | b'|' | b',' => operators = 0,
            b'(' | b'[' | b'{' | b'?' => {
                operators += 1;
                nesting += 1;
            }
            b')' | b']' | b'}' => nesting = nesting.saturating_sub(1),
            b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'!' | b'<' | b'>' | b'=' => operators += 1,
            _ => {}
        }
        if nesting > MAX_NESTING || operators > MAX_OPERATORS_OF_A_TERM {
            let message = "the filter nests too deeply here; join simpler conditions by `&&` and `||`".to_owned();
            return refuse(at, message);
        }
        at += 1;
    }
    Ok(())
}

/// The position behind the text literal that begins at `start`. Raw literals (`r'..'`) have no escapes.
fn after_literal(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let before = |back: usize| start.checked_sub(back).map(|at| bytes[at].to_ascii_lowercase());
    let raw = before(1) == Some(b'r') || (before(1) == Some(b'b') && before(2) == Some(b'r'));
    let tripled = bytes[start..].starts_with(&[quote; 3]);
    let mut at = start + if tripled { 3 } else { 1 };
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
        } else if tripled && bytes[at..].starts_with(&[quote; 3]) {
            return at + 3;
        } else if !tripled && bytes[at] == quote {
            return at + 1;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The first syntax error.
pub(in super::super) fn syntax_error(errors: &ParseErrors) -> FilterError {
    let Some(first) = errors.errors.first() else {
        return FilterError { line: 1, column: 1, message: "this is no CEL expression".to_owned() };
    };
    let (line, column) = first.pos;
    FilterError {
        line: usize::try_from(line).unwrap_or(1).max(1),
        column: usize::try_from(column).unwrap_or(1).max(1),
        message: format!("this is no CEL expression: {}", first.msg),
    }
}

/// Checks every node, and replaces each `matches(text, 'pattern')` by a call of a function that has the pattern compiled.
/// Answers these functions' names and patterns.
pub(in super::super) fn check_expression(
    expression: &mut IdedExpr,
    source: &SourceInfo,
    vocabulary: &Vocabulary,
) -> Result<Vec<(String, Arc<Regex>)>, FilterError> {
    let mut walk = Walk { source, vocabulary, patterns: Vec::new(), additions: 0, namings: 0 };
    walk.node(expression)?;
    Ok(walk.patterns)
}

/// Line and column of a node, counted from 1.
pub(in super::super) fn place(source: &SourceInfo, id: u64) -> (usize, usize) {
    let offset = source.offset_for(id).map_or(0, |(start, _)| start as usize);
    let error = error_at(&source.source, offset, String::new());
    (error.line, error.column)
}

struct Walk<'a> {
    source: &'a SourceInfo,
    vocabulary: &'a Vocabulary,
    patterns: Vec<(String, Arc<Regex>)>,
    additions: usize,
    namings: usize,
}

impl Walk<'_> {
    fn refuse<T>(&self, id: u64, message: impl Into<String>) -> Result<T, FilterError> {
        let offset = self.source.offset_for(id).map_or(0, |(start, _)| start as usize);
        Err(error_at(&self.source.source, offset, message.into()))
    }

    fn node(&mut self, node: &mut IdedExpr) -> Result<(), FilterError> {
        let id = node.id;
        match &mut node.expr {
            Expr::Unspecified => self.refuse(id, "this part is empty"),
            Expr::Literal(_) => Ok(()),
            Expr::Comprehension(_) => self.refuse(
                id,
                "all, exists, exists_one, map and filter are not offered: a filter must not walk through lists; \
                 test one field, or let a plugin emit an event that says what you look for",
            ),
            Expr::Ident(name) if self.vocabulary.variables.contains(&name.as_str()) => {
                self.namings += 1;
                if self.vocabulary.builds && self.namings > MAX_NAMINGS {
                    return self.refuse(id, format!("it may name variables at most {MAX_NAMINGS} times"));
                }
                Ok(())
            }
            Expr::Ident(name) if TYPE_NAMES.contains(&name.as_str()) => Ok(()),
            Expr::Ident(name) => {
                let known = named(self.vocabulary.variables);
                self.refuse(id, format!("there is no variable `{name}`; an expression sees {known}"))
            }
            Expr::Select(select) => {
                let variable = if let Expr::Ident(name) = &select.operand.expr { name.as_str() } else { "" };
                if let Some(fields) = Vocabulary::fields(variable)
                    && self.vocabulary.variables.contains(&variable)
                    && !fields.contains(&select.field.as_str())
                {
                    let known = fields.join(", ");
                    let message = format!("`{variable}` has no field `{}`; it has {known}", select.field);
                    return self.refuse(id, message);
                }
                self.node(&mut select.operand)
            }
            Expr::List(list) => {
                if self.vocabulary.builds {
                    return list.elements.iter_mut().try_for_each(|element| self.node(element));
                }
                if list.elements.iter().all(|element| matches!(element.expr, Expr::Literal(_))) {
                    return Ok(());
                }
                self.refuse(id, "a list may only hold literals, as in `event.type in ['a.b', 'c.d']`")
            }
            Expr::Map(map) if self.vocabulary.builds => map.entries.iter_mut().try_for_each(|entry| self.entry(entry)),
            Expr::Map(_) | Expr::Struct(_) => self.refuse(id, "it may not build maps"),
            Expr::Call(call) => self.call(id, call),
        }
    }

    fn entry(&mut self, entry: &mut IdedEntryExpr) -> Result<(), FilterError> {
        let id = entry.id;
        match &mut entry.expr {
            EntryExpr::MapEntry(entry) if !entry.optional => {
                if !matches!(entry.key.expr, Expr::Literal(LiteralValue::String(_))) {
                    return self.refuse(id, "the keys of a map must be literal texts, as in `{'to': data.from}`");
                }
                self.node(&mut entry.value)
            }
            EntryExpr::MapEntry(_) | EntryExpr::StructField(_) => self.refuse(id, "write plain `'key': value` pairs"),
        }
    }

    fn call(&mut self, id: u64, call: &mut CallExpr) -> Result<(), FilterError> {
        let name = call.func_name.as_str();
        let operator = OPERATORS.contains(&name) || name == operators::IN;
        if !operator && !FUNCTIONS.contains(&name) {
            let message = format!("there is no function `{name}`; there are {}", FUNCTIONS.join(", "));
            return self.refuse(id, message);
        }
        if matches!(name, operators::ADD | operators::MULTIPLY) {
            self.additions += 1;
            if self.additions > MAX_ADDITIONS {
                return self.refuse(id, format!("a filter may add and multiply at most {MAX_ADDITIONS} times"));
            }
        }
        if name == "matches" {
            self.pattern(id, call)?;
        }
        if let Some(target) = &mut call.target {
            self.node(target)?;
        }
        call.args.iter_mut().try_for_each(|argument| self.node(argument))
    }

    /// Turns `x.matches('p')` and `matches(x, 'p')` into `matches_n(x)`.
    fn pattern(&mut self, id: u64, call: &mut CallExpr) -> Result<(), FilterError> {
        let mut parts: Vec<IdedExpr> = call.target.take().map(|target| *target).into_iter().collect();
        parts.append(&mut call.args);
        let pattern = parts.pop();
        let (Some(subject), None, Some(Expr::Literal(LiteralValue::String(pattern)))) =
            (parts.pop(), parts.pop(), pattern.map(|node| node.expr))
        else {
            return self.refuse(id, "the pattern of `matches` must be a literal text: `data.name.matches('^A')`");
        };
        if self.patterns.len() == MAX_PATTERNS {
            return self
                .refuse(id, format!("a filter may have at most {MAX_PATTERNS} `matches`; join patterns by `|`"));
        }
        let regex = match RegexBuilder::new(pattern.inner()).size_limit(MAX_PATTERN_MEMORY).build() {
            Ok(regex) => regex,
            Err(error) => return self.refuse(id, format!("the pattern of `matches` is not usable: {error}")),
        };
        let function = format!("matches_{}", self.patterns.len());
        call.func_name.clone_from(&function);
        call.args = vec![subject];
        self.patterns.push((function, Arc::new(regex)));
        Ok(())
    }
}

/// Names in a sentence.
fn named(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => "no variable".to_owned(),
    }
}

/// An error at a character offset.
fn error_at(source: &str, offset: usize, message: String) -> FilterError {
    let before: String = source.chars().take(offset).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    FilterError { line, column, message }
}
