//! A kernel that panics does not leave a dead machine behind.
//!
//! Does:      crashes the node's kernel by a key, and waits for the node to come back by itself.
//! Does not:  expect anything of the first life to survive.
//! Bounds:    one machine, two boots.
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
    name: "panic",
    promise: "a node whose kernel panics reboots by itself and becomes ready again",
    limit: Duration::from_secs(240),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let boot = direct(story.supplies(), "sysrq_always_enabled");
    let machine = story.power_on(lan.plug(Shape::new("panic", Firmware::Bios, boot))?)?;
    let mut node = Node::join(story, &lan, machine)?;
    demand_ready(&node, &lan)?;

    let seen = node.machine.serial().count();
    node.machine.press_keys(&["alt", "sysrq", "c"])?; // the kernel's own way to test a crash
    let serial = node.machine.serial();
    serial.wait_for_after(seen, "Kernel panic", story.left())?;
    serial.wait_for_after(seen, "] ready http://", story.left())?;
    demand_ready(&node, &lan)
}
