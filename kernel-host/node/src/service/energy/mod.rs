//! What the machine draws, and who it is charged to: Linux on one side, `energy` on the other.
//!
//! Does:      ticks the accountant, once a second while VMs run and rarely else; fulfils what the
//!            meters wish; charges itself for the time that takes.
//! Does not:  decide anything about power, or ask meters over the network yet.
//! Bounds:    those of `energy`; one reading thread for slow sensors.
//! Trusts:    /proc, /sys and its own clock.
//! Start at:  `watch`, then `Books::tick`.

mod books;
mod metrics;
mod told;

pub(crate) use books::{Energy, Working};
pub(crate) use metrics::metrics;

use super::Node;
use books::Books;
use energy::meter::{Answer, Fault, Files, MS, Uptime, Wish};
use std::rc::Rc;

/// While VMs run: guests never see their power finer than this either.
const TICK_MS: u64 = 1_000;
/// Without VMs. The smallest counters wrap after minutes, so nothing is missed.
const TICK_IDLE_MS: u64 = 10_000;

/// Keeps the books for as long as the node lives.
pub(crate) async fn watch(node: Rc<Node>) {
    node.energy.open(Books::of_machine());
    loop {
        tick(&node);
        let running = node.monitors.processes().next().is_some();
        let pause_ms = if running { TICK_MS } else { TICK_IDLE_MS };
        node.executor.sleep(pause_ms).await;
    }
}

/// One tick, charged to itself.
fn tick(node: &Rc<Node>) {
    let began_ns = sys::cpu_time::own_thread_ns();
    let now = Uptime(node.executor.now_ms() * MS);
    let vms = node.monitors.working();
    let slow = node.energy.with(|books| {
        let slow = books.read_meters(now);
        books.tick(now, &vms);
        slow
    });
    if let Some(Some(wish)) = slow {
        read_aside(node, wish);
    }
    let spent_ns = sys::cpu_time::own_thread_ns().saturating_sub(began_ns);
    node.energy.with(|books| books.spent(spent_ns));
}

/// Sensors behind firmware take their time, and get a thread of their own for it.
fn read_aside(node: &Rc<Node>, wish: Wish) {
    let handle = node.executor.clone();
    let books = node.clone();
    let task = async move {
        let read = crate::aside::run(&handle, "sensors", move || books::read_files(&wish)).await;
        let now = Uptime(handle.now_ms() * MS);
        books.energy.with(|books| match &read {
            Ok(files) => books.slow_answered(now, files),
            Err(error) => books.slow_failed(now, &error.to_string()),
        });
    };
    if let Err(error) = node.executor.spawn_detached(task) {
        let now = Uptime(node.executor.now_ms() * MS);
        node.energy
            .with(|books| books.slow_failed(now, &error.to_string()));
    }
}

/// How a meter is told what was read.
fn answer(files: &Files) -> Answer<'_> {
    Answer::Files(files)
}

fn unreachable(why: &str) -> Fault {
    Fault::Unreachable {
        why: protocol::limits::shortened(why, 80),
    }
}
