//! Kernel and initrd alone are enough, in 128 and in 256 MiB.
//!
//! Does:      boots directly, twice, and looks at what our own processes use when idle.
//! Does not:  involve firmware beyond QEMU's loader.
//! Bounds:    two machines, one after the other.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use super::checks::{demand_memory, demand_ready};
use crate::lan::Lan;
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "direct-kernel",
    promise: "kernel and initrd boot into a ready node in 128 and in 256 MiB",
    limit: Duration::from_secs(240),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    for (name, memory_mib) in [("direct-128", 128), ("direct-256", 256)] {
        let boot = direct(story.supplies(), "");
        let shape = Shape::new(name, Firmware::Bios, boot).memory_mib(memory_mib);
        let machine = story.power_on(lan.plug(shape)?)?;

        let node = Node::join(story, &lan, machine)?;
        demand_ready(&node, &lan)?;
        demand_memory(&node)?;
        node.machine.switch_off()?;
    }
    Ok(())
}
