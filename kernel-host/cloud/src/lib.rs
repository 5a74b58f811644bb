//! The node's services as one state machine: VMs, images and the blobs they are made of.
//!
//! Does:      answers commands, follows each VM from `creating` to gone, admits by free memory,
//!            and asks for everything that needs hands: processes and bytes.
//! Does not:  do I/O, read clocks, roll dice or know HTTP; no output is a question.
//! Bounds:    tables are bounded by `protocol::limits`; outputs by what one input can cause.
//! Trusts:    the node performs outputs in order and tells the end of every process it started.
//!            Nothing else: events of older runs and unknown VMs are ignored and counted.
//! Start at:  `Cloud::handle`, then the table above `process::Ending`; for the cluster: `Atlas`.

#![forbid(unsafe_code)]

mod answers;
mod atlas;
mod blobs;
pub mod bodies;
mod cloud;
mod counters;
mod effects;
mod events;
pub mod fuzz;
mod images;
mod machine;
mod machines;
mod memory;
mod placing;
mod process;
mod publish;
mod refusal;
mod retries;
mod sights;
mod told;

pub use atlas::{Atlas, KnownVm};
pub use cloud::{Cloud, Config};
pub use counters::Counters;
pub use effects::{Disk, Ended, Event, Launch, Output, VmEvent};
pub use events::Events;
pub use memory::MemoryUse;
pub use publish::{Publication, VmFact};
pub use refusal::Refusal;
pub use sights::{NodeSight, SiteSight};
