//! Which hosts are in a fault, and when.
//!
//! Start at:  `Calendar::is_calm`.

use crate::history::{Deed, History};
use crate::world::network::{Group, Place};

/// A fault's time and the hosts that it touches.
#[derive(Debug)]
struct Window {
    from_ms: u64,
    until_ms: u64,
    hosts: Group,
    /// It stands between hosts, so that far views suffer wherever they are.
    is_network: bool,
    /// It stands between these two hosts alone: all others of a site must see both.
    is_pair: bool,
}

/// All faults of a history.
#[derive(Debug)]
pub struct Calendar {
    windows: Vec<Window>,
}

/// A disturbance between two hosts only.
fn is_pair(deed: &Deed) -> bool {
    let is_one = |group: &Group| matches!(group, Group::Hosts(hosts) if hosts.len() == 1);
    matches!(deed, Deed::Disturb { from, to, .. } if is_one(from) && is_one(to))
}

impl Calendar {
    pub fn new(history: &History) -> Self {
        let heal_ms = history.safety_ms;
        let mut windows = Vec::new();
        for act in &history.acts {
            let mut add = |hosts: Group, for_ms: u64, is_network: bool| {
                let until_ms = act.at_ms.saturating_add(for_ms).min(heal_ms.max(act.at_ms));
                windows.push(Window {
                    from_ms: act.at_ms,
                    until_ms,
                    hosts,
                    is_network,
                    is_pair: is_pair(&act.deed),
                });
            };
            let one = |host: u32| Group::Hosts(vec![host]);
            match &act.deed {
                Deed::Crash { host, down_ms, .. } => add(one(*host), *down_ms, false),
                Deed::Pause { host, for_ms }
                | Deed::Slow { host, for_ms, .. }
                | Deed::Stall { host, for_ms } => add(one(*host), *for_ms, false),
                Deed::Disturb {
                    from, to, for_ms, ..
                } if is_pair(&act.deed) => {
                    let both = |group: &Group| match group {
                        Group::Hosts(hosts) => hosts.clone(),
                        _ => Vec::new(),
                    };
                    let mut hosts = [both(from), both(to)].concat();
                    hosts.sort_unstable();
                    add(Group::Hosts(hosts), *for_ms, true);
                }
                Deed::Disturb {
                    from, to, for_ms, ..
                } => {
                    add(from.clone(), *for_ms, true);
                    if *to != Group::All {
                        add(to.clone(), *for_ms, true);
                    }
                }
                Deed::Clone { of, onto, for_ms } => {
                    add(one(*of), *for_ms, false);
                    add(one(*onto), *for_ms, false);
                }
                Deed::Clock { host, .. } => add(one(*host), 1000, false),
                Deed::Leave { host } | Deed::Join { host } | Deed::Move { host, .. } => {
                    add(one(*host), 1000, false);
                }
                Deed::Work(_) => {}
            }
        }
        Self { windows }
    }

    /// Whether nothing touched the two between these times: for nodes of one site themselves, for
    /// others nothing at all.
    pub fn is_calm(&self, a: Place, b: Place, from_ms: u64, until_ms: u64) -> bool {
        let overlaps = |window: &&Window| window.from_ms <= until_ms && window.until_ms >= from_ms;
        let mut windows = self.windows.iter().filter(overlaps);
        if a.site == b.site {
            let touches = |window: &Window| match window.is_pair {
                true => window.hosts.has(a) && window.hosts.has(b),
                false => window.hosts.has(a) || window.hosts.has(b),
            };
            !windows.any(touches)
        } else {
            windows.next().is_none()
        }
    }

    /// When the last fault between hosts ended before `now_ms`.
    pub fn last_cut_ms(&self, now_ms: u64) -> u64 {
        let cuts = self.windows.iter().filter(|window| window.is_network);
        cuts.map(|window| window.until_ms.min(now_ms))
            .max()
            .unwrap_or(0)
    }
}
