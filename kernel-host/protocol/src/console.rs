//! What a node says beside the bytes of a console.
//!
//! Does:      binary WebSocket messages are console bytes both ways; text messages, only from the
//!            node, are one `ConsoleNotice` each, as JSON.
//! Bounds:    `limits::CONSOLE_MESSAGE_BYTES_MAX` per message.
//! Start at:  `ConsoleNotice`.

use crate::VmState;
use serde::{Deserialize, Serialize};

/// Something a person at a console should know. Unknown kinds are skipped by clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ConsoleNotice {
    /// The first message.
    Attached {
        state: VmState,
        /// Whether this client has the keyboard: its bytes reach the guest.
        writer: bool,
        /// Which byte of the console's whole output comes first; more than `since`, if older ones
        /// were dropped.
        from: u64,
        /// Clients at this console, this one included.
        clients: u32,
    },
    /// Somebody else took the keyboard, or it became free and is this client's now.
    Writer { yours: bool },
    /// The VM's state changed.
    State {
        state: VmState,
        reason: Option<String>,
    },
}
