//! Places where a test makes the hub fail, compiled in only with the feature `failpoints`.
//!
//! The environment variable `SWITCHYARD_FAILPOINTS` lists them: `intent.after_commit=abort;settle.before_commit=3:error`.
//! The number says at which passing it acts, 1 if left out. `abort` ends the process at once, as a power cut would;
//! `error` makes the database seem away.

use super::StoreResult;

/// Acts if the place `name` is listed and this is the passing it names.
#[cfg(not(feature = "failpoints"))]
pub(super) const fn pass(_name: &str) -> StoreResult<()> {
    Ok(())
}

/// Acts if the place `name` is listed and this is the passing it names.
#[cfg(feature = "failpoints")]
pub(super) fn pass(name: &str) -> StoreResult<()> {
    listed::pass(name)
}

#[cfg(feature = "failpoints")]
mod listed {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };

    use crate::store::{StoreError, StoreResult};

    struct Point {
        name: String,
        at: u32,
        abort: bool,
        passed: AtomicU32,
    }

    fn parse(entry: &str) -> Option<Point> {
        let (name, action) = entry.split_once('=')?;
        let (at, action) = action.split_once(':').map_or((Some(1), action), |(at, action)| (at.parse().ok(), action));
        let abort = match action.trim() {
            "abort" => true,
            "error" => false,
            _ => return None,
        };
        Some(Point { name: name.trim().to_owned(), at: at?, abort, passed: AtomicU32::new(0) })
    }

    fn points() -> &'static [Point] {
        static POINTS: OnceLock<Vec<Point>> = OnceLock::new();
        POINTS.get_or_init(|| {
            let list = std::env::var("SWITCHYARD_FAILPOINTS").unwrap_or_default();
            list.split(';').filter_map(parse).collect()
        })
    }

    pub(super) fn pass(name: &str) -> StoreResult<()> {
        for point in points().iter().filter(|point| point.name == name) {
            if point.passed.fetch_add(1, Ordering::SeqCst) + 1 != point.at {
                continue;
            }
            if point.abort {
                std::process::abort();
            }
            return Err(StoreError::Unavailable(format!("fail point {name}")));
        }
        Ok(())
    }
}
