//! Problems: what went wrong, for whoever must act.
//!
//! Does:      one table of codes with HTTP status, exit code and title; the RFC 9457 document.
//! Does not:  know the things it speaks of: the rooms fill in `detail` and `advice`.
//! Bounds:    a document is as long as its texts, which the rooms bound.
//! Trusts:    a received one for nothing but its shape.
//! Start at:  `CODES`.

use crate::limits;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Exit codes of the command line: one meaning each.
pub mod exit {
    pub const DONE: u8 = 0;
    pub const FAILED: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const NOT_FOUND: u8 = 3;
    pub const CONFLICT: u8 = 4;
    pub const REFUSED: u8 = 5;
    pub const NO_CAPACITY: u8 = 6;
    pub const TIMEOUT: u8 = 7;
    pub const UNREACHABLE: u8 = 8;
    pub const WOULD_CHANGE: u8 = 9;
}

macro_rules! codes {
    ($(
        $(#[$doc:meta])*
        $code:ident $text:literal $status:literal $exit:ident $title:literal;
    )+) => {
        /// What kind of problem it is; a program decides by this.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[$doc])* $code,)+ }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$code,)+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text,)+ }
            }

            /// The HTTP status that carries it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$code => $status,)+ }
            }

            /// The exit code of `luc` that tells it.
            pub const fn exit(self) -> u8 {
                match self { $(Self::$code => exit::$exit,)+ }
            }

            pub const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)+ }
            }
        }
    };
}

#[rustfmt::skip] // keeps the columns
mod codes {
    use super::{Deserialize, Serialize, exit};

    codes! {
        BadRequest     "bad_request"      400 USAGE       "The request can't be read";
        BadJson        "bad_json"         400 USAGE       "The body is not the JSON that is wanted";
        BadValue       "bad_value"        422 USAGE       "A value is not allowed";
        MediaType      "media_type"       415 USAGE       "The body has the wrong media type";
        TooLarge       "too_large"        413 USAGE       "The body is too large";
        UnknownPath    "unknown_path"     404 FAILED      "No such path";
        WrongMethod    "wrong_method"     405 FAILED      "The path does not know this method";
        UpgradeNeeded  "upgrade_needed"   426 FAILED      "The path speaks WebSocket";
        NotFound       "not_found"        404 NOT_FOUND   "No such thing";
        Ambiguous      "ambiguous"        409 CONFLICT    "Several things fit";
        NameTaken      "name_taken"       409 CONFLICT    "The name is taken";
        WrongState     "wrong_state"      409 CONFLICT    "Not possible in this state";
        InUse          "in_use"           409 CONFLICT    "Still in use";
        KeyReused      "key_reused"       409 CONFLICT    "The idempotency key stands for another request";
        BlobMissing    "blob_missing"     409 CONFLICT    "A part is not on the node";
        WrongOffset    "wrong_offset"     409 CONFLICT    "The piece does not continue the blob";
        DigestMismatch "digest_mismatch"  422 FAILED      "The bytes are not those of the digest";
        LimitReached   "limit_reached"    403 REFUSED     "A limit is reached";
        NoCapacity     "no_capacity"      507 NO_CAPACITY "Not enough free memory";
        NoKvm          "no_kvm"           503 REFUSED     "This node can't run virtual machines";
        Busy           "busy"             503 FAILED      "Too busy to take this now";
        GoingDown      "going_down"       503 UNREACHABLE "The node is going down";
        Internal       "internal"         500 FAILED      "The node made a mistake";
        NoCluster      "no_cluster"       409 REFUSED     "The node belongs to no cluster";
        HostSilent     "host_silent"      502 UNREACHABLE "The node that has it does not answer";
        // The rest never comes from a node; `luc` itself tells it.
        NotReached     "not_reached"      409 FAILED      "It came out otherwise";
        TimedOut       "timed_out"        504 TIMEOUT     "It took too long";
        Unreachable    "unreachable"      502 UNREACHABLE "The node does not answer";
        Local          "local"            500 FAILED      "Something on this machine failed";
    }
}
pub use codes::Code;

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A problem document (RFC 9457), with advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// `urn:luc:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What was tried, on what, and why it did not work.
    pub detail: String,
    pub code: Code,
    /// What to do now.
    pub advice: String,
    /// What is certainly not lost or changed.
    pub lost: String,
    /// Names this request in the node's log.
    #[serde(default)]
    pub request_id: Option<String>,
    /// The methods that the path knows, if that was the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
}

/// What most refusals can promise.
const NOTHING_CHANGED: &str = "Nothing was changed.";

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:luc:problem:{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: limits::shortened(&detail.into(), 2000),
            code,
            advice: advice.into(),
            lost: NOTHING_CHANGED.to_owned(),
            request_id: None,
            allow: None,
        }
    }

    /// Says what is certainly not lost, where that is not simply everything.
    #[must_use]
    pub fn with_lost(mut self, lost: impl Into<String>) -> Self {
        self.lost = lost.into();
        self
    }
}
