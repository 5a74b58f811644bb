//! `luc node ...`.
//!
//! Start at:  `run`.

use super::Session;
use crate::{
    Done,
    arguments::{NodePower, NodeVerb},
    confirm::{Decision, confirm},
    render::{Layout, check_columns},
    wait::{wait_for_reboot, wait_for_silence},
};
use protocol::{Node, Problem, VmState};
use std::time::Instant;

pub(super) fn run(verb: &NodeVerb, session: &mut Session<'_>) -> Done {
    check_columns::<Node>(session.common)?;
    match verb {
        NodeVerb::Show => {
            let node = session.client.show_node()?;
            session.show(&node, Layout::Card)
        }
        NodeVerb::PowerOff(power) => power_off(power, session),
        NodeVerb::Reboot(power) => reboot(power, session),
    }
}

fn power_off(power: &NodePower, session: &mut Session<'_>) -> Done {
    let mut node = session.client.show_node()?;
    if let Decision::End(code) = decide(power, "Switch off", &node, session)? {
        return Ok(code);
    }
    node.state = session.client.power_off()?.state;
    if session.waits() {
        let client = session.client.clone();
        wait_for_silence(&client, session.common.timeout, session.teller())?;
    }
    session.show(&node, Layout::Row)
}

fn reboot(power: &NodePower, session: &mut Session<'_>) -> Done {
    let mut node = session.client.show_node()?;
    if let Decision::End(code) = decide(power, "Reboot", &node, session)? {
        return Ok(code);
    }
    let asked = Instant::now();
    node.state = session.client.reboot()?.state;
    if session.waits() {
        let client = session.client.clone();
        node = wait_for_reboot(&client, asked, session.common.timeout, session.teller())?;
    }
    session.show(&node, Layout::Row)
}

/// Shows what would end, and asks.
fn decide(
    power: &NodePower,
    verb: &str,
    node: &Node,
    session: &mut Session<'_>,
) -> Result<Decision, Problem> {
    let vms = session.client.list_vms()?;
    let alive = vms
        .iter()
        .filter(|vm| !matches!(vm.state, VmState::Stopped | VmState::Failed));
    let alive = alive.count();
    session.show_beforehand(std::slice::from_ref(node))?;
    let question = format!("{verb} node {}, which ends {alive} running VMs", node.name);
    confirm(&question, power.dry_run, session.common, session.streams)
}
