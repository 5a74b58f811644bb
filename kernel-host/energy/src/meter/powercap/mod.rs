//! RAPL through Linux's powercap tree, of Intel and AMD.
//!
//! Does:      finds the zones, follows each counter with its own range, takes dies that mirror
//!            one counter as one, looks at the tree again when a zone is gone and every
//!            `LOOK_AGAIN_NS`.
//! Does not:  add zones up: `fusion` knows which contains which.
//! Bounds:    `zones::ZONES_MAX` zones; one file of each per round.
//! Trusts:    nobody: each step passes the rules of `counter`.
//! Start at:  `Powercap::take`.

mod counter;
mod zones;

use super::{Answer, Class, Fault, Files, Reading, Readings, Rhythm, Round, SECOND, Source};
use super::{Uptime, Value, Wish, Zone};
use counter::Look;
use protocol::{Microjoules, Microwatts};
use zones::Found;

/// Packages are plugged in rarely, and modules are loaded once.
const LOOK_AGAIN_NS: u64 = 300 * SECOND;
/// Equal steps in a row that make two dies of one package one meter.
const MIRRORED: u32 = 10;

/// The driver.
#[derive(Debug, Default)]
pub struct Powercap {
    zones: Vec<Found>,
    /// For each zone: how often in a row it stood where another die of its package stands.
    equal: Vec<u32>,
    looked: Option<Uptime>,
    /// The zones' files were wished for since the tree was looked at.
    listed: bool,
    wish_is_tree: bool,
    period_ns: u64,
}

impl Powercap {
    /// Reads once a second; `slow_down` changes that.
    #[must_use]
    pub fn new() -> Self {
        Self {
            period_ns: SECOND,
            ..Self::default()
        }
    }

    /// Reads as often as this from now on.
    #[must_use]
    pub fn every(mut self, period_ns: u64) -> Self {
        self.period_ns = period_ns;
        self
    }

    fn look_at_tree(&mut self, now: Uptime, files: &Files) -> Result<(), Fault> {
        let mut found = zones::found(files);
        if found.is_empty() {
            let what = format!("a RAPL zone below {}", zones::ROOT);
            return Err(Fault::Absent { what });
        }
        for new in &mut found {
            let same = |old: &&Found| (old.zone, old.die) == (new.zone, new.die);
            if let Some(old) = self.zones.iter().find(same) {
                new.counter.resume(&old.counter);
            }
        }
        // What was proven of dies stays proven only while the tree is the same.
        let keys = |all: &[Found]| -> Vec<_> { all.iter().map(|z| (z.zone, z.die)).collect() };
        if keys(&found) != keys(&self.zones) {
            self.equal = vec![MIRRORED; found.len()];
        }
        self.zones = found;
        self.looked = Some(now);
        self.listed = false;
        Ok(())
    }

    /// One look at every counter.
    fn look_at_counters(
        &mut self,
        now: Uptime,
        files: &Files,
        out: &mut Readings,
    ) -> Result<(), Fault> {
        let mut looks = [Look::Nothing; zones::ZONES_MAX];
        let mut fault = None;
        let mut read = 0;
        for (found, look) in self.zones.iter_mut().zip(&mut looks) {
            match files.number(&found.energy) {
                Ok(value) => {
                    *look = found.counter.look(now, value);
                    read += 1;
                }
                Err(why) => {
                    fault = fault.or(Some(why));
                    // Gone, or a zone of a processor that was unplugged: see what is left.
                    self.looked = None;
                }
            }
        }
        if let (0, Some(fault)) = (read, fault) {
            return Err(fault);
        }
        self.tell_dies_apart();
        let mut at = 0;
        while at < self.zones.len() {
            let zone = self.zones[at].zone;
            let dies = self.zones[at..]
                .iter()
                .take_while(|z| z.zone == zone)
                .count();
            let counted = (at..at + dies).filter(|die| *die == at || self.equal[*die] < MIRRORED);
            if let Some(value) = sum(counted.map(|die| looks[die])) {
                out.push(Reading::new(zone, Class::Rapl, value));
            }
            at += dies;
        }
        Ok(())
    }

    /// Dies of one package may show one counter twice. They count as one until they differ, and
    /// again after they agreed for long. Packages of different sockets are never compared.
    fn tell_dies_apart(&mut self) {
        for at in 1..self.zones.len() {
            let first = self.zones[..at]
                .iter()
                .find(|z| z.zone == self.zones[at].zone);
            let Some(first) = first else {
                continue;
            };
            self.equal[at] = match self.zones[at].counter.stands_with(&first.counter) {
                true => (self.equal[at] + 1).min(MIRRORED),
                false => 0,
            };
        }
    }
}

/// The sum of a zone's dies: a gap in one is a gap in all.
fn sum(looks: impl Iterator<Item = Look>) -> Option<Value> {
    let mut total = None;
    for look in looks {
        match (look, total) {
            (Look::Nothing, _) => {}
            (Look::Gap { over_ns }, _) => return Some(Value::Gap { over_ns }),
            (Look::Spent { energy, over_ns }, before) => {
                let (sum, _) = before.unwrap_or((Microjoules::ZERO, over_ns));
                total = Some((sum.saturating_add(energy), over_ns));
            }
        }
    }
    total.map(|(spent, over_ns)| Value::Counter { spent, over_ns })
}

impl Source for Powercap {
    fn name(&self) -> &str {
        "rapl"
    }

    fn rhythm(&self) -> Rhythm {
        Rhythm {
            period_ns: self.period_ns,
            deadline_ns: SECOND,
            most: Microwatts::from_watts(2000),
        }
    }

    fn begin(&mut self) {}

    fn wish(&mut self) -> Result<Wish, Fault> {
        self.wish_is_tree = self.looked.is_none();
        if self.wish_is_tree {
            return Ok(Wish::Folders {
                path: zones::ROOT.to_owned(),
                files: zones::FILES.map(str::to_owned).to_vec(),
            });
        }
        if self.listed {
            return Ok(Wish::SameFiles);
        }
        self.listed = true;
        let files = self.zones.iter().map(|zone| zone.energy.clone());
        Ok(Wish::Files(files.collect()))
    }

    fn take(
        &mut self,
        now: Uptime,
        answer: Answer<'_>,
        out: &mut Readings,
    ) -> Result<Round, Fault> {
        let Answer::Files(files) = answer else {
            return Err(Fault::nonsense("rapl", "an answer that is no files"));
        };
        if self.wish_is_tree {
            self.look_at_tree(now, files)?;
        }
        self.look_at_counters(now, files, out)?;
        if self.looked.is_some_and(|at| now.since(at) >= LOOK_AGAIN_NS) {
            self.looked = None;
        }
        Ok(Round::Done)
    }
}

/// Whether a zone is one that RAPL knows.
#[must_use]
pub const fn is_rapl(zone: Zone) -> bool {
    matches!(
        zone,
        Zone::Platform | Zone::Package(_) | Zone::Cores(_) | Zone::Uncore(_) | Zone::Dram(_)
    )
}
