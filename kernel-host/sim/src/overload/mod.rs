//! The injector of VMPlaceS over our own scheduler, beside a central one in the same run.
//!
//! Does:      nodes with VMs whose loads jump; migrations that share lines; measures how long
//!            overloads last and how long it takes to decide what to do about them.
//! Does not:  solve anything: `placement::overload` does on each node, `central` for all.
//! Bounds:    one core; 50,000 VMs at 5,000 nodes.
//! Trusts:    its seed.
//! Start at:  `run`.

mod central;
pub mod command;
mod lines;

use lines::Lines;
use netcore::dice::Dice;
use placement::overload::{Limits, Message, Output, Overloads, VmLoad};
use protocol::{NodeId, VmId};
use serde::Serialize;
use std::collections::BTreeMap;

/// VMs on each node at the start.
const VMS_PER_NODE: usize = 10;
/// What a node can give: 8 cores for VMs, less what the node needs itself.
const CAPACITY: u32 = 700;
/// Loads are drawn from a normal distribution and rounded to tens.
const LOAD_MEAN: i64 = 60;
const LOAD_DEVIATION: i64 = 20;
/// Each VM's load is redrawn this often, in the mean.
const REDRAW_MS: u64 = 300_000;
/// Nodes look at themselves this often.
const CHECK_MS: u64 = 1_000;
/// One way between any two nodes: as if each were a site of its own.
const DELAY_MS: u64 = 50;
/// What is before is not measured: it is the start's.
const WARM_UP_MS: u64 = 300_000;
/// The central scheduler looks at all nodes this often.
const CENTRAL_MS: u64 = 30_000;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduler {
    /// Every node with its neighbours.
    Ours,
    /// One that sees all, every 30 s.
    Central,
}

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub seed: u64,
    pub nodes: usize,
    pub end_ms: u64,
    /// Bytes that a node's line carries in a millisecond.
    pub line_bytes_ms: u64,
    pub scheduler: Scheduler,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub scheduler: Scheduler,
    pub nodes: usize,
    pub violations: usize,
    pub violation_mean_ms: u64,
    pub violation_p99_ms: u64,
    /// From the start of an overload to the wish for the move that ends it.
    pub decision_mean_ms: u64,
    pub decision_p99_ms: u64,
    pub decisions: usize,
    /// Overloads that began when the move that ends them was under way.
    pub foreseen: usize,
    pub migrations: u64,
    pub members_mean_milli: u64,
    /// Overloads that were not over at the end, with their age so far counted above.
    pub unfinished: usize,
}

#[derive(Debug)]
enum Event {
    Redraw,
    Check(usize),
    Deliver(usize, Message),
    Arrive { vm: usize, turn: u32 },
    CentralLook,
    CentralAct(Vec<(usize, usize)>),
}

#[derive(Debug)]
struct Vm {
    demand: u32,
    /// What a migration must carry in all: the memory, and again what is written meanwhile.
    bytes: u64,
    host: usize,
}

#[derive(Debug)]
struct Node {
    core: Overloads,
    vms: Vec<usize>,
    /// Since when it is overloaded, and whether a move was wished for since.
    overloaded: Option<(u64, bool)>,
    is_check_due: bool,
}

struct World {
    setting: Setting,
    dice: Dice,
    now_ms: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    vms: Vec<Vm>,
    nodes: Vec<Node>,
    lines: Lines,
    violations: Vec<u64>,
    decisions: Vec<u64>,
    foreseen: usize,
    migrations: u64,
}

fn node_id(at: usize) -> NodeId {
    NodeId::from_bytes((at as u128).to_be_bytes())
}

fn vm_id(at: usize) -> VmId {
    VmId::from_bytes((at as u128).to_be_bytes())
}

fn at_of(bytes: [u8; 16]) -> usize {
    usize::try_from(u128::from_be_bytes(bytes)).unwrap_or(usize::MAX)
}

/// Runs one setting to its end. `tick` sees the virtual time.
pub fn run(setting: Setting, tick: &mut dyn FnMut(u64)) -> Figures {
    let mut world = World::new(setting);
    while let Some(((at_ms, _), event)) = world.queue.pop_first() {
        if at_ms > setting.end_ms {
            break;
        }
        world.now_ms = at_ms;
        tick(at_ms);
        world.handle(event);
    }
    world.figures()
}

impl World {
    fn new(setting: Setting) -> Self {
        let mut world = Self {
            setting,
            dice: Dice::new(setting.seed),
            now_ms: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            vms: Vec::new(),
            nodes: Vec::new(),
            lines: Lines::new(setting.nodes, setting.line_bytes_ms),
            violations: Vec::new(),
            decisions: Vec::new(),
            foreseen: 0,
            migrations: 0,
        };
        for at in 0..setting.nodes {
            // Ids are in the order of a walk through the sites, so neighbours are near.
            let near: Vec<NodeId> = (1..setting.nodes.min(64))
                .map(|step| node_id((at + step) % setting.nodes))
                .collect();
            let core = Overloads::new(node_id(at), &near, Limits::default());
            let first = world.vms.len();
            for _ in 0..VMS_PER_NODE {
                let vm = world.new_vm(at);
                world.vms.push(vm);
            }
            world.nodes.push(Node {
                core,
                vms: (first..world.vms.len()).collect(),
                overloaded: None,
                is_check_due: false,
            });
        }
        for at in 0..setting.nodes {
            world.changed(at);
        }
        world.after(0, Event::Redraw);
        if setting.scheduler == Scheduler::Central {
            world.after(CENTRAL_MS, Event::CentralLook);
        }
        world
    }

    fn new_vm(&mut self, host: usize) -> Vm {
        // The guest writes at 10 to 50 % of what the line carries: each round is a part of the
        // one before, and all together are memory / (1 - part).
        let written_permille = 100 + self.dice.below(401);
        Vm {
            demand: self.drawn(),
            bytes: (1u64 << 30) * 1000 / (1000 - written_permille),
            host,
        }
    }

    fn drawn(&mut self) -> u32 {
        let twelve: i64 = (0..12)
            .map(|_| i64::try_from(self.dice.below(1_000)).unwrap_or(0))
            .sum();
        let load = LOAD_MEAN + (twelve - 5_994) * LOAD_DEVIATION / 1_000;
        u32::try_from(((load + 5) / 10 * 10).clamp(0, 100)).unwrap_or(0)
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now_ms + ms, self.sequence), event);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Redraw => {
                let count = u64::try_from(self.vms.len()).unwrap_or(1);
                let vm = usize::try_from(self.dice.below(count)).unwrap_or(0);
                self.vms[vm].demand = self.drawn();
                self.changed(self.vms[vm].host);
                let mean = REDRAW_MS * 1000 / count; // in microseconds: it may be below 1 ms
                let wait = mean / 2 + self.dice.below(mean);
                let carry = self.dice.below(1000);
                self.after((wait + carry) / 1000, Event::Redraw);
            }
            Event::Check(at) => {
                self.nodes[at].is_check_due = false;
                let loads = self.loads(at);
                let now_ms = self.now_ms;
                self.nodes[at].core.handle_load(now_ms, CAPACITY, &loads);
                self.perform(at);
            }
            Event::Deliver(at, message) => {
                let now_ms = self.now_ms;
                self.nodes[at].core.handle_message(now_ms, message);
                self.perform(at);
            }
            Event::Arrive { vm, turn } => self.arrive(vm, turn),
            Event::CentralLook => self.central_look(),
            Event::CentralAct(moves) => {
                for (vm, to) in moves {
                    self.migrate(vm, to);
                }
            }
        }
    }

    fn loads(&self, at: usize) -> Vec<VmLoad> {
        let load = |vm: &usize| VmLoad {
            vm: vm_id(*vm),
            demand: self.vms[*vm].demand,
            move_ms: u32::try_from(self.vms[*vm].bytes / self.setting.line_bytes_ms)
                .unwrap_or(u32::MAX),
        };
        self.nodes[at].vms.iter().map(load).collect()
    }

    fn demand(&self, at: usize) -> u32 {
        let vms = self.nodes[at].vms.iter();
        vms.map(|vm| self.vms[*vm].demand).sum()
    }

    /// A node's load is another: an overload may begin or end, and it looks at its next second.
    fn changed(&mut self, at: usize) {
        let is_over = self.demand(at) > CAPACITY;
        let now_ms = self.now_ms;
        match (is_over, self.nodes[at].overloaded) {
            (true, None) => {
                let leaving = self.lines.demand_leaving(at, &self.vms);
                let is_foreseen = self.demand(at) - leaving <= CAPACITY;
                if is_foreseen && now_ms >= WARM_UP_MS {
                    self.foreseen += 1;
                }
                self.nodes[at].overloaded = Some((now_ms, is_foreseen));
            }
            (false, Some((since_ms, _))) => {
                self.nodes[at].overloaded = None;
                if since_ms >= WARM_UP_MS {
                    self.violations.push(now_ms - since_ms);
                }
            }
            _ => (),
        }
        self.check_soon(at);
    }

    /// At the node's next second: they do not all look at the same time.
    fn check_soon(&mut self, at: usize) {
        if self.nodes[at].is_check_due || self.setting.scheduler == Scheduler::Central {
            return;
        }
        self.nodes[at].is_check_due = true;
        let phase = u64::try_from(at * 7919).unwrap_or(0) % CHECK_MS;
        let wait = CHECK_MS - (self.now_ms + CHECK_MS - phase) % CHECK_MS;
        self.after(wait, Event::Check(at));
    }

    fn perform(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].core.poll_output() {
            match output {
                Output::Send { to, message } => {
                    self.after(DELAY_MS, Event::Deliver(at_of(to.bytes()), message));
                }
                Output::Move { vm, to } => {
                    self.migrate(at_of(vm.bytes()), at_of(to.bytes()));
                }
            }
        }
        if self.nodes[at].core.next_timeout().is_some() {
            self.check_soon(at);
        }
    }

    fn migrate(&mut self, vm: usize, to: usize) {
        let from = self.vms[vm].host;
        if from == to || self.lines.is_moving(vm) {
            return;
        }
        self.migrations += 1;
        let timed = self
            .lines
            .start(self.now_ms, vm, (from, to), self.vms[vm].bytes);
        self.retime(timed);
        if let Some((since_ms, false)) = self.nodes[from].overloaded {
            self.nodes[from].overloaded = Some((since_ms, true));
            if since_ms >= WARM_UP_MS {
                self.decisions.push(self.now_ms - since_ms);
            }
        }
    }

    fn retime(&mut self, timed: Vec<lines::Timed>) {
        for lines::Timed { vm, turn, left_ms } in timed {
            self.after(left_ms, Event::Arrive { vm, turn });
        }
    }

    fn arrive(&mut self, vm: usize, turn: u32) {
        let Some((to, timed)) = self.lines.end(self.now_ms, vm, turn) else {
            return; // it was retimed since
        };
        let from = std::mem::replace(&mut self.vms[vm].host, to);
        self.nodes[from].vms.retain(|one| *one != vm);
        self.nodes[to].vms.push(vm);
        self.nodes[from].core.handle_moved(vm_id(vm));
        self.nodes[to].core.handle_moved(vm_id(vm));
        self.retime(timed);
        self.changed(from);
        self.changed(to);
    }

    fn central_look(&mut self) {
        let moves = central::plan(self);
        let took_ms = central::solver_ms(self.nodes.len());
        self.after(took_ms, Event::CentralAct(moves));
        self.after(CENTRAL_MS.max(took_ms), Event::CentralLook);
    }

    fn figures(mut self) -> Figures {
        let running: Vec<u64> = self
            .nodes
            .iter()
            .filter_map(|node| Some(node.overloaded?.0))
            .filter(|since_ms| *since_ms >= WARM_UP_MS)
            .collect();
        let unfinished = running.len();
        let end_ms = self.setting.end_ms;
        self.violations
            .extend(running.iter().map(|since| end_ms - since));
        let sum = |read: fn(&Overloads) -> u64| -> u64 {
            self.nodes.iter().map(|node| read(&node.core)).sum()
        };
        let members = sum(|core| core.counters.members) * 1000;
        let solved = sum(|core| core.counters.solved);
        Figures {
            scheduler: self.setting.scheduler,
            nodes: self.setting.nodes,
            violations: self.violations.len(),
            violation_mean_ms: mean(&self.violations),
            violation_p99_ms: p99(&mut self.violations),
            decision_mean_ms: mean(&self.decisions),
            decision_p99_ms: p99(&mut self.decisions),
            decisions: self.decisions.len(),
            foreseen: self.foreseen,
            migrations: self.migrations,
            members_mean_milli: members.checked_div(solved).unwrap_or(0),
            unfinished,
        }
    }
}

fn mean(values: &[u64]) -> u64 {
    let count = u64::try_from(values.len()).unwrap_or(0);
    values.iter().sum::<u64>().checked_div(count).unwrap_or(0)
}

fn p99(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    let at = (values.len() * 99).div_ceil(100).saturating_sub(1);
    values.get(at).copied().unwrap_or(0)
}
