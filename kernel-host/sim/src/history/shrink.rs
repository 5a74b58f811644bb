//! Makes a failing history smaller while it still fails.
//!
//! Does:      leaves out deeds (delta debugging: halves, quarters, single ones), then hosts, then
//!            time; each step is kept only if the run still fails.
//! Does not:  run anything: the caller says whether a history fails.
//! Bounds:    `RUNS_MAX` runs.
//! Trusts:    the caller's runs to be deterministic.
//! Start at:  `shrink`. Source: Zeller, "Yesterday, my program worked", 1999.

use super::{Act, Deed, History, Work};

/// Runs that shrinking may cost.
const RUNS_MAX: u32 = 600;

struct Shrink<'a> {
    best: History,
    fails: &'a mut dyn FnMut(&History) -> bool,
    runs: u32,
}

/// The smallest history found, which still fails.
pub fn shrink(history: History, fails: &mut dyn FnMut(&History) -> bool) -> History {
    let mut shrink = Shrink {
        best: history,
        fails,
        runs: 0,
    };
    loop {
        let before = shrink.size();
        shrink.fewer_acts();
        shrink.fewer_hosts();
        shrink.less_time();
        if shrink.size() == before || shrink.runs >= RUNS_MAX {
            return shrink.best;
        }
    }
}

impl Shrink<'_> {
    fn size(&self) -> (usize, u32, u64) {
        let best = &self.best;
        (
            best.acts.len(),
            best.shape.hosts(),
            best.safety_ms + best.heal_ms,
        )
    }

    fn keep_if_it_fails(&mut self, candidate: History) -> bool {
        if self.runs >= RUNS_MAX || candidate == self.best {
            return false;
        }
        self.runs += 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    fn fewer_acts(&mut self) {
        let mut chunk = self.best.acts.len().div_ceil(2);
        while chunk >= 1 {
            let mut start = 0;
            while start < self.best.acts.len() {
                let end = (start + chunk).min(self.best.acts.len());
                let mut candidate = self.best.clone();
                candidate.acts.drain(start..end);
                if !self.keep_if_it_fails(candidate) {
                    start = end;
                }
            }
            if chunk == 1 {
                break;
            }
            chunk = chunk.div_ceil(2);
        }
    }

    /// Takes hosts away, with all deeds about them.
    fn fewer_hosts(&mut self) {
        let mut host = self.best.shape.hosts();
        while host > 0 {
            host -= 1;
            let site = self.best.shape.places().find(|place| place.host == host);
            if let Some(place) = site {
                self.keep_if_it_fails(without_host(&self.best, usize::from(place.site), host));
            }
        }
    }

    fn less_time(&mut self) {
        for part in [2, 4, 10] {
            for index in 0..self.best.acts.len() {
                let mut candidate = self.best.clone();
                shorten(&mut candidate.acts[index], part);
                self.keep_if_it_fails(candidate);
            }
        }
        let last_ms = self.best.acts.last().map_or(0, |act| act.at_ms + 1);
        let mut candidate = self.best.clone();
        candidate.safety_ms = candidate.safety_ms.min(last_ms.max(20_000));
        self.keep_if_it_fails(candidate);
    }
}

fn shorten(act: &mut Act, part: u64) {
    match &mut act.deed {
        Deed::Crash { down_ms: ms, .. }
        | Deed::Pause { for_ms: ms, .. }
        | Deed::Slow { for_ms: ms, .. }
        | Deed::Disturb { for_ms: ms, .. }
        | Deed::Clone { for_ms: ms, .. }
        | Deed::Stall { for_ms: ms, .. } => *ms -= *ms / part,
        _ => {}
    }
}

/// The history without a host of a site: indices above it move down.
fn without_host(history: &History, site: usize, gone: u32) -> History {
    let mut candidate = history.clone();
    candidate.shape.sites[site] -= 1;
    let lists = [&mut candidate.shape.spares, &mut candidate.shape.diskless];
    for list in lists {
        *list = list.iter().filter_map(|host| moved(*host, gone)).collect();
    }
    let acts = std::mem::take(&mut candidate.acts);
    candidate.acts = acts
        .into_iter()
        .filter_map(|act| {
            let deed = without(act.deed, gone)?;
            Some(Act { deed, ..act })
        })
        .collect();
    candidate
}

fn moved(host: u32, gone: u32) -> Option<u32> {
    match host.cmp(&gone) {
        std::cmp::Ordering::Less => Some(host),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(host - 1),
    }
}

fn without(mut deed: Deed, gone: u32) -> Option<Deed> {
    use crate::world::network::Group;
    match &mut deed {
        Deed::Crash { host, .. }
        | Deed::Pause { host, .. }
        | Deed::Slow { host, .. }
        | Deed::Clock { host, .. }
        | Deed::Stall { host, .. }
        | Deed::Leave { host }
        | Deed::Join { host }
        | Deed::Move { host, .. }
        | Deed::Work(
            Work::Create { host, .. }
            | Work::Strange { host }
            | Work::Large { host, .. }
            | Work::Poison { host, .. }
            | Work::Fill { host, .. }
            | Work::Swap { host, .. }
            | Work::Race { host, .. }
            | Work::Put { host, .. }
            | Work::Remove { host, .. }
            | Work::Find { host, .. },
        ) => *host = moved(*host, gone)?,
        Deed::Clone {
            of: one,
            onto: other,
            ..
        }
        | Deed::Work(
            Work::Revoke {
                host: one,
                whom: other,
            }
            | Work::Forge {
                host: one,
                of: other,
                ..
            },
        ) => {
            *one = moved(*one, gone)?;
            *other = moved(*other, gone)?;
        }
        Deed::Disturb { from, to, .. } => {
            for group in [from, to] {
                if let Group::Hosts(hosts) = group {
                    *hosts = hosts.iter().filter_map(|host| moved(*host, gone)).collect();
                }
            }
        }
        Deed::Work(Work::Change { .. } | Work::Delete { .. } | Work::Empty { .. }) => {}
    }
    Some(deed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::draw;

    #[test]
    fn only_what_makes_it_fail_is_left() {
        let is_cause = |act: &Act| matches!(act.deed, Deed::Stall { .. });
        let seeds = (0..200).filter(|seed| draw::history(*seed).acts.iter().any(is_cause));
        for seed in seeds {
            let mut fails = |history: &History| history.acts.iter().any(is_cause);
            let small = shrink(draw::history(seed), &mut fails);
            assert_eq!(small.acts.len(), 1, "seed {seed}: {small:?}");
            assert_eq!(small.shape.hosts(), 1, "seed {seed}: {small:?}");
        }
    }
}
