//! Lists: `?limit=&after=` answering `{"data":[...],"next":"..."|null}`. Keyset, newest first.

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::problem::{Answer, Problem};
use crate::{id::Key, store::records::Page};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// The parameters of every list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct PageParams {
    /// At most so many entries, 1 to 200; 50 without it.
    pub(super) limit: Option<u32>,
    /// `next` of the page before.
    pub(super) after: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Paged<T> {
    /// The entries.
    pub(super) data: Vec<T>,
    /// What to give as `after` for the next page; null at the end.
    pub(super) next: Option<String>,
}

/// Checks `limit`.
pub(super) fn limit(limit: Option<u32>) -> Answer<u32> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(Problem::field("limit", format!("must be 1 to {MAX_LIMIT}"))),
    }
}

/// Checks both parameters; `after` carries the prefix of what is listed. The page asks for one row more than the limit, so
/// that [`paged`] knows whether there is a next one.
pub(super) fn page(prefix: &str, limit_asked: Option<u32>, after: Option<&str>) -> Answer<Page> {
    let after = after.map(|text| {
        Key::parse(prefix, text)
            .ok_or_else(|| Problem::field("after", format!("must be `next` of a page before, {prefix}_..")))
    });
    Ok(Page { limit: limit(limit_asked)? + 1, after: after.transpose()? })
}

/// Turns rows read with [`page`] into a page.
pub(super) fn paged<R, T>(
    mut rows: Vec<R>,
    page: Page,
    cursor: impl Fn(&R) -> String,
    show: impl Fn(R) -> T,
) -> Paged<T> {
    let limit = page.limit.saturating_sub(1) as usize;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(cursor) } else { None };
    Paged { data: rows.into_iter().map(show).collect(), next }
}

/// A page of a list that is small and in memory: entries sorted by name, `after` is the last name.
pub(super) fn paged_by_name<T>(entries: Vec<(String, T)>, params: &PageParams) -> Answer<Paged<T>> {
    let limit = limit(params.limit)? as usize;
    let mut entries =
        entries.into_iter().skip_while(|(name, _)| params.after.as_ref().is_some_and(|after| name <= after));
    let (mut data, mut last) = (Vec::new(), None);
    for (name, entry) in entries.by_ref().take(limit) {
        last = Some(name);
        data.push(entry);
    }
    Ok(Paged { data, next: if entries.next().is_some() { last } else { None } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: u8) -> Vec<(String, u8)> {
        (0..count).map(|n| (format!("n{n:03}"), n)).collect()
    }

    #[test]
    fn pages_follow_one_another_without_gap_or_overlap() {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let params = PageParams { limit: Some(7), after };
            let page = paged_by_name(names(20), &params).unwrap();
            seen.extend(page.data);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_page_that_ends_with_the_list_has_no_next() {
        let page = Page { limit: 4, after: None };
        assert_eq!(paged(vec![1, 2, 3], page, ToString::to_string, |n| n).next, None);
        let more = paged(vec![1, 2, 3, 4], page, ToString::to_string, |n| n);
        assert_eq!((more.data, more.next.as_deref()), (vec![1, 2, 3], Some("3")));
    }

    #[test]
    fn bad_limits_and_cursors_are_refused() {
        assert!(limit(Some(0)).is_err() && limit(Some(201)).is_err());
        assert!(page("evt", None, Some("dlv_00000000000000000000000000000000")).is_err());
        assert!(page("evt", None, Some("evt_00000000000000000000000000000000")).is_ok());
    }
}
