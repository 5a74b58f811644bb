//! How hosts find each other: calls on the LAN, seeds, and a second look by those who are alone.
//!
//! Start at:  `World::discover`.

use super::{What, World, at};
use crate::machine::Machine;
use protocol::peer::Channel;

/// How often a lonely node looks for others.
const DISCOVER_US: u64 = 5_000_000;
/// How often a node calls on its LAN.
const BEACON_US: u64 = 8_000_000;
/// For so long after its start a node looks for others, whatever the history says.
const NEW_US: u64 = 20_000_000;

impl<M: Machine> World<M> {
    /// What LAN calls, seeds and a second look would find now.
    pub(super) fn discover(&mut self, host: u32, boot: u32) {
        let place = &self.hosts[at(host)];
        if place.boot != boot || !place.is_up() {
            return;
        }
        let others = place.machine.as_ref().map_or(0, M::others_there);
        let is_lonely = place.machine.as_ref().is_some_and(M::is_lonely);
        let is_new = self.now_us < place.clock.booted_us + NEW_US;
        if is_new || self.shape.beacons {
            self.meet_on_lan(host, if others == 0 { 3 } else { 1 });
        }
        if is_new || self.shape.asks_again {
            self.meet_seeds(host);
        }
        let wait_us = if is_lonely || is_new {
            DISCOVER_US
        } else {
            BEACON_US
        };
        let wait_us = self.hosts[at(host)].dice.around(wait_us);
        self.queue
            .push(self.now_us + wait_us, What::Discover(host, boot));
    }

    fn meet_on_lan(&mut self, host: u32, count: u32) {
        let site = self.hosts[at(host)].place.site;
        let first: u32 = self.shape.sites[..usize::from(site)]
            .iter()
            .map(|n| u32::from(*n))
            .sum();
        let nodes = u64::from(self.shape.sites[usize::from(site)]);
        for _ in 0..count {
            let pick = self.hosts[at(host)].dice.below(nodes);
            let other = first + u32::try_from(pick).unwrap_or(0);
            let id = self.hosts[at(other)].id;
            let machine = self.hosts[at(host)].machine.as_ref();
            if machine.is_some_and(|machine| !machine.opinion(id).is_there()) {
                self.meet(host, other);
            }
        }
    }

    fn meet_seeds(&mut self, host: u32) {
        let seeds = self.seed_hosts.clone();
        for seed in seeds {
            // Whom it knows to be there it need not look for.
            let id = self.hosts[at(seed.host)].id;
            let machine = self.hosts[at(host)].machine.as_ref();
            if machine.is_some_and(|machine| !machine.opinion(id).is_there()) {
                self.meet(host, seed.host);
            }
        }
    }

    /// Two hosts make a session, if the network lets them.
    pub(super) fn meet(&mut self, host: u32, other: u32) {
        let (a, b) = (self.hosts[at(host)].place, self.hosts[at(other)].place);
        let is_cut = self.network.is_blocked(a, b, Channel::Datagram)
            || self.network.is_blocked(b, a, Channel::Datagram);
        let contact = self.hosts[at(other)].contact();
        if is_cut || host == other || !self.hosts[at(other)].is_up() {
            return;
        }
        let place = &mut self.hosts[at(host)];
        let now = place.clock.moment(self.now_us);
        if contact.node != place.id
            && let Some(machine) = &mut place.machine
        {
            machine.contact(now, contact);
            self.mark(5, host, &[]);
            self.after_step(host);
        }
    }
}
