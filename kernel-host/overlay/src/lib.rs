//! Nodes find each other, agree on who is there, and spread what they know: no leader, no centre.
//!
//! Does:      membership of a site, the directory of sites, links, broadcast, reconciliation,
//!            lookup, registers and leases; one sans-IO machine, `Overlay`, made of small ones.
//! Does not:  do I/O, encrypt (`session`), sign (`Keyring`, implemented by `identity`) or know
//!            what a virtual machine is (`cloud`).
//! Bounds:    each part names its own maxima; together at most 8 MB at 5,000 nodes.
//! Trusts:    that `from` of a message is the node it names: sessions prove it.
//! Start at:  `overlay::Overlay`, then `context::Context`, then the parts.

#![forbid(unsafe_code)]

pub mod clock;
pub mod context;
pub mod coordinates;
pub mod directory;
pub mod fuzz;
pub mod guardians;
pub mod lease;
pub mod links;
pub mod lookup;
pub mod overlay;
pub mod recon;
pub mod register;
pub mod rules;
pub mod store;
pub mod swim;
pub mod tree;

pub use context::{Context, Event, Keyring, Outbox, Save, Send, Verdict};
pub use overlay::SiteView;
pub use overlay::{Answer, Config, Draft, Input, NodeState, NodeView, Output, Overlay, Refused};
pub use rules::Rules;
