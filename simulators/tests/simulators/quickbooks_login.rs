//! Logging in to a company in QuickBooks, and what becomes of tokens.

use base64::Engine as _;
use http::Method;
use serde_json::{Value, json};
use switchyard_simulators::{faults::Fault, oauth::Rotation, quickbooks::Kind};

use crate::{
    quickbooks::{Books, REALM, REDIRECT, code, invoice},
    support::{Got, call, get, post_json},
};

async fn token(books: &Books, form: &[(&str, &str)]) -> Got {
    let basic = base64::engine::general_purpose::STANDARD.encode("client-1:client-secret-1");
    let basic = format!("Basic {basic}");
    let headers = [("authorization", basic.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let url = format!("{}/oauth2/v1/tokens/bearer", books.company.base_url());
    call(Method::POST, &url, &headers, body).await.unwrap()
}

async fn company_info(books: &Books, bearer: &str) -> Got {
    let url = format!("{}/v3/company/{REALM}/companyinfo/{REALM}", books.company.base_url());
    call(Method::GET, &url, &[("authorization", &format!("Bearer {bearer}"))], "").await.unwrap()
}

#[tokio::test]
async fn a_person_is_sent_back_with_a_code_and_the_company() {
    let books = Books::open().await;
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", "client-1"),
            ("response_type", "code"),
            ("state", "s-1"),
            ("redirect_uri", REDIRECT),
        ])
        .append_pair("scope", "com.intuit.quickbooks.accounting")
        .finish();
    let sent = get(&format!("{}/connect/oauth2?{query}", books.company.base_url())).await;
    let back = url::Url::parse(sent.headers["location"].to_str().unwrap()).unwrap();
    let given: std::collections::BTreeMap<_, _> = back.query_pairs().into_owned().collect();
    assert_eq!((sent.status, given["realmId"].as_str(), given["state"].as_str()), (302, REALM, "s-1"));
    let form = [("grant_type", "authorization_code"), ("code", given["code"].as_str()), ("redirect_uri", REDIRECT)];
    let tokens = token(&books, &form).await.expect(200);
    assert_eq!((&tokens["expires_in"], &tokens["x_refresh_token_expires_in"]), (&json!(3600), &json!(8_726_400)));
    let info = company_info(&books, tokens["access_token"].as_str().unwrap()).await.expect(200);
    assert_eq!(info["CompanyInfo"]["Country"], "DK");
}

#[tokio::test]
async fn a_rotated_refresh_token_is_dead_and_a_revoked_one_too() {
    let books = Books::open().await;
    books.company.grants().set_rotation(Rotation::After(std::time::Duration::ZERO));
    let old = books.company.logged_in().refresh_token;
    let refresh = |token: String| {
        let books = &books;
        async move { self::token(books, &[("grant_type", "refresh_token"), ("refresh_token", &token)]).await }
    };
    let new = refresh(old.clone()).await.expect(200)["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    assert_eq!(refresh(old).await.expect(400)["error"], "invalid_grant");
    let basic = base64::engine::general_purpose::STANDARD.encode("client-1:client-secret-1");
    let basic = format!("Basic {basic}");
    let url = format!("{}/v2/oauth2/tokens/revoke", books.company.base_url());
    let headers = [("authorization", basic.as_str()), ("content-type", "application/json")];
    assert_eq!(call(Method::POST, &url, &headers, json!({"token": new}).to_string()).await.unwrap().status, 200);
    assert_eq!(refresh(new).await.expect(400)["error_description"], "Token invalid");
}

#[tokio::test]
async fn a_refused_token_is_told_in_both_spellings() {
    let books = Books::open().await;
    let lower = company_info(&books, "nobody's").await.expect(401);
    let upper = company_info(&books, "nobody's").await.expect(401);
    assert_eq!(
        (&lower["fault"]["error"][0]["code"], &lower["fault"]["type"]),
        (&json!("3200"), &json!("AUTHENTICATION"))
    );
    assert_eq!(
        (&upper["Fault"]["Error"][0]["code"], &upper["Fault"]["type"]),
        (&json!("3200"), &json!("AUTHENTICATION"))
    );
    assert!(lower["time"].is_number() && upper["time"].is_string());
    books.company.grants().expire_tokens();
    assert_eq!(books.get("/customer/1").await.status, 401);
    let url = format!("{}/v3/company/999/companyinfo/999", books.company.base_url());
    let bearer = format!("Bearer {}", books.company.logged_in().access_token);
    assert_eq!(code(call(Method::GET, &url, &[("authorization", &bearer)], "").await.unwrap(), 403), "3100");
}

#[tokio::test]
async fn too_many_requests_are_throttled_and_executed_by_nobody() {
    let books = Books::open().await;
    let customer = books.customer("Kunde ApS").await;
    books.company.faults().arm("invoice.create", Fault::RateLimit { retry_after_s: None }, 1);
    assert_eq!(code(books.post("/invoice", &invoice(&customer)).await, 429), "003001");
    books.company.set_behaviour(|behaviour| behaviour.requests_per_minute = Some(2));
    assert_eq!(books.get("/customer/101").await.status, 200);
    assert_eq!(code(books.post("/invoice", &invoice(&customer)).await, 429), "003001");
    books.company.clock.advance(std::time::Duration::from_secs(61));
    books.post("/invoice", &invoice(&customer)).await.expect(200);
    assert_eq!(books.company.records(Kind::Invoice).len(), 1);
}

#[tokio::test]
async fn another_process_steers_the_company() {
    let books = Books::open().await;
    let url = |command: &str| format!("{}/_sim/{command}", books.company.base_url());
    assert_eq!(get(&url("info")).await.expect(200)["realm_id"], REALM);
    let customer = json!({"do": "create", "kind": "Customer", "record": {"DisplayName": "Kunde ApS"}});
    let customer = post_json(&url("act"), &customer).await.expect(200)["Id"].as_str().unwrap().to_owned();
    let made = json!({"do": "create", "kind": "Invoice", "record": invoice(&customer)});
    let id = post_json(&url("act"), &made).await.expect(200)["Id"].clone();
    post_json(&url("act"), &json!({"do": "pay", "id": id, "amount": 100})).await.expect(200);
    let change = json!({"do": "change", "kind": "Invoice", "id": id, "record": {"DueDate": "2026-12-24"}});
    assert_eq!(post_json(&url("act"), &change).await.expect(200)["Balance"], json!(900.0));
    let shown = get(&url("invoices")).await.expect(200);
    assert_eq!(shown["invoices"][0]["balance"], 90_000);
    assert_eq!(get(&url("payments")).await.expect(200)["payments"][0]["amount"], 10_000);
    post_json(&url("act"), &json!({"do": "dance"})).await.expect(400);
    let refused = post_json(&url("act"), &json!({"do": "void", "kind": "Invoice", "id": "999"})).await.expect(409);
    assert!(refused["error"].as_str().unwrap().contains("610"), "{refused}");
    post_json(&url("expire-tokens"), &Value::Null).await.expect(200);
    assert_eq!(books.get("/invoice/1").await.status, 401);
    assert_eq!(get(&url("webhooks")).await.expect(200)["untold"], 4);
    post_json(&url("forge"), &json!({"body": []})).await.expect(409);
}
