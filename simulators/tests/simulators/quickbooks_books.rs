//! The books of a company in QuickBooks: amounts, versions, names, repeats, queries, changes.

use serde_json::{Value, json};
use switchyard_simulators::{faults::Fault, quickbooks::Kind};

use crate::quickbooks::{Books, code, invoice, line};

#[tokio::test]
async fn an_invoice_is_taxed_numbered_and_open() {
    let books = Books::open().await;
    let customer = books.customer("Kunde ApS").await;
    let made = books.invoice(&customer).await;
    assert_eq!((made["TotalAmt"].clone(), made["Balance"].clone()), (json!(1000.0), json!(1000.0)));
    assert_eq!(made["TxnTaxDetail"]["TotalTax"], json!(200.0));
    assert_eq!((&made["DocNumber"], &made["SyncToken"], &made["domain"]), (&json!("1001"), &json!("0"), &json!("QBO")));
    assert_eq!(made["CustomerRef"], json!({"value": customer, "name": "Kunde ApS"}));
    assert_eq!(made["MetaData"]["CreateTime"], "2026-11-20T05:31:25-08:00");
    let lines = made["Line"].as_array().unwrap();
    assert_eq!((lines.len(), &lines[1]["DetailType"]), (2, &json!("SubTotalLineDetail")));
    let mut inclusive = invoice(&customer);
    inclusive["GlobalTaxCalculation"] = json!("TaxInclusive");
    let made = books.post("/invoice", &inclusive).await.expect(200);
    assert_eq!(made["Invoice"]["TotalAmt"], json!(800.0));
    assert_eq!(made["Invoice"]["TxnTaxDetail"]["TotalTax"], json!(160.0));
}

#[tokio::test]
async fn what_is_not_right_is_refused_with_its_code() {
    let books = Books::open().await;
    let customer = books.customer("Kunde ApS").await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut wanted = invoice(&customer);
        change(&mut wanted);
        wanted
    };
    let cases: [(&str, Value); 12] = [
        ("2020", with(&|wanted| wanted["CustomerRef"] = Value::Null)),
        ("2500", with(&|wanted| wanted["CustomerRef"]["value"] = json!("999"))),
        ("2020", with(&|wanted| wanted["Line"] = json!([]))),
        ("6070", with(&|wanted| wanted["Line"][0]["Amount"] = json!(800.01))),
        ("2500", with(&|wanted| wanted["Line"][0]["SalesItemLineDetail"]["ItemRef"]["value"] = json!("9"))),
        ("6000", with(&|wanted| wanted["Line"][0]["SalesItemLineDetail"]["TaxCodeRef"] = Value::Null)),
        ("2500", with(&|wanted| wanted["Line"][0]["SalesItemLineDetail"]["TaxCodeRef"]["value"] = json!("TAX"))),
        ("2170", with(&|wanted| wanted["GlobalTaxCalculation"] = json!("TaxPerhaps"))),
        ("6000", with(&|wanted| wanted["CurrencyRef"] = json!({"value": "EUR"}))),
        ("2050", with(&|wanted| wanted["DocNumber"] = json!("1234567890123456789012"))),
        ("2010", with(&|wanted| wanted["DueDate"] = json!("tomorrow"))),
        ("2170", with(&|wanted| wanted["Line"][0]["DetailType"] = json!("Other"))),
    ];
    for (wanted, body) in cases {
        assert_eq!(code(books.post("/invoice", &body).await, 400), wanted, "{body}");
    }
    assert_eq!(code(books.get("/invoice/999").await, 400), "610");
    assert_eq!(code(books.get("/spaceship/1").await, 400), "500");
    assert!(books.company.invoices().is_empty());
}

#[tokio::test]
async fn names_and_numbers_are_unique() {
    let books = Books::open().await;
    let customer = books.customer("Kunde ApS").await;
    for name in ["kunde aps", "Leverandør A/S"] {
        assert_eq!(code(books.post("/customer", &json!({"DisplayName": name})).await, 400), "6240");
    }
    assert_eq!(code(books.post("/customer", &json!({"DisplayName": "A: B"})).await, 400), "2040");
    let mut first = invoice(&customer);
    first["DocNumber"] = json!("A-1");
    books.post("/invoice", &first).await.expect(200);
    assert_eq!(code(books.post("/invoice", &first).await, 400), "6140");
    // Who leaves gives the name free.
    let leaves = json!({"Id": customer, "SyncToken": "0", "sparse": true, "Active": false});
    books.post("/customer", &leaves).await.expect(200);
    assert_ne!(books.customer("Kunde ApS").await, customer);
    assert_eq!(code(books.post("/invoice", &first).await, 400), "610");
}

#[tokio::test]
async fn a_stale_version_changes_nothing() {
    let books = Books::open().await;
    let customer = books.customer("Kunde ApS").await;
    let update = |token: &str, phone: &str| json!({"Id": customer, "SyncToken": token, "sparse": true, "PrimaryPhone": {"FreeFormNumber": phone}});
    let changed = books.post("/customer", &update("0", "+4520123456")).await.expect(200);
    assert_eq!(
        (&changed["Customer"]["SyncToken"], &changed["Customer"]["DisplayName"]),
        (&json!("1"), &json!("Kunde ApS"))
    );
    assert_eq!(code(books.post("/customer", &update("0", "+4500000000")).await, 400), "5010");
    assert_eq!(books.company.records(Kind::Customer)[0]["PrimaryPhone"]["FreeFormNumber"], "+4520123456");
}

#[tokio::test]
async fn a_repeat_under_one_request_id_is_answered_as_the_first_time() {
    let books = Books::open().await;
    let customer = books.customer("Kunde ApS").await;
    let first = books.post("/invoice?requestid=r-1", &invoice(&customer)).await.expect(200);
    books.company.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(books.post("/invoice?requestid=r-1", &invoice(&customer)).await.expect(200), first);
    books.post("/invoice?requestid=r-2", &invoice(&customer)).await.expect(200);
    assert_eq!(books.company.invoices().len(), 2);
    // A refusal is remembered too: the same id never becomes a success.
    assert_eq!(code(books.post("/invoice?requestid=r-3", &json!({})).await, 400), "2020");
    assert_eq!(code(books.post("/invoice?requestid=r-3", &invoice(&customer)).await, 400), "2020");
    let long = "x".repeat(51);
    assert_eq!(code(books.post(&format!("/invoice?requestid={long}"), &invoice(&customer)).await, 400), "2050");
}

#[tokio::test]
async fn payments_close_invoices_and_voiding_opens_them_again() {
    let books = Books::open().await;
    let customer = books.customer("Kunde ApS").await;
    let id = books.invoice(&customer).await["Id"].as_str().unwrap().to_owned();
    let pay = |amount: f64| {
        json!({"CustomerRef": {"value": customer}, "TotalAmt": amount,
            "Line": [{"Amount": amount, "LinkedTxn": [{"TxnId": id, "TxnType": "Invoice"}]}]})
    };
    assert_eq!(code(books.post("/payment", &pay(1000.01)).await, 400), "6000");
    let payment = books.post("/payment", &pay(250.5)).await.expect(200);
    assert_eq!(books.company.invoices()[0].balance, 74_950);
    books.company.act(json!({"do": "pay", "id": id})).unwrap();
    let shown = books.get(&format!("/invoice/{id}")).await.expect(200);
    assert_eq!(
        (&shown["Invoice"]["Balance"], shown["Invoice"]["LinkedTxn"].as_array().unwrap().len()),
        (&json!(0.0), 2)
    );
    let void = json!({"Id": payment["Payment"]["Id"], "SyncToken": "0", "sparse": true});
    books.post("/payment?operation=void", &void).await.expect(200);
    assert_eq!(books.company.invoices()[0].balance, 25_050);
    books.company.act(json!({"do": "void", "kind": "Invoice", "id": id})).unwrap();
    let shown = &books.company.invoices()[0];
    assert!(shown.void && shown.total == 0 && shown.balance == 0, "{shown:?}");
}

#[tokio::test]
async fn an_invoice_is_mailed_once_per_request() {
    let books = Books::open().await;
    let customer = books.customer("Kunde ApS").await;
    let id = books.invoice(&customer).await["Id"].as_str().unwrap().to_owned();
    assert_eq!(code(books.post(&format!("/invoice/{id}/send"), &Value::Null).await, 400), "2020");
    for _ in 0..2 {
        let path = format!("/invoice/{id}/send?sendTo=a%40b.test&requestid=s-1");
        assert_eq!(books.post(&path, &Value::Null).await.expect(200)["Invoice"]["EmailStatus"], "EmailSent");
    }
    assert_eq!(books.company.mails(), [(id, "a@b.test".to_owned())]);
}

#[tokio::test]
async fn queries_filter_sort_page_and_refuse_what_they_do_not_know() {
    let books = Books::open().await;
    assert_eq!(books.query("select * from Customer").await.expect(200)["QueryResponse"], json!({}));
    for name in ["B's ApS", "A ApS", "C ApS"] {
        books.customer(name).await;
    }
    let names = |answer: Value| -> Vec<String> {
        let rows = answer["QueryResponse"]["Customer"].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["DisplayName"].as_str().unwrap().to_owned()).collect()
    };
    let found =
        books.query("select * from Customer orderby DisplayName startposition 2 maxresults 1").await.expect(200);
    assert_eq!(
        (names(found.clone()), &found["QueryResponse"]["startPosition"]),
        (vec!["B's ApS".to_owned()], &json!(2))
    );
    assert_eq!(
        names(books.query("SELECT * FROM Customer WHERE DisplayName = 'b\\'s aps'").await.expect(200)),
        ["B's ApS"]
    );
    assert_eq!(
        names(books.query("select * from Customer where DisplayName like 'A%' and Active = true").await.expect(200)),
        ["A ApS"]
    );
    assert_eq!(names(books.query("select * from Customer where Id in ('101', '103')").await.expect(200)).len(), 2);
    let since = "select * from Customer where MetaData.LastUpdatedTime >= '2026-11-20T13:31:25Z'";
    assert_eq!(names(books.query(since).await.expect(200)).len(), 3);
    assert_eq!(
        books.query("select count(*) from Customer").await.expect(200)["QueryResponse"],
        json!({"totalCount": 3})
    );
    for wrong in [
        "select * from customer",
        "select * from Customer where A = 'x' or B = 'y'",
        "drop table Customer",
        "select * from Customer where DisplayName = 'open",
        "select * from Customer maxresults 1001",
    ] {
        assert_eq!(code(books.query(wrong).await, 400), "4000", "{wrong}");
    }
}

#[tokio::test]
async fn change_data_capture_tells_of_everything_since_and_of_what_is_gone() {
    let books = Books::open().await;
    let customer = books.customer("Kunde ApS").await;
    let id = books.invoice(&customer).await["Id"].as_str().unwrap().to_owned();
    books.company.clock.advance(std::time::Duration::from_secs(3000));
    let other = books.invoice(&customer).await["Id"].as_str().unwrap().to_owned();
    books.company.act(json!({"do": "delete", "kind": "Invoice", "id": id})).unwrap();
    let answer =
        books.get("/cdc?entities=Invoice,Customer,Payment&changedSince=2026-11-20T14:00:00Z").await.expect(200);
    let parts = answer["CDCResponse"][0]["QueryResponse"].as_array().unwrap();
    let invoices = parts[0]["Invoice"].as_array().unwrap();
    assert_eq!(invoices.len(), 2);
    let gone = invoices.iter().find(|invoice| invoice["Id"] == id).unwrap();
    assert_eq!((&gone["status"], gone.get("TotalAmt")), (&json!("Deleted"), None));
    assert!(invoices.iter().any(|invoice| invoice["Id"] == other && invoice["TotalAmt"] == 1000.0));
    assert_eq!((&parts[1], &parts[2]), (&json!({}), &json!({})));
    assert_eq!(code(books.get("/cdc?entities=Invoice&changedSince=2026-10-01T00:00:00Z").await, 400), "4000");
    assert_eq!(code(books.get("/cdc?entities=TaxCode&changedSince=2026-11-20T00:00:00Z").await, 400), "4000");
}

#[tokio::test]
async fn a_success_can_hide_a_fault_executed_or_not() {
    let books = Books::open().await;
    let customer = books.customer("Kunde ApS").await;
    let body = switchyard_simulators::faults::FaultBody::Provider;
    books.company.faults().arm("invoice.create", Fault::FailBefore { status: 200, body }, 1);
    books.company.faults().arm("invoice.create", Fault::FailAfter { status: 200, body }, 1);
    for executed in 0..2 {
        assert_eq!(code(books.post("/invoice", &invoice(&customer)).await, 200), "6000");
        assert_eq!(books.company.invoices().len(), executed);
    }
}

#[tokio::test]
async fn amounts_are_exact_to_the_last_decimal() {
    let books = Books::open().await;
    let customer = books.customer("Kunde ApS").await;
    let lines =
        json!([line("3", "33.335", "100.01"), line("0.5", "0.01", "0.01"), line("1", "1234567.89", "1234567.89")]);
    let made = books.post("/invoice", &json!({"CustomerRef": {"value": customer}, "Line": lines})).await.expect(200);
    assert_eq!(made["Invoice"]["TxnTaxDetail"]["TotalTax"], json!(308_666.98));
    assert_eq!(books.company.invoices()[0].total, 154_333_489);
}
