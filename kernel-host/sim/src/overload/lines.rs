//! Migrations on the lines of their two nodes, which they share with others.

use super::Vm;
use std::collections::BTreeMap;

/// A migration's new end: `turn` tells it from ends that were told before.
#[derive(Debug)]
pub struct Timed {
    pub vm: usize,
    pub turn: u32,
    pub left_ms: u64,
}

#[derive(Debug)]
struct Running {
    from: usize,
    to: usize,
    left_bytes: u64,
    as_of_ms: u64,
    rate_bytes_ms: u64,
    turn: u32,
}

/// All migrations.
#[derive(Debug)]
pub struct Lines {
    bytes_ms: u64,
    running: BTreeMap<usize, Running>,
    /// The VMs that move over each node's line.
    over: Vec<Vec<usize>>,
}

impl Lines {
    pub fn new(nodes: usize, bytes_ms: u64) -> Self {
        Self {
            bytes_ms,
            running: BTreeMap::new(),
            over: vec![Vec::new(); nodes],
        }
    }

    pub fn is_moving(&self, vm: usize) -> bool {
        self.running.contains_key(&vm)
    }

    /// What will be gone from a node when its migrations have ended.
    pub fn demand_leaving(&self, node: usize, vms: &[Vm]) -> u32 {
        let leaves = |vm: &&usize| self.running.get(vm).is_some_and(|run| run.from == node);
        let leaving = self.over[node].iter().filter(leaves);
        leaving.map(|vm| vms[*vm].demand).sum()
    }

    pub fn demand_arriving(&self, node: usize, vms: &[Vm]) -> u32 {
        let comes = |vm: &&usize| self.running.get(vm).is_some_and(|run| run.to == node);
        let arriving = self.over[node].iter().filter(comes);
        arriving.map(|vm| vms[*vm].demand).sum()
    }

    /// Starts a migration; tells the new ends of all that share a line with it.
    pub fn start(
        &mut self,
        now_ms: u64,
        vm: usize,
        (from, to): (usize, usize),
        bytes: u64,
    ) -> Vec<Timed> {
        let run = Running {
            from,
            to,
            left_bytes: bytes,
            as_of_ms: now_ms,
            rate_bytes_ms: 0,
            turn: 0,
        };
        self.running.insert(vm, run);
        self.over[from].push(vm);
        self.over[to].push(vm);
        self.retime(now_ms, from, to)
    }

    /// A migration may have ended; `None`: that was an older end of it.
    pub fn end(&mut self, now_ms: u64, vm: usize, turn: u32) -> Option<(usize, Vec<Timed>)> {
        if self.running.get(&vm)?.turn != turn {
            return None;
        }
        let run = self.running.remove(&vm)?;
        for node in [run.from, run.to] {
            self.over[node].retain(|one| *one != vm);
        }
        Some((run.to, self.retime(now_ms, run.from, run.to)))
    }

    fn retime(&mut self, now_ms: u64, from: usize, to: usize) -> Vec<Timed> {
        let mut touched = [&self.over[from][..], &self.over[to][..]].concat();
        touched.sort_unstable();
        touched.dedup();
        let mut timed = Vec::new();
        for vm in touched {
            let Some(run) = self.running.get_mut(&vm) else {
                continue;
            };
            let sharing = self.over[run.from].len().max(self.over[run.to].len());
            let rate = self.bytes_ms / u64::try_from(sharing.max(1)).unwrap_or(1);
            let carried = (now_ms - run.as_of_ms) * run.rate_bytes_ms;
            run.left_bytes = run.left_bytes.saturating_sub(carried);
            run.as_of_ms = now_ms;
            if rate == run.rate_bytes_ms {
                continue; // its end stays
            }
            run.rate_bytes_ms = rate;
            run.turn += 1;
            timed.push(Timed {
                vm,
                turn: run.turn,
                left_ms: run.left_bytes.div_ceil(rate.max(1)),
            });
        }
        timed
    }
}
