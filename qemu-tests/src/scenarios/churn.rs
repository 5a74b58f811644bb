//! VMs come and go without a trace.
//!
//! Does:      creates and deletes twenty VMs in a row and compares the node before and after.
//! Does not:  wait for each guest's program: its process and memory are what counts.
//! Bounds:    one machine, twenty VMs, two at a time.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use serde_json::Value;

use super::checks::{demand_ready, open_files, process_count, resident_bytes};
use crate::demand;
use crate::lan::Lan;
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Problem, Scenario};
use crate::story::Story;

/// VMs in all.
const VMS: usize = 20;
/// What the processes that stay may grow by over the last 18 VMs: less than 4 KiB a VM would be
/// lost in the allocator's noise.
const GROWTH_MAX: u64 = 1024 * 1024;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "churn",
    promise: "twenty VMs created and deleted leave no process, open file or memory behind",
    limit: Duration::from_secs(600),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let shape = Shape::new("host", Firmware::Bios, direct(story.supplies(), ""));
    let machine = story.power_on(lan.plug(shape)?)?;
    let node = Node::join(story, &lan, machine)?;
    node.add_guest_image(story)?;

    // The first pair fills caches and pools that stay on purpose.
    pair(story, &node, 0)?;
    let before = Footprint::of(&node.show()?)?;
    for number in (2..VMS).step_by(2) {
        pair(story, &node, number)?;
    }
    let after = Footprint::of(&node.show()?)?;
    story.say(&format!("before {before:?}, after {after:?}"));

    demand!(
        after.processes == before.processes,
        "processes: {before:?}, then {after:?}"
    );
    demand!(
        after.open_files == before.open_files,
        "open files: {before:?}, then {after:?}"
    );
    let growth = after.resident.saturating_sub(before.resident);
    demand!(
        growth <= GROWTH_MAX,
        "{growth} bytes more: {before:?}, then {after:?}"
    );
    demand!(
        after.reserved == before.reserved,
        "reserved memory: {before:?}, then {after:?}"
    );
    demand_ready(&node, &lan)
}

/// Two VMs at once, one of them caught in the middle of its boot.
fn pair(story: &Story, node: &Node, number: usize) -> Outcome {
    let names = [format!("vm-{number}"), format!("vm-{}", number + 1)];
    let names = [names[0].as_str(), names[1].as_str()];
    for name in names {
        node.create(name, "token", &[])?;
    }
    node.wait_token(story, names[0])?;
    node.delete(&names)
}

/// What the node uses, without what VMs use.
#[derive(Debug, PartialEq)]
struct Footprint {
    processes: usize,
    open_files: u64,
    resident: u64,
    reserved: Value,
}

impl Footprint {
    fn of(show: &Value) -> Result<Self, Problem> {
        Ok(Self {
            processes: process_count(show),
            open_files: open_files(show)?,
            resident: resident_bytes(show)?,
            reserved: show["memory"]["reserved"].clone(),
        })
    }
}
