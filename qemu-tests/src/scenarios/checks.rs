//! What several scenarios demand of a node.
//!
//! Does:      says "ready" in one place: ping, API and state; and what our processes may use.
//! Does not:  start anything.
//! Bounds:    `RESIDENT_MAX` is the number the appliance promises.
//! Trusts:    nothing but what it checks.
//! Start at:  `demand_ready`.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::demand;
use crate::lan::Lan;
use crate::node::Node;
use crate::scenario::{Outcome, Problem};

/// What all processes of LUC OS may use when idle.
const RESIDENT_MAX: u64 = 48 * 1024 * 1024;
/// An emulated node answers a ping in milliseconds; a busy one in seconds.
const PING_MAX: Duration = Duration::from_secs(20);
/// The node runs a small VM to see whether KVM works, and is ready before it knows.
const PROBE_MAX: Duration = Duration::from_secs(60);
/// How often it is asked.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// The node answers a ping, and says itself that it is ready and can run VMs.
pub fn demand_ready(node: &Node, lan: &Lan) -> Outcome {
    lan.client().ping(node.address, PING_MAX)?;
    let show = settled(node)?;
    demand!(show["state"] == "ready", "the node is not ready: {show}");
    demand!(
        show["kvm"]["usable"] == true,
        "the node can't run VMs: {}",
        show["kvm"]
    );
    let address = node.address.to_string();
    let addresses = show["addresses"].to_string();
    demand!(
        addresses.contains(&address),
        "{address} is not among {addresses}"
    );
    let problems = node.machine.serial().all_with("] error ");
    demand!(
        problems.is_empty(),
        "the console shows errors: {problems:?}"
    );
    Ok(())
}

/// The node's account of itself, once it has found out whether it can run VMs.
fn settled(node: &Node) -> Result<Value, Problem> {
    let until = Instant::now() + PROBE_MAX;
    loop {
        let show = node.show()?;
        if show["kvm"]["usable"] == true || Instant::now() > until {
            return Ok(show);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Our own processes stay small.
pub fn demand_memory(node: &Node) -> Outcome {
    let resident = resident_bytes(&node.show()?)?;
    demand!(
        resident <= RESIDENT_MAX,
        "{resident} bytes resident, the most is {RESIDENT_MAX}"
    );
    Ok(())
}

/// Resident memory of all our processes, by the node's own account.
pub fn resident_bytes(show: &Value) -> Result<u64, Problem> {
    sum(show, |process| bytes(&process["resident"]))
}

/// Open files of all our processes.
pub fn open_files(show: &Value) -> Result<u64, Problem> {
    sum(show, |process| process["open_files"].as_u64())
}

/// How many processes are ours.
pub fn process_count(show: &Value) -> usize {
    show["processes"].as_array().map_or(0, Vec::len)
}

fn sum(show: &Value, part: impl Fn(&Value) -> Option<u64>) -> Result<u64, Problem> {
    let processes = show["processes"].as_array();
    let parts = processes.and_then(|all| all.iter().map(part).sum());
    parts.ok_or_else(|| Problem::Broken(format!("no usable list of processes: {show}")))
}

/// A byte count: a number, or a text like `12MiB`.
fn bytes(value: &Value) -> Option<u64> {
    if let Some(number) = value.as_u64() {
        return Some(number);
    }
    value
        .as_str()?
        .parse::<protocol::ByteCount>()
        .ok()
        .map(protocol::ByteCount::get)
}
