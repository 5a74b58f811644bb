//! What follows from what is heard.
//!
//! Does:      of two facts about one node takes the newer; answers old ones with what is known;
//!            answers accusations of ourselves with a higher life; notices a second machine with
//!            our key.
//! Does not:  believe that a member is dead whom nobody here suspected: it is asked first.
//! Bounds:    `MEMBERS_MAX`.
//! Trusts:    members, for what they say of others, as far as the accused can refute it.
//! Start at:  `Swim::learn`.

use super::Swim;
use super::suspicion::accuser;
use super::table::Member;
use super::timing;
use crate::context::{Context, Event};
use protocol::NodeId;
use protocol::peer::admission::Few;
use protocol::peer::swim::{Claim, Fact, Own, SwimMessage};
use protocol::peer::{Channel, Contact, Life, Message};

/// What an `Alive` was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    News,
    Known,
    /// We know better.
    Stale,
}

impl Swim {
    /// What `from` says of itself in a message. `false`: it is not of our site.
    pub(super) fn hear(&mut self, cx: &mut Context<'_>, from: NodeId, own: &Own) -> bool {
        let now = cx.now_ms();
        if let Some(member) = self.table.find_mut(from) {
            member.heard_ms = now;
            if member.life == own.life && member.instance == own.instance {
                member.contact.address = own.address;
                return true;
            }
        }
        let was_gone = self.gone.find(from).is_some();
        if cx.keyring.site_of(from).is_some_and(|site| site != cx.site) {
            self.counters.strangers += 1;
            return false;
        }
        self.alive(cx, from, own);
        if let Some(member) = self.table.find_mut(from) {
            member.heard_ms = now;
            if was_gone {
                // The site was split, perhaps.
                self.exchange(cx, from);
            }
        }
        true
    }

    /// Takes in facts that `teller` sent, and returns those about which we know better.
    pub(super) fn learn(
        &mut self,
        cx: &mut Context<'_>,
        teller: NodeId,
        facts: &[Fact],
    ) -> Vec<NodeId> {
        let mut stale = Vec::new();
        for fact in facts {
            if fact.node == self.me.node {
                self.told_about_me(cx, teller, fact);
                continue;
            }
            match &fact.claim {
                Claim::Alive { instance, address } => {
                    let own = Own {
                        life: fact.life,
                        instance: *instance,
                        address: *address,
                    };
                    if self.alive(cx, fact.node, &own) == Worth::Stale {
                        stale.push(fact.node);
                    }
                }
                Claim::Suspect { by } => self.told_suspect(cx, fact, by),
                Claim::Dead => self.told_dead(cx, fact),
                Claim::Left => self.told_left(cx, fact),
            }
        }
        stale
    }

    fn alive(&mut self, cx: &mut Context<'_>, node: NodeId, own: &Own) -> Worth {
        if node == self.me.node {
            return Worth::Known;
        }
        if self.table.find(node).is_some() {
            return self.alive_again(cx, node, own);
        }
        if self
            .gone
            .find(node)
            .is_some_and(|gone| own.life <= gone.life)
        {
            return Worth::Stale;
        }
        if cx.keyring.site_of(node).is_some_and(|site| site != cx.site) {
            self.counters.strangers += 1;
            return Worth::Known;
        }
        let now = cx.now_ms();
        let contact = Contact {
            node,
            site: cx.site,
            address: own.address,
        };
        let member = Member {
            contact,
            life: own.life,
            since_ms: now,
            heard_ms: 0,
            instance: own.instance,
            suspicion: None,
        };
        if !self.table.insert(cx.dice, member) {
            self.counters.members_refused += 1;
            return Worth::Known;
        }
        self.gone.remove(node);
        self.seeds.remove(&node);
        if self.next_probe_ms == u64::MAX {
            self.next_probe_ms = now + cx.dice.below(timing::PERIOD_MS);
            self.next_exchange_ms = now + cx.dice.around(timing::EXCHANGE_MS);
        }
        self.is_up(cx, contact, own.life);
        Worth::News
    }

    /// About one who counts as there already.
    fn alive_again(&mut self, cx: &mut Context<'_>, node: NodeId, own: &Own) -> Worth {
        let Some(member) = self.table.find_mut(node) else {
            return Worth::Known;
        };
        if own.life < member.life {
            return Worth::Stale;
        }
        if own.life == member.life {
            // Two machines with one key, or a suspicion that came before the news of a life.
            if own.instance < member.instance {
                return Worth::Stale;
            }
            let is_new = own.instance > member.instance;
            member.instance = own.instance;
            member.contact.address = own.address;
            if is_new {
                self.spread(cx, node);
            }
            return Worth::Known;
        }
        member.instance = own.instance;
        member.contact.address = own.address;
        let contact = member.contact;
        self.table.set_life(node, own.life);
        self.acquit(node, cx.now_ms());
        self.is_up(cx, contact, own.life);
        Worth::News
    }

    fn is_up(&mut self, cx: &mut Context<'_>, contact: Contact, life: Life) {
        self.changed_ms = cx.now_ms();
        cx.out.events.push_back(Event::Alive { contact, life });
        self.spread(cx, contact.node);
    }

    fn told_suspect(
        &mut self,
        cx: &mut Context<'_>,
        fact: &Fact,
        by: &Few<u32, { protocol::peer::swim::ACCUSERS_MAX }>,
    ) {
        let Some(member) = self.table.find_mut(fact.node) else {
            return;
        };
        if member.life > fact.life {
            self.repeat(cx, fact.node);
            return;
        }
        if member.life < fact.life {
            // It has refuted something that we did not hear of.
            member.instance = 0;
            self.table.set_life(fact.node, fact.life);
            self.acquit(fact.node, cx.now_ms());
        }
        self.accuse(cx, fact.node, by, false, false);
    }

    fn told_dead(&mut self, cx: &mut Context<'_>, fact: &Fact) {
        let Some(member) = self.table.find(fact.node) else {
            return;
        };
        if member.life > fact.life {
            self.repeat(cx, fact.node);
        } else if self.suspicion(fact.node).is_some_and(|one| !one.is_mute) {
            self.bury(cx, fact.node, fact.life, false);
            self.spread(cx, fact.node);
        } else {
            // Nobody here missed it. The accused hears of it, and may refute; else our own probe
            // fails, and little more is needed.
            let gossip = SwimMessage::Gossip {
                own: self.own(),
                rumours: Few::new([fact.clone()]),
            };
            cx.send(fact.node, Channel::Datagram, Message::Swim(gossip));
            self.probe(cx, fact.node, true);
        }
    }

    fn told_left(&mut self, cx: &mut Context<'_>, fact: &Fact) {
        match self.table.find(fact.node) {
            Some(member) if member.life > fact.life => self.repeat(cx, fact.node),
            Some(_) => {
                self.bury(cx, fact.node, fact.life, true);
                self.spread(cx, fact.node);
            }
            None => {}
        }
    }

    /// Somebody has not heard the news about this node.
    fn repeat(&mut self, cx: &mut Context<'_>, node: NodeId) {
        if !self.rumours.has(node) {
            self.spread(cx, node);
        }
    }

    fn told_about_me(&mut self, cx: &mut Context<'_>, teller: NodeId, fact: &Fact) {
        match fact.claim {
            Claim::Alive { instance, .. } if instance != self.instance => {
                if fact.life >= self.life {
                    self.told_of_clone(cx, fact.life);
                }
            }
            Claim::Alive { .. } => {}
            _ if fact.life < self.life => self.repeat(cx, self.me.node),
            _ => {
                if matches!(fact.claim, Claim::Suspect { .. }) {
                    self.slower();
                }
                self.counters.refutations += 1;
                self.rise(cx, fact.life);
                let gossip = SwimMessage::Gossip {
                    own: self.own(),
                    rumours: Few::default(),
                };
                cx.send(teller, Channel::Datagram, Message::Swim(gossip));
            }
        }
    }

    /// Our life rises above `accused`.
    pub(super) fn rise(&mut self, cx: &mut Context<'_>, accused: Life) {
        self.life = self.life.after(accused);
        cx.out.events.push_back(Event::Reborn { life: self.life });
        self.spread(cx, self.me.node);
    }

    /// A node with our key, but another run than ours, is at least as new as we are. That may be
    /// ourselves before a boot whose number was lost: the first time, we outbid it. A machine that
    /// is not there does not bid again.
    fn told_of_clone(&mut self, cx: &mut Context<'_>, life: Life) {
        let now = cx.now_ms();
        if self
            .clone_heard_ms
            .is_none_or(|at| now >= at + timing::CLONE_MS)
        {
            self.clone_heard_ms = Some(now);
            self.clone_known = false;
            self.rise(cx, life);
            return;
        }
        self.clone_heard_ms = Some(now);
        if !self.clone_known {
            self.clone_known = true;
            self.counters.clones += 1;
            cx.out.events.push_back(Event::Cloned { life });
        } else if now < self.next_bid_ms {
            return;
        }
        self.next_bid_ms = now + timing::CLONE_BID_MS;
        self.rise(cx, life);
    }

    /// Whether another machine runs with our key.
    pub(super) fn is_cloned(&self, now: u64) -> bool {
        self.clone_known
            && self
                .clone_heard_ms
                .is_some_and(|at| now < at + timing::CLONE_MS)
    }

    /// There are news about this node.
    pub(super) fn spread(&mut self, cx: &mut Context<'_>, node: NodeId) {
        self.rumours.add(node);
        if self.next_gossip_ms == u64::MAX && !self.table.is_empty() {
            self.next_gossip_ms = cx.now_ms() + timing::GOSSIP_DELAY_MS;
        }
    }

    /// What we know of a node, for others.
    pub(super) fn fact(&self, node: NodeId) -> Option<Fact> {
        if node == self.me.node {
            return Some(self.fact_of_me());
        }
        match self.table.find(node) {
            Some(member) => Some(Self::fact_of(member)),
            None => self.accusation(node, None),
        }
    }

    pub(super) fn fact_of(member: &Member) -> Fact {
        match &member.suspicion {
            Some(suspicion) if !suspicion.is_mute => Fact {
                node: member.contact.node,
                life: member.life,
                claim: Claim::Suspect {
                    by: suspicion.by.clone(),
                },
            },
            _ => Self::fact_of_living(member),
        }
    }

    pub(super) fn fact_of_living(member: &Member) -> Fact {
        Fact {
            node: member.contact.node,
            life: member.life,
            claim: Claim::Alive {
                instance: member.instance,
                address: member.contact.address,
            },
        }
    }

    fn fact_of_me(&self) -> Fact {
        let own = self.own();
        let claim = if self.has_left {
            Claim::Left
        } else {
            Claim::Alive {
                instance: own.instance,
                address: own.address,
            }
        };
        Fact {
            node: self.me.node,
            life: own.life,
            claim,
        }
    }

    /// Our signature below an accusation.
    pub(super) fn my_word(&self) -> Few<u32, { protocol::peer::swim::ACCUSERS_MAX }> {
        Few::new([accuser(self.me.node)])
    }
}
