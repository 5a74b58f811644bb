//! Why the cloud refused. In no case was anything changed, unless `lost` says otherwise.
//!
//! Does:      names each refusal with what it is about; turns it into a problem with advice.
//! Does not:  refuse: its makers do.
//! Bounds:    texts are cut to `REASON_CHARS_MAX`.
//! Trusts:    its makers.
//! Start at:  `Refusal`.

use protocol::{ByteCount, Code, Digest, Name, Problem, VmState, limits};

/// A refused command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("There is no {kind} `{what}`")]
    NotFound {
        kind: &'static str,
        what: String,
        nearest: Option<String>,
    },
    #[error("`{what}` fits {count} {kind}: {fitting}")]
    Ambiguous {
        what: String,
        kind: &'static str,
        count: usize,
        fitting: String,
    },
    #[error("A {kind} with the name `{name}` exists already")]
    NameTaken { kind: &'static str, name: Name },
    #[error("VM `{name}` is {state}; {wanted}")]
    WrongState {
        name: Name,
        state: VmState,
        wanted: &'static str,
    },
    #[error("{what} is used by {users}")]
    InUse { what: String, users: String },
    #[error("The idempotency key `{key}` was used for another request")]
    KeyReused { key: String },
    #[error("Image `{image}` needs the {role} {digest}, of which {received} bytes are here")]
    BlobMissing {
        image: Name,
        role: &'static str,
        digest: Digest,
        received: u64,
    },
    #[error("Blob {digest} continues at byte {received}, not at {offset}")]
    WrongOffset {
        digest: Digest,
        received: u64,
        offset: u64,
    },
    #[error("Blob {digest} was begun with {begun} bytes, this piece says {said}")]
    OtherSize {
        digest: Digest,
        begun: u64,
        said: u64,
    },
    #[error("The bytes sent as {digest} have the SHA-256 {found}")]
    DigestMismatch { digest: Digest, found: Digest },
    #[error("The node has no memory left to store blob {digest}")]
    StorageFailed { digest: Digest },
    #[error("The node keeps at most {max} {kind}")]
    LimitReached { kind: &'static str, max: usize },
    #[error(
        "{what} needs {asked} of memory; {} of {} are free",
        free.human(), capacity.human()
    )]
    NoCapacity {
        what: String,
        asked: ByteCount,
        free: ByteCount,
        capacity: ByteCount,
    },
    #[error("VM `{vm}` boots from image `{image}`, which is not on this node any more")]
    ImageGone { vm: Name, image: Name },
    #[error(
        "Image `{image}` is on no node of {} that answers; it is on {holders}",
        site.as_ref().map_or("this cluster".to_owned(), |site| format!("site `{site}`"))
    )]
    ImageElsewhere {
        image: Name,
        site: Option<Name>,
        holders: String,
    },
    #[error(
        "Node `{node}`{} does not answer",
        what.as_ref().map_or(String::new(), |what| format!(", which has {what},"))
    )]
    HostSilent { node: String, what: Option<String> },
    #[error("{what}: {why}")]
    BadValue {
        what: &'static str,
        why: String,
        advice: String,
    },
}

impl Refusal {
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } | Self::ImageElsewhere { .. } => Code::NotFound,
            Self::HostSilent { .. } => Code::HostSilent,
            Self::Ambiguous { .. } => Code::Ambiguous,
            Self::NameTaken { .. } => Code::NameTaken,
            Self::WrongState { .. } => Code::WrongState,
            Self::InUse { .. } => Code::InUse,
            Self::KeyReused { .. } => Code::KeyReused,
            Self::BlobMissing { .. } | Self::ImageGone { .. } => Code::BlobMissing,
            Self::WrongOffset { .. } | Self::OtherSize { .. } => Code::WrongOffset,
            Self::DigestMismatch { .. } => Code::DigestMismatch,
            Self::LimitReached { .. } => Code::LimitReached,
            Self::NoCapacity { .. } | Self::StorageFailed { .. } => Code::NoCapacity,
            Self::BadValue { .. } => Code::BadValue,
        }
    }

    /// The operator's next step.
    pub fn advice(&self) -> String {
        match self {
            Self::NotFound {
                kind,
                nearest: Some(nearest),
                ..
            } => {
                format!("Did you mean `{nearest}`? See: luc {} list", noun(kind))
            }
            Self::NotFound { kind: "blob", .. } => "Send it: luc image add".to_owned(),
            Self::NotFound { kind, .. } => format!("See what is there: luc {} list", noun(kind)),
            Self::Ambiguous { .. } => {
                "Give the whole name, one of these, or more of the id".to_owned()
            }
            Self::ImageGone { image, .. } => {
                format!("Send it again: luc image add {image} --kernel FILE; then start the VM")
            }
            Self::ImageElsewhere { image, .. } => {
                format!(
                    "Add it there (luc image add {image} --site ...), or name one of those nodes"
                )
            }
            Self::HostSilent { .. } => {
                "Look at it: luc node list. A cut heals by itself; power must be restored"
                    .to_owned()
            }
            Self::NameTaken { kind, name } => format!(
                "Take another name, or delete it first: luc {} delete {name}",
                noun(kind)
            ),
            Self::WrongState { name, state, .. } => wrong_state_advice(name, *state),
            Self::InUse { .. } => "Delete what uses it first: luc vm delete <name>".to_owned(),
            Self::KeyReused { .. } => "Make a new random key for each new request".to_owned(),
            Self::BlobMissing { digest, .. } => {
                format!("Send it first: PUT /v1/blobs/{digest}, or simply: luc image add")
            }
            Self::WrongOffset { received, .. } => format!("Continue at byte {received}"),
            Self::OtherSize { .. } => "Check that the file did not change meanwhile".to_owned(),
            Self::DigestMismatch { .. } => {
                "Send the file again from the start; check it if this repeats".to_owned()
            }
            Self::StorageFailed { .. } => {
                "Stop a VM or delete an image that is not needed, then send the file again"
                    .to_owned()
            }
            Self::LimitReached { kind, .. } => {
                format!("Delete what is no longer needed: luc {} list", noun(kind))
            }
            Self::NoCapacity { free, .. } => format!(
                "Ask for at most {}, stop a VM (luc vm stop), or use another node",
                free.saturating_sub(limits::VM_OVERHEAD).human()
            ),
            Self::BadValue { advice, .. } => advice.clone(),
        }
    }

    fn lost(&self) -> Option<&'static str> {
        match self {
            Self::DigestMismatch { .. } | Self::StorageFailed { .. } => {
                Some("The bytes received under this digest were dropped; nothing else changed.")
            }
            Self::WrongOffset { .. } => Some("What arrived before is kept."),
            Self::HostSilent { .. } => {
                Some("Whatever runs on the node goes on running, if the node does.")
            }
            _ => None,
        }
    }
}

/// The command-line noun of a kind of thing.
fn noun(kind: &str) -> &'static str {
    match kind {
        "node" => "node",
        "site" => "site",
        _ if kind.starts_with("image") || kind.starts_with("blob") => "image",
        _ => "vm",
    }
}

fn wrong_state_advice(name: &Name, state: VmState) -> String {
    match state {
        VmState::Stopped | VmState::Failed => format!("Start it first: luc vm start {name}"),
        VmState::Running => format!("Stop it first: luc vm stop {name}"),
        VmState::Lost => format!("It can only be deleted: luc vm delete {name}"),
        VmState::Deleting => "It will be gone in a moment; then create it anew".to_owned(),
        VmState::Stopping => {
            format!("Wait until it stopped: luc wait vm {name} --for stopped")
        }
        VmState::Creating | VmState::Starting => {
            format!("Wait until it runs: luc wait vm {name} --for running")
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let lost = refusal.lost();
        let problem = Problem::new(refusal.code(), refusal.to_string(), refusal.advice());
        match lost {
            Some(lost) => problem.with_lost(lost),
            None => problem,
        }
    }
}
