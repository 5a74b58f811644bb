//! Power may go at any time, and comes back; asked to, a node goes down by itself.
//!
//! Does:      cuts the power with a VM running, boots again, reboots by the API, and presses the
//!            button.
//! Does not:  expect VMs to survive: a node lives in RAM.
//! Bounds:    one machine, three boots.
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

/// How long a person waits before pressing again.
const PRESS_AGAIN: Duration = Duration::from_secs(8);

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "power",
    promise: "a node comes back after a power cut and after a reboot, and obeys its power button",
    limit: Duration::from_secs(420),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let shape = Shape::new("power", Firmware::Bios, direct(story.supplies(), ""));
    let shape = lan.plug(shape)?;
    let machine = story.power_on(shape.clone())?;
    let node = Node::join(story, &lan, machine)?;
    node.add_guest_image(story)?;
    node.create("victim", "token", &[])?;

    node.machine.switch_off()?; // as if the plug were pulled
    let machine = story.power_on(shape)?;
    let node = Node::join(story, &lan, machine)?;
    demand_ready(&node, &lan)?;
    let vms = node.luc.json(&["vm", "list"])?;
    demand!(
        !vms.to_string().contains("victim"),
        "a VM outlived the power cut: {vms}"
    );

    let seen = node.machine.serial().count();
    node.luc.run(&["node", "reboot", "--yes"])?;
    let serial = node.machine.serial();
    serial.wait_for_after(seen, "] reboot", story.left())?;
    serial.wait_for_after(seen, "] ready http://", story.left())?;

    let mut machine = node.machine;
    let seen = machine.serial().count();
    loop {
        // The button's driver is loaded after `ready`: a person presses again.
        machine.press_power()?;
        match machine
            .serial()
            .wait_for_after(seen, "] poweroff", PRESS_AGAIN)
        {
            Ok(_) => break,
            Err(problem) if story.left().is_zero() => return Err(problem.into()),
            Err(_) => {}
        }
    }
    machine.wait_off(story.left())?;
    Ok(())
}
