use std::{collections::HashSet, path::Path};

use serde_json::{Value, json};
use switchyard_tests::{
    api::{SOON, Tenant, text},
    hub::{Hub, Said},
    world::subscriber,
};

const MAP: &str = "type = 'lead.created'\nidentity = ['phone', 'email']\npossible = [['name', 'zip']]\ncountry_code = '45'\n\
    [fields]\nname = { column = 'Name', required = true }\nphone = { column = 'Phone', as = 'phone' }\n\
    email = { column = 'Email', as = 'email' }\nzip = 'Zip'\n";

fn put(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

/// So many people, no two alike.
fn people(count: usize) -> String {
    let rows = (0..count).map(|n| format!("Person {n},2{n:07},p{n}@example.com,{:04}\n", 1000 + n % 9000));
    format!("Name,Phone,Email,Zip\n{}", rows.collect::<String>())
}

async fn import(hub: &Hub, more: &[&str]) -> Said {
    let args = ["events", "import", "--tenant", "acme", "--json"];
    hub.run(&[&args[..], more].concat(), &[]).await
}

/// What an import with refused rows printed before it failed.
fn summary(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

async fn leads(tenant: &Tenant) -> Vec<Value> {
    tenant.all_of("/events?type=lead.created").await
}

#[tokio::test]
async fn leads_are_imported_once_each_and_all_linked_to_a_person() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let map = put(hub.folder(), "map.toml", MAP);
    let file = put(hub.folder(), "leads.csv", &people(231));
    let looked = import(&hub, &[&file, "--map", &map, "--dry-run"]).await.json();
    assert_eq!((&looked["new"], &looked["refused"]), (&json!(231), &json!(0)), "{looked}");
    assert!(leads(&tenant).await.is_empty(), "a dry run sends nothing");

    let done = import(&hub, &[&file, "--map", &map]).await.json();
    assert_eq!((&done["new"], &done["refused"]), (&json!(231), &json!(0)), "{done}");
    let again = import(&hub, &[&file, "--map", &map]).await.json();
    assert_eq!((&again["new"], &again["already_there"]), (&json!(0), &json!(231)), "{again}");
    let events = leads(&tenant).await;
    let subjects: HashSet<String> = events.iter().map(|event| text(event, "subject")).collect();
    assert_eq!((events.len(), subjects.len()), (231, 231));
    assert!(subjects.iter().all(|subject| subject.starts_with("person-")), "{subjects:?}");
    assert!(!Path::new(&format!("{file}.import")).exists(), "nothing is left beside the file");
}

#[tokio::test]
async fn a_row_that_is_wrong_is_reported_and_mended_rows_are_imported_by_the_same_command() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let map = put(hub.folder(), "map.toml", MAP);
    let good = "Name,Phone,Email,Zip\nAda,20123456,ada@example.com,8000\n";
    let file = put(
        hub.folder(),
        "leads.csv",
        &format!("{good}Bo,ring senere,bo@example.com,8000\n,30112233,c@example.com,2100\n"),
    );
    let report = hub.folder().join("report.csv").display().to_string();
    let said = import(&hub, &[&file, "--map", &map, "--report", &report]).await;
    assert!(said.refusal().contains("2 of 3 rows were not imported"), "{said:?}");
    let lines = std::fs::read_to_string(&report).expect("the report");
    assert_eq!(lines.lines().count(), 4, "{lines}");
    assert!(lines.contains("3,refused,,,,phone: it is no phone number"), "{lines}");
    assert!(lines.contains("4,refused,,,,name: it is empty and required"), "{lines}");
    assert!(!lines.contains("ring senere"), "a report names what is wrong, not what is written: {lines}");
    assert_eq!(leads(&tenant).await.len(), 1);

    let _ = put(
        hub.folder(),
        "leads.csv",
        &format!("{good}Bo,+4530112233,bo@example.com,8000\nCarl,40112233,c@example.com,2100\n"),
    );
    let done = import(&hub, &[&file, "--map", &map]).await.json();
    assert_eq!((&done["new"], &done["already_there"]), (&json!(2), &json!(1)), "{done}");
    let bo = leads(&tenant).await.into_iter().find(|event| event["data"]["name"] == "Bo");
    assert_eq!(bo.expect("it is there now")["data"]["phone"], "+4530112233");
}

#[tokio::test]
async fn the_same_person_twice_is_one_event_and_a_likeness_is_for_a_person_to_decide() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let map = put(hub.folder(), "map.toml", MAP);
    let rows = "Name,Phone,Email,Zip\nAda Lund,20123456,ada@example.com,8000\nA. Lund,+45 20 12 34 56,other@example.com,8000\n\
        Ada,,ADA@example.com,\nada lund,30112233,third@example.com,8000\n";
    let file = put(hub.folder(), "leads.csv", rows);
    let done = import(&hub, &[&file, "--map", &map]).await.json();
    let counts = ["new", "duplicate", "possible_duplicates", "refused"].map(|name| done[name].as_u64().unwrap());
    assert_eq!(counts, [2, 2, 1, 0], "{done}");
    let look_at = &done["look_at"][0];
    assert_eq!(
        (&look_at["row"], &look_at["like_row"], &look_at["like_by"]),
        (&json!(5), &json!(2), &json!("name and zip"))
    );

    // With other data under the same identity the first import stands, and says so.
    let other = put(hub.folder(), "later.csv", "Name,Phone,Email,Zip\nAda Lund Holm,20123456,ada@example.com,8000\n");
    let later = import(&hub, &[&other, "--map", &map]).await.json();
    assert_eq!((&later["new"], &later["changed"]), (&json!(0), &json!(1)), "{later}");
    assert_eq!(leads(&tenant).await.len(), 2);

    let sending = put(hub.folder(), "sending.toml", &MAP.replace("identity", "duplicates = 'send'\nidentity"));
    let sent = import(&hub, &[&file, "--map", &sending]).await.json();
    assert_eq!((&sent["already_there"], &sent["duplicate"]), (&json!(2), &json!(2)), "{sent}");
    let events = leads(&tenant).await;
    let ada = events.iter().find(|event| event["data"]["name"] == "Ada Lund").expect("Ada");
    let linked = events.iter().filter(|event| event["subject"] == ada["subject"]).count();
    assert_eq!((events.len(), linked), (4, 3), "what they say is kept, about one person: {events:?}");
}

#[tokio::test]
async fn an_import_that_is_killed_goes_on_and_makes_nothing_twice() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let map = put(hub.folder(), "map.toml", MAP);
    let file = put(hub.folder(), "leads.csv", &people(4_000));
    let mut importing = hub.prepared(&["events", "import", &file, "--map", &map, "--tenant", "acme"]);
    let mut child = importing.kill_on_drop(true).stderr(std::process::Stdio::null()).spawn().expect("it starts");
    let place = format!("{file}.import");
    let begun = async || Path::new(&place).exists().then_some(()).ok_or_else(|| "there is no place yet".to_owned());
    switchyard_tests::api::until("the import to have begun", begun).await;
    child.kill().await.expect("it is killed");
    let done = import(&hub, &[&file, "--map", &map]).await.json();
    assert_eq!(done["rows"], 4_000, "{done}");
    assert_eq!(done["new"].as_u64().unwrap() + done["already_there"].as_u64().unwrap(), 4_000, "{done}");
    assert!(done["already_there"].as_u64().unwrap() >= 100, "what was sent is known: {done}");
    assert_eq!(leads(&tenant).await.len(), 4_000);
}

#[tokio::test]
async fn an_event_goes_again_to_whom_it_would_go_now() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let event = text(&tenant.publish(&json!({"type": "a.b", "data": {}})).await, "id");
    let replay = async || hub.run(&["events", "replay", "--tenant", "acme", &event], &[]).await;
    let nobody = replay().await;
    assert!(nobody.success && nobody.out.contains("goes to nobody now"), "{nobody:?}");
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let again = replay().await;
    assert!(again.success && again.out.contains(&endpoint), "{again:?}");
    let arrived = at.wait_for("/hook", 1, SOON).await.expect("it arrives").remove(0);
    assert_eq!(arrived.webhook_id(), Some(&*event));
    let unknown = hub.run(&["events", "replay", "--tenant", "acme", "evt_nothing"], &[]).await;
    assert!(unknown.refusal().contains("not_found"), "{unknown:?}");
}

#[tokio::test]
async fn a_map_or_a_file_that_cannot_be_used_is_refused_before_anything_is_sent() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let map = put(hub.folder(), "map.toml", MAP);
    let file = put(hub.folder(), "leads.csv", "Navn,Phone,Email,Zip\nAda,20123456,a@example.com,8000\n");
    let said = import(&hub, &[&file, "--map", &map]).await;
    let words = said.refusal();
    assert!(words.contains("map.toml") && words.contains("`Name`") && words.contains("`Navn`"), "{words}");
    let wrong = put(hub.folder(), "wrong.toml", &MAP.replace("'phone', 'email'", "'fone'"));
    assert!(import(&hub, &[&file, "--map", &wrong]).await.refusal().contains("`identity` names the field `fone`"));
    let empty = put(hub.folder(), "empty.csv", "");
    assert!(import(&hub, &[&empty, "--map", &map]).await.refusal().contains("it is empty"));
    assert!(leads(&tenant).await.is_empty());
    let suggested = hub.run(&["events", "import", &file, "--print-map"], &[]).await;
    assert!(
        suggested.success && suggested.out.contains("phone = { column = \"Phone\", as = \"phone\" }"),
        "{suggested:?}"
    );
}

#[tokio::test]
async fn the_example_of_an_import_does_what_its_comments_say() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/import");
    let rows = std::fs::read_to_string(example.join("leads.csv")).expect("the example");
    let file = put(hub.folder(), "leads.csv", &rows);
    let map = example.join("leads.toml").display().to_string();
    let done = summary(&import(&hub, &[&file, "--map", &map]).await);
    let counts =
        ["rows", "new", "duplicate", "possible_duplicates", "refused"].map(|name| done[name].as_u64().unwrap());
    assert_eq!(counts, [6, 5, 1, 1, 0], "{done}");
    let bo = leads(&tenant).await.into_iter().find(|event| event["data"]["wish"] == "Nyt badeværelse").expect("Bo");
    let wanted = json!({"name": "Bo Friis", "phone": "+4530112233", "email": "bo@example.com", "address": "Skovvej 14",
        "postal_code": "8200", "wish": "Nyt badeværelse", "value": "86000.00", "asked_on": "2026-11-04", "source": "import"});
    assert_eq!(bo["data"], wanted);
}
