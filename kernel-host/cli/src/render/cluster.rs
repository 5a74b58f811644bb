//! What tables show of nodes, sites, machines that wait, and events.
//!
//! Does:      names the columns of each kind; ages stand with every fact that is not first-hand.
//! Does not:  lay out or print: `render` does.
//! Bounds:    a page of objects at a time.
//! Trusts:    the node's answers, which were parsed into types; texts are cleaned when printed.
//! Start at:  the `Resource` of each kind.

use super::{
    Cell, Column, Resource, Shown, Tone, age,
    columns::{as_of, dash},
};
use protocol::{Event, NodeEntry, PendingNode, SiteEntry, Standing};

fn standing(node: &NodeEntry) -> Cell {
    let tone = match node.state {
        Standing::Alive => Tone::Good,
        Standing::Suspect => Tone::Busy,
        Standing::Dead | Standing::Unreachable => Tone::Bad,
        Standing::Left => Tone::Plain,
    };
    Cell {
        text: node.state.to_string(),
        tone,
    }
}

/// `612MiB of 1024MiB`: what is left of what VMs and images may use.
fn free(node: &NodeEntry) -> Cell {
    dash(
        node.capacity
            .map(|is| format!("{} of {}", is.free().human(), is.memory.human())),
    )
}

fn cpus(node: &NodeEntry) -> Cell {
    dash(
        node.capacity
            .map(|is| format!("{} of {}", is.vcpus, is.cpus)),
    )
}

fn load(node: &NodeEntry) -> Cell {
    dash(
        node.capacity
            .map(|is| format!("{} %", is.load_permille / 10)),
    )
}

fn kvm(node: &NodeEntry) -> Cell {
    let word = |usable| if usable { "usable" } else { "not usable" };
    dash(node.capacity.map(|is| word(is.kvm)))
}

impl Resource for NodeEntry {
    fn name(&self) -> String {
        self.name.clone()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        use Shown::{Card, Table, Wide};
        const COLUMNS: &[Column<NodeEntry>] = &[
            Column { key: "name",    shown: Table, cell: |node, _| Cell::plain(&node.name) },
            Column { key: "site",    shown: Table, cell: |node, _| dash(node.site.as_ref()) },
            Column { key: "state",   shown: Table, cell: |node, _| standing(node) },
            Column { key: "reason",  shown: Card,  cell: |node, _| dash(node.reason.as_ref()) },
            Column { key: "vms",     shown: Table, cell: |node, _| dash(node.capacity.map(|is| is.vms)) },
            Column { key: "vcpus",   shown: Table, cell: |node, _| cpus(node) },
            Column { key: "free",    shown: Table, cell: |node, _| free(node) },
            Column { key: "load",    shown: Wide,  cell: |node, _| load(node) },
            Column { key: "images",  shown: Wide,  cell: |node, _| dash(node.capacity.map(|is| is.images)) },
            Column { key: "kvm",     shown: Wide,  cell: |node, _| kvm(node) },
            Column { key: "address", shown: Wide,  cell: |node, _| dash(node.address.as_ref()) },
            Column { key: "boots",   shown: Wide,  cell: |node, _| Cell::plain(node.boots) },
            Column { key: "id",      shown: Wide,  cell: |node, _| Cell::plain(node.id) },
            Column { key: "as-of",   shown: Table, cell: |node, _| as_of(node.age_ms) },
        ];
        COLUMNS
    }
}

fn reachable(site: &SiteEntry) -> Cell {
    let (text, tone) = match (site.reachable, site.alive == site.nodes) {
        (false, _) => ("unreachable", Tone::Bad),
        (true, false) => ("incomplete", Tone::Busy),
        (true, true) => ("whole", Tone::Good),
    };
    Cell {
        text: text.to_owned(),
        tone,
    }
}

impl Resource for SiteEntry {
    fn name(&self) -> String {
        self.name.to_string()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        use Shown::{Table, Wide};
        const COLUMNS: &[Column<SiteEntry>] = &[
            Column { key: "name",  shown: Table, cell: |site, _| Cell::plain(&site.name) },
            Column { key: "state", shown: Table, cell: |site, _| reachable(site) },
            Column { key: "nodes", shown: Table, cell: |site, _| Cell::plain(format!("{} of {}", site.alive, site.nodes)) },
            Column { key: "vms",   shown: Table, cell: |site, _| Cell::plain(site.vms) },
            Column { key: "free",  shown: Table, cell: |site, _| Cell::plain(site.free.human()) },
            Column { key: "rtt",   shown: Table, cell: |site, _| dash(site.round_trip_us.map(round_trip)) },
            Column { key: "id",    shown: Wide,  cell: |site, _| Cell::plain(site.id) },
            Column { key: "as-of", shown: Table, cell: |site, _| as_of(site.age_ms) },
        ];
        COLUMNS
    }
}

/// Rounded up: that it takes no time is never said.
fn round_trip(us: u64) -> String {
    format!("{} ms", us.div_ceil(1000))
}

impl Resource for PendingNode {
    fn name(&self) -> String {
        self.code.clone()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        use Shown::{Table, Wide};
        const COLUMNS: &[Column<PendingNode>] = &[
            Column { key: "code",    shown: Table, cell: |one, _| Cell::plain(&one.code) },
            Column { key: "site",    shown: Table, cell: |one, _| dash(one.site.as_ref()) },
            Column { key: "address", shown: Table, cell: |one, _| dash(one.address.as_ref()) },
            Column { key: "machine", shown: Table, cell: |one, _| dash(one.machine.as_ref()) },
            Column { key: "waiting", shown: Table, cell: |one, _| Cell::plain(age(one.waiting_ms)) },
            Column { key: "id",      shown: Wide,  cell: |one, _| dash(one.node) },
        ];
        COLUMNS
    }
}

impl Resource for Event {
    fn name(&self) -> String {
        self.seq.to_string()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        use Shown::{Table, Wide};
        const COLUMNS: &[Column<Event>] = &[
            Column { key: "time",    shown: Table, cell: |event, _| Cell::plain(event.at) },
            Column { key: "kind",    shown: Table, cell: |event, _| Cell::plain(format!("{:7}", event.kind)) },
            Column { key: "subject", shown: Table, cell: |event, _| Cell::plain(format!("{:16}", event.subject)) },
            Column { key: "seq",     shown: Wide,  cell: |event, _| Cell::plain(event.seq) },
            Column { key: "node",    shown: Wide,  cell: |event, _| dash(event.node.map(|node| node.short())) },
            Column { key: "text",    shown: Table, cell: |event, _| Cell::plain(&event.text) },
        ];
        COLUMNS
    }
}
