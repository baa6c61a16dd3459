use serde_json::{Value, json};
use switchyard_tests::{api::text, hub::Hub};

use super::{EMAIL, PHONE, Planted, WORDS, traces};

const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!--";

/// The story that stands in a page.
#[track_caller]
fn story(page: &str) -> Value {
    let from = page.find("id=\"story\">").expect("the story") + "id=\"story\">".len();
    let to = from + page[from..].find("</script>").expect("its end");
    serde_json::from_str(&page[from..to]).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_one_page_with_the_whole_story_in_which_nothing_runs() {
    let planted = Planted::on(Hub::builder()).await;
    let hostile = json!({"type": "order.noted", "subject": HOSTILE, "data": {"note": HOSTILE, HOSTILE: 1, "from": PHONE,
        "mail": EMAIL, "token": "MARKER-a-token-of-somebody"}});
    let sent = planted.tenant.publish(&hostile).await;
    let correlation = text(&sent, "correlation_id");
    let file = planted.hub.folder().join("bundle.html").display().to_string();
    let writing = ["trace", &correlation, "--tenant", "acme", "--bundle", &file];
    let said = planted.hub.run(&writing, &[]).await;
    assert!(said.success, "{said:?}");
    let page = std::fs::read_to_string(&file).expect("the page");
    let lower = page.to_ascii_lowercase();
    assert_eq!((lower.matches("<script").count(), lower.matches("</script").count()), (1, 1));
    for hostile in ["<img", "<!--", "src=\"", "href=", "@import"] {
        assert!(!lower.contains(hostile), "{hostile}");
    }
    assert!(page.contains("default-src 'none'") && !page.contains("MARKER-a-token"), "a secret is in the page");
    let story = story(&page);
    assert_eq!(story["events"][0]["data"]["note"], HOSTILE, "the story is whole");
    assert_eq!(story["events"][0]["data"]["from"], PHONE);
    assert!(
        story["deliveries"][0]["target"].is_string() && story["entries"].as_array().is_some_and(|all| all.len() >= 2)
    );
    let again = planted.hub.run(&writing, &[]).await;
    assert!(again.refusal().contains("cannot write"), "{}", again.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_without_personal_data_names_nobody() {
    let planted = Planted::on(Hub::builder()).await;
    for event in [&planted.waiting, &planted.dead] {
        let (correlation, id) = (text(event, "correlation_id"), text(event, "id"));
        let file = planted.hub.folder().join(format!("{id}.html")).display().to_string();
        let writing = ["trace", &correlation, "--tenant", "acme", "--bundle", &file, "--redact-personal"];
        let said = planted.hub.run(&writing, &[]).await;
        assert!(said.success && said.out.contains("personal"), "{said:?}");
        let page = std::fs::read_to_string(&file).expect("the page");
        let named: Vec<_> = traces(page.as_bytes()).into_iter().filter(|trace| !trace.contains("words")).collect();
        assert_eq!(named, Vec::<&str>::new(), "{page}");
        assert!(page.contains(&id), "ids stay");
    }
    let open =
        planted.hub.run(&["trace", &text(&planted.dead, "correlation_id"), "--tenant", "acme", "--json"], &[]).await;
    assert!(open.json().to_string().contains(WORDS), "without the word nothing personal is left out");
}
