use std::path::PathBuf;

use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, text},
    hub::Hub,
    world::bundled,
};

use super::{events, world};

fn pack(name: &str) -> String {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/rules"));
    let path = folder.join(name);
    assert!(path.exists(), "{}", path.display());
    path.display().to_string()
}

/// A hub with the plugins whose types the packs name, and the pack in force by the command line.
async fn pushed(name: &str) -> (Hub, Tenant) {
    let (hub, tenant) = world().await;
    for plugin in ["twilio", "gmail", "billy"] {
        let _ = hub.push(bundled(plugin)).await.expect(201);
    }
    let settings =
        json!({"settings": {"owner_phone": "+4520000001", "reminder_days": 3}, "time_zone": "Europe/Copenhagen"});
    let _ = tenant.api.patch(&tenant.path(""), &settings).await.expect(200);
    let checked = hub.run(&["rules", "check", "--tenant", "acme", &pack(name)], &[]).await;
    assert!(checked.success, "{}{}", checked.out, checked.err);
    let said = hub.run(&["--json", "rules", "push", "--tenant", "acme", &pack(name)], &[]).await.json();
    assert_eq!(said["version"], 1, "{said}");
    (hub, tenant)
}

async fn publish(tenant: &Tenant, event_type: &str, data: Value) {
    let _ = tenant.publish(&json!({"type": event_type, "data": data})).await;
}

#[tokio::test]
async fn a_missed_call_is_answered_by_a_text_message_once_an_hour() {
    let (_hub, tenant) = pushed("missed-call.toml").await;
    let call = |id: &str, outcome: &str| {
        json!({"call_id": id, "state": "ended", "status": "completed", "outcome": outcome,
        "direction": "inbound", "from": "+4520123456", "to": "+4570000001"})
    };
    publish(&tenant, "call.state_changed", call("CA1", "completed")).await;
    publish(&tenant, "call.state_changed", call("CA2", "no_answer")).await;
    let sent = events(&tenant, "sms.send", 1).await.remove(0);
    assert_eq!(sent["data"]["to"], "+4520123456", "{sent}");
    publish(&tenant, "call.state_changed", call("CA3", "busy")).await;
    assert_eq!(super::settled(&tenant).await, 2);
    assert_eq!(tenant.list("/events?type=sms.send").await.len(), 1, "not twice in an hour");
}

#[tokio::test]
async fn an_urgent_mail_becomes_a_task_and_wakes_the_owner_but_no_machine_does() {
    let (_hub, tenant) = pushed("urgent-email.toml").await;
    let mail = |id: &str, subject: &str| {
        json!({"message_id": id, "thread_id": "t", "mailbox": "office@firma.test",
        "from": "kunde@example.test", "to": ["office@firma.test"], "subject": subject, "date": "2026-11-20T13:31:25Z",
        "snippet": "Kan I komme i dag?", "label_ids": [], "has_attachments": false, "attachments": []})
    };
    let mut machine = mail("m2", "Akut: automatisk svar");
    machine["auto_submitted"] = json!(true);
    publish(&tenant, "email.received", machine).await;
    publish(&tenant, "email.received", mail("m3", "Tilbud")).await;
    publish(&tenant, "email.received", mail("m1", "AKUT: vand i kælderen")).await;
    let task = events(&tenant, "task.requested", 1).await.remove(0);
    assert_eq!((&task["data"]["message_id"], &task["data"]["priority"]), (&json!("m1"), &json!("high")), "{task}");
    let sms = events(&tenant, "sms.send", 1).await.remove(0);
    assert_eq!(sms["data"]["to"], "+4520000001", "{sms}");
    assert!(text(&sms["data"], "body").contains("vand i kælderen"), "{sms}");
}

#[tokio::test]
async fn an_overdue_invoice_is_reminded_of_once_a_step() {
    let (_hub, tenant) = pushed("overdue-invoice.toml").await;
    let overdue = |days: i64, step: i64| {
        json!({"invoice_id": "inv_1", "number": "42", "days": days, "step": step,
        "balance": {"amount": "125.00", "currency": "DKK"}, "email": "kunde@example.test", "phone": "+4520123456"})
    };
    publish(&tenant, "invoice.overdue", overdue(2, 1)).await;
    publish(&tenant, "invoice.overdue", overdue(5, 1)).await;
    let mail = events(&tenant, "email.send", 1).await.remove(0);
    assert_eq!(mail["data"]["to"], json!(["kunde@example.test"]), "{mail}");
    assert!(text(&mail["data"], "text").contains("125.00 DKK"), "{mail}");
    publish(&tenant, "invoice.overdue", overdue(6, 1)).await;
    assert_eq!(super::settled(&tenant).await, 2, "two days are not late enough");
    assert_eq!(tenant.list("/events?type=email.send").await.len(), 1);
    publish(&tenant, "invoice.overdue", overdue(20, 2)).await;
    let _ = events(&tenant, "email.send", 2).await;
    let _ = events(&tenant, "sms.send", 1).await;
}

#[tokio::test]
async fn the_daily_work_is_asked_for_at_its_times() {
    let (_hub, tenant) = pushed("daily-work.toml").await;
    let ids: Vec<_> = tenant.list("/schedules").await.iter().map(|row| text(row, "id")).collect();
    assert_eq!(ids, ["rules:clean-up", "rules:follow-ups", "rules:health-scores", "rules:segments"]);
    let _ = tenant.post("/schedules/rules:follow-ups/run", &json!({})).await.expect(202);
    let due = events(&tenant, "followups.due", 1).await.remove(0);
    assert_eq!(due["data"]["missed"], 0, "{due}");
}

#[tokio::test]
async fn a_file_with_a_fault_is_refused_with_its_place() {
    let (hub, _tenant) = world().await;
    let file = hub.folder().join("faulty.toml");
    let text = "[[rules]]\nname = \"r\"\non = \"plugin.broken\"\nwhen = '''true &&\n  dta.x'''\n\
        [[rules.emit]]\ntype = \"plugin.broken\"\ndata = \"{}\"\n";
    std::fs::write(&file, text).expect("it is written");
    let file = file.display().to_string();
    let checked = hub.run(&["rules", "check", "--tenant", "acme", &file], &[]).await;
    assert!(!checked.success && checked.out.contains("rules[0].when (rule `r`, line 2, column 3)"), "{}", checked.out);
    let pushed = hub.run(&["rules", "push", "--tenant", "acme", &file], &[]).await;
    assert!(pushed.refusal().contains("line 2, column 3"), "{}", pushed.err);
}
