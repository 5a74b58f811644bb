//! One host power out of many sources, with the reason for the choice.
//!
//! Does:      picks the best source that is fresh and believable, carries RAPL to the wall by a
//!            line learnt from wall meters, raises an alarm when two sources disagree for long.
//! Does not:  read meters (`meter`) or share the energy out (`ledger`).
//! Bounds:    `METERS_MAX` sources; every interval gives exactly one `Host`.
//! Trusts:    readings that passed their meter's gate; a wall meter only within what RAPL allows.
//! Start at:  `Fusion::host`.

mod fit;

pub use fit::Fit;

use crate::meter::{Class, METERS_MAX, Reading, SECOND, Uptime, Value, Zone};
use protocol::{Microjoules, Microwatts};
use std::fmt;

/// A value is fresh for this many of its source's periods.
const FRESH_PERIODS: u64 = 3;
/// A window of the line: this many periods of the wall meter, which is itself an average.
const WINDOW_PERIODS: u64 = 5;
/// Sources that differ by more for longer than the second raise the alarm.
const APART_PPM: u64 = 150_000;
const APART_NS: u64 = 300 * SECOND;
/// What the rest of a machine adds to its packages and memory where no wall meter ever told:
/// a third (Boavizta: 20 to 60 %), hence the wide bar.
const REST: (u64, u64) = (133, 100);
const REST_SIGMA_PPM: u32 = 150_000;
/// A wall meter that says more than this beyond the packages' power has a wrong scale.
const WALL_TIMES: u64 = 3;
const WALL_BEYOND: Microwatts = Microwatts::from_watts(400);

/// Why a power was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A wall or board meter alone.
    Meter,
    /// A wall or board meter, between whose values RAPL tells the shape.
    Shaped,
    /// RAPL's platform zone.
    Platform,
    /// Packages and memory, by the line learnt when a wall meter was there.
    Line,
    /// Packages and memory and a third for the rest: no wall meter was ever there.
    Packages,
    /// Nothing is measured.
    Model,
    /// A counter was lost sight of for a while.
    Gap,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Meter => "a meter at the wall or on the board",
            Self::Shaped => "a meter at the wall or on the board, between its values by RAPL",
            Self::Platform => "RAPL's platform zone: no wall meter answers",
            Self::Line => {
                "RAPL, carried to the wall by a line learnt from a meter that is silent now"
            }
            Self::Packages => {
                "RAPL of packages and memory, and a third for the rest: no wall meter"
            }
            Self::Model => "a model of this machine's load: no meter answers",
            Self::Gap => "a model of this machine's load: a counter was lost sight of",
        })
    }
}

/// What the host drew in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    pub energy: Microjoules,
    pub over_ns: u64,
    pub class: Class,
    pub sigma_ppm: u32,
    pub reason: Reason,
}

/// What a source with gauges said last.
#[derive(Debug, Clone, Copy)]
struct Gauge {
    power: Microwatts,
    before: Microwatts,
    class: Class,
    at: Uptime,
    period_ns: u64,
}

/// Counters since the last interval began.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    energy: Microjoules,
    over_ns: u64,
    gap: bool,
}

/// What a window of the line has gathered.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    packages: Microjoules,
    packages_ns: u64,
    walls: u64,
    wall_sum: u64,
    spoilt: bool,
}

/// The choice, and what it needs to remember.
#[derive(Debug, Default)]
pub struct Fusion {
    gauges: Vec<Option<Gauge>>,
    platform: Counted,
    packages: Counted,
    window: Window,
    fit: Fit,
    last: Option<Uptime>,
    apart_ns: u64,
    /// Values of wall meters that RAPL contradicts.
    pub disbelieved: u64,
    /// Intervals that a model had to fill.
    pub gaps: u64,
}

impl Fusion {
    /// The readings of one round of source number `source`.
    pub fn told(&mut self, now: Uptime, source: usize, period_ns: u64, readings: &[Reading]) {
        let mut sum: Option<(Microwatts, Class)> = None;
        let mut packages_ns = 0;
        for reading in readings {
            match (reading.zone, reading.value) {
                (Zone::Wall(_) | Zone::Board(_), value) => {
                    let power = value.power().unwrap_or_default();
                    let before = sum.map_or(Microwatts::ZERO, |(power, _)| power);
                    sum = Some((before.saturating_add(power), reading.class));
                }
                (Zone::Platform, value) => add(&mut self.platform, value),
                (Zone::Package(_) | Zone::Dram(_), value) => {
                    let before = self.packages.over_ns;
                    add(&mut self.packages, value);
                    // Zones of one round run over the same time.
                    packages_ns = packages_ns.max(self.packages.over_ns - before);
                    self.packages.over_ns = before;
                    match value {
                        Value::Counter { spent, .. } => {
                            self.window.packages = self.window.packages.saturating_add(spent);
                        }
                        _ => self.window.spoilt = true,
                    }
                }
                _ => {}
            }
        }
        self.packages.over_ns += packages_ns;
        self.window.packages_ns += packages_ns;
        if let Some((power, class)) = sum {
            self.gauge(now, source, period_ns, power, class);
        }
    }

    fn gauge(
        &mut self,
        now: Uptime,
        source: usize,
        period_ns: u64,
        power: Microwatts,
        class: Class,
    ) {
        if source >= METERS_MAX || !self.believable(power) {
            self.disbelieved += 1;
            return;
        }
        if self.gauges.len() <= source {
            self.gauges.resize(source + 1, None);
        }
        let before = self.gauges[source].map_or(power, |gauge| gauge.power);
        self.gauges[source] = Some(Gauge {
            power,
            before,
            class,
            at: now,
            period_ns,
        });
        if self.best_gauge(now).is_some_and(|(best, _)| best == source) {
            self.window.walls += 1;
            self.window.wall_sum = self.window.wall_sum.saturating_add(power.0);
            self.learn(period_ns);
        }
    }

    /// The wall gives at least what the packages take, and not ten times that.
    fn believable(&self, wall: Microwatts) -> bool {
        let packages = match (self.packages.gap, self.packages.energy) {
            (false, energy) => energy.over(self.packages.over_ns),
            _ => None,
        };
        packages.is_none_or(|packages| {
            let most = packages
                .0
                .saturating_mul(WALL_TIMES)
                .saturating_add(WALL_BEYOND.0);
            wall.0 >= packages.0 / 10 * 9 && wall.0 <= most
        })
    }

    fn learn(&mut self, period_ns: u64) {
        let window = self.window;
        if window.packages_ns < period_ns.saturating_mul(WINDOW_PERIODS) {
            return;
        }
        self.window = Window::default();
        let packages = window.packages.over(window.packages_ns);
        if let (Some(packages), false, 1..) = (packages, window.spoilt, window.walls) {
            self.fit
                .learn(packages, Microwatts(window.wall_sum / window.walls));
        }
    }

    fn best_gauge(&self, now: Uptime) -> Option<(usize, Gauge)> {
        let fresh =
            |gauge: &Gauge| now.since(gauge.at) <= gauge.period_ns.saturating_mul(FRESH_PERIODS);
        let gauges = self.gauges.iter().enumerate();
        let all = gauges.filter_map(|(at, gauge)| gauge.filter(fresh).map(|gauge| (at, gauge)));
        all.min_by_key(|(at, gauge)| (gauge.class, *at))
    }

    /// What the host drew since the last call; `model` is what it would draw at its load. The
    /// first call only sets the start.
    pub fn host(&mut self, now: Uptime, model: Microwatts, class: Class) -> Option<Host> {
        let since = self.last.replace(now);
        let platform = std::mem::take(&mut self.platform);
        let packages = std::mem::take(&mut self.packages);
        let over_ns = now.since(since?);
        if over_ns == 0 {
            return None;
        }
        let platform_power = whole(platform, over_ns);
        let package_power = whole(packages, over_ns);
        let line = package_power.and_then(|power| self.fit.wall(power));
        let best = self.best_gauge(now);
        self.compare(over_ns, best, platform_power, line);
        let (power, class, sigma_ppm, reason) = match (best, line, platform_power, package_power) {
            (Some((_, gauge)), Some(line), _, _) => {
                let sigma = gauge.class.sigma_ppm().max(self.fit.residual_ppm());
                (line, gauge.class, sigma, Reason::Shaped)
            }
            (Some((_, gauge)), None, _, _) => {
                // Between two values the power went from one to the other.
                let between = Microwatts(gauge.before.0 / 2 + gauge.power.0 / 2);
                let sigma = gauge.class.sigma_ppm();
                (between, gauge.class, sigma, Reason::Meter)
            }
            (None, _, Some(power), _) => (power, Class::Rapl, 60_000, Reason::Platform),
            (None, Some(line), None, _) => {
                let sigma = Class::Fitted.sigma_ppm().max(self.fit.residual_ppm());
                (line, Class::Fitted, sigma, Reason::Line)
            }
            (None, None, None, Some(power)) => {
                let power = Microwatts(power.0.saturating_mul(REST.0) / REST.1);
                (power, Class::Rapl, REST_SIGMA_PPM, Reason::Packages)
            }
            (None, None, None, None) => {
                let gap = platform.gap || packages.gap;
                self.gaps += u64::from(gap);
                let reason = if gap { Reason::Gap } else { Reason::Model };
                (model, class, class.sigma_ppm(), reason)
            }
        };
        Some(Host {
            energy: power.during(over_ns),
            over_ns,
            class,
            sigma_ppm,
            reason,
        })
    }

    /// Two sources of the same power, and for how long they have differed.
    fn compare(
        &mut self,
        over_ns: u64,
        best: Option<(usize, Gauge)>,
        platform: Option<Microwatts>,
        line: Option<Microwatts>,
    ) {
        let first = best.map(|(_, gauge)| gauge.power).or(platform);
        let second = match best {
            Some(_) => platform.or(line),
            None => line,
        };
        let Some((first, second)) = first.zip(second) else {
            return;
        };
        let apart = u128::from(first.0.abs_diff(second.0)) * 1_000_000;
        let apart = apart / u128::from(first.0.max(second.0).max(1));
        self.apart_ns = match apart > u128::from(APART_PPM) {
            true => self.apart_ns.saturating_add(over_ns),
            false => 0,
        };
    }

    /// Whether two sources have disagreed for too long. The lower one goes on being compared.
    #[must_use]
    pub fn alarm(&self) -> bool {
        self.apart_ns >= APART_NS
    }

    /// The line from packages to wall.
    #[must_use]
    pub fn fit(&self) -> &Fit {
        &self.fit
    }
}

fn add(counted: &mut Counted, value: Value) {
    match value {
        Value::Counter { spent, over_ns } => {
            counted.energy = counted.energy.saturating_add(spent);
            counted.over_ns = counted.over_ns.saturating_add(over_ns);
        }
        _ => counted.gap = true,
    }
}

/// The mean power, if the counters saw nearly all of the interval.
fn whole(counted: Counted, over_ns: u64) -> Option<Microwatts> {
    let seen = counted.over_ns >= over_ns / 2 && counted.over_ns <= over_ns.saturating_mul(2);
    match counted.gap || !seen {
        true => None,
        false => counted.energy.over(counted.over_ns),
    }
}
