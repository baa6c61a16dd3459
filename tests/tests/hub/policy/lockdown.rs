use serde_json::json;

use super::{Office, PERSON, alarmed, assert_refused, emergency, ended};

#[tokio::test]
async fn lockdown_holds_commands_but_neither_emergencies_nor_opt_outs() {
    let office = Office::open().await;
    let _ = office.put_consent("sms", "+4530123456", "withdrawn").await;
    let lock = async |on: bool| {
        let _ = office.hub.patch("/v1/tenants/acme", &json!({"lockdown": on})).await.expect(200);
    };
    lock(true).await;
    let id = office.text(PERSON, "later").await;
    let held = ended(&office.tenant, &id, "held").await;
    assert_eq!((&held["reason"], &held["code"]), (&json!("policy"), &json!("lockdown")), "{held:#}");
    assert_eq!((&held["tries"], &held["attempts"]), (&json!(0), &json!([])), "{held:#}");
    // Refused at once: it will never leave, locked or not.
    assert_refused(&ended(&office.tenant, &office.text("+4530123456", "x").await, "dead").await, "opted_out");
    // A plan that is over does not come before the lockdown, and what comes in is still heard.
    let _ = office.put_plan(&json!({"state": "canceled"})).await;
    office.hears("+4540123456", "STOP").await;
    assert_eq!(office.consent("sms", "+4540123456").await["state"], "withdrawn");
    let alarms = alarmed(&office.hub, &office.tenant).await;
    let fire = emergency(&alarms, "sms.send", &json!({"to": "+4530123456", "body": "Fire"})).await;
    let _ = ended(&office.tenant, &fire, "delivered").await;
    assert_eq!(office.sent_to("+4530123456"), ["Fire"]);
    assert_eq!(ended(&office.tenant, &id, "held").await["code"], "lockdown");
    let _ = office.put_plan(&json!({"state": "active"})).await;
    lock(false).await;
    let _ = ended(&office.tenant, &id, "delivered").await;
    assert_eq!(office.sent_to(PERSON), ["later"]);
}
