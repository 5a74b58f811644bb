//! Who used which counted token.
//!
//! Does:      counts machines per token; tells when islands together let in more than it allows.
//! Does not:  take anybody's certificate away for that: a person decides.
//! Bounds:    `USES_MAX`; above, tokens let nobody else in, since nobody could count them.
//! Trusts:    records of our own site's nodes, which the store verified.
//! Start at:  `Uses::learn`.

use crate::grant::GrantId;
use crate::publication::GrantUse;
use protocol::NodeId;
use protocol::peer::admission::MachineId;
use std::collections::BTreeMap;

/// Machines that came by tokens: ten times the largest site.
pub const USES_MAX: usize = 20_000;

/// A token let in more machines than it allows: parts of the site that could not reach each other
/// counted apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverCount {
    pub grant: GrantId,
    pub count: u32,
    pub used: usize,
    /// Those that came last, beyond the count.
    pub surplus: Vec<NodeId>,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    node: NodeId,
    at_s: u64,
}

#[derive(Debug, Default)]
pub(super) struct Uses {
    by_grant: BTreeMap<GrantId, BTreeMap<MachineId, Use>>,
    total: usize,
    /// How many there were when an overrun was last told.
    told: BTreeMap<GrantId, usize>,
}

impl Uses {
    pub fn is_full(&self) -> bool {
        self.total >= USES_MAX
    }

    /// Whether this machine may still come by a token for `count`.
    pub fn allows(&self, grant: GrantId, machine: MachineId, count: u32) -> bool {
        let machines = self.by_grant.get(&grant);
        let used = machines.map_or(0, BTreeMap::len);
        used < count as usize || self.knows(grant, machine)
    }

    /// Whether this machine came by this token before.
    pub fn knows(&self, grant: GrantId, machine: MachineId) -> bool {
        let machines = self.by_grant.get(&grant);
        machines.is_some_and(|machines| machines.contains_key(&machine))
    }

    /// Notes a use; tells an overrun once for each size.
    pub fn learn(&mut self, one: &GrantUse) -> Option<OverCount> {
        if self.is_full() && !self.knows(one.grant, one.machine) {
            return None;
        }
        let machines = self.by_grant.entry(one.grant).or_default();
        let fresh = Use {
            node: one.node,
            at_s: one.at_s,
        };
        match machines.get_mut(&one.machine) {
            // The first use counts for the order, the latest node for the name.
            Some(known) => {
                if one.at_s >= known.at_s {
                    known.node = one.node;
                }
                known.at_s = known.at_s.min(one.at_s);
            }
            None => {
                machines.insert(one.machine, fresh);
                self.total += 1;
            }
        }
        let used = machines.len();
        if used <= one.count as usize || self.told.get(&one.grant) == Some(&used) {
            return None;
        }
        let mut order: Vec<(u64, MachineId, NodeId)> = machines
            .iter()
            .map(|(machine, one)| (one.at_s, *machine, one.node))
            .collect();
        order.sort_unstable();
        let surplus = order[one.count as usize..].iter().map(|(_, _, node)| *node);
        let over = OverCount {
            grant: one.grant,
            count: one.count,
            used,
            surplus: surplus.collect(),
        };
        self.told.insert(one.grant, used);
        Some(over)
    }

    pub fn memory_bytes(&self) -> usize {
        self.total * (size_of::<MachineId>() + size_of::<Use>()) * 2
    }
}
