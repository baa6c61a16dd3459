//! What a plugin may write into a request: a path on the connection's own host, and fields that neither carry the credential
//! nor steer the connection.

use http::{HeaderMap, HeaderName, HeaderValue, header};

const MAX_PATH: usize = 8192;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Why a request is denied before anything is sent. The text names the rule, for the plugin's author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The path breaks a rule.
    #[error("the path {0}")]
    Path(&'static str),
    /// A field that the host sets itself.
    #[error("the field `{0}` is set by the host or belongs to the connection")]
    ReservedHeader(String),
    /// A field that is not valid HTTP.
    #[error("the field `{0}` is not valid HTTP")]
    InvalidHeader(String),
    /// Too many fields, or too large ones.
    #[error("the request has more than {MAX_HEADERS} fields or 16 KiB of them")]
    TooManyHeaders,
}

/// Checks a path with query: begins with one `/`, only printable ASCII, no fragment, no backslash, no `..` segment in any
/// spelling.
pub fn check_path(path: &str) -> Result<(), Denied> {
    let route = path.split('?').next().unwrap_or_default();
    let problem = if path.len() > MAX_PATH {
        "is longer than 8192 bytes"
    } else if !path.starts_with('/') {
        "must begin with a slash; scheme and host come from the connection"
    } else if path.starts_with("//") {
        "must begin with one slash; two would name another host"
    } else if path.bytes().any(|byte| !(0x21..=0x7e).contains(&byte)) {
        "must be percent-encoded ASCII without spaces"
    } else if path.contains('#') {
        "must not have a fragment"
    } else if path.contains('\\') {
        "must not contain a backslash"
    } else if route.split('/').any(is_dot_dot) {
        "must not contain a `..` segment"
    } else {
        return Ok(());
    };
    Err(Denied::Path(problem))
}

/// `..` with any of its dots percent-encoded, and with what a server may cut off (`;` parameters).
fn is_dot_dot(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    let plain = name.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    plain.split('/').any(|part| part == "..")
}

/// Fields that no plugin and no `header` credential may set: those of the connection, of the message's frame, of tracing.
#[must_use]
pub fn is_reserved_header(name: &HeaderName) -> bool {
    const RESERVED: [HeaderName; 12] = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
        header::ACCEPT_ENCODING,
        header::PROXY_AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
        HeaderName::from_static("keep-alive"),
    ];
    const TRACE: [&str; 5] = ["traceparent", "tracestate", "baggage", "x-correlation-id", "proxy-connection"];
    RESERVED.contains(name) || TRACE.contains(&name.as_str())
}

/// Checks the fields of a plugin's request. `credential` is the field in which the connection's credential goes, which the
/// plugin must not set either; `authorization` and `cookie` never are the plugin's.
pub fn check_headers<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    credential: Option<&HeaderName>,
) -> Result<HeaderMap, Denied> {
    let mut checked = HeaderMap::new();
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in headers {
        count += 1;
        bytes += name.len() + value.len();
        if count > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
            return Err(Denied::TooManyHeaders);
        }
        let invalid = || Denied::InvalidHeader(shown(name));
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let personal = parsed == header::AUTHORIZATION || parsed == header::COOKIE || credential == Some(&parsed);
        if personal || is_reserved_header(&parsed) {
            return Err(Denied::ReservedHeader(parsed.to_string()));
        }
        checked.append(parsed, HeaderValue::from_bytes(value).map_err(|_| invalid())?);
    }
    Ok(checked)
}

/// A name from a plugin, fit for a message.
fn shown(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::outbound::egress::EgressPolicy;

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "/",
            "/v2/invoices?x=1&y=%2e%2e",
            "/a/b.json",
            "/a..b/...",
            "/2010-04-01/Accounts/AC1/Messages.json",
            "/q?u=http://x/../y",
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_that_leave_the_host_or_the_base_are_denied() {
        let long = format!("/{}", "a".repeat(8192));
        for (path, rule) in [
            ("", "begin with a slash"),
            ("v2", "begin with a slash"),
            ("https://evil.example/", "begin with a slash"),
            ("@evil.example/", "begin with a slash"),
            ("//evil.example/", "one slash"),
            ("/a#b", "fragment"),
            ("/a b", "percent-encoded"),
            ("/a\r\nx: y", "percent-encoded"),
            ("/æ", "percent-encoded"),
            ("/a\\..\\b", "backslash"),
            ("/..", "`..`"),
            ("/a/../b", "`..`"),
            ("/a/%2e%2E/b", "`..`"),
            ("/a/.%2e", "`..`"),
            ("/a/..;x=1/b", "`..`"),
            ("/a/..%2fb", "`..`"),
            ("/a%5c..%5cb", "`..`"),
            ("/../?q", "`..`"),
            (&long, "8192"),
        ] {
            let error = check_path(path).unwrap_err().to_string();
            assert!(error.contains(rule), "{path}: {error}");
        }
    }

    #[test]
    fn fields_of_host_credential_and_trace_are_denied() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "connection",
            "upgrade",
            "te",
            "trailer",
            "keep-alive",
            "expect",
            "proxy-authorization",
            "proxy-connection",
            "accept-encoding",
            "traceparent",
            "tracestate",
            "X-Correlation-ID",
            "authorization",
            "cookie",
            "X-Access-Token",
        ] {
            let own = HeaderName::from_static("x-access-token");
            let error = check_headers([(name, b"v".as_slice())], Some(&own)).unwrap_err();
            assert_eq!(error, Denied::ReservedHeader(name.to_ascii_lowercase()));
        }
    }

    #[test]
    fn ordinary_fields_pass_in_order_and_repeated() {
        let fields = [("content-type", b"a".as_slice()), ("x-tag", b"1"), ("X-Tag", b"2\xff")];
        let checked = check_headers(fields, None).unwrap();
        let tags: Vec<_> = checked.get_all("x-tag").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(tags, [b"1".as_slice(), b"2\xff"]);
    }

    #[test]
    fn invalid_and_excessive_fields_are_denied() {
        for (name, value) in [("a b", "v"), ("", "v"), ("x", "a\r\nb"), ("x\n", "v")] {
            let error = check_headers([(name, value.as_bytes())], None).unwrap_err();
            assert!(matches!(error, Denied::InvalidHeader(_)), "{name:?}");
            assert!(!error.to_string().contains('\n'));
        }
        assert_eq!(check_headers(vec![("x", b"v".as_slice()); 65], None), Err(Denied::TooManyHeaders));
        assert_eq!(check_headers([("x", vec![b'v'; 17_000].as_slice())], None), Err(Denied::TooManyHeaders));
    }

    proptest! {
        #[test]
        fn a_checked_path_stays_on_the_host_and_under_the_base(path in "/?[/a-z.%2efEF;?#\\\\@: ]{0,40}") {
            let base = EgressPolicy::default().check_url("https://api.example/base").unwrap();
            if check_path(&path).is_ok() && let Ok(joined) = base.join(&path) {
                prop_assert_eq!(joined.uri().host(), Some("api.example"));
                // What a browser-like reader makes of it stays under the base as well.
                let read = url::Url::parse(&joined.uri().to_string()).unwrap();
                prop_assert!(read.path().starts_with("/base"), "{}", read);
            }
        }
    }
}
