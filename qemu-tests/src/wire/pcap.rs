//! Captures of a wire, in the classic pcap format that every analyser opens.
//!
//! Does:      writes each frame that entered the wire, with its time.
//! Does not:  parse frames.
//! Bounds:    `SNAP_MAX` bytes of a frame, `CAPTURE_MAX` bytes a file; the rest is counted.
//! Trusts:    nothing it writes.
//! Start at:  `Capture::record`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Headers down to DHCP's and HTTP's are what one reads; payload is an image of 30 MB.
const SNAP_MAX: usize = 640;
/// 256 MiB hold a few hundred thousand frames; after that, frames are only counted.
const CAPTURE_MAX: u64 = 256 * 1024 * 1024;
const LINKTYPE_ETHERNET: u32 = 1;

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
        let snap = u32::try_from(SNAP_MAX).unwrap_or(u32::MAX);
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
        let kept = &frame[..frame.len().min(SNAP_MAX)];
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Capture;
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
    }
}
