//! What a VM's placement weighs most.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What matters most where a VM goes; the rest breaks ties.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Near those who use it.
    #[default]
    Near,
    /// Where renewable power is left over.
    Green,
    /// Where the most is free.
    Spread,
    /// Where power costs the least.
    Cheap,
}

/// A text that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no policy: wanted near, green, spread or cheap")]
pub struct BadPolicy {
    pub text: String,
}

impl Policy {
    pub const ALL: [Self; 4] = [Self::Near, Self::Green, Self::Spread, Self::Cheap];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Green => "green",
            Self::Spread => "spread",
            Self::Cheap => "cheap",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Policy {
    type Err = BadPolicy;

    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| BadPolicy {
            text: crate::limits::shortened(text, 40),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert!("Green".parse::<Policy>().is_err());
        assert!("".parse::<Policy>().is_err());
    }
}
