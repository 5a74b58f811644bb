//! The yardstick: one flat SWIM cluster from the `foca` crate, in the same world.
//!
//! Does:      runs foca with its own settings for a LAN of this size, or a WAN.
//! Does not:  know records, registers or sites: foca has none.
//! Bounds:    foca's own.
//! Trusts:    foca.
//! Start at:  `Flat`.

use crate::ids;
use crate::machine::{Ask, Birth, Machine, Note, Opinion, Reply, Wish};
use foca::{Foca, Identity, Notification, PostcardCodec, Runtime, Timer};
use netcore::dice::Dice;
use protocol::peer::{Channel, Contact, Realm, Record, RecordKey};
use protocol::{Moment, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::time::Duration;

/// Bytes that foca keeps for a member, measured on its types: an entry of its list and one of its
/// backlog of updates.
const MEMBER_BYTES: usize = 64;

/// A node as foca knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    node: NodeId,
    address: u32,
    life: u64,
}

impl Identity for Name {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self {
            life: self.life + 1,
            ..*self
        })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.life > other.life
    }
}

/// foca's dice.
#[derive(Debug)]
struct Chance(Dice);

impl rand_core::TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for byte in to {
            [.., *byte] = self.0.next_u64().to_be_bytes();
        }
        Ok(())
    }
}

/// What foca wants done.
#[derive(Debug, Default)]
struct Desk {
    now_ms: u64,
    sequence: u64,
    timers: BTreeMap<(u64, u64), Timer<Name>>,
    wishes: VecDeque<Wish>,
}

impl Runtime<Name> for &mut Desk {
    fn notify(&mut self, notification: Notification<'_, Name>) {
        let (of, opinion) = match notification {
            Notification::MemberUp(name) => (name.node, Opinion::Alive),
            Notification::MemberDown(name) => (name.node, Opinion::Dead),
            Notification::ProbeFailed(_, name) => (name.node, Opinion::Suspect),
            _ => return,
        };
        self.wishes
            .push_back(Wish::Note(Note::Opinion { of, opinion }));
    }

    fn send_to(&mut self, to: Name, data: &[u8]) {
        self.wishes.push_back(Wish::Send {
            to: to.node,
            address: ids::address_of(to.address),
            channel: Channel::Datagram,
            bytes: data.to_vec(),
        });
    }

    fn submit_after(&mut self, event: Timer<Name>, after: Duration) {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.sequence += 1;
        let due = (self.now_ms.saturating_add(after_ms), self.sequence);
        self.timers.insert(due, event);
    }
}

/// One foca node.
pub struct Flat {
    foca: Foca<Name, PostcardCodec, Chance, foca::NoCustomBroadcast>,
    desk: Desk,
    /// Refused inputs: foca says so for stale messages too.
    refused: u64,
}

impl std::fmt::Debug for Flat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flat")
            .field("me", self.foca.identity())
            .finish_non_exhaustive()
    }
}

impl Machine for Flat {
    const TELLS_ALL: bool = true;

    fn start(now: Moment, birth: Birth<'_>) -> Self {
        let name = Name {
            node: birth.me.node,
            address: ids::number_of(birth.me.address).unwrap_or(0),
            life: birth.life.bits(),
        };
        let nodes = NonZeroU32::new(birth.nodes).unwrap_or(NonZeroU32::MIN);
        let mut config = foca::Config::new_lan(nodes);
        config.max_packet_size = std::num::NonZeroUsize::new(protocol::peer::DATAGRAM_BYTES_MAX)
            .unwrap_or(config.max_packet_size);
        let desk = Desk {
            now_ms: now.uptime_ms,
            ..Desk::default()
        };
        Self {
            foca: Foca::new(name, config, Chance(Dice::new(birth.seed)), PostcardCodec),
            desk,
            refused: 0,
        }
    }

    fn receive(&mut self, now: Moment, _from: Contact, _channel: Channel, bytes: &[u8]) {
        self.desk.now_ms = now.uptime_ms;
        let done = self.foca.handle_data(bytes, &mut self.desk);
        self.refused += u64::from(done.is_err());
    }

    fn unreachable(&mut self, _now: Moment, _peer: NodeId, _channel: Channel) {}

    fn contact(&mut self, now: Moment, contact: Contact) {
        self.desk.now_ms = now.uptime_ms;
        let name = Name {
            node: contact.node,
            address: ids::number_of(contact.address).unwrap_or(0),
            life: 0,
        };
        let done = self.foca.announce(name, &mut self.desk);
        self.refused += u64::from(done.is_err());
    }

    fn ask(&mut self, now: Moment, ask: u64, what: &Ask) {
        self.desk.now_ms = now.uptime_ms;
        if *what == Ask::Leave {
            let done = self.foca.leave_cluster(&mut self.desk);
            self.refused += u64::from(done.is_err());
        }
        let reply = Reply::Refused;
        self.desk
            .wishes
            .push_back(Wish::Note(Note::Reply { ask, reply }));
    }

    fn timeout(&mut self, now: Moment) {
        self.desk.now_ms = now.uptime_ms;
        while let Some(entry) = self.desk.timers.first_entry() {
            if entry.key().0 > now.uptime_ms {
                break;
            }
            let event = entry.remove();
            let done = self.foca.handle_timer(event, &mut self.desk);
            self.refused += u64::from(done.is_err());
        }
    }

    fn next_timeout(&self) -> Option<u64> {
        self.desk.timers.first_key_value().map(|(due, _)| due.0)
    }

    fn poll(&mut self) -> Option<Wish> {
        self.desk.wishes.pop_front()
    }

    fn opinion(&self, of: NodeId) -> Opinion {
        let mut members = self.foca.iter_members();
        match members.find(|member| member.id().node == of) {
            Some(member) if member.state() == foca::State::Suspect => Opinion::Suspect,
            Some(_) => Opinion::Alive,
            None => Opinion::Unknown,
        }
    }

    fn others_there(&self) -> usize {
        self.foca.num_members()
    }

    fn record(&self, _key: &RecordKey) -> Option<Record> {
        None
    }

    fn records_digest(&self, _realm: Realm) -> u64 {
        0
    }

    fn memory_bytes(&self) -> usize {
        let members = self.foca.iter_membership_state().len();
        let timers = self.desk.timers.len() * 96;
        members * MEMBER_BYTES + self.foca.updates_backlog() * 64 + timers
    }

    fn payloads(&self) -> (u64, u64) {
        (0, 0)
    }

    fn check(&self) {}
}
