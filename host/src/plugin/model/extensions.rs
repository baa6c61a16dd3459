//! What a connection of a manifest says beyond the contract's fields, in `extensions`: how it is tried, and how fast it
//! may be used. Members that are not known here are somebody else's.

use serde::Deserialize;

use super::{ConnectionSpec, Method};

/// A call that changes nothing, by which an admin tries a connection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// GET or HEAD.
    #[serde(default = "get")]
    pub method: Method,
    /// Path and query, appended to the base URL. `{config.<field>}` stands for a field of the installation's config.
    pub path: String,
}

/// Why a probe has no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbePath {
    /// The config has no such field, or it is no text or number.
    Missing(String),
    /// With the field in it, it is no path that may be called.
    Refused(String),
}

impl Probe {
    /// The path with the config's fields in it.
    ///
    /// # Errors
    /// A field is not there, or what comes of it is no path.
    pub fn path_with(&self, config: &serde_json::Value) -> Result<String, ProbePath> {
        const OPEN: &str = "{config.";
        let (mut path, mut rest) = (String::new(), self.path.as_str());
        while let Some((before, after)) = rest.split_once(OPEN) {
            let Some((field, after)) = after.split_once('}') else { break };
            let value = match config.get(field) {
                Some(serde_json::Value::String(text)) if !text.is_empty() => text.clone(),
                Some(serde_json::Value::Number(number)) => number.to_string(),
                _ => return Err(ProbePath::Missing(field.to_owned())),
            };
            path.push_str(before);
            path.extend(url::form_urlencoded::byte_serialize(value.as_bytes()));
            rest = after;
        }
        path.push_str(rest);
        crate::connection::guard::check_path(&path).map_err(|error| ProbePath::Refused(error.to_string()))?;
        Ok(path)
    }
}

const fn get() -> Method {
    Method::Get
}

#[derive(Deserialize)]
struct Extensions {
    probe: Option<Probe>,
    rate_per_s: Option<f64>,
}

impl ConnectionSpec {
    /// The call by which the connection is tried, if its plugin names a harmless one.
    #[must_use]
    pub fn probe(&self) -> Option<Probe> {
        self.read_extensions().ok()?.probe.filter(|probe| probe.method.is_read())
    }

    /// Calls per second that the provider grants an account, if the plugin says so.
    #[must_use]
    pub fn rate_per_s(&self) -> Option<f64> {
        self.read_extensions().ok()?.rate_per_s.filter(|rate| rate.is_finite() && *rate > 0.0)
    }

    /// What is wrong with `extensions`, if anything is: the member, the problem and what to do.
    pub(in crate::plugin) fn extensions_problem(&self) -> Option<(&'static str, String, &'static str)> {
        let write = "write it as `{\"probe\":{\"method\":\"GET\",\"path\":\"/v1/me\"},\"rate_per_s\":8}`";
        let extensions = match self.read_extensions() {
            Ok(extensions) => extensions,
            Err(error) => return Some(("", error.to_string(), write)),
        };
        if let Some(probe) = extensions.probe {
            if !probe.method.is_read() {
                return Some((".probe.method", "it could change something".to_owned(), "use GET or HEAD"));
            }
            if let Err(error) = crate::connection::guard::check_path(&probe.path) {
                return Some((".probe.path", error.to_string(), "write path and query, beginning with one `/`"));
            }
        }
        match extensions.rate_per_s {
            Some(rate) if !(rate.is_finite() && rate > 0.0 && rate <= crate::connection::breaker::MAX_RATE) => {
                Some((".rate_per_s", format!("{rate} is no rate"), "give calls per second, above 0 and at most 1000"))
            }
            _ => None,
        }
    }

    fn read_extensions(&self) -> Result<Extensions, serde_json::Error> {
        serde_json::from_str(self.extensions.as_deref().unwrap_or("{}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::model::{ConnectionKind, Idempotency};

    fn saying(extensions: &str) -> ConnectionSpec {
        ConnectionSpec {
            name: "api".to_owned(),
            kind: ConnectionKind::Bearer,
            base_url: "https://api.example".to_owned(),
            methods: vec![Method::Get],
            idempotency: Idempotency::None,
            required: true,
            description: "The provider.".to_owned(),
            extensions: Some(extensions.to_owned()),
        }
    }

    #[test]
    fn a_probe_and_a_rate_are_read_beside_members_of_others() {
        let spec = saying(r#"{"probe":{"method":"HEAD","path":"/v1/me?x=1"},"rate_per_s":2.5,"colour":"red"}"#);
        assert_eq!(spec.probe().unwrap(), Probe { method: Method::Head, path: "/v1/me?x=1".to_owned() });
        assert_eq!(spec.rate_per_s(), Some(2.5));
        assert_eq!(spec.extensions_problem(), None);
        assert_eq!(saying(r#"{"probe":{"path":"/me"}}"#).probe().unwrap().method, Method::Get);
        assert_eq!(saying("{}").probe(), None);
    }

    #[test]
    fn fields_of_the_config_stand_in_a_probes_path_and_cannot_leave_it() {
        let probe = |path: &str| Probe { method: Method::Get, path: path.to_owned() };
        let twice = probe("/v3/company/{config.realm_id}/companyinfo/{config.realm_id}?minorversion=75");
        let config = serde_json::json!({"realm_id": "118/5", "number": 7, "up": "..", "empty": ""});
        assert_eq!(twice.path_with(&config).unwrap(), "/v3/company/118%2F5/companyinfo/118%2F5?minorversion=75");
        assert_eq!(probe("/a/{config.number}").path_with(&config).unwrap(), "/a/7");
        assert_eq!(probe("/v1/me").path_with(&config).unwrap(), "/v1/me");
        for field in ["empty", "missing"] {
            let missing = probe(&format!("/a/{{config.{field}}}")).path_with(&config);
            assert_eq!(missing, Err(ProbePath::Missing(field.to_owned())));
        }
        assert!(matches!(probe("/a/{config.up}").path_with(&config), Err(ProbePath::Refused(_))));
    }

    #[test]
    fn a_probe_that_could_change_something_or_leave_the_provider_is_refused() {
        for (extensions, member) in [
            (r#"{"probe":{"method":"POST","path":"/v1/me"}}"#, ".probe.method"),
            (r#"{"probe":{"path":"//evil.example/"}}"#, ".probe.path"),
            (r#"{"probe":{"path":"https://evil.example/"}}"#, ".probe.path"),
            (r#"{"probe":{"path":"/a/../b"}}"#, ".probe.path"),
            (r#"{"rate_per_s":0}"#, ".rate_per_s"),
            (r#"{"rate_per_s":-1}"#, ".rate_per_s"),
            (r#"{"rate_per_s":1e9}"#, ".rate_per_s"),
            (r#"{"probe":7}"#, ""),
            (r#"{"rate_per_s":"8"}"#, ""),
            ("[]", ""),
        ] {
            let spec = saying(extensions);
            assert_eq!(spec.extensions_problem().map(|(member, ..)| member), Some(member), "{extensions}");
        }
        assert_eq!(saying(r#"{"probe":{"method":"DELETE","path":"/v1/me"}}"#).probe(), None);
    }
}
