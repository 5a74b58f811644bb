//! What stands at the processor's reset vector instead of a BIOS: "reset this machine".
//!
//! Linux on hardware-reduced ACPI without EFI restarts by jumping there in real mode. Without
//! code at that place the vCPU would wander through zeros for ever.

use virtio::Memory;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::layout::{ACPI_PORT, RESET_VALUE};

/// F000:FFF0.
const RESET_VECTOR: u64 = 0xf_fff0;

/// Writes the code.
pub(super) fn write(memory: &Memory) -> Result<(), GuestMemoryError> {
    let [low, high] = (ACPI_PORT + 1).to_le_bytes();
    let code = [
        0xb0,
        RESET_VALUE, // mov al, RESET_VALUE
        0xba,
        low,
        high, // mov dx, reset register
        0xee, // out dx, al
        0xf4, // hlt
        0xeb,
        0xfd, // jump back to hlt
    ];
    memory.write_slice(&code, GuestAddress(RESET_VECTOR))
}
