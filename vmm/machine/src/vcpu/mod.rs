//! One thread per vCPU: run, answer the exit, run again.
//!
//! Bounds:    a vCPU owns nothing that grows. It sleeps inside KVM when the guest is idle.
//! Trusts:    KVM; the guest for nothing.
//! Start at:  `run`.

pub(crate) mod cpuid;
pub(crate) mod registers;

use kvm_ioctls::{VcpuExit, VcpuFd};

use crate::bus::{Bus, Then};
use crate::legacy::End;

/// KVM_SYSTEM_EVENT types of the kernel's interface.
const EVENT_SHUTDOWN: u32 = 1;
const EVENT_RESET: u32 = 2;

/// Runs until the machine ends, then parks: the process ends as a whole.
pub(crate) fn run(id: u8, vcpu: &mut VcpuFd, bus: &Bus) {
    let end = loop {
        match step(id, vcpu, bus) {
            Ok(Then::Go) => {}
            Ok(Then::Stop) => break None,
            Err(end) => break Some(end),
        }
    };
    if let Some(end) = end {
        bus.power.end(end);
    }
}

fn step(id: u8, vcpu: &mut VcpuFd, bus: &Bus) -> Result<Then, End> {
    let exit = match vcpu.run() {
        Ok(exit) => exit,
        Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => return Ok(Then::Go),
        Err(error) => return Err(failed(id, &format!("KVM_RUN: {error}"))),
    };
    match exit {
        VcpuExit::IoIn(port, data) => bus.port_read(port, data),
        VcpuExit::IoOut(port, data) => return Ok(bus.port_write(port, data)),
        VcpuExit::MmioRead(address, data) => bus.mmio_read(address, data),
        VcpuExit::MmioWrite(address, data) => bus.mmio_write(address, data),
        VcpuExit::Shutdown => return Err(End::TripleFault { vcpu: id }),
        VcpuExit::SystemEvent(EVENT_SHUTDOWN, _) => return Err(End::Shutdown),
        VcpuExit::SystemEvent(EVENT_RESET, _) => return Err(End::Reset),
        VcpuExit::SystemEvent(kind, _) => {
            return Err(failed(id, &format!("system event {kind} of the guest")));
        }
        VcpuExit::FailEntry(reason, _) => {
            return Err(failed(
                id,
                &format!("the processor refused to enter: {reason:#x}"),
            ));
        }
        VcpuExit::InternalError => {
            return Err(failed(id, "KVM could not emulate an instruction"));
        }
        VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::Hlt => {}
        other => return Err(failed(id, &format!("unexpected exit {other:?}"))),
    }
    Ok(Then::Go)
}

fn failed(id: u8, what: &str) -> End {
    End::Failed {
        reason: format!("vCPU {id} stopped: {what}"),
    }
}
