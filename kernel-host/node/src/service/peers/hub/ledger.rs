//! What has to wait until the disk has kept what was said before.
//!
//! Does:      numbers what is given to the disk; holds back what rests on it until that number is
//!            kept: messages of registers, answers, word of leases. Says when this node must not
//!            guard registers, and what people should know of the disk.
//! Does not:  write (`disk::Keeper`), or hold back what a power cut may take: records, contacts and
//!            membership come back from peers, and a node must not look dead because its disk is
//!            slow.
//! Bounds:    `HELD_MAX` outputs. Above, a message is dropped (`held_dropped`) and an answer is
//!            "unsure", which is true.
//! Trusts:    the keeper for what is kept.
//! Start at:  `Ledger::hold`.
//!
//! The rule: what a guardian says is on its disk first. If for `FENCE_MS` nothing was kept, or the
//! disk failed, the node guards no registers, and its site chooses another guardian. A disk that
//! was slow or full and then has kept all, in order, ends that. A disk that failed does not: nobody
//! knows what it holds, so nothing is written to it until the next boot, which begins with all that
//! this node ever answered for.

use crate::service::peers::disk::DiskState;
use overlay::{Answer, Event, Output};
use protocol::peer::Message;
use std::collections::VecDeque;

/// Outputs that wait for the disk: a guardian of 2,000 registers, voting for a second.
pub(super) const HELD_MAX: usize = 2048;
/// A disk that kept nothing for so long is told of, and again each time the age has doubled.
pub(super) const TELL_MS: u64 = 2_000;
/// A disk that kept nothing for so long: others must guard in our place.
pub(super) const FENCE_MS: u64 = 10_000;

/// What changed for the rest of the hub.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// A line for the screens.
    pub say: Option<String>,
    /// The node guards registers from now on, or no longer.
    pub fence: Option<bool>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What the kernel calls the disk. `None`: there is none, and nothing waits.
    disk: Option<String>,
    state: DiskState,
    asked: u64,
    kept: u64,
    /// When it last kept something, or began to have something to keep.
    moved_ms: u64,
    tell_ms: u64,
    is_told: bool,
    is_fenced: bool,
    held: VecDeque<(u64, Output)>,
    /// Of the disk's trouble, for who asks how this node is.
    trouble: Option<String>,
    pub held_dropped: u64,
}

impl Ledger {
    pub fn new(disk: Option<String>) -> Self {
        Self {
            disk,
            ..Self::default()
        }
    }

    /// Whether anything is written to the disk.
    fn keeps(&self) -> bool {
        self.disk.is_some() && !matches!(self.state, DiskState::Failed(_))
    }

    /// A number for something that the disk shall keep. `None`: nothing is kept.
    pub fn ask(&mut self, now_ms: u64) -> Option<u64> {
        if !self.keeps() {
            return None;
        }
        if !self.waits() {
            self.moved_ms = now_ms;
            self.tell_ms = now_ms + TELL_MS;
        }
        self.asked += 1;
        Some(self.asked)
    }

    pub const fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// Whether something is not kept yet.
    pub fn waits(&self) -> bool {
        self.keeps() && self.asked > self.kept
    }

    pub fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Since when the disk has kept nothing of what it was given.
    pub fn age_ms(&self, now_ms: u64) -> u64 {
        match self.waits() {
            true => now_ms.saturating_sub(self.moved_ms),
            false => 0,
        }
    }

    /// In words, what is wrong with the disk.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Gives back what need not wait; `None`: it is held.
    pub fn hold(&mut self, output: Output) -> Option<Output> {
        if let Output::Event(Event::LeaseLost { epoch: lost }) = output {
            let is_past = |held: &Output| match held {
                Output::Event(Event::LeaseHeld { epoch, .. }) => *epoch <= lost,
                _ => false,
            };
            self.held.retain(|(_, held)| !is_past(held));
            return Some(output);
        }
        if !rests_on_disk(&output) || (!self.waits() && self.held.is_empty()) {
            return Some(output);
        }
        if self.held.len() >= HELD_MAX {
            return self.give_up(output);
        }
        self.held.push_back((self.asked, output));
        None
    }

    /// What is left of an output that will never be true.
    fn give_up(&mut self, output: Output) -> Option<Output> {
        match output {
            Output::Answer { ask, .. } => Some(Output::Answer {
                ask,
                answer: Answer::Unsure,
            }),
            _ => {
                self.held_dropped += 1;
                None
            }
        }
    }

    /// What is held no longer, in its order.
    pub fn release(&mut self) -> Option<Output> {
        let (ticket, _) = self.held.front()?;
        if self.keeps() && *ticket > self.kept {
            return None;
        }
        let (_, output) = self.held.pop_front()?;
        // After a failure nothing that was promised on it may leave.
        if self.keeps() {
            return Some(output);
        }
        self.give_up(output).or_else(|| self.release())
    }

    /// The overlay is gone: nothing of what it wanted is true any more.
    pub fn forget(&mut self) -> Vec<Output> {
        let held = std::mem::take(&mut self.held);
        let given_up = held.into_iter().map(|(_, output)| self.give_up(output));
        given_up.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    /// The disk has kept all up to a number, or has trouble.
    pub fn handle_disk(&mut self, now_ms: u64, kept: u64, state: DiskState) -> Change {
        if self.disk.is_none() {
            return Change::default();
        }
        if kept > self.kept {
            self.kept = kept.min(self.asked);
            let age_ms = now_ms.saturating_sub(self.moved_ms);
            self.moved_ms = now_ms;
            self.tell_ms = now_ms + TELL_MS;
            if state == DiskState::Works && std::mem::take(&mut self.is_told) {
                self.state = state;
                return self.works_again(age_ms);
            }
        }
        if state == self.state {
            return Change::default();
        }
        self.state = state;
        match &self.state {
            DiskState::Works => Change::default(),
            DiskState::Full => self.is_full(),
            DiskState::Failed(why) => {
                let why = why.clone();
                self.has_failed(&why)
            }
        }
    }

    fn name(&self) -> &str {
        self.disk.as_deref().unwrap_or_default()
    }

    fn works_again(&mut self, age_ms: u64) -> Change {
        self.trouble = None;
        let fence = std::mem::take(&mut self.is_fenced).then_some(false);
        let again = if fence.is_some() {
            ", and this node may guard registers again"
        } else {
            ""
        };
        let seconds = age_ms / 1000;
        let say = format!(
            "the state disk {} keeps what it is given again, after {seconds} s{again}",
            self.name()
        );
        Change {
            say: Some(say),
            fence,
        }
    }

    fn is_full(&mut self) -> Change {
        self.is_told = true;
        let text = format!(
            "the state disk {} is full: nothing more is kept. Give this node a larger one",
            self.name()
        );
        self.trouble = Some(format!("{}, which is full", self.name()));
        Change {
            say: Some(text),
            fence: None,
        }
    }

    fn has_failed(&mut self, why: &str) -> Change {
        let name = self.name();
        let text = format!(
            "the state disk {name} has failed: {why}. Until it is replaced and this node restarts, \
             nothing is kept and it guards no registers"
        );
        self.trouble = Some(format!("{name}, which has failed: replace it and restart"));
        let is_news = !std::mem::replace(&mut self.is_fenced, true);
        Change {
            say: Some(text),
            fence: is_news.then_some(true),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Change {
        let mut change = Change::default();
        if self.next_timeout().is_none_or(|at_ms| at_ms > now_ms) {
            return change;
        }
        let age_ms = self.age_ms(now_ms);
        if age_ms >= FENCE_MS && !self.is_fenced {
            self.is_fenced = true;
            change.fence = Some(true);
        }
        if now_ms >= self.tell_ms {
            self.tell_ms = now_ms + age_ms;
            if self.state == DiskState::Works {
                self.is_told = true;
                let seconds = age_ms / 1000;
                let name = self.name();
                change.say = Some(format!(
                    "the state disk {name} has not answered for {seconds} s: promises wait"
                ));
                self.trouble = Some(format!("{name}, which has not answered for {seconds} s"));
            }
        }
        change
    }

    pub fn next_timeout(&self) -> Option<u64> {
        let fence_ms = (!self.is_fenced).then_some(self.moved_ms + FENCE_MS);
        let next = fence_ms.into_iter().chain([self.tell_ms]).min();
        next.filter(|_| self.waits())
    }
}

/// Whether a power cut that takes what was saved before would make this a lie.
fn rests_on_disk(output: &Output) -> bool {
    match output {
        Output::Send { bytes, .. } => Message::kind_of(bytes) == Some(Message::REGISTER),
        Output::Answer { .. } => true,
        Output::Event(event) => {
            matches!(event, Event::LeaseHeld { .. } | Event::LeaseTaken { .. })
        }
        Output::Save(_) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::NodeId;
    use protocol::peer::Channel;
    use protocol::peer::register::RegisterMessage;

    fn send(message: &Message) -> Output {
        Output::Send {
            to: NodeId::from_bytes([1; 16]),
            address: "10.0.0.1:12213".parse().unwrap(),
            channel: Channel::Datagram,
            bytes: message.encode(Channel::Datagram).unwrap(),
        }
    }

    fn vote(number: u64) -> Output {
        send(&Message::Register(RegisterMessage::Accepted { number }))
    }

    fn probe() -> Output {
        let wall = protocol::peer::Stamp::default();
        let asks = protocol::peer::directory::DirectoryMessage::Ask { number: 1, wall };
        send(&Message::Directory(asks))
    }

    fn held(epoch: u64) -> Output {
        let until_ms = 10;
        Output::Event(Event::LeaseHeld { epoch, until_ms })
    }

    fn done(ask: u64) -> Output {
        let answer = Answer::Done;
        Output::Answer { ask, answer }
    }

    fn ledger() -> Ledger {
        Ledger::new(Some("vda1".to_owned()))
    }

    #[test]
    fn votes_wait_for_what_was_saved_before_them_and_probes_do_not() {
        let mut ledger = ledger();
        assert_eq!(ledger.hold(vote(0)), Some(vote(0)), "nothing is to be kept");
        let first = ledger.ask(100).unwrap();
        assert_eq!(ledger.hold(vote(1)), None);
        assert_eq!(ledger.hold(probe()), Some(probe()));
        let second = ledger.ask(100).unwrap();
        for output in [vote(2), done(7), held(3)] {
            assert_eq!(ledger.hold(output), None);
        }
        assert_eq!(ledger.release(), None);
        ledger.handle_disk(200, first, DiskState::Works);
        assert_eq!(ledger.release(), Some(vote(1)));
        assert_eq!(ledger.release(), None);
        ledger.handle_disk(300, second, DiskState::Works);
        for output in [vote(2), done(7), held(3)] {
            assert_eq!(ledger.release(), Some(output));
        }
        assert_eq!(ledger.hold(vote(3)), Some(vote(3)));
    }

    #[test]
    fn a_node_without_a_disk_waits_for_nothing() {
        let mut ledger = Ledger::new(None);
        assert_eq!(ledger.ask(100), None);
        assert_eq!(ledger.hold(vote(1)), Some(vote(1)));
        assert_eq!(ledger.next_timeout(), None);
    }

    #[test]
    fn word_of_a_lost_lease_never_waits_and_ends_word_of_it() {
        let mut ledger = ledger();
        let last = ledger.ask(0).unwrap();
        for epoch in [3, 4] {
            assert_eq!(ledger.hold(held(epoch)), None);
        }
        let lost = Output::Event(Event::LeaseLost { epoch: 3 });
        assert_eq!(ledger.hold(lost.clone()), Some(lost));
        ledger.handle_disk(1, last, DiskState::Works);
        assert_eq!(ledger.release(), Some(held(4)));
        assert_eq!(ledger.release(), None);
    }

    /// At the limit votes are dropped and answers are unsure; after a failure all are.
    #[test]
    fn what_can_never_be_true_is_not_said() {
        let mut ledger = ledger();
        ledger.ask(0);
        for number in 0..HELD_MAX as u64 {
            assert_eq!(ledger.hold(vote(number)), None);
        }
        assert_eq!(ledger.hold(vote(0)), None);
        assert_eq!(ledger.held_dropped, 1);
        let unsure = |ask| {
            let answer = Answer::Unsure;
            Some(Output::Answer { ask, answer })
        };
        assert_eq!(ledger.hold(done(1)), unsure(1));

        let mut ledger = self::ledger();
        ledger.ask(0);
        for output in [vote(1), done(2), held(3)] {
            assert_eq!(ledger.hold(output), None);
        }
        let change = ledger.handle_disk(1, 0, DiskState::Failed("broken".to_owned()));
        assert_eq!(change.fence, Some(true));
        assert_eq!(ledger.release(), unsure(2));
        assert_eq!((ledger.release(), ledger.held_dropped), (None, 2));
        assert_eq!(ledger.ask(2), None);
        assert_eq!(ledger.handle_timeout(1_000_000), Change::default());
    }

    /// A disk that is busy all the time but goes on is no stall.
    #[test]
    fn a_busy_disk_is_not_told_of() {
        let mut ledger = ledger();
        ledger.ask(0);
        for second in 1..100 {
            let last = ledger.ask(second * 1000).unwrap();
            ledger.handle_disk(second * 1000, last - 1, DiskState::Works);
            assert_eq!(
                ledger.handle_timeout(second * 1000 + 900),
                Change::default()
            );
        }
        let change = ledger.handle_timeout(101_000);
        assert!(change.say.unwrap().contains("for 2 s"));
    }
}
