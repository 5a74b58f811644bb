//! What a node says on its screens and among its events about its peers.
//!
//! Does:      turns what overlay and membership report into sentences; counts nodes and sites.
//! Does not:  decide what is worth telling twice: the overlay's journal does.
//! Bounds:    one sentence for each report.
//! Trusts:    its callers for names.
//! Start at:  `Crowd`.

use identity::admitter::AdmitEvent;
use overlay::overlay::journal::Happening;
use overlay::{Event, Overlay};
use protocol::{Moment, NodeId, SiteId};

/// The number of nodes is told when it has been the same for so long.
const SETTLE_MS: u64 = 1_500;
/// How often it is looked for a change.
const LOOK_MS: u64 = 10_000;

/// How many nodes there are in how many sites; told when it changes, not more often than people
/// can read.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    told: (usize, usize),
    seen: (usize, usize),
    look_ms: Option<u64>,
}

impl Crowd {
    pub fn begin(now: Moment) -> Self {
        Self {
            look_ms: Some(now.uptime_ms + SETTLE_MS),
            ..Self::default()
        }
    }

    pub const fn due_ms(&self) -> Option<u64> {
        self.look_ms
    }

    /// The sentence to tell now, if any.
    pub fn look(&mut self, now: Moment, overlay: &Overlay) -> Option<String> {
        if self.look_ms.is_some_and(|at_ms| now.uptime_ms < at_ms) {
            return None;
        }
        let nodes = overlay.nodes(now);
        let there: Vec<_> = nodes.iter().filter(|node| node.state.is_there()).collect();
        let mut sites: Vec<_> = there.iter().map(|node| node.contact.site).collect();
        sites.dedup();
        let counted = (there.len(), sites.len());
        let settled = counted == self.seen;
        let wait_ms = if settled { LOOK_MS } else { SETTLE_MS };
        self.look_ms = Some(now.uptime_ms + wait_ms);
        self.seen = counted;
        if !settled || counted == self.told {
            return None;
        }
        self.told = counted;
        let (nodes, sites) = counted;
        let node_word = if nodes == 1 { "node" } else { "nodes" };
        let site_word = if sites == 1 { "site" } else { "sites" };
        Some(format!("{nodes} {node_word} in {sites} {site_word}"))
    }
}

/// What happened at the site's door.
pub(crate) fn of_admission(event: &AdmitEvent) -> String {
    match event {
        AdmitEvent::Admitted {
            node,
            name,
            replaces: None,
        } => format!("let in {name}, {}", node.short()),
        AdmitEvent::Admitted {
            node,
            name,
            replaces: Some(old),
        } => format!(
            "let in {name}, {}, which was {} before",
            node.short(),
            old.short()
        ),
        AdmitEvent::Waiting { name, code, .. } => {
            format!("{name} waits for approval: luc node approve {code}")
        }
        AdmitEvent::Refused { node, refusal } => {
            format!("did not let in {}: {refusal}", node.short())
        }
        AdmitEvent::OverCount(over) => format!("a token let in more than it allows: {over:?}"),
        AdmitEvent::Renewed { by } => format!("certificate renewed by {}", by.short()),
    }
}

/// What people should know of the overlay's events.
pub(crate) fn of_event(event: &Event) -> Option<String> {
    match event {
        Event::Dead { node, .. } => Some(format!("{} of this site is dead", node.short())),
        Event::Left { node, .. } => Some(format!("{} left this site", node.short())),
        Event::Cloned { .. } => Some(
            "another machine runs with this node's key: wipe the state disk of one of them"
                .to_owned(),
        ),
        _ => None,
    }
}

/// A line of the overlay's journal, for those who follow events.
pub(crate) struct Line {
    pub kind: &'static str,
    pub node: Option<NodeId>,
    pub subject: String,
    pub text: String,
}

/// What a line of the journal says. `name` and `site_name`: what people call nodes and sites.
pub(crate) fn of_journal(
    what: Happening,
    me: NodeId,
    name: &dyn Fn(NodeId) -> String,
    site_name: &dyn Fn(SiteId) -> String,
) -> Line {
    let node = |id: NodeId, text: &str| ("node", Some(id), name(id), text.to_owned());
    let site = |id: SiteId, text: &str| ("site", None, site_name(id), text.to_owned());
    let own = |text: String| ("node", Some(me), name(me), text);
    let (kind, node, subject, text) = match what {
        Happening::NodeAlive { node: id, .. } => node(id, "alive"),
        Happening::NodeSuspect { node: id } => node(id, "does not answer; perhaps it is slow"),
        Happening::NodeDead { node: id, .. } => node(id, "dead"),
        Happening::NodeLeft { node: id, .. } => node(id, "left"),
        Happening::SiteFound { site: id, alive } => {
            let nodes = if alive == 1 { "node" } else { "nodes" };
            site(id, &format!("found, with {alive} {nodes}"))
        }
        Happening::SiteLost { site: id } => site(id, "no node of it answers"),
        Happening::SiteBack { site: id } => site(id, "answers again"),
        Happening::SiteRetired { site: id } => site(id, "given up for good"),
        Happening::Reborn { .. } => own("was taken for dead, and has answered".to_owned()),
        Happening::Cloned => own("another machine runs with its key".to_owned()),
        Happening::Poison { kind, .. } => own(format!("can't read a record of kind {kind}")),
        Happening::Ghost { kind, .. } => own(format!(
            "refused an old record of kind {kind} that its site forgot"
        )),
        Happening::Clock { is_off: true } => own("its clock differs from its peers'".to_owned()),
        Happening::Clock { is_off: false } => own("its clock is right again".to_owned()),
        Happening::Fenced { is_fenced: true } => {
            own("guards no registers: its disk keeps nothing".to_owned())
        }
        Happening::Fenced { is_fenced: false } => {
            own("may guard registers again: its disk keeps what it is given".to_owned())
        }
        Happening::StartedAnew => {
            own("was away for long, and starts from what its peers hold".to_owned())
        }
    };
    Line {
        kind,
        node,
        subject,
        text,
    }
}
