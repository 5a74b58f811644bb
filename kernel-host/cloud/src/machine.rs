//! One VM's life: which state follows which event, and why.
//!
//! Does:      moves one VM through its states, asks for its process and for its end.
//! Does not:  find VMs, check names or reserve memory for others.
//! Bounds:    one process at a time; a guest that resets itself for ever gets a new process at
//!            most every `RESPAWN_PAUSE_MS`.
//! Trusts:    the node tells the end of each process; a process is never assumed dead before.
//! Start at:  the table above `process::Ending`, then `Machine::handle_event`.

use crate::{
    Counters, Disk, Ended, Launch, Output, Refusal, VmEvent,
    memory::Budget,
    process::{Ending, PendingStop, Process, told},
};
use protocol::{ByteCount, Digest, Moment, StopRequest, Vm, VmStage, VmStageName, VmState, limits};
use std::collections::VecDeque;

/// Least time between two processes of one VM whose guest resets itself.
const RESPAWN_PAUSE_MS: u64 = 1_000;

/// A process that was killed, or whose guest is off, ends within this, or is killed (again).
const EXIT_PATIENCE_MS: u64 = 10_000;

/// What a machine needs to act on the world.
#[derive(Debug)]
pub(crate) struct Hands<'a> {
    pub now: Moment,
    pub outputs: &'a mut VecDeque<Output>,
    pub budget: &'a mut Budget,
    pub counters: &'a mut Counters,
}

/// What does not change from start to start.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub kernel: Digest,
    pub initrd: Option<Digest>,
    pub disk: Option<Disk>,
    pub cmdline: String,
}

/// Whether the VM still exists after an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Stays,
    Gone,
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub vm: Vm,
    /// `None`: it comes from before the node's last start, and its image has to be found again.
    recipe: Option<Recipe>,
    process: Option<Process>,
    /// No process now, but one at this time: its guest was reset.
    respawn_at_ms: Option<u64>,
    /// Held as long as there is a process or one is due.
    running_bytes: ByteCount,
    /// Held as long as the VM exists.
    disk_bytes: ByteCount,
}

impl Machine {
    /// Reserves what the VM needs and asks for its first process.
    pub fn create(
        vm: Vm,
        recipe: Recipe,
        disk_bytes: ByteCount,
        hands: &mut Hands<'_>,
    ) -> Result<Self, Refusal> {
        let running_bytes = vm.spec.memory.saturating_add(limits::VM_OVERHEAD);
        let all = running_bytes.saturating_add(disk_bytes);
        hands.budget.reserve(all, &format!("VM `{}`", vm.name))?;
        let (process, respawn_at_ms) = (None, None);
        let mut made = Self {
            vm,
            recipe: Some(recipe),
            process,
            respawn_at_ms,
            running_bytes,
            disk_bytes,
        };
        made.spawn(hands);
        Ok(made)
    }

    /// A VM from before the node's last start: no process, nothing held.
    pub fn restored(vm: Vm) -> Self {
        Self {
            vm,
            recipe: None,
            process: None,
            respawn_at_ms: None,
            running_bytes: ByteCount::ZERO,
            disk_bytes: ByteCount::ZERO,
        }
    }

    pub fn needs_recipe(&self) -> bool {
        self.recipe.is_none()
    }

    /// Starts a restored VM from its image, found again. On refusal nothing is held.
    pub fn start_anew(
        &mut self,
        recipe: Recipe,
        disk_bytes: ByteCount,
        hands: &mut Hands<'_>,
    ) -> Result<(), Refusal> {
        hands
            .budget
            .reserve(disk_bytes, &format!("VM `{}`", self.vm.name))?;
        (self.disk_bytes, self.recipe) = (disk_bytes, Some(recipe));
        self.start(hands).inspect_err(|_| {
            hands.budget.release(std::mem::take(&mut self.disk_bytes));
            self.recipe = None;
        })
    }

    /// Memory it holds now.
    pub fn reserved(&self) -> ByteCount {
        self.running_bytes.saturating_add(self.disk_bytes)
    }

    pub fn next_timeout(&self) -> Option<u64> {
        let process = self.process.as_ref();
        let stop = process.and_then(|process| process.stop.map(|stop| stop.until_ms));
        let kill = process.and_then(|process| process.kill_at_ms);
        [stop, kill, self.respawn_at_ms].into_iter().flatten().min()
    }

    pub fn start(&mut self, hands: &mut Hands<'_>) -> Result<(), Refusal> {
        match self.vm.state {
            VmState::Creating | VmState::Starting | VmState::Running => Ok(()),
            VmState::Stopping | VmState::Deleting | VmState::Lost => {
                Err(self.wrong_state("only a stopped or failed VM can be started"))
            }
            VmState::Stopped | VmState::Failed => {
                let bytes = self.vm.spec.memory.saturating_add(limits::VM_OVERHEAD);
                hands
                    .budget
                    .reserve(bytes, &format!("VM `{}`", self.vm.name))?;
                self.running_bytes = bytes;
                self.spawn(hands);
                Ok(())
            }
        }
    }

    pub fn stop(&mut self, how: StopRequest, hands: &mut Hands<'_>) -> Result<(), Refusal> {
        match self.vm.state {
            VmState::Stopped | VmState::Failed => Ok(()),
            VmState::Deleting | VmState::Lost => {
                Err(self.wrong_state("it can't be stopped any more"))
            }
            VmState::Creating | VmState::Starting => {
                self.end(
                    Ending::Stopped(Some("stopped before its guest ran".to_owned())),
                    hands,
                );
                Ok(())
            }
            VmState::Running | VmState::Stopping if how.force => {
                self.end(Ending::Stopped(Some("ended by force".to_owned())), hands);
                Ok(())
            }
            VmState::Running | VmState::Stopping => {
                self.press_power_button(how.force_after_ms, hands);
                Ok(())
            }
        }
    }

    pub fn reset(&mut self, hands: &mut Hands<'_>) -> Result<(), Refusal> {
        let running = self.vm.state == VmState::Running;
        let Some(process) = self.process.as_ref().filter(|_| running) else {
            return Err(self.wrong_state("only a running VM can be reset"));
        };
        hands.outputs.push_back(Output::ResetVm {
            vm: self.vm.id,
            run: process.run,
        });
        self.set_state(
            VmState::Starting,
            Some("reset by request".to_owned()),
            hands,
        );
        Ok(())
    }

    /// Ends the process, if there is one; a guest's memory is lost with it.
    pub fn delete(&mut self, hands: &mut Hands<'_>) -> Fate {
        self.end(Ending::Deleted, hands)
    }

    /// An event of process `run`. Events of other runs are late: ignored and counted.
    pub fn handle_event(&mut self, run: u32, what: VmEvent, hands: &mut Hands<'_>) -> Fate {
        if self
            .process
            .as_ref()
            .is_none_or(|process| process.run != run)
        {
            hands.counters.stale_events += 1;
            return Fate::Stays;
        }
        match what {
            VmEvent::VmmStarted => {
                self.note(VmStageName::VmmStarted, hands.now);
                if self.vm.state == VmState::Creating {
                    self.set_state(VmState::Starting, None, hands);
                }
            }
            VmEvent::Running => self.guest_runs(hands),
            VmEvent::FirstOutput => self.note(VmStageName::FirstOutput, hands.now),
            VmEvent::GuestReset => self.guest_reset(hands),
            VmEvent::GuestShutdown => self.guest_shut_down(hands),
            VmEvent::TripleFault => {
                let why = "the guest's CPU gave up (triple fault)".to_owned();
                self.end(Ending::Failed(why), hands);
            }
            VmEvent::Failed { stage, reason } => {
                self.end(Ending::Failed(format!("{stage}: {reason}")), hands);
            }
            VmEvent::Exited(ended) => return self.process_ended(&ended, hands),
        }
        Fate::Stays
    }

    pub fn handle_timeout(&mut self, hands: &mut Hands<'_>) {
        let now_ms = hands.now.uptime_ms;
        if self.respawn_at_ms.is_some_and(|at| at <= now_ms) {
            self.respawn_at_ms = None;
            self.spawn(hands);
        }
        let Some(process) = &mut self.process else {
            return;
        };
        if process.kill_at_ms.is_some_and(|at| at <= now_ms) {
            process.kill_at_ms = Some(now_ms + EXIT_PATIENCE_MS);
            let run = process.run;
            hands.counters.kills_repeated += 1;
            hands.outputs.push_back(Output::KillVm {
                vm: self.vm.id,
                run,
            });
        }
        let Some(stop) = self.process.as_ref().and_then(|process| process.stop) else {
            return;
        };
        if stop.until_ms > now_ms {
            return;
        }
        if stop.force {
            let why = "the guest did not shut down in time: ended by force".to_owned();
            self.end(Ending::Stopped(Some(why)), hands);
        } else {
            self.forget_stop();
            let why = "the guest ignored the power button".to_owned();
            self.set_state(VmState::Running, Some(why), hands);
        }
    }

    fn wrong_state(&self, wanted: &'static str) -> Refusal {
        Refusal::WrongState {
            name: self.vm.name.clone(),
            state: self.vm.state,
            wanted,
        }
    }

    fn set_state(&mut self, state: VmState, reason: Option<String>, hands: &mut Hands<'_>) {
        let reason = reason.map(|why| limits::shortened(&why, limits::REASON_CHARS_MAX));
        if self.vm.state == state && self.vm.reason == reason && self.vm.starts > 0 {
            return;
        }
        if self.vm.state != state {
            self.vm.changed_at = hands.now.wall;
        }
        self.vm.state = state;
        self.vm.reason.clone_from(&reason);
        let (vm, name) = (self.vm.id, self.vm.name.clone());
        hands.outputs.push_back(Output::VmChanged {
            vm,
            name,
            state,
            reason,
        });
    }

    /// Notes a step of this start, once.
    fn note(&mut self, stage: VmStageName, now: Moment) {
        let Some(process) = &self.process else { return };
        if self.vm.timeline.iter().all(|step| step.stage != stage) {
            let at_ms = now.uptime_ms.saturating_sub(process.spawned_ms);
            self.vm.timeline.push(VmStage { stage, at_ms });
        }
    }

    fn spawn(&mut self, hands: &mut Hands<'_>) {
        debug_assert!(self.process.is_none(), "one process at a time");
        let Some(recipe) = &self.recipe else {
            debug_assert!(false, "started without a recipe");
            return;
        };
        let (kernel, initrd, disk) = (recipe.kernel, recipe.initrd, recipe.disk);
        let cmdline = recipe.cmdline.clone();
        let state = if self.vm.starts == 0 {
            VmState::Creating
        } else {
            VmState::Starting
        };
        self.set_state(state, None, hands);
        self.vm.starts += 1;
        let run = self.vm.starts;
        let spawned_ms = hands.now.uptime_ms;
        self.process = Some(Process::new(run, spawned_ms));
        self.vm.timeline.clear();
        self.note(VmStageName::Asked, hands.now);
        hands.outputs.push_back(Output::SpawnVm(Launch {
            vm: self.vm.id,
            run,
            name: self.vm.name.clone(),
            vcpus: self.vm.spec.vcpus,
            memory: self.vm.spec.memory,
            cmdline,
            kernel,
            initrd,
            disk,
        }));
    }

    fn press_power_button(&mut self, force_after_ms: Option<u64>, hands: &mut Hands<'_>) {
        let Some(process) = &mut self.process else {
            return;
        };
        if process.ending != Ending::Unasked {
            return; // its end is under way already
        }
        let patience_ms = force_after_ms.unwrap_or(limits::POWER_BUTTON_PATIENCE_MS);
        let until_ms = hands.now.uptime_ms + patience_ms;
        process.stop = Some(PendingStop {
            until_ms,
            force: force_after_ms.is_some(),
        });
        let run = process.run;
        hands.outputs.push_back(Output::PressPowerButton {
            vm: self.vm.id,
            run,
        });
        self.set_state(VmState::Stopping, None, hands);
    }

    fn forget_stop(&mut self) {
        if let Some(process) = &mut self.process {
            process.stop = None;
        }
    }

    fn guest_runs(&mut self, hands: &mut Hands<'_>) {
        self.note(VmStageName::GuestRunning, hands.now);
        if let Some(process) = &mut self.process
            && process.ending == Ending::Respawn
        {
            process.ending = Ending::Unasked;
        }
        if matches!(self.vm.state, VmState::Creating | VmState::Starting) {
            self.set_state(VmState::Running, None, hands);
        }
    }

    fn guest_reset(&mut self, hands: &mut Hands<'_>) {
        self.vm.resets = self.vm.resets.saturating_add(1);
        hands.counters.guest_resets += 1;
        let Some(process) = &mut self.process else {
            return;
        };
        if process.stop.is_some() {
            let why = "the guest reset itself when it was asked to shut down".to_owned();
            self.end(Ending::Stopped(Some(why)), hands);
        } else if process.ending == Ending::Unasked {
            process.ending = Ending::Respawn;
            self.set_state(
                VmState::Starting,
                Some("the guest was reset".to_owned()),
                hands,
            );
        }
    }

    fn guest_shut_down(&mut self, hands: &mut Hands<'_>) {
        let Some(process) = &mut self.process else {
            return;
        };
        let asked = process.stop.take().is_some();
        let why = if asked {
            None
        } else {
            Some("the guest shut itself down".to_owned())
        };
        if matches!(process.ending, Ending::Unasked | Ending::Respawn) {
            process.ending = Ending::Stopped(why.clone());
            process.kill_at_ms = Some(hands.now.uptime_ms + EXIT_PATIENCE_MS);
            self.set_state(VmState::Stopping, why, hands);
        }
    }

    /// Sets what the VM becomes, and ends its process if there is one.
    fn end(&mut self, ending: Ending, hands: &mut Hands<'_>) -> Fate {
        let state = match ending {
            Ending::Deleted => VmState::Deleting,
            _ => VmState::Stopping,
        };
        let Some(process) = &mut self.process else {
            self.respawn_at_ms = None;
            return self.settle(ending, hands);
        };
        let wins = match process.ending {
            Ending::Unasked | Ending::Respawn => true,
            Ending::Stopped(_) | Ending::Failed(_) => ending == Ending::Deleted,
            Ending::Deleted => false,
        };
        if wins {
            process.ending = ending.clone();
        }
        process.stop = None;
        process.kill_at_ms = Some(hands.now.uptime_ms + EXIT_PATIENCE_MS);
        let run = process.run;
        hands.outputs.push_back(Output::KillVm {
            vm: self.vm.id,
            run,
        });
        if wins {
            let reason = match ending {
                Ending::Stopped(why) => why,
                Ending::Failed(why) => Some(why),
                _ => None,
            };
            self.set_state(state, reason, hands);
        }
        Fate::Stays
    }

    fn process_ended(&mut self, ended: &Ended, hands: &mut Hands<'_>) -> Fate {
        let Some(process) = self.process.take() else {
            return Fate::Stays;
        };
        if process.ending == Ending::Respawn {
            let due = process.spawned_ms + RESPAWN_PAUSE_MS;
            self.respawn_at_ms = Some(due.max(hands.now.uptime_ms));
            return Fate::Stays;
        }
        let clean = process.stop.is_some() && *ended == Ended::Code(0);
        let ending = match process.ending {
            Ending::Unasked if clean => Ending::Stopped(None),
            Ending::Unasked => Ending::Failed(told(ended)),
            other => other,
        };
        self.settle(ending, hands)
    }

    /// There is no process any more, and none is due.
    fn settle(&mut self, ending: Ending, hands: &mut Hands<'_>) -> Fate {
        hands
            .budget
            .release(std::mem::take(&mut self.running_bytes));
        match ending {
            Ending::Deleted => {
                hands.budget.release(std::mem::take(&mut self.disk_bytes));
                hands.counters.vms_deleted += 1;
                let (vm, name) = (self.vm.id, self.vm.name.clone());
                hands.outputs.push_back(Output::ForgetVm { vm, name });
                return Fate::Gone;
            }
            Ending::Failed(why) => {
                hands.counters.vms_failed += 1;
                self.set_state(VmState::Failed, Some(why), hands);
            }
            Ending::Stopped(why) => self.set_state(VmState::Stopped, why, hands),
            Ending::Unasked | Ending::Respawn => {
                debug_assert!(false, "an end without an ending");
            }
        }
        Fate::Stays
    }

    /// Panics if this VM contradicts itself.
    pub fn check(&self) {
        let alive = self.process.is_some() || self.respawn_at_ms.is_some();
        let settled = matches!(self.vm.state, VmState::Stopped | VmState::Failed);
        assert_eq!(
            alive, !settled,
            "{:?} with process {:?}",
            self.vm, self.process
        );
        assert_eq!(
            alive,
            self.running_bytes != ByteCount::ZERO,
            "memory of {:?}",
            self.vm
        );
        assert!(
            self.process.is_none() || self.respawn_at_ms.is_none(),
            "two lives"
        );
    }
}
