//! The green side of a site: what sun, wind and battery give, and how dirty the grid is.
//!
//! Does:      reads feeds into series of quarter-hours, foretells the next day with error bars,
//!            packs a site's state for gossip, and sums numbers over all nodes.
//! Does not:  fetch feeds, send gossip, or decide what runs where.
//! Bounds:    `series::SLOTS_MAX` quarter-hours of history, `DAY_SLOTS` of forecast.
//! Trusts:    no feed: a row that can't be true is refused and counted, silence is not sunshine.
//! Start at:  `Green`.

pub mod battery;
pub mod feed;
pub mod forecast;
pub mod fuzz;
pub mod generate;
pub mod push_sum;
pub mod series;
pub mod site;
pub mod skill;
pub mod state;
pub mod sun;
pub mod utc;

pub use feed::{Feed, Kind};
pub use forecast::{Bars, Forecaster};
pub use site::Green;
pub use state::SiteState;
pub use utc::Utc;

/// Seconds of a slot: all series stand on quarter-hours of UTC.
pub const SLOT_S: i64 = 900;

/// Slots of a day, and so of a forecast.
pub const DAY_SLOTS: usize = 96;
