//! What the netboot server tells whoever watches it.
//!
//! Does:      one event per DHCP answer and per change of a transfer, with a sentence for people.
//! Does not:  keep a history.
//! Bounds:    a running transfer speaks every `STEP_BYTES`.
//! Trusts:    names that clients send are shown escaped.
//! Start at:  `Event`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use netcore::dhcp::message::Kind;
use netcore::ethernet::Mac;

use super::Listener;
use crate::progress::{bar, megabytes};

/// Bytes between two words about a running transfer.
const STEP_BYTES: u64 = 1 << 20;

/// How a file travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Tftp,
    Http,
}

/// How far a transfer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Started,
    Running,
    Done,
    /// The client went away, or said why it stops.
    Cut(String),
    /// There was nothing to send.
    Refused(String),
}

/// One file on its way to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    pub protocol: Protocol,
    pub peer: SocketAddr,
    pub file: String,
    pub sent: u64,
    pub total: u64,
    pub outcome: Outcome,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A DHCP answer was sent.
    Answered {
        kind: Kind,
        mac: Mac,
        address: Ipv4Addr,
        boot_file: String,
    },
    Transfer(Transfer),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Answered {
                kind,
                mac,
                address,
                boot_file,
            } => {
                write!(f, "dhcp  {mac}  {kind:?}")?;
                if !address.is_unspecified() {
                    write!(f, " {address}")?;
                }
                if boot_file.is_empty() {
                    Ok(())
                } else {
                    write!(f, "  boot {boot_file}")
                }
            }
            Event::Transfer(transfer) => transfer.fmt(f),
        }
    }
}

impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tftp => "tftp",
            Protocol::Http => "http",
        };
        write!(
            f,
            "{protocol}  {}  {}  ",
            self.peer,
            self.file.escape_default()
        )?;
        let (sent, total) = (megabytes(self.sent), megabytes(self.total));
        match &self.outcome {
            Outcome::Started => write!(f, "asked, {total}"),
            Outcome::Running => write!(f, "{} {sent}", bar(self.sent, self.total)),
            Outcome::Done => write!(f, "done, {sent}"),
            Outcome::Cut(why) => write!(f, "cut after {sent} of {total} ({why})"),
            Outcome::Refused(why) => write!(f, "refused ({why})"),
        }
    }
}

/// Tells a listener about one transfer, whatever way it ends.
pub(super) struct Tracker {
    transfer: Transfer,
    told: u64,
    listener: Listener,
}

impl Tracker {
    pub fn start(
        protocol: Protocol,
        peer: SocketAddr,
        file: &str,
        total: u64,
        listener: Listener,
    ) -> Tracker {
        let outcome = Outcome::Started;
        let transfer = Transfer {
            protocol,
            peer,
            file: file.to_owned(),
            sent: 0,
            total,
            outcome,
        };
        listener(&Event::Transfer(transfer.clone()));
        Tracker {
            transfer,
            told: 0,
            listener,
        }
    }

    /// So much is on its way now.
    pub fn reached(&mut self, sent: u64) {
        self.transfer.sent = sent;
        if sent >= self.told + STEP_BYTES && sent < self.transfer.total {
            self.told = sent;
            self.tell(Outcome::Running);
        }
    }

    pub fn done(&mut self) {
        self.transfer.sent = self.transfer.total;
        self.tell(Outcome::Done);
    }

    pub fn cut(&mut self, why: &str) {
        self.tell(Outcome::Cut(why.to_owned()));
    }

    fn tell(&mut self, outcome: Outcome) {
        self.transfer.outcome = outcome;
        (self.listener)(&Event::Transfer(self.transfer.clone()));
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        if matches!(self.transfer.outcome, Outcome::Started | Outcome::Running) {
            self.cut("the connection ended");
        }
    }
}
