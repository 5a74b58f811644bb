//! Parsers of this crate over arbitrary bytes.
//!
//! The register-level ones of the devices are in `virtio::fuzz`; here are the control channel,
//! the kernel's headers and the ports.

use crate::boot::{bzimage, vmlinux};
use crate::control::{Event, Request, decode, encode};

/// Whatever decodes must survive encoding.
pub fn fuzz_control(data: &[u8]) {
    if let Ok(request) = decode::<Request>(data)
        && let Ok(bytes) = encode(&request)
    {
        assert_eq!(decode::<Request>(&bytes).expect("own bytes"), request);
    }
    if let Ok(event) = decode::<Event>(data)
        && let Ok(bytes) = encode(&event)
    {
        assert_eq!(decode::<Event>(&bytes).expect("own bytes"), event);
    }
}

/// A bzImage's setup header (what starts at offset 0x1f1 of the file).
pub fn fuzz_bzimage(data: &[u8]) {
    bzimage::fuzz_header(data);
}

/// The ELF head of an unpacked kernel.
pub fn fuzz_vmlinux(data: &[u8]) {
    vmlinux::fuzz_head(data);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

    use std::path::Path;

    use super::{fuzz_bzimage, fuzz_control, fuzz_vmlinux};

    /// Mutations of each corpus file.
    const MUTATIONS: u64 = 3_000;

    /// A small generator with a fixed start: the same inputs at every run.
    fn next(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    fn mutate(data: &mut Vec<u8>, state: &mut u64) {
        for _ in 0..=next(state) % 8 {
            let value = next(state);
            let at = (value >> 8) as usize % (data.len() + 1);
            match value % 4 {
                0 if at < data.len() => data[at] = (value >> 40) as u8,
                1 if at < data.len() => data[at] ^= 1 << (value >> 40 & 7),
                2 => data.truncate(at.max(1)),
                _ => data.insert(at, (value >> 40) as u8),
            }
        }
    }

    fn replay(name: &str, fuzz: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(name);
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for file in files {
            let seed = std::fs::read(&file).unwrap();
            fuzz(&seed);
            for _ in 0..MUTATIONS {
                let mut data = seed.clone();
                mutate(&mut data, &mut state);
                fuzz(&data);
            }
        }
    }

    #[test]
    fn no_packet_breaks_the_control_channel() {
        replay("control", fuzz_control);
    }

    #[test]
    fn no_header_breaks_the_kernel_loader() {
        replay("bzimage", fuzz_bzimage);
        replay("vmlinux", fuzz_vmlinux);
    }
}
