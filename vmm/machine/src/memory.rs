//! The guest's memory: private anonymous mappings around the hole below 4 GiB.

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use virtio::Memory;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::layout::{RAM_ABOVE_4G, RAM_BELOW_4G_MAX};

/// Why the guest has no memory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryError {
    #[error("Reserving {mib} MiB of guest memory (give the VM less, or free memory on the host)")]
    Map {
        mib: u32,
        source: vm_memory::mmap::FromRangesError,
    },
    #[error("Giving guest memory to KVM")]
    Register { source: kvm_ioctls::Error },
    #[error("Finding the guest's memory in our own address space")]
    Address { source: vm_memory::GuestMemoryError },
}

/// The ranges of guest memory, as (start, bytes).
pub(crate) fn ranges(mib: u32) -> Vec<(u64, u64)> {
    let bytes = u64::from(mib) << 20;
    match bytes.checked_sub(RAM_BELOW_4G_MAX) {
        None | Some(0) => vec![(0, bytes)],
        Some(above) => vec![(0, RAM_BELOW_4G_MAX), (RAM_ABOVE_4G, above)],
    }
}

/// Maps the memory. It costs nothing until the guest touches it.
pub(crate) fn create(mib: u32) -> Result<Memory, MemoryError> {
    let ranges: Vec<(GuestAddress, usize)> = ranges(mib)
        .into_iter()
        .map(|(start, len)| {
            (
                GuestAddress(start),
                usize::try_from(len).unwrap_or(usize::MAX),
            )
        })
        .collect();
    Memory::from_ranges(&ranges).map_err(|source| MemoryError::Map { mib, source })
}

/// Makes the memory the machine's.
pub(crate) fn register(vm: &VmFd, memory: &Memory) -> Result<(), MemoryError> {
    for (slot, region) in memory.iter().enumerate() {
        let host = memory
            .get_host_address(region.start_addr())
            .map_err(|source| MemoryError::Address { source })?;
        let region = kvm_userspace_memory_region {
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: host as u64,
        };
        // SAFETY: KVM_SET_USER_MEMORY_REGION wants a mapping that outlives the machine and that
        // nothing else treats as ordinary Rust memory.
        // - Length and address: taken from one live region of `memory`.
        // - Life: the machine and `memory` live until the process ends.
        // - Aliasing: all our access goes through volatile slices.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(|source| MemoryError::Register { source })?;
    }
    Ok(())
}

/// A range of guest memory as ordinary bytes. `None`: it isn't inside of one region.
///
/// # Safety
/// No vCPU may have run yet, and the caller may make no other access to `memory` meanwhile.
#[allow(clippy::mut_from_ref)] // the mapping is shared by nature; the promise makes it exclusive
pub(crate) unsafe fn exclusive(memory: &Memory, at: u64, len: usize) -> Option<&mut [u8]> {
    let slice = memory.get_slice(GuestAddress(at), len).ok()?;
    let guard = slice.ptr_guard_mut();
    // SAFETY: `from_raw_parts_mut` wants `len` mapped, initialised bytes that nobody else touches.
    // - Mapped: `get_slice` checked the range; mappings live as long as `memory`.
    // - Initialised: anonymous memory is zero.
    // - Nobody else: the caller's promise.
    Some(unsafe { std::slice::from_raw_parts_mut(guard.as_ptr(), len) })
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn memory_goes_around_the_hole_below_4_gib() {
        const GIB: u64 = 1 << 30;
        assert_eq!(ranges(128),  [(0, 128 << 20)]);
        assert_eq!(ranges(3072), [(0, 3 * GIB)]);
        assert_eq!(ranges(3073), [(0, 3 * GIB), (4 * GIB, 1 << 20)]);
        assert_eq!(ranges(8192), [(0, 3 * GIB), (4 * GIB, 5 * GIB)]);
    }
}
