//! Which councils a site had, and what each could still know: what registers may be held to.
//!
//! Does:      notes each founding, when its guardians' memory was lost, when one was born apart
//!            from another, and when two machines voted with one key.
//! Does not:  judge values (`registers`).
//! Bounds:    `FOUNDINGS_MAX` foundings of a site.
//! Trusts:    the world for who lost its disk; machines only for which council they follow.
//! Start at:  `Councils::look`, then `Councils::may_have_lost`.

use super::calendar::Calendar;
use crate::machine::Machine;
use crate::world::{World, at};
use protocol::NodeId;
use protocol::peer::register::{Council, Founding};
use std::collections::BTreeMap;

/// More are not kept: a site that founds so often has broken other rules long before.
const FOUNDINGS_MAX: usize = 64;
/// So long after the first founding of a site others may have started one without knowing.
const APART_MS: u64 = 30_000;
/// A swap that began while a key was in use twice has ended after this.
const SWAP_MS: u64 = 5000;

/// A line of councils, as the judge saw it.
#[derive(Debug)]
struct Line {
    founding: Founding,
    first_ms: u64,
    /// The newest council of it that any machine knew.
    newest: Council,
    /// What it decided may be gone: most of its guardians lost their memory, or it was founded
    /// while the site was divided and another one won when they met.
    is_lost: bool,
}

/// A key that two machines used.
#[derive(Debug)]
struct Double {
    host: u32,
    site: u16,
    from_ms: u64,
    until_ms: u64,
}

#[derive(Debug)]
pub struct Councils {
    calendar: Calendar,
    lines: BTreeMap<u16, Vec<Line>>,
    doubles: Vec<Double>,
}

/// Whether what a node voted is still on its disk, or in its memory.
fn remembers<M: Machine>(world: &World<M>, node: NodeId) -> bool {
    let host = world.hosts.get(at(crate::ids::host_of(node)));
    host.is_some_and(|host| host.id == node && !host.has_left && (host.is_up() || host.has_disk))
}

impl Councils {
    pub const fn new(calendar: Calendar) -> Self {
        Self {
            calendar,
            lines: BTreeMap::new(),
            doubles: Vec::new(),
        }
    }

    /// A host starts, or stops: as itself, or with the copy of another's disk.
    pub fn power<M: Machine>(&mut self, world: &World<M>, host: u32, on: bool) {
        let (now_ms, id) = (world.now_ms(), world.hosts[at(host)].id);
        for double in self.doubles.iter_mut().filter(|double| double.host == host) {
            double.until_ms = double.until_ms.min(now_ms);
        }
        if on && crate::ids::host_of(id) != host {
            self.doubles.push(Double {
                host,
                site: crate::ids::site_of(id),
                from_ms: now_ms,
                until_ms: u64::MAX,
            });
        }
        self.look(world);
    }

    /// To be called often enough that no founding is missed.
    pub fn look<M: Machine>(&mut self, world: &World<M>) {
        let now_ms = world.now_ms();
        // First what is new: whoever goes may have handed over since the last look.
        for host in &world.hosts {
            let council = host.machine.as_ref().and_then(M::council);
            if let Some(council) = council {
                self.note(world, crate::ids::site_of(host.id), council, now_ms);
            }
        }
        for lines in self.lines.values_mut() {
            for line in lines.iter_mut().filter(|line| !line.is_lost) {
                let seats = line.newest.seats.as_slice().iter();
                let able = seats.filter(|seat| remembers(world, seat.node)).count();
                line.is_lost = able < line.newest.majority();
            }
        }
    }

    fn note<M: Machine>(&mut self, world: &World<M>, site: u16, council: &Council, now_ms: u64) {
        let lines = self.lines.entry(site).or_default();
        let known = lines
            .iter_mut()
            .find(|line| line.founding == council.founding);
        if let Some(line) = known {
            if council.generation > line.newest.generation {
                line.newest = council.clone();
            }
            return;
        }
        let mut is_lost = false;
        for line in lines.iter_mut().filter(|line| !line.is_lost) {
            let were_apart = now_ms < line.first_ms + APART_MS || {
                let mut places = world.hosts.iter().map(|host| host.place);
                let from_ms = now_ms.saturating_sub(APART_MS);
                places.any(|place| {
                    place.site == site && !self.calendar.is_calm(place, place, from_ms, now_ms)
                })
            };
            (line.is_lost, is_lost) = (were_apart, is_lost || were_apart);
        }
        if lines.len() < FOUNDINGS_MAX {
            lines.push(Line {
                founding: council.founding,
                first_ms: now_ms,
                newest: council.clone(),
                is_lost,
            });
        }
    }

    /// Whether what this founding decided may be gone without a fault of the machines.
    pub fn may_have_lost(&self, site: u16, founding: Option<Founding>) -> bool {
        let mut lines = self.lines.get(&site).into_iter().flatten();
        lines.any(|line| Some(line.founding) == founding && line.is_lost)
    }

    /// Whether two machines voted with one key of the site just before that time: until they know
    /// of each other and keep out of it, nothing that they say can be promised.
    pub fn was_double(&self, site: u16, at_ms: u64) -> bool {
        self.doubles.iter().any(|double| {
            double.site == site
                && double.from_ms <= at_ms
                && at_ms <= double.until_ms.saturating_add(SWAP_MS)
        })
    }

    /// Whether a host's council can answer: most of its guardians run, remember, and keep no
    /// distance because of a second machine with their key. One that is provably gone for good
    /// must have been replaced by now. One that said goodbye while nobody could take over may have
    /// the only copy of what was acknowledged: it is waited for until it comes back, or until an
    /// operator revokes its key. The same holds for one whose seat is new: it votes only once
    /// somebody with a seat, or most of the guardians before, have told it what they hold; one that
    /// went before it could take over leaves the others without that.
    pub fn can_answer<M: Machine>(world: &World<M>, host: u32) -> bool {
        let Some(machine) = world.machine(host) else {
            return false;
        };
        let Some(council) = machine.council() else {
            return true;
        };
        let seats = council.seats.as_slice().iter().map(|seat| seat.node);
        let is_gone = |node: &NodeId| {
            let place = &world.hosts[at(crate::ids::host_of(*node))];
            place.id != *node
        };
        let serving = |node: NodeId| {
            let place = &world.hosts[at(crate::ids::host_of(node))];
            let runs = place.machine.as_ref().filter(|_| place.id == node);
            runs.filter(|machine| !machine.is_fenced())
        };
        let before = council.before.as_slice();
        let stayed = before.iter().filter(|node| !is_gone(node)).count();
        let holds = |node: &&NodeId| serving(**node).is_some_and(|one| one.holds(council));
        let tellers = before.iter().filter(holds);
        let is_bereft = stayed <= before.len() / 2;
        let is_told = tellers.count() > before.len() / 2
            || is_bereft
            || seats.clone().filter_map(serving).any(M::guards);
        let living = seats.clone().filter(|node| !is_gone(node)).count();
        let able = seats
            .filter_map(serving)
            .filter(|machine| is_told || machine.guards());
        living < council.majority() || able.count() >= council.majority()
    }
}

/// A host's council in a line: whether each guardian runs as whom it was chosen.
pub fn told<M: Machine>(world: &World<M>, host: u32) -> String {
    let Some(council) = world.machine(host).and_then(M::council) else {
        return "it knows no council".to_owned();
    };
    let (era, generation) = (council.founding.era, council.generation);
    let mut said = format!("its council, era {era}, generation {generation}:");
    for seat in council.seats.as_slice() {
        let place = &world.hosts[at(crate::ids::host_of(seat.node))];
        let how = match (place.id == seat.node, &place.machine) {
            (false, _) => "has another key now",
            (true, None) => "is off",
            (true, Some(machine)) if machine.guards() => "guards",
            (true, Some(_)) => "runs without a vote",
        };
        let (host, key) = (place.place.host, seat.node.bytes()[15]);
        said += &format!(" host {host} key {key} boot {} {how};", seat.boots);
    }
    for node in council.before.as_slice() {
        let host = crate::ids::host_of(*node);
        said += &format!(" before: host {host} key {};", node.bytes()[15]);
    }
    said
}
