//! Proves by running a guest whether the host's KVM can carry nodes.
//!
//! Does:      boots the test guest under KVM once, and asks it for virtualisation inside.
//! Does not:  fail anything: without KVM, everything runs in emulation.
//! Bounds:    `PROBE_MAX`, once a run.
//! Trusts:    what the guest prints.
//! Start at:  `settle`.

use std::time::Duration;

use crate::folders::RunFolder;
use crate::machine::{Accel, Firmware, Folders, Machine, Shape, accel};
use crate::progress::Progress;
use crate::supplies::GuestImage;

/// A guest under a working KVM has booted after 2 s; a broken KVM never gets there.
const PROBE_MAX: Duration = Duration::from_secs(15);

/// Decides how this run's machines run.
pub fn settle(guest: &GuestImage, folder: &RunFolder, progress: &Progress) {
    let chosen = accel::settle(|| {
        let row = progress.row("KVM");
        row.stage("running a guest, to see whether KVM is usable");
        runs_guest(guest, folder).unwrap_or(false)
    });
    let text = match chosen {
        Accel::Kvm => "KVM runs guests here, and lets them run guests: it is used",
        Accel::Tcg => "KVM is not usable for nodes here: everything is emulated",
    };
    progress.say(text);
}

fn runs_guest(guest: &GuestImage, folder: &RunFolder) -> Option<bool> {
    let mut shape = Shape::new("probe", Firmware::Bios, guest.boot("luc.guest=probe"));
    shape.accel = Some(Accel::Kvm);
    let folders = Folders {
        sockets: &folder.sockets,
        logs: &folder.logs,
    };
    let mut machine = Machine::start(shape, folders, Box::new(|_| ())).ok()?;
    machine
        .booted("LUC-PROBE virtualisation=true", PROBE_MAX)
        .ok()?;
    Some(true)
}
