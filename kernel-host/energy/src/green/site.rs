//! All feeds of one site with their forecasts, and the state that is told to others.
//!
//! Does:      takes documents of each feed, answers what a slot will bring, packs the day.
//! Does not:  choose the node that reads the feeds (one in a site does, so nothing counts twice).
//! Bounds:    one feed of each kind.
//! Trusts:    `feed`.
//! Start at:  `Green::take_csv`, `Green::state`.

use super::{
    DAY_SLOTS, Utc,
    feed::{BadDocument, Feed, Kind, Taken},
    forecast::{Bars, Forecaster},
    state::{Now, Row, SiteState},
};

/// One feed and what is foretold from it.
#[derive(Debug, Clone)]
pub struct Foretold {
    pub feed: Feed,
    pub forecaster: Forecaster,
}

impl Foretold {
    #[must_use]
    pub fn new(kind: Kind, span_s: i64) -> Self {
        Self {
            feed: Feed::new(kind, span_s),
            forecaster: Forecaster::new(kind),
        }
    }

    /// Reads a document and learns from each row of it.
    pub fn take_csv(&mut self, text: &str, now: Utc) -> Result<Taken, BadDocument> {
        let forecaster = &mut self.forecaster;
        self.feed.read_csv(text, now, |feed, end| {
            forecaster.learn(feed.series(), end.slot());
        })
    }

    #[must_use]
    pub fn bars(&self, now: Utc, slot: i64) -> Bars {
        let now = now.0.div_euclid(super::SLOT_S);
        self.forecaster.bars(self.feed.series(), now, slot)
    }
}

/// The green side of one site.
#[derive(Debug, Clone)]
pub struct Green {
    pub solar: Option<Foretold>,
    pub wind: Option<Foretold>,
    pub battery: Option<Feed>,
    pub carbon: Option<Foretold>,
}

impl Green {
    /// A site without any feed.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            solar: None,
            wind: None,
            battery: None,
            carbon: None,
        }
    }

    /// What sun and wind give together. Bars are added as if both failed together, which is
    /// careful: nobody counts on one making up for the other.
    #[must_use]
    pub fn produced(&self, now: Utc, slot: i64) -> Bars {
        let both = [&self.solar, &self.wind];
        let all = both.into_iter().flatten().map(|one| one.bars(now, slot));
        all.fold(Bars::default(), |sum, bars| Bars {
            point: sum.point.saturating_add(bars.point),
            q10: sum.q10.saturating_add(bars.q10),
            q30: sum.q30.saturating_add(bars.q30),
            q50: sum.q50.saturating_add(bars.q50),
            q90: sum.q90.saturating_add(bars.q90),
        })
    }

    /// The next day, as others are told.
    #[must_use]
    pub fn state(&self, now: Utc, is: Now) -> SiteState {
        let first = now.0.div_euclid(super::SLOT_S) + 1;
        let charge = self.battery.as_ref().and_then(|feed| {
            let last = feed.series().last()?;
            feed.series().at(last)
        });
        let row = |at: usize| {
            let slot = first + i64::try_from(at).unwrap_or(0);
            Row {
                produced: self.produced(now, slot),
                carbon: self.carbon.as_ref().map(|feed| feed.bars(now, slot).point),
                charge_permille: if at == 0 { charge } else { None },
            }
        };
        let rows: Vec<Row> = (0..DAY_SLOTS).map(row).collect();
        SiteState::pack(first, &rows, is)
    }
}
