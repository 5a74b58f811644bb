//! QEMU's stream framing: a 32-bit big-endian length, then the frame.
//!
//! Does:      cuts a byte stream into frames, and puts frames into a byte stream.
//! Does not:  look inside a frame.
//! Bounds:    `FRAME_MAX` a frame; the buffer holds at most one incomplete frame and one read.
//! Trusts:    nobody: a length that cannot be a frame ends the connection.
//! Start at:  `Reassembler::push`.

/// The largest frame QEMU sends with offloads off is an MTU; 64 KiB leaves room for all of them.
pub const FRAME_MAX: usize = 64 * 1024 + 256;
/// Bytes of the length in front of each frame.
const LENGTH_SIZE: usize = 4;

/// A stream claimed a frame of this many bytes; what follows cannot be understood any more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes was announced; the maximum is {FRAME_MAX}")]
pub struct BadLength {
    /// The length as announced.
    pub length: usize,
}

/// Collects bytes until frames are whole.
#[derive(Debug, Default)]
pub struct Reassembler {
    bytes: Vec<u8>,
    start: usize,
}

impl Reassembler {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, BadLength> {
        let rest = &self.bytes[self.start..];
        let Some((head, rest)) = rest.split_first_chunk::<LENGTH_SIZE>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*head) as usize;
        if length > FRAME_MAX {
            return Err(BadLength { length });
        }
        let Some(frame) = rest.get(..length) else {
            return Ok(None);
        };
        self.start += LENGTH_SIZE + length;
        Ok(Some(frame.to_vec()))
    }
}

/// Appends a frame with its length; `false` when it is too large and was left out.
pub fn append_frame(out: &mut Vec<u8>, frame: &[u8]) -> bool {
    let Ok(length) = u32::try_from(frame.len()) else {
        return false;
    };
    if frame.len() > FRAME_MAX {
        return false;
    }
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(frame);
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{BadLength, FRAME_MAX, Reassembler, append_frame};

    #[test]
    fn frames_survive_any_way_of_cutting_the_stream() {
        let frames: Vec<Vec<u8>> = vec![vec![1; 60], vec![], vec![3; 1514], vec![4; 1]];
        let mut stream = Vec::new();
        for frame in &frames {
            assert!(append_frame(&mut stream, frame));
        }
        for step in [1, 2, 3, 5, 64, 4096] {
            let mut reassembler = Reassembler::default();
            let mut seen = Vec::new();
            for chunk in stream.chunks(step) {
                reassembler.push(chunk);
                while let Some(frame) = reassembler.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames, "cut every {step} bytes");
        }
    }

    #[test]
    fn an_impossible_length_is_an_error_and_not_an_allocation() {
        let mut reassembler = Reassembler::default();
        reassembler.push(&u32::MAX.to_be_bytes());
        assert_eq!(
            reassembler.next_frame(),
            Err(BadLength {
                length: u32::MAX as usize
            })
        );
        assert!(!append_frame(&mut Vec::new(), &vec![0; FRAME_MAX + 1]));
    }
}
