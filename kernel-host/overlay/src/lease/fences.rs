//! Ends the leases of hosts that are gone.
//!
//! Start at:  `Fences::due`.

use super::{Terms, quiet_ms};
use crate::context::{Context, Event};
use crate::rules::Rules;
use protocol::NodeId;
use protocol::peer::register::{Outcome, RegisterKey, Wish};
use std::collections::BTreeMap;

/// Hosts whose leases are to be ended.
pub const FENCES_MAX: usize = 256;
/// After a failure it is tried again so soon.
const RETRY_MS: u64 = 2000;

#[derive(Debug)]
struct Fence {
    at_ms: u64,
    is_busy: bool,
    /// What is to be written, and over what.
    taking: Option<(Terms, Terms)>,
}

/// The hosts that are gone and whose leases may still run.
#[derive(Debug, Default)]
pub struct Fences {
    hosts: BTreeMap<NodeId, Fence>,
}

impl Fences {
    pub fn next_timeout(&self) -> Option<u64> {
        let waiting = self.hosts.values().filter(|fence| !fence.is_busy);
        waiting.map(|fence| fence.at_ms).min()
    }

    pub fn put(&mut self, host: NodeId, at_ms: u64) {
        if self.hosts.len() < FENCES_MAX {
            self.hosts.entry(host).or_insert(Fence {
                at_ms,
                is_busy: false,
                taking: None,
            });
        }
    }

    /// It is back.
    pub fn drop(&mut self, host: NodeId) {
        self.hosts.remove(&host);
    }

    /// What to ask of whose register now.
    pub fn due(&mut self, now_ms: u64) -> Option<(NodeId, RegisterKey, Wish)> {
        let is_due = |fence: &Fence| !fence.is_busy && fence.at_ms <= now_ms;
        let (host, fence) = self.hosts.iter_mut().find(|(_, fence)| is_due(fence))?;
        fence.is_busy = true;
        let wish = match fence.taking {
            None => Wish::Look,
            Some((old, new)) => Wish::Swap {
                expect: Some(old.encode()),
                value: new.encode(),
            },
        };
        Some((*host, RegisterKey::Lease(*host), wish))
    }

    /// How that ended.
    pub fn ended(&mut self, cx: &mut Context<'_>, host: NodeId, outcome: &Outcome, rules: Rules) {
        let Some(fence) = self.hosts.get_mut(&host) else {
            return;
        };
        fence.is_busy = false;
        let taking = fence.taking.take();
        let now_ms = cx.now_ms();
        match outcome {
            Outcome::Value { value, age_ms } => {
                let terms = value.as_ref().and_then(Terms::decode);
                let Some(terms) = terms.filter(|terms| terms.is_held) else {
                    self.hosts.remove(&host);
                    return;
                };
                let left_ms = quiet_ms(rules).saturating_sub(*age_ms);
                if left_ms > 0 {
                    fence.at_ms = now_ms + left_ms + 1;
                    return;
                }
                let new = Terms {
                    epoch: Terms::next_epoch(terms.epoch, rules),
                    is_held: false,
                    count: 0,
                };
                fence.taking = Some((terms, new));
                fence.at_ms = now_ms;
            }
            Outcome::Done => {
                self.hosts.remove(&host);
                if let Some((_, new)) = taking {
                    let epoch = new.epoch;
                    cx.out.events.push_back(Event::LeaseTaken { host, epoch });
                }
            }
            Outcome::Conflict(_) => fence.at_ms = now_ms + quiet_ms(rules),
            Outcome::Unsure | Outcome::Refused => {
                fence.at_ms = now_ms + cx.dice.around(RETRY_MS);
            }
        }
    }
}
