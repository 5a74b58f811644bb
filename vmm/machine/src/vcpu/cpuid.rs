//! What the guest's CPUs say about themselves: the host's features, our topology.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm};

const FEATURES: u32 = 1;
const CACHES_INTEL: u32 = 4;
const TOPOLOGY: [u32; 2] = [0xb, 0x1f];
const TSC_RATIO: u32 = 0x15;
const AMD_SIZES: u32 = 0x8000_0008;
const AMD_CACHES: u32 = 0x8000_001d;
const AMD_TOPOLOGY: u32 = 0x8000_001e;

const ECX_TSC_DEADLINE: u32 = 1 << 24;
const ECX_HYPERVISOR: u32 = 1 << 31;
const EDX_SEVERAL: u32 = 1 << 28;

/// What KVM supports here; the same for all vCPUs.
pub(crate) fn supported(kvm: &Kvm) -> Result<CpuId, kvm_ioctls::Error> {
    let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
    if kvm.check_extension(Cap::TscDeadlineTimer) {
        for entry in cpuid.as_mut_slice() {
            if entry.function == FEATURES {
                entry.ecx |= ECX_TSC_DEADLINE;
            }
        }
    }
    Ok(cpuid)
}

/// The same for one vCPU of `count`: one socket, one thread per core.
pub(crate) fn for_vcpu(base: &CpuId, id: u8, count: u8) -> CpuId {
    let mut cpuid = base.clone();
    for entry in cpuid.as_mut_slice() {
        adapt(entry, u32::from(id), u32::from(count));
    }
    cpuid
}

fn adapt(entry: &mut kvm_cpuid_entry2, id: u32, count: u32) {
    let bits = count.next_power_of_two().trailing_zeros();
    match entry.function {
        FEATURES => {
            entry.ebx = entry.ebx & 0xffff | count << 16 | id << 24;
            entry.ecx |= ECX_HYPERVISOR;
            if count > 1 {
                entry.edx |= EDX_SEVERAL;
            }
        }
        CACHES_INTEL => {
            // Cores in the package, and no sharing of caches between threads.
            entry.eax = entry.eax & 0x3fff | (count - 1) << 26;
        }
        leaf if TOPOLOGY.contains(&leaf) => {
            let (shift, logical, level) = match entry.index {
                0 => (0, 1, 1), // threads of a core
                1 => (bits, count, 2),
                _ => (0, 0, 0),
            };
            entry.eax = shift;
            entry.ebx = logical;
            entry.ecx = entry.index | level << 8;
            entry.edx = id;
        }
        AMD_SIZES => entry.ecx = entry.ecx & !0xf0ff | bits << 12 | (count - 1),
        AMD_CACHES => entry.eax &= 0x3fff,
        AMD_TOPOLOGY => {
            entry.eax = id;
            entry.ebx = id;
            entry.ecx = 0;
        }
        _ => {}
    }
}

/// States the TSC's frequency, so that the guest needn't measure it against a timer.
/// KVM's own clock states it too; this leaf serves guests without kvmclock.
pub(crate) fn state_tsc_frequency(cpuid: &mut CpuId, khz: u32) {
    let crystal_hz = 1_000_000; // 1 MHz makes the ratio exact in kHz
    for entry in cpuid.as_mut_slice() {
        if entry.function == TSC_RATIO {
            entry.eax = 1_000;
            entry.ebx = khz;
            entry.ecx = crystal_hz;
            entry.edx = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use kvm_bindings::kvm_cpuid_entry2;

    use super::{AMD_SIZES, ECX_HYPERVISOR, FEATURES, TOPOLOGY, adapt};

    fn adapted(function: u32, index: u32, id: u32, count: u32) -> kvm_cpuid_entry2 {
        let mut entry = kvm_cpuid_entry2 {
            function,
            index,
            ..Default::default()
        };
        adapt(&mut entry, id, count);
        entry
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn each_vcpu_is_a_core_of_one_socket() {
        //        vCPU, of   APIC id  logical  shift to the package
        for (id, count, apic, logical, shift) in [
            (0, 1,   0, 1, 0),
            (1, 2,   1, 2, 1),
            (2, 3,   2, 3, 2),
            (7, 8,   7, 8, 3),
        ] {
            let features = adapted(FEATURES, 0, id, count);
            assert_eq!((features.ebx >> 24, features.ebx >> 16 & 0xff), (apic, logical));
            assert_eq!(features.ecx & ECX_HYPERVISOR, ECX_HYPERVISOR);
            let cores = adapted(TOPOLOGY[0], 1, id, count);
            assert_eq!((cores.eax, cores.ebx, cores.edx), (shift, logical, apic));
            let sizes = adapted(AMD_SIZES, 0, id, count);
            assert_eq!((sizes.ecx & 0xff, sizes.ecx >> 12 & 0xf), (count - 1, shift));
        }
    }
}
