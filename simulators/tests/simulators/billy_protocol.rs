//! Billy's envelopes, errors, lists, and the switches for what is not confirmed.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use switchyard_simulators::billy::{Behaviour, Shape, TimeFormat};

use crate::support::{Running, billy, billy_call, billy_get, call};

type Billy = Running<switchyard_simulators::billy::Handle>;

async fn add_contact(billy: &Billy, name: &str, number: &str) -> Value {
    let body = json!({"contact": {"type": "company", "name": name, "countryId": "DK", "registrationNo": number,
        "contactPersons": [{"name": "Ane", "email": format!("{number}@b.test")}]}});
    billy_call(billy, Method::POST, "/contacts", &body).await.unwrap().expect(200)
}

async fn add_invoice(billy: &Billy, contact: &Value, message: &str, state: &str) -> Value {
    let body = json!({"invoice": {"contactId": contact, "state": state, "contactMessage": message,
        "externalId": message, "lines": [{"productId": billy.product_id()}]}});
    billy_call(billy, Method::POST, "/invoices", &body).await.unwrap().expect(200)
}

fn messages(list: &Value) -> Vec<&str> {
    list["invoices"].as_array().unwrap().iter().map(|invoice| invoice["contactMessage"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_missing_or_wrong_token_is_refused() {
    let billy = billy().await;
    let url = format!("{}/v2/organization", billy.base_url());
    for headers in [vec![], vec![("x-access-token", "other")]] {
        let error = call(Method::GET, &url, &headers, "").await.unwrap().expect(401);
        assert_eq!(error["meta"], json!({"statusCode": 401, "success": false, "time": 0.03}));
    }
    let organization = billy_get(&billy, "/organization").await.expect(200);
    assert_eq!(organization["organization"]["id"], billy.organization_id());
}

#[tokio::test]
async fn there_are_no_webhooks_and_unknown_things_are_not_found() {
    let billy = billy().await;
    for path in ["/webhooks", "/invoices/none", "/contacts/none", "/invoices?state=paid", "/invoices/none/approve"] {
        let error = billy_get(&billy, path).await.expect(404);
        assert_eq!(error["meta"]["success"], false, "{path}");
    }
    let gone = billy_call(&billy, Method::DELETE, "/invoices/none", &Value::Null).await.unwrap().expect(200);
    assert_eq!(gone["meta"]["deletedRecords"], json!({"invoices": ["none"]}));
}

#[tokio::test]
async fn malformed_requests_are_told_apart_from_invalid_ones() {
    let billy = billy().await;
    let url = format!("{}/v2/contacts", billy.base_url());
    let headers = [("x-access-token", "billy-token-1")];
    call(Method::POST, &url, &headers, "{\"contact\":").await.unwrap().expect(400);
    call(Method::POST, &url, &headers, "{\"contacts\":{}}").await.unwrap().expect(400);
    let error = call(Method::POST, &url, &headers, "{\"contact\":{\"name\":\"A\"}}").await.unwrap().expect(422);
    let attributes = &error["validationErrors"]["record"]["attributes"];
    assert_eq!(attributes["type"], "This field must not be blank.");
    billy_get(&billy, "/contactPersons").await.expect(400);
    billy_get(&billy, "/contacts?pageSize=0").await.expect(400);
    let foreign = json!({"contact": {"organizationId": "other", "type": "company", "name": "A", "countryId": "DK"}});
    billy_call(&billy, Method::POST, "/contacts", &foreign).await.unwrap().expect(422);
    assert_eq!(billy.contact_count(), 0);
}

#[tokio::test]
async fn a_contact_is_found_by_free_text_by_number_and_by_its_persons_mail() {
    let billy = billy().await;
    add_contact(&billy, "Kunde ApS", "12345678").await;
    add_contact(&billy, "Naboen A/S", "87654321").await;
    for query in ["q=kunde", "registrationNo=12345678", "q=12345678@B.test"] {
        let path = format!("/contacts?organizationId={}&{query}", billy.organization_id());
        let found = billy_get(&billy, &path).await.expect(200);
        let names: Vec<&str> =
            found["contacts"].as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(names, ["Kunde ApS"], "{query}");
    }
    assert_eq!(billy_get(&billy, "/contacts?organizationId=other").await.expect(200)["contacts"], json!([]));
}

#[tokio::test]
async fn persons_given_with_a_contact_are_kept_or_silently_dropped() {
    let billy = billy().await;
    let kept = add_contact(&billy, "Kunde ApS", "1").await;
    assert_eq!(kept["contactPersons"][0]["email"], "1@b.test");
    billy.set_behaviour(Behaviour { ignore_contact_persons: true, ..Behaviour::default() });
    let contact = add_contact(&billy, "Kunde ApS", "2").await["contacts"][0]["id"].clone();
    let path = format!("/contacts/{}?include=contact.contactPersons:embed", contact.as_str().unwrap());
    assert_eq!(billy_get(&billy, &path).await.expect(200)["contact"]["contactPersons"], json!([]));
    let person = json!({"contactPerson": {"contactId": contact, "name": "Ane", "email": "ane@b.test"}});
    billy_call(&billy, Method::POST, "/contactPersons", &person).await.unwrap().expect(200);
    let read = billy_get(&billy, &path).await.expect(200);
    assert_eq!(read["contact"]["contactPersons"][0]["email"], "ane@b.test");
}

#[tokio::test]
async fn the_download_url_is_another_one_at_every_read() {
    let billy = billy().await;
    let contact = add_contact(&billy, "Kunde ApS", "1").await["contacts"][0]["id"].clone();
    let id = add_invoice(&billy, &contact, "A", "draft").await["invoices"][0]["id"].clone();
    let path = format!("/invoices/{}", id.as_str().unwrap());
    let mut first = billy_get(&billy, &path).await.expect(200);
    let mut second = billy_get(&billy, &path).await.expect(200);
    assert_ne!(first["invoice"]["downloadUrl"].take(), second["invoice"]["downloadUrl"].take());
    assert_eq!(first["invoice"], second["invoice"], "nothing else changes between two reads");
}

#[tokio::test]
async fn a_list_is_filtered_sorted_and_paged() {
    let billy = billy().await;
    let contact = add_contact(&billy, "Kunde ApS", "1").await["contacts"][0]["id"].clone();
    for (message, state) in [("A", "draft"), ("B", "approved"), ("C", "approved")] {
        add_invoice(&billy, &contact, message, state).await;
        billy.clock.advance(Duration::from_secs(60));
    }
    let list = async |query: &str| billy_get(&billy, &format!("/invoices?{query}")).await.expect(200);
    assert_eq!(messages(&list("sortProperty=createdTime&sortDirection=DESC").await), ["C", "B", "A"]);
    assert_eq!(messages(&list("state=approved").await), ["B", "C"]);
    assert_eq!(messages(&list("minApprovedTime=2026-11-20%2013:33:00").await), ["C"]);
    assert_eq!(messages(&list("minApprovedTime=2026-11-20T13:33:00Z").await), ["C"]);
    assert_eq!(messages(&list(&format!("contactId={}&q=b", contact.as_str().unwrap())).await), ["B"]);
    assert!(messages(&list("contactId=other").await).is_empty());
    assert_eq!(messages(&list("minEntryDate=2026-11-20&maxEntryDate=2026-11-20").await).len(), 3);
    assert!(messages(&list("minEntryDate=2026-11-21").await).is_empty());
    billy_get(&billy, "/invoices?sortProperty=nothing").await.expect(400);

    let page = list("pageSize=2&sortProperty=createdTime").await;
    let paging = &page["meta"]["paging"];
    assert_eq!(
        (messages(&page), paging["total"].clone(), paging["pageCount"].clone()),
        (vec!["A", "B"], json!(3), json!(2))
    );
    let next = paging["nextUrl"].as_str().unwrap();
    let next = call(Method::GET, next, &[("x-access-token", "billy-token-1")], "").await.unwrap().expect(200);
    assert_eq!((messages(&next), next["meta"]["paging"]["nextUrl"].clone()), (vec!["C"], Value::Null));
}

#[tokio::test]
async fn answers_take_every_shape_that_was_seen_in_the_wild() {
    let billy = billy().await;
    let written = add_contact(&billy, "Kunde ApS", "1").await;
    assert!(written["contacts"].is_array() && written["contactPersons"].is_array());
    billy.set_behaviour(Behaviour {
        write_shape: Shape::Singular,
        read_shape: Shape::Plural,
        time_format: TimeFormat::Space,
        external_id_sticks: true,
        ..Behaviour::default()
    });
    let contact = add_contact(&billy, "Kunde ApS", "2").await["contact"]["id"].clone();
    let invoice = add_invoice(&billy, &contact, "ref-1", "approved").await["invoice"].clone();
    assert_eq!(invoice["approvedTime"], "2026-11-20 13:31:25");
    let path = format!("/invoices/{}", invoice["id"].as_str().unwrap());
    assert_eq!(billy_get(&billy, &path).await.expect(200)["invoices"][0]["id"], invoice["id"]);
    let found = billy_get(&billy, "/invoices?externalId=ref-1").await.expect(200);
    assert_eq!(messages(&found), ["ref-1"]);
    billy.set_behaviour(Behaviour { time_format: TimeFormat::TWithZone, ..Behaviour::default() });
    let dropped = add_invoice(&billy, &contact, "ref-2", "draft").await["invoices"][0].clone();
    assert_eq!(
        (dropped["externalId"].clone(), dropped["createdTime"].clone()),
        (Value::Null, json!("2026-11-20T13:31:25+00:00"))
    );
}
