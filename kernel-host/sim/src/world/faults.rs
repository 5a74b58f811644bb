//! How the world performs the deeds of a history, and how it heals.
//!
//! Does:      begins and ends each deed; undoes all that stand when the heal phase comes.
//! Does not:  decide them (`history`); deeds that are not possible now are left out.
//! Bounds:    one rule or two in the network for each deed.
//! Trusts:    nothing: indices are checked.
//! Start at:  `World::begin`.

use super::network::Rule;
use super::{What, World, at};
use crate::history::Deed;
use crate::machine::{Ask, Machine};

/// Rules of deeds have the deed's number; a second rule of the same deed has this bit too.
const SECOND_RULE: u32 = 1 << 31;
/// A goodbye is on its way before the power goes.
const GOODBYE_US: u64 = 1_000_000;
/// How often it is looked whether others have taken over, and how long that is waited for.
const HANDOVER_US: u64 = 500_000;
const HANDOVER_US_MAX: u64 = 10_000_000;

impl<M: Machine> World<M> {
    pub(super) fn begin(&mut self, index: u32) {
        let deed = self.acts[at(index)].deed.clone();
        let now_us = self.now_us;
        let ends_after_ms = match deed {
            Deed::Work(_) => {
                self.works.push(index);
                None
            }
            _ if self.is_healed || !self.is_possible(&deed) => None,
            Deed::Crash { host, down_ms, .. } => {
                self.cut_power(host);
                Some(down_ms)
            }
            Deed::Pause { host, for_ms } => {
                let place = &mut self.hosts[at(host)];
                place.paused_until_us = now_us + for_ms * 1000;
                self.glances[at(host)] = place.glance();
                None
            }
            Deed::Slow {
                host,
                times,
                for_ms,
            } => {
                self.hosts[at(host)].slow = times.max(1);
                Some(for_ms)
            }
            Deed::Disturb { for_ms, .. } => {
                self.disturb(index, &deed);
                Some(for_ms)
            }
            Deed::Clone { of, onto, for_ms } => {
                self.clone_disk(of, onto);
                Some(for_ms)
            }
            Deed::Clock {
                host,
                jump_ms,
                drift_ppm,
            } => {
                self.shift_clock(host, jump_ms, drift_ppm);
                None
            }
            Deed::Stall { host, for_ms } => {
                let until_us = now_us + for_ms * 1000;
                self.hosts[at(host)].stalled_until_us = until_us;
                self.queue.push(until_us, What::Flush(host));
                None
            }
            Deed::Leave { host } => {
                self.ask(host, u64::MAX, &Ask::Leave);
                self.hosts[at(host)].has_left = true;
                self.queue.push(now_us + GOODBYE_US, What::End(index));
                None
            }
            Deed::Join { host } => {
                self.boot(host, true);
                None
            }
            Deed::Move { host, address } => {
                self.move_host(host, address);
                None
            }
        };
        self.mark(6, index, &[]);
        if let Some(ms) = ends_after_ms {
            self.queue.push(now_us + ms * 1000, What::End(index));
        }
    }

    /// Whether the hosts that a deed names are there.
    fn is_possible(&self, deed: &Deed) -> bool {
        let hosts = self.shape.hosts();
        match deed {
            Deed::Crash { host, .. }
            | Deed::Pause { host, .. }
            | Deed::Slow { host, .. }
            | Deed::Clock { host, .. }
            | Deed::Stall { host, .. }
            | Deed::Leave { host } => *host < hosts && self.hosts[at(*host)].is_up(),
            Deed::Join { host } => *host < hosts,
            Deed::Move { host, address } => *host < hosts && at(*address) < 2 * at(hosts),
            Deed::Clone { of, onto, .. } => {
                let has_key = |host: u32| host < hosts && self.hosts[at(host)].has_disk;
                has_key(*of) && *onto < hosts && of != onto
            }
            Deed::Disturb { .. } | Deed::Work(_) => true,
        }
    }

    pub(super) fn end(&mut self, index: u32) {
        match self.acts[at(index)].deed {
            Deed::Crash {
                host, keeps_disk, ..
            } => self.boot(host, keeps_disk),
            Deed::Slow { host, .. } => self.hosts[at(host)].slow = 1,
            Deed::Disturb { .. } => {
                self.network.remove_rule(index);
                self.network.remove_rule(index | SECOND_RULE);
            }
            Deed::Clone { onto, .. } if !self.is_healed => self.end_clone(onto),
            Deed::Leave { host } => {
                let until_us = self.acts[at(index)].at_ms * 1000 + HANDOVER_US_MAX;
                let may_go = self.machine(host).is_none_or(M::may_go);
                if may_go || self.now_us >= until_us {
                    self.cut_power(host);
                } else {
                    let again_us = self.now_us + HANDOVER_US;
                    self.queue.push(again_us, What::End(index));
                }
            }
            _ => {}
        }
    }

    pub fn cut_power(&mut self, host: u32) {
        if self.hosts[at(host)].is_up() {
            let place = &mut self.hosts[at(host)];
            place.lose_power();
            self.glances[at(host)] = place.glance();
            self.powers.push((host, false));
            self.mark(7, host, &[]);
        }
    }

    fn disturb(&mut self, index: u32, deed: &Deed) {
        if let Deed::Disturb {
            from,
            to,
            both,
            effect,
            ..
        } = deed
        {
            let there = Rule {
                from: from.clone(),
                to: to.clone(),
                effect: *effect,
            };
            let back = Rule {
                from: to.clone(),
                to: from.clone(),
                effect: *effect,
            };
            self.network.add_rule(index, there);
            if *both {
                self.network.add_rule(index | SECOND_RULE, back);
            }
        }
    }

    /// A second machine boots from a copy of a disk, key and all.
    fn clone_disk(&mut self, of: u32, onto: u32) {
        self.cut_power(onto);
        let source = &self.hosts[at(of)];
        let (id, site_id, disk) = (source.id, source.site_id, source.disk.clone());
        // Both boot from the same number.
        let life_boots = source.life_boots.saturating_sub(1);
        let place = &mut self.hosts[at(onto)];
        (place.id, place.site_id) = (id, site_id);
        place.life_boots = life_boots;
        place.disk = disk;
        place.has_left = false;
        self.start(onto);
    }

    /// The copy is taken away; its host comes back as itself, with an empty disk.
    fn end_clone(&mut self, onto: u32) {
        self.cut_power(onto);
        let site = self.hosts[at(onto)].place.site;
        let place = &mut self.hosts[at(onto)];
        place.site_id = self.ids.site(site);
        if self.shape.spares.contains(&onto) {
            // It waits to be started, as nobody's copy.
            place.key += 1;
            (place.boot, place.life_boots) = (0, 0);
            place.disk.clear();
            place.was_up = false;
            place.id = self.ids.node(onto, site, place.key);
        } else {
            self.boot(onto, false);
        }
    }

    fn shift_clock(&mut self, host: u32, jump_ms: i64, drift_ppm: i32) {
        let now_us = self.now_us;
        let place = &mut self.hosts[at(host)];
        let uptime_ms = place.clock.uptime_ms(now_us);
        place.clock.wall_off_ms = place.clock.wall_off_ms.saturating_add(jump_ms);
        place.clock.drift_ppm = drift_ppm.clamp(-100_000, 100_000);
        // The monotonic clock goes on from where it is.
        let mut booted_us = place.clock.booted_us;
        for _ in 0..3 {
            let shown_ms = place.clock.uptime_ms(now_us);
            if shown_ms > uptime_ms {
                booted_us += (shown_ms - uptime_ms) * 1000;
            } else {
                booted_us = booted_us.saturating_sub((uptime_ms - shown_ms) * 1000);
            }
            place.clock.booted_us = booted_us;
        }
        place.timer_us = u64::MAX;
        self.set_timer(host);
    }

    fn move_host(&mut self, host: u32, address: u32) {
        let hosts = self.shape.hosts();
        self.cut_power(host);
        if at(address) >= self.at_address.len() {
            self.at_address.resize(2 * at(hosts), u32::MAX);
        }
        let old = self.hosts[at(host)].address;
        self.at_address[at(old)] = u32::MAX;
        self.at_address[at(address)] = host;
        self.hosts[at(host)].address = address;
        self.boot(host, true);
    }

    /// The heal phase: no fault begins any more, and all that stand are undone.
    pub fn heal(&mut self) {
        self.is_healed = true;
        self.network.calm_down();
        self.network.weather_mut().double_ppm = 0;
        self.network.weather_mut().disorder_ppm = 0;
        let clones: Vec<u32> = self.clones();
        for onto in clones {
            self.end_clone(onto);
        }
        for host in 0..self.shape.hosts() {
            let now_us = self.now_us;
            let place = &mut self.hosts[at(host)];
            place.slow = 1;
            place.paused_until_us = place.paused_until_us.min(now_us);
            place.stalled_until_us = place.stalled_until_us.min(now_us);
            self.glances[at(host)] = place.glance();
            place.timer_us = u64::MAX;
            self.set_timer(host);
            self.flush(host);
            let place = &self.hosts[at(host)];
            if place.was_up && !place.has_left && !place.is_up() {
                let keeps_disk = self.disk_of_crash(host);
                self.boot(host, keeps_disk);
            }
        }
    }

    fn clones(&self) -> Vec<u32> {
        let is_clone = |host: &&super::Host<M>| crate::ids::host_of(host.id) != host.place.host;
        let clones = self.hosts.iter().filter(is_clone);
        clones.map(|host| host.place.host).collect()
    }

    /// Whether the latest crash of a host left its disk.
    fn disk_of_crash(&self, host: u32) -> bool {
        let mut crashes = self.acts.iter().rev().filter_map(|act| match act.deed {
            Deed::Crash {
                host: other,
                keeps_disk,
                ..
            } if other == host && act.at_ms * 1000 <= self.now_us => Some(keeps_disk),
            _ => None,
        });
        crashes.next().unwrap_or(true)
    }
}
