//! A node finds the one of its two NICs that has a DHCP server.
//!
//! Does:      plugs the first NIC into a silent LAN and the second into one with a server.
//! Does not:  assume an order of NICs: both orders are tried.
//! Bounds:    two machines, one after the other.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use super::checks::demand_ready;
use crate::lan::Lan;
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Problem, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "two-nics",
    promise: "a node with two NICs becomes ready though only one of them has DHCP",
    limit: Duration::from_secs(240),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut silent = Lan::start(story, "silent")?;
    let mut lan = Lan::with_netboot(story, "lan")?;
    for (name, served_first) in [("served-second", false), ("served-first", true)] {
        let shape = Shape::new(name, Firmware::Bios, direct(story.supplies(), ""));
        let shape = plug_both(shape, &mut lan, &mut silent, served_first)?;
        let machine = story.power_on(shape)?;

        let node = Node::join(story, &lan, machine)?;
        demand_ready(&node, &lan)?;
        node.machine.switch_off()?;
    }
    Ok(())
}

fn plug_both(
    shape: Shape,
    lan: &mut Lan,
    silent: &mut Lan,
    served_first: bool,
) -> Result<Shape, Problem> {
    if served_first {
        silent.plug(lan.plug(shape)?)
    } else {
        lan.plug(silent.plug(shape)?)
    }
}
