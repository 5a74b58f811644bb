//! A node at the end of a long and bad line works like any other.
//!
//! Does:      puts delay and loss on the node's only cable, then sends an image over it.
//! Does not:  measure: the benchmark of the network does.
//! Bounds:    one machine.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use super::checks::demand_ready;
use crate::demand;
use crate::lan::Lan;
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;
use crate::wire::Link;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "distant",
    promise: "a node behind 50 ms of delay and 0.5 % of loss takes an image and runs a VM",
    limit: Duration::from_secs(360),
    is_long: false,
    run,
};

/// 25 ms each way and half a percent each way.
const LINE: Link = Link {
    delay_ms: 25,
    loss_ppm: 5_000,
    rate_bps: 0,
    cut: false,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let shape = Shape::new("distant", Firmware::Bios, direct(story.supplies(), ""));
    let shape = lan.plug_over(shape, LINE)?;
    let machine = story.power_on(shape)?;
    let node = Node::join(story, &lan, machine)?;
    demand_ready(&node, &lan)?;

    node.add_guest_image(story)?;
    node.create("far", "token", &[])?;
    node.wait_token(story, "far")?;
    node.delete(&["far"])?;

    let [_, _, dropped, _] = lan.wire().counts();
    demand!(dropped > 0, "the line lost nothing, so this proved nothing");
    Ok(())
}
