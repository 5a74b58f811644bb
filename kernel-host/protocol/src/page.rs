//! Long lists, page by page.
//!
//! Does:      names the page asked for and the page given; lists are sorted by name.
//! Bounds:    `limits::PAGE_ITEMS_MAX`; `next` is a name, or `name~id` where names repeat.
//! Start at:  `Page`.

use crate::{Name, limits};
use serde::{Deserialize, Serialize};

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// From 1 to `limits::PAGE_ITEMS_MAX`.
    pub limit: u32,
    /// The last name of the page before; names after it follow.
    pub after: Option<Name>,
    /// Of several things with that name, the last one of the page before.
    pub after_id: Option<Name>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self {
            limit: limits::PAGE_ITEMS_DEFAULT,
            after: None,
            after_id: None,
        }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The `after` of the next page, if there is one.
    pub next: Option<String>,
    /// What may be missing or old, in words: nodes and sites that don't answer.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl<T> Page<T> {
    /// Cuts one page out of items sorted by name, of which the first is already past `after`.
    pub fn cut(items: impl Iterator<Item = T>, limit: u32, name: impl Fn(&T) -> String) -> Self {
        let limit = limit.clamp(1, limits::PAGE_ITEMS_MAX) as usize;
        let mut items: Vec<T> = items.take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(name) } else { None };
        Self {
            items,
            next,
            notes: Vec::new(),
        }
    }
}
