//! What a node's accounts drew in one day: the form that is signed and sent to whoever bills.
//!
//! The bytes to sign begin with words that no other signed thing of LUC OS begins with.

use super::{ACCOUNTS_MAX, Account, Row};
use protocol::NodeId;
use serde::{Deserialize, Serialize};

const FORM: &[u8] = b"luc energy day 1\0";

/// One account's day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayRow {
    pub account: Account,
    pub row: Row,
}

/// One node's day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaySheet {
    pub node: NodeId,
    /// The ledger's epoch: the same day of two epochs is two parts of one day.
    pub epoch: u32,
    /// Days since 1970, UTC.
    pub day: u32,
    /// By account, each once.
    pub rows: Vec<DayRow>,
}

/// Why bytes are no sheet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no day of an energy ledger")]
pub struct BadSheet;

impl DaySheet {
    /// What is signed, and what `parse` reads.
    #[must_use]
    pub fn bytes_to_sign(&self) -> Vec<u8> {
        // Integers and ids: postcard has no reason to refuse them.
        let body = postcard::to_allocvec(self).unwrap_or_default();
        [FORM, &body].concat()
    }

    /// Reads a sheet whose signature was checked, or is going to be.
    ///
    /// # Errors
    /// When the bytes are no sheet in the one form that there is.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadSheet> {
        let body = bytes.strip_prefix(FORM).ok_or(BadSheet)?;
        let sheet: Self = postcard::from_bytes(body).map_err(|_| BadSheet)?;
        let sorted = sheet
            .rows
            .windows(2)
            .all(|two| two[0].account < two[1].account);
        let one_form = sheet.bytes_to_sign() == bytes;
        match sorted && one_form && sheet.rows.len() <= ACCOUNTS_MAX {
            true => Ok(sheet),
            false => Err(BadSheet),
        }
    }
}
