//! The stages of our boot, beside the same kernel with a trivial init, in the same run.
//!
//! Does:      boots both in turn on the same machine; reads our stages and their floor; asks the
//!            ready node what its own processes hold.
//! Does not:  include firmware: QEMU loads the kernel, so both start at the same point.
//! Bounds:    `RUNS_MAX` boots each; `BOOT_LIMIT` a boot.
//! Trusts:    each kernel's own clock for stages, the host's for arrival.
//! Start at:  `measure`.

use std::collections::BTreeMap;
use std::time::Duration;

use guest::bench::{BARE, Fields, MARK};
use protocol::ProcessUse;
use serde::Serialize;
use serde_json::Value;

use super::pack;
use super::sample::Sample;
use crate::lan::Lan;
use crate::machine::{Boot, Firmware, Line, Shape};
use crate::node::{self, Node};
use crate::scenario::Problem;
use crate::stages::{self, Report};
use crate::story::Story;

/// More runs than this tell nothing new.
pub const RUNS_MAX: u32 = 50;
/// The stages of a boot, in order: `kernel` is the hand-off, where the kernel's clock starts;
/// what comes after `ready`, until VMs can run, is told as well.
pub const STAGES: [&str; 8] = [
    "kernel", "init", "devices", "network", "address", "ready", "modules", "kvm",
];
/// The last stage.
const LAST: &str = "] kvm ";
/// A boot takes 3 to 15 s in emulation.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// After it is ready, a node settles for this long before its memory is looked at.
const IDLE: Duration = Duration::from_secs(5);
/// The memory of both.
const MACHINE_MIB: u32 = 512;

/// Both boots.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Boots {
    /// LUC OS.
    pub luc: Vec<Stage>,
    /// The same kernel with a trivial init.
    pub bare: Vec<Stage>,
    /// Hand-off to ready over hand-off to the bare init, run by run.
    pub ready_ratio: Option<Sample>,
    /// What the idle node's own processes hold.
    pub idle: Option<Idle>,
    /// What could not be measured, and why.
    pub problems: Vec<String>,
}

/// One stage over all runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// Its name.
    pub stage: String,
    /// Since the hand-off, by the kernel's clock.
    pub clock_ms: Sample,
    /// Since the machine was switched on, by the host's clock.
    pub host_ms: Sample,
}

/// Resident memory of a node's own processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Idle {
    /// All together, in bytes.
    pub resident_bytes: u64,
    /// By process.
    pub processes: BTreeMap<String, u64>,
}

/// When one boot reached what, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Marks(Vec<Mark>);

#[derive(Clone, Debug, PartialEq)]
struct Mark {
    stage: String,
    clock_ms: f64,
    host_ms: f64,
}

/// Boots both in turn, `runs` times.
pub fn measure(story: &mut Story, runs: u32) -> Result<Boots, Problem> {
    let logs = story.folders().logs.to_owned();
    let bare = pack::bare(&story.supplies().paths, &logs).map_err(Problem::Broken)?;
    let ours = node::direct(story.supplies(), "");
    let Boot::Direct {
        kernel, cmdline, ..
    } = ours.clone()
    else {
        return Err(Problem::broken(
            "the node boots otherwise than by its kernel",
        ));
    };
    let floor = Boot::Direct {
        kernel,
        initrd: bare,
        cmdline,
    };
    let mut lan = Lan::with_netboot(story, "lan")?;
    // One plug serves all boots: they come one after the other.
    let machine = lan
        .plug(Shape::new("boot", Firmware::Bios, ours))?
        .memory_mib(MACHINE_MIB);
    let bare = Shape {
        boot: floor,
        ..machine.clone()
    };

    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    let mut boots = Boots::default();
    for run in 1..=runs.clamp(1, RUNS_MAX) {
        // Each goes first every other time, so that a host that slows down favours neither.
        for turn in 0..2 {
            let is_ours = (run + turn) % 2 == 0;
            let outcome = if is_ours {
                let shape = named(&machine, &format!("luc-{run}"));
                boot_node(story, shape, &lan, &mut boots.idle).map(|marks| ours.push((run, marks)))
            } else {
                let shape = named(&bare, &format!("bare-{run}"));
                boot_bare(story, shape).map(|marks| floors.push((run, marks)))
            };
            if let Err(problem) = outcome {
                let who = if is_ours { "LUC OS" } else { "the bare kernel" };
                boots.problems.push(format!("run {run}, {who}: {problem}"));
            }
        }
    }
    boots.ready_ratio = ratio(&ours, &floors);
    boots.luc = all_stages(&ours);
    boots.bare = all_stages(&floors);
    Ok(boots)
}

fn named(shape: &Shape, name: &str) -> Shape {
    Shape {
        name: name.to_owned(),
        ..shape.clone()
    }
}

/// One boot of the bare kernel.
fn boot_bare(story: &mut Story, shape: Shape) -> Result<Marks, Problem> {
    let mut machine = story.power_on(shape)?;
    let line = machine.booted(&format!("{MARK}{BARE}"), BOOT_LIMIT)?;
    let fields = Fields::parse(&line.text);
    let clock_ms = fields.and_then(|fields| fields.number("clock_ms"));
    let clock_ms =
        clock_ms.ok_or_else(|| Problem::broken(format!("{:?} tells no time", line.text)))?;
    Ok(Marks::with_hand_off(Mark {
        stage: "init".to_owned(),
        clock_ms: ms(Duration::from_millis(clock_ms)),
        host_ms: ms(line.at),
    }))
}

/// One boot of LUC OS; the first one that gets ready is also asked for its memory.
fn boot_node(
    story: &mut Story,
    shape: Shape,
    lan: &Lan,
    idle: &mut Option<Idle>,
) -> Result<Marks, Problem> {
    let mut machine = story.power_on(shape)?;
    machine.booted("] ready ", BOOT_LIMIT)?;
    machine.serial().wait_for(LAST, BOOT_LIMIT)?;
    let node = Node::join(story, lan, machine)?;
    let marks = Marks::of(&node.machine.serial().all_with(stages::MARK))
        .ok_or_else(|| Problem::broken("no stage was told"))?;
    if idle.is_none() {
        std::thread::sleep(IDLE);
        *idle = Some(idle_of(&node.show()?)?);
    }
    Ok(marks)
}

/// Sums the processes that a node tells of.
fn idle_of(node: &Value) -> Result<Idle, Problem> {
    let processes: Vec<ProcessUse> = serde_json::from_value(node["processes"].clone())?;
    let mut idle = Idle::default();
    for process in processes {
        idle.resident_bytes += process.resident.get();
        *idle.processes.entry(process.name).or_default() += process.resident.get();
    }
    Ok(idle)
}

impl Marks {
    /// The first line of each stage.
    fn of(lines: &[Line]) -> Option<Self> {
        let mut marks: Option<Self> = None;
        for line in lines {
            let Some(report) = Report::parse(&line.text) else {
                continue;
            };
            let mark = Mark {
                stage: report.stage.to_owned(),
                clock_ms: ms(report.clock),
                host_ms: ms(line.at),
            };
            match &mut marks {
                None if mark.stage == "init" => marks = Some(Self::with_hand_off(mark)),
                Some(marks)
                    if STAGES.contains(&report.stage) && marks.at(report.stage).is_none() =>
                {
                    marks.0.push(mark);
                }
                _ => {}
            }
        }
        marks
    }

    /// The hand-off to the kernel is where its clock was zero.
    fn with_hand_off(init: Mark) -> Self {
        let kernel = Mark {
            stage: "kernel".to_owned(),
            clock_ms: 0.0,
            host_ms: (init.host_ms - init.clock_ms).max(0.0),
        };
        Self(vec![kernel, init])
    }

    fn at(&self, stage: &str) -> Option<&Mark> {
        self.0.iter().find(|mark| mark.stage == stage)
    }
}

/// Each stage over all runs that reached it.
fn all_stages(runs: &[(u32, Marks)]) -> Vec<Stage> {
    let of = |stage: &str| {
        let marks: Vec<&Mark> = runs
            .iter()
            .filter_map(|(_, marks)| marks.at(stage))
            .collect();
        let sample = |value: fn(&Mark) -> f64| {
            Sample::of(&marks.iter().map(|mark| value(mark)).collect::<Vec<_>>())
        };
        Some(Stage {
            stage: stage.to_owned(),
            clock_ms: sample(|mark| mark.clock_ms)?,
            host_ms: sample(|mark| mark.host_ms)?,
        })
    };
    STAGES.iter().filter_map(|stage| of(stage)).collect()
}

/// Ready over the bare init, of the runs that both have finished.
fn ratio(ours: &[(u32, Marks)], floors: &[(u32, Marks)]) -> Option<Sample> {
    let (mut upper, mut lower) = (Vec::new(), Vec::new());
    for (run, marks) in ours {
        let floor = floors.iter().find(|(other, _)| other == run);
        let init = floor.and_then(|(_, marks)| marks.at("init"));
        if let (Some(ready), Some(init)) = (marks.at("ready"), init) {
            upper.push(ready.clock_ms);
            lower.push(init.clock_ms);
        }
    }
    Sample::of_ratios(&upper, &lower)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Idle, Mark, Marks, all_stages, idle_of, ratio};
    use crate::machine::Line;
    use std::time::Duration;

    fn line(at_ms: u64, text: &str) -> Line {
        Line {
            number: 0,
            at: Duration::from_millis(at_ms),
            text: text.to_owned(),
        }
    }

    #[test]
    fn stages_count_from_the_hand_off_and_only_their_first_line() {
        let marks = Marks::of(&[
            line(900, "luc[    0.100] warning before init"),
            line(3000, "luc[    2.000] init"),
            line(4000, "luc[    2.900] ready http://10.0.0.5/"),
            line(9000, "luc[    8.000] ready http://10.0.0.6/"),
        ]);
        let marks = marks.unwrap();
        let times: Vec<_> = marks
            .0
            .iter()
            .map(|m| (m.stage.as_str(), m.host_ms))
            .collect();
        assert_eq!(
            times,
            [("kernel", 1000.0), ("init", 3000.0), ("ready", 4000.0)]
        );
        assert_eq!(Marks::of(&[line(1, "Linux version 6")]), None);
    }

    #[test]
    fn a_run_counts_when_both_have_finished_it() {
        let boot = |stage: &str, clock_ms: f64| {
            let stage = stage.to_owned();
            Marks(vec![Mark {
                stage,
                clock_ms,
                host_ms: clock_ms,
            }])
        };
        let ours = [
            (1, boot("ready", 4000.0)),
            (2, boot("ready", 9000.0)),
            (3, boot("init", 1.0)),
        ];
        let floors = [(1, boot("init", 2000.0)), (3, boot("init", 2000.0))];
        let found = ratio(&ours, &floors).unwrap();
        assert_eq!((found.median, found.runs), (2.0, 1));
        assert_eq!(all_stages(&ours)[1].clock_ms.runs, 2);
    }

    #[test]
    fn the_memory_of_processes_of_one_name_is_added() {
        let process = |name: &str, resident: &str| serde_json::json!({"name": name, "pid": 7, "resident": resident, "open_files": 3});
        let processes = [
            process("vmm", "1MiB"),
            process("init", "1KiB"),
            process("vmm", "3B"),
        ];
        let idle = idle_of(&serde_json::json!({ "processes": processes })).unwrap();
        let processes = [("init", 1024), ("vmm", 1_048_579)].map(|(n, b)| (n.to_owned(), b));
        assert_eq!(
            idle,
            Idle {
                resident_bytes: 1_049_603,
                processes: processes.into()
            }
        );
        assert!(idle_of(&serde_json::json!({})).is_err());
    }
}
