//! The end of a run: VMs first, then our processes, then the machine.
//!
//! Does:      tells the node process, waits for it with a limit, kills what is left, ends the run.
//! Does not:  ask twice: the first reason decides whether it is a power-off or a reboot.
//! Bounds:    `VMS_LIMIT_MS` for the VMs' own shutdown, `NODE_LIMIT_MS` more for the node process.
//! Trusts:    nobody to obey: every wait ends.
//! Start at:  `Init::end`.

use super::Init;
use crate::supervision::{End, State, ToNode};
use std::time::Duration;
use sys::clock::uptime_ms;

/// What a guest gets to write its disks. A guest that needs longer is stopped.
const VMS_LIMIT_MS: u64 = 30_000;
/// What the node process gets beyond that.
const NODE_LIMIT_MS: u64 = 5_000;
/// What a serial line gets to send the last words.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// An end that is under way.
#[derive(Debug)]
pub(super) struct Ending {
    how: End,
    at_ms: u64,
}

impl Ending {
    pub(super) fn next_timeout_ms(&self) -> u64 {
        self.at_ms
    }
}

impl Init {
    /// Begins the end. Later calls change nothing.
    pub(super) fn end(&mut self, how: End, reason: &str) {
        if self.ending.is_some() {
            return;
        }
        self.line(
            how.stage(),
            &format!("asked for by {reason}: stopping the VMs"),
        );
        self.status.state = State::GoingDown;
        self.status.waits_for = Some(format!("{} VMs to stop", self.status.vms));
        let reason = reason.to_owned();
        self.supervisor.tell(&ToNode::ShutDown {
            how,
            reason,
            limit_ms: VMS_LIMIT_MS,
        });
        let at_ms = match self.supervisor.socket() {
            Some(_) => uptime_ms() + VMS_LIMIT_MS + NODE_LIMIT_MS,
            None => uptime_ms(),
        };
        self.ending = Some(Ending { how, at_ms });
    }

    /// The node process has stopped all VMs.
    pub(super) fn node_stopped(&mut self) {
        if let Some(ending) = &mut self.ending {
            ending.at_ms = uptime_ms();
        }
    }

    /// Ends the run when the time has come, or when the node process is gone.
    pub(super) fn continue_ending(&mut self, now_ms: u64) {
        let Some(ending) = &self.ending else { return };
        if now_ms < ending.at_ms && self.supervisor.socket().is_some() {
            return;
        }
        let how = ending.how;
        // Whoever is left had its time.
        let _ = self.vm_group.kill();
        let _ = self.node_group.kill();
        self.line(how.stage(), "now");
        self.repaint();
        self.consoles.drain(DRAIN_LIMIT);
        let end = match how {
            End::PowerOff => {
                // A watchdog that outlives the power-off would switch some machines on again.
                if let Some(Err(error)) = self.watchdog.take().map(sys::watchdog::Watchdog::disarm)
                {
                    self.warn(&format!("the watchdog can't be disarmed: {error}"));
                }
                sys::power::End::PowerOff
            }
            End::Reboot => sys::power::End::Reboot,
        };
        let error = sys::power::end(end);
        panic!("the kernel refused to {}: {error}", how.stage());
    }
}
