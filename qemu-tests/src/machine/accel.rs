//! Whether the host's KVM is truly usable.
//!
//! Does:      remembers the answer of one probe for the whole run.
//! Does not:  believe `/dev/kvm`: it can open and still never start a guest.
//! Bounds:    one probe, one answer.
//! Trusts:    a guest that ran to its end.
//! Start at:  `best`.

use std::sync::OnceLock;

use super::Accel;

/// `tcg` or `kvm` in this variable decides without a probe.
pub const OVERRIDE: &str = "LUC_RIG_ACCEL";

static BEST: OnceLock<Accel> = OnceLock::new();

/// The accelerator for this run: emulation, until `settle` has proven better.
#[must_use]
pub fn best() -> Accel {
    *BEST.get_or_init(|| match std::env::var(OVERRIDE).as_deref() {
        Ok("kvm") => Accel::Kvm,
        _ => Accel::Tcg,
    })
}

/// Decides once, by `probe` when neither the environment nor the host rules KVM out.
pub fn settle(probe: impl FnOnce() -> bool) -> Accel {
    *BEST.get_or_init(|| match std::env::var(OVERRIDE).as_deref() {
        Ok("kvm") => Accel::Kvm,
        Ok(_) => Accel::Tcg,
        Err(_) if can_open_kvm() && is_nested() && probe() => Accel::Kvm,
        Err(_) => Accel::Tcg,
    })
}

fn can_open_kvm() -> bool {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok()
}

/// Whether guests may have guests: without that a node could not run a VM.
fn is_nested() -> bool {
    ["kvm_amd", "kvm_intel"].iter().any(|module| {
        let path = format!("/sys/module/{module}/parameters/nested");
        std::fs::read_to_string(path).is_ok_and(|text| matches!(text.trim(), "1" | "Y"))
    })
}
