//! Power from load alone, where nothing is measured: a curve of eleven points.
//!
//! Does:      reads an operator's curve, or makes one from the processor's name and count; tells
//!            the power at a load between its points.
//! Does not:  learn. Its error bar says so: 10 % for a curve of this kind of machine, 30 % for
//!            one made from rated power.
//! Bounds:    eleven points, from 0 % to 100 %.
//! Trusts:    the operator for a curve; `/proc/cpuinfo` for a name.
//! Start at:  `Curve::of_machine`.

use super::decimal::unsigned_millionths;
use super::{Answer, Class, Fault, Reading, Readings, Rhythm, Round, SECOND, Source};
use super::{Uptime, Value, Wish, Zone};
use protocol::{ByteCount, Microwatts};

/// Power at 0, 10, ... 100 % load, never falling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curve {
    points: [Microwatts; 11],
    class: Class,
    /// In a person's words.
    pub origin: String,
}

/// Rated power of one package, by a part of the processor's name (codecarbon's list, MIT).
/// Names with a letter behind the number stand before the bare number.
#[rustfmt::skip] // keeps the columns
const RATED: &[(&str, u32)] = &[
    ("EPYC 7302", 155),  ("EPYC 7543", 225),  ("EPYC 7742", 225),  ("EPYC 7763", 280),
    ("EPYC 9354", 280),  ("EPYC 9654", 360),  ("Ryzen 9 5950X", 105), ("Ryzen 9 7950X", 170),
    ("Gold 6130", 125),  ("Gold 6240R", 165), ("Gold 6240", 150),  ("Gold 6248R", 205),
    ("Gold 6248", 150),  ("Gold 6338N", 185), ("Gold 6338T", 165), ("Gold 6338", 205),
    ("Platinum 8280", 205), ("Platinum 8380", 270), ("Platinum 8480", 350), ("Silver 4314", 135),
    ("D-1541", 45),      ("E5-2630 v3", 85),  ("E5-2680 v4", 120), ("i5-8250U", 15),
    ("i7-8700", 65),     ("N100", 6),
];

/// Shape of a package's power over load, in thousandths of the rated power: the log curve
/// `a ln(b (u + c)) + d` that Boavizta fitted to a Xeon Gold.
const SHAPE: [u64; 11] = [257, 474, 600, 689, 758, 814, 861, 902, 938, 971, 1000];
/// A logical processor of an unknown kind, rated: between a server's 2 and a desktop's 6 W.
const THREAD: Microwatts = Microwatts::from_watts(4);
/// Memory, for each GiB.
const GIB: Microwatts = Microwatts(300_000);
/// Everything that is neither processor nor memory adds a third (Boavizta: 20 to 60 %).
const REST: (u64, u64) = (133, 100);

/// What is known of a machine.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// `model name` of `/proc/cpuinfo`.
    pub processor: &'a str,
    pub packages: u32,
    /// Logical processors.
    pub threads: u32,
    pub memory: ByteCount,
}

impl Curve {
    /// Eleven powers in watts, for 0 to 100 % load: `60,75,85,...`.
    ///
    /// # Errors
    /// When it has other than eleven points, one that is no amount, or one that falls.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let odd = |why: &str| Fault::nonsense("the power curve", why);
        let points: Option<Vec<Microwatts>> = text
            .split(',')
            .map(|watts| unsigned_millionths(watts).map(Microwatts))
            .collect();
        let points = points.ok_or_else(|| odd("a point is no amount of watts"))?;
        let points: [Microwatts; 11] = points
            .try_into()
            .map_err(|_| odd("it needs eleven points, for 0, 10, ... 100 % load"))?;
        if points.windows(2).any(|two| two[0] > two[1]) || points[0] == Microwatts::ZERO {
            return Err(odd("it starts at zero or falls"));
        }
        Ok(Self {
            points,
            class: Class::Curve,
            origin: "the operator's curve".to_owned(),
        })
    }

    /// A curve from what is known of the machine; it is a guess, and its class says so.
    #[must_use]
    pub fn of_machine(machine: &Machine<'_>) -> Self {
        let known = RATED
            .iter()
            .find(|(part, _)| machine.processor.contains(part));
        let (rated, origin) = match known {
            Some((part, watts)) => {
                let packages = machine.packages.max(1);
                let rated = Microwatts::from_watts(watts.saturating_mul(packages));
                (
                    rated.0,
                    format!("rated power of {packages} x {part}, and load"),
                )
            }
            None => {
                let threads = machine.threads.max(1);
                let rated = THREAD.0.saturating_mul(threads.into());
                (
                    rated,
                    format!("{threads} processors of an unknown kind, and load"),
                )
            }
        };
        let gib = machine.memory.get() >> 20;
        let memory = u128::from(GIB.0) * u128::from(gib) / 1024;
        let memory = u64::try_from(memory).unwrap_or(u64::MAX);
        let points = SHAPE.map(|thousandths| {
            let package = rated / 1000 * thousandths;
            let whole = package.saturating_add(memory);
            Microwatts(whole.saturating_mul(REST.0) / REST.1)
        });
        Self {
            points,
            class: Class::Guess,
            origin,
        }
    }

    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The power at this load.
    #[must_use]
    pub fn at(&self, load_ppm: u32) -> Microwatts {
        let load = u64::from(load_ppm.min(1_000_000));
        let (left, part) = (load / 100_000, load % 100_000);
        let left = usize::try_from(left).unwrap_or(10);
        let from = self.points[left].0;
        let to = self.points[(left + 1).min(10)].0;
        let rise = u128::from(to - from) * u128::from(part) / 100_000;
        Microwatts(from + u64::try_from(rise).unwrap_or(0))
    }
}

/// The driver: a reading whenever the load is known.
#[derive(Debug)]
pub struct Modelled {
    curve: Curve,
    period_ns: u64,
}

impl Modelled {
    #[must_use]
    pub const fn new(curve: Curve, period_ns: u64) -> Self {
        Self { curve, period_ns }
    }
}

impl Source for Modelled {
    fn name(&self) -> &str {
        "model"
    }

    fn rhythm(&self) -> Rhythm {
        Rhythm {
            period_ns: self.period_ns,
            deadline_ns: SECOND,
            most: Microwatts(u64::MAX),
        }
    }

    fn begin(&mut self) {}

    fn wish(&mut self) -> Result<Wish, Fault> {
        Ok(Wish::Load)
    }

    fn take(&mut self, _: Uptime, answer: Answer<'_>, out: &mut Readings) -> Result<Round, Fault> {
        let Answer::Load { ppm } = answer else {
            return Err(Fault::nonsense("model", "an answer that is no load"));
        };
        let value = Value::Average {
            power: self.curve.at(ppm),
            window_ns: self.period_ns,
        };
        out.push(Reading::new(Zone::Modelled, self.curve.class(), value));
        Ok(Round::Done)
    }
}
