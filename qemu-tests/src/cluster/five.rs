//! The cluster that most stories happen in: five nodes in three sites, far from each other.
//!
//! Does:      gives each of its machines a token, a state disk and the others' addresses, boots
//!            them over the network, and waits until each has joined.
//! Does not:  tell a story.
//! Bounds:    five machines, two of which boot at a time.
//! Trusts:    nothing but what nodes print.
//! Start at:  `Five::boot`.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::{Cluster, Member, Seat};
use crate::scenario::Problem;
use crate::story::Story;
use crate::wire::Link;

/// Two nodes, two nodes, one node.
pub const SITES: &[&str] = &["tangermuende", "jerichow", "arneburg"];
/// Each node's name and the number of its site.
const NODES: [(&str, usize); 5] = [
    ("albis", 0),
    ("bever", 0),
    ("cosel", 1),
    ("doemitz", 1),
    ("elster", 2),
];
/// The first node of a site with two has room for guests.
pub const HOSTS: [&str; 2] = ["albis", "cosel"];
const HOST_MIB: u32 = 512;
/// Between sites: 50 ms and one packet in two hundred, each way.
pub const LINE: Link = Link {
    delay_ms: 50,
    loss_ppm: 5_000,
    rate_bps: 0,
    cut: false,
};
/// A way on which nothing passes.
pub const CUT: Link = Link { cut: true, ..LINE };
/// First numbers that our DHCP server gives away in a site.
const ADDRESSES: [u8; 2] = [100, 101];
/// Rights for each site: its machines, each of which may come back without its disk.
const MACHINES: u32 = 8;

/// Five nodes that have joined, in the order of `NODES` as long as nobody loses power.
#[derive(Debug)]
pub struct Five {
    /// Switched on.
    pub members: Vec<Member>,
    /// What they stand in.
    pub cluster: Cluster,
}

impl Five {
    /// Switches all of them on; each has joined its site when this returns.
    pub fn boot(story: &Story) -> Result<Self, Problem> {
        let began = Instant::now();
        let mut cluster = Cluster::start(story, SITES, LINE)?;
        let tokens = SITES
            .iter()
            .map(|site| cluster.keys.token(site, MACHINES, true));
        let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        let subnets: Vec<_> = cluster.lans.iter().map(super::Lan::subnet).collect();
        let seeds = subnets
            .iter()
            .flat_map(|net| ADDRESSES.map(|at| net.at(at)));
        let seeds: Vec<Ipv4Addr> = seeds.collect();
        let mut seats: Vec<Seat> = Vec::new();
        for (name, site) in NODES {
            let seat = cluster.seat(name, site)?.token(&tokens[site]).seeds(&seeds);
            let seat = seat.disk(story)?;
            let is_host = HOSTS.contains(&name);
            seats.push(if is_host {
                seat.memory_mib(HOST_MIB)
            } else {
                seat
            });
        }
        let members = cluster.power_on(story, &seats)?;
        let took = began.elapsed().as_secs_f64();
        story.say(&format!(
            "five nodes have joined {took:.1} s after the first power-on"
        ));
        Ok(Self { members, cluster })
    }

    /// The node with this name.
    pub fn node(&self, name: &str) -> Result<&Member, Problem> {
        let found = self.members.iter().find(|one| one.seat.name == name);
        found.ok_or_else(|| Problem::Broken(format!("{name} is off")))
    }

    /// All nodes that are on.
    #[must_use]
    pub fn all(&self) -> Vec<&Member> {
        self.members.iter().collect()
    }

    /// The nodes that are on, of these sites and of the others.
    #[must_use]
    pub fn halves(&self, sites: &[usize]) -> [Vec<&Member>; 2] {
        let (these, others) = self
            .members
            .iter()
            .partition(|one| sites.contains(&one.seat.site));
        [these, others]
    }

    /// Takes a node out, for its power to be cut.
    pub fn take(&mut self, name: &str) -> Result<Member, Problem> {
        let at = self.members.iter().position(|one| one.seat.name == name);
        let at = at.ok_or_else(|| Problem::Broken(format!("{name} is off")))?;
        Ok(self.members.remove(at))
    }

    /// Switches a machine on again; it has joined when this returns.
    pub fn bring_back(&mut self, story: &Story, seat: Seat) -> Result<(), Problem> {
        let back = self.cluster.power_on(story, &[seat])?;
        self.members.extend(back);
        Ok(())
    }

    /// How many processors all machines together keep busy, measured for a while.
    pub fn busy(&self, during: Duration) -> Result<f64, Problem> {
        let used = || -> Result<Duration, Problem> {
            let machines = self.members.iter().map(|one| &one.node.machine);
            let times = machines.map(crate::machine::Machine::cpu_time);
            Ok(times.sum::<std::io::Result<Duration>>()?)
        };
        let (before, began) = (used()?, Instant::now());
        std::thread::sleep(during);
        Ok((used()? - before).as_secs_f64() / began.elapsed().as_secs_f64())
    }
}
