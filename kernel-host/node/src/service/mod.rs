//! The node process: one thread that performs what the cores ask.
//!
//! Does:      the network, the API, the VMs' processes; one state, `Node`, that all tasks share.
//! Does not:  decide about VMs (`cloud`), or mount, load and reap (`init`).
//! Bounds:    each part names its own; tasks are bounded by the executor.
//! Trusts:    PID 1 at the other end of stdin; nobody else.
//! Start at:  `run`, then `Node`.

mod clock;
mod cluster;
mod energy;
mod facts;
mod forward;
mod kvm;
mod monitor;
mod network;
mod parent;
mod peers;
mod perform;
mod requests;
mod route;
mod server;
mod standing;
mod storage;
pub(crate) mod streams;
#[cfg(any(test, feature = "town"))]
pub mod town;
mod watched;

#[cfg(test)]
mod tests;

use crate::arguments::Arguments;
use crate::bell::Bell;
use crate::console::Console;
use crate::init::last_words;
use clock::Clock;
use cloud::{Cloud, Config, Events};
use cluster::Peers;
use facts::Facts;
use kvm::Kvm;
use monitor::Monitors;
use netio::executor::{Executor, Handle};
use parent::Parent;
pub use peers::PeersConfig;
pub use peers::seeds::fuzz_seeds;
use protocol::{ByteCount, Moment, NodeId, VmId};
use standing::Standing;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use storage::Storage;

/// Memory that guests and images never get: what the kernel and our processes may still need.
const KEPT_BYTES: u64 = 24 << 20;

/// What the node counts about itself, beside the cloud's own counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub requests: Cell<u64>,
    pub problems: Cell<u64>,
    pub connections: Cell<u64>,
    pub connections_refused: Cell<u64>,
    pub sessions: Cell<u64>,
    pub sessions_too_slow: Cell<u64>,
    pub addresses_lost: Cell<u64>,
    /// Requests that other nodes were asked to answer.
    pub forwarded: Cell<u64>,
    /// Streams of other nodes that are being served.
    pub peers_served: Cell<u64>,
    /// What the overlay would not take.
    pub facts_refused: Cell<u64>,
}

/// Everything the tasks share. One thread, so cells suffice; no borrow is held over an `await`.
#[derive(Debug)]
pub(crate) struct Node {
    pub executor: Handle,
    pub clock: Clock,
    pub arguments: Arguments,
    pub facts: Facts,
    pub cloud: RefCell<Cloud>,
    /// The cloud's next deadline may have changed.
    pub cloud_bell: Bell,
    pub storage: RefCell<Storage>,
    pub monitors: Monitors,
    pub consoles: RefCell<BTreeMap<VmId, Rc<Console>>>,
    pub standing: RefCell<Standing>,
    pub parent: Parent,
    pub kvm: Kvm,
    /// What the machine draws, and who for.
    pub energy: energy::Energy,
    /// What carries the overlay, once it is known who this node is.
    pub transport: peers::Late,
    pub going_down: Cell<bool>,
    /// The way to other nodes; none while the node is alone.
    pub peers: RefCell<Option<Rc<dyn Peers>>>,
    /// New VMs on other nodes whose records may still be on their way.
    pub recent: RefCell<VecDeque<(VmId, NodeId)>>,
    pub events: RefCell<Events>,
    pub events_bell: Bell,
    pub counters: Counters,
}

/// The node process's whole life: it ends when PID 1 is gone, or with a panic.
#[must_use]
pub fn run() -> ExitCode {
    last_words::install_for_node();
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => panic!("the node can't start: {error}"),
    }
}

fn start() -> io::Result<()> {
    // PID 1's word for it: the node goes first after the guests when memory runs out.
    let _ = sys::processes::set_memory_pressure_score(-900);
    let executor = Executor::new()?;
    let parent = Parent::on_stdin()?;
    let node = Rc::new(Node::with_facts(executor.handle(), parent, Facts::read())?);
    executor.block_on(async {
        let tasks = [
            executor
                .handle()
                .spawn_detached(parent::heartbeats(node.clone())),
            executor
                .handle()
                .spawn_detached(perform::deadlines(node.clone())),
            executor
                .handle()
                .spawn_detached(cluster::watch_machine(node.clone())),
            executor
                .handle()
                .spawn_detached(network::watch(node.clone())),
            executor.handle().spawn_detached(peers::begin(node.clone())),
            executor
                .handle()
                .spawn_detached(energy::watch(node.clone())),
        ];
        for task in tasks {
            task.map_err(io::Error::other)?;
        }
        parent::listen(node.clone()).await;
        Ok(())
    })
}

impl Node {
    #[cfg(any(test, feature = "town"))]
    pub fn new(executor: Handle, parent: Parent) -> io::Result<Node> {
        Self::with_facts(executor, parent, Facts::read())
    }

    fn with_facts(executor: Handle, parent: Parent, facts: Facts) -> io::Result<Node> {
        let mut seed = [0; 32];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
        let config = Config {
            node: facts.id.get(),
            seed,
            memory: memory_for_guests(),
        };
        Ok(Node {
            clock: Clock::of_machine(&executor),
            executor,
            arguments: Arguments::read(),
            facts,
            cloud: RefCell::new(Cloud::new(config)),
            cloud_bell: Bell::default(),
            storage: RefCell::default(),
            monitors: Monitors::default(),
            consoles: RefCell::default(),
            standing: RefCell::default(),
            parent,
            kvm: Kvm::default(),
            energy: energy::Energy::default(),
            transport: peers::Late::default(),
            going_down: Cell::new(false),
            peers: RefCell::default(),
            recent: RefCell::default(),
            events: RefCell::default(),
            events_bell: Bell::default(),
            counters: Counters::default(),
        })
    }

    /// Both clocks.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Whether there are other nodes to ask.
    pub fn has_peers(&self) -> bool {
        self.peers.borrow().is_some()
    }

    /// The console of a VM; made at the first look.
    pub fn console(&self, vm: VmId) -> Rc<Console> {
        self.consoles.borrow_mut().entry(vm).or_default().clone()
    }

    /// One line for the people at the screens.
    pub fn line(&self, stage: &str, text: &str) {
        self.parent.line(stage, text);
    }
}

/// What guests and images may have of the memory that is free now.
pub(crate) fn memory_for_guests() -> ByteCount {
    let memory = sys::usage::memory().unwrap_or_default();
    ByteCount::bytes(memory.available_bytes.saturating_sub(KEPT_BYTES))
}

/// Adds one.
pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}
