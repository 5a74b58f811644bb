//! What may be asked of the cloud, and what it answers.
//!
//! Does:      one `Command` for each thing a person can ask, already checked in form.
//! Does not:  know HTTP (`api` makes these from requests) or the rules (`cloud` answers them).
//! Start at:  `Command`.

use crate::{
    Blob, Digest, Image, Name, NewImage, NewVm, Page, PageRequest, Selector, Vm, limits,
    text::serde_as_text,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Something to do or to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    ListVms(PageRequest),
    ShowVm(Selector),
    CreateVm(NewVm),
    StartVm(Selector),
    StopVm(Selector, StopRequest),
    ResetVm(Selector),
    DeleteVm(Selector),
    ListImages(PageRequest),
    ShowImage(Name),
    CreateImage(NewImage),
    DeleteImage(Name),
    ShowBlob(Digest),
    /// The next piece of a blob of `size` bytes; the first one begins it.
    PutBlob {
        digest: Digest,
        size: u64,
        offset: u64,
        bytes: Vec<u8>,
    },
}

/// How to stop a VM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Don't ask the guest: end it now, as if the power failed.
    #[serde(default)]
    pub force: bool,
    /// Ask the guest, and end it by force if it still runs after this time.
    #[serde(default)]
    pub force_after_ms: Option<u64>,
}

/// A command, and how to recognise it if it comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub command: Command,
    /// The key of the `Idempotency-Key` header, and the digest of everything it stands for.
    pub retry: Option<(RetryKey, Digest)>,
}

impl From<Command> for Request {
    fn from(command: Command) -> Self {
        Self {
            command,
            retry: None,
        }
    }
}

/// What the cloud answers if it did not refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Vms(Page<Vm>),
    /// As it is.
    Vm(Vm),
    /// As it became by an action that was accepted and goes on.
    VmAccepted(Vm),
    VmCreated(Vm),
    /// Its last state: `deleting` until its process has ended.
    VmDeleted(Vm),
    Images(Page<Image>),
    Image(Image),
    ImageCreated(Image),
    ImageDeleted(Image),
    Blob(Blob),
}

/// Why a text is no idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an Idempotency-Key has 1 to {} visible ASCII characters; a random UUID is a good one",
    limits::RETRY_KEY_CHARS_MAX
)]
pub struct BadRetryKey;

/// A client's own name for one request, so that sending it again does nothing twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RetryKey(String);

impl RetryKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RetryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RetryKey {
    type Err = BadRetryKey;

    fn from_str(text: &str) -> Result<Self, BadRetryKey> {
        let right = (1..=limits::RETRY_KEY_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if right {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadRetryKey)
        }
    }
}

serde_as_text!(RetryKey);
