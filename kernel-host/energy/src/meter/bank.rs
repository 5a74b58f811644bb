//! Time and trust for one source: when it is asked, how long it may take, and when it is not
//! believed any more.
//!
//! Does:      begins rounds at the source's rhythm, ends them at its deadline, lets plausible
//!            readings pass, puts a source that fails into quarantine and asks it ever less often.
//! Does not:  compare sources with each other (`fusion`), or fetch: each `Meter` stands alone, so
//!            one that hangs holds up nobody else.
//! Bounds:    one wish at a time; `STEPS_MAX` wishes of a round; back-off up to `BACKOFF_NS_MAX`.
//! Trusts:    the caller's clock, which must not go back; if it does, nothing is due meanwhile.
//! Start at:  `Meter::poll`, then `Meter::answered`.

use super::{ANSWER_BYTES_MAX, Answer, Fault, Reading, Readings, Round, SECOND, Source, Uptime};
use super::{Wish, Zone};
use protocol::Microwatts;

/// Wishes of one round: a walk over 24 SunSpec models takes that many twice.
pub const STEPS_MAX: u32 = 64;
/// Faults in a row that put a source into quarantine.
pub const FAULTS_MAX: u32 = 3;
/// Good rounds in a row that bring it back.
pub const PROBATION: u32 = 3;
/// The longest pause between rounds of a source that fails: an operator's repair shows within it.
pub const BACKOFF_NS_MAX: u64 = 600 * SECOND;

/// How a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not heard yet.
    New,
    Good,
    /// Failed lately, and is believed when it answers.
    Failing,
    /// Failed `FAULTS_MAX` times in a row: asked, and not believed until `PROBATION` good rounds.
    Quarantined,
}

/// What the caller does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Wait for more bytes of the same answer.
    ReadOn,
    Fetch(Wish),
    /// The round is over; `readings` has what it brought.
    Over,
}

/// What a meter counts, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub rounds: u64,
    pub faults: u64,
    pub implausible: u64,
    pub held_back: u64,
    pub dropped: u64,
}

/// A source and what is thought of it.
#[derive(Debug)]
pub struct Meter {
    source: Box<dyn Source + Send>,
    readings: Readings,
    health: Health,
    faults: u32,
    good: u32,
    steps: u32,
    /// The deadline of the round that is under way.
    ends: Option<Uptime>,
    next: Uptime,
    heard: Option<Uptime>,
    fault: Option<Fault>,
    counts: Counts,
}

impl Meter {
    #[must_use]
    pub fn new(source: Box<dyn Source + Send>) -> Self {
        Self {
            source,
            readings: Readings::default(),
            health: Health::New,
            faults: 0,
            good: 0,
            steps: 0,
            ends: None,
            next: Uptime::default(),
            heard: None,
            fault: None,
            counts: Counts::default(),
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.source.name()
    }

    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Why the last round failed, if it did.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When it last said something plausible.
    #[must_use]
    pub fn heard(&self) -> Option<Uptime> {
        self.heard
    }

    /// What the last round brought; nothing while the source is not believed.
    #[must_use]
    pub fn readings(&self) -> &[Reading] {
        self.readings.all()
    }

    /// The document that the last round brought, once.
    pub fn take_document(&mut self) -> Option<Vec<u8>> {
        self.readings.document.take()
    }

    /// When `poll` or `handle_timeout` has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Uptime {
        self.ends.unwrap_or(self.next)
    }

    /// Begins a round if one is due. The wish is then the caller's to fulfil.
    pub fn poll(&mut self, now: Uptime) -> Option<Wish> {
        if self.ends.is_some() || now < self.next {
            return None;
        }
        let rhythm = self.source.rhythm();
        self.readings.clear();
        self.counts.rounds += 1;
        self.steps = 1;
        self.next = now.after(rhythm.period_ns);
        self.source.begin();
        match self.source.wish() {
            Ok(wish) => {
                self.ends = Some(now.after(rhythm.deadline_ns));
                Some(wish)
            }
            Err(fault) => {
                self.end_badly(now, fault);
                None
            }
        }
    }

    /// Ends a round whose deadline has passed. An answer that comes later belongs to no round.
    pub fn handle_timeout(&mut self, now: Uptime) {
        if self.ends.is_some_and(|ends| now >= ends) {
            let ms = self.source.rhythm().deadline_ns / super::MS;
            self.end_badly(now, Fault::Late { ms });
        }
    }

    /// The wish could not be fulfilled.
    pub fn failed(&mut self, now: Uptime, fault: Fault) {
        if self.ends.is_some() {
            self.end_badly(now, fault);
        }
    }

    /// The wish was fulfilled, or a part of its answer is here.
    pub fn answered(&mut self, now: Uptime, answer: Answer<'_>) -> Step {
        self.handle_timeout(now);
        if self.ends.is_none() {
            return Step::Over;
        }
        match self.take(now, answer) {
            Ok(Round::ReadOn) => Step::ReadOn,
            Ok(Round::Next) => match self.source.wish() {
                Ok(wish) => Step::Fetch(wish),
                Err(fault) => {
                    self.end_badly(now, fault);
                    Step::Over
                }
            },
            Ok(Round::Done) => {
                self.end_well(now);
                Step::Over
            }
            Err(fault) => {
                self.end_badly(now, fault);
                Step::Over
            }
        }
    }

    fn take(&mut self, now: Uptime, answer: Answer<'_>) -> Result<Round, Fault> {
        let odd = |source: &dyn Source, why: &str| Fault::nonsense(source.name(), why);
        let mut ended = false;
        if let Answer::Bytes { bytes, end } = answer {
            ended = end;
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(odd(&*self.source, "its answer is too long"));
            }
        }
        let round = self.source.take(now, answer, &mut self.readings)?;
        match round {
            Round::ReadOn if ended => Err(odd(&*self.source, "its answer ends too early")),
            Round::Next if self.steps >= STEPS_MAX => {
                Err(odd(&*self.source, "a round without an end"))
            }
            Round::Next => {
                self.steps += 1;
                Ok(round)
            }
            Round::ReadOn => Ok(round),
            Round::Done => {
                self.plausible()?;
                Ok(round)
            }
        }
    }

    /// The gate: no zone carries more than it can, and a machine that runs draws something.
    fn plausible(&mut self) -> Result<(), Fault> {
        let most = self.source.rhythm().most;
        let mut drawn: Option<Microwatts> = None;
        for reading in self.readings.all() {
            let Some(power) = reading.value.power() else {
                continue;
            };
            if power > most {
                return Err(self.implausible(power));
            }
            if matches!(reading.zone, Zone::Wall(_) | Zone::Board(_)) {
                drawn = Some(drawn.unwrap_or_default().saturating_add(power));
            }
        }
        match drawn {
            Some(Microwatts::ZERO) => Err(self.implausible(Microwatts::ZERO)),
            _ => Ok(()),
        }
    }

    fn implausible(&mut self, power: Microwatts) -> Fault {
        self.counts.implausible += 1;
        Fault::Implausible {
            what: self.source.name().to_owned(),
            watts: power.0 / 1_000_000,
        }
    }

    fn end_well(&mut self, now: Uptime) {
        self.ends = None;
        self.counts.dropped += std::mem::take(&mut self.readings.dropped);
        self.good = self.good.saturating_add(1);
        if self.health == Health::Quarantined && self.good < PROBATION {
            self.counts.held_back += self.readings.all().len() as u64;
            self.readings.clear();
            return;
        }
        self.health = Health::Good;
        self.faults = 0;
        self.fault = None;
        self.heard = Some(now);
    }

    fn end_badly(&mut self, now: Uptime, fault: Fault) {
        self.ends = None;
        self.readings.clear();
        self.counts.faults += 1;
        self.good = 0;
        self.faults = self.faults.saturating_add(1);
        self.fault = Some(fault);
        self.health = match self.health {
            Health::Quarantined => Health::Quarantined,
            _ if self.faults >= FAULTS_MAX => Health::Quarantined,
            _ => Health::Failing,
        };
        let period_ns = self.source.rhythm().period_ns;
        let pause_ns = period_ns.saturating_mul(1 << self.faults.min(20));
        self.next = now.after(pause_ns.min(BACKOFF_NS_MAX).max(period_ns));
    }
}
