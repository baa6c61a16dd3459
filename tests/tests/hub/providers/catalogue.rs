use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use switchyard_tests::world::{build_folder, built};
use tokio::process::Command;

/// What every component stays under, names for people left out.
const LARGEST: usize = 400 * 1024;

/// The files of the bundled plugins.
fn bundled() -> Vec<PathBuf> {
    let folder = build_folder().join("plugins");
    let files = std::fs::read_dir(built(&folder)).expect("the folder of the bundled plugins");
    let files = files.map(|file| file.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "wasm")).collect();
    files.sort();
    assert!(files.len() >= 3, "only {files:?} are bundled; run `make build` first");
    files
}

/// A bundled plugin's manifest, as the command line shows it.
async fn manifest(file: &Path) -> Value {
    let asked = Command::new(built(&build_folder().join("switchyard")))
        .args(["plugin", "inspect", "--json"])
        .arg(file)
        .stdin(Stdio::null())
        .output();
    let answered = asked.await.expect("it can be started");
    let said = String::from_utf8_lossy(&answered.stderr);
    let seen: Value = serde_json::from_slice(&answered.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    seen["manifest"].clone()
}

/// One type of a manifest: whose it is, its name, its schema.
struct Declared {
    plugin: String,
    name: String,
    kind: String,
    description: String,
    schema: Option<Value>,
    example: Option<Value>,
}

async fn declared() -> Vec<Declared> {
    let mut all = Vec::new();
    for file in bundled() {
        let manifest = manifest(&file).await;
        for list in ["emits", "handles"] {
            for item in manifest[list].as_array().expect("a list") {
                let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
                let json = |name: &str| item[name].as_str().and_then(|json| serde_json::from_str(json).ok());
                all.push(Declared {
                    plugin: manifest["id"].as_str().expect("an id").to_owned(),
                    name: text("name"),
                    kind: text("kind"),
                    description: text("description"),
                    schema: json("schema"),
                    example: json("example"),
                });
            }
        }
    }
    all
}

/// A pattern such as `*` stands for types of others, which say themselves what they are.
fn is_pattern(name: &str) -> bool {
    name.contains('*')
}

#[tokio::test]
async fn every_type_has_a_schema_an_example_that_conforms_and_a_description() {
    for item in declared().await.iter().filter(|item| !is_pattern(&item.name)) {
        let Declared { plugin, name, .. } = item;
        assert!(item.description.ends_with('.'), "{plugin}: {name} is described as `{}`", item.description);
        let schema = item.schema.as_ref().unwrap_or_else(|| panic!("{plugin}: {name} has no schema"));
        let example = item.example.as_ref().unwrap_or_else(|| panic!("{plugin}: {name} has no example"));
        assert_eq!(schema["type"], "object", "{plugin}: {name}");
        let conforms = jsonschema::draft202012::new(schema).unwrap_or_else(|error| panic!("{plugin}: {name}: {error}"));
        let wrong: Vec<String> = conforms.iter_errors(example).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{plugin}: the example of {name}: {wrong:?}");
        let required = schema["required"].as_array().map(Vec::len).unwrap_or_default();
        assert!(required == 0 || !conforms.is_valid(&serde_json::json!({})), "{plugin}: {name} takes anything");
    }
}

#[tokio::test]
async fn plugins_agree_on_every_type_that_they_share() {
    let mut first = BTreeMap::<String, Declared>::new();
    let mut shared = 0;
    for item in declared().await.into_iter().filter(|item| !is_pattern(&item.name) && !item.name.starts_with('_')) {
        let Some(known) = first.get(&item.name) else {
            let _ = first.insert(item.name.clone(), item);
            continue;
        };
        shared += 1;
        let who = format!("{} and {} about {}", known.plugin, item.plugin, item.name);
        assert_eq!(known.kind, item.kind, "{who}");
        assert_eq!(known.schema, item.schema, "{who}");
        assert_eq!(known.description, item.description, "{who}");
    }
    let plugins: std::collections::BTreeSet<&str> = first.values().map(|item| item.plugin.as_str()).collect();
    assert!(shared > 0 || !plugins.contains("quickbooks"), "accounting plugins share types");
}

#[tokio::test]
async fn names_follow_the_glossary() {
    for item in declared().await.iter().filter(|item| !is_pattern(&item.name)) {
        let name = item.name.strip_prefix('_').unwrap_or(&item.name);
        let parts: Vec<&str> = name.split('.').collect();
        let word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(parts.len() == 2 && parts.iter().all(word), "{}: `{}` is no noun.verb", item.plugin, item.name);
    }
}

#[test]
fn every_component_is_small() {
    for file in bundled() {
        let bytes = std::fs::read(&file).expect("it can be read");
        let size = bytes.len() - named(&bytes);
        let name = file.file_name().unwrap_or_default().display().to_string();
        assert!(size < LARGEST, "{name} has {} KiB without its names", size / 1024);
    }
}

/// The bytes that a component spends on custom sections, those of its modules included: names, which only people read.
fn named(component: &[u8]) -> usize {
    const PREAMBLE: usize = 8;
    let is_component = component.get(6) == Some(&1);
    let (mut at, mut total) = (PREAMBLE, 0);
    while at < component.len() {
        let id = component[at];
        let (length, start) = length(component, at + 1);
        let end = start + length;
        if id == 0 {
            total += end - at;
        } else if is_component && matches!(id, 1 | 4) {
            // A core module, or a component in the component.
            total += named(&component[start..end]);
        }
        at = end;
    }
    total
}

/// A number in WebAssembly's variable length, and where it ends.
fn length(bytes: &[u8], mut at: usize) -> (usize, usize) {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[at];
        value |= usize::from(byte & 0x7f) << shift;
        at += 1;
        shift += 7;
        if byte < 0x80 {
            return (value, at);
        }
    }
}
