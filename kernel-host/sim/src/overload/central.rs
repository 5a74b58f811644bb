//! The yardstick: one scheduler that knows all nodes, looks every 30 s and then thinks.
//!
//! It gets the same limits and the same choice of VMs as our nodes have, and the load of each
//! node without a delay. What it has not is speed: its solver takes an eighth of a second a node,
//! at most 30 s, as VMPlaceS configures it.

use super::{CAPACITY, World, at_of, node_id};
use placement::overload::{Limits, Member, Partition};

/// How long the solver thinks.
pub fn solver_ms(nodes: usize) -> u64 {
    (u64::try_from(nodes).unwrap_or(0) * 125).min(30_000)
}

/// Moves for every overload that it sees: VM and target.
pub fn plan(world: &World) -> Vec<(usize, usize)> {
    let limits = Limits::default();
    let (start, fill) = (
        CAPACITY * limits.start_permille / 1000,
        CAPACITY * limits.fill_permille / 1000,
    );
    let member = |at: usize| {
        let leaving = world.lines.demand_leaving(at, &world.vms);
        let arriving = world.lines.demand_arriving(at, &world.vms);
        let expected = world.demand(at) + arriving - leaving;
        let is_hot = expected > start;
        let mut vms = world.loads(at);
        vms.retain(|load| is_hot && !world.lines.is_moving(at_of(load.vm.bytes())));
        Member {
            node: node_id(at),
            room: fill.saturating_sub(expected),
            excess: if is_hot { expected - fill } else { 0 },
            vms,
        }
    };
    let mut members: Vec<Member> = (0..world.nodes.len()).map(member).collect();
    let hot: Vec<Member> = members
        .iter()
        .filter(|member| member.excess > 0)
        .cloned()
        .collect();
    let mut moves = Vec::new();
    // One overload after the other, so that one that can't be solved does not spoil the rest.
    for one in hot {
        members.retain(|member| member.excess == 0);
        let mut all = vec![one];
        all.extend(members.iter().cloned());
        let partition = Partition {
            ids: Vec::new(),
            members: all,
            asked: Vec::new(),
        };
        for step in partition.solve().unwrap_or_default() {
            if let Some(target) = members.iter_mut().find(|member| member.node == step.to) {
                target.room = target.room.saturating_sub(step.demand);
            }
            moves.push((at_of(step.vm.bytes()), at_of(step.to.bytes())));
        }
    }
    moves
}
