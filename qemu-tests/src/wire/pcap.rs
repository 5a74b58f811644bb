//! Captures of a wire, in the classic pcap format that every analyser opens.
//!
//! Does:      writes each frame that entered the wire, with its time; reads them back.
//! Does not:  parse frames; `talk` does.
//! Bounds:    `SNAP_MAX` bytes of a frame, unless it is of `WHOLE_PORT`; `CAPTURE_MAX` bytes a
//!            file; the rest is counted.
//! Trusts:    nothing it writes.
//! Start at:  `Capture::record`, `frames`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::framing::FRAME_MAX;
use super::talk::Packet;

/// Headers down to DHCP's and HTTP's are what one reads; payload is an image of 30 MB.
const SNAP_MAX: usize = 640;
/// 256 MiB hold a few hundred thousand frames; after that, frames are only counted.
const CAPTURE_MAX: u64 = 256 * 1024 * 1024;
const LINKTYPE_ETHERNET: u32 = 1;
/// What nodes say to each other is kept to its last byte: a scenario looks for plain text in it.
pub const WHOLE_PORT: u16 = 12_213;

/// An open capture file.
#[derive(Debug)]
pub struct Capture {
    out: BufWriter<File>,
    written: u64,
    left_out: u64,
}

impl Capture {
    /// Creates the file with its header.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?; // microseconds
        out.write_all(&2_u16.to_le_bytes())?;
        out.write_all(&4_u16.to_le_bytes())?;
        out.write_all(&[0; 8])?; // UTC, unknown accuracy
        let snap = u32::try_from(FRAME_MAX).unwrap_or(u32::MAX);
        out.write_all(&snap.to_le_bytes())?;
        out.write_all(&LINKTYPE_ETHERNET.to_le_bytes())?;
        Ok(Self {
            out,
            written: 24,
            left_out: 0,
        })
    }

    /// Adds a frame.
    pub fn record(&mut self, at: SystemTime, frame: &[u8]) -> io::Result<()> {
        let kept = match Packet::parse(frame) {
            Some(packet) if packet.is_of(WHOLE_PORT) => frame,
            _ => &frame[..frame.len().min(SNAP_MAX)],
        };
        let size = 16 + kept.len() as u64;
        if self.written + size > CAPTURE_MAX {
            self.left_out += 1;
            return Ok(());
        }
        self.written += size;
        let at = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seconds = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
        let lengths = [kept.len(), frame.len()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        for word in [seconds, at.subsec_micros(), lengths[0], lengths[1]] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(kept)
    }

    /// Frames that did not fit into the file.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Hands everything to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// All frames of a capture, in order, as far as it has them.
pub fn frames(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut input = BufReader::new(File::open(path)?);
    input.read_exact(&mut [0; 24])?;
    let mut frames = Vec::new();
    loop {
        let mut header = [0; 16];
        match input.read_exact(&mut header) {
            Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => return Ok(frames),
            other => other?,
        }
        let [.., a, b, c, d, _, _, _, _] = header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > FRAME_MAX {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        let mut frame = vec![0; length];
        input.read_exact(&mut frame)?;
        frames.push(frame);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Capture, frames};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_capture_has_its_header_and_a_record_for_each_frame() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.pcap");
        let mut capture = Capture::create(&path).unwrap();
        capture
            .record(UNIX_EPOCH + Duration::from_micros(3_000_004), &[9; 2000])
            .unwrap();
        capture.flush().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 24 + 16 + 640);
        assert_eq!(bytes[24..32], [3, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(bytes[36..40], 2000_u32.to_le_bytes());
        assert_eq!(frames(&path).unwrap(), [[9; 640]]);
    }
}
