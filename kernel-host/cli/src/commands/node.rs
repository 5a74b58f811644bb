//! `luc node ...`.
//!
//! Start at:  `run`.

use super::Session;
use crate::{
    Done,
    arguments::{NodePower, NodeVerb},
    client::Client,
    confirm::{Decision, confirm},
    render::{Layout, check_columns},
};
use protocol::{Node, PowerReply, Problem, VmState};

pub(super) fn run(verb: &NodeVerb, session: &mut Session<'_>) -> Done {
    check_columns::<Node>(session.common)?;
    match verb {
        NodeVerb::Show => {
            let node = session.client.show_node()?;
            session.show(&node, Layout::Card)
        }
        NodeVerb::PowerOff(power) => end(power, "Switch off", Client::power_off, session),
        NodeVerb::Reboot(power) => end(power, "Reboot", Client::reboot, session),
    }
}

fn end(
    power: &NodePower,
    verb: &str,
    act: fn(&Client) -> Result<PowerReply, Problem>,
    session: &mut Session<'_>,
) -> Done {
    let mut node = session.client.show_node()?;
    let vms = session.client.list_vms()?;
    let alive = vms
        .iter()
        .filter(|vm| !matches!(vm.state, VmState::Stopped | VmState::Failed));
    let alive = alive.count();
    session.show_beforehand(std::slice::from_ref(&node))?;
    let question = format!("{verb} node {}, which ends {alive} running VMs", node.name);
    match confirm(&question, power.dry_run, session.common, session.streams)? {
        Decision::Go => {}
        Decision::End(code) => return Ok(code),
    }
    node.state = act(&session.client)?.state;
    session.show(&node, Layout::Row)
}
