//! What a VM would cost on each node, in joules: the cheapest node is where it goes.
//!
//! Does:      leaves out nodes that must not or can't run it; prices the rest over the time that
//!            it is expected to stay: power from the grid, distance to users, a full host, bytes
//!            that have to move, a host that has to wake, money. The policy says which of these
//!            count tenfold.
//! Does not:  reserve anything: the chosen node may refuse.
//! Bounds:    `CANDIDATES_MAX` nodes are priced; the day that a site's state tells.
//! Trusts:    capacities and states for what their nodes said last.
//! Start at:  `rank`, then the table `WEIGHTS`.
//!
//! Renewable power counts as far as it is there with 7 chances in 10 (the 30 % quantile), not in
//! the mean: plans by the mean chase clouds.

use energy::green::{DAY_SLOTS, SLOT_S, SiteState};
use protocol::{ByteCount, Microwatts, NodeId, Policy, SiteId};
use std::fmt;

/// Nodes that are priced. Of more the first are, in the order given: the caller knows the near.
pub const CANDIDATES_MAX: usize = 4_096;
/// Distance up to this is as good as none.
const NEAR_US: u64 = 10_000;
/// A millisecond farther away is worth this much power all the time.
const FAR_UW_PER_MS: u64 = 1_000_000;
/// Below `NEAR_US`: enough to choose the nearer of two that are equal otherwise.
const NEAR_UW_PER_MS: u64 = 20_000;
/// A full host is worth this much power all the time, a half full one a quarter of it.
const FULL_UW: u64 = 20_000_000;
/// What a bit costs on its way over a wide network: the average of 2020.
const NANOJOULES_PER_BIT: u64 = 3_150;
/// The world's grid, for sites that do not know theirs, in mg CO2e per kWh.
const WORLD_MG_PER_KWH: u64 = 475_000;
/// What a kWh costs where nobody said, in millionths of money.
const USUAL_PRICE_MICRO: u64 = 150_000;

/// What a cost is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// Power that the grid has to give, weighed by how dirty it is.
    Grid,
    Distance,
    Fullness,
    Moving,
    Waking,
    Money,
}

pub const TERMS: [Term; 6] = [
    Term::Grid,
    Term::Distance,
    Term::Fullness,
    Term::Moving,
    Term::Waking,
    Term::Money,
];

/// How much each term counts, in the order of `TERMS`.
#[rustfmt::skip] // keeps the columns
const WEIGHTS: [(Policy, [u64; TERMS.len()]); 4] = [
    //                grid dist full move wake money
    (Policy::Near,   [  1,  10,   1,   1,   1,   0]),
    (Policy::Green,  [ 10,   1,   1,   1,   1,   0]),
    (Policy::Spread, [  1,   1,  50,   1,   1,   0]),
    (Policy::Cheap,  [  1,   1,   1,   1,   1,  10]),
];

/// What a VM needs, and what it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    pub policy: Policy,
    /// What it is expected to draw.
    pub power: Microwatts,
    /// How long it is expected to stay.
    pub stay_s: u32,
    /// The first slot of its stay.
    pub from_slot: i64,
    /// Only these sites; empty: any.
    pub sites: Vec<SiteId>,
    /// None of these nodes: others like it run there.
    pub apart_from: Vec<NodeId>,
}

/// A node that could run it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub node: NodeId,
    pub site: Option<SiteId>,
    /// Virtual machines can run there.
    pub kvm: bool,
    /// Memory that it needs there, and what is free.
    pub needs: ByteCount,
    pub free: ByteCount,
    /// How full the node is with it, in permille.
    pub fullness_permille: u64,
    /// Round trip to those who use it, if known.
    pub rtt_us: Option<u32>,
    /// The site's next day, if it told.
    pub state: Option<&'a SiteState>,
    /// Bytes that have to get there first: chunks of the image, memory of a VM that runs.
    pub to_carry: ByteCount,
    /// What waking the host takes, if it sleeps.
    pub wake_uj: u64,
}

/// Why a node can't be it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    NoKvm,
    OtherSite,
    Apart,
    NoRoom { needs: ByteCount, free: ByteCount },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKvm => f.write_str("it can't run virtual machines"),
            Self::OtherSite => f.write_str("it is in a site that is not allowed"),
            Self::Apart => f.write_str("a VM that must be apart from this one runs there"),
            Self::NoRoom { needs, free } => write!(
                f,
                "no room: {} needed, {} free",
                needs.human(),
                free.human()
            ),
        }
    }
}

/// What a VM costs on one node, in microjoules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub node: NodeId,
    terms: [u64; TERMS.len()],
    weights: [u64; TERMS.len()],
    /// Quarter-hours of its stay that renewable power covers.
    pub green_slots: u32,
    pub slots: u32,
}

impl Cost {
    /// What a term costs, without its weight.
    #[must_use]
    pub const fn of(&self, term: Term) -> u64 {
        self.terms[term as usize]
    }

    /// What a term counts.
    #[must_use]
    pub fn weighed(&self, term: Term) -> u128 {
        let at = term as usize;
        u128::from(self.terms[at]) * u128::from(self.weights[at])
    }

    #[must_use]
    pub fn total(&self) -> u128 {
        TERMS.into_iter().map(|term| self.weighed(term)).sum()
    }

    /// Without what it takes to get there.
    fn standing(&self) -> u128 {
        self.total() - self.weighed(Term::Moving) - self.weighed(Term::Waking)
    }

    /// The break-even rule, with hysteresis: a VM that runs at `here` goes to `there` only if
    /// that saves more than twice what going costs.
    #[must_use]
    pub fn is_worth_moving(here: &Self, there: &Self) -> bool {
        let going = there.weighed(Term::Moving) + there.weighed(Term::Waking);
        there.standing().saturating_add(2 * going) < here.standing()
    }
}

/// All that was considered, the cheapest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranking {
    pub costs: Vec<Cost>,
    pub unfit: Vec<(NodeId, Unfit)>,
}

/// Prices all candidates. The same input gives the same order on every node.
#[must_use]
pub fn rank(need: &Need, candidates: &[Candidate<'_>]) -> Ranking {
    let mut ranking = Ranking::default();
    for candidate in candidates.iter().take(CANDIDATES_MAX) {
        match unfit(need, candidate) {
            Some(why) => ranking.unfit.push((candidate.node, why)),
            None => ranking.costs.push(cost(need, candidate)),
        }
    }
    ranking.costs.sort_by_key(|cost| (cost.total(), cost.node));
    ranking
}

fn unfit(need: &Need, candidate: &Candidate<'_>) -> Option<Unfit> {
    let is_allowed = |site: SiteId| need.sites.contains(&site);
    if !need.sites.is_empty() && !candidate.site.is_some_and(is_allowed) {
        return Some(Unfit::OtherSite);
    }
    if need.apart_from.contains(&candidate.node) {
        return Some(Unfit::Apart);
    }
    if !candidate.kvm {
        return Some(Unfit::NoKvm);
    }
    let (needs, free) = (candidate.needs, candidate.free);
    (needs > free).then_some(Unfit::NoRoom { needs, free })
}

fn cost(need: &Need, candidate: &Candidate<'_>) -> Cost {
    let stay = u128::from(need.stay_s);
    let during = |power_uw: u64| saturated(u128::from(power_uw) * stay);
    let fullness = u128::from(candidate.fullness_permille.min(10_000));
    let full_uw = saturated(u128::from(FULL_UW) * fullness * fullness / 1_000_000);
    let drawn = drawn(need, candidate.state);
    let bits = u128::from(candidate.to_carry.get()) * 8;
    let terms = [
        drawn.grid_uj,
        during(distance_uw(candidate.rtt_us)),
        during(full_uw),
        saturated(bits * u128::from(NANOJOULES_PER_BIT) / 1000),
        candidate.wake_uj,
        drawn.money_uj,
    ];
    let weights = WEIGHTS.iter().find(|(policy, _)| *policy == need.policy);
    Cost {
        node: candidate.node,
        terms,
        weights: weights.map_or([1; TERMS.len()], |(_, weights)| *weights),
        green_slots: drawn.green_slots,
        slots: drawn.slots,
    }
}

fn saturated(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn distance_uw(rtt_us: Option<u32>) -> u64 {
    let rtt_us = u64::from(rtt_us.unwrap_or(0));
    let far_us = rtt_us.saturating_sub(NEAR_US);
    (far_us * FAR_UW_PER_MS + (rtt_us - far_us) * NEAR_UW_PER_MS) / 1000
}

#[derive(Debug, Default)]
struct Drawn {
    grid_uj: u64,
    money_uj: u64,
    green_slots: u32,
    slots: u32,
}

/// What the stay draws from the grid. Beyond the told day it all comes from there.
fn drawn(need: &Need, state: Option<&SiteState>) -> Drawn {
    let mut drawn = Drawn::default();
    let slots = i64::from(need.stay_s).div_euclid(SLOT_S).max(1);
    for slot in need.from_slot..need.from_slot + slots.min(DAY_SLOTS as i64) {
        let pue = state.map_or(100, |state| state.pue_percent(slot));
        let power_uw = u128::from(need.power.0) * u128::from(pue) / 100;
        let surplus = state.map_or(Microwatts::ZERO, |state| state.surplus(slot));
        let brown_uw = power_uw.saturating_sub(u128::from(surplus.0));
        let carbon = state.and_then(|state| state.carbon(slot));
        let price = state.and_then(|state| state.price_micro(slot));
        let slot_s = u128::from(SLOT_S.unsigned_abs());
        let weighed = |by: Option<u64>, usual: u64| {
            brown_uw * slot_s * u128::from(by.unwrap_or(usual)) / u128::from(usual)
        };
        let grid = saturated(weighed(carbon, WORLD_MG_PER_KWH));
        let money = saturated(weighed(price, USUAL_PRICE_MICRO));
        drawn.grid_uj = drawn.grid_uj.saturating_add(grid);
        drawn.money_uj = drawn.money_uj.saturating_add(money);
        drawn.green_slots += u32::from(brown_uw == 0);
        drawn.slots += 1;
    }
    drawn
}
