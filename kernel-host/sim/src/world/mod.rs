//! The world: hosts, the network between them, and time that only moves when nothing is left to do.
//!
//! Does:      starts machines, carries their messages, keeps their disks, performs the deeds of a
//!            history; the same history gives the same trace.
//! Does not:  judge (`checks`) or decide what goes wrong (`history`).
//! Bounds:    memory grows with hosts and messages in flight; `FLIGHT_MAX` messages.
//! Trusts:    machines to be deterministic.
//! Start at:  `World::run`, then `World::step`.

mod carry;
mod discover;
pub mod faults;
pub mod host;
pub mod network;
pub mod queue;

use crate::history::{Act, History, Shape};
use crate::ids::{self, Ids, fold, mix};
use crate::machine::{Ask, Birth, Machine, Note, Wish};
use host::{Glance, Host, STEP_US};
use network::Network;
use protocol::NodeId;
use protocol::peer::Channel;
use queue::Queue;

/// Messages in flight; more would be a storm that no test needs. Those above are lost, counted.
pub const FLIGHT_MAX: usize = 4_000_000;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A host's machine may have something due.
    Timer(u32),
    /// A message is there.
    Arrive(u32),
    /// The sender learns that a stream broke.
    Broken(u32),
    /// A host's disk answers again.
    Flush(u32),
    /// A host looks for others; the second is its boot.
    Discover(u32, u32),
    /// A host starts.
    Boot(u32, bool),
    /// A deed of the history begins, ends.
    Begin(u32),
    End(u32),
    /// The watcher asked to be woken.
    Wake(u64),
}

/// A message on its way.
#[derive(Debug)]
struct Packet {
    from: u32,
    from_boot: u32,
    from_id: NodeId,
    from_address: u32,
    to: u32,
    to_id: NodeId,
    /// The boot of the receiver that the session was made with.
    to_boot: u32,
    channel: Channel,
    bytes: Vec<u8>,
    /// Also counted down by a doubled datagram.
    copies: u8,
}

/// Who looks at a run and gives orders.
pub trait Watch<M: Machine> {
    fn note(&mut self, world: &mut World<M>, host: u32, note: Note);
    /// It is the time that was asked for by `World::wake_at`.
    fn wake(&mut self, world: &mut World<M>, tag: u64);
    /// A user's order of the history.
    fn work(&mut self, world: &mut World<M>, work: &crate::history::Work);
    /// The power of a host has gone, or it starts.
    fn power(&mut self, world: &mut World<M>, host: u32, on: bool);
}

/// All there is.
#[derive(Debug)]
pub struct World<M> {
    pub now_us: u64,
    pub ids: Ids,
    pub hosts: Vec<Host<M>>,
    glances: Vec<Glance>,
    pub network: Network,
    pub counts: Counts,
    /// A digest of everything that happened so far.
    pub trace: u64,
    shape: Shape,
    seed: u64,
    queue: Queue<What>,
    packets: Vec<Option<Packet>>,
    free: Vec<u32>,
    /// Which host answers at an address.
    at_address: Vec<u32>,
    acts: Vec<Act>,
    notes: Vec<(u32, Note)>,
    powers: Vec<(u32, bool)>,
    works: Vec<u32>,
    wakes: Vec<u64>,
    is_healed: bool,
    seed_hosts: Vec<network::Place>,
    /// Of machines that are started from now on.
    pub rules: overlay::Rules,
}

/// What the run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub events: u64,
    pub messages: u64,
    pub lost: u64,
    pub broken_streams: u64,
    /// Messages that broke a rule of the wire: invariant I12.
    pub oversized: u64,
    pub flight_max: u64,
    pub in_flight: u64,
}

impl<M: Machine> World<M> {
    pub fn new(history: &History) -> Self {
        let (shape, seed) = (history.shape.clone(), history.seed);
        let ids = Ids::new(mix(seed), shape.site_count());
        let mut hosts: Vec<Host<M>> = shape
            .places()
            .map(|place| {
                let id = ids.node(place.host, place.site, 0);
                let dice = mix(seed ^ mix(u64::from(place.host) + 7));
                Host::new(place, id, ids.site(place.site), dice)
            })
            .collect();
        for host in &shape.diskless {
            if let Some(host) = hosts.get_mut(at(*host)) {
                host.has_disk = false;
            }
        }
        let mut world = Self {
            now_us: 0,
            network: Network::new(mix(seed ^ 1), shape.site_count(), shape.weather),
            at_address: (0..shape.hosts()).collect(),
            ids,
            glances: hosts.iter().map(Host::glance).collect(),
            hosts,
            counts: Counts::default(),
            trace: 0,
            seed,
            queue: Queue::new(),
            packets: Vec::new(),
            free: Vec::new(),
            acts: history.acts.clone(),
            notes: Vec::new(),
            powers: Vec::new(),
            works: Vec::new(),
            wakes: Vec::new(),
            is_healed: false,
            seed_hosts: shape.seed_hosts(),
            rules: overlay::Rules::ALL,
            shape,
        };
        world.plan();
        world
    }

    /// Puts the starts of hosts and the deeds of the history into the queue.
    fn plan(&mut self) {
        for host in 0..self.shape.hosts() {
            if !self.shape.spares.contains(&host) {
                let spread_us = self.shape.start_ms * 1000;
                let when = self.hosts[at(host)].dice.below(spread_us.max(1));
                self.queue.push(when, What::Boot(host, true));
            }
        }
        for (index, act) in (0..).zip(&self.acts) {
            self.queue.push(act.at_ms * 1000, What::Begin(index));
        }
    }

    /// More deeds, at times that have not come yet.
    pub fn add_acts(&mut self, acts: Vec<Act>) {
        for act in acts {
            let index = u32::try_from(self.acts.len()).unwrap_or(u32::MAX);
            let at_us = (act.at_ms * 1000).max(self.now_us);
            self.queue.push(at_us, What::Begin(index));
            self.acts.push(act);
        }
    }

    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    pub fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    /// Calls `Watch::wake` at that time.
    pub fn wake_at(&mut self, us: u64, tag: u64) {
        self.queue.push(us.max(self.now_us), What::Wake(tag));
    }

    /// The machine of a host that runs.
    pub fn machine(&self, host: u32) -> Option<&M> {
        self.hosts.get(at(host))?.machine.as_ref()
    }

    /// Gives an order to a node. `false`: it does not run.
    pub fn ask(&mut self, host: u32, ask: u64, what: &Ask) -> bool {
        let now_us = self.now_us;
        let Some(place) = self.hosts.get_mut(at(host)) else {
            return false;
        };
        if place.paused_until_us > now_us {
            return false;
        }
        let now = place.clock.moment(now_us);
        let Some(machine) = &mut place.machine else {
            return false;
        };
        machine.ask(now, ask, what);
        self.after_step(host);
        true
    }

    /// Lets time pass until `until_us`.
    pub fn run(&mut self, until_us: u64, watch: &mut impl Watch<M>) {
        while self.step(until_us) {
            self.tell(watch);
        }
        self.now_us = until_us;
    }

    fn tell(&mut self, watch: &mut impl Watch<M>) {
        while !(self.powers.is_empty()
            && self.notes.is_empty()
            && self.works.is_empty()
            && self.wakes.is_empty())
        {
            for (host, on) in std::mem::take(&mut self.powers) {
                watch.power(self, host, on);
            }
            for (host, note) in std::mem::take(&mut self.notes) {
                watch.note(self, host, note);
            }
            for index in std::mem::take(&mut self.works) {
                if let crate::history::Deed::Work(work) = self.acts[at(index)].deed.clone() {
                    watch.work(self, &work);
                }
            }
            for tag in std::mem::take(&mut self.wakes) {
                watch.wake(self, tag);
            }
        }
    }

    /// One event. `false`: nothing more happens by then.
    fn step(&mut self, until_us: u64) -> bool {
        let Some((now_us, what)) = self.queue.pop(until_us) else {
            return false;
        };
        self.now_us = self.now_us.max(now_us);
        self.counts.events += 1;
        match what {
            What::Timer(host) => self.timer(host),
            What::Arrive(packet) => self.arrive(packet),
            What::Broken(packet) => self.broken(packet),
            What::Flush(host) => self.flush(host),
            What::Discover(host, boot) => self.discover(host, boot),
            What::Boot(host, keeps_disk) => self.boot(host, keeps_disk),
            What::Begin(act) => self.begin(act),
            What::End(act) => self.end(act),
            What::Wake(tag) => self.wakes.push(tag),
        }
        true
    }

    fn mark(&mut self, what: u64, host: u32, bytes: &[u8]) {
        let head = [self.now_us, what << 32 | u64::from(host), self.trace];
        self.trace = fold(mix(head[0] ^ mix(head[1] ^ head[2])), bytes);
    }

    fn timer(&mut self, host: u32) {
        let now_us = self.now_us;
        let place = &mut self.hosts[at(host)];
        if place.timer_us != now_us {
            return; // a later or an earlier one was set instead
        }
        place.timer_us = u64::MAX;
        let Some(machine) = &mut place.machine else {
            return;
        };
        let ready_us = place.paused_until_us.max(place.busy_until_us);
        if ready_us > now_us {
            place.timer_us = ready_us;
            self.queue.push(ready_us, What::Timer(host));
            return;
        }
        let now = place.clock.moment(now_us);
        if machine
            .next_timeout()
            .is_some_and(|due| due <= now.uptime_ms)
        {
            machine.timeout(now);
            self.mark(1, host, &[]);
            self.after_step(host);
        } else {
            self.set_timer(host);
        }
    }

    /// Performs what the machine wants and looks when it must be called next.
    fn after_step(&mut self, host: u32) {
        let now_us = self.now_us;
        let place = &mut self.hosts[at(host)];
        place.traffic.steps += 1;
        if place.slow > 1 {
            place.busy_until_us = place.busy_until_us.max(now_us) + STEP_US * u64::from(place.slow);
            self.glances[at(host)] = place.glance();
        }
        while let Some(wish) = self.hosts[at(host)].machine.as_mut().and_then(M::poll) {
            self.perform(host, wish);
        }
        self.set_timer(host);
    }

    fn set_timer(&mut self, host: u32) {
        let place = &mut self.hosts[at(host)];
        let Some(due) = place.machine.as_ref().and_then(M::next_timeout) else {
            return;
        };
        let due_us = place.clock.world_us(due).max(self.now_us + 1);
        if due_us < place.timer_us {
            place.timer_us = due_us;
            self.queue.push(due_us, What::Timer(host));
        }
    }

    fn perform(&mut self, host: u32, wish: Wish) {
        let place = &mut self.hosts[at(host)];
        match wish {
            Wish::Note(note) => self.notes.push((host, note)),
            wish if !place.held.is_empty() => place.held.push_back(wish),
            Wish::Save(_) if place.stalled_until_us > self.now_us => place.held.push_back(wish),
            Wish::Save(save) => {
                if place.has_disk {
                    match save.value {
                        Some(value) => place.disk.insert(save.key, value),
                        None => place.disk.remove(&save.key),
                    };
                }
            }
            Wish::Send {
                to,
                address,
                channel,
                bytes,
            } => self.send(host, to, address, channel, bytes),
        }
    }

    /// The disk answers again: what waited for it happens.
    fn flush(&mut self, host: u32) {
        let place = &mut self.hosts[at(host)];
        if place.stalled_until_us > self.now_us {
            return;
        }
        for wish in std::mem::take(&mut place.held) {
            self.perform(host, wish);
        }
    }

    /// Starts a host, with its disk or with an empty one.
    fn boot(&mut self, host: u32, keeps_disk: bool) {
        let place = &mut self.hosts[at(host)];
        if place.is_up() || place.has_left {
            return;
        }
        if place.boot > 0 && !(keeps_disk && place.has_disk) {
            place.key += 1;
            place.life_boots = 0;
            place.disk.clear();
            place.id = self.ids.node(host, place.place.site, place.key);
        }
        self.start(host);
    }

    /// Starts a host as what its disk says.
    fn start(&mut self, host: u32) {
        let (now_us, nodes) = (self.now_us, self.shape.hosts());
        let place = &mut self.hosts[at(host)];
        place.boot += 1;
        place.life_boots += 1;
        place.was_up = true;
        place.clock.booted_us = now_us;
        place.clock.uptime_before_ms = if place.boot == 1 {
            self.shape.uptime_ms
        } else {
            0
        };
        place.line_free_us = now_us;
        let is_itself = ids::host_of(place.id) == host;
        let keys = 0..if is_itself { place.key } else { 0 };
        let replaces = keys.map(|key| self.ids.node(host, place.place.site, key));
        let birth = Birth {
            replaces: replaces.collect(),
            me: place.contact(),
            site_name: self.ids.site_name(ids::site_of(place.id)),
            life: place.life(),
            seed: mix(self.seed ^ mix(u64::from(host) << 16 | u64::from(place.boot))),
            disk: &place.disk,
            keyring: self.ids.keyring(place.id),
            rules: self.rules,
            nodes,
        };
        place.machine = Some(M::start(place.clock.moment(now_us), birth));
        self.glances[at(host)] = place.glance();
        let boot = place.boot;
        self.powers.push((host, true));
        self.mark(4, host, &[]);
        self.after_step(host);
        self.discover(host, boot);
    }
}

/// The place of a host's index in a list.
pub const fn at(index: u32) -> usize {
    index as usize
}
