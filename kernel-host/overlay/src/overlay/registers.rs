//! Registers and leases inside the composition.
//!
//! Does:      tells them who is in the site and which other node may guard a site of two; carries
//!            questions in and answers out.
//! Does not:  vote or propose (`register`).
//! Bounds:    those of `Registers`.
//! Trusts:    membership, and the directory for other sites.
//! Start at:  `Overlay::ask_register`.

use super::{Answer, NodeState, Overlay};
use crate::guardians::Presence;
use crate::lease::Lease;
use crate::register::{Registers, swap};
use protocol::peer::register::{Outcome, RegisterMessage, Seat, Value, Wish};
use protocol::peer::{Contact, Life};
use protocol::{Moment, NodeId, SiteId};

impl Overlay {
    /// Our host's lease: what may run only once asks it before it acts.
    pub const fn lease(&self) -> &Lease {
        self.registers.lease()
    }

    pub const fn registers(&self) -> &Registers {
        &self.registers
    }

    /// After `Input::Leave`: whether others have taken over what we guarded, so that the power may
    /// go off without a loss; or whether there is nobody who ever could.
    pub fn may_go(&self) -> bool {
        let me = self.core.me.node;
        let mut others = self.members.iter().filter(|(node, _)| **node != me);
        // One that is called dead may be back before we are gone.
        self.registers.may_go() || others.all(|(_, member)| member.state == NodeState::Left)
    }

    pub(super) fn receive_register(&mut self, now: Moment, from: Contact, said: RegisterMessage) {
        let mut cx = self.core.context(now);
        self.registers.handle_message(&mut cx, from.node, said);
    }

    pub(super) fn ask_register(&mut self, now: Moment, ask: u64, register: [u8; 16], wish: Wish) {
        let mut cx = self.core.context(now);
        self.registers.ask(&mut cx, ask, register, wish);
    }

    /// Refused at once if a value is too long for a register.
    pub(super) fn swap_register(
        &mut self,
        now: Moment,
        (ask, register): (u64, [u8; 16]),
        expect: Option<Vec<u8>>,
        value: Vec<u8>,
    ) {
        match swap(expect, value) {
            Some(wish) => self.ask_register(now, ask, register, wish),
            None => self.answer(ask, Answer::Refused),
        }
    }

    pub(super) fn leave_registers(&mut self, now: Moment) {
        let mut cx = self.core.context(now);
        self.registers.leave(&mut cx);
    }

    pub(super) fn handle_register_timeout(&mut self, now: Moment) {
        let is_due = |at: u64| at <= now.uptime_ms;
        if self.registers.next_timeout().is_some_and(is_due) {
            let mut cx = self.core.context(now);
            self.registers.handle_timeout(&mut cx);
        }
    }

    /// Membership says how a node of our site is.
    pub(super) fn note_for_registers(
        &mut self,
        now: Moment,
        node: NodeId,
        life: Life,
        presence: Presence,
    ) {
        let mut cx = self.core.context(now);
        self.registers.note(&mut cx, node, life.boots(), presence);
        self.choose_neighbour(now);
    }

    /// A site of two needs a third guardian elsewhere, the same one as long as it is there.
    pub(super) fn choose_neighbour(&mut self, now: Moment) {
        let there = self.members.values().filter(|one| one.state.is_there());
        if there.take(2).count() != 1 {
            self.registers.set_neighbour(None);
            return;
        }
        let own = self.core.me.site;
        let council = self.registers.council();
        let seats = council.map_or(&[][..], |council| council.seats.as_slice());
        let far = seats.iter().map(|seat| seat.node).filter(|node| {
            let site = self.core.keyring.site_of(*node);
            site.is_some_and(|site| site != own)
        });
        let backups: Vec<SiteId> = self.directory.backup_sites(own).collect();
        let view = self.view(now);
        let others = backups
            .into_iter()
            .flat_map(|site| self.directory.targets(&view, site));
        let found = far.chain(others).find_map(|node| {
            let view = self.node(now, node)?;
            let boots = view.life.boots();
            (view.state == NodeState::Alive).then_some(Seat { node, boots })
        });
        self.registers.set_neighbour(found);
    }

    /// Answers that have come.
    pub(super) fn fetch_answers(&mut self) {
        while let Some((ask, outcome)) = self.registers.poll_answer() {
            self.answer(ask, answer_of(outcome));
        }
    }
}

fn answer_of(outcome: Outcome) -> Answer {
    let bytes = |value: Option<Value>| value.map(|value| value.bytes().to_vec());
    match outcome {
        Outcome::Done => Answer::Done,
        Outcome::Value { value, .. } => Answer::Value(bytes(value)),
        Outcome::Conflict(value) => Answer::Conflict(bytes(value)),
        Outcome::Unsure => Answer::Unsure,
        Outcome::Refused => Answer::Refused,
    }
}
