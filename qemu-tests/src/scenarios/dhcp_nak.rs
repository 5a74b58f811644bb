//! A refused address is given up at once, and another server is asked.
//!
//! Does:      puts a rogue on the LAN that offers and then refuses, and later an honest server.
//! Does not:  use the honest server's code for the rogue.
//! Bounds:    one machine.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::{Duration, Instant};

use super::checks::demand_ready;
use crate::demand;
use crate::lan::{Lan, OFFERED, Rogue};
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;
use crate::wire::Link;

/// Refusals before the rogue falls silent.
const NAKS: usize = 2;
/// How often the rogue's count is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "dhcp-nak",
    promise: "a node whose DHCP request is refused starts over and becomes ready",
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
    let rogue = Rogue::start(&lan.add_port()?, NAKS)?;
    let shape = Shape::new("refused", Firmware::Bios, direct(story.supplies(), ""));
    let mut machine = story.power_on(lan.plug(shape)?)?;
    machine.booted("] network ", story.left())?;

    let until = Instant::now() + story.left();
    while rogue.naks() < NAKS {
        demand!(
            Instant::now() < until,
            "the node asked only {} times",
            rogue.naks()
        );
        std::thread::sleep(LOOK_EVERY);
    }
    lan.set_server_link(Link::default());

    let node = Node::join(story, &lan, machine)?;
    let believed = node
        .machine
        .serial()
        .all_with(&format!("] address {OFFERED}"));
    demand!(
        believed.is_empty(),
        "the node used an address that was refused: {believed:?}"
    );
    demand_ready(&node, &lan)
}
