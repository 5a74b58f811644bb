//! A node's own processes: PID 1, and the node process that performs what the cores ask.
//!
//! Does:      joins Linux (`sys`), the network (`netio`), the machines (`machine`) and the cores.
//! Does not:  decide about VMs (`cloud`) or speak HTTP's content (`api`).
//! Bounds:    each module names its own.
//! Trusts:    as each module says; the network and the guests never.
//! Start at:  `init::run` for PID 1, `service::run` for the node process.

#![forbid(unsafe_code)]

pub mod arguments;
mod aside;
mod bell;
mod console;
pub mod init;
pub mod service;
pub mod supervision;
