//! Who guards the registers of a site, and how that changes.
//!
//! Does:      founds a council, chooses the next, hands registers over; one node's view of it.
//! Does not:  run ballots (`register`); decide who is alive (`swim`).
//! Bounds:    those of its parts.
//! Trusts:    nodes of the site.
//! Start at:  `Hall`, then `Choice`, then `Founder`.

mod choice;
mod founder;
mod hall;
mod people;

pub use choice::Choice;
pub use founder::Founder;
pub use hall::{Hall, SAVED_AT, read_saved};
pub use people::{People, Person, Presence};
