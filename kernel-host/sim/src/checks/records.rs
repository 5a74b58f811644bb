//! Records of VMs and of unknown kinds: I2, I4, I6, I11, L7 and L8.
//!
//! Does:      performs users' orders about VMs, remembers them, and compares what nodes store.
//! Does not:  look into bodies.
//! Bounds:    what a history orders.
//! Trusts:    the world for who runs.
//! Start at:  `Records::work`, `Records::finish`.

use super::Found;
use crate::history::Work;
use crate::ids::{mix, stamp};
use crate::machine::{Ask, Machine};
use crate::world::{World, at};
use protocol::NodeId;
use protocol::peer::recon::Packer;
use protocol::peer::{Channel, Message, Realm, Record, RecordKey, RecordKind, Stamp, Version};
use std::collections::{BTreeMap, BTreeSet};

/// What a liar signs in another's name.
const FORGED: &[u8] = b"forged";
/// Realms must have been equal within this before the end.
pub const EQUAL_MS: u64 = 30_000;
/// A kind that nobody knows: it must be kept and passed on.
const STRANGE: RecordKind = RecordKind(60_007);

/// Records of which is told that they differ.
const UNEQUAL_TOLD: usize = 4;

/// A VM that was ordered.
#[derive(Debug)]
struct Vm {
    key: RecordKey,
    owner: NodeId,
    host: u32,
    epoch: u64,
    is_deleted: bool,
}

#[derive(Debug, Default)]
pub struct Records {
    vms: BTreeMap<u32, Vm>,
    strange: Vec<(RecordKey, Vec<u8>, NodeId)>,
    /// What each host has stored last since its start.
    versions: BTreeMap<(u32, RecordKey), Version>,
    /// Hosts that have seen a tombstone since their start.
    ended: BTreeSet<(u32, RecordKey)>,
    revoked: BTreeSet<NodeId>,
    /// Hosts that have heard of a revocation since their start.
    knows_revoked: BTreeSet<(u32, NodeId)>,
    /// Groups of hosts that hold the same of a realm. `None`: all have been equal lately.
    differing: BTreeMap<Realm, Option<Vec<Vec<u32>>>>,
}

fn other_id(key: &RecordKey) -> NodeId {
    NodeId::from_bytes(key.subject)
}

fn subject(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mix(number).to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes
}

impl Records {
    pub fn work<M: Machine>(&mut self, world: &mut World<M>, work: &Work, found: &mut Found) {
        match *work {
            Work::Create { host, vm } => self.create(world, host, vm, found),
            Work::Change { vm } => self.change(world, vm, false, found),
            Work::Delete { vm } => self.change(world, vm, true, found),
            Work::Strange { host } => self.strange(world, host, STRANGE, 90, found),
            Work::Large { host, bytes } => {
                self.strange(
                    world,
                    host,
                    STRANGE,
                    usize::try_from(bytes).unwrap_or(0),
                    found,
                );
            }
            Work::Poison { host, kind } => {
                self.strange(world, host, RecordKind(kind), 37, found);
            }
            Work::Fill {
                host,
                first_vm,
                count,
            } => {
                (first_vm..first_vm + count).for_each(|vm| self.create(world, host, vm, found));
            }
            Work::Forge { host, of, vm } => self.forge(world, host, of, vm),
            Work::Revoke { host, whom } => self.revoke(world, host, whom, found),
            Work::Empty { first_vm, count } => {
                (first_vm..first_vm + count).for_each(|vm| self.change(world, vm, true, found));
            }
            _ => {}
        }
    }

    fn create<M: Machine>(&mut self, world: &mut World<M>, host: u32, vm: u32, found: &mut Found) {
        let Some(place) = world.hosts.get(at(host)).filter(|place| place.is_up()) else {
            return;
        };
        let key = RecordKey {
            realm: Realm::Site(place.site_id),
            kind: RecordKind::VM,
            subject: subject(u64::from(vm) + 1),
        };
        let created = Vm {
            key,
            owner: place.id,
            host,
            epoch: 1,
            is_deleted: false,
        };
        if publish(world, &created, vec![1; 120], found) {
            self.vms.insert(vm, created);
        }
    }

    /// The owner writes a new state, or deletes the VM.
    fn change<M: Machine>(&mut self, world: &mut World<M>, vm: u32, ends: bool, found: &mut Found) {
        let Some(vm) = self.vms.get_mut(&vm) else {
            return;
        };
        let owner_runs =
            world.hosts[at(vm.host)].is_up() && world.hosts[at(vm.host)].id == vm.owner;
        // Its host must have its records back before it may speak about them.
        let knows = world
            .machine(vm.host)
            .is_some_and(|machine| machine.record(&vm.key).is_some());
        if !owner_runs || !knows || vm.is_deleted {
            return;
        }
        let was_deleted = std::mem::replace(&mut vm.is_deleted, ends);
        if !publish(world, vm, vec![2; 150], found) {
            vm.is_deleted = was_deleted;
        }
    }

    fn strange<M: Machine>(
        &mut self,
        world: &mut World<M>,
        host: u32,
        kind: RecordKind,
        bytes: usize,
        found: &mut Found,
    ) {
        let Some(place) = world.hosts.get(at(host)).filter(|place| place.is_up()) else {
            return;
        };
        let number = self.strange.len() as u64;
        // What a node says of itself has itself as its subject; a card stays in its site.
        let is_own = kind.0 < RecordKind::SITE_RETIRED.0 || kind == RecordKind::CAPACITY;
        let is_local = kind == RecordKind::NODE_CARD || kind.0 >= 32 && kind.0 < 60_000;
        let key = RecordKey {
            realm: match is_local {
                true => Realm::Site(place.site_id),
                false => Realm::Cluster,
            },
            kind,
            subject: match is_own {
                true => place.id.bytes(),
                false => subject(number + 1_000_000),
            },
        };
        let thing = Vm {
            key,
            owner: place.id,
            host,
            epoch: 1,
            is_deleted: false,
        };
        let body = vec![u8::try_from(number % 251).unwrap_or(0); bytes];
        let author = place.id;
        if publish(world, &thing, body.clone(), found) && kind == STRANGE {
            self.strange.push((key, body, author));
        }
    }

    /// A lying node can only say wrong things about itself.
    fn forge<M: Machine>(&self, world: &mut World<M>, host: u32, of: u32, vm: u32) {
        let Some(victim) = world.hosts.get(at(of)) else {
            return;
        };
        let key = self.vms.get(&vm).map(|vm| vm.key).unwrap_or(RecordKey {
            realm: Realm::Cluster,
            kind: RecordKind::SITE_MEMBERS,
            subject: victim.id.bytes(),
        });
        let author = victim.id;
        let forged = Record {
            key,
            author,
            version: Version {
                epoch: 9,
                seq: u64::from(world.shape().hosts()),
            },
            written: Stamp::from_wall(victim.clock.moment(world.now_us).wall),
            ended: true,
            body: Vec::new(),
            signature: stamp(author, FORGED),
        };
        let mut packer = Packer::default();
        packer.add(&forged.encode());
        let message = Message::Recon(packer.finish());
        let Some(bytes) = message.encode(Channel::Datagram) else {
            return;
        };
        for to in 0..world.shape().hosts() {
            world.inject(host, to, Channel::Datagram, bytes.clone());
        }
    }

    /// From now on nobody who hears of it takes what the other writes.
    fn revoke<M: Machine>(
        &mut self,
        world: &mut World<M>,
        host: u32,
        whom: u32,
        found: &mut Found,
    ) {
        let (Some(place), Some(other)) = (world.hosts.get(at(host)), world.hosts.get(at(whom)))
        else {
            return;
        };
        let key = RecordKey {
            realm: Realm::Cluster,
            kind: RecordKind::REVOCATION,
            subject: other.id.bytes(),
        };
        let thing = Vm {
            key,
            owner: place.id,
            host,
            epoch: 1,
            is_deleted: false,
        };
        if place.is_up() && publish(world, &thing, vec![0; 64], found) {
            self.revoked.insert(other_id(&key));
        }
    }

    /// Nodes that nobody needs to believe any more.
    pub const fn revoked(&self) -> &BTreeSet<NodeId> {
        &self.revoked
    }

    pub fn stored<M: Machine>(
        &mut self,
        world: &World<M>,
        host: u32,
        record: &Record,
        found: &mut Found,
    ) {
        let now_ms = world.now_ms();
        let before = self.versions.insert((host, record.key), record.version);
        if let Some(before) = before.filter(|before| *before > record.version) {
            let what = format!(
                "host {host} replaced {before:?} of {:?} by {:?}",
                record.key, record.version
            );
            found.add("I2", now_ms, what);
        }
        if record.key.kind != RecordKind::VM {
            // A speaker's word may end and begin again: it is about itself.
        } else if record.ended {
            self.ended.insert((host, record.key));
        } else if self.ended.contains(&(host, record.key)) {
            let what = format!("host {host} has {:?} again", record.key);
            found.add("I6", now_ms, what);
        }
        if record.key.kind == RecordKind::REVOCATION {
            self.knows_revoked.insert((host, other_id(&record.key)));
        }
        if self.knows_revoked.contains(&(host, record.author)) {
            let what = format!("host {host} took {:?} by a revoked node", record.key);
            found.add("I4", now_ms, what);
        }
        if record.signature == stamp(record.author, FORGED) {
            let what = format!("host {host} took a forged record by {}", record.author);
            found.add("I4", now_ms, what);
        }
    }

    /// A tombstone was dropped because everybody had it: from now on the thing must never return.
    pub fn forgotten(&mut self, host: u32, key: &RecordKey) {
        self.versions.remove(&(host, *key));
    }

    /// A host starts or stops. What it wrote while its disk kept nothing has not left it either: if
    /// then the power goes, nobody was told anything that is now untrue.
    pub fn power<M: Machine>(&mut self, world: &World<M>, host: u32, on: bool) {
        let place = &world.hosts[at(host)];
        let is_kept = |key: &RecordKey, body: &[u8]| {
            let is_it = |record: &Record| record.key == *key && record.body == *body;
            let mut running = world.hosts.iter().filter_map(|one| one.machine.as_ref());
            let mut on_disk = place
                .disk
                .values()
                .filter_map(|bytes| Record::decode(bytes));
            on_disk.any(|record| is_it(&record))
                || running.any(|machine| machine.record(key).as_ref().is_some_and(is_it))
        };
        self.strange
            .retain(|(key, body, author)| on || *author != place.id || is_kept(key, body));
        self.versions.retain(|(other, _), _| *other != host);
        self.ended.retain(|(other, _)| *other != host);
        self.knows_revoked.retain(|(other, _)| *other != host);
    }

    pub fn finish<M: Machine>(&mut self, world: &World<M>, found: &mut Found) {
        let now_ms = world.now_ms();
        for host in world.hosts.iter().filter(|host| host.is_up()) {
            let Some(machine) = &host.machine else {
                continue;
            };
            // A deletion that nobody heard of may be lost with its node.
            let told = |vm: &&Vm| {
                world
                    .hosts
                    .iter()
                    .any(|one| one.is_up() && one.id == vm.owner)
            };
            for vm in self.vms.values().filter(|vm| vm.is_deleted).filter(told) {
                if machine.record(&vm.key).is_some_and(|record| !record.ended) {
                    let what = format!("host {} still shows {:?}", host.place.host, vm.key);
                    found.add("I6", now_ms, what);
                }
            }
        }
        self.all_have_all(world, found);
    }

    /// Who of a realm's keepers holds other records than the rest. Records that are on their way,
    /// or that each node drops by its own clock, make holders differ for moments: they must be
    /// equal at some moment of the last `EQUAL_MS`.
    pub fn compare<M: Machine>(&mut self, world: &World<M>) {
        let mut digests: BTreeMap<Realm, BTreeMap<u64, Vec<u32>>> = BTreeMap::new();
        for host in &world.hosts {
            let machine = host.machine.as_ref();
            let judged = |_: &&M| !self.revoked.contains(&host.id);
            let Some(machine) = machine.filter(judged) else {
                continue;
            };
            for realm in [Realm::Cluster, Realm::Site(host.site_id)] {
                let holders = digests.entry(realm).or_default();
                let digest = machine.records_digest(realm);
                holders.entry(digest).or_default().push(host.place.host);
            }
        }
        for (realm, holders) in digests {
            let differ = self
                .differing
                .entry(realm)
                .or_insert_with(|| Some(Vec::new()));
            if holders.len() < 2 {
                *differ = None;
            } else if let Some(groups) = differ {
                *groups = holders.into_values().collect();
            }
        }
    }

    fn all_have_all<M: Machine>(&self, world: &World<M>, found: &mut Found) {
        let now_ms = world.now_ms();
        for (realm, groups) in &self.differing {
            if let Some(groups) = groups {
                let records = self.unequal(world, *realm, groups);
                let what = format!("{realm:?} differs between hosts {groups:?}: {records}");
                found.add("L7", now_ms, what);
            }
        }
        for (key, body, author) in &self.strange {
            // Only if its author lived long enough to tell anyone.
            let holds = |machine: &M| {
                machine
                    .record(key)
                    .is_some_and(|record| record.body == *body)
            };
            let author_runs = world
                .hosts
                .iter()
                .any(|host| host.is_up() && host.id == *author);
            let running = world.hosts.iter().filter_map(|host| host.machine.as_ref());
            let have = running.clone().filter(|machine| holds(machine)).count();
            let all = running.count();
            if have < all && (author_runs || have > 0) {
                let what = format!("{have} of {all} nodes hold {key:?}");
                found.add("I11", now_ms, what);
            }
        }
    }
}

impl Records {
    /// Some of the records that one host of each group holds and another does not.
    fn unequal<M: Machine>(&self, world: &World<M>, realm: Realm, groups: &[Vec<u32>]) -> String {
        let firsts: Vec<u32> = groups
            .iter()
            .filter_map(|hosts| hosts.first().copied())
            .collect();
        let keys: BTreeSet<&RecordKey> = self.versions.keys().map(|(_, key)| key).collect();
        let mut said = Vec::new();
        for key in keys.into_iter().filter(|key| key.realm == realm) {
            let living = |host: &u32| {
                let record = world.machine(*host)?.record(key)?;
                (!record.ended).then_some(record.version)
            };
            let held: Vec<_> = firsts.iter().map(living).collect();
            if held.iter().any(|one| *one != held[0]) {
                let versions = held.iter().map(|one| match one {
                    Some(version) => format!("{}.{}", version.epoch, version.seq),
                    None => "-".to_owned(),
                });
                let versions: Vec<String> = versions.collect();
                let node = other_id(key).short();
                said.push(format!(
                    "kind {} of {node}: {}",
                    key.kind.0,
                    versions.join(" ")
                ));
            }
        }
        let more = said.len().saturating_sub(UNEQUAL_TOLD);
        said.truncate(UNEQUAL_TOLD);
        format!("{}, and {more} more", said.join(", "))
    }
}

/// Publishes a record of a VM. `false`: its host does not work now, or its clock is so wrong that
/// it may not stamp what others merge.
fn publish<M: Machine>(world: &mut World<M>, vm: &Vm, body: Vec<u8>, found: &mut Found) -> bool {
    let ask = Ask::Publish {
        key: vm.key,
        epoch: vm.epoch,
        ended: vm.is_deleted,
        body,
    };
    if !world.ask(vm.host, 0, &ask) {
        return false;
    }
    let has = world
        .machine(vm.host)
        .and_then(|machine| machine.record(&vm.key));
    let is_written = has.is_some_and(|record| record.ended == vm.is_deleted);
    let may_not_stamp = world.hosts[at(vm.host)].has_wrong_clock();
    if !is_written && !may_not_stamp {
        let what = format!("host {} could not write {:?}", vm.host, vm.key);
        found.add("L8", world.now_ms(), what);
    }
    is_written
}
