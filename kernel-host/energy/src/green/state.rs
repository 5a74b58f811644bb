//! What a site tells all others about its next day, in less than a kilobyte.
//!
//! Does:      packs 96 quarter-hours of eight quantities into bytes with a scale; reads them back
//!            from strangers; says when there is news.
//! Does not:  send or sign (`overlay` does).
//! Bounds:    `BYTES_MAX` encoded. Values beyond a column's range are held at its end, on the
//!            careful side: production rounds down, draw and carbon round up.
//! Trusts:    nobody in `decode`: lengths, order of quantiles and ranges are checked once.
//! Start at:  `SiteState::pack`, `SiteState::decode`.

use super::{DAY_SLOTS, SLOT_S, Utc, forecast::Bars};
use protocol::Microwatts;
use serde::{Deserialize, Serialize};

/// Encoded bytes of a state.
pub const BYTES_MAX: usize = 1_000;
/// It is told anew at least this often.
pub const REPEAT_S: i64 = 900;
/// A change of this much of the largest value is news.
const NEWS_PERMILLE: u64 = 50;
/// Format of the encoded bytes.
const VERSION: u8 = 1;
/// One step of the carbon column: 4 g, so that 1,020 g fit. 0 means unknown.
const CARBON_STEP_MG: u64 = 4_000;
/// One step of the price column: 0.25 cents per kWh, so that 63 cents fit. 0 means unknown.
const PRICE_STEP_MICRO: u64 = 2_500;

/// Columns, in their order.
const Q10: usize = 0;
const Q30: usize = 1;
const Q50: usize = 2;
const Q90: usize = 3;
const DRAW: usize = 4;
const CARBON: usize = 5;
const PRICE: usize = 6;
const PUE: usize = 7;
const COLUMNS: usize = 8;

/// What holds at a site now, beside forecasts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// What the site's nodes draw together.
    pub draw: Microwatts,
    /// vCPUs that could still be sold.
    pub spare_vcpus: u32,
    /// Millionths of money per kWh; `None`: not known.
    pub price_micro: Option<u64>,
    /// Facility power over IT power, in hundredths above one: 25 is a PUE of 1.25.
    pub pue_percent: u8,
    /// What the battery holds when full, in watt-hours; 0 without one.
    pub battery_wh: u32,
}

/// One quarter-hour before it is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    pub produced: Bars,
    pub carbon: Option<u64>,
    pub charge_permille: Option<u64>,
}

/// A site's next day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteState {
    version: u8,
    /// The slot of the first row.
    first: i64,
    /// Milliwatts of one step of the production columns, and of the draw.
    produced_step_mw: u32,
    draw_step_mw: u32,
    pub spare_vcpus: u32,
    pub battery_wh: u32,
    /// How full the battery is; 0 when that is not known.
    charge_permille: u16,
    /// Column after column.
    columns: Vec<u8>,
}

/// Why bytes are no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    #[error("a site's state of {bytes} bytes: at most {BYTES_MAX} are read")]
    TooLong { bytes: usize },
    #[error("these bytes are no site's state")]
    Malformed,
    #[error("a site's state of version {version}: this node reads {VERSION}")]
    Version { version: u8 },
    #[error("a site's state that contradicts itself")]
    Inconsistent,
}

/// The smallest step in milliwatts with which `most` fits into a byte.
fn step_mw(most_uw: u64) -> u32 {
    let step = most_uw.div_ceil(255).div_ceil(1000).max(1);
    u32::try_from(step).unwrap_or(u32::MAX)
}

fn byte(value: u64) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

fn steps(value_uw: u64, step_mw: u32) -> u8 {
    byte(value_uw / (u64::from(step_mw) * 1000))
}

impl SiteState {
    /// Packs rows that begin at slot `first`.
    #[must_use]
    pub fn pack(first: i64, rows: &[Row], is: Now) -> Self {
        let most = rows.iter().map(|row| row.produced.q90).max().unwrap_or(0);
        let (produced, draw) = (step_mw(most), step_mw(is.draw.0));
        let mut columns = vec![0; COLUMNS * DAY_SLOTS];
        for (at, row) in rows.iter().take(DAY_SLOTS).enumerate() {
            let bars = row.produced;
            for (column, value) in [
                (Q10, steps(bars.q10, produced)),
                (Q30, steps(bars.q30.max(bars.q10), produced)),
                (Q50, steps(bars.q50.max(bars.q30).max(bars.q10), produced)),
                (
                    Q90,
                    steps(bars.q90.max(bars.q50).max(bars.q30).max(bars.q10), produced),
                ),
                (DRAW, byte(is.draw.0.div_ceil(u64::from(draw) * 1000))),
                (
                    CARBON,
                    byte(row.carbon.map_or(0, |mg| mg.div_ceil(CARBON_STEP_MG))),
                ),
                (
                    PRICE,
                    byte(
                        is.price_micro
                            .map_or(0, |price| price.div_ceil(PRICE_STEP_MICRO)),
                    ),
                ),
                (PUE, is.pue_percent),
            ] {
                columns[column * DAY_SLOTS + at] = value;
            }
        }
        let charge = rows
            .first()
            .and_then(|row| row.charge_permille)
            .unwrap_or(0);
        Self {
            version: VERSION,
            first,
            produced_step_mw: produced,
            draw_step_mw: draw,
            spare_vcpus: is.spare_vcpus,
            battery_wh: is.battery_wh,
            charge_permille: u16::try_from(charge.min(1000)).unwrap_or(0),
            columns,
        }
    }

    /// At most `BYTES_MAX` bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// Reads what a stranger sent. What it returns is consistent.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadState> {
        if bytes.len() > BYTES_MAX {
            return Err(BadState::TooLong { bytes: bytes.len() });
        }
        let (state, rest): (Self, _) =
            postcard::take_from_bytes(bytes).map_err(|_| BadState::Malformed)?;
        if state.version != VERSION {
            let version = state.version;
            return Err(BadState::Version { version });
        }
        let fits = state.columns.len() == COLUMNS * DAY_SLOTS && rest.is_empty();
        if !fits {
            return Err(BadState::Malformed);
        }
        let ordered = (0..DAY_SLOTS).all(|at| {
            let all = [Q10, Q30, Q50, Q90].map(|column| state.columns[column * DAY_SLOTS + at]);
            all.is_sorted()
        });
        let in_time = (0..Utc(i64::from(u32::MAX) * 2).slot()).contains(&state.first);
        let has_steps = state.produced_step_mw > 0 && state.draw_step_mw > 0;
        if !ordered || !in_time || !has_steps || state.charge_permille > 1000 {
            return Err(BadState::Inconsistent);
        }
        Ok(state)
    }

    /// The slot of the first row.
    #[must_use]
    pub const fn first(&self) -> i64 {
        self.first
    }

    fn column(&self, column: usize, slot: i64) -> Option<u8> {
        let at = usize::try_from(slot.checked_sub(self.first)?).ok()?;
        let row = (at < DAY_SLOTS).then_some(at)?;
        self.columns.get(column * DAY_SLOTS + row).copied()
    }

    fn power(&self, column: usize, slot: i64, step_mw: u32) -> Option<Microwatts> {
        let steps = self.column(column, slot)?;
        Some(Microwatts(u64::from(steps) * u64::from(step_mw) * 1000))
    }

    /// What is produced with 7 chances in 10, or more; `None` beyond the day.
    #[must_use]
    pub fn likely(&self, slot: i64) -> Option<Microwatts> {
        self.power(Q30, slot, self.produced_step_mw)
    }

    /// What is produced with even chances, or more.
    #[must_use]
    pub fn middle(&self, slot: i64) -> Option<Microwatts> {
        self.power(Q50, slot, self.produced_step_mw)
    }

    /// Facility power over IT power, in percent: 125 for 1.25.
    #[must_use]
    pub fn pue_percent(&self, slot: i64) -> u64 {
        100 + u64::from(self.column(PUE, slot).unwrap_or(0))
    }

    /// What the site's nodes draw, cooling and losses with them.
    #[must_use]
    pub fn draw(&self, slot: i64) -> Option<Microwatts> {
        let draw = self.power(DRAW, slot, self.draw_step_mw)?;
        Some(Microwatts(draw.0 / 100 * self.pue_percent(slot)))
    }

    /// Renewable power that nobody uses yet, with 7 chances in 10; none beyond the day.
    #[must_use]
    pub fn surplus(&self, slot: i64) -> Microwatts {
        match (self.likely(slot), self.draw(slot)) {
            (Some(likely), Some(draw)) => likely.saturating_sub(draw),
            _ => Microwatts::ZERO,
        }
    }

    /// The grid's carbon in mg CO2e per kWh; `None`: not known.
    #[must_use]
    pub fn carbon(&self, slot: i64) -> Option<u64> {
        let steps = self.column(CARBON, slot).filter(|steps| *steps > 0)?;
        Some(u64::from(steps) * CARBON_STEP_MG)
    }

    /// Millionths of money per kWh; `None`: not known.
    #[must_use]
    pub fn price_micro(&self, slot: i64) -> Option<u64> {
        let steps = self.column(PRICE, slot).filter(|steps| *steps > 0)?;
        Some(u64::from(steps) * PRICE_STEP_MICRO)
    }

    /// How full the battery is, in permille; 0 when that is not known.
    #[must_use]
    pub const fn charge_permille(&self) -> u16 {
        self.charge_permille
    }

    /// Whether others should hear of this state after having heard `told` at `told_at`.
    #[must_use]
    pub fn is_news(&self, told: Option<(&Self, Utc)>, now: Utc) -> bool {
        let Some((told, told_at)) = told else {
            return true;
        };
        now.0 - told_at.0 >= REPEAT_S || self.differs(told)
    }

    fn differs(&self, told: &Self) -> bool {
        let shared = self.first.max(told.first)..self.first.saturating_add(DAY_SLOTS as i64);
        let columns: [fn(&Self, i64) -> Option<u64>; 4] = [
            |state, slot| state.likely(slot).map(|power| power.0),
            |state, slot| state.middle(slot).map(|power| power.0),
            |state, slot| state.draw(slot).map(|power| power.0),
            Self::carbon,
        ];
        columns.into_iter().any(|column| {
            let both = || {
                shared
                    .clone()
                    .map(|slot| (column(self, slot), column(told, slot)))
            };
            let most = both().filter_map(|(ours, theirs)| ours.max(theirs)).max();
            let news = most.unwrap_or(0) / 1000 * NEWS_PERMILLE;
            both().any(|pair| matches!(pair, (Some(a), Some(b)) if a.abs_diff(b) > news))
        }) || self.spare_vcpus.abs_diff(told.spare_vcpus)
            > self.spare_vcpus.max(told.spare_vcpus) / 20
    }

    /// The moment at which its first row begins.
    #[must_use]
    pub const fn begins(&self) -> Utc {
        Utc((self.first - 1) * SLOT_S)
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, BadState, Bars, DAY_SLOTS, Now, Row, SiteState, Utc};
    use protocol::Microwatts;

    fn row(watts: u64) -> Row {
        let uw = watts * 1_000_000;
        Row {
            produced: Bars {
                point: uw,
                q10: uw / 4,
                q30: uw / 2,
                q50: uw,
                q90: uw * 2,
            },
            carbon: Some(56_001),
            charge_permille: Some(640),
        }
    }

    fn now() -> Now {
        Now {
            draw: Microwatts::from_watts(900),
            spare_vcpus: 40,
            price_micro: Some(180_000),
            pue_percent: 20,
            battery_wh: 5_000,
        }
    }

    fn sunny(watts: u64) -> SiteState {
        SiteState::pack(100, &[row(watts); DAY_SLOTS], now())
    }

    #[test]
    fn a_day_comes_back_on_the_careful_side_from_less_than_a_kilobyte() {
        let state = sunny(4_000);
        let bytes = state.encode();
        assert!(
            bytes.len() <= BYTES_MAX && bytes.len() > 768,
            "{}",
            bytes.len()
        );
        let read = SiteState::decode(&bytes).expect("it was just written");
        assert_eq!(read, state);
        let likely = read.likely(100).expect("it is in the day").0;
        assert!(
            (1_960_000_000..=2_000_000_000).contains(&likely),
            "{likely}"
        );
        let draw = read.draw(100).expect("it is in the day").0;
        assert!((1_080_000_000..=1_090_000_000).contains(&draw), "{draw}");
        assert_eq!(read.surplus(100).0, likely - draw);
        assert_eq!(read.carbon(100), Some(60_000)); // up to the next 4 g
        assert_eq!(
            (read.price_micro(195), read.price_micro(196)),
            (Some(180_000), None)
        );
        assert_eq!(read.charge_permille(), 640);
        assert_eq!(
            (read.surplus(99), read.surplus(196)),
            (Microwatts::ZERO, Microwatts::ZERO)
        );
    }

    #[test]
    fn bytes_that_contradict_themselves_are_refused() {
        let good = sunny(10);
        let mut worse = good.clone();
        worse.columns[0] = 255; // the lowest quantile above the others
        assert_eq!(
            SiteState::decode(&worse.encode()),
            Err(BadState::Inconsistent)
        );
        let mut short = good.clone();
        short.columns.pop();
        assert_eq!(SiteState::decode(&short.encode()), Err(BadState::Malformed));
        let mut next = good.clone();
        next.version = 2;
        let refused = Err(BadState::Version { version: 2 });
        assert_eq!(SiteState::decode(&next.encode()), refused);
        let mut long = good.encode();
        long.push(0);
        assert_eq!(SiteState::decode(&long), Err(BadState::Malformed));
        let long = vec![1; BYTES_MAX + 1];
        assert_eq!(
            SiteState::decode(&long),
            Err(BadState::TooLong { bytes: 1_001 })
        );
    }

    #[test]
    fn a_small_change_waits_and_a_big_one_does_not() {
        let told = (&sunny(4_000), Utc(1_000));
        let is_news = |state: &SiteState, after: i64| state.is_news(Some(told), Utc(1_000 + after));
        assert!(sunny(1).is_news(None, Utc(0)));
        assert!(!is_news(&sunny(4_000), 899));
        assert!(is_news(&sunny(4_000), 900));
        assert!(!is_news(&sunny(4_100), 1)); // 2.5 %
        assert!(is_news(&sunny(4_400), 1)); // 10 %
        let fewer = SiteState::pack(
            100,
            &[row(4_000); DAY_SLOTS],
            Now {
                spare_vcpus: 30,
                ..now()
            },
        );
        assert!(is_news(&fewer, 1));
    }
}
