//! Nodes that solve overloads together, message by message.
#![allow(clippy::unwrap_used)]

use placement::overload::{Limits, Message, Output, Overloads, VmLoad};
use protocol::{NodeId, VmId};
use std::collections::VecDeque;

const CAPACITY: u32 = 100;

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn vm(number: u8, demand: u32) -> VmLoad {
    VmLoad {
        vm: VmId::from_bytes([number; 16]),
        demand,
        move_ms: 10,
    }
}

/// Nodes in a ring whose messages arrive at once, in order.
struct Town {
    nodes: Vec<Overloads>,
    on_the_way: VecDeque<(usize, Message)>,
    moves: Vec<(u8, u8)>,
    dead: Vec<usize>,
    now_ms: u64,
}

impl Town {
    /// A node for each list of VMs' demands; VM 23 is the third of node 2.
    fn new(loads: &[&[u32]]) -> Self {
        let count = loads.len();
        let near = |at: usize| -> Vec<NodeId> {
            (1..count)
                .map(|step| node(u8::try_from((at + step) % count).unwrap()))
                .collect()
        };
        let nodes = (0..count)
            .map(|at| {
                Overloads::new(
                    node(u8::try_from(at).unwrap()),
                    &near(at),
                    Limits::default(),
                )
            })
            .collect();
        Self {
            nodes,
            on_the_way: VecDeque::new(),
            moves: Vec::new(),
            dead: Vec::new(),
            now_ms: 0,
        }
    }

    fn load(&mut self, at: usize, demands: &[u32]) {
        let vms: Vec<VmLoad> = demands
            .iter()
            .zip(1..)
            .map(|(demand, number)| vm(u8::try_from(at).unwrap() * 10 + number, *demand))
            .collect();
        self.nodes[at].handle_load(self.now_ms, CAPACITY, &vms);
        self.collect(at);
    }

    fn collect(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].poll_output() {
            match output {
                Output::Send { to, message } => {
                    self.on_the_way
                        .push_back((usize::from(to.bytes()[0]), message));
                }
                Output::Move { vm, to } => self.moves.push((vm.bytes()[0], to.bytes()[0])),
            }
        }
    }

    fn deliver(&mut self) {
        for _ in 0..10_000 {
            let Some((to, message)) = self.on_the_way.pop_front() else {
                return;
            };
            if !self.dead.contains(&to) {
                self.nodes[to].handle_message(self.now_ms, message);
                self.collect(to);
            }
        }
        panic!("messages without end");
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        for at in 0..self.nodes.len() {
            self.nodes[at].handle_timeout(self.now_ms);
            self.collect(at);
        }
        self.deliver();
    }
}

fn town(loads: &[&[u32]]) -> Town {
    let mut town = Town::new(loads);
    // The quiet nodes know their load first.
    for at in (0..loads.len()).rev() {
        town.load(at, loads[at]);
    }
    town.deliver();
    town
}

#[test]
fn an_overload_goes_to_the_first_neighbour_with_room() {
    let town = town(&[&[50, 40, 30], &[95], &[50], &[10]]);
    assert_eq!(town.moves, [(3, 2)]); // 30 fit on node 2; node 3 was not even asked
    assert_eq!(town.nodes[2].counters.solved, 1);
    assert_eq!(town.nodes[3].next_timeout(), None);
}

#[test]
fn a_node_acts_shortly_before_it_is_overloaded() {
    assert_eq!(town(&[&[58, 39], &[10]]).moves, []); // 97 of 100
    assert_eq!(town(&[&[58, 40], &[10]]).moves, [(2, 1)]); // 98
}

/// Two nodes ask the same neighbour at once; DVMS would let the second wait.
#[test]
fn a_booked_node_joins_a_second_plan() {
    let loads: [&[u32]; 3] = [&[70, 40], &[70, 35], &[10]];
    let mut town = Town::new(&loads);
    town.load(2, loads[2]);
    town.load(0, loads[0]);
    town.load(1, loads[1]);
    town.deliver();
    town.moves.sort_unstable();
    assert_eq!(town.moves, [(2, 2), (12, 2)]);
}

#[test]
fn room_is_never_promised_twice() {
    // Node 2 has room for one of them only.
    let loads: [&[u32]; 3] = [&[70, 40], &[70, 40], &[50]];
    let mut town = Town::new(&loads);
    town.load(2, loads[2]);
    town.load(0, loads[0]);
    town.load(1, loads[1]);
    town.deliver();
    assert_eq!(town.moves.len(), 1, "{:?}", town.moves);
}

/// Neither can be solved alone: one has two VMs to give and the other place has one room.
#[test]
fn two_blocked_groups_become_one_and_what_cannot_be_solved_is_tried_anew() {
    let loads: [&[u32]; 2] = [&[60, 60], &[60, 60]];
    let mut town = Town::new(&loads);
    town.load(0, loads[0]);
    town.load(1, loads[1]);
    town.deliver();
    assert_eq!(town.moves, []);
    let counters = [town.nodes[0].counters, town.nodes[1].counters];
    assert!(
        counters.iter().any(|one| one.merged > 0 || one.blocked > 0),
        "{counters:?}"
    );
    let before = counters[0].started;
    town.pass(1_500);
    assert!(town.nodes[0].counters.started > before);
    town.load(1, &[20]); // now there is room
    town.pass(1_500);
    town.pass(1_500);
    assert_eq!(town.moves.len(), 1, "{:?}", town.moves);
}

#[test]
fn a_neighbour_that_died_with_the_group_is_waited_for_once() {
    let loads: [&[u32]; 3] = [&[70, 40], &[10], &[20]];
    let mut town = Town::new(&loads);
    town.dead.push(1);
    for at in [2, 1, 0] {
        town.load(at, loads[at]);
    }
    town.deliver();
    assert_eq!(town.moves, []);
    town.dead.clear(); // it restarts
    town.pass(3_999);
    assert_eq!(town.moves, []);
    town.pass(1);
    assert_eq!(town.moves, [(2, 1)]);
}

#[test]
fn a_vm_that_left_meanwhile_is_not_moved() {
    let loads: [&[u32]; 2] = [&[70, 40], &[95]];
    let mut town = Town::new(&loads);
    town.load(1, loads[1]);
    town.load(0, loads[0]);
    let grow = town.on_the_way.pop_front().unwrap();
    town.load(1, &[10]);
    town.load(0, &[70]); // VM 2 is gone
    town.on_the_way.push_back(grow);
    town.deliver();
    assert_eq!(town.moves, []);
    assert_eq!(town.nodes[0].next_timeout(), None); // the attempt is over
}
