//! Who is alive, as the overlay tells it to `identity`.
//!
//! Start at:  `Seen`.

use identity::desk::Sight;
use overlay::{NodeState, Overlay};
use protocol::{Moment, NodeId};

/// The overlay at a moment; nobody is known before there is one.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    overlay: Option<&'a Overlay>,
    now: Moment,
}

impl<'a> Seen<'a> {
    pub const fn new(overlay: Option<&'a Overlay>, now: Moment) -> Self {
        Self { overlay, now }
    }
}

impl Sight for Seen<'_> {
    fn is_alive(&self, node: NodeId) -> bool {
        // Membership holds the keys while it asks.
        let state = self.overlay.and_then(|one| one.standing(self.now, node));
        state.is_some_and(|state| !matches!(state, NodeState::Dead | NodeState::Left))
    }

    fn neighbours(&self) -> Vec<NodeId> {
        let members = self.overlay.into_iter().flat_map(Overlay::members);
        let alive = members.filter(|member| member.state.is_there());
        alive.map(|member| member.contact.node).collect()
    }
}
