//! An uninterruptible power supply by NUT's line protocol (TCP 3493).
//!
//! Does:      asks for all variables of one UPS; reads its real power and its battery's charge.
//! Does not:  log in, or command anything.
//! Bounds:    an answer of `ANSWER_BYTES_MAX`.
//! Trusts:    nobody. `ups.power` is in VA and never taken for watts.
//! Start at:  `parse`.

use super::decimal::unsigned_millionths;
use super::{Answer, Class, Fault, Reading, Readings, Rhythm, Round, SECOND, Source};
use super::{Uptime, Value, Way, Wish, Zone};
use protocol::Microwatts;
use std::net::SocketAddr;

/// The driver.
#[derive(Debug)]
pub struct Nut {
    name: String,
    at: SocketAddr,
    ups: String,
    zone: Zone,
}

impl Nut {
    /// `zone` says what hangs behind the UPS: `Zone::Wall` if it is this machine alone, else
    /// `Zone::Ups`. Refuses a name that the protocol has no room for.
    #[must_use]
    pub fn new(at: SocketAddr, ups: &str, zone: Zone) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let good = (1..=64).contains(&ups.len()) && ups.chars().all(plain);
        good.then(|| Self {
            name: format!("ups {ups} {}", at.ip()),
            at,
            ups: ups.to_owned(),
            zone,
        })
    }
}

/// What a UPS says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    pub real: Option<Microwatts>,
    pub charge_ppm: Option<u32>,
}

/// Reads the list of variables; `None` while its end is missing.
///
/// # Errors
/// When the server refused or speaks something else.
pub fn parse(text: &[u8]) -> Result<Option<Said>, Fault> {
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let text = std::str::from_utf8(&text[..whole])
        .map_err(|_| Fault::nonsense("the UPS server", "its answer is no text"))?;
    let (mut real, mut load, mut nominal, mut charge) = (None, None, None, None);
    for line in text.lines() {
        if let Some(why) = line.strip_prefix("ERR ") {
            let why = protocol::limits::shortened(why, 60);
            return Err(Fault::Refused { why });
        }
        if line.starts_with("END LIST VAR ") {
            let by_load = || {
                let share = u128::from(load?) * u128::from(nominal?) / 100_000_000;
                u64::try_from(share).ok()
            };
            return Ok(Some(Said {
                real: real.or_else(by_load).map(Microwatts),
                charge_ppm: charge.and_then(|percent: u64| {
                    u32::try_from(percent / 100)
                        .ok()
                        .filter(|ppm| *ppm <= 1_000_000)
                }),
            }));
        }
        if line.starts_with("BEGIN LIST VAR ") {
            continue;
        }
        let Some((name, value)) = variable(line) else {
            return Err(Fault::nonsense(
                "the UPS server",
                "a line that is no variable",
            ));
        };
        let wanted = match name {
            "ups.realpower" => &mut real,
            "ups.load" => &mut load,
            "ups.realpower.nominal" => &mut nominal,
            "battery.charge" => &mut charge,
            _ => continue,
        };
        *wanted = unsigned_millionths(value);
    }
    Ok(None)
}

/// `VAR ups name "value"`.
fn variable(line: &str) -> Option<(&str, &str)> {
    let mut parts = line.strip_prefix("VAR ")?.splitn(3, ' ');
    let (_, name, value) = (parts.next()?, parts.next()?, parts.next()?);
    Some((name, value.strip_prefix('"')?.strip_suffix('"')?))
}

impl Source for Nut {
    fn name(&self) -> &str {
        &self.name
    }

    fn rhythm(&self) -> Rhythm {
        Rhythm {
            period_ns: 10 * SECOND,
            deadline_ns: 5 * SECOND,
            most: Microwatts::from_watts(1_000_000),
        }
    }

    fn begin(&mut self) {}

    fn wish(&mut self) -> Result<Wish, Fault> {
        Ok(Wish::Exchange {
            way: Way::Stream(self.at),
            bytes: format!("LIST VAR {}\n", self.ups).into_bytes(),
        })
    }

    fn take(&mut self, _: Uptime, answer: Answer<'_>, out: &mut Readings) -> Result<Round, Fault> {
        let Answer::Bytes { bytes, .. } = answer else {
            return Err(Fault::nonsense("ups", "an answer that is no bytes"));
        };
        let Some(said) = parse(bytes)? else {
            return Ok(Round::ReadOn);
        };
        if said == Said::default() {
            return Err(Fault::Absent {
                what: "ups.realpower, or ups.load with ups.realpower.nominal".to_owned(),
            });
        }
        if let Some(power) = said.real {
            out.push(Reading::new(self.zone, Class::Wall, Value::Gauge(power)));
        }
        if let Some(ppm) = said.charge_ppm {
            out.push(Reading::new(
                Zone::Stored,
                Class::Wall,
                Value::Share { ppm },
            ));
        }
        Ok(Round::Done)
    }
}
