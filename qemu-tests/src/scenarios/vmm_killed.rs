//! A VM's monitor process may die; only its VM is lost.
//!
//! Does:      lets the node's kernel kill it, as it does when memory runs out, and looks at the
//!            rest.
//! Does not:  add a way to kill processes to the product: the kernel's SysRq key is pressed
//!            instead.
//! Bounds:    one machine, two VMs.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use super::checks::{demand_ready, process_count};
use crate::demand;
use crate::lan::Lan;
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "vmm-killed",
    promise: "when a VM's process is killed, the node lives and reports that VM as failed",
    limit: Duration::from_secs(300),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    // Debian's kernel hears only harmless SysRq keys unless told so.
    let boot = direct(story.supplies(), "sysrq_always_enabled");
    let machine = story.power_on(lan.plug(Shape::new("host", Firmware::Bios, boot))?)?;
    let mut node = Node::join(story, &lan, machine)?;
    node.add_guest_image(story)?;
    node.create("victim", "token", &[])?;
    node.wait_token(story, "victim")?;
    let before = process_count(&node.show()?);

    // Alt-SysRq-F: the kernel kills the process that it would kill if memory ran out. That must
    // be a VM, never the node or PID 1.
    node.machine.press_keys(&["alt", "sysrq", "f"])?;
    node.wait("victim", "failed")?;
    let vm = node.vm("victim")?;
    demand!(vm["reason"].is_string(), "no reason is given: {vm}");
    let after = process_count(&node.show()?);
    demand!(
        after < before,
        "{before} processes before, {after} after one was killed"
    );

    // The same VM starts again, and another one as well.
    node.luc
        .run(&["vm", "start", "victim", "--wait", "--timeout", "240s"])?;
    node.create("other", "token", &[])?;
    node.wait_token(story, "other")?;
    node.delete(&["victim", "other"])?;
    demand_ready(&node, &lan)
}
