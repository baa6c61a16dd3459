use switchyard_sdk::http::percent_encode;
use switchyard_sdk::sorted::SortedMap;

/// The parts of an http or https URL, as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts<'a> {
    scheme: &'a str,
    userinfo: Option<&'a str>,
    host: &'a str,
    port: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

/// Shows `matches` the texts that a signature over a webhook's URL may have been made over, until one matches, without
/// repetition: Twilio is not consistent about ports and about characters that may or may not be escaped. In this order:
///
/// 1. as received, which is nearly always the one;
/// 2. without the port, or with the scheme's own where there was none;
/// 3. as the WHATWG standard writes the URL, without the port;
/// 4. the same with the port;
/// 5. the third with the query decoded and encoded again as Node's `querystring` does;
/// 6. the fourth likewise.
///
/// A fragment is never sent and is left out. A text that is no http or https URL has no such texts.
pub fn try_each<E>(url: &str, mut matches: impl FnMut(&str) -> Result<bool, E>) -> Result<bool, E> {
    let Some(parts) = split(url) else { return Ok(false) };
    let received = if parts.port.is_some() { parts.with_port() } else { parts.without_port() };
    if matches(&received)? {
        return Ok(true);
    }
    for text in others(&parts, received) {
        if matches(&text)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// All of these texts.
pub fn candidates(url: &str) -> Vec<String> {
    let mut texts = Vec::with_capacity(6);
    let collected: Result<bool, std::convert::Infallible> = try_each(url, |text| {
        texts.push(text.to_owned());
        Ok(false)
    });
    debug_assert_eq!(collected, Ok(false));
    texts
}

/// All but the first, which was tried.
fn others(parts: &Parts, received: String) -> Vec<String> {
    let path = serialise_path(parts.path);
    let query = parts.query.map(serialise_query);
    let scheme = parts.scheme.to_ascii_lowercase();
    let host = parts.host.to_ascii_lowercase();
    let standard = Parts { scheme: &scheme, host: &host, path: &path, query: query.as_deref(), ..parts.clone() };
    let legacy_query = query.as_deref().map(|query| if query.is_empty() { String::new() } else { requery(query) });
    let legacy = Parts { query: legacy_query.as_deref(), ..standard.clone() };

    let mut texts: Vec<String> = Vec::with_capacity(6);
    texts.push(received);
    for form in [parts, &standard, &legacy] {
        for text in [form.without_port(), form.with_port()] {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
    }
    texts.remove(0);
    texts
}

impl Parts<'_> {
    fn without_port(&self) -> String {
        self.join("")
    }

    fn with_port(&self) -> String {
        let own = if self.scheme.eq_ignore_ascii_case("https") { "443" } else { "80" };
        self.join(&format!(":{}", self.port.unwrap_or(own)))
    }

    fn join(&self, port: &str) -> String {
        let userinfo = self.userinfo.map_or(String::new(), |userinfo| format!("{userinfo}@"));
        let query = self.query.map_or(String::new(), |query| format!("?{query}"));
        format!("{}://{userinfo}{}{port}{}{query}", self.scheme, self.host, self.path)
    }
}

/// Splits the text without changing a byte of it. An `@` belongs to the user info only before the path, and a colon
/// inside the brackets of an IPv6 address begins no port.
fn split(url: &str) -> Option<Parts<'_>> {
    let url = url.split('#').next()?;
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let end = rest.find(['/', '?', '\\']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (userinfo, address) = match authority.rsplit_once('@') {
        Some((userinfo, address)) => (Some(userinfo), address),
        None => (None, authority),
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, Some(port).filter(|port| !port.is_empty()))
        }
        _ => (address, None),
    };
    let (path, query) = match tail.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (tail, None),
    };
    Some(Parts { scheme, userinfo, host, port, path, query })
}

/// The path as the WHATWG standard writes it: backslashes are slashes, dot segments are resolved, and what may not
/// stand in a path is percent-encoded. An empty path is `/`.
fn serialise_path(path: &str) -> String {
    let path = path.replace('\\', "/");
    let mut segments: Vec<String> = Vec::new();
    let mut pieces = path.strip_prefix('/').unwrap_or(&path).split('/').peekable();
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        let plain = piece.to_ascii_lowercase().replace("%2e", ".");
        match plain.as_str() {
            "." | ".." => {
                if plain == ".." {
                    segments.pop();
                }
                if last {
                    segments.push(String::new());
                }
            }
            _ => segments.push(escape(piece, b" \"#<>?`{}")),
        }
    }
    format!("/{}", segments.join("/"))
}

/// The query as the WHATWG standard writes it in an http URL.
fn serialise_query(query: &str) -> String {
    escape(query, b" \"#<>'")
}

/// Percent-encodes controls, these characters, and what is not ASCII.
fn escape(text: &str, reserved: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte <= 0x1f || byte >= 0x7f || reserved.contains(&byte) {
            escaped.push_str(&format!("%{byte:02X}"));
        } else {
            escaped.push(char::from(byte));
        }
    }
    escaped
}

/// The query decoded and encoded again as Node's `querystring.parse` and `stringify` do: repeated names are grouped at
/// their first place, names that are array indexes come first in ascending order, at most 1,000 pairs are kept, and
/// only `A-Z a-z 0-9 - _ . ! ~ * ' ( )` stay unescaped.
fn requery(query: &str) -> String {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()).take(1_000) {
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value.into_owned()),
            None => groups.push((name.into_owned(), vec![value.into_owned()])),
        }
    }
    let index_at = |at: usize| Some((array_index(&groups.get(at)?.0)?, at));
    let indexes: SortedMap<u32, usize> = (0..groups.len()).filter_map(index_at).collect();
    let others = (0..groups.len()).filter(|at| index_at(*at).is_none());
    let mut text = String::with_capacity(query.len());
    for (name, values) in indexes.values().copied().chain(others).filter_map(|at| groups.get(at)) {
        for value in values {
            if !text.is_empty() {
                text.push('&');
            }
            encode_component(name, &mut text);
            text.push('=');
            encode_component(value, &mut text);
        }
    }
    text
}

/// JavaScript objects order such names as numbers, before all others.
fn array_index(name: &str) -> Option<u32> {
    name.parse().ok().filter(|index: &u32| *index < u32::MAX && index.to_string() == name)
}

/// As JavaScript's `encodeURIComponent`, which leaves five more marks alone than RFC 3986 does.
fn encode_component(text: &str, into: &mut String) {
    for piece in text.split_inclusive(['!', '*', '\'', '(', ')']) {
        match piece.chars().next_back().filter(|last| "!*'()".contains(*last)) {
            Some(mark) => {
                percent_encode(&piece[..piece.len() - 1], into);
                into.push(mark);
            }
            None => percent_encode(piece, into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_url_has_two_candidates() {
        let plain = "https://a.test/in/x?foo=1&bar=2";
        assert_eq!(candidates(plain), [plain, "https://a.test:443/in/x?foo=1&bar=2"]);
    }

    #[test]
    fn the_port_is_found_beside_user_info_and_in_ipv6() {
        let found = candidates("http://user:pass@a.test:8080/x");
        assert_eq!(found, ["http://user:pass@a.test:8080/x", "http://user:pass@a.test/x"]);
        let found = candidates("http://user:pass@a.test/x");
        assert_eq!(found, ["http://user:pass@a.test/x", "http://user:pass@a.test:80/x"]);
        assert_eq!(candidates("https://[::1]/x"), ["https://[::1]/x", "https://[::1]:443/x"]);
    }

    #[test]
    fn an_apostrophe_is_tried_raw_escaped_and_decoded() {
        let found = candidates("https://a.test/p?q=it's+a");
        for text in ["https://a.test/p?q=it's+a", "https://a.test/p?q=it%27s+a", "https://a.test/p?q=it's%20a"] {
            assert!(found.iter().any(|candidate| candidate == text), "{text}");
        }
        assert!(candidates("https://a.test/p?q=it%27s").contains(&"https://a.test/p?q=it's".to_owned()));
    }

    #[test]
    fn node_groups_repeated_names_and_puts_indexes_first() {
        assert_eq!(requery("b=1&a=2&b=3"), "b=1&b=3&a=2");
        assert_eq!(requery("b=1&10=x&2=y&01=z"), "2=y&10=x&b=1&01=z");
        assert_eq!(requery("empty&&x="), "empty=&x=");
        assert_eq!(requery("q=%C3%A6+~(!)"), "q=%C3%A6%20~(!)");
    }

    #[test]
    fn paths_are_serialised_as_the_standard_says() {
        for (path, text) in
            [("", "/"), ("/a/../b", "/b"), ("/a/%2E%2e/b/.", "/b/"), ("/a b\"", "/a%20b%22"), ("/æ", "/%C3%A6")]
        {
            assert_eq!(serialise_path(path), text);
        }
    }

    #[test]
    fn what_is_no_http_url_has_no_candidates() {
        for text in ["", "a.test/x", "ftp://a.test/x"] {
            assert!(candidates(text).is_empty(), "{text}");
        }
    }
}
