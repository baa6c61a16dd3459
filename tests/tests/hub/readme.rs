use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use switchyard_tests::{
    hub::{ADMIN_KEY, Hub},
    world::{billy, build_folder, subscriber, twilio},
};
use tokio::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The commands of the README's `sh` blocks, continued lines joined, in order.
fn commands(readme: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let (mut inside, mut continued) = (false, false);
    for line in readme.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside && !line.trim().is_empty() => {
                let part = line.trim().trim_end_matches('\\').trim_end();
                match commands.last_mut() {
                    Some(last) if continued => *last = format!("{last} {part}"),
                    _ => commands.push(part.to_owned()),
                }
                continued = line.ends_with('\\');
            }
            _ => {}
        }
    }
    commands
}

#[tokio::test]
async fn every_command_of_the_readme_does_what_it_says() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands = commands(&readme);
    for expected in ["make demo", "make test", "make build", "target/debug/switchyard serve"] {
        assert!(commands.iter().any(|command| command == expected), "the README no longer says `{expected}`");
    }
    let hub = Hub::start().await;
    // `switchyard dev` would have started them and written down where they listen.
    let (twilio, billy, sink) = (twilio("a-token-for-the-readme").await, billy().await, subscriber().await);
    twilio.set_sms_url(sink.url("/in"), None);
    let address = hub.url().trim_start_matches("http://").to_owned();
    let folder = build_folder().display().to_string();
    let mut ran = 0;
    for command in &commands {
        // Building is what the tests stand on, and the hub runs already, on a port of its own.
        if command.starts_with("make ") || command.starts_with("export ") || command.ends_with("switchyard serve") {
            continue;
        }
        let line = command
            .replace("target/debug", &folder)
            .replace("localhost:8080", &address)
            .replace("curl ", "curl -sS --fail-with-body ");
        let done = Command::new("bash")
            .args(["-c", &line])
            .current_dir(root())
            .env("SWITCHYARD_URL", hub.url())
            .env("SWITCHYARD_KEY", ADMIN_KEY)
            .env("SWITCHYARD_SIM_TWILIO", twilio.base_url())
            .env("SWITCHYARD_SIM_BILLY", billy.base_url())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "`{command}` failed: {said}");
        ran += 1;
    }
    assert!(ran >= 12, "only {ran} commands were run");
    assert_eq!(twilio.messages()[0].body, "Water everywhere");
    assert!(billy.faults().armed().is_empty(), "what was armed was cleared again");
    let events = hub.get("/v1/tenants/acme/events").await.expect(200);
    let types: Vec<&str> =
        events["data"].as_array().into_iter().flatten().filter_map(|event| event["type"].as_str()).collect();
    assert!(types.contains(&"invoice.paid"), "{events}");
    assert_eq!(types.iter().filter(|name| **name == "lead.created").count(), 6, "{events}");
}
