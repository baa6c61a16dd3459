//! Lists as Twilio pages them.

use serde_json::{Value, json};

use crate::http::{Call, Reply};

const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 1000;

/// One page of `all`, which are the matching resources, newest first, each under its sid. `path` is that of the list,
/// `name` the member under which its rows stand.
pub(crate) fn page(call: &Call, path: &str, name: &str, all: &[(String, Value)]) -> Reply {
    let query = call.query_pairs();
    let field = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let size = field("PageSize").and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_PAGE).clamp(1, LARGEST_PAGE);
    let page: usize = field("Page").and_then(|text| text.parse().ok()).unwrap_or(0);
    // The token names the last row of the page before, so that new rows do not shift the next page.
    let start = field("PageToken")
        .and_then(|token| all.iter().position(|(sid, _)| token.strip_prefix("PA") == Some(sid)))
        .map_or_else(|| page.saturating_mul(size), |last| last + 1)
        .min(all.len());
    let end = start.saturating_add(size).min(all.len());
    let shown = &all[start..end];
    let uri = |page: usize, token: Option<&str>| page_uri(path, &query, size, page, token);
    let next = shown.last().filter(|_| end < all.len()).map(|(sid, _)| uri(page + 1, Some(sid)));
    let rows: Vec<&Value> = shown.iter().map(|(_, resource)| resource).collect();
    let body = json!({
        name: rows, "page": page, "page_size": size, "start": start, "end": end.saturating_sub(1),
        "uri": uri(page, None), "first_page_uri": uri(0, None), "next_page_uri": next,
        "previous_page_uri": page.checked_sub(1).map(|page| uri(page, None)),
    });
    Reply::json(200, &body)
}

fn page_uri(path: &str, query: &[(String, String)], size: usize, page: usize, token: Option<&str>) -> String {
    let mut uri = form_urlencoded::Serializer::new(format!("{path}?"));
    for (name, value) in query.iter().filter(|(name, _)| !name.starts_with("Page")) {
        uri.append_pair(name, value);
    }
    uri.append_pair("PageSize", &size.to_string()).append_pair("Page", &page.to_string());
    if let Some(sid) = token {
        uri.append_pair("PageToken", &format!("PA{sid}"));
    }
    uri.finish()
}
