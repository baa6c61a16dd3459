//! A trace as one page of HTML. Nothing in it runs, and nothing is fetched from anywhere: whatever an event holds, it is
//! text here. The whole story stands in the page as JSON too.

use std::{collections::HashMap, fmt::Write as _};

use serde_json::Value;

use crate::cli::output::text;

/// The page forbids itself everything but its own style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = "\
    :root{color-scheme:light dark;--line:#8884;--soft:#8888;--bad:#c0392b;--good:#1e8449}\
    body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}\
    h1{font-size:1.3rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin-top:2rem}\
    table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .5rem;border-top:1px solid var(--line)}\
    td.at{white-space:nowrap;font-variant-numeric:tabular-nums}td.after{text-align:right;color:var(--soft);white-space:nowrap}\
    pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.25rem 0;font-size:12px}summary{cursor:pointer}\
    .kind{color:var(--soft)}.dead,.failed,.lost,.unknown{color:var(--bad)}.delivered,.succeeded,.confirmed{color:var(--good)}\
    @media print{details>*{display:block}}";

/// Deeper causes are not moved further to the right.
const DEEPEST: usize = 8;

/// The page of a story.
pub(super) fn render(story: &Value) -> String {
    let title = format!("Trace {}", text(story, "correlation_id"));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
        escaped(&title)
    );
    head(&mut page, story);
    time_line(&mut page, story);
    section(&mut page, "Events", &story["events"], |event| format!("{} {}", text(event, "type"), text(event, "id")));
    deliveries(&mut page, &story["deliveries"]);
    section(&mut page, "Refused requests", &story["rejections"], |one| {
        format!("{} {}: {}", text(one, "at"), text(one, "code"), text(one, "reason"))
    });
    section(&mut page, "Parked requests", &story["parked"], |one| {
        format!("{} {}: {}", text(one, "received_at"), text(one, "code"), text(one, "message"))
    });
    let _ = write!(
        page,
        "<h2>Everything, for programs</h2>\n<p>The element <code>story</code> of this page holds all of it as JSON.</p>\n\
         <script type=\"application/json\" id=\"story\">{}</script>\n</body>\n</html>\n",
        embedded(story)
    );
    page
}

fn head(page: &mut String, story: &Value) {
    let entries = items(&story["entries"]);
    let (first, last) =
        (entries.first().map_or("", |one| text(one, "at")), entries.last().map_or("", |one| text(one, "at")));
    let count = |kind: &str| entries.iter().filter(|entry| entry["kind"] == kind).count();
    let _ = writeln!(
        page,
        "<p>Tenant <b>{}</b>, {} to {}: {} requests, {} events, {} deliveries, {} attempts, {} calls to providers.</p>",
        escaped(text(story, "tenant")),
        escaped(first),
        escaped(last),
        count("request"),
        count("event"),
        count("delivery"),
        count("attempt"),
        count("provider_call")
    );
    if story["truncated"] == true {
        page.push_str("<p class=\"failed\">More happened under this id than is shown.</p>\n");
    }
}

fn time_line(page: &mut String, story: &Value) {
    let entries = items(&story["entries"]);
    let began = entries.first().and_then(|entry| millis(text(entry, "at")));
    let parents: HashMap<&str, &str> =
        entries.iter().filter_map(|entry| Some((text(entry, "id"), entry["parent"].as_str()?))).collect();
    page.push_str("<h2>Time line</h2>\n<table>\n");
    for entry in entries {
        let after =
            began.zip(millis(text(entry, "at"))).map_or_else(String::new, |(began, at)| format!("+{} ms", at - began));
        let state = escaped(entry["state"].as_str().unwrap_or_default());
        let _ = writeln!(
            page,
            "<tr><td class=\"at\">{}</td><td class=\"after\">{after}</td><td style=\"padding-left:{}rem\">\
             <details><summary><span class=\"kind\">{}</span> <span class=\"{state}\">{}</span></summary>\
             <pre>{}</pre></details></td></tr>",
            escaped(text(entry, "at")),
            depth(&parents, text(entry, "id")),
            escaped(text(entry, "kind")),
            escaped(text(entry, "summary")),
            escaped(&pretty(entry))
        );
    }
    page.push_str("</table>\n");
}

/// How many causes lie before an entry.
fn depth(parents: &HashMap<&str, &str>, id: &str) -> usize {
    let mut at = id;
    for depth in 0..DEEPEST {
        match parents.get(at) {
            Some(parent) => at = parent,
            None => return depth,
        }
    }
    DEEPEST
}

fn deliveries(page: &mut String, all: &Value) {
    section(page, "Deliveries", all, |one| {
        let because = one["message"].as_str().map_or_else(String::new, |message| format!(" ({message})"));
        format!("{} to {}: {}{because}", text(one, "event_type"), text(one, "target"), text(one, "state"))
    });
    let logs: Vec<String> = items(all).iter().flat_map(guest_lines).collect();
    if !logs.is_empty() {
        let _ = write!(page, "<h2>What plugins logged</h2>\n<pre>{}</pre>\n", escaped(&logs.join("\n")));
    }
}

fn guest_lines(delivery: &Value) -> Vec<String> {
    let of_attempt = |attempt: &Value| -> Vec<String> {
        let line = |line: &Value| {
            let said = line.as_str().map_or_else(|| line.to_string(), str::to_owned);
            format!("{}/{}: {said}", text(delivery, "id"), attempt["number"])
        };
        items(&attempt["detail"]["log"]).iter().map(line).collect()
    };
    items(&delivery["attempts"]).iter().flat_map(of_attempt).collect()
}

fn section(page: &mut String, title: &str, all: &Value, line: impl Fn(&Value) -> String) {
    let all = items(all);
    if all.is_empty() {
        return;
    }
    let _ = writeln!(page, "<h2>{}</h2>", escaped(title));
    for one in all {
        let _ = writeln!(
            page,
            "<details><summary>{}</summary><pre>{}</pre></details>",
            escaped(&line(one)),
            escaped(&pretty(one))
        );
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn millis(at: &str) -> Option<i64> {
    at.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// Text as text, also within quotes of an attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // A browser drops it, or takes it for the end.
            '\0' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// JSON in which nothing ends the element that it stands in.
fn embedded(value: &Value) -> String {
    let mut safe = String::new();
    for char in value.to_string().chars() {
        match char {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(safe, "\\u{:04x}", u32::from(char));
            }
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp;\u{2028}<!--";

    fn story() -> Value {
        json!({
            "correlation_id": HOSTILE, "tenant": HOSTILE, "truncated": true,
            "entries": [
                {"at": "2026-11-21T09:00:00.000Z", "kind": "event", "id": "evt_1", "summary": HOSTILE, "state": null},
                {"at": "2026-11-21T09:00:00.250Z", "kind": "delivery", "id": "dlv_1", "parent": "evt_1",
                    "summary": HOSTILE, "state": "x\" onclick=\"alert(3)"},
            ],
            "events": [{"id": "evt_1", "type": HOSTILE, "data": {HOSTILE: HOSTILE}}],
            "deliveries": [{"id": "dlv_1", "attempts": [{"number": 1, "detail": {"log": [HOSTILE]}}]}],
            "rejections": [{"reason": HOSTILE}], "parked": [{"message": HOSTILE}],
        })
    }

    #[test]
    fn whatever_an_event_holds_is_text_in_the_page() {
        let page = render(&story());
        let lower = page.to_ascii_lowercase();
        assert_eq!(lower.matches("<script").count(), 1, "only the story's own element: {page}");
        assert_eq!(lower.matches("</script").count(), 1, "nothing ends it before its time");
        for hostile in ["<img", "<!--"] {
            assert!(!lower.contains(hostile), "{hostile} in {page}");
        }
        // Within the story's own element quotes end nothing.
        let shown = lower.split("<script").next().unwrap();
        for hostile in ["onclick=\"", "onerror='"] {
            assert!(!shown.contains(hostile), "{hostile} in {shown}");
        }
        assert!(page.contains("+250 ms"));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_nothing_in_it_runs() {
        let page = render(&story());
        for from_elsewhere in ["src=", "href=", "url(", "@import", "http://", "https://"] {
            assert!(!page.replace("src=x", "").contains(from_elsewhere), "{from_elsewhere}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn the_story_is_in_the_page_as_json() {
        let page = render(&story());
        let from = page.find("id=\"story\">").unwrap() + "id=\"story\">".len();
        let to = from + page[from..].find("</script>").unwrap();
        assert_eq!(serde_json::from_str::<Value>(&page[from..to]).unwrap(), story());
    }
}
