//! The monitor processes: one jailed child per running VM.
//!
//! Does:      opens what a VM needs, starts its process in a control group of its own, hears its
//!            events, moves its console, and tells the cloud its end once everything is free.
//! Does not:  restart anything; the cloud asks for each process.
//! Bounds:    `VMS_MAX` processes; each has its memory, `PROCESSES_MAX`, its own user.
//! Trusts:    nothing a child says beyond the event types: a guest may have taken it over.
//! Start at:  `spawn`, then `live`.

use super::Node;
use super::energy::Working;
use crate::console::pump;
use cloud::{Disk, Ended, Event, Launch, VmEvent};
use machine::control::{self, DiskSpec, Jail, Request, Start};
use netio::executor::yield_now;
use protocol::{Digest, VmId};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use sys::cgroups::{Group, Limits};
use sys::memory_file::MemoryFile;
use sys::processes::{Exit, Process};

/// The first user id of guests' processes; nothing else on a node has one above 0.
const USER_BASE: u32 = 100_000;
/// Threads of one monitor process: vCPUs, I/O, and what the kernel adds.
const PROCESSES_MAX: u32 = 64;
/// What a VM's group may use beyond its guest: the process, page tables, socket buffers.
const GROUP_EXTRA_BYTES: u64 = 48 << 20;
/// A child that closed its control socket ends within this, or is killed.
const EXIT_PATIENCE_MS: u64 = 5_000;
/// Bytes of a private disk copied before other tasks get a turn.
const COPY_BYTES: usize = 1 << 20;

/// One process, or the plan of one.
#[derive(Debug)]
struct Monitor {
    run: u32,
    name: String,
    vcpus: u32,
    began_ms: u64,
    process: RefCell<Option<Process>>,
    control: RefCell<Option<Rc<OwnedFd>>>,
    group: RefCell<Option<Group>>,
    /// The cloud asked for its end before it was made.
    killed: Cell<bool>,
}

/// All of them, and the disks that VMs own.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    running: RefCell<BTreeMap<VmId, Rc<Monitor>>>,
    disks: RefCell<BTreeMap<VmId, Rc<File>>>,
    users: RefCell<BTreeSet<u32>>,
}

impl Monitors {
    fn with(&self, vm: VmId, run: u32, act: impl FnOnce(&Monitor)) {
        let monitor = self.running.borrow().get(&vm).cloned();
        if let Some(monitor) = monitor.filter(|monitor| monitor.run == run) {
            act(&monitor);
        }
    }

    fn ask(&self, vm: VmId, run: u32, request: &Request) {
        self.with(vm, run, |monitor| {
            if let Some(control) = &*monitor.control.borrow() {
                // A child that does not listen is caught by the cloud's deadlines.
                let _ = control::send(control.as_fd(), request);
            }
        });
    }

    pub fn press_power_button(&self, vm: VmId, run: u32) {
        self.ask(vm, run, &Request::PowerButton);
    }

    pub fn reset(&self, vm: VmId, run: u32) {
        self.ask(vm, run, &Request::Reset);
    }

    /// Ends a process and whatever it started.
    pub fn kill(&self, vm: VmId, run: u32) {
        self.with(vm, run, |monitor| {
            monitor.killed.set(true);
            if let Some(group) = &*monitor.group.borrow() {
                let _ = group.kill();
            }
            if let Some(process) = &*monitor.process.borrow() {
                let _ = process.kill();
            }
        });
    }

    /// The VM is gone: its own disk too.
    pub fn forget(&self, vm: VmId) {
        self.disks.borrow_mut().remove(&vm);
    }

    /// Name of the VM and process number of each.
    pub fn processes(&self) -> impl Iterator<Item = (String, u32)> {
        let running = self.running.borrow();
        let found: Vec<_> = running
            .values()
            .filter_map(|monitor| {
                Some((monitor.name.clone(), monitor.process.borrow().as_ref()?.pid))
            })
            .collect();
        found.into_iter()
    }

    /// Each VM that has a process, for whoever accounts for it.
    pub fn working(&self) -> Vec<Working> {
        let running = self.running.borrow();
        let working = running.iter().filter_map(|(vm, monitor)| {
            let group = monitor.group.borrow();
            Some(Working {
                vm: *vm,
                pid: monitor.process.borrow().as_ref()?.pid,
                vcpus: monitor.vcpus,
                group: group.as_ref()?.path().to_str()?.to_owned(),
                began_ms: monitor.began_ms,
            })
        });
        working.collect()
    }

    fn take_user(&self) -> u32 {
        let mut users = self.users.borrow_mut();
        let free = (USER_BASE..)
            .find(|user| !users.contains(user))
            .unwrap_or(USER_BASE);
        users.insert(free);
        free
    }
}

/// Starts a VM's process in a task of its own.
pub(crate) fn spawn(node: &Rc<Node>, launch: Launch) {
    let monitor = Rc::new(Monitor {
        run: launch.run,
        name: launch.name.to_string(),
        vcpus: u32::from(launch.vcpus),
        began_ms: node.executor.now_ms(),
        process: RefCell::default(),
        control: RefCell::default(),
        group: RefCell::default(),
        killed: Cell::default(),
    });
    let (vm, run) = (launch.vm, launch.run);
    node.monitors
        .running
        .borrow_mut()
        .insert(vm, monitor.clone());
    let task = whole_life(node.clone(), launch, monitor);
    if let Err(error) = node.executor.spawn_detached(task) {
        node.monitors.running.borrow_mut().remove(&vm);
        let what = VmEvent::Exited(Ended::NeverStarted(error.to_string()));
        // Called while outputs are performed: the loop there takes what this causes.
        let event = Event::Vm { vm, run, what };
        node.cloud.borrow_mut().handle_event(node.now(), event);
    }
}

async fn whole_life(node: Rc<Node>, launch: Launch, monitor: Rc<Monitor>) {
    let (vm, run) = (launch.vm, launch.run);
    let user = node.monitors.take_user();
    let ended = match prepare(&node, &launch, &monitor, user).await {
        Ok(console) => live(&node, &launch, &monitor, console).await,
        Err(error) => Ended::NeverStarted(error),
    };
    free(&node, vm, &monitor).await;
    node.monitors.users.borrow_mut().remove(&user);
    // Only if it is still ours: the cloud never starts a second run before the first has ended.
    node.monitors.running.borrow_mut().remove(&vm);
    node.event(Event::Vm {
        vm,
        run,
        what: VmEvent::Exited(ended),
    });
}

/// Opens everything and starts the process; the error is a sentence.
async fn prepare(
    node: &Node,
    launch: &Launch,
    monitor: &Monitor,
    user: u32,
) -> Result<UnixStream, String> {
    let told = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let mut files = vec![open_kvm().map_err(told("opening /dev/kvm"))?];
    let (ours, theirs) = UnixStream::pair().map_err(told("making its console"))?;
    ours.set_nonblocking(true)
        .map_err(told("making its console"))?;
    files.push(theirs.into());
    for digest in [Some(launch.kernel), launch.initrd].into_iter().flatten() {
        let (file, _) = node
            .storage
            .borrow()
            .open(digest)
            .map_err(told("opening its image"))?;
        files.push(file.into());
    }
    let mut disks = Vec::new();
    if let Some(disk) = launch.disk {
        let file = open_disk(node, launch.vm, disk).await;
        files.push(file.map_err(told("opening its disk"))?.into());
        disks.push(DiskSpec {
            read_only: !disk.private,
        });
    }
    if monitor.killed.get() {
        return Err("it was ended before it began".to_owned());
    }
    let start = Start {
        name: launch.name.to_string(),
        vcpus: launch.vcpus,
        memory_mib: u32::try_from(launch.memory.get() >> 20).unwrap_or(u32::MAX),
        cmdline: launch.cmdline.clone(),
        initrd: launch.initrd.is_some(),
        disks,
        nics: Vec::new(),
        uid: user,
        jail: Jail::Full,
    };
    let borrowed: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    start_process(launch, monitor, start, &borrowed)?;
    Ok(ours)
}

fn start_process(
    launch: &Launch,
    monitor: &Monitor,
    start: Start,
    files: &[BorrowedFd<'_>],
) -> Result<(), String> {
    let told = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    if cfg!(test) {
        return Err("a test program is no monitor".to_owned());
    }
    let group = make_group(launch).map_err(|error| format!("{error}: {}", error.source))?;
    let (ours, theirs) = sys::seqpacket::pair().map_err(told("making its control socket"))?;
    // The child reads its first packet before it has an event loop.
    rustix::io::ioctl_fionbio(&theirs, false)
        .map_err(|errno| format!("making its control socket: {errno}"))?;
    let process = sys::processes::start_role(&["vmm", "serve"], theirs)
        .map_err(told("starting its process"))?;
    let adopted = group.adopt(process.pid);
    monitor.group.replace(Some(group));
    let sent = adopted
        .map_err(|error| format!("{error}: {}", error.source))
        .and_then(|()| {
            control::send_start(ours.as_fd(), start, files).map_err(told("sending its start"))
        });
    if sent.is_err() {
        let _ = process.kill();
    }
    monitor.process.replace(Some(process));
    monitor.control.replace(Some(Rc::new(ours)));
    sent
}

fn make_group(launch: &Launch) -> Result<Group, sys::cgroups::GroupError> {
    let vms = Group::create(None, "vms", Limits::default())?;
    let limits = Limits {
        memory_max_bytes: Some(launch.memory.get().saturating_add(GROUP_EXTRA_BYTES)),
        processes_max: Some(PROCESSES_MAX),
    };
    Group::create(Some(&vms), &launch.vm.to_string(), limits)
}

fn open_kvm() -> io::Result<OwnedFd> {
    Ok(OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")?
        .into())
}

async fn open_disk(node: &Node, vm: VmId, disk: Disk) -> io::Result<File> {
    if disk.private {
        private_disk(node, vm, disk.blob).await
    } else {
        Ok(node.storage.borrow().open(disk.blob)?.0)
    }
}

/// The VM's own copy of a disk, made at its first start.
async fn private_disk(node: &Node, vm: VmId, blob: Digest) -> io::Result<File> {
    let known = node.monitors.disks.borrow().get(&vm).cloned();
    if let Some(disk) = known {
        return disk.try_clone();
    }
    let (from, length) = node.storage.borrow().open(blob)?;
    let copy = MemoryFile::create(&vm.to_string(), length)?;
    let mut piece = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < length {
        let read = from.read_at(&mut piece, at)?;
        copy.write_at(&piece[..read], at)?;
        at += read.max(1) as u64;
        yield_now().await;
    }
    let disk = Rc::new(copy.into_file());
    node.monitors.disks.borrow_mut().insert(vm, disk.clone());
    disk.try_clone()
}

/// Hears a process until it has ended.
async fn live(node: &Rc<Node>, launch: &Launch, monitor: &Rc<Monitor>, guest: UnixStream) -> Ended {
    let (vm, run) = (launch.vm, launch.run);
    let console = node.console(vm);
    let moving = {
        let (node, console) = (node.clone(), console.clone());
        async move {
            let executor = node.executor.clone();
            pump(&executor, &console, &guest, || {
                node.event(Event::Vm {
                    vm,
                    run,
                    what: VmEvent::FirstOutput,
                });
            })
            .await;
        }
    };
    let moving = node.executor.spawn(moving);
    hear_events(node, launch, monitor).await;
    let ended = wait_for_end(node, monitor).await;
    // What it wrote last is still in the socket, which ends with it.
    if let Ok(mut moving) = moving
        && node
            .executor
            .timeout(EXIT_PATIENCE_MS, &mut moving)
            .await
            .is_err()
    {
        moving.abort();
    }
    ended
}

async fn hear_events(node: &Rc<Node>, launch: &Launch, monitor: &Monitor) {
    let Some(control) = monitor.control.borrow().clone() else {
        return;
    };
    loop {
        match control::recv(control.as_fd()) {
            Ok(Some(event)) => {
                if let control::Event::Warning(text) = &event {
                    node.line("warning", &format!("vm {}: {text}", launch.name));
                }
                if let Some(what) = translated(event) {
                    node.event(Event::Vm {
                        vm: launch.vm,
                        run: launch.run,
                        what,
                    });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if node.executor.readable(&*control).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                // It does not speak our language any more: nothing it does can be trusted.
                let reason = format!("its monitor process said nonsense: {error}");
                let what = VmEvent::Failed {
                    stage: "control".to_owned(),
                    reason,
                };
                node.event(Event::Vm {
                    vm: launch.vm,
                    run: launch.run,
                    what,
                });
                return;
            }
        }
    }
}

fn translated(event: control::Event) -> Option<VmEvent> {
    match event {
        control::Event::Jailed => Some(VmEvent::VmmStarted),
        control::Event::Running { .. } => Some(VmEvent::Running),
        control::Event::GuestReset => Some(VmEvent::GuestReset),
        control::Event::GuestShutdown => Some(VmEvent::GuestShutdown),
        control::Event::TripleFault { .. } => Some(VmEvent::TripleFault),
        control::Event::Failed { stage, reason } => {
            let stage = format!("{stage:?}").to_lowercase();
            Some(VmEvent::Failed { stage, reason })
        }
        control::Event::Started { .. }
        | control::Event::Warning(_)
        | control::Event::Killed
        | control::Event::Exited(_) => None,
    }
}

async fn wait_for_end(node: &Node, monitor: &Monitor) -> Ended {
    // Taken out, so that no borrow lives over the wait; `kill` still has the group.
    let Some(process) = monitor.process.take() else {
        return Ended::NeverStarted("it has no process".to_owned());
    };
    let patience = node
        .executor
        .timeout(EXIT_PATIENCE_MS, node.executor.readable(&process));
    if patience.await.is_err() {
        let _ = process.kill();
        let _ = node.executor.readable(&process).await;
    }
    match process.exit() {
        Ok(Some(Exit::Code(code))) => Ended::Code(code),
        Ok(Some(Exit::Signal(signal))) => Ended::Signal(signal),
        Ok(None) | Err(_) => Ended::NeverStarted("its end was not seen".to_owned()),
    }
}

/// Gives everything back; a process that was started in vain is reaped here.
async fn free(node: &Node, vm: VmId, monitor: &Monitor) {
    monitor.control.take();
    if monitor.process.borrow().is_some() {
        wait_for_end(node, monitor).await;
    }
    let Some(group) = monitor.group.take() else {
        return;
    };
    let _ = group.kill();
    node.energy.ended(vm, group.path(), monitor.began_ms);
    // The kernel empties the group a moment after the last process was reaped.
    for _ in 0..20 {
        match group.remove() {
            Ok(()) => return,
            Err(_) => node.executor.sleep(25).await,
        }
    }
    node.line(
        "warning",
        &format!(
            "the control group of {} stays: it is not empty",
            monitor.name
        ),
    );
}
