//! The line from RAPL to the wall: `wall = a + b * packages`, learnt while a wall meter is there.
//!
//! Does:      least squares over windows, old ones fading, in integers; knows its own residual.
//! Does not:  choose windows (`fusion` does).
//! Bounds:    six sums.
//! Trusts:    windows that passed `fusion`'s check against each other.
//! Start at:  `Fit::learn`.

use protocol::Microwatts;

/// A window fades to half after 44 others: twenty minutes of a slow BMC.
const FADE: i128 = 64;
/// One window's weight when it is new.
const NEW: i128 = 1 << 16;
/// Below this many windows the line is not used.
const WINDOWS_MIN: u32 = 5;
/// Load must have moved by about this for a slope of one's own, in milliwatts.
const SPREAD_MW: i128 = 5_000;
/// The slope until then: a power supply's loss.
const SLOPE_PPM: i128 = 1_150_000;
/// A slope outside is no power supply and no fan.
const SLOPES_PPM: std::ops::RangeInclusive<i128> = 900_000..=3_000_000;

/// The line and how well it fits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fit {
    windows: u32,
    weight: i128,
    x: i128,
    y: i128,
    xx: i128,
    xy: i128,
    residual_ppm: u32,
}

impl Fit {
    /// Means of one window.
    pub fn learn(&mut self, packages: Microwatts, wall: Microwatts) {
        if let Some(foretold) = self.wall(packages) {
            let off = u128::from(foretold.0.abs_diff(wall.0)) * 1_000_000;
            let off = off / u128::from(wall.0.max(1));
            let off = i64::try_from(off).unwrap_or(i64::MAX).min(1_000_000);
            let old = i64::from(self.residual_ppm);
            self.residual_ppm = u32::try_from(old + (off - old) / 8).unwrap_or(0);
        }
        let (x, y) = (milliwatts(packages), milliwatts(wall));
        let fade = |sum: &mut i128, new: i128| *sum += new - *sum / FADE;
        fade(&mut self.weight, NEW);
        fade(&mut self.x, x * NEW);
        fade(&mut self.y, y * NEW);
        fade(&mut self.xx, x * x * NEW);
        fade(&mut self.xy, x * y * NEW);
        self.windows = self.windows.saturating_add(1);
    }

    /// What the wall gives when the packages draw this; `None` before it has learnt.
    #[must_use]
    pub fn wall(&self, packages: Microwatts) -> Option<Microwatts> {
        if self.windows < WINDOWS_MIN {
            return None;
        }
        let (mean_x, mean_y) = (self.x / self.weight, self.y / self.weight);
        let slope = self.slope().unwrap_or(SLOPE_PPM);
        let wall = mean_y + (milliwatts(packages) - mean_x) * slope / 1_000_000;
        // Whatever the line says: the packages' own power comes through the wall.
        let wall = wall.max(milliwatts(packages));
        Some(Microwatts(u64::try_from(wall * 1000).unwrap_or(u64::MAX)))
    }

    /// In millionths; `None` while the load has hardly moved.
    fn slope(&self) -> Option<i128> {
        let spread = self.weight * self.xx - self.x * self.x;
        let enough = SPREAD_MW * SPREAD_MW * self.weight * self.weight;
        if spread < enough {
            return None;
        }
        let together = self.weight * self.xy - self.x * self.y;
        // Both are sums of squares in milliwatts: shifted so that the product has room.
        let slope = (together >> 20) * 1_000_000 / (spread >> 20).max(1);
        Some(slope.clamp(*SLOPES_PPM.start(), *SLOPES_PPM.end()))
    }

    /// The mean of what it was off by lately, in millionths.
    #[must_use]
    pub fn residual_ppm(&self) -> u32 {
        self.residual_ppm
    }
}

fn milliwatts(power: Microwatts) -> i128 {
    // No machine draws 100 kW; the sums have room for it.
    i128::from((power.0 / 1000).min(100_000_000))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_is_found_again() {
        let mut fit = Fit::default();
        let truth = |watts: u32| Microwatts(40_000_000 + u64::from(watts) * 1_250_000);
        for round in 0..60 {
            let watts = 50 + (round * 37) % 200;
            fit.learn(Microwatts::from_watts(watts), truth(watts));
        }
        for watts in [50, 120, 260] {
            let off = fit
                .wall(Microwatts::from_watts(watts))
                .unwrap()
                .0
                .abs_diff(truth(watts).0);
            assert!(off < 100_000, "{watts} W: off by {off} uW");
        }
        assert!(fit.residual_ppm() < 1_000);
    }

    #[test]
    fn a_steady_load_teaches_an_offset_and_no_slope() {
        let mut fit = Fit::default();
        assert_eq!(fit.wall(Microwatts::from_watts(100)), None);
        for _ in 0..20 {
            fit.learn(Microwatts::from_watts(100), Microwatts::from_watts(160));
        }
        let at = |watts| fit.wall(Microwatts::from_watts(watts)).unwrap().0 / 1_000_000;
        assert_eq!(at(100), 160);
        assert_eq!(at(200), 275, "a power supply's slope");
    }
}
