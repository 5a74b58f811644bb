//! A group of nodes that solves an overload, as it travels from node to node.
//!
//! Does:      collects what its members can take and what must leave; finds moves that end every
//!            overload in it.
//! Does not:  hold anything: each member holds its own room for it.
//! Bounds:    `MEMBERS_MAX` members, `ASKED_MAX` nodes asked, `MERGED_MAX` groups merged.
//! Trusts:    members for what they say of themselves.
//! Start at:  `Partition::solve`.

use protocol::{NodeId, VmId};
use serde::{Deserialize, Serialize};

/// Members of a group; DVMS measured 2 to 5.
pub const MEMBERS_MAX: usize = 16;
/// Nodes that are asked before a group counts as blocked.
pub const ASKED_MAX: usize = 48;
/// Groups that become one.
pub const MERGED_MAX: usize = 4;

/// One VM as the group sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmLoad {
    pub vm: VmId,
    /// What it uses, in the unit of the node's capacity.
    pub demand: u32,
    /// How long moving it takes, alone on the line.
    pub move_ms: u32,
}

/// Which attempt of which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlanId {
    pub initiator: NodeId,
    pub attempt: u32,
}

/// What a node brought into a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub node: NodeId,
    /// Room that it holds for this group.
    pub room: u32,
    /// What must leave it.
    pub excess: u32,
    /// VMs that may leave: only of members with an excess.
    pub vms: Vec<VmLoad>,
}

/// A group on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its own id first, then those of groups that merged into it.
    pub ids: Vec<PlanId>,
    pub members: Vec<Member>,
    /// Nodes that were asked, members or not.
    pub asked: Vec<NodeId>,
}

/// A VM goes from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub vm: VmId,
    pub demand: u32,
    pub from: NodeId,
    pub to: NodeId,
}

impl Partition {
    /// Room that a new member should hold: what the largest overload needs at most.
    #[must_use]
    pub fn need(&self) -> u32 {
        let largest = |member: &Member| {
            let enough = member.vms.iter().map(|vm| vm.demand);
            enough.max().unwrap_or(0).max(member.excess)
        };
        self.members.iter().map(largest).max().unwrap_or(0)
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.members.len() >= MEMBERS_MAX || self.asked.len() >= ASKED_MAX
    }

    /// Moves that end every overload of the group, or `None`: it has to grow.
    #[must_use]
    pub fn solve(&self) -> Option<Vec<Move>> {
        let mut rooms: Vec<(NodeId, u32)> = self
            .members
            .iter()
            .map(|member| (member.node, member.room))
            .collect();
        let mut moves = Vec::new();
        for member in self.members.iter().filter(|member| member.excess > 0) {
            moves.extend(relieve(member, &mut rooms)?);
        }
        Some(moves)
    }

    /// Takes another group in. Members of both are kept once.
    pub fn merge(&mut self, other: Self) {
        let known = |members: &[Member], node| members.iter().any(|member| member.node == node);
        for member in other.members {
            if !known(&self.members, member.node) && self.members.len() < MEMBERS_MAX {
                self.members.push(member);
            }
        }
        self.ids.extend(other.ids);
        for node in other.asked {
            if !self.asked.contains(&node) && self.asked.len() < ASKED_MAX {
                self.asked.push(node);
            }
        }
    }
}

/// Moves that free one member: one VM where one is enough, the quickest to move of those; else
/// VM after VM, the largest first.
fn relieve(member: &Member, rooms: &mut [(NodeId, u32)]) -> Option<Vec<Move>> {
    let mut left = member.excess;
    let mut vms = member.vms.clone();
    let mut moves = Vec::new();
    while left > 0 {
        let most = roomiest(member.node, rooms)?;
        let fits = |vm: &&VmLoad| vm.demand > 0 && vm.demand <= rooms[most].1;
        let enough = vms.iter().filter(fits).filter(|vm| vm.demand >= left);
        let quickest = enough.min_by_key(|vm| (vm.move_ms, vm.demand, vm.vm));
        let largest = || vms.iter().filter(fits).max_by_key(|vm| (vm.demand, vm.vm));
        let vm = *quickest.or_else(largest)?;
        vms.retain(|other| other.vm != vm.vm);
        let to = tightest(member.node, rooms, vm.demand)?;
        rooms[to].1 -= vm.demand;
        left = left.saturating_sub(vm.demand);
        moves.push(Move {
            vm: vm.vm,
            demand: vm.demand,
            from: member.node,
            to: rooms[to].0,
        });
    }
    Some(moves)
}

fn roomiest(but: NodeId, rooms: &[(NodeId, u32)]) -> Option<usize> {
    let others = (0..rooms.len()).filter(|at| rooms[*at].0 != but);
    others.max_by_key(|at| (rooms[*at].1, rooms[*at].0))
}

/// The member with the least room that is enough: large rooms stay for large VMs.
fn tightest(but: NodeId, rooms: &[(NodeId, u32)], demand: u32) -> Option<usize> {
    let fits = |at: &usize| rooms[*at].0 != but && rooms[*at].1 >= demand;
    let others = (0..rooms.len()).filter(fits);
    others.min_by_key(|at| (rooms[*at].1, rooms[*at].0))
}

#[cfg(test)]
mod tests {
    use super::{Member, Partition, PlanId, VmLoad};
    use protocol::{NodeId, VmId};

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    fn member(number: u8, room: u32, excess: u32, vms: &[(u8, u32, u32)]) -> Member {
        let load = |(vm, demand, move_ms): &(u8, u32, u32)| VmLoad {
            vm: VmId::from_bytes([*vm; 16]),
            demand: *demand,
            move_ms: *move_ms,
        };
        let vms = vms.iter().map(load).collect();
        Member {
            node: node(number),
            room,
            excess,
            vms,
        }
    }

    fn moves(members: Vec<Member>) -> Option<Vec<(u8, u8)>> {
        let id = PlanId {
            initiator: node(1),
            attempt: 0,
        };
        let partition = Partition {
            ids: vec![id],
            members,
            asked: vec![],
        };
        let moves = partition.solve()?;
        let short = moves
            .iter()
            .map(|step| (step.vm.bytes()[0], step.to.bytes()[0]));
        Some(short.collect())
    }

    #[test]
    fn one_vm_that_is_enough_and_quick_to_move_goes() {
        let hot = [(11, 40, 900), (12, 60, 100), (13, 90, 500)];
        let group = |room| moves(vec![member(1, 0, 50, &hot), member(2, room, 0, &[])]);
        assert_eq!(group(100), Some(vec![(12, 2)]));
        assert_eq!(group(60), Some(vec![(12, 2)]));
        assert_eq!(group(50), None); // only 40 would fit, and it is not enough
        assert_eq!(group(0), None);
    }

    #[test]
    fn several_leave_when_none_is_enough_and_each_goes_where_it_fits_tightest() {
        let hot = [(11, 40, 1), (12, 60, 1), (13, 30, 1)];
        let members = vec![
            member(1, 0, 90, &hot),
            member(2, 100, 0, &[]),
            member(3, 60, 0, &[]),
        ];
        assert_eq!(moves(members), Some(vec![(12, 3), (13, 2)])); // 30 are left, and enough
    }

    #[test]
    fn merged_groups_solve_both_overloads() {
        let one = vec![member(1, 0, 30, &[(11, 40, 1)]), member(2, 45, 0, &[])];
        let mut both = one.clone();
        both.extend([member(4, 0, 30, &[(41, 40, 1)]), member(5, 41, 0, &[])]);
        assert_eq!(moves(both), Some(vec![(11, 5), (41, 2)]));
    }
}
