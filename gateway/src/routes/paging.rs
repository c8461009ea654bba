//! Pages over lists that are in memory: the cursor is the number of items before the page.

use konclave_openapi::page::{Page, PageQuery};

use crate::error::ApiError;
use crate::extract::page_limit;

/// One page of `items`, which only grow at the end: a cursor stays good.
pub(crate) fn page<T>(items: impl Iterator<Item = T>, query: &PageQuery) -> Result<Page<T>, ApiError> {
    let limit = page_limit(query)?;
    let start: usize = match &query.cursor {
        Some(cursor) => cursor
            .parse()
            .map_err(|_| ApiError::invalid_field("cursor", "is not a `next_cursor` of this list"))?,
        None => 0,
    };
    let mut items: Vec<T> = items.skip(start).take(limit + 1).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    Ok(Page { items, next_cursor: more.then(|| (start + limit).to_string()) })
}

/// The same page with every item changed.
pub(crate) fn map<T, U>(page: Page<T>, change: impl FnMut(T) -> U) -> Page<U> {
    Page { items: page.items.into_iter().map(change).collect(), next_cursor: page.next_cursor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let query = |cursor: Option<&str>| PageQuery { cursor: cursor.map(str::to_owned), limit: Some(2) };
        let first = page(0..5, &query(None)).unwrap();
        assert_eq!((first.items, first.next_cursor.as_deref()), (vec![0, 1], Some("2")));
        let last = page(0..5, &query(Some("4"))).unwrap();
        assert_eq!((last.items, last.next_cursor), (vec![4], None));
        assert!(page(0..5, &query(Some("x"))).is_err());
    }
}
