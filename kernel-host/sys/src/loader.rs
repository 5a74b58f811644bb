//! Loads kernel modules, the urgent ones first.
//!
//! Does:      takes device aliases, finds and loads the modules, and tells the poller when done.
//! Does not:  unload; a module stays until the machine reboots.
//! Bounds:    two threads; at most `QUEUE_MAX` waiting devices, then the sender waits.
//! Trusts:    the kernel to check each module's signature and format.
//! Start at:  `Loader::start`.

use crate::modules::Table;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Devices that wait for a thread. A server shows about 300 at once.
const QUEUE_MAX: usize = 1024;
/// `MODULE_INIT_COMPRESSED_FILE`: the kernel unpacks the `.xz` itself.
const COMPRESSED: i32 = 4;
/// Enough for reading one alias and one system call; the default would be 2 MiB of address space.
const STACK_BYTES: usize = 256 * 1024;

/// How soon a device is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Network cards: without them there is no node.
    Now,
    /// Everything else, KVM included: it loads while the network waits for an address.
    Soon,
}

/// A request: a device's alias, or a module by name.
#[derive(Debug, Clone)]
pub enum Wish {
    Device(String),
    Module(String),
}

/// A module that did not load.
#[derive(Debug, thiserror::Error)]
#[error("loading the module {module} from {}", path.display())]
pub struct LoadError {
    pub module: String,
    pub path: PathBuf,
    pub source: io::Error,
}

/// What happened since the last look.
#[derive(Debug, Default)]
pub struct Report {
    pub loaded: Vec<String>,
    pub failed: Vec<LoadError>,
    /// Both queues are empty and both threads idle, or the urgent one is.
    pub urgent_done: bool,
    pub all_done: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Loaded, failed or being loaded: each module is tried once.
    tried: BTreeSet<String>,
    /// Those that are not there: what needs them is not tried, its error would only repeat theirs.
    absent: BTreeSet<String>,
    loaded: Vec<String>,
    failed: Vec<LoadError>,
    waiting: [usize; 2],
}

/// The two loading threads and their queues.
#[derive(Debug)]
pub struct Loader {
    queues: [SyncSender<Wish>; 2],
    state: Arc<Mutex<State>>,
    wake: Arc<OwnedFd>,
}

impl Loader {
    /// Starts both threads over the modules in `folder`.
    ///
    /// # Errors
    /// When the kernel has no thread or event descriptor left.
    pub fn start(table: Arc<Table>, folder: &Path) -> io::Result<Loader> {
        let state = Arc::new(Mutex::new(State::default()));
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let start = |urgency: Urgency| -> io::Result<SyncSender<Wish>> {
            let (sender, wishes) = sync_channel(QUEUE_MAX);
            let worker = Worker {
                table: table.clone(),
                folder: folder.to_owned(),
                state: state.clone(),
                wake: wake.clone(),
                urgency,
            };
            std::thread::Builder::new()
                .name(format!("modules-{urgency:?}"))
                .stack_size(STACK_BYTES)
                .spawn(move || worker.run(&wishes))?;
            Ok(sender)
        };
        Ok(Loader {
            queues: [start(Urgency::Now)?, start(Urgency::Soon)?],
            state,
            wake,
        })
    }

    /// Asks for a device or a module. Waits while the queue is full.
    pub fn want(&self, urgency: Urgency, wish: Wish) {
        locked(&self.state).waiting[urgency as usize] += 1;
        if self.queues[urgency as usize].send(wish).is_err() {
            // The thread is gone only if it panicked, which ends the process.
            locked(&self.state).waiting[urgency as usize] -= 1;
        }
    }

    /// What happened since the last call. Clears the readiness of the descriptor.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut counter = [0_u8; 8];
        // Empty is fine: the caller may look without having been woken.
        let _ = rustix::io::read(&*self.wake, &mut counter);
        let mut state = locked(&self.state);
        Report {
            loaded: std::mem::take(&mut state.loaded),
            failed: std::mem::take(&mut state.failed),
            urgent_done: state.waiting[Urgency::Now as usize] == 0,
            all_done: state.waiting == [0, 0],
        }
    }
}

impl AsFd for Loader {
    /// Readable when a queue has run empty.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

struct Worker {
    table: Arc<Table>,
    folder: PathBuf,
    state: Arc<Mutex<State>>,
    wake: Arc<OwnedFd>,
    urgency: Urgency,
}

impl Worker {
    fn run(&self, wishes: &Receiver<Wish>) {
        while let Ok(wish) = wishes.recv() {
            match &wish {
                Wish::Device(modalias) => {
                    for module in self.table.matching(modalias) {
                        self.load_with_needs(module);
                    }
                }
                Wish::Module(module) => self.load_with_needs(module),
            }
            let empty = {
                let mut state = locked(&self.state);
                state.waiting[self.urgency as usize] -= 1;
                state.waiting[self.urgency as usize] == 0
            };
            if empty {
                // Fails only when the counter is full, and then the reader is awake anyway.
                let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
            }
        }
    }

    fn load_with_needs(&self, module: &str) {
        for name in self.table.load_order(module) {
            if !locked(&self.state).tried.insert(name.to_owned()) {
                // The other thread may still be at it: the kernel makes our dependant wait.
                continue;
            }
            let Some(entry) = self.table.module(name) else {
                continue;
            };
            let needs_absent = {
                let state = locked(&self.state);
                entry
                    .depends
                    .iter()
                    .any(|needed| state.absent.contains(needed))
            };
            if needs_absent {
                locked(&self.state).absent.insert(name.to_owned());
                continue;
            }
            let path = self.folder.join(&entry.file);
            let result = load_file(&path);
            let mut state = locked(&self.state);
            match result {
                Ok(()) => state.loaded.push(name.to_owned()),
                Err(source) => {
                    state.absent.insert(name.to_owned());
                    let module = name.to_owned();
                    state.failed.push(LoadError {
                        module,
                        path,
                        source,
                    });
                }
            }
        }
    }
}

/// Loads one file. A module that is there already counts as loaded.
fn load_file(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let compressed = path
        .extension()
        .is_some_and(|ending| ending == "xz" || ending == "zst");
    match rustix::system::finit_module(&file, c"", if compressed { COMPRESSED } else { 0 }) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
