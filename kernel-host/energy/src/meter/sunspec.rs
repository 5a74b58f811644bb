//! Inverters and batteries that speak SunSpec over Modbus TCP.
//!
//! Does:      finds the chain of models once, then reads inverter (101-103, 111-113) and battery
//!            (802), each with its scale factors in one frame; takes the battery's part out of
//!            what a hybrid inverter feeds in.
//! Does not:  know whether the sun is up (`green` does), or write anything.
//! Bounds:    `MODELS_MAX` models of a chain, one frame of 125 registers each.
//! Trusts:    nobody: a model that moved is looked for again; values of all ones are none.
//! Start at:  `Sunspec::take`, then `Inverter::parse`.

use super::modbus;
use super::{Answer, Class, Fault, Reading, Readings, Rhythm, Round, SECOND, Source};
use super::{Uptime, Value, Way, Wish, Zone};
use protocol::Microwatts;
use std::net::SocketAddr;

/// An inverter has about ten models.
const MODELS_MAX: u32 = 24;
/// Models that are read: an inverter as integers and as floats, and a battery.
const PARTS_MAX: usize = 3;
/// Where the chain may start.
const BASES: [u16; 3] = [40_000, 50_000, 0];
const MARK: [u16; 2] = [0x5375, 0x6E53]; // "SunS"
const END: u16 = 0xFFFF;

/// A model and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Model {
    id: u16,
    at: u16,
    length: u16,
}

/// What was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Base(usize),
    Head(u16),
    Model(usize),
}

/// The driver.
#[derive(Debug)]
pub struct Sunspec {
    name: String,
    at: SocketAddr,
    unit: u8,
    nameplate: Microwatts,
    models: Vec<Model>,
    heads: u32,
    transaction: u16,
    asked: Asked,
    next: Asked,
    inverter: Option<Inverter>,
    battery: Option<Battery>,
}

/// What an inverter says: watts into the house, negative when it takes some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inverter {
    pub microwatts: i64,
}

/// What a battery says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Battery {
    pub charging: Microwatts,
    pub discharging: Microwatts,
    pub stored_ppm: Option<u32>,
}

impl Sunspec {
    /// `nameplate` is the most the inverter gives; more than 1.2 times that is no value.
    #[must_use]
    pub fn new(at: SocketAddr, unit: u8, nameplate: Microwatts) -> Self {
        Self {
            name: format!("sunspec {}", at.ip()),
            at,
            unit,
            nameplate,
            models: Vec::new(),
            heads: 0,
            transaction: 0,
            asked: Asked::Nothing,
            next: Asked::Nothing,
            inverter: None,
            battery: None,
        }
    }

    /// From where and how many registers.
    fn span(&self, asked: Asked) -> (u16, u16) {
        match asked {
            Asked::Nothing => (0, 0),
            Asked::Base(which) => (BASES[which], 2),
            Asked::Head(at) => (at, 2),
            Asked::Model(which) => {
                let model = self.models.get(which);
                model.map_or((0, 0), |model| {
                    let count = model.length.saturating_add(2);
                    (model.at, count.min(modbus::REGISTERS_MAX))
                })
            }
        }
    }

    fn got_base(&mut self, which: usize, registers: &[u16]) -> Result<Asked, Fault> {
        if registers == MARK {
            return Ok(Asked::Head(BASES[which] + 2));
        }
        match which + 1 < BASES.len() {
            true => Ok(Asked::Base(which + 1)),
            false => Err(Fault::Absent {
                what: "a SunSpec map".to_owned(),
            }),
        }
    }

    /// A model's id and length; the chain's end is an id of all ones.
    fn got_head(&mut self, at: u16, registers: &[u16]) -> Result<Asked, Fault> {
        let lost = || Fault::nonsense("the SunSpec map", "its chain has no end");
        let &[id, length] = registers else {
            return Err(lost());
        };
        self.heads += 1;
        if id == END {
            return match self.models.is_empty() {
                true => Err(Fault::Absent {
                    what: "an inverter or battery in the SunSpec map".to_owned(),
                }),
                false => Ok(Asked::Model(0)),
            };
        }
        if matches!(id, 101..=103 | 111..=113 | 802) && self.models.len() < PARTS_MAX {
            self.models.push(Model { id, at, length });
        }
        let next = at.checked_add(2).and_then(|at| at.checked_add(length));
        match next.filter(|_| self.heads < MODELS_MAX && length > 0) {
            Some(next) => Ok(Asked::Head(next)),
            None => Err(lost()),
        }
    }

    fn got_model(&mut self, which: usize, registers: &[u16]) -> Result<Asked, Fault> {
        let Some(&model) = self.models.get(which) else {
            return Err(Fault::nonsense("sunspec", "nothing was asked"));
        };
        if registers.get(..2) != Some(&[model.id, model.length]) {
            // The map is another one now: never read values at old places.
            self.models.clear();
            return Err(Fault::nonsense("the SunSpec map", "a model has moved"));
        }
        let points = &registers[2..];
        match model.id {
            802 => self.battery = Some(Battery::parse(points)?),
            id => self.inverter = Some(Inverter::parse(id, points)?),
        }
        match which + 1 < self.models.len() {
            true => Ok(Asked::Model(which + 1)),
            false => Ok(Asked::Nothing),
        }
    }

    /// What the sun gives is what is fed in, without what the battery gives, and with what it
    /// takes.
    fn tell(&self, out: &mut Readings) -> Result<(), Fault> {
        let say = |zone, value| Reading::new(zone, Class::Wall, value);
        if let Some(battery) = self.battery {
            out.push(say(Zone::Charging, Value::Gauge(battery.charging)));
            out.push(say(Zone::Discharging, Value::Gauge(battery.discharging)));
            if let Some(ppm) = battery.stored_ppm {
                out.push(say(Zone::Stored, Value::Share { ppm }));
            }
        }
        if let Some(inverter) = self.inverter {
            let signed = |power: Microwatts| i64::try_from(power.0).unwrap_or(i64::MAX);
            let (out_of, into) = match self.battery {
                Some(battery) => (signed(battery.discharging), signed(battery.charging)),
                None => (0, 0),
            };
            let sun = inverter
                .microwatts
                .saturating_sub(out_of)
                .saturating_add(into);
            let sun = Microwatts(u64::try_from(sun).unwrap_or(0));
            if sun.0 > self.nameplate.0.saturating_mul(6) / 5 {
                return Err(Fault::Implausible {
                    what: "the inverter's power".to_owned(),
                    watts: sun.0 / 1_000_000,
                });
            }
            out.push(say(Zone::Sun, Value::Gauge(sun)));
        }
        Ok(())
    }
}

/// An integer with a scale factor of the same frame, in millionths. All of `none` means none.
fn scaled(points: &[u16], at: usize, factor_at: usize) -> Option<i64> {
    let value = i64::from(points.get(at)?.cast_signed());
    let factor = points.get(factor_at)?.cast_signed();
    if value == i64::from(i16::MIN) || !(-10..=10).contains(&factor) {
        return None;
    }
    let places = i32::from(factor) + 6;
    let tens = 10_i64.checked_pow(places.unsigned_abs())?;
    match places < 0 {
        true => Some(value / tens),
        false => value.checked_mul(tens),
    }
}

/// An IEEE 754 single in millionths, by its bits: not a number, the infinite and the vast are none.
fn single(points: &[u16], at: usize) -> Option<i64> {
    let bits = u32::from(*points.get(at)?) << 16 | u32::from(*points.get(at + 1)?);
    let exponent = i32::try_from((bits >> 23) & 0xFF).ok()?;
    let fraction = i128::from(bits & 0x7F_FFFF);
    let mantissa = match exponent {
        0xFF => return None,
        0 => fraction,
        _ => fraction | 0x80_0000,
    };
    let shift = exponent.max(1) - 150;
    let value = mantissa * 1_000_000;
    let value = match shift {
        ..=-120 => 0,
        -119..=-1 => value >> shift.unsigned_abs(),
        0..=40 => value.checked_shl(shift.unsigned_abs())?,
        _ => return None,
    };
    let value = i64::try_from(value).ok()?;
    Some(if bits >> 31 == 1 { -value } else { value })
}

impl Inverter {
    /// Reads the points of a model 101-103 or 111-113.
    ///
    /// # Errors
    /// When it has no power to tell.
    pub fn parse(id: u16, points: &[u16]) -> Result<Self, Fault> {
        const WATTS: (usize, usize) = (12, 13);
        const WATTS_SINGLE: usize = 20;
        let found = match id {
            111..=113 => single(points, WATTS_SINGLE),
            // 65,535 is what some send at dusk; as a signed value it would be -1.
            _ if points.get(WATTS.0) == Some(&0xFFFF) => None,
            _ => scaled(points, WATTS.0, WATTS.1),
        };
        let microwatts = found.ok_or_else(|| Fault::Absent {
            what: "the inverter's power".to_owned(),
        })?;
        Ok(Self { microwatts })
    }
}

impl Battery {
    /// Reads the points of model 802. Its state says the direction where it knows one; makers do
    /// not agree on the sign.
    ///
    /// # Errors
    /// When it has no power to tell.
    pub fn parse(points: &[u16]) -> Result<Self, Fault> {
        const CHARGE: (usize, usize) = (9, 54);
        const WATTS: (usize, usize) = (45, 61);
        const STATE: usize = 14;
        let watts = scaled(points, WATTS.0, WATTS.1).ok_or_else(|| Fault::Absent {
            what: "the battery's power".to_owned(),
        })?;
        let amount = Microwatts(watts.unsigned_abs());
        let discharges = match points.get(STATE) {
            Some(3) => true,
            Some(4) => false,
            _ => watts > 0,
        };
        let (charging, discharging) = match discharges {
            true => (Microwatts::ZERO, amount),
            false => (amount, Microwatts::ZERO),
        };
        // Hundredths in millionths are percent times ten thousand.
        let percent = points.get(CHARGE.0).filter(|raw| **raw != 0xFFFF);
        let stored = percent.and_then(|_| scaled(points, CHARGE.0, CHARGE.1));
        let stored = stored.and_then(|stored| u32::try_from(stored / 100).ok());
        Ok(Self {
            charging,
            discharging,
            stored_ppm: stored.filter(|ppm| *ppm <= 1_000_000),
        })
    }
}

impl Source for Sunspec {
    fn name(&self) -> &str {
        &self.name
    }

    fn rhythm(&self) -> Rhythm {
        Rhythm {
            period_ns: 10 * SECOND,
            deadline_ns: 8 * SECOND,
            most: Microwatts(self.nameplate.0.saturating_mul(6) / 5),
        }
    }

    fn begin(&mut self) {
        self.inverter = None;
        self.battery = None;
        self.asked = Asked::Nothing;
        self.next = match self.models.is_empty() {
            true => Asked::Base(0),
            false => Asked::Model(0),
        };
    }

    fn wish(&mut self) -> Result<Wish, Fault> {
        if let Asked::Base(0) = self.next {
            self.models.clear();
            self.heads = 0;
        }
        self.asked = self.next;
        self.transaction = self.transaction.wrapping_add(1);
        let (from, count) = self.span(self.asked);
        Ok(Wish::Exchange {
            way: Way::Stream(self.at),
            bytes: modbus::request(self.transaction, self.unit, from, count),
        })
    }

    fn take(&mut self, _: Uptime, answer: Answer<'_>, out: &mut Readings) -> Result<Round, Fault> {
        let Answer::Bytes { bytes, .. } = answer else {
            return Err(Fault::nonsense("sunspec", "an answer that is no bytes"));
        };
        let (_, count) = self.span(self.asked);
        let found = modbus::parse(bytes, self.transaction, self.unit, count);
        let registers = match (found, self.asked) {
            (Ok(None), _) => return Ok(Round::ReadOn),
            (Ok(Some(registers)), _) => registers,
            // Most devices have only one of the bases, and an exception at the others.
            (Err(Fault::Refused { .. }), Asked::Base(_)) => Vec::new(),
            (Err(fault), _) => {
                self.models.clear();
                return Err(fault);
            }
        };
        self.next = match self.asked {
            Asked::Nothing => return Err(Fault::nonsense("sunspec", "nothing was asked")),
            Asked::Base(which) => self.got_base(which, &registers)?,
            Asked::Head(at) => self.got_head(at, &registers)?,
            Asked::Model(which) => self.got_model(which, &registers)?,
        };
        if self.next != Asked::Nothing {
            return Ok(Round::Next);
        }
        self.tell(out)?;
        Ok(Round::Done)
    }
}
