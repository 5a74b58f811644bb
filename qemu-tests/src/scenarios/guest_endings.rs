//! A guest may end in every way a guest can, and the node says truly how it ended.
//!
//! Does:      a shutdown from inside, a reset, a triple fault, and the power button pressed from
//!            outside.
//! Does not:  end the node: it must not notice.
//! Bounds:    one machine, four VMs.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use serde_json::Value;

use super::checks::demand_ready;
use crate::demand;
use crate::lan::Lan;
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Problem, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "guest-endings",
    promise: "guests that shut down, reset, triple-fault or hear the button are reported as such",
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

    node.create("leaver", "shutdown", &["--no-wait"])?;
    node.wait("leaver", "stopped")?;
    node.wait_token(story, "leaver")?;

    node.create("restarter", "reset", &["--no-wait"])?;
    demand_resets(story, &node, "restarter")?;
    node.delete(&["restarter"])?;

    node.create("faulter", "triplefault", &["--no-wait"])?;
    node.wait("faulter", "failed")?;
    let vm = node.vm("faulter")?;
    demand!(
        reason(&vm).contains("triple fault"),
        "a triple fault is not named: {vm}"
    );

    // With two virtual CPUs: a shutdown has to stop both.
    node.create("listener", "token", &["--vcpus", "2"])?;
    node.wait("listener", "console~cpus 2")?;
    node.wait("listener", "console~listening to")?;
    node.luc.run(&[
        "vm",
        "stop",
        "listener",
        "--yes",
        "--wait",
        "--timeout",
        "240s",
    ])?;
    node.wait("listener", "stopped")?;
    let log = node.luc.run(&["vm", "log", "listener"])?;
    demand!(
        log.contains(guest::BUTTON_LINE),
        "the guest heard no button: {log}"
    );

    node.delete(&["leaver", "faulter", "listener"])?;
    demand_ready(&node, &lan)
}

/// The guest is reset at least twice, and each time its program starts anew.
fn demand_resets(story: &Story, node: &Node, name: &str) -> Outcome {
    while node.vm(name)?["resets"].as_u64().unwrap_or(0) < 2 {
        demand!(
            !story.left().is_zero(),
            "{name} is not reset: {}",
            node.vm(name)?
        );
        std::thread::sleep(Duration::from_millis(300));
    }
    let log = node.luc.run(&["vm", "log", name])?;
    let token = guest::token(name, &story.supplies().guest.release);
    let starts = log.matches(&token).count();
    demand!(starts >= 2, "{starts} tokens after two resets");
    Ok::<(), Problem>(())
}

fn reason(vm: &Value) -> &str {
    vm["reason"].as_str().unwrap_or("")
}
