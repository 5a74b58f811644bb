//! A dead clock battery does not matter.
//!
//! Does:      boots with a clock that shows 1970 and runs a VM.
//! Does not:  correct the clock.
//! Bounds:    one machine.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use super::checks::demand_ready;
use crate::lan::Lan;
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "clock-1970",
    promise: "a node whose clock shows 1970 becomes ready and runs a VM",
    limit: Duration::from_secs(300),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let shape = Shape::new("old", Firmware::Bios, direct(story.supplies(), ""));
    let machine = story.power_on(lan.plug(shape.clock("1970-01-01T00:00:10"))?)?;

    let node = Node::join(story, &lan, machine)?;
    demand_ready(&node, &lan)?;
    node.add_guest_image(story)?;
    node.create("retro", "token", &[])?;
    node.wait_token(story, "retro")?;
    node.delete(&["retro"])
}
