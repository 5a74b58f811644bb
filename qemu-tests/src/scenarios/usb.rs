//! A UEFI machine boots from a USB stick with our image into a node.
//!
//! Does:      OVMF, usb-storage, luc.img; the network only gives an address.
//! Does not:  write to the stick.
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
    name: "usb",
    promise: "a UEFI machine with 256 MiB boots from a USB stick into a ready node",
    limit: Duration::from_secs(240),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let stick = story.supplies().paths.image.join("luc.img");
    let shape = Shape::new("usb", Firmware::Uefi, Boot::Usb(stick)).memory_mib(256);
    let machine = story.power_on(lan.plug(shape)?)?;

    let node = Node::join(story, &lan, machine)?;
    demand_ready(&node, &lan)?;
    demand_memory(&node)
}
