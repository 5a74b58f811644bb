//! What a machine draws when it does nothing: the lower edge of what it was seen to draw.
//!
//! It goes down at once, since nothing draws less than idle, and up slowly, while the machine is
//! idle and draws more. Load never lifts it, and full load does not push it to zero.

use crate::meter::SECOND;
use protocol::Microwatts;

/// A machine is idle below this load.
const IDLE_PPM: u32 = 50_000;
/// How slowly the edge rises while the machine is idle.
const RISE_NS: u64 = 24 * 3_600 * SECOND;
/// Means over less see noise; the edge would end below the truth.
const WINDOW_NS: u64 = 30 * SECOND;

/// The edge.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    edge: Microwatts,
    seen: bool,
    sum: u128,
    load: u128,
    over_ns: u64,
}

impl Idle {
    /// Starts from a guess, which counts until the machine was seen.
    #[must_use]
    pub const fn new(guess: Microwatts) -> Self {
        Self {
            edge: guess,
            seen: false,
            sum: 0,
            load: 0,
            over_ns: 0,
        }
    }

    /// Power and load of an interval.
    pub fn see(&mut self, power: Microwatts, load_ppm: u32, over_ns: u64) {
        self.sum += u128::from(power.0) * u128::from(over_ns);
        self.load += u128::from(load_ppm) * u128::from(over_ns);
        self.over_ns = self.over_ns.saturating_add(over_ns);
        if self.over_ns < WINDOW_NS {
            return;
        }
        let over_ns = u128::from(self.over_ns);
        let mean = Microwatts(u64::try_from(self.sum / over_ns).unwrap_or(u64::MAX));
        let idle = self.load / over_ns < u128::from(IDLE_PPM);
        if mean < self.edge || (idle && !self.seen) {
            self.edge = mean;
        } else if idle {
            let rise = u128::from(mean.0 - self.edge.0) * over_ns / u128::from(RISE_NS);
            let rise = u64::try_from(rise).unwrap_or(0).min(mean.0 - self.edge.0);
            self.edge = self.edge.saturating_add(Microwatts(rise));
        }
        self.seen |= idle;
        (self.sum, self.load, self.over_ns) = (0, 0, 0);
    }

    #[must_use]
    pub const fn power(&self) -> Microwatts {
        self.edge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: u64 = 1_000_000;

    #[test]
    fn load_from_nothing_to_full_and_back_leaves_the_edge_where_it_is() {
        let mut idle = Idle::new(Microwatts(200 * W));
        let at = |percent: u32, idle: &mut Idle| {
            for _ in 0..120 {
                let power = 80 * W + 150 * W * u64::from(percent) / 100;
                idle.see(Microwatts(power), percent * 10_000, SECOND);
            }
            idle.power().0 / W
        };
        assert_eq!(
            at(60, &mut idle),
            170,
            "never idle yet: at most what was drawn"
        );
        for percent in [0, 30, 100, 70, 0] {
            assert_eq!(at(percent, &mut idle), 80, "at {percent} %");
        }
    }

    #[test]
    fn the_edge_rises_over_days_and_not_in_a_minute() {
        let mut idle = Idle::new(Microwatts(0));
        let mut hours = |watts: u64, hours: u64| {
            for _ in 0..hours * 120 {
                idle.see(Microwatts(watts * W), 10_000, 30 * SECOND);
            }
            idle.power().0 / W
        };
        assert_eq!(hours(80, 1), 80, "the first idle minute says where it is");
        assert!(hours(100, 1) < 82, "a disk that spins up is no new idle");
        assert!(hours(100, 72) > 98);
        assert_eq!(hours(70, 1), 70);
    }
}
