//! A deterministic world that drives the real cores: same seed, same bytes.
//!
//! Does:      virtual time, a network between sites, hosts with clocks and disks, faults drawn
//!            before the run; checks invariants and progress; shrinks what fails; measures and
//!            plots.
//! Does not:  re-implement what it tests: `overlay::Overlay` runs here as it runs in the appliance.
//! Bounds:    one core; memory grows with nodes (`World`).
//! Trusts:    nothing that it checks; machines to be deterministic, which it checks too.
//! Start at:  `world::World`, `history::History`, then `checks`.

#![forbid(unsafe_code)]

pub mod alone;
pub mod checks;
pub mod command;
pub mod fat;
pub mod flat;
pub mod history;
pub mod ids;
pub mod machine;
pub mod measure;
pub mod ordeal;
pub mod overload;
pub mod progress;
pub mod report;
pub mod scenarios;
pub mod sealed;
pub mod whole;
pub mod world;

/// What the appliance runs.
pub type Ours = whole::Whole;
