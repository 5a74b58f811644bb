//! What a node and its VMs draw, and what its site produces: measured, accounted, foretold.
//!
//! Does:      meters as state machines over bytes that the caller fetched, one host power out of
//!            many sources, a ledger in integer microjoules, green feeds and their forecast.
//! Does not:  do I/O, read clocks or decide where VMs run (`placement` does).
//! Bounds:    each part names its own maxima.
//! Trusts:    nobody: files, meters and feeds are parsed once into types, and what is not
//!            plausible is refused and counted.
//! Start at:  `meter::Source`, `green`.

#![forbid(unsafe_code)]

pub mod accountant;
pub mod fusion;
pub mod fuzz;
pub mod green;
pub mod ledger;
pub mod meter;
