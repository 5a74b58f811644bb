//! What a series will do in the next day, with error bars that were earned.
//!
//! Does:      for sun, holds what shines now against the best of the last 14 days at the same
//!            quarter-hour (the learned envelope, so that nobody has to configure panels); keeps
//!            score of itself and of simpler ways, and gives way to a better one; widens and
//!            decays what it says while a feed is silent.
//! Does not:  fetch, or believe that a silent sun shines.
//! Bounds:    `DAY_SLOTS` ahead; forecasts that wait for their truth: `FILED_MAX` a horizon.
//! Trusts:    `feed`.
//! Start at:  `Forecaster::bars`, then `View::anchored`.
//!
//! The published rule (smart persistence to 3 h, a blend to 6 h, the day before beyond) was
//! measured against one formula for all horizons: what is usual, pulled towards what is now by
//! `exp(-h / 6 h)`. The formula is better at 2 to 24 h on all 16 public series and simpler.
//! Everything is integer arithmetic: all nodes say the same.

use super::{
    DAY_SLOTS, Utc,
    feed::Kind,
    series::Series,
    skill::{HORIZONS, Skill, WAYS, Way, class},
};
use std::collections::VecDeque;

/// Days that the envelope remembers.
const ENVELOPE_DAYS: i64 = 14;
const DAY: i64 = DAY_SLOTS as i64;
/// Forecasts of one horizon that wait for their truth: one a slot.
const FILED_MAX: usize = DAY_SLOTS + 1;
/// A forecast's pull towards what is now, a slot later: exp(-1/24), so 6 h to 1/e.
const PULL_A_SLOT_PPM: u64 = 959_189;
const MILLION: u64 = 1_000_000;
/// What shines may be this much of the envelope: cleaner air than in 14 days.
const SHARE_MAX_PERMILLE: u64 = 1_200;
/// Below this part of the best in 14 days a share says nothing: dusk and dawn.
const TELLING_PERMILLE: u64 = 20;
/// The usual share forgets 1 part in this many a daylight slot: about a week.
const USUAL_SLOTS: i64 = 336;
/// The usual share before anything is known.
const USUAL_START: i64 = 500;
/// A feed is fresh for an hour; then its word fades, to nothing after a day.
const FRESH_SLOTS: i64 = 4;
const FADED_SLOTS: i64 = DAY;

/// A foretold value with its error bars: truth is below `q30` three times in ten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bars {
    /// The single best guess.
    pub point: u64,
    pub q10: u64,
    pub q30: u64,
    pub q50: u64,
    pub q90: u64,
}

#[derive(Debug, Clone, Copy)]
struct Filed {
    target: i64,
    scale: u64,
    said: [u64; WAYS.len()],
}

/// Foretells one series.
#[derive(Debug, Clone)]
pub struct Forecaster {
    kind: Kind,
    skill: Skill,
    filed: [VecDeque<Filed>; HORIZONS.len()],
    /// What is usual: a share of the envelope in permille for sun, of the best for wind.
    usual_milli: i64,
    learned: Option<i64>,
}

/// A series as it was known at a slot.
#[derive(Debug, Clone, Copy)]
struct View<'a> {
    kind: Kind,
    series: &'a Series,
    as_of: i64,
    /// The most of the last 14 days.
    top: u64,
    usual_permille: u64,
}

impl View<'_> {
    fn value(self, slot: i64) -> Option<u64> {
        self.series.at(slot).filter(|_| slot <= self.as_of)
    }

    /// The same quarter-hour on the days before, the newest first.
    fn days_before(self, slot: i64) -> impl Iterator<Item = u64> {
        let ahead = (slot - self.as_of).max(0);
        let newest = slot - (ahead + DAY - 1) / DAY * DAY;
        (0..ENVELOPE_DAYS).filter_map(move |day| self.value(newest - day * DAY))
    }

    /// What 1000 permille are at a slot: the learned envelope for sun, the most for the others.
    fn scale(self, slot: i64) -> u64 {
        match self.kind {
            Kind::Solar { place, .. } => {
                let is_night = place.is_some_and(|place| !place.may_shine(Utc::end_of(slot)));
                let best = || self.days_before(slot).max().unwrap_or(0);
                if is_night { 0 } else { best() }
            }
            Kind::Wind { .. } | Kind::Battery | Kind::Carbon { .. } => self.top,
        }
    }

    /// The share of the envelope that shines now: the last hour and the last slot, half each.
    fn share_permille(self) -> u64 {
        let (mut shone, mut could) = (0u64, 0u64);
        for slot in self.as_of - 3..=self.as_of {
            if let Some(value) = self.value(slot) {
                shone = shone.saturating_add(value);
                could = could.saturating_add(self.scale(slot));
            }
        }
        let hour = self.share_of(shone, could, 4);
        let last = self.value(self.as_of).map_or(hour, |value| {
            self.share_of(value, self.scale(self.as_of), 1)
        });
        (hour + last) / 2
    }

    fn share_of(self, value: u64, scale: u64, slots: u64) -> u64 {
        let telling = of_permille(self.top, TELLING_PERMILLE).saturating_mul(slots);
        if scale <= telling {
            return self.usual_permille;
        }
        let permille = u128::from(value) * 1000 / u128::from(scale);
        u64::try_from(permille)
            .unwrap_or(SHARE_MAX_PERMILLE)
            .min(SHARE_MAX_PERMILLE)
    }

    fn day_before(self, slot: i64) -> Option<u64> {
        self.days_before(slot).next()
    }

    /// What is usual at a slot, whatever is now.
    fn usual(self, slot: i64, scale: u64) -> u64 {
        let usual = of_permille(scale, self.usual_permille);
        let before = self.day_before(slot);
        match self.kind {
            Kind::Solar { .. } => u64::midpoint(before.unwrap_or(usual), usual),
            Kind::Wind { .. } => usual,
            Kind::Battery => self.value(self.as_of).unwrap_or(usual),
            Kind::Carbon { yearly } => before.unwrap_or(yearly),
        }
    }

    /// What is now, carried to a slot.
    fn carried(self, slot: i64, scale: u64) -> u64 {
        let now = self.value(self.as_of).unwrap_or(0);
        match self.kind {
            Kind::Solar { .. } => of_permille(scale, self.share_permille()),
            Kind::Carbon { .. } => match (self.day_before(slot), self.value(self.as_of - DAY)) {
                (Some(then), Some(before)) => then.saturating_add(now).saturating_sub(before),
                _ => now,
            },
            Kind::Wind { .. } | Kind::Battery => now,
        }
    }

    /// What is usual, pulled towards what is now.
    fn anchored(self, slot: i64, scale: u64) -> u64 {
        let (usual, carried) = (self.usual(slot, scale), self.carried(slot, scale));
        let pull = (self.as_of..slot).fold(MILLION, |pull, _| pull * PULL_A_SLOT_PPM / MILLION);
        weighed(carried, usual, pull)
    }

    fn all_ways(self, slot: i64, scale: u64) -> [u64; WAYS.len()] {
        let now = self.value(self.as_of).unwrap_or(0);
        let said = [
            self.anchored(slot, scale),
            self.carried(slot, scale),
            now,
            self.day_before(slot).unwrap_or(now),
        ];
        let is_night = scale == 0 && matches!(self.kind, Kind::Solar { .. });
        if is_night { [0; WAYS.len()] } else { said }
    }
}

/// `share` parts in a million of `a`, the rest of `b`.
fn weighed(a: u64, b: u64, share: u64) -> u64 {
    let sum = u128::from(a) * u128::from(share) + u128::from(b) * u128::from(MILLION - share);
    u64::try_from(sum / u128::from(MILLION)).unwrap_or(u64::MAX)
}

fn of_permille(value: u64, permille: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(permille) / 1000).unwrap_or(u64::MAX)
}

impl Forecaster {
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            skill: Skill::default(),
            filed: Default::default(),
            usual_milli: USUAL_START * 1000,
            learned: None,
        }
    }

    #[must_use]
    pub const fn skill(&self) -> &Skill {
        &self.skill
    }

    fn view<'a>(&self, series: &'a Series, as_of: i64) -> View<'a> {
        let kept = as_of - ENVELOPE_DAYS * DAY + 1..=as_of;
        let recent = series.known().filter(|(slot, _)| kept.contains(slot));
        View {
            kind: self.kind,
            series,
            as_of,
            top: recent.map(|(_, value)| value).max().unwrap_or(0),
            usual_permille: u64::try_from(self.usual_milli / 1000).unwrap_or(0),
        }
    }

    /// A slot became known: settles the forecasts made for it, and files new ones. Slots that
    /// were skipped stay unsettled; a slot that is not newer than the last is ignored.
    pub fn learn(&mut self, series: &Series, slot: i64) {
        let is_new = self.learned.is_none_or(|learned| slot > learned);
        let Some(truth) = series.at(slot).filter(|_| is_new) else {
            return;
        };
        self.learned = Some(slot);
        for (class, filed) in self.filed.iter_mut().enumerate() {
            while filed.front().is_some_and(|front| front.target <= slot) {
                let Some(front) = filed.pop_front() else {
                    break;
                };
                if front.target == slot && (front.scale > 0 || truth > 0) {
                    self.skill.settle(class, front.said, truth, front.scale);
                }
            }
        }
        let view = self.view(series, slot);
        self.grow_used_to(view, truth);
        for (filed, horizon) in self.filed.iter_mut().zip(HORIZONS) {
            let target = slot + i64::try_from(horizon).unwrap_or(DAY);
            let scale = view.scale(target);
            let said = view.all_ways(target, scale);
            if filed.len() < FILED_MAX {
                filed.push_back(Filed {
                    target,
                    scale,
                    said,
                });
            }
        }
    }

    fn grow_used_to(&mut self, view: View<'_>, truth: u64) {
        let scale = view.scale(view.as_of);
        if scale <= of_permille(view.top, TELLING_PERMILLE) {
            return;
        }
        let share = view.share_of(truth, scale, 1);
        let share_milli = i64::try_from(share * 1000).unwrap_or(0);
        self.usual_milli += (share_milli - self.usual_milli) / USUAL_SLOTS;
    }

    /// What to expect in a slot after `now`.
    #[must_use]
    pub fn bars(&self, series: &Series, now: i64, slot: i64) -> Bars {
        let Some(last) = series.last().map(|last| last.min(now)) else {
            return self.unknown(0);
        };
        let view = self.view(series, last);
        let scale = view.scale(slot);
        if scale == 0 {
            return self.unknown(0);
        }
        let horizon = usize::try_from(slot - last).unwrap_or(0);
        let class = class(horizon);
        let said = view.all_ways(slot, scale);
        let point = said[self.skill.best(class) as usize];
        let fresh = Bars {
            point,
            q10: self.quantile(class, 100, point, scale).unwrap_or(0),
            q30: self.quantile(class, 300, point, scale).unwrap_or(point / 2),
            q50: self.quantile(class, 500, point, scale).unwrap_or(point),
            q90: self.quantile(class, 900, point, scale).unwrap_or(scale),
        };
        self.faded(fresh, now - last, scale)
    }

    fn quantile(&self, class: usize, permille: u32, point: u64, scale: u64) -> Option<u64> {
        let off = self.skill.off_permille(class, permille)?;
        let off_by = of_permille(scale, off.unsigned_abs());
        let most = of_permille(scale, SHARE_MAX_PERMILLE).max(point);
        Some(match off {
            ..0 => point.saturating_sub(off_by),
            0.. => point.saturating_add(off_by).min(most),
        })
    }

    /// Nothing is known of the series: nothing is produced, and a grid is what it is in a year.
    fn unknown(&self, scale: u64) -> Bars {
        match self.kind {
            Kind::Carbon { yearly } => Bars {
                point: yearly,
                q10: yearly / 2,
                q30: yearly / 4 * 3,
                q50: yearly,
                q90: yearly.saturating_add(yearly / 2).max(scale),
            },
            Kind::Solar { .. } | Kind::Wind { .. } | Kind::Battery => Bars {
                q90: scale,
                ..Bars::default()
            },
        }
    }

    /// While a feed is silent its forecast turns into what is said without one.
    fn faded(&self, bars: Bars, silent_slots: i64, scale: u64) -> Bars {
        let silent = (silent_slots - FRESH_SLOTS).clamp(0, FADED_SLOTS - FRESH_SLOTS);
        let left = FADED_SLOTS - FRESH_SLOTS - silent;
        let share = MILLION * left.unsigned_abs() / (FADED_SLOTS - FRESH_SLOTS).unsigned_abs();
        let unknown = self.unknown(scale.max(bars.q90));
        let to = |fresh, unknown| weighed(fresh, unknown, share);
        let q10 = to(bars.q10, unknown.q10);
        let q30 = to(bars.q30, unknown.q30).max(q10);
        let q50 = to(bars.q50, unknown.q50).max(q30);
        Bars {
            point: to(bars.point, unknown.point),
            q10,
            q30,
            q50,
            q90: to(bars.q90, unknown.q90).max(q50),
        }
    }

    /// What each way says about a slot from what was known at `as_of`, in the order of `WAYS`;
    /// for comparisons.
    #[must_use]
    pub fn ways(&self, series: &Series, as_of: i64, slot: i64) -> [u64; WAYS.len()] {
        let view = self.view(series, as_of);
        view.all_ways(slot, view.scale(slot))
    }

    /// The way that is believed for a horizon.
    #[must_use]
    pub fn way(&self, horizon: usize) -> Way {
        self.skill.best(class(horizon))
    }
}
