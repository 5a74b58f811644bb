//! Meters: everything that says what is drawn or produced, behind one trait without I/O.
//!
//! Does:      says what a source is, what it may wish for, what it may be answered, and what
//!            comes out: readings with a zone, a class and an error bar each.
//! Does not:  fetch anything, wait, or decide which source is right (`fusion` does).
//! Bounds:    `READINGS_MAX` of one round, `ANSWER_BYTES_MAX` of one answer, `METERS_MAX` sources.
//! Trusts:    nobody: what a meter says passes its parser and then the gate of `bank`.
//! Start at:  `Source`, then `bank::Meter`, which gives each source its deadline and quarantine.

pub mod bank;
pub mod curve;
pub mod dcmi;
pub mod decimal;
pub mod feed;
pub mod files;
pub mod http;
pub mod hwmon;
pub mod modbus;
pub mod nut;
pub mod powercap;
pub mod redfish;
pub mod snmp;
pub mod sunspec;

pub use files::{FileFault, Files};

use protocol::{Microjoules, Microwatts};
use std::net::SocketAddr;

/// Readings of one round: 8 sockets with 5 zones each, and room. What comes behind is dropped and
/// counted.
pub const READINGS_MAX: usize = 64;
/// Bytes of one answer; a longer one is a fault of its source.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Sources of one node; a further one is refused.
pub const METERS_MAX: usize = 16;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;

/// Nanoseconds since the machine started. Monotonic: the wall clock may jump, this one does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(pub u64);

impl Uptime {
    /// Nanoseconds from `earlier` to this; zero if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    #[must_use]
    pub const fn after(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }
}

/// What a reading is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zone {
    /// What comes out of the wall for this machine: an outlet, a power supply, the BMC's sum.
    Wall(u8),
    /// The board's own meter, behind the power supplies.
    Board(u8),
    /// RAPL's `psys`. It contains the packages, usually, so it is never added to them.
    Platform,
    /// A processor package without its memory; the number is the one in its name.
    Package(u8),
    /// The cores of a package, which the package contains.
    Cores(u8),
    /// The graphics of a package, which the package contains.
    Uncore(u8),
    /// The memory of a package, which the package does not contain.
    Dram(u8),
    /// What a model says of this machine.
    Modelled,
    /// What an uninterruptible power supply gives to everything behind it.
    Ups,
    /// Photovoltaic power of the site.
    Sun,
    /// Power into the site's battery.
    Charging,
    /// Power out of the site's battery.
    Discharging,
    /// How full the battery is.
    Stored,
}

/// Where a value comes from, best first; each class has the error bar that it starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A wall meter: PDU outlet, DCMI, Redfish, UPS, inverter.
    Wall,
    /// A sensor on the board.
    Board,
    /// A counter inside the processor.
    Rapl,
    /// Such counters, carried to the wall by a line fitted against a wall meter.
    Fitted,
    /// A curve measured on this kind of machine.
    Curve,
    /// Rated power and load.
    Guess,
}

impl Class {
    /// One standard deviation, in millionths of the value.
    #[must_use]
    pub const fn sigma_ppm(self) -> u32 {
        match self {
            Self::Wall => 20_000,
            Self::Board => 30_000,
            Self::Rapl => 50_000,
            Self::Fitted => 60_000,
            Self::Curve => 100_000,
            Self::Guess => 300_000,
        }
    }

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Board => "board",
            Self::Rapl => "rapl",
            Self::Fitted => "fitted",
            Self::Curve => "curve",
            Self::Guess => "guess",
        }
    }
}

/// What a reading says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Energy since the reading before of the same zone; the wraps of its counter are out.
    Counter { spent: Microjoules, over_ns: u64 },
    /// A counter was lost sight of for this long: what was spent has to be modelled.
    Gap { over_ns: u64 },
    /// The power of this moment.
    Gauge(Microwatts),
    /// The mean power of a window that ends now.
    Average { power: Microwatts, window_ns: u64 },
    /// A share, in millionths.
    Share { ppm: u32 },
}

impl Value {
    /// The power it stands for, if it stands for one.
    #[must_use]
    pub fn power(self) -> Option<Microwatts> {
        match self {
            Self::Counter { spent, over_ns } => spent.over(over_ns),
            Self::Gauge(power) | Self::Average { power, .. } => Some(power),
            Self::Gap { .. } | Self::Share { .. } => None,
        }
    }
}

/// One value with all that has to be known to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub zone: Zone,
    pub value: Value,
    pub class: Class,
    pub sigma_ppm: u32,
}

impl Reading {
    #[must_use]
    pub const fn new(zone: Zone, class: Class, value: Value) -> Self {
        Self {
            zone,
            value,
            class,
            sigma_ppm: class.sigma_ppm(),
        }
    }
}

/// The readings of one round.
#[derive(Debug, Default)]
pub struct Readings {
    all: Vec<Reading>,
    /// What a feed sent, for whoever knows what its rows mean.
    pub document: Option<Vec<u8>>,
    pub dropped: u64,
}

impl Readings {
    pub fn push(&mut self, reading: Reading) {
        if self.all.len() < READINGS_MAX {
            self.all.push(reading);
        } else {
            self.dropped += 1;
        }
    }

    #[must_use]
    pub fn all(&self) -> &[Reading] {
        &self.all
    }

    /// Forgets them and keeps their room.
    pub fn clear(&mut self) {
        self.all.clear();
        self.document = None;
    }
}

/// How bytes travel to a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One datagram there, one back.
    Datagram(SocketAddr),
    /// A connection, closed at the end of the round.
    Stream(SocketAddr),
    /// The machine's own BMC: network function and command, then the bytes are its data.
    Ipmi { netfn: u8, command: u8 },
}

/// What a source wants to have fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Each folder that stands in this one, and in each of them these files if they are there.
    Folders { path: String, files: Vec<String> },
    /// These files.
    Files(Vec<String>),
    /// The same files as in the round before: the caller still knows them.
    SameFiles,
    /// These bytes sent, and whatever comes back.
    Exchange { way: Way, bytes: Vec<u8> },
    /// Nothing from outside: the share of the processors' time that was busy, which the caller
    /// knows.
    Load,
}

/// What was fetched.
#[derive(Debug, Clone, Copy)]
pub enum Answer<'a> {
    Files(&'a Files),
    /// All bytes that came since the request; `end` when no more can come.
    Bytes {
        bytes: &'a [u8],
        end: bool,
    },
    /// Busy time of all processors, in millionths of what they could give.
    Load {
        ppm: u32,
    },
}

/// How a round goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// The answer is not whole yet: read on.
    ReadOn,
    /// It was taken; there is one more wish.
    Next,
    /// The readings of this round are complete.
    Done,
}

/// Why a source has nothing to say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{what} is not there")]
    Absent { what: String },
    #[error("{what} may not be read")]
    Forbidden { what: String },
    #[error("{what} makes no sense: {why}")]
    Nonsense { what: String, why: String },
    #[error("{what} can't be so: {watts} W")]
    Implausible { what: String, watts: u64 },
    #[error("it refused: {why}")]
    Refused { why: String },
    #[error("no answer within {ms} ms")]
    Late { ms: u64 },
    #[error("it can't be reached: {why}")]
    Unreachable { why: String },
}

impl Fault {
    pub(crate) fn nonsense(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Nonsense {
            what: protocol::limits::shortened(&what.into(), 60),
            why: protocol::limits::shortened(&why.into(), 80),
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "Nothing to do if the machine has no such meter",
            Self::Forbidden { .. } => "Check the kernel's lockdown mode and the file's mode",
            Self::Nonsense { .. } | Self::Implausible { .. } => {
                "It is asked again, less and less often; compare it with another meter"
            }
            Self::Refused { .. } => "Check its settings and rights: is power metering enabled?",
            Self::Late { .. } | Self::Unreachable { .. } => {
                "Check its address and the network; others are read meanwhile"
            }
        }
    }
}

/// How often a source is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// From the start of a round to the next one's.
    pub period_ns: u64,
    /// From the start of a round to its end, at most.
    pub deadline_ns: u64,
    /// The most that one zone of it can carry.
    pub most: Microwatts,
}

/// A meter's protocol: what to ask and what the answers mean. `bank::Meter` keeps time for it.
pub trait Source: std::fmt::Debug {
    /// For people and metrics: `rapl`, `pdu 192.0.2.7`.
    fn name(&self) -> &str;

    fn rhythm(&self) -> Rhythm;

    /// Forgets an unfinished round: the next wish is the first of a new one.
    fn begin(&mut self);

    /// What to fetch next.
    ///
    /// # Errors
    /// When there is nothing to ask for.
    fn wish(&mut self) -> Result<Wish, Fault>;

    /// Takes what was fetched for the last wish.
    ///
    /// # Errors
    /// When it says nothing usable; the round is over then, and what was pushed is void.
    fn take(&mut self, now: Uptime, answer: Answer<'_>, out: &mut Readings)
    -> Result<Round, Fault>;
}
