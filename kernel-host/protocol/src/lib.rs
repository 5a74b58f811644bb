//! Ids, units and messages that all rooms share: the words of LUC OS.
//!
//! Does:      defines each id, unit, API object, request, answer and problem once, with its text
//!            form; a value that exists was checked.
//! Does not:  do I/O, know HTTP paths (`api` does) or decide anything (`cloud` does).
//! Bounds:    every maximum that the API shows to users stands in `limits`.
//! Trusts:    nobody: text and JSON are parsed here, and only here.
//! Start at:  `vm::Vm`, `request::Command`, `problem::Code`; between nodes: `peer::message`.

#![forbid(unsafe_code)]

pub mod console;
pub mod digest;
pub mod energy;
pub mod fuzz;
pub mod ids;
pub mod image;
pub mod limits;
pub mod name;
pub mod nearest;
pub mod node;
pub mod page;
pub mod peer;
pub mod place;
pub mod policy;
pub mod power;
pub mod problem;
pub mod request;
mod text;
pub mod times;
pub mod units;
pub mod vm;

pub use console::ConsoleNotice;
pub use digest::{BadDigest, Digest, Hasher};
pub use energy::{EnergyAccount, EnergyKind, EnergySource, NodeEnergy};
pub use ids::{BadId, NodeId, SiteId, VmId};
pub use image::{Blob, BlobRef, Image, NewImage};
pub use name::{BadName, Name, Selector};
pub use nearest::nearest;
pub use node::{
    BootStage, KvmStatus, Node, NodeAddress, NodeMemory, NodeState, PowerReply, ProcessUse,
};
pub use page::{Page, PageRequest};
pub use place::{
    Approve, Capacity, Event, EventPage, NodeEntry, OwnerWord, OwnerWordTaken, PendingNode, Place,
    SiteEntry, Standing, Wish,
};
pub use policy::{BadPolicy, Policy};
pub use power::{Microjoules, Microwatts};
pub use problem::{Code, Problem};
pub use request::{Answer, BadRetryKey, Command, Request, RetryKey, StopRequest};
pub use times::{BadTimestamp, Moment, Timestamp};
pub use units::{BadByteCount, ByteCount};
pub use vm::{DiskUse, NewVm, Vm, VmSpec, VmStage, VmStageName, VmState};
