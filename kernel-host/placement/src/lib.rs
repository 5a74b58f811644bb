//! Who should run where: pure plans that a node may refuse.
//!
//! Does:      ranks sites and nodes for a VM that is to be created, and groups of nodes that solve
//!            an overload together; says why in a person's words.
//! Does not:  do I/O, read clocks, reserve anything or move anything.
//! Bounds:    each part names its own maxima.
//! Trusts:    capacities and site states for what their nodes said last.
//! Start at:  `score::rank`, `overload::Overloads`.

#![forbid(unsafe_code)]

pub mod overload;
pub mod score;
pub mod why;
