//! The accountant of one machine, with its meters and the files that they read.
//!
//! Does:      finds out what the machine is, reads RAPL at once and slower sensors aside, gathers
//!            processor time of VMs and of LUC OS itself, and ticks.
//! Does not:  know tasks or clocks (`watch` does).
//! Bounds:    `METERS_MAX` meters; threads as `sys::cpu_time` bounds them.
//! Trusts:    /proc and /sys.
//! Start at:  `Books::tick`.

use super::{answer, unreachable};
use energy::accountant::{Accountant, Machine, Tick};
use energy::ledger::{Account, Ledger, Service, Slice, Topology, Total};
use energy::meter::bank::{Meter, Step};
use energy::meter::curve::{self, Curve};
use energy::meter::hwmon::Hwmon;
use energy::meter::powercap::Powercap;
use energy::meter::{FileFault, Files, SECOND, Uptime, Wish};
use protocol::{ByteCount, Microwatts, VmId};
use std::cell::RefCell;
use std::io;
use std::path::Path;
use sys::cpu_time;
use sys::sensors::{Sensors, in_each_folder};

/// A VM that has a process.
#[derive(Debug, Clone)]
pub(crate) struct Working {
    pub vm: VmId,
    pub pid: u32,
    pub vcpus: u32,
    /// Its control group's folder.
    pub group: String,
    pub began_ms: u64,
}

/// The books, once they are open.
#[derive(Debug, Default)]
pub(crate) struct Energy(RefCell<Option<Books>>);

impl Energy {
    pub(super) fn open(&self, books: Books) {
        self.0.replace(Some(books));
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Books) -> T) -> Option<T> {
        self.0.borrow_mut().as_mut().map(act)
    }

    /// The VM's processes have ended; what they used since the last tick is still in their group.
    pub fn ended(&self, vm: VmId, group: &Path, began_ms: u64) {
        let group = group.to_string_lossy();
        self.with(|books| books.ended(vm, &group, began_ms));
    }

    /// The VM is deleted.
    pub fn close(&self, vm: VmId) {
        self.with(|books| books.accountant.ledger.close(vm));
    }
}

/// A meter and what it asked for.
#[derive(Debug)]
pub(super) struct Kept {
    pub meter: Meter,
    paths: Vec<String>,
    files: Files,
    period_ns: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Books {
    pub(super) accountant: Accountant,
    pub(super) rapl: Kept,
    pub(super) slow: Kept,
    curve: Curve,
    sensors: Sensors,
    /// Threads matter only where cores have two halves.
    has_halves: bool,
    /// Last times of VMs that ended since the tick before.
    ended: Vec<Total>,
    /// Processor time of this accounting itself.
    own_ns: u64,
    pub(super) ticks: u64,
}

/// VMs that end between two ticks; the last times of more are charged to nobody in particular.
const ENDED_MAX: usize = 256;

/// Which number a meter has for the fusion.
const RAPL: usize = 0;
const SLOW: usize = 1;

impl Kept {
    fn new(meter: Meter, period_ns: u64) -> Self {
        Self {
            meter,
            paths: Vec::new(),
            files: Files::default(),
            period_ns,
        }
    }

    /// Which files a wish means.
    fn paths_of(&mut self, wish: &Wish) -> Vec<String> {
        match wish {
            Wish::Folders { path, files } => in_each_folder(path, files),
            Wish::Files(paths) => {
                self.paths.clone_from(paths);
                paths.clone()
            }
            // Neither sends bytes nor models load.
            Wish::SameFiles | Wish::Exchange { .. } | Wish::Load => self.paths.clone(),
        }
    }
}

impl Books {
    /// Opens them for the machine that this is.
    pub fn of_machine() -> Self {
        let (processor, packages) = cpu_time::model();
        let threads = sys::usage::processors();
        let memory = sys::usage::memory().unwrap_or_default();
        let curve = Curve::of_machine(&curve::Machine {
            processor: &processor,
            packages,
            threads,
            memory: ByteCount::bytes(memory.total_bytes),
        });
        let topology = Topology {
            siblings: cpu_time::siblings(threads),
        };
        let has_halves = topology.has_halves();
        let machine = Machine {
            topology,
            threads,
            idle_guess: curve.at(0),
        };
        Self {
            accountant: Accountant::new(machine, Ledger::new()),
            rapl: Kept::new(Meter::new(Box::new(Powercap::new())), SECOND),
            slow: Kept::new(Meter::new(Box::new(Hwmon::new())), 5 * SECOND),
            curve,
            sensors: Sensors::default(),
            has_halves,
            ended: Vec::new(),
            own_ns: 0,
            ticks: 0,
        }
    }

    /// What the model goes by.
    pub fn model(&self) -> &str {
        &self.curve.origin
    }

    /// What it says of the last interval.
    pub fn model_power(&self) -> Microwatts {
        let load_ppm = self.accountant.last().map_or(0, |last| last.load_ppm);
        self.curve.at(load_ppm)
    }

    /// Reads RAPL; gives back what a slower meter wishes.
    pub fn read_meters(&mut self, now: Uptime) -> Option<Wish> {
        self.rapl.meter.handle_timeout(now);
        let mut wish = self.rapl.meter.poll(now);
        while let Some(wanted) = wish.take() {
            if wanted != Wish::SameFiles {
                self.rapl.files.clear();
            }
            let paths = match wanted {
                Wish::SameFiles => std::mem::take(&mut self.rapl.paths),
                ref wanted => self.rapl.paths_of(wanted),
            };
            for path in &paths {
                match self.sensors.read(path) {
                    Ok(text) => self.rapl.files.put(path, Ok(text)),
                    Err(error) => self.rapl.files.put(path, Err(fault_of(&error))),
                }
            }
            if matches!(wanted, Wish::SameFiles) {
                self.rapl.paths = paths;
            }
            match self.rapl.meter.answered(now, answer(&self.rapl.files)) {
                Step::Fetch(next) => wish = Some(next),
                Step::ReadOn | Step::Over => {}
            }
            let (period_ns, fusion) = (self.rapl.period_ns, &mut self.accountant.fusion);
            fusion.told(now, RAPL, period_ns, self.rapl.meter.readings());
        }
        self.slow.meter.handle_timeout(now);
        let wish = self.slow.meter.poll(now)?;
        Some(Wish::Files(match wish {
            // A thread knows nothing of the round before; folders are listed there, not here.
            Wish::Folders { .. } => return Some(wish),
            other => self.slow.paths_of(&other),
        }))
    }

    /// What the thread has read.
    pub fn slow_answered(&mut self, now: Uptime, files: &Files) {
        match self.slow.meter.answered(now, answer(files)) {
            Step::Over => {
                let readings = self.slow.meter.readings();
                let fusion = &mut self.accountant.fusion;
                fusion.told(now, SLOW, self.slow.period_ns, readings);
            }
            Step::Fetch(_) | Step::ReadOn => {
                self.slow
                    .meter
                    .failed(now, unreachable("it wishes twice in a round"));
            }
        }
    }

    pub fn slow_failed(&mut self, now: Uptime, why: &str) {
        self.slow.meter.failed(now, unreachable(why));
    }

    /// Charges what was drawn since the tick before.
    pub fn tick(&mut self, now: Uptime, vms: &[Working]) {
        self.ticks += 1;
        let (mut slices, mut totals) = (Vec::new(), self.own_totals());
        let again = |total: &Total| vms.iter().any(|vm| Account::Vm(vm.vm) == total.account);
        // One that ended and runs again within a tick is told by its new life alone.
        totals.extend(self.ended.drain(..).filter(|total| !again(total)));
        for vm in vms {
            let account = Account::Vm(vm.vm);
            if self.has_halves {
                let threads = cpu_time::threads(&mut self.sensors, vm.pid);
                slices.extend(threads.into_iter().map(|thread| Slice {
                    account,
                    thread: thread.thread,
                    began: thread.began_ns,
                    cpu_ns: thread.cpu_ns,
                    processor: thread.processor,
                }));
            }
            // Its group knows threads that have ended.
            if let Some(cpu_ns) = cpu_time::group(&mut self.sensors, &vm.group) {
                let began = vm.began_ms * energy::meter::MS;
                totals.push(Total {
                    account,
                    began,
                    cpu_ns,
                });
            }
        }
        let reserved: Vec<_> = vms
            .iter()
            .map(|vm| (Account::Vm(vm.vm), vm.vcpus))
            .collect();
        let busy_ns = cpu_time::machine(&mut self.sensors).unwrap_or(0);
        let load_ppm = self.accountant.load_ppm(now, busy_ns);
        self.accountant.tick(&Tick {
            now,
            began_clock: now.0,
            slices: &slices,
            totals: &totals,
            reserved: &reserved,
            busy_ns,
            model: self.curve.at(load_ppm),
            model_class: self.curve.class(),
        });
    }

    fn ended(&mut self, vm: VmId, group: &str, began_ms: u64) {
        let cpu_ns = cpu_time::group(&mut self.sensors, group);
        if let Some(cpu_ns) = cpu_ns.filter(|_| self.ended.len() < ENDED_MAX) {
            let (account, began) = (Account::Vm(vm), began_ms * energy::meter::MS);
            self.ended.push(Total {
                account,
                began,
                cpu_ns,
            });
        }
        // Nothing of it stays open: not its group, and no thread's files; those of other VMs are
        // opened again at the next tick.
        self.sensors
            .keep_only(|path| !path.starts_with(group) && !path.contains("/task/"));
    }

    /// LUC OS itself: PID 1, this process, and this accounting, which is taken out of it.
    fn own_totals(&mut self) -> Vec<Total> {
        let total = |service, cpu_ns| Total {
            account: Account::Service(service),
            began: 0,
            cpu_ns,
        };
        let node_ns = cpu_time::own_process_ns().saturating_sub(self.own_ns);
        let mut totals = vec![
            total(Service::Node, node_ns),
            total(Service::Energy, self.own_ns),
        ];
        if let Some((cpu_ns, _)) = cpu_time::process(&mut self.sensors, 1) {
            totals.push(total(Service::Init, cpu_ns));
        }
        totals
    }

    /// Processor time that this accounting took.
    pub fn spent(&mut self, cpu_ns: u64) {
        self.own_ns = self.own_ns.saturating_add(cpu_ns);
    }
}

/// Reads what a slow meter wishes, on a thread of its own.
pub(super) fn read_files(wish: &Wish) -> Files {
    let paths = match wish {
        Wish::Folders { path, files } => in_each_folder(path, files),
        Wish::Files(paths) => paths.clone(),
        Wish::SameFiles | Wish::Exchange { .. } | Wish::Load => Vec::new(),
    };
    let mut files = Files::default();
    for path in paths {
        match std::fs::read(&path) {
            Ok(text) => files.put(&path, Ok(&text)),
            Err(error) => files.put(&path, Err(fault_of(&error))),
        }
    }
    files
}

fn fault_of(error: &io::Error) -> FileFault {
    match error.kind() {
        io::ErrorKind::NotFound => FileFault::Absent,
        io::ErrorKind::PermissionDenied => FileFault::Forbidden,
        _ => FileFault::Broken,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// On whatever machine the tests run: with meters or, as usually, without.
    #[test]
    fn the_books_of_this_machine_sum_to_it() {
        let mut books = Books::of_machine();
        let folder = std::env::temp_dir().join(format!("luc-group-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("cpu.stat"), "usage_usec 5000\n").unwrap();
        let vm = Working {
            vm: VmId::from_bytes([1; 16]),
            pid: std::process::id(),
            vcpus: 1,
            group: folder.to_string_lossy().into_owned(),
            began_ms: 0,
        };
        for second in 1..=5 {
            let now = Uptime(second * SECOND);
            if let Some(wish) = books.read_meters(now) {
                books.slow_answered(now, &read_files(&wish));
            }
            books.tick(now, std::slice::from_ref(&vm));
            books.spent(1_000_000);
        }
        let ledger = &books.accountant.ledger;
        let sum: u64 = ledger.rows().map(|(_, row)| row.total().0).sum();
        assert_eq!(sum, ledger.host().0);
        assert!(ledger.host().0 > 0);
        let last = books.accountant.last().unwrap();
        assert!(
            last.parts
                .iter()
                .any(|(account, _)| *account == Account::Vm(vm.vm))
        );
        assert_eq!(last.host.over_ns, SECOND);
        let open = books.sensors.open_files();
        books.ended(vm.vm, &vm.group, 0);
        assert!(books.sensors.open_files() < open, "{books:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// The budget with 50 VMs, by this thread's own clock: printed, and held to ten times the
    /// goal, since the machine under the tests is shared.
    #[test]
    fn a_tick_with_fifty_vms_is_cheap() {
        let mut books = Books::of_machine();
        let folder = std::env::temp_dir().join(format!("luc-energy-{}", std::process::id()));
        let vms: Vec<Working> = (0..50)
            .map(|number| {
                let group = folder.join(number.to_string());
                std::fs::create_dir_all(&group).unwrap();
                std::fs::write(group.join("cpu.stat"), "usage_usec 100\n").unwrap();
                Working {
                    vm: VmId::from_bytes([number; 16]),
                    pid: std::process::id(),
                    vcpus: 1,
                    group: group.to_str().unwrap().to_owned(),
                    began_ms: 0,
                }
            })
            .collect();
        let mut spent = Vec::new();
        for second in 1..=50 {
            let before = cpu_time::own_thread_ns();
            let now = Uptime(second * SECOND);
            let _ = books.read_meters(now);
            books.tick(now, &vms);
            spent.push(cpu_time::own_thread_ns() - before);
        }
        spent.sort_unstable();
        println!(
            "a tick with 50 VMs: median {} us, most {} us",
            spent[25] / 1000,
            spent[49] / 1000
        );
        assert!(spent[25] < 5_000_000, "{spent:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
