//! Fuzzing on the stable toolchain, as ordinary tests.
//!
//! A target is a function that gets bytes and must neither panic nor take long; what it answers is a sign of the way
//! that it took. Inputs are mutations of the target's seeds, and an input that gave a new sign becomes a seed itself,
//! so that the search goes where something new was seen. The seeds are what has hurt other readers.
//!
//! A target runs for `SWITCHYARD_FUZZ_SECONDS` (1 without it). It begins at `SWITCHYARD_FUZZ_SEED` (a fixed number
//! without it), so that a short run always tries the same. An input that fails is made smaller and printed as text
//! that can be put among the seeds.

use std::{
    collections::HashSet,
    env,
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher as _},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// The longest input that mutation makes; seeds may be longer.
const MAX_BYTES: usize = 4096;

/// How many inputs are kept as seeds.
const MAX_SEEDS: usize = 2_000;

/// How long one input may take, also on a machine that does much else.
const MAX_TIME: Duration = Duration::from_secs(5);

/// How often the smallest failing input is looked for.
const SHRINKING: usize = 2_000;

/// Pieces that parsers stumble over, whatever they parse.
const AWKWARD: [&[u8]; 30] = [
    b"\0",
    b"\r\n",
    b"\n",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"%00",
    b"%",
    b"..",
    b"//",
    b"@",
    b",",
    b".",
    b";",
    b"=",
    b"\"",
    b"\\",
    b"{",
    b"[",
    b"(",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"9223372036854775808",
    b"1e999",
    b"\\ud800",
    b"\xf0\x9f\x98\x80",
    b" ",
    b"\t",
    b"*",
];

/// Feeds `target` with mutations of `seeds`. `words` are pieces of the language that it parses.
///
/// # Panics
/// An input made the target panic, or took it too long; the message has the input.
#[track_caller]
pub fn fuzz<S: Hash>(seeds: &[&[u8]], words: &[&str], target: impl Fn(&[u8]) -> S) {
    let mut search = Search { random: Random(setting("SWITCHYARD_FUZZ_SEED", 0x5eed)), seen: HashSet::new(), target };
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).chain(AWKWARD).collect();
    let mut known: Vec<Vec<u8>> = vec![Vec::new()];
    known.extend(seeds.iter().map(|seed| seed.to_vec()));
    for seed in &known {
        let _ = search.judge(seed);
    }
    let patience = Duration::from_secs(setting("SWITCHYARD_FUZZ_SECONDS", 1));
    let begun = now();
    let mut tried = known.len();
    while now() - begun < patience {
        for _ in 0..64 {
            let input = search.random.mutation(&known, &words);
            if search.judge(&input) && known.len() < MAX_SEEDS {
                known.push(input);
            }
            tried += 1;
        }
    }
    println!("{tried} inputs, {} ways through", search.seen.len());
}

#[expect(clippy::disallowed_methods, reason = "the search is bounded by real time")]
fn now() -> Instant {
    Instant::now()
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Search<T> {
    random: Random,
    seen: HashSet<u64>,
    target: T,
}

impl<S: Hash, T: Fn(&[u8]) -> S> Search<T> {
    /// Whether the input took a way that is new.
    #[track_caller]
    fn judge(&mut self, input: &[u8]) -> bool {
        match self.run(input) {
            Ok(sign) => self.seen.insert(sign),
            Err(why) => {
                let smallest = self.shrunk(input.to_vec());
                let text = String::from_utf8_lossy(&smallest);
                panic!("{why}\n  as text:  {text:?}\n  as bytes: b\"{}\"", smallest.escape_ascii());
            }
        }
    }

    fn run(&self, input: &[u8]) -> Result<u64, String> {
        let begun = now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.target)(input)));
        let took = now() - begun;
        let sign = outcome.map_err(|panic| format!("an input made the target panic: {}", said(&*panic)))?;
        if took > MAX_TIME {
            return Err(format!("an input took {took:?}"));
        }
        let mut hasher = DefaultHasher::new();
        sign.hash(&mut hasher);
        Ok(hasher.finish())
    }

    /// Leaves pieces out as long as what is left still fails.
    fn shrunk(&self, mut input: Vec<u8>) -> Vec<u8> {
        let (mut piece, mut tries) = (input.len() / 2, 0);
        while piece > 0 && tries < SHRINKING {
            let mut at = 0;
            let before = input.len();
            while at < input.len() && tries < SHRINKING {
                let end = (at + piece).min(input.len());
                let shorter = [&input[..at], &input[end..]].concat();
                tries += 1;
                if self.run(&shorter).is_err() { input = shorter } else { at = end }
            }
            if input.len() == before {
                piece /= 2;
            }
        }
        input
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it said nothing").to_owned()
}

/// A small generator (SplitMix64): the search needs variety, and the same again from the same number.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        usize::try_from(self.next() % bound).unwrap_or_default()
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    /// One known input, changed in a few places.
    fn mutation(&mut self, known: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
        let mut input = known[self.below(known.len())].clone();
        for _ in 0..=self.below(4) {
            let from = self.below(input.len() + 1);
            let until = (from + self.below(16)).min(input.len());
            match self.below(9) {
                0 => drop(input.splice(from..from, self.of(words).iter().copied())),
                1 => drop(input.splice(from..until, self.of(words).iter().copied())),
                2 => drop(input.drain(from..until)),
                3 => input.truncate(from),
                4 => {
                    let again = input[from..until].repeat(1 + self.below(64));
                    drop(input.splice(from..from, again));
                }
                5 => {
                    let other = &known[self.below(known.len())];
                    let start = self.below(other.len() + 1);
                    input.truncate(from);
                    input.extend_from_slice(&other[start..]);
                }
                6 => input.insert(from, self.next().to_le_bytes()[0]),
                7 if from < input.len() => input[from] ^= 1 << self.below(8),
                8 if from < input.len() => input[from] = input[from].wrapping_add(1),
                _ => {}
            }
        }
        input.truncate(MAX_BYTES);
        input
    }
}

/// A sign of a result: which error it was, or that it was none. Numbers and quoted texts within it do not count, since
/// every input would be new.
pub fn outcome<T, E: Debug>(result: &Result<T, E>) -> String {
    let Err(error) = result else { return "ok".to_owned() };
    let mut quoted = false;
    let counts = |letter: &char| {
        quoted ^= matches!(letter, '"' | '`');
        !quoted && (letter.is_ascii_alphabetic() || *letter == ' ')
    };
    format!("{error:?}").chars().filter(counts).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flaw_behind_a_few_signs_is_found_and_told_in_its_smallest_form() {
        let flawed = |bytes: &[u8]| {
            let depth = bytes.iter().take_while(|byte| **byte == b'[').count();
            assert!(depth < 20, "too deep");
            depth
        };
        let found = catch_unwind(|| fuzz(&[b"[1]"], &["["], flawed)).expect_err("it is found");
        let told = said(&*found);
        assert!(told.contains("too deep") && told.contains(&format!("b\"{}\"", "[".repeat(20))), "{told}");
    }

    #[test]
    fn the_same_number_gives_the_same_inputs() {
        let inputs = || {
            let mut random = Random(7);
            (0..100).map(|_| random.mutation(&[b"seed".to_vec()], &[b"word"])).collect::<Vec<_>>()
        };
        assert_eq!(inputs(), inputs());
    }
}
