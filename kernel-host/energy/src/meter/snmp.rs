//! A rack's power strip by SNMP v2c: the power of one outlet, or of the whole strip.
//!
//! Does:      writes a GET of one or two objects, reads the answer, scales it by the maker's unit.
//! Does not:  walk, write, or do v3.
//! Bounds:    a datagram; `ARCS_MAX` numbers of an object's name.
//! Trusts:    nobody: an answer to another request, a negative value or an absent object is none.
//! Start at:  `MAKERS`, then `Pdu::take`.

use super::decimal::unsigned_millionths;
use super::{Answer, Class, Fault, Reading, Readings, Rhythm, Round, SECOND, Source};
use super::{Uptime, Value, Way, Wish, Zone};
use protocol::Microwatts;
use std::net::SocketAddr;

const ARCS_MAX: usize = 32;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const TEXT: u8 = 0x04;
const NULL: u8 = 0x05;
const NAME: u8 = 0x06;
const GET: u8 = 0xA0;
const RESPONSE: u8 = 0xA2;
/// Counter32, Gauge32, TimeTicks, Counter64.
const UNSIGNED: [u8; 4] = [0x41, 0x42, 0x43, 0x46];
/// noSuchObject, noSuchInstance, endOfMibView.
const ABSENT: [u8; 3] = [0x80, 0x81, 0x82];

/// What a maker's object means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maker {
    pub name: &'static str,
    /// The object; the outlet's number is put behind it, then `tail`.
    pub object: &'static str,
    pub tail: &'static str,
    pub per_outlet: bool,
    /// Microwatts of one unit.
    pub unit: Microwatts,
    /// An object that tells how many of the value's digits stand behind the point.
    pub digits: Option<&'static str>,
}

/// The makers that are known, with their units: tenths, hundreds of watts and plain watts all
/// occur, and a wrong one is wrong tenfold.
#[rustfmt::skip] // keeps the columns
pub const MAKERS: &[Maker] = &[
    // PowerNet-MIB rPDU2DeviceStatusPower: hundredths of kilowatts.
    Maker { name: "apc",          object: "1.3.6.1.4.1.318.1.1.26.4.3.1.5.1",  tail: "",
            per_outlet: false, unit: Microwatts(10_000_000), digits: None },
    // PowerNet-MIB rPDU2OutletMeteredStatusPower: watts.
    Maker { name: "apc-outlet",   object: "1.3.6.1.4.1.318.1.1.26.9.4.3.1.7",  tail: "",
            per_outlet: true,  unit: Microwatts(1_000_000),  digits: None },
    // EATON-EPDU-MIB outletWatts of the first unit: watts.
    Maker { name: "eaton-outlet", object: "1.3.6.1.4.1.534.6.6.7.6.5.1.3.0",   tail: "",
            per_outlet: true,  unit: Microwatts(1_000_000),  digits: None },
    // PDU2-MIB measurementsOutletSensorValue, sensor 5 is active power; digits beside it.
    Maker { name: "raritan-outlet", object: "1.3.6.1.4.1.13742.6.5.4.3.1.4.1", tail: ".5",
            per_outlet: true,  unit: Microwatts(1_000_000),
            digits: Some("1.3.6.1.4.1.13742.6.3.5.4.1.7.1") },
    // Sentry4-MIB st4OutletActivePower of unit 1, cord 1: watts.
    Maker { name: "servertech-outlet", object: "1.3.6.1.4.1.1718.4.1.8.3.1.9.1.1", tail: "",
            per_outlet: true,  unit: Microwatts(1_000_000),  digits: None },
];

/// The driver.
#[derive(Debug)]
pub struct Pdu {
    name: String,
    at: SocketAddr,
    community: super::http::Secret,
    maker: Maker,
    objects: Vec<Vec<u8>>,
    request: u16,
}

impl Pdu {
    /// A strip, or one of its outlets, counted as the maker does; `None` for a maker that is not
    /// in `MAKERS`, and for an outlet where the maker knows only the strip.
    #[must_use]
    pub fn new(at: SocketAddr, community: &str, maker: &str, outlet: Option<u16>) -> Option<Self> {
        let maker = *MAKERS.iter().find(|known| known.name == maker)?;
        if maker.per_outlet != outlet.is_some() || community.len() > 64 {
            return None;
        }
        let full = |object: &str| match outlet {
            Some(outlet) => name_of(&format!("{object}.{outlet}{}", maker.tail)),
            None => name_of(object),
        };
        let objects = [Some(maker.object), maker.digits].into_iter().flatten();
        Some(Self {
            name: format!("pdu {} {}", maker.name, at.ip()),
            at,
            community: super::http::Secret(community.to_owned()),
            maker,
            objects: objects.map(full).collect::<Option<_>>()?,
            request: 0,
        })
    }

    fn power(&self, values: &[u64]) -> Result<Microwatts, Fault> {
        let nonsense = || Fault::nonsense(self.name.as_str(), "its value does not fit");
        let (value, digits) = match *values {
            [value] => (value, 0),
            [value, digits] => (value, digits / 1_000_000),
            _ => return Err(nonsense()),
        };
        let divisor = u32::try_from(digits)
            .ok()
            .and_then(|digits| 10_u128.checked_pow(digits));
        let divisor = divisor.and_then(|tens| tens.checked_mul(1_000_000));
        let scaled = u128::from(value).checked_mul(self.maker.unit.0.into());
        let power = scaled
            .zip(divisor)
            .map(|(scaled, divisor)| scaled / divisor);
        let power = power.and_then(|power| u64::try_from(power).ok());
        power.map(Microwatts).ok_or_else(nonsense)
    }
}

/// An object's name in BER.
fn name_of(text: &str) -> Option<Vec<u8>> {
    let arcs: Option<Vec<u32>> = text.split('.').map(|arc| arc.parse().ok()).collect();
    let arcs = arcs.filter(|arcs| (2..=ARCS_MAX).contains(&arcs.len()))?;
    let first = arcs[0].checked_mul(40)?.checked_add(arcs[1])?;
    let mut bytes = Vec::new();
    for arc in [first].into_iter().chain(arcs[2..].iter().copied()) {
        for shift in (0..5).rev() {
            let part = (arc >> (7 * shift)) & 0x7F;
            let more = if shift > 0 { 0x80 } else { 0 };
            if shift == 0 || arc >> (7 * shift) > 0 {
                bytes.push(u8::try_from(part).ok()? | more);
            }
        }
    }
    Some(bytes)
}

/// Tag, length, contents; requests stay below 64 kB.
fn wrapped(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            bytes.push(0x82);
            bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    bytes.extend_from_slice(contents);
    bytes
}

/// A GET of these objects.
fn request(community: &str, id: u16, objects: &[Vec<u8>]) -> Vec<u8> {
    let integer = |value: u16| {
        let [high, low] = value.to_be_bytes();
        wrapped(INTEGER, &[0, high, low])
    };
    let bindings: Vec<u8> = objects
        .iter()
        .flat_map(|object| {
            let pair = [wrapped(NAME, object), wrapped(NULL, &[])].concat();
            wrapped(SEQUENCE, &pair)
        })
        .collect();
    let body = [
        integer(id),
        integer(0),
        integer(0),
        wrapped(SEQUENCE, &bindings),
    ]
    .concat();
    let message = [
        wrapped(INTEGER, &[1]), // v2c
        wrapped(TEXT, community.as_bytes()),
        wrapped(GET, &body),
    ]
    .concat();
    wrapped(SEQUENCE, &message)
}

/// Takes one element off the front: its tag and contents.
fn element<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let length = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
            (usize::from(length), &rest[2..])
        }
        _ => return None,
    };
    let contents = rest.get(..length)?;
    *bytes = &rest[length..];
    Some((tag, contents))
}

fn contents<'a>(bytes: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    element(bytes)
        .filter(|(tag, _)| *tag == wanted)
        .map(|(_, contents)| contents)
}

/// A two's complement integer of at most 9 bytes (a full Counter64 has a zero before it).
fn integer(bytes: &[u8]) -> Option<i128> {
    let first = *bytes.first().filter(|_| bytes.len() <= 9)?;
    let start = if first & 0x80 == 0 { 0 } else { -1_i128 };
    Some(
        bytes
            .iter()
            .fold(start, |value, byte| (value << 8) | i128::from(*byte)),
    )
}

/// The values of an answer, in millionths, in the order of its objects.
///
/// # Errors
/// When it answers something else, reports an error, or has a value that is none.
pub fn parse(mut bytes: &[u8], id: u16, objects: &[Vec<u8>]) -> Result<Vec<u64>, Fault> {
    let nonsense = |why: &str| Fault::nonsense("the SNMP answer", why);
    let odd = || nonsense("it is no answer to a GET");
    let mut message = contents(&mut bytes, SEQUENCE).ok_or_else(odd)?;
    let _version = contents(&mut message, INTEGER).ok_or_else(odd)?;
    let _community = contents(&mut message, TEXT).ok_or_else(odd)?;
    let mut body = contents(&mut message, RESPONSE).ok_or_else(odd)?;
    let mut header = [0; 3];
    for field in &mut header {
        let bytes = contents(&mut body, INTEGER).ok_or_else(odd)?;
        *field = integer(bytes).ok_or_else(odd)?;
    }
    if header[0] != i128::from(id) {
        return Err(nonsense("it answers another request"));
    }
    if header[1] != 0 {
        let why = format!("SNMP error {} at object {}", header[1], header[2]);
        return Err(Fault::Refused { why });
    }
    let mut bindings = contents(&mut body, SEQUENCE).ok_or_else(odd)?;
    let mut values = Vec::new();
    for object in objects {
        let mut binding = contents(&mut bindings, SEQUENCE).ok_or_else(odd)?;
        if contents(&mut binding, NAME) != Some(object) {
            return Err(nonsense("it is about another object"));
        }
        let (tag, contents) = element(&mut binding).ok_or_else(odd)?;
        if ABSENT.contains(&tag) {
            let what = "the outlet or the strip's power object".to_owned();
            return Err(Fault::Absent { what });
        }
        let value = match tag {
            TEXT => std::str::from_utf8(contents)
                .ok()
                .and_then(unsigned_millionths),
            _ if tag == INTEGER || UNSIGNED.contains(&tag) => integer(contents)
                .and_then(|value| value.checked_mul(1_000_000))
                .and_then(|value| u64::try_from(value).ok()),
            _ => None,
        };
        // -1 is how some say that they have nothing to say.
        values.push(value.ok_or_else(|| nonsense("a value that is no amount"))?);
    }
    Ok(values)
}

impl Source for Pdu {
    fn name(&self) -> &str {
        &self.name
    }

    fn rhythm(&self) -> Rhythm {
        Rhythm {
            period_ns: 5 * SECOND,
            deadline_ns: 3 * SECOND,
            most: Microwatts::from_watts(30_000),
        }
    }

    fn begin(&mut self) {}

    fn wish(&mut self) -> Result<Wish, Fault> {
        self.request = self.request.wrapping_add(1);
        Ok(Wish::Exchange {
            way: Way::Datagram(self.at),
            bytes: request(&self.community.0, self.request, &self.objects),
        })
    }

    fn take(&mut self, _: Uptime, answer: Answer<'_>, out: &mut Readings) -> Result<Round, Fault> {
        let Answer::Bytes { bytes, .. } = answer else {
            return Err(Fault::nonsense("pdu", "an answer that is no bytes"));
        };
        let values = parse(bytes, self.request, &self.objects)?;
        let power = self.power(&values)?;
        let zone = match self.maker.per_outlet {
            true => Zone::Wall(0),
            false => Zone::Ups,
        };
        out.push(Reading::new(zone, Class::Wall, Value::Gauge(power)));
        Ok(Round::Done)
    }
}

/// Reads bytes as an answer to the request of a strip with two objects: what a fuzzer calls.
pub(crate) fn read_any(bytes: &[u8]) {
    let objects: Vec<_> = ["1.3.6.1", "1.3.6.2"]
        .iter()
        .filter_map(|text| name_of(text))
        .collect();
    let _ = parse(bytes, 1, &objects);
    let _ = parse(bytes, 1, &objects[..1]);
}
