//! What tables show of VMs, images and nodes.
//!
//! Does:      names the columns of each kind, narrow and wide, and how a cell reads.
//! Does not:  lay out or print: `render` does.
//! Bounds:    a page of objects at a time.
//! Trusts:    the node's answers, which were parsed into types; texts are cleaned when printed.
//! Start at:  the `Resource` of each kind.

use super::{Cell, Column, Resource, Shown, Tone, age, milliseconds};
use protocol::{BlobRef, Image, Node, NodeState, Timestamp, Vm, VmStageName, VmState};

fn dash(text: Option<impl ToString>) -> Cell {
    text.map_or_else(|| Cell::plain("-"), Cell::plain)
}

/// An age if the node's clock is known, else the time itself.
fn since(then: Timestamp, now: Option<Timestamp>) -> Cell {
    match now {
        Some(now) => Cell::plain(age(now.ms_since(then))),
        None => Cell::plain(then),
    }
}

fn vm_state(state: VmState) -> Cell {
    let tone = match state {
        VmState::Running => Tone::Good,
        VmState::Failed => Tone::Bad,
        VmState::Stopped => Tone::Plain,
        VmState::Creating | VmState::Starting | VmState::Stopping | VmState::Deleting => Tone::Busy,
    };
    Cell {
        text: state.to_string(),
        tone,
    }
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
            Column { key: "name",     shown: Table, cell: |vm, _| Cell::plain(&vm.name) },
            Column { key: "state",    shown: Table, cell: |vm, _| vm_state(vm.state) },
            Column { key: "reason",   shown: Card,  cell: |vm, _| dash(vm.reason.as_ref()) },
            Column { key: "image",    shown: Table, cell: |vm, _| Cell::plain(&vm.spec.image) },
            Column { key: "vcpus",    shown: Table, cell: |vm, _| Cell::plain(vm.spec.vcpus) },
            Column { key: "memory",   shown: Table, cell: |vm, _| Cell::plain(vm.spec.memory) },
            Column { key: "age",      shown: Table, cell: |vm, now| since(vm.created_at, now) },
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
            Column { key: "age",     shown: Table, cell: |image, now| since(image.created_at, now) },
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
