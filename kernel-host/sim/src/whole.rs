//! Our own machine: the overlay as the appliance runs it.
//!
//! Does:      turns what the world says into the overlay's inputs, and its outputs into wishes.
//! Does not:  change or guess anything on the way.
//! Bounds:    the overlay's own.
//! Trusts:    the overlay for its opinions, which are what is judged.
//! Start at:  `Whole`.

use crate::machine::{Ask, Birth, Machine, Note, Opinion, Reply, Wish};
use overlay::lookup::Reach;
use overlay::{Answer, Config, Draft, Event, Input, NodeState, Output, Overlay};
use protocol::peer::register::Council;
use protocol::peer::{Channel, Contact, Realm, Record, RecordKey, RecordKind};
use protocol::{Digest, Moment, NodeId};

/// How long entries of the table live without their author.
const LIVES_S: u32 = 3600;

/// A node of ours.
#[derive(Debug)]
pub struct Whole {
    overlay: Overlay,
    /// The last time that it was told.
    now: Moment,
    /// Answers that the overlay gave at once, by refusing.
    refused: Option<u64>,
}

impl Whole {
    /// What runs, and the last time that it was told.
    pub const fn overlay(&self) -> (&Overlay, Moment) {
        (&self.overlay, self.now)
    }
}

impl Machine for Whole {
    const TELLS_ALL: bool = false;

    fn start(now: Moment, birth: Birth<'_>) -> Self {
        let saved = birth.disk.iter();
        let config = Config {
            me: birth.me,
            site_name: birth.site_name,
            life: birth.life,
            seed: birth.seed,
            saved: saved
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            limits: overlay::store::Limits::USUAL,
            rules: birth.rules,
        };
        let me = birth.me.node;
        let mut whole = Self {
            overlay: Overlay::new(now, config, Box::new(birth.keyring)),
            now,
            refused: None,
        };
        if !birth.replaces.is_empty() {
            let old = birth.replaces.iter().rev().take(60);
            let certificate = Draft {
                realm: Realm::Cluster,
                kind: RecordKind::CERTIFICATE,
                subject: me.bytes(),
                epoch: 0,
                ended: false,
                body: old.flat_map(NodeId::bytes).collect(),
            };
            let _refused = whole.overlay.handle_input(now, Input::Publish(certificate));
        }
        whole
    }

    fn receive(&mut self, now: Moment, from: Contact, channel: Channel, bytes: &[u8]) {
        self.now = now;
        let input = Input::Message {
            from,
            channel,
            bytes,
        };
        // A message that can't be read is counted by the overlay.
        let _refused = self.overlay.handle_input(now, input);
    }

    fn unreachable(&mut self, now: Moment, peer: NodeId, channel: Channel) {
        self.now = now;
        let _refused = self
            .overlay
            .handle_input(now, Input::Unreachable { peer, channel });
    }

    fn contact(&mut self, now: Moment, contact: Contact) {
        self.now = now;
        let _refused = self.overlay.handle_input(now, Input::Contact(contact));
    }

    fn ask(&mut self, now: Moment, ask: u64, what: &Ask) {
        self.now = now;
        let input = match what.clone() {
            Ask::Publish {
                key,
                epoch,
                ended,
                body,
            } => Input::Publish(Draft {
                realm: key.realm,
                kind: key.kind,
                subject: key.subject,
                epoch,
                ended,
                body,
            }),
            Ask::Swap {
                register,
                expect,
                value,
            } => Input::Swap {
                ask,
                register,
                expect,
                value,
            },
            Ask::Read { register } => Input::Read { ask, register },
            Ask::Put { key, value } => Input::Put {
                ask,
                key: digest_of(key),
                value,
                lives_s: LIVES_S,
            },
            Ask::Remove { key } => Input::Remove {
                ask,
                key: digest_of(key),
            },
            Ask::Find { key } => Input::Find {
                ask,
                key: digest_of(key),
                reach: Reach::Most,
            },
            Ask::Leave => Input::Leave,
        };
        if self.overlay.handle_input(now, input).is_err() {
            self.refused = Some(ask);
        }
    }

    fn timeout(&mut self, now: Moment) {
        self.now = now;
        self.overlay.handle_timeout(now);
    }

    fn next_timeout(&self) -> Option<u64> {
        self.overlay.next_timeout()
    }

    fn poll(&mut self) -> Option<Wish> {
        if let Some(ask) = self.refused.take() {
            let reply = Reply::Refused;
            return Some(Wish::Note(Note::Reply { ask, reply }));
        }
        Some(match self.overlay.poll_output()? {
            Output::Send {
                to,
                address,
                channel,
                bytes,
            } => Wish::Send {
                to,
                address,
                channel,
                bytes,
            },
            Output::Save(save) => Wish::Save(save),
            Output::Answer { ask, answer } => {
                let reply = reply_of(answer);
                Wish::Note(Note::Reply { ask, reply })
            }
            Output::Event(event) => Wish::Note(note_of(event)),
        })
    }

    fn council(&self) -> Option<&Council> {
        self.overlay.registers().council()
    }

    fn guards(&self) -> bool {
        self.overlay.registers().is_guardian()
    }

    fn holds(&self, council: &Council) -> bool {
        self.overlay.registers().holds(council)
    }

    fn is_fenced(&self) -> bool {
        self.overlay.registers().keeps_out()
    }

    fn may_go(&self) -> bool {
        self.overlay.may_go()
    }

    fn lease(&self, now: Moment) -> Option<u64> {
        let lease = self.overlay.lease();
        lease.valid_until(now.uptime_ms).map(|_| lease.epoch())
    }

    fn opinion(&self, of: NodeId) -> Opinion {
        let Some(view) = self.overlay.node(self.now, of) else {
            return Opinion::Unknown;
        };
        match view.state {
            NodeState::Alive => Opinion::Alive,
            NodeState::Suspect => Opinion::Suspect,
            NodeState::Dead => Opinion::Dead,
            NodeState::Left => Opinion::Left,
            NodeState::Unreachable => Opinion::Unreachable,
        }
    }

    fn is_lonely(&self) -> bool {
        self.overlay.site_ids().nth(1).is_none()
    }

    fn others_there(&self) -> usize {
        let members = self.overlay.members();
        members.filter(|member| member.state.is_there()).count()
    }

    fn record(&self, key: &RecordKey) -> Option<Record> {
        self.overlay.record(key)
    }

    fn records_digest(&self, realm: Realm) -> u64 {
        self.overlay.living_digest(realm)
    }

    fn memory_bytes(&self) -> usize {
        self.overlay.memory_bytes()
    }

    fn payloads(&self) -> (u64, u64) {
        let tree = self.overlay.tree_counters();
        (tree.fresh + tree.duplicates, tree.fresh)
    }

    fn check(&self) {
        self.overlay.check();
    }
}

/// Keys of the table are digests.
fn digest_of(key: [u8; 16]) -> [u8; 32] {
    Digest::of(&key).bytes()
}

fn reply_of(answer: Answer) -> Reply {
    match answer {
        // What fewer than most have taken may be gone before it is repeated.
        Answer::Taken { homes, of } if homes <= of / 2 => Reply::Unsure,
        Answer::Taken { .. } => Reply::Done,
        Answer::Found { values, .. } => {
            let values = values.into_iter().map(|one| (one.author, one.value));
            Reply::Found(values.collect())
        }
        Answer::Done => Reply::Done,
        Answer::Value(value) => Reply::Value(value),
        Answer::Conflict(value) => Reply::Conflict(value),
        Answer::Unsure => Reply::Unsure,
        Answer::Refused => Reply::Refused,
    }
}

pub(crate) fn note_of(event: Event) -> Note {
    let (of, opinion) = match event {
        Event::Alive { contact, .. } => (contact.node, Opinion::Alive),
        Event::Suspect { node, .. } => (node, Opinion::Suspect),
        Event::Dead { node, .. } => (node, Opinion::Dead),
        Event::Left { node, .. } => (node, Opinion::Left),
        Event::Reborn { life } => return Note::Reborn(life),
        Event::Cloned { .. } => return Note::Cloned,
        Event::Stored(record) => return Note::Stored(record),
        Event::Forgotten(key) => return Note::Forgotten(key),
        Event::LeaseHeld { epoch, until_ms } => return Note::LeaseHeld { epoch, until_ms },
        Event::LeaseLost { epoch } => return Note::LeaseLost { epoch },
        Event::LeaseTaken { host, epoch } => return Note::LeaseTaken { host, epoch },
    };
    Note::Opinion { of, opinion }
}
