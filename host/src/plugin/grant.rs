//! What an installation may do. Two sides decide: the manifest asks, the admin grants; nothing else is consulted,
//! and nothing is granted that was not asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    manifest::{TypePattern, is_host_type},
    model::{Manifest, Method},
};

/// The admin's word that lets an installation use the emergency lane.
const EMERGENCY: &str = "emergency";

/// Why a list of grants is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`grants[{index}]`: `{grant}` is no grant; write `emits:*`, `emits:lead.*`, `emits:lead.created` or `emergency`"
)]
pub struct MalformedGrant {
    /// Which entry.
    pub index: usize,
    /// The entry.
    pub grant: String,
}

/// Why something is not allowed. The texts name the manifest's line or the grant that is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGranted {
    /// The manifest does not name the type.
    #[error("the manifest's `emits` has neither `{type_}` nor a pattern that covers it; add it there")]
    EmitNotAsked {
        /// The type.
        type_: String,
    },
    /// The manifest has a pattern, but the admin did not grant it.
    #[error(
        "`{type_}` is covered by the pattern `{pattern}` of the manifest's `emits` only, and the installation has no \
         grant for it; grant `emits:{type_}`, or `emits:{pattern}`"
    )]
    EmitNotGranted {
        /// The type.
        type_: String,
        /// The manifest's pattern.
        pattern: String,
    },
    /// Only the host emits the type.
    #[error("only the host emits `{type_}`")]
    HostType {
        /// The type.
        type_: String,
    },
    /// The installation has no grant for emergencies.
    #[error("the event asks for the emergency lane, and the installation has no grant `emergency`")]
    Emergency,
    /// The manifest does not name the connection.
    #[error("the manifest's `connections` has no `{connection}`; add it there")]
    ConnectionNotAsked {
        /// The slot.
        connection: String,
    },
    /// The manifest does not name the method.
    #[error("the manifest's connection `{connection}` does not list the method {method}; add it to its `methods`")]
    MethodNotAsked {
        /// The slot.
        connection: String,
        /// The method.
        method: String,
    },
    /// The manifest does not name the secret's slot.
    #[error("the manifest's `connections` and `secrets` have no `{slot}`; add it there")]
    SlotNotAsked {
        /// The slot.
        slot: String,
    },
}

/// What an installation may do, decided once for a version and its grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    exact: BTreeSet<String>,
    asked_patterns: Vec<TypePattern>,
    granted: Vec<TypePattern>,
    emergency: bool,
    connections: BTreeMap<String, Vec<Method>>,
    secrets: BTreeSet<String>,
}

impl Grants {
    /// Reads the two sides. A grant for what the manifest does not ask is kept without effect, so that a version
    /// which asks less does not break the installation.
    ///
    /// # Errors
    /// The first grant that cannot be read.
    pub fn decide(manifest: &Manifest, granted: &[String]) -> Result<Self, MalformedGrant> {
        let patterns = manifest.emits.iter().filter_map(|emitted| TypePattern::parse(&emitted.name));
        let (exact, asked_patterns): (Vec<_>, Vec<_>) = patterns.partition(TypePattern::is_exact);
        let mut grants = Self {
            exact: exact.iter().map(ToString::to_string).collect(),
            asked_patterns,
            granted: Vec::new(),
            emergency: false,
            connections: manifest.connections.iter().map(|spec| (spec.name.clone(), spec.methods.clone())).collect(),
            secrets: manifest.secrets.iter().map(|spec| spec.name.clone()).collect(),
        };
        for (index, grant) in granted.iter().enumerate() {
            let pattern = grant.strip_prefix("emits:").map(TypePattern::parse);
            match pattern {
                Some(Some(pattern)) if !pattern.is_private() => grants.granted.push(pattern),
                None if grant == EMERGENCY => grants.emergency = true,
                _ => return Err(MalformedGrant { index, grant: grant.clone() }),
            }
        }
        Ok(grants)
    }

    /// Whether it may emit `type_`: named in full by the manifest, or covered by a pattern of the manifest and by
    /// a grant.
    ///
    /// # Errors
    /// Which side is missing.
    pub fn may_emit(&self, type_: &str) -> Result<(), NotGranted> {
        let type_owned = || type_.to_owned();
        if is_host_type(type_) {
            return Err(NotGranted::HostType { type_: type_owned() });
        }
        if self.exact.contains(type_) {
            return Ok(());
        }
        let Some(asked) = self.asked_patterns.iter().find(|pattern| pattern.matches(type_)) else {
            return Err(NotGranted::EmitNotAsked { type_: type_owned() });
        };
        if self.granted.iter().any(|pattern| pattern.matches(type_)) {
            return Ok(());
        }
        Err(NotGranted::EmitNotGranted { type_: type_owned(), pattern: asked.to_string() })
    }

    /// Whether its events may ask for the emergency lane.
    ///
    /// # Errors
    /// The grant is missing.
    pub const fn may_raise_emergency(&self) -> Result<(), NotGranted> {
        if self.emergency { Ok(()) } else { Err(NotGranted::Emergency) }
    }

    /// Whether it may call `method` on the connection.
    ///
    /// # Errors
    /// Which line of the manifest is missing.
    pub fn may_call(&self, connection: &str, method: &Method) -> Result<(), NotGranted> {
        let Some(methods) = self.connections.get(connection) else {
            return Err(NotGranted::ConnectionNotAsked { connection: connection.to_owned() });
        };
        if methods.contains(method) {
            return Ok(());
        }
        Err(NotGranted::MethodNotAsked { connection: connection.to_owned(), method: method.to_string() })
    }

    /// Whether it may name the secrets of `slot`, in `crypto` and in templates.
    ///
    /// # Errors
    /// The manifest does not name the slot.
    pub fn may_name_secrets_of(&self, slot: &str) -> Result<(), NotGranted> {
        if self.connections.contains_key(slot) || self.secrets.contains(slot) {
            return Ok(());
        }
        Err(NotGranted::SlotNotAsked { slot: slot.to_owned() })
    }

    /// Patterns of the manifest's `emits` that no grant covers at all, for the admin to see.
    #[must_use]
    pub fn open_requests(&self) -> Vec<String> {
        let covered = |asked: &TypePattern| self.granted.iter().any(|granted| overlap(asked, granted));
        self.asked_patterns.iter().filter(|asked| !covered(asked)).map(ToString::to_string).collect()
    }
}

/// Whether some type is meant by both.
fn overlap(a: &TypePattern, b: &TypePattern) -> bool {
    match (a, b) {
        (TypePattern::All, _) | (_, TypePattern::All) => true,
        (TypePattern::Exact(name), other) | (other, TypePattern::Exact(name)) => other.matches(name),
        (TypePattern::Prefix(a), TypePattern::Prefix(b)) => a.starts_with(b.as_str()) || b.starts_with(a.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::model::{
        ConnectionKind, ConnectionSpec, EventKind, EventType, Idempotency, LimitsRequest, SecretKind, SecretSpec,
    };

    fn manifest(emits: &[&str]) -> Manifest {
        let event = |name: &&str| EventType {
            name: (*name).to_owned(),
            kind: EventKind::Event,
            ordering_key: None,
            description: String::new(),
            schema: None,
            example: None,
        };
        let connection = ConnectionSpec {
            name: "billy".to_owned(),
            kind: ConnectionKind::Bearer,
            base_url: String::new(),
            methods: vec![Method::Get],
            idempotency: Idempotency::None,
            required: true,
            description: String::new(),
            extensions: None,
        };
        let secret = SecretSpec {
            name: "inbound".to_owned(),
            kind: SecretKind::Token,
            required: true,
            description: String::new(),
        };
        Manifest {
            id: "rules".to_owned(),
            version: "1.0.0".to_owned(),
            api: "0.1".to_owned(),
            description: String::new(),
            emits: emits.iter().map(event).collect(),
            handles: vec![],
            config_schema: String::new(),
            connections: vec![connection],
            secrets: vec![secret],
            schedules: vec![],
            limits: LimitsRequest::default(),
            metrics: vec![],
            extensions: None,
        }
    }

    fn grants(emits: &[&str], granted: &[&str]) -> Grants {
        let granted: Vec<_> = granted.iter().map(ToString::to_string).collect();
        Grants::decide(&manifest(emits), &granted).unwrap()
    }

    #[test]
    fn a_type_named_in_full_needs_no_grant() {
        let grants = grants(&["invoice.paid", "_rules.timer"], &[]);
        grants.may_emit("invoice.paid").unwrap();
        grants.may_emit("_rules.timer").unwrap();
        let error = grants.may_emit("invoice.created").unwrap_err();
        assert!(error.to_string().contains("`emits` has neither `invoice.created`"), "{error}");
    }

    #[test]
    fn a_pattern_holds_only_where_both_sides_agree() {
        let both = grants(&["*"], &["emits:lead.*"]);
        both.may_emit("lead.created").unwrap();
        let error = both.may_emit("invoice.paid").unwrap_err();
        assert!(error.to_string().contains("grant `emits:invoice.paid`, or `emits:*`"), "{error}");
        assert!(grants(&["lead.*"], &["emits:*"]).may_emit("invoice.paid").is_err(), "a grant alone gives nothing");
        assert!(grants(&["lead.*"], &[]).may_emit("lead.created").is_err(), "a wish alone gives nothing");
        assert!(both.may_emit("_rules.timer").is_err(), "a pattern never covers a private type");
        assert!(grants(&["lead.*"], &["emits:*"]).may_emit("leader.born").is_err());
    }

    #[test]
    fn nobody_can_grant_the_types_of_the_host() {
        assert!(matches!(grants(&["*"], &["emits:*"]).may_emit("plugin.broken"), Err(NotGranted::HostType { .. })));
        assert!(matches!(grants(&["*"], &["emits:*"]).may_emit("_poll.due"), Err(NotGranted::HostType { .. })));
    }

    #[test]
    fn an_emergency_needs_its_grant() {
        assert_eq!(grants(&[], &[]).may_raise_emergency(), Err(NotGranted::Emergency));
        grants(&[], &["emergency"]).may_raise_emergency().unwrap();
    }

    #[test]
    fn calls_name_a_connection_and_a_method_of_the_manifest() {
        let grants = grants(&[], &[]);
        grants.may_call("billy", &Method::Get).unwrap();
        let error = grants.may_call("billy", &Method::Delete).unwrap_err();
        assert!(error.to_string().contains("connection `billy` does not list the method DELETE"), "{error}");
        assert!(grants.may_call("twilio", &Method::Get).is_err());
    }

    #[test]
    fn secrets_are_named_by_a_slot_of_the_manifest() {
        let grants = grants(&[], &[]);
        grants.may_name_secrets_of("billy").unwrap();
        grants.may_name_secrets_of("inbound").unwrap();
        assert!(grants.may_name_secrets_of("twilio").is_err());
    }

    #[test]
    fn a_grant_that_cannot_be_read_is_named() {
        for grant in ["emits:", "emit:*", "Emergency", "emits:_poll.due", "emits:Lead.*"] {
            let error = Grants::decide(&manifest(&[]), &[grant.to_owned()]).unwrap_err();
            assert_eq!((error.index, error.grant.as_str()), (0, grant));
        }
    }

    #[test]
    fn what_waits_for_a_grant_is_listed() {
        assert_eq!(grants(&["lead.*", "invoice.*", "x.y"], &["emits:lead.created"]).open_requests(), ["invoice.*"]);
    }
}
