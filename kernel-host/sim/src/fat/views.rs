//! What the nodes of a town think, and whether it is one view.
//!
//! Does:      looks at them each second; says who does not see whom, and which records differ.
//!            Views must be one from some moment on; records, as in `sim run`, must have been equal
//!            at some moment of the last `EQUAL_MS`: they fade by each node's own clock.
//! Does not:  perform deeds: its parent does.
//! Bounds:    one sentence for each house and one for the records.
//! Trusts:    the town for who has power.
//! Start at:  `Run::look`.

use super::{Run, STRANGE, Telling, Violation};
use overlay::NodeState;
use protocol::NodeId;
use protocol::peer::{Realm, RecordKind};
use std::collections::BTreeSet;

/// So long before the end all records must have been equal.
const EQUAL_MS: u64 = crate::checks::EQUAL_MS;

/// Kinds of records of the cluster that are counted where they differ.
const KINDS: [RecordKind; 8] = [
    RecordKind::NODE_CARD,
    RecordKind::SITE_MEMBERS,
    RecordKind::SITE_LOAD,
    RecordKind::CERTIFICATE,
    RecordKind::GRANT,
    RecordKind::REVOCATION,
    RecordKind::GRANT_USE,
    STRANGE,
];

impl Run<'_> {
    pub(super) fn broken(&mut self, rule: &'static str, what: String) {
        let at_ms = self.town.now_ms() - self.start_ms;
        self.outcome
            .violations
            .push(Violation { rule, at_ms, what });
    }

    /// Each second: lives never fall (I2); after the heal, whether all have one view.
    pub(super) fn look(&mut self, now_ms: u64, tell: &mut dyn FnMut(Telling<'_>)) {
        let mut fallen = Vec::new();
        for house in 0..self.places.len() {
            let nodes = self.town.overlay(house, |overlay, now| {
                overlay.check();
                overlay.nodes(now)
            });
            for view in nodes.into_iter().flatten() {
                let seen = self
                    .seen_lives
                    .entry((house, view.contact.node))
                    .or_default();
                if view.life < *seen {
                    fallen.push(format!("house {house} saw the life of a node fall"));
                }
                *seen = (*seen).max(view.life);
            }
            if !self.town.is_on(house) {
                self.seen_lives.retain(|(other, _), _| *other != house);
            }
        }
        for what in fallen {
            self.broken("I2", what);
        }
        if self.is_healed {
            let since_ms = now_ms.saturating_sub(self.history.safety_ms);
            let differences = self.differences();
            let unequal = self.unequal();
            for what in differences.iter().chain(&unequal) {
                tell(Telling::Differs {
                    at_ms: now_ms,
                    what,
                });
            }
            if unequal.is_none() {
                self.equal_ms = now_ms;
            }
            let is_one = differences.is_empty();
            self.outcome.one_view_ms = match self.outcome.one_view_ms {
                _ if !is_one => None,
                None => Some(since_ms),
                known => known,
            };
        }
    }

    /// What keeps the houses with power from having one view, each in a sentence.
    fn differences(&self) -> Vec<String> {
        let alive: Vec<usize> = (0..self.places.len())
            .filter(|house| self.lives[*house])
            .collect();
        let expected: BTreeSet<NodeId> = alive
            .iter()
            .filter_map(|house| self.town.me(*house))
            .collect();
        let mut differ = Vec::new();
        for &house in &alive {
            let there = self.town.overlay(house, |overlay, now| {
                let there = overlay
                    .nodes(now)
                    .into_iter()
                    .filter(|view| matches!(view.state, NodeState::Alive));
                there
                    .map(|view| view.contact.node)
                    .collect::<BTreeSet<NodeId>>()
            });
            match there {
                None => {
                    let why = self.town.waits_for(house).unwrap_or_default();
                    differ.push(format!("house {house} is no member: {why}"));
                }
                Some(there) if there != expected => {
                    let missing = alive.iter().filter(|other| {
                        self.town.me(**other).is_some_and(|me| !there.contains(&me))
                    });
                    let missing: Vec<&usize> = missing.collect();
                    let ghosts: Vec<String> = there
                        .difference(&expected)
                        .map(|ghost| self.ghost(*ghost))
                        .collect();
                    differ.push(format!(
                        "house {house} does not see {missing:?}, and sees {ghosts:?}"
                    ));
                }
                Some(_) => {}
            }
        }
        differ
    }

    /// Which records of the cluster are not the same in all houses with power.
    fn unequal(&self) -> Option<String> {
        let alive: Vec<usize> = (0..self.places.len())
            .filter(|house| self.lives[*house])
            .collect();
        let digest = |house: &usize| {
            self.town
                .overlay(*house, |overlay, _| overlay.living_digest(Realm::Cluster))
        };
        let digests: BTreeSet<Option<u64>> = alive.iter().map(digest).collect();
        (digests.len() > 1).then(|| {
            let counts = self.counts(&alive);
            format!("the records of the cluster differ: {counts}")
        })
    }

    /// Whose a node is that should not be seen.
    fn ghost(&self, node: NodeId) -> String {
        let house = (0..self.places.len()).find(|house| self.town.has_been(*house, node));
        house.map_or_else(
            || node.to_string(),
            |house| format!("house {house} of before"),
        )
    }

    /// How many records of each kind each house holds.
    fn counts(&self, alive: &[usize]) -> String {
        let kinds = KINDS.iter().filter_map(|kind| {
            let count = |house: &usize| {
                let count = self.town.overlay(*house, |overlay, _| {
                    overlay.records(Realm::Cluster, *kind).count()
                });
                count.unwrap_or(0)
            };
            let counts: Vec<usize> = alive.iter().map(count).collect();
            let is_even = counts.iter().all(|count| *count == counts[0]);
            (!is_even).then(|| format!("of kind {} there are {counts:?}", kind.0))
        });
        kinds.collect::<Vec<String>>().join(", ")
    }

    pub(super) fn judge(&mut self) {
        if self.outcome.one_view_ms.is_none() {
            for what in self.differences() {
                self.broken("L1", what);
            }
        }
        let end_ms = self.history.safety_ms + self.history.heal_ms;
        if self.equal_ms + EQUAL_MS < end_ms
            && let Some(what) = self.unequal()
        {
            self.broken("L7", what);
        }
        self.outcome.trace = self.town.trace();
    }
}
