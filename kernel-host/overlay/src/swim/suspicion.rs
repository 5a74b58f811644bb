//! Silent members: who accuses them, and how long they have to refute it.
//!
//! Does:      independent accusers shorten the time; the accused is told at once and again; some
//!            of those who hear of it look for themselves.
//! Does not:  speak of a suspicion that was formed while nobody at all was heard: then we may be
//!            the one who is cut off.
//! Bounds:    one suspicion for a member, `ACCUSERS_MAX` accusers.
//! Trusts:    members for their own accusations.
//! Start at:  `Swim::accuse`.

use super::Swim;
use super::gone::Gone;
use super::table::Health;
use super::timing;
use crate::context::{Context, Event};
use protocol::NodeId;
use protocol::peer::Life;
use protocol::peer::admission::Few;
use protocol::peer::swim::{ACCUSERS_MAX, Accuser, Claim, Fact, Own};

/// Members that check an accusation for themselves, of all that hear of it.
const WITNESSES: u64 = 4;

#[derive(Debug, Clone)]
pub(super) struct Suspicion {
    pub began_ms: u64,
    pub deadline_ms: u64,
    pub by: Few<Accuser, ACCUSERS_MAX>,
    /// Formed while we heard nobody: not for others' ears.
    pub is_mute: bool,
    /// Others have called it dead already: no more accusers are needed.
    pub is_urgent: bool,
}

/// How an accuser signs.
pub(super) fn accuser(node: NodeId) -> Accuser {
    let [a, b, c, d, ..] = node.bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Those of both, each once.
fn union(
    old: &Few<Accuser, ACCUSERS_MAX>,
    new: &Few<Accuser, ACCUSERS_MAX>,
) -> Few<Accuser, ACCUSERS_MAX> {
    let (old, new) = (old.as_slice(), new.as_slice());
    let fresh = new.iter().enumerate();
    let fresh = fresh.filter(|(at, one)| !old.contains(one) && !new[..*at].contains(one));
    Few::new(old.iter().chain(fresh.map(|(_, one)| one)).copied())
}

impl Swim {
    /// `by` say that a member is silent.
    pub(super) fn accuse(
        &mut self,
        cx: &mut Context<'_>,
        node: NodeId,
        by: &Few<Accuser, ACCUSERS_MAX>,
        is_mute: bool,
        is_urgent: bool,
    ) {
        let now = cx.now_ms();
        let others = self.table.len();
        let slowness = u64::from(self.slowness);
        let Some(member) = self.table.find_mut(node) else {
            return;
        };
        let life = member.life;
        let known = member.suspicion.take();
        let is_new = known.is_none();
        let mut suspicion = known.unwrap_or_else(|| {
            Box::new(Suspicion {
                began_ms: now,
                deadline_ms: u64::MAX,
                by: Few::default(),
                is_mute,
                is_urgent,
            })
        });
        let accusers = union(&suspicion.by, by);
        let is_news = is_new
            || accusers.as_slice().len() > suspicion.by.as_slice().len()
            || (suspicion.is_mute && !is_mute);
        suspicion.by = accusers;
        suspicion.is_mute &= is_mute;
        suspicion.is_urgent |= is_urgent;
        let count = if suspicion.is_urgent {
            ACCUSERS_MAX
        } else {
            suspicion.by.as_slice().len()
        };
        let wait = timing::suspicion_ms(others, count) * (4 + slowness) / 4;
        let before = suspicion.deadline_ms;
        suspicion.deadline_ms = before.min(suspicion.began_ms.saturating_add(wait));
        let (deadline, is_mute) = (suspicion.deadline_ms, suspicion.is_mute);
        member.suspicion = Some(suspicion);
        if is_new {
            member.since_ms = now;
        }
        self.suspects.remove(&(before, node));
        self.suspects.insert((deadline, node));
        if is_new {
            self.counters.suspicions += 1;
            cx.out.events.push_back(Event::Suspect { node, life });
        }
        if is_news && !is_mute {
            self.spread(cx, node);
        }
        if is_new && cx.dice.below(others as u64) < WITNESSES {
            self.probe(cx, node, false);
        }
    }

    /// A member is there after all.
    pub(super) fn acquit(&mut self, node: NodeId, now: u64) -> bool {
        let Some(member) = self.table.find_mut(node) else {
            return false;
        };
        let Some(suspicion) = member.suspicion.take() else {
            return false;
        };
        member.since_ms = now;
        self.suspects.remove(&(suspicion.deadline_ms, node));
        true
    }

    /// We hear somebody again: accusations that were formed in silence are void.
    pub(super) fn hear_again(&mut self, cx: &mut Context<'_>) {
        self.is_deaf = false;
        let mute: Vec<NodeId> = self
            .suspects
            .iter()
            .map(|(_, node)| *node)
            .filter(|node| self.suspicion(*node).is_some_and(|one| one.is_mute))
            .collect();
        for node in mute {
            self.acquit(node, cx.now_ms());
            if let Some(member) = self.table.find(node) {
                let (contact, life) = (member.contact, member.life);
                cx.out.events.push_back(Event::Alive { contact, life });
            }
        }
    }

    /// Suspicions whose time is over.
    pub(super) fn judge(&mut self, cx: &mut Context<'_>) {
        while let Some((deadline, node)) = self.suspects.first().copied() {
            if deadline > cx.now_ms() {
                break;
            }
            let is_mute = self.suspicion(node).is_some_and(|one| one.is_mute);
            let life = self
                .table
                .find(node)
                .map_or(Life::default(), |member| member.life);
            self.bury(cx, node, life, false);
            if !is_mute {
                self.spread(cx, node);
            }
        }
    }

    /// A member counts as gone from now on.
    pub(super) fn bury(&mut self, cx: &mut Context<'_>, node: NodeId, life: Life, has_left: bool) {
        let now = cx.now_ms();
        self.acquit(node, now);
        self.rumours.forget(node);
        let Some(member) = self.table.remove(node) else {
            return;
        };
        let life = life.max(member.life);
        self.gone.insert(Gone {
            contact: member.contact,
            life,
            has_left,
            since_ms: now,
        });
        self.changed_ms = now;
        if self.next_gone_ms == u64::MAX {
            self.next_gone_ms = now + cx.dice.around(timing::GONE_MS);
        }
        cx.out.events.push_back(if has_left {
            Event::Left { node, life }
        } else {
            self.counters.deaths += 1;
            Event::Dead { node, life }
        });
    }

    pub(super) fn suspicion(&self, node: NodeId) -> Option<&Suspicion> {
        self.table.find(node)?.suspicion.as_deref()
    }

    /// What `node` must hear before anything else: how it is thought of here, if that is not what
    /// it says of itself.
    pub(super) fn accusation(&self, node: NodeId, heard: Option<&Own>) -> Option<Fact> {
        let Some(member) = self.table.find(node) else {
            return self.gone.find(node).map(|gone| Fact {
                node,
                life: gone.life,
                claim: if gone.has_left {
                    Claim::Left
                } else {
                    Claim::Dead
                },
            });
        };
        if let Some(suspicion) = &member.suspicion {
            let by = suspicion.by.clone();
            return Some(Fact {
                node,
                life: member.life,
                claim: Claim::Suspect { by },
            });
        }
        let heard = heard?;
        ((heard.life, heard.instance) < (member.life, member.instance))
            .then(|| Self::fact_of_living(member))
    }

    /// Whether we accuse this member ourselves.
    pub(super) fn is_accuser(&self, node: NodeId) -> bool {
        let me = accuser(self.me.node);
        let is_suspect = |health| health == Health::Suspect;
        self.table
            .find(node)
            .is_some_and(|member| is_suspect(member.health()))
            && self
                .suspicion(node)
                .is_some_and(|one| one.by.as_slice().contains(&me))
    }
}
