//! What the parts of a hub want, carried to each other and to the wishes.
//!
//! Does:      outputs of sessions, membership and overlay, each in its order, until none is left.
//! Does not:  decide: each output has one place to go.
//! Bounds:    `DRAFTS_MAX`; the parts bound what they want for one input.
//! Trusts:    the parts.
//! Start at:  `Hub::settle`.

use super::super::sight::Seen;
use super::super::words;
use super::mute::Way;
use super::{Hub, IDENTITY_KEY, Wish, seed_of};
use identity::gate::heard;
use identity::membership::MemberOutput;
use identity::publication::Publication;
use identity::ring::{News, Standing};
use overlay::{Draft, Input, Overlay, Refused};
use protocol::peer::{Channel, Contact, Message, Record, RecordKind};
use protocol::{Moment, NodeId};
use session::{Destination, Peer, Reason, Refusal};
use std::net::{Ipv4Addr, SocketAddr};

/// Records of ours that the overlay does not take yet. One more drops the oldest.
const DRAFTS_MAX: usize = 64;
/// Between two attempts to publish them.
const DRAFTS_MS: u64 = 1_000;

impl Hub {
    /// Carries what the parts want to each other and to the wishes, until none wants anything.
    pub(super) fn settle(&mut self, now: Moment) {
        loop {
            self.publish_drafts(now);
            let mut moved = self.take_datagrams(now);
            moved |= self.take_membership(now);
            moved |= self.take_overlay(now);
            if std::mem::take(&mut self.keys_changed) {
                let sight = Seen::new(self.overlay.as_ref(), now);
                self.membership.handle_timeout(now, &sight);
                moved = true;
            }
            if !moved {
                break;
            }
        }
        if let Some(overlay) = &self.overlay
            && let Some(text) = self.crowd.look(now, overlay)
        {
            self.say("peers", text);
        }
        self.end_sessions(now);
    }

    /// Ends all sessions after a goodbye, once others guard what this node guarded, or have had
    /// their time, and nothing of the goodbye waits for the disk. A node that the disk holds up
    /// closes later, or its power goes off first.
    fn end_sessions(&mut self, now: Moment) {
        let Some(by_ms) = self.leaves_by_ms.filter(|_| !self.has_gone) else {
            return;
        };
        let may_go = self.overlay.as_ref().is_none_or(Overlay::may_go);
        if (may_go || now.uptime_ms >= by_ms) && self.ledger.is_idle() {
            self.has_gone = true;
            self.datagrams.close(now);
            self.take_datagrams(now);
        }
    }

    fn say(&mut self, stage: &'static str, text: String) {
        self.wishes.push_back(Wish::Say { stage, text });
    }

    fn take_datagrams(&mut self, now: Moment) -> bool {
        let mut moved = false;
        while let Some(output) = self.datagrams.poll_output() {
            moved = true;
            match output {
                session::Output::Transmit { to, bytes } => {
                    self.wishes.push_back(Wish::Datagram { to, bytes });
                }
                session::Output::Received { peer, from, bytes } => {
                    self.hear(now, peer, from, (Channel::Datagram, &bytes));
                }
                session::Output::Established { peer, address } => self.met(now, peer, address),
                session::Output::Anew { peer } => {
                    let renewed = peer.node().map(Wish::Renew);
                    self.wishes.extend(renewed);
                }
                session::Output::Lost { peer, .. } => {
                    if let Some(node) = peer.node() {
                        let sight = Seen::new(self.overlay.as_ref(), now);
                        self.membership.handle_gone(now, &sight, node);
                    }
                }
                session::Output::Refused {
                    address,
                    by,
                    reason,
                } => {
                    if reason == Reason::NoAnswer {
                        self.mute.unanswered(now.uptime_ms, address);
                    }
                    self.refused(now, by, reason);
                }
            }
        }
        moved
    }

    fn met(&mut self, now: Moment, peer: Peer, address: SocketAddr) {
        self.mute.answered(address);
        let Peer::Node { node, site } = peer else {
            return; // it speaks first
        };
        let sight = Seen::new(self.overlay.as_ref(), now);
        let standing = Standing::Certified(site);
        self.membership.handle_peer(now, &sight, node, standing);
        let contact = Contact {
            node,
            site,
            address,
        };
        if self.overlay.is_some() {
            self.tell_overlay(now, Input::Contact(contact));
        }
    }

    fn refused(&mut self, now: Moment, by: Option<Peer>, reason: Reason) {
        let sight = Seen::new(self.overlay.as_ref(), now);
        match reason {
            Reason::Ours(refusal) => {
                let refusal = heard(refusal);
                self.membership.handle_foreign(now, &sight, refusal);
            }
            Reason::Theirs(Refusal::OtherCluster) => {
                let refusal = heard(Refusal::OtherCluster);
                self.membership.handle_foreign(now, &sight, refusal);
            }
            Reason::Theirs(Refusal::Revoked | Refusal::Expired) => {
                if let Some(node) = by.and_then(|peer| peer.node()) {
                    self.membership.handle_cut(now, node);
                }
            }
            Reason::Theirs(_) | Reason::NoAnswer | Reason::Oneself => {}
        }
    }

    fn take_membership(&mut self, now: Moment) -> bool {
        let mut moved = false;
        while let Some(output) = self.membership.poll_output() {
            moved = true;
            match output {
                MemberOutput::Send { to, message } => {
                    self.send_admission(now, to, Message::Admission(*message));
                }
                MemberOutput::State(state) => {
                    let advice = state.advice();
                    let end = if advice.is_empty() { "" } else { ". " };
                    self.say("join", format!("{}{end}{advice}", state.reason()));
                }
                MemberOutput::Changed { is_member: true } => self.become_member(now),
                MemberOutput::Changed { is_member: false } => self.become_stranger(now),
                MemberOutput::Publish(publication) => self.draft(publication),
                MemberOutput::Save(value) => {
                    self.keep(now, IDENTITY_KEY.to_owned(), Some(value));
                }
                MemberOutput::Event(event) => self.say("peers", words::of_admission(&event)),
                MemberOutput::News(News::Revoked(node) | News::Replaced { old: node, .. }) => {
                    self.datagrams.forget(node);
                    self.wishes.push_back(Wish::Part(Some(node)));
                }
                MemberOutput::News(_) => {}
            }
        }
        moved
    }

    fn send_admission(&mut self, now: Moment, to: NodeId, message: Message) {
        let Some(bytes) = message.encode(Channel::Datagram) else {
            self.counters.not_sent += 1;
            return;
        };
        // A stranger has no other name than where it was heard.
        let stranger = self.membership.address_of(to);
        let to = match stranger {
            Some(address) => Some((None, address)),
            None => self.address_of(now, to).map(|address| (Some(to), address)),
        };
        let sent = to.is_some_and(|(node, address)| {
            let to = Destination { node, address };
            self.datagrams.send(now, to, &bytes).is_ok()
        });
        self.counters.not_sent += u64::from(!sent);
    }

    /// Has the disk keep something, if there is one.
    fn keep(&mut self, now: Moment, key: String, value: Option<Vec<u8>>) {
        if let Some(number) = self.ledger.ask(now.uptime_ms) {
            self.wishes.push_back(Wish::Save { number, key, value });
        }
    }

    pub(super) fn become_member(&mut self, now: Moment) {
        self.end_overlay(now);
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), session::PORT);
        let config = overlay::Config {
            me: Contact {
                node: self.me,
                site: self.site,
                address: self.address.unwrap_or(nowhere),
            },
            site_name: self.site_name.clone(),
            life: self.life,
            seed: seed_of(&mut self.rng),
            saved: std::mem::take(&mut self.saved),
            limits: overlay::store::Limits::USUAL,
            rules: overlay::Rules::ALL,
        };
        let overlay = Overlay::new(now, config, Box::new(self.keys.clone()));
        self.overlay = Some(overlay);
        if self.ledger.is_fenced() {
            self.tell_overlay(now, Input::Fence(true));
        }
        let text = format!("site {} as {}", self.site_name, self.me);
        self.say("joined", text);
        self.crowd = words::Crowd::begin(now);
        self.changed(now, true);
        let peers: Vec<(Peer, SocketAddr)> = self.datagrams.peers().collect();
        for (peer, address) in peers {
            self.met(now, peer, address);
        }
    }

    /// Ends the overlay, if there is one. What it had promised must not be forgotten: the next one
    /// of this boot has the same key, and starts with it.
    fn end_overlay(&mut self, now: Moment) {
        let Some(mut overlay) = self.overlay.take() else {
            return;
        };
        while let Some(output) = overlay.poll_output() {
            if let overlay::Output::Save(save) = output {
                self.keep(now, save.key, save.value);
            }
        }
        (self.life, self.saved) = overlay.into_saved(now);
        for output in self.ledger.forget() {
            self.deliver(now, output);
        }
    }

    fn become_stranger(&mut self, now: Moment) {
        self.end_overlay(now);
        self.drafts.clear();
        self.changed(now, false);
    }

    /// What our handshakes show is another: sessions are made anew.
    fn changed(&mut self, now: Moment, is_member: bool) {
        self.datagrams.renew(now);
        self.wishes.push_back(Wish::Part(None));
        self.wishes.push_back(Wish::Membership(is_member));
        self.call_ms = now.uptime_ms;
    }

    fn draft(&mut self, publication: Publication) {
        if self.drafts.len() >= DRAFTS_MAX {
            self.drafts.pop_front();
            self.counters.drafts_dropped += 1;
        }
        self.drafts.push_back(publication);
        self.drafts_ms = 0;
    }

    /// Gives the overlay what it may take now; what it can't take yet waits.
    fn publish_drafts(&mut self, now: Moment) {
        let Some(overlay) = &mut self.overlay else {
            return;
        };
        while now.uptime_ms >= self.drafts_ms
            && let Some(draft) = self.drafts.front()
        {
            let input = Input::Publish(Draft {
                realm: draft.realm,
                kind: draft.kind,
                subject: draft.subject,
                epoch: 0,
                ended: false,
                body: draft.body.clone(),
            });
            match overlay.handle_input(now, input) {
                Err(Refused::Catching | Refused::Clock | Refused::Full) => {
                    self.drafts_ms = now.uptime_ms + DRAFTS_MS;
                }
                Ok(()) => drop(self.drafts.pop_front()),
                Err(_) => {
                    self.counters.refused += 1;
                    self.drafts.pop_front();
                }
            }
        }
    }

    fn take_overlay(&mut self, now: Moment) -> bool {
        let mut moved = false;
        while let Some(output) = self.ledger.release() {
            moved = true;
            self.deliver(now, output);
        }
        while let Some(output) = self.overlay.as_mut().and_then(Overlay::poll_output) {
            moved = true;
            if let Some(output) = self.ledger.hold(output) {
                self.deliver(now, output);
            }
        }
        moved
    }

    fn deliver(&mut self, now: Moment, output: overlay::Output) {
        match output {
            overlay::Output::Send {
                to,
                address,
                channel: Channel::Datagram,
                bytes,
            } => {
                let way = self.mute.way(now.uptime_ms, to, address);
                if way != Way::Datagram {
                    self.counters.by_stream += 1;
                    self.wishes.push_back(Wish::Message { to, address, bytes });
                    if way == Way::StreamAndTry {
                        let _busy = self.datagrams.open(now, address); // it is tried again
                    }
                    return;
                }
                let node = Some(to);
                let to = Destination { node, address };
                let sent = self.datagrams.send(now, to, &bytes);
                self.counters.not_sent += u64::from(sent.is_err());
                self.take_datagrams(now);
            }
            overlay::Output::Send {
                to, address, bytes, ..
            } => self.wishes.push_back(Wish::Message { to, address, bytes }),
            overlay::Output::Save(save) => self.keep(now, save.key, save.value),
            overlay::Output::Event(event) => self.perceive(now, event),
            overlay::Output::Answer { ask, answer } => {
                self.wishes.push_back(Wish::Answer { ask, answer });
            }
        }
    }

    fn perceive(&mut self, now: Moment, event: overlay::Event) {
        if let overlay::Event::Stored(record) = &event {
            self.stored(now, record);
        }
        if let Some(text) = words::of_event(&event) {
            self.say("peers", text);
        }
        self.wishes.push_back(Wish::Event(event));
    }

    fn stored(&mut self, now: Moment, record: &Record) {
        let of_keys = [
            RecordKind::CERTIFICATE,
            RecordKind::GRANT,
            RecordKind::REVOCATION,
        ];
        self.keys_changed |= of_keys.contains(&record.key.kind);
        if record.key.kind == RecordKind::GRANT_USE {
            let sight = Seen::new(self.overlay.as_ref(), now);
            self.membership.handle_record(now, &sight, record);
        }
    }
}
