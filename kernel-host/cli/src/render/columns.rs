//! What tables show of VMs, images and nodes.
//!
//! Does:      names the columns of each kind, narrow and wide, and how a cell reads.
//! Does not:  lay out or print: `render` does.
//! Bounds:    a page of objects at a time.
//! Trusts:    the node's answers, which were parsed into types; texts are cleaned when printed.
//! Start at:  the `Resource` of each kind.

use super::{Cell, Column, Resource, Shown, Tone, age, milliseconds};
use protocol::{BlobRef, Image, Node, NodeState, Place, Timestamp, Vm, VmStageName, VmState};

pub(super) fn dash(text: Option<impl ToString>) -> Cell {
    text.map_or_else(|| Cell::plain("-"), Cell::plain)
}

/// An age if the node's clock is known, else the time itself.
fn since(then: Timestamp, now: Option<Timestamp>) -> Cell {
    match now {
        Some(now) => Cell::plain(age(now.ms_since(then))),
        None => Cell::plain(then),
    }
}

/// The state, and whether it is only the last that was heard.
fn vm_state(vm: &Vm) -> Cell {
    let tone = match vm.state {
        VmState::Running => Tone::Good,
        VmState::Failed | VmState::Lost => Tone::Bad,
        VmState::Stopped => Tone::Plain,
        VmState::Creating | VmState::Starting | VmState::Stopping | VmState::Deleting => Tone::Busy,
    };
    let silent = vm.place.as_ref().is_some_and(|place| !place.reachable);
    match silent && vm.state != VmState::Lost {
        true => Cell {
            text: format!("{}, unreachable", vm.state),
            tone: Tone::Bad,
        },
        false => Cell {
            text: vm.state.to_string(),
            tone,
        },
    }
}

/// How old a fact is; `now` is first-hand.
pub(super) fn as_of(age_ms: Option<u64>) -> Cell {
    match age_ms {
        None => Cell::plain("now"),
        Some(ms) => Cell::plain(format!("{} ago", age(ms))),
    }
}

fn label(vm: &Vm) -> Cell {
    match &vm.label {
        Some(label) => Cell::plain(label),
        None => Cell::plain(&vm.name),
    }
}

fn host(vm: &Vm) -> Cell {
    match &vm.place {
        Some(place) => Cell::plain(&place.name),
        None => Cell::plain(vm.node.short()),
    }
}

fn site(vm: &Vm) -> Cell {
    dash(vm.place.as_ref().and_then(|place| place.site.as_ref()))
}

fn timeline(vm: &Vm) -> Cell {
    let steps = vm
        .timeline
        .iter()
        .filter(|step| step.stage != VmStageName::Asked);
    let steps = steps.map(|step| format!("{} {}", step.stage.as_str(), milliseconds(step.at_ms)));
    Cell::plain(steps.collect::<Vec<_>>().join(", "))
}

impl Resource for Vm {
    fn name(&self) -> String {
        self.name.to_string()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        use Shown::{Card, Table, Wide};
        const COLUMNS: &[Column<Vm>] = &[
            Column { key: "name",     shown: Table, cell: |vm, _| label(vm) },
            Column { key: "state",    shown: Table, cell: |vm, _| vm_state(vm) },
            Column { key: "reason",   shown: Card,  cell: |vm, _| dash(vm.reason.as_ref()) },
            Column { key: "image",    shown: Table, cell: |vm, _| Cell::plain(&vm.spec.image) },
            Column { key: "vcpus",    shown: Table, cell: |vm, _| Cell::plain(vm.spec.vcpus) },
            Column { key: "memory",   shown: Table, cell: |vm, _| Cell::plain(vm.spec.memory) },
            Column { key: "site",     shown: Table, cell: |vm, _| site(vm) },
            Column { key: "host",     shown: Table, cell: |vm, _| host(vm) },
            Column { key: "age",      shown: Table, cell: |vm, now| since(vm.created_at, now) },
            Column { key: "as-of",    shown: Table, cell: |vm, _| as_of(vm.place.as_ref().and_then(|place| place.age_ms)) },
            Column { key: "id",       shown: Wide,  cell: |vm, _| Cell::plain(vm.id) },
            Column { key: "node",     shown: Wide,  cell: |vm, _| Cell::plain(vm.node.short()) },
            Column { key: "changed",  shown: Wide,  cell: |vm, now| since(vm.changed_at, now) },
            Column { key: "starts",   shown: Wide,  cell: |vm, _| Cell::plain(vm.starts) },
            Column { key: "resets",   shown: Wide,  cell: |vm, _| Cell::plain(vm.resets) },
            Column { key: "cmdline",  shown: Card,  cell: |vm, _| Cell::plain(&vm.spec.cmdline) },
            Column { key: "disk",     shown: Card,  cell: |vm, _| Cell::plain(vm.spec.disk.as_str()) },
            Column { key: "timeline", shown: Card,  cell: |vm, _| timeline(vm) },
        ];
        COLUMNS
    }
}

fn part(part: Option<BlobRef>) -> Cell {
    dash(part.map(|part| format!("{} ({})", part.digest.short(), part.size.human())))
}

/// A few nodes, and how many more.
fn nodes(image: &Image) -> Cell {
    let shown = |place: &Place| match place.reachable {
        true => place.name.clone(),
        false => format!("{} (unreachable)", place.name),
    };
    let mut all: Vec<String> = image.places.iter().take(3).map(shown).collect();
    let more = image.places.len().saturating_sub(all.len());
    if more > 0 {
        all.push(format!("{more} more"));
    }
    Cell::plain(all.join(", "))
}

fn sites(image: &Image) -> Cell {
    let mut all: Vec<&str> = image
        .places
        .iter()
        .filter_map(|p| Some(p.site.as_ref()?.as_str()))
        .collect();
    all.sort_unstable();
    all.dedup();
    Cell::plain(all.join(", "))
}

/// The oldest of what is said.
fn oldest(image: &Image) -> Option<u64> {
    image.places.iter().filter_map(|place| place.age_ms).max()
}

impl Resource for Image {
    fn name(&self) -> String {
        self.name.to_string()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        use Shown::{Card, Table, Wide};
        const COLUMNS: &[Column<Image>] = &[
            Column { key: "name",    shown: Table, cell: |image, _| Cell::plain(&image.name) },
            Column { key: "size",    shown: Table, cell: |image, _| Cell::plain(image.size.human()) },
            Column { key: "vms",     shown: Table, cell: |image, _| Cell::plain(image.vms) },
            Column { key: "sites",   shown: Table, cell: |image, _| sites(image) },
            Column { key: "nodes",   shown: Table, cell: |image, _| nodes(image) },
            Column { key: "age",     shown: Table, cell: |image, now| since(image.created_at, now) },
            Column { key: "as-of",   shown: Table, cell: |image, _| as_of(oldest(image)) },
            Column { key: "kernel",  shown: Wide,  cell: |image, _| part(Some(image.kernel)) },
            Column { key: "initrd",  shown: Wide,  cell: |image, _| part(image.initrd) },
            Column { key: "disk",    shown: Wide,  cell: |image, _| part(image.disk) },
            Column { key: "cmdline", shown: Card,  cell: |image, _| Cell::plain(&image.cmdline) },
        ];
        COLUMNS
    }
}

fn node_state(state: NodeState) -> Cell {
    let tone = match state {
        NodeState::Ready => Tone::Good,
        NodeState::Degraded => Tone::Bad,
        NodeState::Starting | NodeState::GoingDown => Tone::Busy,
    };
    Cell {
        text: state.to_string(),
        tone,
    }
}

fn addresses(node: &Node) -> Cell {
    let all = node.addresses.iter().map(|address| {
        let via = address
            .gateway
            .as_deref()
            .map_or(String::new(), |via| format!(" via {via}"));
        format!("{}{via} on {}", address.address, address.nic)
    });
    Cell::plain(all.collect::<Vec<_>>().join(", "))
}

fn boot(node: &Node) -> Cell {
    let steps = node
        .timeline
        .iter()
        .map(|s| format!("{} {}", s.stage, milliseconds(s.at_ms)));
    Cell::plain(steps.collect::<Vec<_>>().join(", "))
}

fn own(node: &Node) -> Cell {
    let all = node.processes.iter().map(|process| {
        format!(
            "{} {} ({} files)",
            process.name,
            process.resident.human(),
            process.open_files
        )
    });
    Cell::plain(all.collect::<Vec<_>>().join(", "))
}

fn kvm(node: &Node) -> Cell {
    let detail = node.kvm.detail.as_deref().unwrap_or("");
    match node.kvm.usable {
        true => Cell {
            text: "usable".to_owned(),
            tone: Tone::Good,
        },
        false => Cell {
            text: format!("not usable: {detail}"),
            tone: Tone::Bad,
        },
    }
}

fn guests(node: &Node) -> Cell {
    let memory = &node.memory;
    Cell::plain(format!(
        "{} of {}",
        memory.reserved.human(),
        memory.for_guests.human()
    ))
}

fn counters(node: &Node) -> Cell {
    let all = node
        .counters
        .iter()
        .map(|(name, count)| format!("{name} {count}"));
    Cell::plain(all.collect::<Vec<_>>().join(", "))
}

impl Resource for Node {
    fn name(&self) -> String {
        self.name.clone()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        use Shown::{Card, Table, Wide};
        const COLUMNS: &[Column<Node>] = &[
            Column { key: "name",      shown: Table, cell: |node, _| Cell::plain(&node.name) },
            Column { key: "state",     shown: Table, cell: |node, _| node_state(node.state) },
            Column { key: "reason",    shown: Card,  cell: |node, _| dash(node.reason.as_ref()) },
            Column { key: "id",        shown: Wide,  cell: |node, _| Cell::plain(node.id) },
            Column { key: "version",   shown: Wide,  cell: |node, _| Cell::plain(&node.version) },
            Column { key: "kernel",    shown: Wide,  cell: |node, _| Cell::plain(&node.kernel) },
            Column { key: "addresses", shown: Wide,  cell: |node, _| addresses(node) },
            Column { key: "uptime",    shown: Table, cell: |node, _| Cell::plain(age(node.uptime_ms)) },
            Column { key: "clock",     shown: Card,  cell: |node, _| Cell::plain(node.now) },
            Column { key: "cpus",      shown: Table, cell: |node, _| Cell::plain(node.cpus) },
            Column { key: "memory",    shown: Table, cell: |node, _| Cell::plain(node.memory.total.human()) },
            Column { key: "available", shown: Card,  cell: |node, _| Cell::plain(node.memory.available.human()) },
            Column { key: "guests",    shown: Table, cell: |node, _| guests(node) },
            Column { key: "kvm",       shown: Wide,  cell: |node, _| kvm(node) },
            Column { key: "vms",       shown: Table, cell: |node, _| Cell::plain(node.vms) },
            Column { key: "images",    shown: Table, cell: |node, _| Cell::plain(node.images) },
            Column { key: "boot",      shown: Card,  cell: |node, _| boot(node) },
            Column { key: "own",       shown: Card,  cell: |node, _| own(node) },
            Column { key: "counters",  shown: Card,  cell: |node, _| counters(node) },
        ];
        COLUMNS
    }
}
