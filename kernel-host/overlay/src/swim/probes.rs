//! Probes: is it there?
//!
//! Does:      asks directly, then through helpers and by a stream at once; helps others to ask.
//! Does not:  count a helper's silence against the target, but against ourselves.
//! Bounds:    `PROBES_MAX` own, `RELAYS_MAX` for others.
//! Trusts:    an answer only from whom it was asked of.
//! Start at:  `Swim::probe`.

use super::Swim;
use super::timing;
use crate::context::Context;
use protocol::NodeId;
use protocol::peer::admission::Few;
use protocol::peer::swim::{Own, Rumours, SwimMessage};
use protocol::peer::{Channel, Coordinate, Message};

#[derive(Debug, Clone)]
pub(super) struct Probe {
    target: NodeId,
    seq: u32,
    sent_ms: u64,
    due_ms: u64,
    /// `None`: still asked directly. Else: helpers asked that did not answer yet.
    silent_helpers: Option<u8>,
    helpers: u8,
    /// Others have called it dead.
    is_urgent: bool,
}

/// A probe for somebody else.
#[derive(Debug, Clone)]
pub(super) struct Relay {
    target: NodeId,
    seq: u32,
    origin: NodeId,
    origin_seq: u32,
    due_ms: u64,
}

impl Swim {
    pub(super) fn ping(
        &mut self,
        cx: &mut Context<'_>,
        target: NodeId,
        seq: u32,
        channel: Channel,
    ) {
        let rumours = self.rumours_for(target, None);
        let ping = SwimMessage::Ping {
            seq,
            own: self.own(),
            digest: self.digest(),
            by_stream: channel == Channel::Stream,
            rumours,
        };
        cx.send(target, channel, Message::Swim(ping));
    }

    pub(super) fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }

    /// Times grow with our own slowness.
    fn stretched(&self, ms: u64) -> u64 {
        ms * (1 + u64::from(self.slowness))
    }

    /// Begins to probe a member.
    pub(super) fn probe(&mut self, cx: &mut Context<'_>, target: NodeId, is_urgent: bool) {
        if let Some(probe) = self.probes.iter_mut().find(|probe| probe.target == target) {
            probe.is_urgent |= is_urgent;
            return;
        }
        if self.probes.len() >= timing::PROBES_MAX {
            self.counters.probe_overruns += 1;
            return;
        }
        let seq = self.next_seq();
        let now = cx.now_ms();
        self.probes.push(Probe {
            target,
            seq,
            sent_ms: now,
            due_ms: now + self.stretched(timing::DIRECT_MS),
            silent_helpers: None,
            helpers: 0,
            is_urgent,
        });
        self.counters.probes += 1;
        self.ping(cx, target, seq, Channel::Datagram);
    }

    /// Probes whose time is over.
    pub(super) fn end_probes(&mut self, cx: &mut Context<'_>) {
        let now = cx.now_ms();
        let mut at = 0;
        while at < self.probes.len() {
            if self.probes[at].due_ms > now {
                at += 1;
            } else if self.probes[at].silent_helpers.is_none() {
                self.ask_helpers(cx, at);
                at += 1;
            } else {
                let probe = self.probes.swap_remove(at);
                self.fail(cx, &probe);
            }
        }
    }

    /// No direct answer: others try, and a stream, which may pass where datagrams don't.
    fn ask_helpers(&mut self, cx: &mut Context<'_>, at: usize) {
        let Probe { target, seq, .. } = self.probes[at];
        let helpers = if self.rules.indirect_probe {
            self.table.pick(cx.dice, timing::HELPERS, target)
        } else {
            Vec::new()
        };
        for helper in &helpers {
            let rumours = self.rumours_for(*helper, None);
            let ask = SwimMessage::PingFor {
                seq,
                target,
                rumours,
            };
            cx.send(*helper, Channel::Datagram, Message::Swim(ask));
        }
        if self.rules.indirect_probe {
            self.ping(cx, target, seq, Channel::Stream);
        }
        let wait = self.stretched(timing::INDIRECT_MS);
        let probe = &mut self.probes[at];
        probe.due_ms = cx.now_ms() + wait;
        probe.helpers = u8::try_from(helpers.len()).unwrap_or(u8::MAX);
        probe.silent_helpers = Some(probe.helpers);
    }

    fn fail(&mut self, cx: &mut Context<'_>, probe: &Probe) {
        let target = probe.target;
        if self.table.find(target).is_none() {
            return;
        }
        self.is_deaf = self.heard_ms <= probe.sent_ms;
        if probe.silent_helpers.unwrap_or(0) > 0 && !self.is_deaf {
            self.slower();
        }
        if self.is_cloned(cx.now_ms()) {
            // Answers to us may have gone to the other machine.
            return;
        }
        let by = self.my_word();
        self.accuse(cx, target, &by, self.is_deaf, probe.is_urgent);
        if self.is_accuser(target) {
            self.probe(cx, target, false);
        }
    }

    pub(super) fn slower(&mut self) {
        self.slowness = (self.slowness + 1).min(timing::SLOWNESS_MAX);
    }

    /// `from`, which is at `place`, answered.
    pub(super) fn answered(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        seq: u32,
        place: &Coordinate,
    ) {
        let is_it = |probe: &Probe| probe.seq == seq && probe.target == from;
        if let Some(at) = self.probes.iter().position(is_it) {
            let probe = self.probes.swap_remove(at);
            if probe.silent_helpers.is_none() {
                let took_ms = cx.now_ms() - probe.sent_ms;
                cx.measured(from, place, took_ms);
                self.slowness = self.slowness.saturating_sub(1);
            }
        }
        let is_it = |relay: &Relay| relay.seq == seq && relay.target == from;
        if let Some(at) = self.relays.iter().position(is_it) {
            let relay = self.relays.swap_remove(at);
            self.tell_origin(cx, &relay, true);
        }
    }

    fn tell_origin(&mut self, cx: &mut Context<'_>, relay: &Relay, reached: bool) {
        let rumours = self.rumours_for(relay.origin, None);
        let seq = relay.origin_seq;
        let tell = SwimMessage::AckFor {
            seq,
            reached,
            rumours,
        };
        cx.send(relay.origin, Channel::Datagram, Message::Swim(tell));
    }

    /// A helper answered.
    pub(super) fn helped(&mut self, seq: u32, reached: bool) {
        let Some(at) = self.probes.iter().position(|probe| probe.seq == seq) else {
            return;
        };
        if reached {
            self.probes.swap_remove(at);
            self.counters.reached_by_helpers += 1;
        } else if let Some(silent) = &mut self.probes[at].silent_helpers {
            *silent = silent.saturating_sub(1);
        }
    }

    /// Somebody wants to know whether `target` is there.
    pub(super) fn help(
        &mut self,
        cx: &mut Context<'_>,
        origin: NodeId,
        origin_seq: u32,
        target: NodeId,
    ) {
        if self.relays.len() >= timing::RELAYS_MAX {
            self.counters.relay_overruns += 1;
            return;
        }
        let relay = Relay {
            target,
            seq: self.next_seq(),
            origin,
            origin_seq,
            due_ms: cx.now_ms() + timing::RELAY_MS,
        };
        if self.table.find(target).is_none() && self.gone.find(target).is_none() {
            self.tell_origin(cx, &relay, target == self.me.node);
            return;
        }
        self.ping(cx, target, relay.seq, Channel::Datagram);
        self.relays.push(relay);
    }

    /// Relays that found nobody: the asker learns that we, at least, are there.
    pub(super) fn end_relays(&mut self, cx: &mut Context<'_>) {
        let now = cx.now_ms();
        let mut at = 0;
        while at < self.relays.len() {
            if self.relays[at].due_ms > now {
                at += 1;
            } else {
                let relay = self.relays.swap_remove(at);
                self.tell_origin(cx, &relay, false);
            }
        }
    }

    /// When the first of our probes or relays is over.
    pub(super) fn next_probe_end(&self) -> u64 {
        let probes = self.probes.iter().map(|probe| probe.due_ms);
        let relays = self.relays.iter().map(|relay| relay.due_ms);
        probes.chain(relays).min().unwrap_or(u64::MAX)
    }

    pub(super) fn check_probes(&self) {
        assert!(self.probes.len() <= timing::PROBES_MAX);
        assert!(self.relays.len() <= timing::RELAYS_MAX);
        for probe in &self.probes {
            assert!(probe.silent_helpers.unwrap_or(0) <= probe.helpers);
        }
    }

    /// What we say of ourselves in each message.
    pub(super) fn own(&self) -> Own {
        Own {
            life: self.life,
            instance: self.instance,
            address: self.me.address,
        }
    }

    /// News for `to`, what concerns itself first. `heard`: what it says of itself.
    pub(super) fn rumours_for(&mut self, to: NodeId, heard: Option<&Own>) -> Rumours {
        let first = self.accusation(to, heard);
        if first.is_none() && self.rumours.is_empty() {
            return Rumours::default();
        }
        let room = protocol::peer::swim::RUMOURS_MAX - usize::from(first.is_some());
        let nodes = self.rumours.take(room, timing::sends_max(self.table.len()));
        let others = nodes.into_iter().filter(|node| *node != to);
        let others = others.filter_map(|node| self.fact(node));
        Few::new(first.into_iter().chain(others))
    }
}
