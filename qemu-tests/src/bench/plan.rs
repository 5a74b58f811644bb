//! What the bench machine does: one command line for us, one for QEMU microvm.
//!
//! Does:      states both fairly: the same guest, memory, processor and kernel arguments, and
//!            for each program the leanest machine that it offers for a stock kernel.
//! Does not:  run anything; `guest::bench` explains the words.
//! Bounds:    two programs.
//! Trusts:    nothing.
//! Start at:  `Plan::text`.

use std::fmt::Write as _;

/// Our program inside the bench machine.
pub const LUC: &str = "/usr/bin/luc";
/// Theirs.
pub const MICROVM: &str = "/usr/bin/qemu-system-x86_64";
/// The guest's kernel there.
pub const KERNEL: &str = "/guest/vmlinuz";
/// The guest's initrd there.
pub const INITRD: &str = "/guest/initrd.cpio";
/// Guest memory: enough for Debian's kernel to unpack itself.
pub const GUEST_MIB: u32 = 128;

/// Kernel arguments of the guest. `reboot=t` is not there: each machine has its own way to end.
const CMDLINE: &str = "console=ttyS0 quiet panic=-1 luc.nonce=bench luc.guest=";
/// The timed guest switches itself off.
const TIMED: &str = "shutdown";
/// The guest whose memory is looked at waits.
const WATCHED: &str = "idle";

/// A program's name, and its command line for a guest with this behaviour.
pub type Contestant = (&'static str, fn(&str) -> Vec<String>);

/// A benchmark of two programs.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Counted pairs; one more warms the machine up.
    pub pairs: u32,
    /// Who runs.
    pub programs: &'a [Contestant],
}

/// Where a module of the bench machine lies.
#[must_use]
pub fn module_path(name: &str) -> String {
    format!("/lib/{name}.ko.xz")
}

/// Our command line for a guest with this behaviour.
#[must_use]
pub fn luc(behaviour: &str) -> Vec<String> {
    let (memory, cmdline) = (format!("{GUEST_MIB}MiB"), format!("{CMDLINE}{behaviour}"));
    let line = [
        LUC,
        "vmm",
        "run",
        "--no-reboot",
        "--kernel",
        KERNEL,
        "--initrd",
        INITRD,
        "--vcpus",
        "1",
        "--memory",
        &memory,
        "--cmdline",
        &cmdline,
    ];
    line.map(str::to_owned).into()
}

/// QEMU's. Each choice was measured: without PIT, PIC and option ROMs it is about a fifth
/// faster; *with* an RTC it is 4 s faster, as a kernel that finds none asks for a second.
#[must_use]
pub fn microvm(behaviour: &str) -> Vec<String> {
    let (memory, cmdline) = (GUEST_MIB.to_string(), format!("{CMDLINE}{behaviour}"));
    let line = [
        MICROVM,
        "-M",
        "microvm,x-option-roms=off,pit=off,pic=off,rtc=on",
        "-enable-kvm",
        "-cpu",
        "host",
        "-smp",
        "1",
        "-m",
        &memory,
        "-nodefaults",
        "-no-user-config",
        "-nographic",
        "-serial",
        "stdio",
        "-no-reboot",
        "-kernel",
        KERNEL,
        "-initrd",
        INITRD,
        "-append",
        &cmdline,
    ];
    line.map(str::to_owned).into()
}

impl Plan<'_> {
    /// The plan's text, with modules to load first.
    #[must_use]
    pub fn text(&self, modules: &[&str]) -> String {
        let mut text = String::new();
        let mut order = |words: &[&str]| {
            let _ = writeln!(text, "{}", words.join("\t"));
        };
        for name in modules {
            order(&["load", &module_path(name)]);
        }
        order(&["pairs", &self.pairs.to_string()]);
        let memory = GUEST_MIB.to_string();
        for (name, line) in self.programs {
            let words = line(TIMED);
            order(
                &[
                    &["time", *name],
                    &words.iter().map(String::as_str).collect::<Vec<_>>()[..],
                ]
                .concat(),
            );
        }
        for (name, line) in self.programs {
            let words = line(WATCHED);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            order(&[&["footprint", *name, &memory], &words[..]].concat());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Contestant, Plan, luc, microvm};

    #[test]
    fn both_programs_get_the_same_guest() {
        let programs: [Contestant; 2] = [("luc", luc), ("microvm", microvm)];
        let plan = Plan {
            pairs: 3,
            programs: &programs,
        };
        let text = plan.text(&["kvm"]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["load\t/lib/kvm.ko.xz", "pairs\t3"]);
        assert_eq!(lines.len(), 6, "{text}");
        let cmdline = |line: &str| line.rsplit('\t').next().map(str::to_owned);
        assert!(lines[2].starts_with("time\tluc\t/"), "{text}");
        assert_eq!(cmdline(lines[2]), cmdline(lines[3]));
        assert!(lines[5].starts_with("footprint\tmicrovm\t128\t/"), "{text}");
        assert_eq!(cmdline(lines[4]), cmdline(lines[5]));
    }
}
