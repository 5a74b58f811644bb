//! Processor time of threads, weighted by what it costs: half a core is not half the energy.
//!
//! Does:      turns the counters of threads into time per account since the look before; a thread
//!            whose core's other half was busy too weighs less, by `SHARED_PPM`.
//! Does not:  read /proc, or know who a thread belongs to: the caller says both.
//! Bounds:    `THREADS_MAX` threads, `PROCESSORS_MAX` processors; what goes beyond is counted as
//!            time without weight for where it ran.
//! Trusts:    the kernel's counters as far as they grow: one that shrinks is a new thread.
//! Start at:  `Slices::take`.

use super::Account;
use std::collections::BTreeMap;

/// Threads that are followed: 512 VMs of 8 vCPUs.
pub const THREADS_MAX: usize = 4096;
pub const PROCESSORS_MAX: usize = 1024;
/// What a thread weighs while the other half of its core works too. A core of which both halves
/// work draws about 1.2 times what it draws for one (HaPPy, ATC'14).
pub const SHARED_PPM: u64 = 600_000;
const WHOLE_PPM: u64 = 1_000_000;
/// Looks for which a total that is not told is remembered.
const LOOKS_KEPT: u64 = 60;

/// A thread's counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    pub account: Account,
    pub thread: u32,
    /// When the thread began: numbers are given again, times are not.
    pub began: u64,
    pub cpu_ns: u64,
    pub processor: u16,
}

/// All processor time of an account, its ended threads included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    pub account: Account,
    /// When its counter began: that of a VM which is started again begins again.
    pub began: u64,
    pub cpu_ns: u64,
}

/// Which halves make a core.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// For each processor the other half of its core.
    pub siblings: Vec<Option<u16>>,
}

impl Topology {
    #[must_use]
    pub fn has_halves(&self) -> bool {
        self.siblings.iter().any(Option::is_some)
    }
}

/// What an account used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    pub cpu_ns: u64,
    /// Weighted, in nanoseconds of a core that is one's own.
    pub weight: u64,
}

/// The counters of the look before.
#[derive(Debug, Default)]
pub struct Slices {
    threads: BTreeMap<(u32, u64), Seen>,
    totals: BTreeMap<Account, (Total, u64)>,
    look: u64,
    /// Threads that were not followed.
    pub overflown: u64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    cpu_ns: u64,
    look: u64,
}

impl Slices {
    /// What each account used since the look before, over `over_ns`. Threads that began since then
    /// count from their start; older ones that are new here, and everything at the first look,
    /// only begin to count.
    pub fn take(
        &mut self,
        topology: &Topology,
        over_ns: u64,
        since_began: u64,
        slices: &[Slice],
        totals: &[Total],
    ) -> BTreeMap<Account, Used> {
        self.look += 1;
        let mut busy = vec![0_u64; topology.siblings.len().min(PROCESSORS_MAX)];
        let mut steps = Vec::with_capacity(slices.len());
        for slice in slices {
            let step = self.step(slice, since_began);
            if let Some(busy) = busy.get_mut(usize::from(slice.processor)) {
                *busy = busy.saturating_add(step);
            }
            steps.push(step);
        }
        let look = self.look;
        self.threads.retain(|_, seen| seen.look == look);
        let mut used: BTreeMap<Account, Used> = BTreeMap::new();
        for (slice, step) in slices.iter().zip(steps) {
            let weight = weight(topology, &busy, slice.processor, over_ns);
            let row = used.entry(slice.account).or_default();
            row.cpu_ns = row.cpu_ns.saturating_add(step);
            row.weight = row.weight.saturating_add(scaled(step, weight));
        }
        self.ended(since_began, totals, &mut used);
        used
    }

    fn step(&mut self, slice: &Slice, since_began: u64) -> u64 {
        let key = (slice.thread, slice.began);
        let first = self.look == 1;
        let full = self.threads.len() >= THREADS_MAX;
        match self.threads.get_mut(&key) {
            Some(seen) => {
                let step = slice.cpu_ns.saturating_sub(seen.cpu_ns);
                *seen = Seen {
                    cpu_ns: slice.cpu_ns,
                    look: self.look,
                };
                step
            }
            None if full => {
                self.overflown += 1;
                0
            }
            None => {
                let seen = Seen {
                    cpu_ns: slice.cpu_ns,
                    look: self.look,
                };
                self.threads.insert(key, seen);
                let counts = !first && slice.began >= since_began;
                if counts { slice.cpu_ns } else { 0 }
            }
        }
    }

    /// Time of threads that ended between looks: in the account's total and in no thread. It
    /// weighs what the account's other time does.
    fn ended(&mut self, since_began: u64, totals: &[Total], used: &mut BTreeMap<Account, Used>) {
        for total in totals {
            let before = self.totals.insert(total.account, (*total, self.look));
            let step = match before {
                Some((before, _)) if before.began == total.began => {
                    total.cpu_ns.saturating_sub(before.cpu_ns)
                }
                None if self.look == 1 || total.began < since_began => 0,
                _ => total.cpu_ns,
            };
            let row = used.entry(total.account).or_default();
            let missing = step.saturating_sub(row.cpu_ns);
            let weight = match row.cpu_ns {
                0 => missing,
                seen => {
                    let product = u128::from(missing) * u128::from(row.weight);
                    u64::try_from(product / u128::from(seen)).unwrap_or(u64::MAX)
                }
            };
            row.cpu_ns = row.cpu_ns.saturating_add(missing);
            row.weight = row.weight.saturating_add(weight);
        }
        // One that could not be read for a moment goes on from where it stood.
        let look = self.look;
        self.totals
            .retain(|_, (_, seen)| look - *seen <= LOOKS_KEPT);
    }
}

/// What a nanosecond on this processor weighs: less the busier the other half was. How much of
/// both fell together is not seen; their mean is what chance gives.
fn weight(topology: &Topology, busy: &[u64], processor: u16, over_ns: u64) -> u64 {
    let sibling = topology
        .siblings
        .get(usize::from(processor))
        .copied()
        .flatten();
    let Some(other) = sibling.and_then(|sibling| busy.get(usize::from(sibling))) else {
        return WHOLE_PPM;
    };
    let together = u128::from(*other) * u128::from(WHOLE_PPM) / u128::from(over_ns.max(1));
    let together = u64::try_from(together).unwrap_or(WHOLE_PPM).min(WHOLE_PPM);
    WHOLE_PPM - scaled(together, WHOLE_PPM - SHARED_PPM)
}

fn scaled(value: u64, ppm: u64) -> u64 {
    let product = u128::from(value) * u128::from(ppm) / u128::from(WHOLE_PPM);
    u64::try_from(product).unwrap_or(u64::MAX)
}
