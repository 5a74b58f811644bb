//! A DHCP server that comes up late is waited for.
//!
//! Does:      cuts the server off until 40 s after the node began to ask.
//! Does not:  restart the node, or the server.
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

/// How long the server is away: longer than a client's first tries.
const AWAY: Duration = Duration::from_secs(40);

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "dhcp-late",
    promise: "a node waits for a DHCP server that answers only after 40 s",
    limit: Duration::from_secs(240),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    lan.set_server_link(Link {
        cut: true,
        ..Link::default()
    });
    let shape = Shape::new("patient", Firmware::Bios, direct(story.supplies(), ""));
    let mut machine = story.power_on(lan.plug(shape)?)?;
    machine.booted("] network ", story.left())?;

    let early = machine.serial().wait_for("] address ", AWAY);
    demand!(
        early.is_err(),
        "the node has an address that nobody gave: {early:?}"
    );
    let [frames, ..] = lan.wire().counts();
    demand!(
        frames >= 3,
        "only {frames} frames in {AWAY:?}: the node does not keep asking"
    );

    lan.set_server_link(Link::default());
    let node = Node::join(story, &lan, machine)?;
    demand_ready(&node, &lan)
}
