//! What PID 1 and the node process say to each other.
//!
//! Does:      defines the messages and their bytes.
//! Does not:  send them (`sys::seqpacket`), nor act on them (`init`, `service`).
//! Bounds:    `TEXT_MAX` bytes per text (`console_text` cuts), and the socket's message limit.
//! Trusts:    nothing: PID 1 must survive a node process that went mad.
//! Start at:  `ToInit`.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// First byte of each message: both ends are the same program, but it costs nothing to check.
const VERSION: u8 = 1;
/// Longer texts are cut: a console line has about 80 columns, a screen 25.
pub const TEXT_MAX: usize = 240;

/// How a run of the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    PowerOff,
    Reboot,
}

impl End {
    /// The stage name on the console.
    #[must_use]
    pub fn stage(self) -> &'static str {
        match self {
            Self::PowerOff => "poweroff",
            Self::Reboot => "reboot",
        }
    }
}

/// A step of the boot, in milliseconds since the kernel started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub stage: String,
    pub at_ms: u64,
}

/// The node's standing, as a technician before the screen wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub state: State,
    pub name: String,
    /// `192.0.2.7/24 via 192.0.2.1 on eth0`.
    pub addresses: Vec<String>,
    /// `eth0 52:54:00:12:34:56 virtio_net, link up`.
    pub nics: Vec<String>,
    pub url: Option<String>,
    /// What has to happen before the node is ready; `None` when it is.
    pub waits_for: Option<String>,
    /// `usable`, or why not.
    pub kvm: String,
    pub vms: u32,
}

/// One word for where the node stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    #[default]
    Starting,
    Ready,
    /// Serves, but something is wrong; a warning says what.
    Degraded,
    GoingDown,
}

impl State {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::GoingDown => "going down",
        }
    }
}

/// From the node process to PID 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInit {
    /// The event loop turns.
    Heartbeat,
    /// The whole standing; replaces the one before.
    Status(Status),
    /// A step of the boot is done: into the timeline and onto the consoles.
    Stage { stage: String, text: String },
    /// One line for the consoles: `vm`, `warning` or `error` and a sentence.
    Line { stage: String, text: String },
    /// A client asked for the end of the run.
    Wish(End),
    /// The last words of a process that panicked.
    Panicked(String),
    /// All VMs are stopped: PID 1 may go on.
    Stopped,
}

/// From PID 1 to the node process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNode {
    /// The first message.
    Welcome(Welcome),
    /// PID 1's own steps so far, whole.
    Timeline(Vec<Mark>),
    /// All modules that the devices asked for are loaded: KVM is there now or never.
    DevicesSettled,
    /// Stop all VMs, their power buttons first; be done before the deadline.
    ShutDown {
        how: End,
        reason: String,
        limit_ms: u64,
    },
}

/// What a node process must know of the time before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub timeline: Vec<Mark>,
    pub settled: bool,
    /// How often the node process was started again, and why the last time.
    pub restarts: u32,
    pub last_end: Option<String>,
}

/// Writes a message.
///
/// # Errors
/// Never for our own types; kept for the caller to propagate instead of a panic.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(message, vec![VERSION])
}

/// Reads a message; `None` for anything that is not exactly one.
#[must_use]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (version, rest) = bytes.split_first()?;
    let (message, rest) = postcard::take_from_bytes(rest).ok()?;
    (*version == VERSION && rest.is_empty()).then_some(message)
}

/// A text that is safe on a console: no control characters, at most `TEXT_MAX` bytes.
#[must_use]
pub fn console_text(text: &str) -> String {
    let mut safe: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(TEXT_MAX)
        .collect();
    while safe.len() > TEXT_MAX {
        safe.pop();
    }
    safe
}

/// Fuzz entry: what decodes, encodes and decodes to the same.
pub fn fuzz_supervision(data: &[u8]) {
    if let Some(message) = decode::<ToInit>(data) {
        let bytes = encode(&message).expect("it was decoded, so it encodes");
        assert_eq!(decode::<ToInit>(&bytes), Some(message));
    }
    if let Some(message) = decode::<ToNode>(data) {
        let bytes = encode(&message).expect("it was decoded, so it encodes");
        assert_eq!(decode::<ToNode>(&bytes), Some(message));
    }
    let text = console_text(&String::from_utf8_lossy(data));
    assert!(text.len() <= TEXT_MAX && !text.contains(char::is_control));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_message_reads_back_as_written_and_nothing_may_follow_it() {
        let message = ToInit::Stage {
            stage: "ready".into(),
            text: "http://192.0.2.7/".into(),
        };
        let mut bytes = encode(&message).unwrap();
        assert_eq!(decode(&bytes), Some(message));
        bytes.push(0);
        assert_eq!(decode::<ToInit>(&bytes), None);
        assert_eq!(decode::<ToInit>(&[]), None);
        assert_eq!(decode::<ToInit>(&[VERSION + 1, 0]), None);
    }
}
