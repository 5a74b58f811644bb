//! How fast a VM starts, beside QEMU microvm, inside the same node-like machine.
//!
//! Does:      boots one machine with our kernel, lets `bench-init` start VMs of both programs in
//!            turn, and reads what it measured there.
//! Does not:  compare numbers of different boots: an emulated host differs too much.
//! Bounds:    `PAIRS_MAX` pairs; `PAIR_LIMIT` each.
//! Trusts:    the clock of that machine.
//! Start at:  `measure`.

use std::time::Duration;

use guest::bench::{DONE, FOOTPRINT, Fields, MARK, PROBLEM, RUN};
use serde::Serialize;

use super::pack;
use super::plan::{self, Contestant, GUEST_MIB, Plan};
use super::sample::Sample;
use crate::machine::{Boot, Firmware, Shape};
use crate::scenario::{Problem, chain};
use crate::story::Story;

/// What we are called in plans and reports.
pub const LUC: &str = "luc";
/// What we are compared with.
pub const MICROVM: &str = "qemu microvm";
/// QEMU's name without a space, in the plan.
const MICROVM_KEY: &str = "microvm";
/// More pairs than this tell nothing new.
pub const PAIRS_MAX: u32 = 50;
/// A pair takes 10 to 30 s in emulation.
const PAIR_LIMIT: Duration = Duration::from_secs(180);
/// The packed QEMU has 60 MB, twice while it is unpacked.
const MACHINE_MIB: u32 = 1024;

/// Both programs, and ours over theirs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Starts {
    /// Memory of the guests.
    pub guest_mib: u32,
    /// `luc vmm run`.
    pub luc: Option<Program>,
    /// QEMU.
    pub microvm: Option<Program>,
    /// Ours over theirs, pair by pair, from start to the guest's init.
    pub init_ratio: Option<Sample>,
    /// The same, from start to the program's end.
    pub exit_ratio: Option<Sample>,
    /// What could not be measured, and why.
    pub problems: Vec<String>,
}

/// One program's starts, in milliseconds since just before it was started.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// What was run.
    pub command: String,
    /// Until the guest's first instruction of its own init.
    pub init_ms: Sample,
    /// Until the guest's token.
    pub token_ms: Sample,
    /// Until the program had ended.
    pub exit_ms: Sample,
    /// What the guest's own clock showed at its init: the rest passed before its kernel's clock
    /// started.
    pub guest_clock_ms: Sample,
    /// Processor time in the guest.
    pub guest_cpu_ms: Sample,
    /// Processor time in the program itself, without the guest's.
    pub program_cpu_ms: Sample,
    /// Processor time in the machine's kernel for it.
    pub kernel_cpu_ms: Sample,
    /// Memory beyond the guest's.
    pub footprint: Option<Footprint>,
}

/// Memory that a VM costs beyond its guest's, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// Processes of the program.
    pub processes: u64,
    /// Present pages.
    pub rss_kib: u64,
    /// Present pages, shared ones counted once.
    pub pss_kib: u64,
}

/// Boots the bench machine once and reads its lines.
pub fn measure(story: &mut Story, pairs: u32) -> Result<Starts, Problem> {
    let programs: [Contestant; 2] = [(LUC, plan::luc), (MICROVM_KEY, plan::microvm)];
    let pairs = pairs.clamp(1, PAIRS_MAX);
    let plan = Plan {
        pairs,
        programs: &programs,
    };
    let supplies = story.supplies();
    let boot = Boot::Direct {
        kernel: supplies.paths.image.join("vmlinuz"),
        initrd: pack::vm_starts(supplies, &plan, story.folders().logs).map_err(Problem::Broken)?,
        cmdline: "console=ttyS0 quiet panic=-1".to_owned(),
    };
    // One processor: QEMU 7.2 loses, now and then, a race between processors when the kernel
    // rewrites its own code, which is what loading KVM does.
    let shape = Shape::new("vm-starts", Firmware::Bios, boot).memory_mib(MACHINE_MIB);
    let mut machine = story.power_on(shape)?;
    let limit = PAIR_LIMIT * (pairs + 2);
    machine.booted(MARK, PAIR_LIMIT)?;
    let ended = machine.serial().wait_for(&format!("{MARK}{DONE}"), limit);
    let lines = machine.serial().all_with(MARK);
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    let mut starts = read(&texts);
    if let Err(problem) = ended {
        starts.problems.push(chain(&problem));
    }
    Ok(starts)
}

/// Makes the report of the machine's lines.
fn read(lines: &[&str]) -> Starts {
    let fields: Vec<Fields<'_>> = lines
        .iter()
        .filter_map(|line| Fields::parse(line))
        .collect();
    let problems = fields.iter().filter(|fields| fields.kind == PROBLEM);
    let (ours, theirs) = (Runs::of(&fields, LUC), Runs::of(&fields, MICROVM_KEY));
    Starts {
        guest_mib: GUEST_MIB,
        luc: ours.report(&plan::luc("...")),
        microvm: theirs.report(&plan::microvm("...")),
        init_ratio: ours.over(&theirs, "init_us"),
        exit_ratio: ours.over(&theirs, "exit_us"),
        problems: problems.map(|fields| fields.text().to_owned()).collect(),
    }
}

/// The counted runs of one program, by pair.
struct Runs<'a> {
    runs: Vec<Fields<'a>>,
    footprint: Option<Fields<'a>>,
}

impl<'a> Runs<'a> {
    fn of(fields: &[Fields<'a>], program: &str) -> Self {
        let is_its = |fields: &&Fields<'a>| fields.value("program") == Some(program);
        // Pair 0 only warms the machine up.
        let is_counted =
            |fields: &&Fields<'a>| fields.kind == RUN && fields.number("pair") > Some(0);
        let its = fields.iter().filter(is_its);
        Self {
            runs: its.clone().filter(is_counted).copied().collect(),
            footprint: its.copied().find(|fields| fields.kind == FOOTPRINT),
        }
    }

    fn values(&self, key: &str) -> Vec<f64> {
        self.runs
            .iter()
            .filter_map(|run| number(run, key))
            .collect()
    }

    /// Ratios of the pairs that both have finished.
    fn over(&self, theirs: &Self, key: &str) -> Option<Sample> {
        let (mut upper, mut lower) = (Vec::new(), Vec::new());
        for run in &self.runs {
            let is_pair = |other: &&Fields<'_>| other.value("pair") == run.value("pair");
            let other = theirs.runs.iter().find(is_pair);
            if let (Some(ours), Some(theirs)) =
                (number(run, key), other.and_then(|o| number(o, key)))
            {
                upper.push(ours);
                lower.push(theirs);
            }
        }
        Sample::of_ratios(&upper, &lower)
    }

    fn report(&self, command: &[String]) -> Option<Program> {
        let scaled = |key: &str, scale: f64| {
            let values: Vec<f64> = self.values(key).iter().map(|value| value / scale).collect();
            Sample::of(&values)
        };
        let program: Vec<f64> = self
            .runs
            .iter()
            .filter_map(|run| Some((number(run, "user_ms")? - number(run, "guest_ms")?).max(0.0)))
            .collect();
        Some(Program {
            command: command.join(" "),
            init_ms: scaled("init_us", 1000.0)?,
            token_ms: scaled("token_us", 1000.0)?,
            exit_ms: scaled("exit_us", 1000.0)?,
            guest_clock_ms: scaled("clock_ms", 1.0)?,
            guest_cpu_ms: scaled("guest_ms", 1.0)?,
            program_cpu_ms: Sample::of(&program)?,
            kernel_cpu_ms: scaled("system_ms", 1.0)?,
            footprint: self.footprint.as_ref().and_then(footprint),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of a run, far below 2^52"
)]
fn number(fields: &Fields<'_>, key: &str) -> Option<f64> {
    Some(fields.number(key)? as f64)
}

fn footprint(fields: &Fields<'_>) -> Option<Footprint> {
    Some(Footprint {
        processes: fields.number("processes")?,
        rss_kib: fields.number("rss_kib")?,
        pss_kib: fields.number("pss_kib")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::read;

    const LINES: [&str; 7] = [
        "LUC-BENCH run program=luc pair=0 init_us=9000000 token_us=9 exit_us=9 clock_ms=9 user_ms=9 system_ms=9 guest_ms=9",
        "LUC-BENCH run program=microvm pair=1 init_us=4000000 token_us=4100000 exit_us=5000000 clock_ms=2000 user_ms=3500 system_ms=500 guest_ms=3000",
        "LUC-BENCH run program=luc pair=1 init_us=2000000 token_us=2100000 exit_us=2500000 clock_ms=1500 user_ms=1700 system_ms=100 guest_ms=1600",
        "LUC-BENCH run program=luc pair=2 init_us=3000000 token_us=3100000 exit_us=3500000 clock_ms=1500 user_ms=1700 system_ms=100 guest_ms=1600",
        "LUC-BENCH problem program=microvm ended with exit status: 1",
        "LUC-BENCH footprint program=luc processes=2 rss_kib=4000 pss_kib=3000 guest_kib=60000",
        "LUC-BENCH done",
    ];

    #[test]
    fn only_complete_pairs_are_compared_and_problems_are_kept() {
        let starts = read(&LINES);
        let ratio = starts.init_ratio.unwrap();
        assert_eq!((ratio.median, ratio.runs), (0.5, 1));
        let luc = starts.luc.unwrap();
        assert_eq!((luc.init_ms.median, luc.init_ms.runs), (2500.0, 2));
        assert_eq!(luc.program_cpu_ms.median, 100.0);
        assert_eq!(luc.footprint.unwrap().pss_kib, 3000);
        assert_eq!(
            starts.problems,
            ["program=microvm ended with exit status: 1"]
        );
    }

    #[test]
    fn a_machine_that_said_nothing_makes_an_empty_report() {
        let starts = read(&[]);
        assert!(starts.luc.is_none() && starts.init_ratio.is_none());
    }
}
