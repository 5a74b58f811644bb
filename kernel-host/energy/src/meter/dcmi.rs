//! A machine's own BMC by IPMI DCMI: one command, `Get Power Reading`.
//!
//! The answer's state bit says whether the BMC measures at all; without it the zeros beside it
//! are no measurement.

use super::{Answer, Class, Fault, MS, Reading, Readings, Rhythm, Round, SECOND, Source};
use super::{Uptime, Value, Way, Wish, Zone};
use protocol::Microwatts;

const NETFN_GROUP: u8 = 0x2C;
const POWER_READING: u8 = 0x02;
/// The group extension that marks DCMI, in request and answer.
const DCMI: u8 = 0xDC;
const REQUEST: [u8; 4] = [DCMI, 0x01, 0x00, 0x00];

/// The driver.
#[derive(Debug, Default)]
pub struct Dcmi;

/// What a BMC said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerReading {
    pub now: Microwatts,
    pub average: Microwatts,
    pub window_ns: u64,
}

/// Reads the answer, completion code first.
///
/// # Errors
/// When the BMC refused, does not measure, or the bytes are no such answer.
pub fn parse(answer: &[u8]) -> Result<PowerReading, Fault> {
    let nonsense = |why: String| Fault::nonsense("the BMC's power reading", why);
    match *answer.first().unwrap_or(&0xFF) {
        0x00 => {}
        code @ (0xC1 | 0xD6) => {
            let why = format!("the BMC knows no power reading (completion code {code:#04x})");
            return Err(Fault::Refused { why });
        }
        code => {
            let why = format!("completion code {code:#04x}");
            return Err(Fault::Refused { why });
        }
    }
    let Some(body) = answer.get(1..19) else {
        return Err(nonsense(format!("{} bytes instead of 19", answer.len())));
    };
    if body[0] != DCMI {
        return Err(nonsense(format!("group {:#04x} is not DCMI", body[0])));
    }
    if body[17] & 0x40 == 0 {
        let why = "power measurement is switched off in the BMC".to_owned();
        return Err(Fault::Refused { why });
    }
    let watts = |at: usize| u32::from(u16::from_le_bytes([body[at], body[at + 1]]));
    let window_ms = u32::from_le_bytes([body[13], body[14], body[15], body[16]]);
    Ok(PowerReading {
        now: Microwatts::from_watts(watts(1)),
        average: Microwatts::from_watts(watts(7)),
        window_ns: u64::from(window_ms) * MS,
    })
}

impl Source for Dcmi {
    fn name(&self) -> &str {
        "dcmi"
    }

    fn rhythm(&self) -> Rhythm {
        Rhythm {
            period_ns: 10 * SECOND,
            deadline_ns: 5 * SECOND,
            most: Microwatts::from_watts(20_000),
        }
    }

    fn begin(&mut self) {}

    fn wish(&mut self) -> Result<Wish, Fault> {
        Ok(Wish::Exchange {
            way: Way::Ipmi {
                netfn: NETFN_GROUP,
                command: POWER_READING,
            },
            bytes: REQUEST.to_vec(),
        })
    }

    fn take(&mut self, _: Uptime, answer: Answer<'_>, out: &mut Readings) -> Result<Round, Fault> {
        let Answer::Bytes { bytes, .. } = answer else {
            return Err(Fault::nonsense("dcmi", "an answer that is no bytes"));
        };
        let said = parse(bytes)?;
        // Whole watts: half of one is the rounding, on top of the meter's own error.
        out.push(Reading::new(
            Zone::Wall(0),
            Class::Wall,
            Value::Gauge(said.now),
        ));
        Ok(Round::Done)
    }
}
