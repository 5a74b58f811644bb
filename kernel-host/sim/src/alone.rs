//! One part of the overlay alone: the failure detector of a site, beside which foca is measured.
//!
//! Does:      carries the part's messages; a cluster of one site, whatever its size.
//! Does not:  know sites, records or registers.
//! Bounds:    the part's own.
//! Trusts:    the part.
//! Start at:  `Alone`.

use crate::ids::Stamps;
use crate::machine::{Ask, Birth, Machine, Note, Opinion, Reply, Wish};
use crate::whole::note_of;
use netcore::dice::Dice;
use overlay::swim::{Health, Swim};
use overlay::{Context, Outbox};
use protocol::peer::{Channel, Contact, Message, Realm, Record, RecordKey};
use protocol::{Moment, NodeId};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// A node that has nothing but a failure detector.
#[derive(Debug)]
pub struct Alone {
    me: Contact,
    swim: Swim,
    dice: Dice,
    keyring: Stamps,
    out: Outbox,
    /// Where messages came from.
    heard: BTreeMap<NodeId, SocketAddr>,
    wishes: VecDeque<Wish>,
}

impl Alone {
    fn with(&mut self, now: Moment, act: impl FnOnce(&mut Swim, &mut Context<'_>)) {
        let mut cx = Context {
            now,
            me: self.me.node,
            site: self.me.site,
            dice: &mut self.dice,
            coordinates: &mut overlay::coordinates::Coordinates::new(),
            keyring: &mut self.keyring,
            out: &mut self.out,
        };
        act(&mut self.swim, &mut cx);
        for save in self.out.saves.drain(..) {
            self.wishes.push_back(Wish::Save(save));
        }
        for event in self.out.events.drain(..) {
            self.wishes.push_back(Wish::Note(note_of(event)));
        }
        for send in self.out.sends.drain(..) {
            let told = || self.swim.contact(send.to).map(|contact| contact.address);
            let address = self.heard.get(&send.to).copied().or_else(told);
            if let (Some(address), Some(bytes)) = (address, send.message.encode(send.channel)) {
                self.wishes.push_back(Wish::Send {
                    to: send.to,
                    address,
                    channel: send.channel,
                    bytes,
                });
            }
        }
    }
}

impl Machine for Alone {
    const TELLS_ALL: bool = true;

    fn start(_now: Moment, birth: Birth<'_>) -> Self {
        let mut dice = Dice::new(birth.seed);
        Self {
            me: birth.me,
            swim: Swim::new(birth.me, birth.life, birth.rules, &mut dice),
            dice,
            keyring: birth.keyring,
            out: Outbox::default(),
            heard: BTreeMap::new(),
            wishes: VecDeque::new(),
        }
    }

    fn receive(&mut self, now: Moment, from: Contact, channel: Channel, bytes: &[u8]) {
        self.heard.insert(from.node, from.address);
        if let Ok(Message::Swim(message)) = Message::decode(channel, bytes) {
            self.with(now, |swim, cx| swim.handle_message(cx, from.node, message));
        }
    }

    fn unreachable(&mut self, now: Moment, peer: NodeId, channel: Channel) {
        self.with(now, |swim, cx| swim.handle_unreachable(cx, peer, channel));
    }

    fn contact(&mut self, now: Moment, contact: Contact) {
        if contact.site == self.me.site {
            self.with(now, |swim, cx| swim.join(cx, contact));
        }
    }

    fn ask(&mut self, now: Moment, ask: u64, what: &Ask) {
        if *what == Ask::Leave {
            self.with(now, |swim, cx| swim.leave(cx));
        }
        let reply = Reply::Refused;
        self.wishes
            .push_back(Wish::Note(Note::Reply { ask, reply }));
    }

    fn timeout(&mut self, now: Moment) {
        self.with(now, |swim, cx| swim.handle_timeout(cx));
    }

    fn next_timeout(&self) -> Option<u64> {
        self.swim.next_timeout()
    }

    fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    fn opinion(&self, of: NodeId) -> Opinion {
        match self.swim.member(of).map(|member| member.health()) {
            Some(Health::Alive) => Opinion::Alive,
            Some(Health::Suspect) => Opinion::Suspect,
            None if self.swim.gone_one(of).is_some() => Opinion::Dead,
            None => Opinion::Unknown,
        }
    }

    fn others_there(&self) -> usize {
        self.swim.members().len()
    }

    fn record(&self, _key: &RecordKey) -> Option<Record> {
        None
    }

    fn records_digest(&self, _realm: Realm) -> u64 {
        0
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.swim.members().len() * 160 + self.swim.gone().count() * 96
    }

    fn payloads(&self) -> (u64, u64) {
        (0, 0)
    }

    fn check(&self) {}
}
