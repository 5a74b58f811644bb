//! A bare UEFI machine boots by its firmware's own PXE client into a node.
//!
//! Does:      OVMF without any NIC ROM loads luc.efi by TFTP, in 256 MiB.
//! Does not:  use iPXE.
//! Bounds:    one machine.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use super::checks::{demand_memory, demand_ready};
use crate::lan::Lan;
use crate::machine::{Boot, Firmware, Shape};
use crate::node::Node;
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "pxe-uefi",
    promise: "a UEFI machine with 256 MiB boots by native PXE into a ready node",
    limit: Duration::from_secs(300),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let shape = lan.plug(Shape::new("uefi", Firmware::Uefi, Boot::Pxe).memory_mib(256))?;
    let machine = story.power_on(shape)?;

    let node = Node::join(story, &lan, machine)?;
    demand_ready(&node, &lan)?;
    demand_memory(&node)
}
