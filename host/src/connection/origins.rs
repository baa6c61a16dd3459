//! Where providers are instead of where manifests say: simulators, or a proxy in front of a provider.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de::Error};
use url::{Origin, Url};

/// Origins and what stands in their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderOrigins(Vec<(Origin, String)>);

impl ProviderOrigins {
    /// The URL at the origin that stands in the place of its own; unchanged where none does, or where it is no URL.
    #[must_use]
    pub fn replace<'u>(&self, url: &'u str) -> Cow<'u, str> {
        if self.0.is_empty() {
            return Cow::Borrowed(url);
        }
        let Ok(parsed) = Url::parse(url) else { return Cow::Borrowed(url) };
        let origin = parsed.origin();
        match self.0.iter().find(|(from, _)| *from == origin) {
            // What follows the origin is kept as it was written.
            Some((_, to)) => Cow::Owned(format!("{to}{}", after_origin(url))),
            None => Cow::Borrowed(url),
        }
    }

    fn parse(entry: &str) -> Option<(Origin, String)> {
        let (from, to) = entry.split_once('=')?;
        let (from, to) = (origin(from.trim())?, origin(to.trim())?);
        Some((from, to.ascii_serialization()))
    }
}

/// An http or https URL with nothing behind its origin.
fn origin(text: &str) -> Option<Origin> {
    let url = Url::parse(text).ok()?;
    let bare = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    bare.then(|| url.origin())
}

fn after_origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[end..]
}

impl<'de> Deserialize<'de> for ProviderOrigins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<String>::deserialize(deserializer)?;
        let parsed = entries.iter().map(|entry| {
            Self::parse(entry).ok_or_else(|| {
                let fix = "write it as https://api.example.com=http://127.0.0.1:4711";
                D::Error::custom(format!("`{entry}` is no pair of origins; {fix}"))
            })
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn origins(entries: &[&str]) -> Result<ProviderOrigins, serde_json::Error> {
        serde_json::from_value(json!(entries))
    }

    #[test]
    fn only_the_origin_is_replaced_and_only_a_whole_one() {
        let set = origins(&[
            "https://oauth2.googleapis.com=http://127.0.0.1:4711",
            "https://b.example:444=https://c.example",
        ])
        .unwrap();
        for (url, expected) in [
            ("https://oauth2.googleapis.com/token", "http://127.0.0.1:4711/token"),
            ("https://oauth2.googleapis.com:443/a%2Fb?x=/y", "http://127.0.0.1:4711/a%2Fb?x=/y"),
            ("https://OAuth2.googleapis.com", "http://127.0.0.1:4711"),
            ("https://b.example:444?q", "https://c.example?q"),
            ("https://b.example/", "https://b.example/"),
            ("http://oauth2.googleapis.com/token", "http://oauth2.googleapis.com/token"),
            ("https://oauth2.googleapis.com.evil.example/", "https://oauth2.googleapis.com.evil.example/"),
            ("https://oauth2.googleapis.com@evil.example/", "https://oauth2.googleapis.com@evil.example/"),
            ("no url", "no url"),
        ] {
            assert_eq!(set.replace(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_pair_of_origins_is_refused_by_name() {
        for entry in ["", "https://a.example", "https://a.example/path=http://b.example", "ftp://a=http://b", "a=b"] {
            let error = origins(&[entry]).unwrap_err().to_string();
            assert!(error.contains("write it as"), "{entry}: {error}");
        }
    }
}
