//! All parts of the overlay as one machine: what the appliance and the simulator drive.
//!
//! Does:      reads messages and hands them to their part; knows where peers are; turns what parts
//!            want into outputs, in order; keeps the members of our site as events tell them.
//! Does not:  do I/O; know sessions; interpret bodies that are other rooms'.
//! Bounds:    those of the parts; `OUTPUTS_MAX` outputs, beyond which datagrams are dropped
//!            (`dropped_outputs`); inputs are refused with a reason and change nothing.
//! Trusts:    its caller for the time and for who a message is from.
//! Start at:  `Overlay::handle_input`.

mod book;
mod doubts;
mod face;
pub mod journal;
mod keeping;
mod lookup;
mod reads;
mod records;
mod registers;
mod site;
mod spreading;
mod upkeep;

use crate::clock::Clock;
use crate::context::{Context, Event, Keyring, Outbox};
use crate::coordinates::Coordinates;
use crate::directory::Directory;
use crate::guardians::Presence;
use crate::links::Links;
use crate::lookup::Lookup;
use crate::recon::Recon;
use crate::register::Registers;
use crate::rules::Rules;
use crate::store::Store;
use crate::swim::Swim;
use crate::tree::Tree;
use book::Book;
use doubts::Doubts;
pub use face::{Answer, Config, Draft, Input, NodeState, NodeView, Output, Refused, SiteView};
use journal::{Happening, Journal};
use netcore::dice::Dice;
use protocol::peer::directory::DirectoryMessage;
use protocol::peer::recon::ReconMessage;
use protocol::peer::register::Wish;
use protocol::peer::{Channel, Contact, Life, Message, RecordKey, Stamp, Version};
use protocol::{Moment, Name, NodeId};
use site::Member;
use std::collections::{BTreeMap, VecDeque};

/// Outputs not fetched yet. Only a caller that stopped fetching gets here.
const OUTPUTS_MAX: usize = 16_384;

/// What went through, and what did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub messages: u64,
    pub malformed: u64,
    pub unknown_kinds: u64,
    pub misdirected: u64,
    pub sent: u64,
    pub too_long: u64,
    pub no_address: u64,
    pub over_rate: u64,
    pub dropped_outputs: u64,
    pub payloads_received: u64,
    pub poisoned: u64,
    pub ghosts: u64,
}

/// What all parts share.
#[derive(Debug)]
pub(crate) struct Core {
    pub me: Contact,
    pub dice: Dice,
    pub coordinates: Coordinates,
    pub keyring: Box<dyn Keyring>,
    pub outbox: Outbox,
}

impl Core {
    pub fn context(&mut self, now: Moment) -> Context<'_> {
        Context {
            now,
            me: self.me.node,
            site: self.me.site,
            dice: &mut self.dice,
            coordinates: &mut self.coordinates,
            keyring: self.keyring.as_mut(),
            out: &mut self.outbox,
        }
    }
}

/// One node's overlay.
#[derive(Debug)]
pub struct Overlay {
    core: Core,
    site_name: Name,
    life: Life,
    rules: Rules,
    clock: Clock,
    store: Store,
    recon: Recon,
    swim: Swim,
    directory: Directory,
    links: Links,
    tree: Tree,
    /// Members or sites changed: the links are planned anew at this time.
    plan_ms: Option<u64>,
    saved_contacts: Vec<Contact>,
    /// Our site, ourselves left out.
    members: BTreeMap<NodeId, Member>,
    /// Nodes that discovery or their own messages told us of.
    contacts: VecDeque<Contact>,
    book: Book,
    doubts: Doubts,
    registers: Registers,
    lookup: Lookup,
    journal: Journal,
    /// Consumers' failures on a record of this version.
    strikes: BTreeMap<RecordKey, (Version, u8)>,
    /// Our own records that fade, and when each is renewed.
    renewals: BTreeMap<RecordKey, u64>,
    upkeep_ms: u64,
    /// When sites are looked at for the journal; nobody is woken for that.
    sites_ms: u64,
    /// Everything written before this has reached us.
    acknowledged: Stamp,
    has_left: bool,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Overlay {
    pub fn new(now: Moment, config: Config, keyring: Box<dyn Keyring>) -> Self {
        let (me, now_ms) = (config.me, now.uptime_ms);
        let mut dice = Dice::new(config.seed);
        let upkeep_ms = now_ms + dice.below(upkeep::PERIOD_MS);
        let swim = Swim::new(me, config.life, config.rules, &mut dice);
        let mut core = Core {
            me,
            dice,
            coordinates: Coordinates::new(),
            keyring,
            outbox: Outbox::default(),
        };
        let boots = config.life.boots();
        let mut cx = core.context(now);
        let registers = Registers::new(&mut cx, boots, config.rules, &config.saved);
        let lookup = Lookup::new(&mut cx);
        let mut overlay = Self {
            core,
            registers,
            lookup,
            site_name: config.site_name,
            life: config.life,
            rules: config.rules,
            clock: Clock::default(),
            store: Store::new(me.site, config.rules, config.limits),
            recon: Recon::new(now_ms),
            swim,
            directory: Directory::new(me.node, me.site, now_ms),
            links: Links::new(),
            tree: Tree::default(),
            plan_ms: Some(now_ms),
            saved_contacts: Vec::new(),
            members: BTreeMap::new(),
            contacts: VecDeque::new(),
            book: Book::default(),
            doubts: Doubts::default(),
            journal: Journal::default(),
            strikes: BTreeMap::new(),
            renewals: BTreeMap::new(),
            upkeep_ms,
            sites_ms: upkeep_ms,
            acknowledged: Stamp::default(),
            has_left: false,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        };
        overlay.restore(now, config.saved);
        overlay.elect(now);
        overlay.finish(now);
        overlay
    }

    /// Something happened. A refused input leaves the state as it was.
    ///
    /// # Errors
    ///
    /// Why it was refused.
    pub fn handle_input(&mut self, now: Moment, input: Input<'_>) -> Result<(), Refused> {
        let result = match input {
            Input::Message {
                from,
                channel,
                bytes,
            } => self.receive(now, from, channel, bytes),
            Input::Unreachable { peer, channel } => {
                self.unreachable(now, peer, channel);
                Ok(())
            }
            Input::Contact(contact) => {
                self.meet(now, contact);
                Ok(())
            }
            Input::Address(address) => {
                self.core.me.address = address;
                self.swim.set_address(&mut self.core.context(now), address);
                self.directory.speech.changed(now.uptime_ms);
                Ok(())
            }
            Input::Publish(draft) => self.publish(now, draft),
            Input::Rejected(key) => {
                self.strike(now, &key);
                Ok(())
            }
            Input::Swap {
                ask,
                register,
                expect,
                value,
            } => {
                self.swap_register(now, (ask, register), expect, value);
                Ok(())
            }
            Input::Read { ask, register } => {
                self.ask_register(now, ask, register, Wish::Look);
                Ok(())
            }
            Input::Put { .. } | Input::Remove { .. } | Input::Find { .. } => {
                self.ask_table(now, input);
                Ok(())
            }
            Input::Fence(is_fenced) => {
                self.fence(now, is_fenced);
                Ok(())
            }
            Input::Leave => {
                self.has_left = true;
                self.swim.leave(&mut self.core.context(now));
                if self.is_speaker() {
                    // Perhaps nobody is left in the site to say it for us.
                    self.say_members(now);
                }
                self.leave_registers(now);
                Ok(())
            }
        };
        self.finish(now);
        result
    }

    /// Time passed. Early or repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Moment) {
        let now_ms = now.uptime_ms;
        if self.swim.next_timeout().is_some_and(|at| at <= now_ms) {
            self.swim.handle_timeout(&mut self.core.context(now));
        }
        if self.recon.next_timeout() <= now_ms {
            self.compare_with_neighbours(now);
        }
        self.handle_directory_timeout(now);
        self.handle_spread_timeout(now);
        self.handle_register_timeout(now);
        self.handle_lookup_timeout(now);
        if self.doubts.next_timeout().is_some_and(|at| at <= now_ms) {
            self.ask_for_doubtful(now);
        }
        if self.sites_ms <= now_ms {
            self.note_sites(now);
        }
        if self.upkeep_ms <= now_ms {
            self.upkeep(now);
        }
        self.finish(now);
    }

    /// When `handle_timeout` is due.
    pub fn next_timeout(&self) -> Option<u64> {
        [
            Some(self.recon.next_timeout()),
            self.swim.next_timeout(),
            self.plan_ms,
            self.directory.speech.next_timeout(),
            self.directory.watching.next_timeout(),
            self.links.next_timeout(),
            self.tree.next_timeout(),
            self.registers.next_timeout(),
            self.lookup.next_timeout(),
            self.doubts.next_timeout(),
            Some(self.upkeep_ms),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing to do. Call until `None` after each of the above.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn receive(
        &mut self,
        now: Moment,
        from: Contact,
        channel: Channel,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        if from.node == self.core.me.node {
            return Err(Refused::FromSelf);
        }
        let message = Message::decode(channel, bytes).map_err(|bad| {
            self.counters.malformed += 1;
            Refused::Message(bad)
        })?;
        self.counters.messages += 1;
        self.book.heard(now.uptime_ms, from.node, from.address);
        self.links.heard(now.uptime_ms, from.node);
        if !self.directory.has_spoken(from.site) {
            self.note_contact(now, from);
        }
        match message {
            Message::Recon(message) => self.receive_recon(now, from, message),
            Message::Directory(message) => self.receive_directory(now, from, &message),
            Message::Spread(message) => self.receive_spread(now, from, message),
            Message::Swim(_) if from.site != self.core.me.site => self.counters.misdirected += 1,
            Message::Swim(message) => {
                let mut cx = self.core.context(now);
                self.swim.handle_message(&mut cx, from.node, message);
            }
            Message::Unknown { .. } => self.counters.unknown_kinds += 1,
            Message::Admission(_) => self.counters.misdirected += 1,
            Message::Register(message) => self.receive_register(now, from, message),
            Message::Lookup(message) => self.receive_lookup(now, from, message),
        }
        Ok(())
    }

    fn receive_recon(&mut self, now: Moment, from: Contact, message: ReconMessage) {
        match message {
            ReconMessage::Open { wall, .. } | ReconMessage::Same { wall } => {
                self.hear_time(now, from.node, wall);
            }
            _ => {}
        }
        if let ReconMessage::Bundle(bundle) = &message {
            self.unpack(now, from, bundle.bytes());
            return;
        }
        if let ReconMessage::Gone { key } = &message {
            self.disown(now, from, key);
            return;
        }
        let settled_ms = self.recon.settled_ms;
        let backed = |realm| shares(&self.directory, realm, from.site);
        let mut cx = self.core.context(now);
        self.recon.handle_message(
            &mut cx,
            &self.store,
            &self.clock,
            from.node,
            &backed,
            message,
        );
        if self.recon.settled_ms != settled_ms {
            self.settle(now);
        }
    }

    fn receive_directory(&mut self, now: Moment, from: Contact, message: &DirectoryMessage) {
        let (DirectoryMessage::Ask { number, wall } | DirectoryMessage::Here { number, wall }) =
            *message;
        self.hear_time(now, from.node, wall);
        self.directory.watching.heard(now.uptime_ms, from.site);
        if matches!(message, DirectoryMessage::Ask { .. }) {
            let wall = Stamp::from_wall(self.clock.wall(now));
            let here = Message::Directory(DirectoryMessage::Here { number, wall });
            self.core
                .context(now)
                .send(from.node, Channel::Datagram, here);
        }
    }

    fn unreachable(&mut self, now: Moment, peer: NodeId, channel: Channel) {
        self.book.forget(peer);
        let mut cx = self.core.context(now);
        self.swim.handle_unreachable(&mut cx, peer, channel);
    }

    /// A node that may be worth talking to.
    fn meet(&mut self, now: Moment, contact: Contact) {
        if contact.node == self.core.me.node {
            return;
        }
        self.note_contact(now, contact);
        // Who was found has shown its certificate.
        let freed = self.store.freed_of(contact.node);
        self.take_freed(now, contact, freed);
        self.swim.join(&mut self.core.context(now), contact);
        self.links.meet(now.uptime_ms, contact.node);
        self.recon.meet(now.uptime_ms, contact.node);
    }

    /// Remembers a node, and its site, of which nobody may have told us yet.
    fn note_contact(&mut self, now: Moment, contact: Contact) {
        self.contacts.retain(|known| known.node != contact.node);
        if self.contacts.len() == upkeep::CONTACTS_MAX {
            self.contacts.pop_front();
        }
        self.contacts.push_back(contact);
        if self.directory.add_site(contact.site) {
            self.backups_changed(now);
        }
    }

    fn answer(&mut self, ask: u64, answer: Answer) {
        self.outputs.push_back(Output::Answer { ask, answer });
    }

    /// Turns what the parts want into outputs: first what must be on disk, then messages. Events
    /// may make parts want more.
    fn finish(&mut self, now: Moment) {
        loop {
            self.settle_links(now);
            while let Some(save) = self.core.outbox.saves.pop_front() {
                self.outputs.push_back(Output::Save(save));
            }
            while let Some(send) = self.core.outbox.sends.pop_front() {
                self.post(now, send.to, send.channel, &send.message);
            }
            self.fetch_answers();
            self.fetch_table_answers();
            let Some(event) = self.core.outbox.events.pop_front() else {
                break;
            };
            self.perceive(now, &event);
            self.outputs.push_back(Output::Event(event));
        }
    }

    fn post(&mut self, now: Moment, to: NodeId, channel: Channel, message: &Message) {
        // What does not fit a datagram may still fit a stream.
        let on = |channel: Channel| message.encode(channel).map(|bytes| (channel, bytes));
        let Some((channel, bytes)) = on(channel).or_else(|| on(Channel::Stream)) else {
            self.counters.too_long += 1;
            return;
        };
        let Some(address) = self.address_of(now, to) else {
            self.counters.no_address += 1;
            return;
        };
        if !self.book.allow(now.uptime_ms, to, channel, bytes.len()) {
            self.counters.over_rate += 1;
            return;
        }
        if self.outputs.len() >= OUTPUTS_MAX {
            self.counters.dropped_outputs += 1;
            return;
        }
        self.counters.sent += 1;
        self.outputs.push_back(Output::Send {
            to,
            address,
            channel,
            bytes,
        });
    }

    /// What an event means for the composition itself.
    fn perceive(&mut self, now: Moment, event: &Event) {
        match event {
            Event::Alive { contact, life } => {
                self.member_alive(now, *contact, *life);
                self.note_for_registers(now, contact.node, *life, Presence::There);
            }
            Event::Suspect { node, life } => {
                self.member_changed(now, *node, *life, NodeState::Suspect);
            }
            Event::Dead { node, life } => {
                self.member_changed(now, *node, *life, NodeState::Dead);
                self.note_for_registers(now, *node, *life, Presence::Dead);
            }
            Event::Left { node, life } => {
                self.member_changed(now, *node, *life, NodeState::Left);
                self.note_for_registers(now, *node, *life, Presence::Left);
            }
            Event::Reborn { life } => {
                self.life = self.life.max(*life);
                self.journal.note(now, Happening::Reborn { life: *life });
                self.directory.speech.changed(now.uptime_ms);
            }
            Event::Cloned { .. } => {
                self.journal.note(now, Happening::Cloned);
                self.registers.keep_out(&mut self.core.context(now));
            }
            Event::Forgotten(key) => {
                let cx = self.core.context(now);
                self.directory.forget(&cx, key);
            }
            Event::Stored(_)
            | Event::LeaseHeld { .. }
            | Event::LeaseLost { .. }
            | Event::LeaseTaken { .. } => {}
        }
    }
}

/// Whether the nodes of a site keep a realm's records.
fn shares(directory: &Directory, realm: protocol::peer::Realm, site: protocol::SiteId) -> bool {
    match realm {
        protocol::peer::Realm::Cluster => true,
        protocol::peer::Realm::Site(home) => {
            home == site || directory.backup_sites(home).any(|keeper| keeper == site)
        }
    }
}
