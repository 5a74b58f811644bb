//! A guest that floods its console harms nobody.
//!
//! Does:      lets a guest print without end while nobody reads, and while somebody does.
//! Does not:  measure speed.
//! Bounds:    one machine, two VMs.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use super::checks::{demand_ready, resident_bytes};
use crate::demand;
use crate::lan::Lan;
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;

/// How long the flood lasts before it is looked at.
const FLOOD: Duration = Duration::from_secs(15);
/// What the node's process may grow by: a console keeps a bounded scrollback.
const GROWTH_MAX: u64 = 8 * 1024 * 1024;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "console-flood",
    promise: "a guest that floods its console costs bounded memory and blocks nobody",
    limit: Duration::from_secs(420),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let shape = Shape::new("host", Firmware::Bios, direct(story.supplies(), ""));
    let machine = story.power_on(lan.plug(shape)?)?;
    let node = Node::join(story, &lan, machine)?;
    node.add_guest_image(story)?;
    node.create("flooder", "flood", &[])?;
    node.wait("flooder", &format!("console~{}", guest::FLOOD_LINE))?;

    let before = node.show()?;
    std::thread::sleep(FLOOD);
    let after = node.show()?;
    let (before, after) = (resident_bytes(&before)?, resident_bytes(&after)?);
    let growth = after.saturating_sub(before);
    demand!(
        growth <= GROWTH_MAX,
        "{growth} bytes more after {FLOOD:?} of flood"
    );

    // A reader sees whole lines in order, from wherever it came in.
    let console = node.luc.console("flooder")?;
    console.lines().wait_for(guest::FLOOD_LINE, story.left())?;
    drop(console);

    node.create("neighbour", "token", &[])?;
    node.wait_token(story, "neighbour")?;
    node.delete(&["flooder", "neighbour"])?;
    demand_ready(&node, &lan)
}
