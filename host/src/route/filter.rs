//! CEL filters over one event.
//!
//! What a filter may say is restricted so that its cost is bounded by its length times the size of the event, which both
//! have limits: no comprehensions, no lists or maps built from data, few additions, and patterns of `matches` that are
//! literals, compiled with the filter.

use std::{fmt, sync::OnceLock};

use cel::{
    Value,
    common::value::{CowVal, Val},
    context::VariableResolver,
};

use super::expression::{Expression, Vocabulary, map, of_json, text, variable};
use crate::event::{Event, Urgency};

/// What an expression may contain.
pub(super) mod bounds;

/// The longest filter in bytes.
pub const MAX_BYTES: usize = 4096;

/// Why a filter was refused, with the place and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct FilterError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong and the fix.
    pub message: String,
}

/// A compiled filter over `event` and `data`.
pub struct Filter(Expression);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.0.source()).finish()
    }
}

/// What filters see of one event. The values are converted when the first filter asks and shared by the others.
pub struct EventFacts<'a> {
    event: &'a Event,
    data: &'a serde_json::Value,
    values: OnceLock<(Box<dyn Val>, Box<dyn Val>)>,
}

impl<'a> EventFacts<'a> {
    /// The facts of `event`, whose parsed payload is `data`.
    #[must_use]
    pub const fn new(event: &'a Event, data: &'a serde_json::Value) -> Self {
        Self { event, data, values: OnceLock::new() }
    }

    /// The event as it is.
    #[must_use]
    pub const fn event(&self) -> &'a Event {
        self.event
    }

    fn values(&self) -> &(Box<dyn Val>, Box<dyn Val>) {
        self.values.get_or_init(|| (variable(event_value(self.event)), variable(of_json(self.data))))
    }
}

impl VariableResolver for EventFacts<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let (event, data) = self.values();
        match variable {
            "event" => Some(CowVal::Borrowed(event.as_ref())),
            "data" => Some(CowVal::Borrowed(data.as_ref())),
            _ => None,
        }
    }
}

impl Filter {
    /// Parses and checks a filter.
    ///
    /// # Errors
    /// The first thing that is wrong: syntax, length, depth, an unknown variable, field or function, or a construct whose
    /// cost has no bound.
    pub fn compile(source: &str) -> Result<Self, FilterError> {
        Expression::compile(source, &Vocabulary::FILTER).map(Self)
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        self.0.source()
    }

    /// Whether the event passes. A filter that cannot be evaluated (a missing field, other types) lets nothing pass and
    /// is counted in `switchyard_filter_errors_total`.
    #[must_use]
    pub fn matches(&self, facts: &EventFacts<'_>) -> bool {
        match self.0.value(facts) {
            Ok(Value::Bool(answer)) => answer,
            Ok(_) | Err(_) => not_evaluated(),
        }
    }
}

fn not_evaluated() -> bool {
    crate::observe::metrics::filter_failed();
    false
}

fn event_value(event: &Event) -> Value {
    let urgency = match event.urgency {
        Urgency::Normal => "normal",
        Urgency::Emergency => "emergency",
    };
    let fields = [
        ("id", text(&event.id)),
        ("type", text(event.event_type.as_str())),
        ("source", text(&event.source)),
        ("subject", event.subject.as_deref().map_or(Value::Null, text)),
        ("time", text(&event.time.to_string())),
        ("urgency", text(urgency)),
    ];
    map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{clock::Timestamp, id::Key as Id};

    fn event() -> Event {
        Event {
            key: Id::default(),
            id: "evt_1".into(),
            tenant: "acme".parse().unwrap(),
            event_type: "invoice.paid".parse().unwrap(),
            source: "api".into(),
            subject: None,
            time: Timestamp(1_700_000_000_000),
            accepted_at: Timestamp(1_700_000_000_000),
            ordering_key: None,
            correlation_id: "c".into(),
            traceparent: "t".into(),
            cause: None,
            request: None,
            hop: 0,
            urgency: Urgency::Normal,
            expires_at: None,
            private_to: None,
            extensions: None,
            data: "{}".into(),
        }
    }

    fn passes(filter: &str, data: &serde_json::Value) -> bool {
        Filter::compile(filter)
            .unwrap_or_else(|error| panic!("{filter}: {error}"))
            .matches(&EventFacts::new(&event(), data))
    }

    #[track_caller]
    fn refused(filter: &str) -> FilterError {
        Filter::compile(filter).expect_err(filter)
    }

    #[test]
    fn a_filter_sees_the_event_and_its_data() {
        let data = json!({"amount": 120, "lines": [{"sku": "A-1"}], "customer": {"name": "Æble"}});
        for filter in [
            "event.type == 'invoice.paid' && event.urgency == 'normal'",
            "event.subject == null",
            "data.amount > 100 && data.amount + 5 == 125",
            "data.lines[0].sku.startsWith('A')",
            "data.lines[0].sku.matches('^[A-Z]-[0-9]$')",
            "matches(data.customer.name, 'ble$')",
            "data.customer.name in ['Æble', 'Pære']",
            "has(data.customer) && !has(data.refund)",
            "size(data.lines) == 1 ? true : false",
            "data['amount'] >= 120.0",
        ] {
            assert!(passes(filter, &data), "{filter}");
        }
        assert!(!passes("data.amount > 1000", &data));
    }

    #[test]
    fn a_filter_that_cannot_be_evaluated_lets_nothing_pass() {
        assert!(!passes("data.missing > 1", &json!({})));
        assert!(!passes("data.amount > 'x'", &json!({"amount": 1})));
        assert!(!passes("data.amount", &json!({"amount": 1})));
        assert!(!passes("data.amount.matches('1')", &json!({"amount": 1})));
    }

    #[test]
    fn comprehensions_are_refused_with_their_place() {
        for macro_call in ["all(x, x > 1)", "exists(x, x > 1)", "exists_one(x, x > 1)", "map(x, x)", "filter(x, x > 1)"]
        {
            let error = refused(&format!("event.type == 'a.b' ||\n data.items.{macro_call}"));
            assert_eq!(error.line, 2, "{macro_call}: {error}");
            assert!(error.message.contains("walk"), "{error}");
        }
    }

    #[test]
    fn an_unknown_variable_field_or_function_is_named_with_what_there_is() {
        let error = refused("evnt.type == 'a'");
        assert_eq!((error.line, error.column), (1, 1));
        assert!(error.message.contains("`evnt`") && error.message.contains("`event` and `data`"), "{error}");
        assert!(refused("event.typ == 'a'").message.contains("urgency"));
        assert!(refused("data.x.lower() == 'a'").message.contains("startsWith"));
        assert!(refused("now() > 1").message.contains("`now`"));
    }

    #[test]
    fn syntax_errors_give_line_and_column() {
        let error = refused("data.a ==\n  == 1");
        assert_eq!(error.line, 2, "{error}");
        assert!(refused("").message.contains("empty"));
        assert!(refused(&"x".repeat(MAX_BYTES + 1)).message.contains("4096"));
    }

    #[test]
    fn constructs_without_a_bound_are_refused() {
        let sums = format!("data.a{} == ''", " + data.a".repeat(40));
        for filter in [
            "data.text.matches(data.pattern)",
            "data.text.matches('(')",
            "data.text.matches('\\\\w{900}{900}')",
            "[data, data].size() > 1",
            "{'a': data}.a == 1",
            &sums,
        ] {
            refused(filter);
        }
    }

    #[test]
    fn deep_expressions_are_refused_before_they_are_parsed() {
        for filter in [
            format!("data{}", ".a".repeat(2000)),
            format!("{}true", "!".repeat(4000)),
            format!("{}data.a == 1{}", "(".repeat(1500), ")".repeat(1500)),
            format!("data{}", "[0]".repeat(1000)),
            format!("1{} == 2", "*1".repeat(2000)),
            format!("true{}", "?true:true".repeat(300)),
        ] {
            refused(&filter);
        }
    }

    #[test]
    fn ordinary_patterns_are_taken_and_long_texts_are_not_read() {
        let data =
            json!({"mail": "ada_1@example.dk", "day": "2026-11-21", "name": "Invoice 7", "long": "x".repeat(20_000)});
        for filter in [
            r"data.mail.matches('^\\w+@\\w+\\.dk$')",
            r"data.day.matches('^\\d{4}-\\d{2}-\\d{2}$')",
            "data.name.matches('(?i)^invoice|^credit note|^reminder')",
            r"data.name.matches('^\\p{Lu}\\S*\\s')",
        ] {
            assert!(passes(filter, &data), "{filter}");
        }
        assert!(!passes("data.long.matches('x')", &data));
        assert!(refused(&["data.a.matches('a')"; 9].join(" || ")).message.contains('8'));
    }

    #[test]
    fn many_alternatives_are_allowed() {
        let filter = vec!["event.type == 'invoice.paid'"; 120].join(" || ");
        assert!(passes(&filter, &json!({})));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_compiler(text in "[a-z.()'\"\\[\\]{}!?:&|=<>+*0-9 ,\\\\\n-]{0,200}") {
            if let Ok(filter) = Filter::compile(&text) {
                let data = json!({"a": 1});
                let _ = filter.matches(&EventFacts::new(&event(), &data));
            }
        }
    }
}
