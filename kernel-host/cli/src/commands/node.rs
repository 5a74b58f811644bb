//! `luc node ...`.
//!
//! Start at:  `run`.

use super::Session;
use crate::{
    Done,
    arguments::{NodePower, NodeVerb, OneNode},
    client::Client,
    confirm::{Decision, confirm},
    render::{Layout, check_columns},
    wait::{wait_for_reboot, wait_for_silence},
};
use protocol::{Code, Node, NodeEntry, PendingNode, Problem, Selector, VmState, Wish};
use std::time::Instant;

pub(super) fn run(verb: &NodeVerb, session: &mut Session<'_>) -> Done {
    match verb {
        NodeVerb::List { site } => {
            check_columns::<NodeEntry>(session.common)?;
            let nodes = session.client.list_nodes(site.as_ref())?;
            session.page(&nodes)
        }
        NodeVerb::Show(one) => show(one, session),
        NodeVerb::Pending => {
            check_columns::<PendingNode>(session.common)?;
            let pending = session.client.list_pending()?;
            session.if_empty(pending.items.is_empty(), "No machine waits.");
            session.page(&pending)
        }
        NodeVerb::Approve { code } => {
            check_columns::<PendingNode>(session.common)?;
            let approved = session.client.approve_node(code)?;
            session.show(&approved, Layout::Row)
        }
        NodeVerb::Remove { node, dry_run } => remove(node, *dry_run, session),
        NodeVerb::PowerOff(power) => power_off(power, session),
        NodeVerb::Reboot(power) => reboot(power, session),
    }
}

/// Requests for this node.
fn aimed(one: &OneNode, session: &Session<'_>) -> Client {
    session.client.aimed_at(Wish {
        node: one.node.clone(),
        site: None,
    })
}

/// The node's own word, or what the others know of one that does not answer.
fn show(one: &OneNode, session: &mut Session<'_>) -> Done {
    let silent = match (aimed(one, session).show_node(), &one.node) {
        (Ok(node), _) => {
            check_columns::<Node>(session.common)?;
            return session.show(&node, Layout::Card);
        }
        (Err(problem), Some(_)) if problem.code == Code::HostSilent => problem,
        (Err(problem), _) => return Err(problem),
    };
    let Some(node) = &one.node else {
        return Err(silent);
    };
    check_columns::<NodeEntry>(session.common)?;
    let entry = session.client.show_node_entry(node)?;
    session.show(&entry, Layout::Card)?;
    session.note(&[
        silent.detail,
        "this is what other nodes know of it".to_owned(),
    ]);
    Ok(protocol::problem::exit::DONE)
}

fn remove(node: &Selector, dry_run: bool, session: &mut Session<'_>) -> Done {
    check_columns::<NodeEntry>(session.common)?;
    let entry = session.client.show_node_entry(node)?;
    session.show_beforehand(std::slice::from_ref(&entry))?;
    let question = format!(
        "Remove node {} for ever; its virtual machines leave all lists with it",
        entry.name
    );
    match confirm(&question, dry_run, session.common, session.streams)? {
        Decision::Go => {}
        Decision::End(code) => return Ok(code),
    }
    let removed = session.client.remove_node(&entry.id.into())?;
    session.show(&removed, Layout::Row)
}

fn power_off(power: &NodePower, session: &mut Session<'_>) -> Done {
    check_columns::<Node>(session.common)?;
    let client = aimed(&power.one, session);
    let mut node = client.show_node()?;
    if let Decision::End(code) = decide(power, "Switch off", &node, session)? {
        return Ok(code);
    }
    node.state = client.power_off()?.state;
    if session.waits() {
        wait_for_silence(&client, session.common.timeout, session.teller())?;
    }
    session.show(&node, Layout::Row)
}

fn reboot(power: &NodePower, session: &mut Session<'_>) -> Done {
    check_columns::<Node>(session.common)?;
    let client = aimed(&power.one, session);
    let mut node = client.show_node()?;
    if let Decision::End(code) = decide(power, "Reboot", &node, session)? {
        return Ok(code);
    }
    let asked = Instant::now();
    node.state = client.reboot()?.state;
    if session.waits() {
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
    let vms = session.client.aimed_at(Wish {
        node: Some(node.id.into()),
        site: None,
    });
    let vms = vms.list_vms()?.items;
    let alive = vms
        .iter()
        .filter(|vm| !matches!(vm.state, VmState::Stopped | VmState::Failed | VmState::Lost));
    let alive = alive.count();
    session.show_beforehand(std::slice::from_ref(node))?;
    let question = format!("{verb} node {}, which ends {alive} running VMs", node.name);
    confirm(&question, power.dry_run, session.common, session.streams)
}
