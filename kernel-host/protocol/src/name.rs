//! Names that people give, and selectors with which they point at things.
//!
//! Does:      checks names as DNS labels, so that each may become a host name later.
//! Does not:  look anything up.
//! Bounds:    `limits::NAME_CHARS_MAX`.
//! Trusts:    nobody.
//! Start at:  `Name`.

use crate::{limits, text::serde_as_text};
use std::{fmt, str::FromStr};

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("a name can't be empty")]
    Empty,
    #[error(
        "a name has at most {} characters, this one has {length}",
        limits::NAME_CHARS_MAX
    )]
    TooLong { length: usize },
    #[error(
        "`{}` can't stand in a name: only a-z, 0-9 and `-` can",
        limits::shortened(&found.to_string(), 1)
    )]
    Character { found: char },
    #[error("a name can't start or end with `-`")]
    Dash,
}

/// A DNS label: `a-z`, `0-9` and inner `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        if let Some(found) = text
            .chars()
            .find(|&c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))
        {
            return Err(BadName::Character { found });
        }
        if text.len() > limits::NAME_CHARS_MAX {
            return Err(BadName::TooLong { length: text.len() });
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(BadName::Dash);
        }
        Ok(Self(text.to_owned()))
    }
}

serde_as_text!(Name, Selector);

/// What a person types to point at a thing: its name, its id, the start of its id, or
/// `name~place` where equal names live in several sites or on several nodes.
/// An exact name wins; a start that fits several ids is refused with the list, never guessed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    text: String,
    name: Name,
    place: Option<Name>,
}

impl Selector {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name to look for.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The site or node behind the `~`.
    pub fn place(&self) -> Option<&Name> {
        self.place.as_ref()
    }

    /// The text that an id has to start with, if this can be the start of one.
    pub fn id_start(&self, prefix: &str) -> Option<&str> {
        let digits = self.as_str().strip_prefix(prefix)?;
        let right =
            !digits.is_empty() && digits.bytes().all(|b| crate::text::hex_digit(b).is_some());
        right.then_some(self.as_str())
    }
}

impl From<Name> for Selector {
    fn from(name: Name) -> Self {
        Self {
            text: name.to_string(),
            name,
            place: None,
        }
    }
}

impl From<crate::VmId> for Selector {
    fn from(id: crate::VmId) -> Self {
        // An id is 35 characters of the alphabet of names.
        Name(id.to_string()).into()
    }
}

impl From<crate::NodeId> for Selector {
    fn from(id: crate::NodeId) -> Self {
        Name(id.to_string()).into()
    }
}

impl From<crate::NodeId> for Name {
    fn from(id: crate::NodeId) -> Self {
        Self(id.to_string())
    }
}

impl From<crate::VmId> for Name {
    fn from(id: crate::VmId) -> Self {
        Self(id.to_string())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Selector {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let (name, place) = match text.split_once('~') {
            Some((name, place)) => (name.parse()?, Some(place.parse()?)),
            None => (text.parse()?, None),
        };
        Ok(Self {
            text: text.to_owned(),
            name,
            place,
        })
    }
}
