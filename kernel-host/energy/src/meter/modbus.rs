//! Modbus TCP, as much as reading registers takes.
//!
//! Does:      writes `Read Holding Registers`, reads the answer.
//! Does not:  write registers.
//! Start at:  `parse`.

use super::Fault;

/// Registers of one read, by the standard.
pub const REGISTERS_MAX: u16 = 125;
const READ: u8 = 3;
/// Bytes before the unit's number: transaction, protocol, length.
const HEAD: usize = 6;

/// A request to read `count` registers from `from` on.
#[must_use]
pub fn request(transaction: u16, unit: u8, from: u16, count: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(12);
    bytes.extend(transaction.to_be_bytes());
    bytes.extend([0, 0, 0, 6, unit, READ]);
    bytes.extend(from.to_be_bytes());
    bytes.extend(count.min(REGISTERS_MAX).to_be_bytes());
    bytes
}

/// The registers of an answer; `None` while it is not whole.
///
/// # Errors
/// When it answers something else, is of another length, or is an exception.
pub fn parse(
    bytes: &[u8],
    transaction: u16,
    unit: u8,
    count: u16,
) -> Result<Option<Vec<u16>>, Fault> {
    let nonsense = |why: &str| Fault::nonsense("the Modbus answer", why);
    let Some(head) = bytes.get(..HEAD) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    if head[2..4] != [0, 0] || !(3..=254).contains(&length) {
        return Err(nonsense("it is no Modbus"));
    }
    if head[..2] != transaction.to_be_bytes() {
        return Err(nonsense("it answers another request"));
    }
    let Some(body) = bytes.get(HEAD..HEAD + length) else {
        return Ok(None);
    };
    match *body {
        [from, _, ..] if from != unit => Err(nonsense("another unit answers")),
        [_, code, exception, ..] if code == READ | 0x80 => Err(Fault::Refused {
            why: format!("Modbus exception {exception}"),
        }),
        [_, READ, size, ref registers @ ..]
            if usize::from(size) == registers.len()
                && registers.len() == usize::from(count) * 2 =>
        {
            let pairs = registers.chunks_exact(2);
            Ok(Some(
                pairs
                    .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                    .collect(),
            ))
        }
        _ => Err(nonsense("it has another number of registers")),
    }
}
