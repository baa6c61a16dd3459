use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command, RemoteCommand};

fn said(words: &[&str]) -> Result<(&'static str, Control), CliError> {
    let line = ["switchyard", "simulate"].iter().chain(words);
    match Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).command {
        Command::Remote(RemoteCommand::Simulate(args)) => control(args.provider),
        _ => unreachable!("the words begin with simulate"),
    }
}

fn armed(words: &[&str]) -> Value {
    match said(words).unwrap() {
        (_, Control::Post(action, fault)) if action == "faults" => fault,
        other => panic!("{words:?} arms nothing: {other:?}"),
    }
}

#[test]
fn every_switch_arms_its_fault() {
    let cases = [
        (&["fail", "--status", "429", "--times", "3"][..], json!({"operation": "*", "kind": "rate_limit", "times": 3})),
        (&["duplicate"], json!({"operation": "*", "kind": "duplicate", "times": 1})),
        (&["reorder"], json!({"operation": "*", "kind": "out_of_order", "times": 1})),
        (&["drop-answer-after-commit"], json!({"operation": "*", "kind": "drop_after", "times": 1})),
        (&["expire-token"], json!({"operation": "*", "kind": "expire_token", "times": 1})),
        (&["slow", "--ms", "70"], json!({"operation": "*", "kind": "latency", "ms": 70, "times": 1})),
        (&["wrong-signature", "--times", "2"], json!({"operation": "*", "kind": "wrong_signature", "times": 2})),
        (&["drop-request"], json!({"operation": "*", "kind": "drop_before", "times": 1})),
        (&["reset"], json!({"operation": "*", "kind": "reset_after", "times": 1})),
        (&["hang"], json!({"operation": "*", "kind": "hang_after", "times": 1})),
        (&["wrong-token"], json!({"operation": "*", "kind": "wrong_token", "times": 1})),
        (&["delay", "--ms", "9"], json!({"operation": "*", "kind": "delay", "ms": 9, "times": 1})),
        (
            &["spoil", "--body", "wrong-types", "--operation", "a.b"],
            json!({"operation": "a.b", "kind": "spoil", "body": "wrong_types", "times": 1}),
        ),
        (
            &["fail", "--after", "--body", "html"],
            json!({"operation": "*", "kind": "fail_after", "status": 500, "body": "html", "times": 1}),
        ),
    ];
    for provider in ["twilio", "billy", "google", "gmail", "calendar", "quickbooks", "stripe"] {
        for (words, expected) in &cases {
            assert_eq!(armed(&[&[provider], *words].concat()), *expected, "{provider} {words:?}");
        }
    }
    let limited = armed(&["google", "fail", "--status", "429", "--retry-after", "7"]);
    assert_eq!(limited["retry_after_s"], 7);
}

#[test]
fn every_simulator_says_how_it_is() {
    let read = |words: &[&str]| said(words).unwrap();
    assert_eq!(read(&["google", "faults"]), ("google", Control::Read("faults".to_owned())));
    assert_eq!(read(&["stripe", "clear"]), ("stripe", Control::Delete("faults".to_owned())));
    assert_eq!(read(&["gmail", "counts"]).1, Control::Read("counts".to_owned()));
    let clock = read(&["calendar", "clock", "--offset-ms", "-86400000"]).1;
    assert_eq!(clock, Control::Post("clock".to_owned(), json!({"offset_ms": -86_400_000})));
}

#[test]
fn people_do_what_they_do() {
    let mail = said(&["gmail", "mail", "--from", "a@b.test", "--subject", "Hej"]).unwrap();
    let expected = json!({"from": "a@b.test", "subject": "Hej", "text": ""});
    assert_eq!(mail, ("gmail", Control::Post("receive".to_owned(), expected)));
    let call = said(&["twilio", "call", "--from", "+4511", "--to", "+4522"]).unwrap().1;
    assert_eq!(call, Control::Post("call".to_owned(), json!({"from": "+4511", "to": "+4522"})));
    let pay = said(&["quickbooks", "pay", "--invoice", "7", "--amount", "12.50"]).unwrap().1;
    assert_eq!(pay, Control::Post("act".to_owned(), json!({"do": "pay", "id": "7", "amount": 12.5})));
    let subscribe = said(&["stripe", "subscribe", "--customer", "cus_1"]).unwrap().1;
    let expected = json!({"customer": "cus_1", "status": "active"});
    assert_eq!(subscribe, Control::Post("subscribe".to_owned(), expected));
}

#[test]
fn what_makes_no_sense_is_refused_with_the_fix() {
    let senseless = said(&["billy", "fail", "--status", "503", "--retry-after", "7"]).unwrap_err().to_string();
    assert!(senseless.contains("--status 429"), "{senseless}");
    let amount = said(&["billy", "pay", "--invoice", "1", "--amount", "much"]).unwrap_err().to_string();
    assert!(amount.contains("--amount"), "{amount}");
    for words in [&["fail", "--status", "200"][..], &["fail", "--times", "0"], &["spoil", "--body", "nice"], &["spoil"]]
    {
        let line = ["switchyard", "simulate", "google"].iter().chain(words);
        let error = Cli::try_parse_from(line).err().expect("it is refused").to_string();
        assert!(error.contains("--"), "{error}");
    }
}

#[test]
fn an_address_comes_from_the_environment_or_from_dev_and_else_the_error_says_where_to_put_it() {
    let dev = tempfile::tempdir().unwrap();
    let none = |_: &str| None;
    let missing = address("google", none, dev.path()).unwrap_err().to_string();
    for fix in ["switchyard dev", "--sim-url", "SWITCHYARD_SIM_GOOGLE"] {
        assert!(missing.contains(fix), "{missing}");
    }
    std::fs::write(dev.path().join(ADDRESSES), r#"{"google":"http://127.0.0.1:1"}"#).unwrap();
    assert_eq!(address("google", none, dev.path()).unwrap().as_str(), "http://127.0.0.1:1/");
    let given = |variable: &str| (variable == "SWITCHYARD_SIM_GOOGLE").then(|| "http://127.0.0.1:2".to_owned());
    assert_eq!(address("google", given, dev.path()).unwrap().as_str(), "http://127.0.0.1:2/");
    let wrong = address("google", |_| Some("nowhere".to_owned()), dev.path()).unwrap_err().to_string();
    assert!(wrong.contains("nowhere") && wrong.contains("SWITCHYARD_SIM_GOOGLE"), "{wrong}");
}

#[test]
fn armed_faults_are_told_as_lines() {
    let answer = json!({"armed": [{"operation": "a.b", "kind": "latency", "ms": 5, "times": 2}]});
    assert_eq!(told(&answer), "latency of a.b, 2 times {\"ms\":5}");
    assert_eq!(told(&json!({"armed": []})), "nothing goes wrong");
    assert_eq!(told(&json!({"offset_ms": 1})), "{\n  \"offset_ms\": 1\n}");
}
