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
    use corpus::replay;

    use super::{fuzz_bzimage, fuzz_control, fuzz_vmlinux};

    const HERE: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn no_packet_breaks_the_control_channel() {
        replay(HERE, "control", fuzz_control);
    }

    #[test]
    fn no_header_breaks_the_kernel_loader() {
        replay(HERE, "bzimage", fuzz_bzimage);
        replay(HERE, "vmlinux", fuzz_vmlinux);
    }
}
