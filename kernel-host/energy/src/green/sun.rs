//! Where the sun stands, from Spencer's series: enough to know when it is night.
//!
//! The elevation is good to about half a degree; `HORIZON_DEG` leaves that much room and what the
//! air bends, so that a real panel's first milliwatts are not cut off.

use super::Utc;
use std::f64::consts::PI;

/// Below this the sun gives nothing.
const HORIZON_DEG: f64 = -1.5;

/// A place on Earth, in thousandths of a degree: north and east are positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    pub latitude_milli: i32,
    pub longitude_milli: i32,
}

impl Location {
    /// Cosine of the sun's distance from the zenith.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "days and seconds are small")]
    pub fn cos_zenith(self, at: Utc) -> f64 {
        let (day, second) = at.day_and_second();
        let hour = second as f64 / 3600.0;
        let turn = 2.0 * PI * (day as f64 + (hour - 12.0) / 24.0) / 365.0;
        let tilt = 0.006_918 - 0.399_912 * turn.cos() + 0.070_257 * turn.sin()
            - 0.006_758 * (2.0 * turn).cos()
            + 0.000_907 * (2.0 * turn).sin()
            - 0.002_697 * (3.0 * turn).cos()
            + 0.001_48 * (3.0 * turn).sin();
        let equation_min = 229.18
            * (0.000_075 + 0.001_868 * turn.cos()
                - 0.032_077 * turn.sin()
                - 0.014_615 * (2.0 * turn).cos()
                - 0.040_849 * (2.0 * turn).sin());
        let longitude = f64::from(self.longitude_milli) / 1000.0;
        let solar_min = hour * 60.0 + equation_min + 4.0 * longitude;
        let hour_angle = (solar_min / 4.0 - 180.0).to_radians();
        let latitude = (f64::from(self.latitude_milli) / 1000.0).to_radians();
        latitude.sin() * tilt.sin() + latitude.cos() * tilt.cos() * hour_angle.cos()
    }

    /// Whether the sun may shine at any time in the quarter-hour that ends here.
    #[must_use]
    pub fn may_shine(self, end: Utc) -> bool {
        let limit = HORIZON_DEG.to_radians().sin();
        [0, -super::SLOT_S]
            .iter()
            .any(|back| self.cos_zenith(end.plus_s(*back)) > limit)
    }

    /// What falls on flat ground under a clear sky (Haurwitz), in W/m².
    #[must_use]
    pub fn clear_sky(self, at: Utc) -> f64 {
        let cos = self.cos_zenith(at);
        if cos <= 0.0 {
            return 0.0;
        }
        1098.0 * cos * (-0.059 / cos).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::{Location, Utc};

    const PARIS: Location = Location {
        latitude_milli: 48_857,
        longitude_milli: 2_352,
    };
    const TROMSO: Location = Location {
        latitude_milli: 69_650,
        longitude_milli: 18_956,
    };

    fn at(text: &str) -> Utc {
        text.parse().expect("the test writes dates")
    }

    /// Against almanac values: sunrise in Paris on 21 June 2026 is at 03:47 UTC, sunset on
    /// 21 December at 15:56 UTC; at noon in June the sun stands 64.6 degrees high.
    #[test]
    fn the_sun_keeps_to_the_almanac() {
        assert!(!PARIS.may_shine(at("2026-06-21T03:00:00Z")));
        assert!(PARIS.may_shine(at("2026-06-21T03:50:00Z")));
        assert!(PARIS.may_shine(at("2026-12-21T15:50:00Z")));
        assert!(!PARIS.may_shine(at("2026-12-21T16:45:00Z")));
        let noon = PARIS.cos_zenith(at("2026-06-21T11:53:00Z"));
        let elevation = noon.asin().to_degrees();
        assert!((elevation - 64.6).abs() < 0.5, "{elevation}");
    }

    #[test]
    fn beyond_the_circle_a_day_may_have_no_night_or_no_day() {
        let hours = |day: &str| {
            (0..24)
                .filter(|hour| TROMSO.may_shine(at(&format!("{day}T{hour:02}:00:00Z"))))
                .count()
        };
        assert_eq!((hours("2026-06-21"), hours("2026-12-21")), (24, 0));
    }

    #[test]
    fn a_clear_noon_is_bright_and_a_night_is_dark() {
        let noon = PARIS.clear_sky(at("2026-06-21T11:53:00Z"));
        assert!((900.0..960.0).contains(&noon), "{noon}");
        assert!(PARIS.clear_sky(at("2026-06-21T23:00:00Z")).abs() < f64::EPSILON);
    }
}
