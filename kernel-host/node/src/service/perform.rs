//! Performs what the cloud asks.
//!
//! Does:      commands and events in, outputs performed in their order, deadlines kept.
//! Does not:  decide anything.
//! Bounds:    outputs are bounded by the cloud; each is performed at once or handed to a task.
//! Trusts:    the cloud.
//! Start at:  `Node::command`.

use super::{Node, monitor};
use cloud::{Event, Output, Refusal};
use protocol::{Answer, Command, ConsoleNotice, Request, VmState};
use std::rc::Rc;

impl Node {
    /// Does what a client asks; what the answer promises is done when this returns.
    pub fn command(self: &Rc<Self>, request: Request) -> Result<Answer, Refusal> {
        let piece = match &request.command {
            Command::PutBlob { digest, .. } => Some(*digest),
            _ => None,
        };
        let answer = self.cloud.borrow_mut().handle(self.now(), request);
        self.perform();
        match (answer, piece) {
            (Ok(_), Some(digest)) => self.stored(digest),
            (answer, _) => answer,
        }
    }

    /// What there is of a blob after a piece of it was stored, or that storing failed: then the
    /// cloud has forgotten the blob by now.
    fn stored(&self, digest: protocol::Digest) -> Result<Answer, Refusal> {
        let request = Request {
            command: Command::ShowBlob(digest),
            retry: None,
        };
        let answer = self.cloud.borrow_mut().handle(self.now(), request);
        answer.map_err(|_| Refusal::StorageFailed { digest })
    }

    /// Tells the cloud what happened.
    pub fn event(self: &Rc<Self>, event: Event) {
        self.cloud.borrow_mut().handle_event(self.now(), event);
        self.perform();
    }

    pub(super) fn perform(self: &Rc<Self>) {
        loop {
            // A binding of its own: the borrow must end before the output is performed.
            let output = self.cloud.borrow_mut().poll_output();
            match output {
                Some(output) => self.perform_one(output),
                None => break,
            }
        }
        self.cloud_bell.ring();
    }

    fn perform_one(self: &Rc<Self>, output: Output) {
        match output {
            Output::SpawnVm(launch) => monitor::spawn(self, launch),
            Output::PressPowerButton { vm, run } => self.monitors.press_power_button(vm, run),
            Output::ResetVm { vm, run } => self.monitors.reset(vm, run),
            Output::KillVm { vm, run } => self.monitors.kill(vm, run),
            Output::ForgetVm { vm, name } => {
                self.monitors.forget(vm);
                self.energy.close(vm);
                if let Some(console) = self.consoles.borrow_mut().remove(&vm) {
                    console.end();
                }
                self.line("vm", &format!("{name} deleted"));
                self.saw("vm", Some(self.facts.id.get()), name.as_str(), "deleted");
                self.publish();
            }
            Output::VmChanged {
                vm,
                name,
                state,
                reason,
            } => {
                let why = reason
                    .as_ref()
                    .map(|why| format!(": {why}"))
                    .unwrap_or_default();
                self.line("vm", &format!("{name} {state}{why}"));
                let told = format!("{state}{why}");
                self.saw("vm", Some(self.facts.id.get()), name.as_str(), &told);
                if state != VmState::Deleting {
                    self.console(vm)
                        .tell(&ConsoleNotice::State { state, reason });
                }
                self.publish();
            }
            Output::CreateBlob { digest, size } => {
                let result = self.storage.borrow_mut().create(digest, size);
                self.blob_result(digest, result);
            }
            Output::AppendBlob {
                digest,
                offset,
                bytes,
            } => {
                let result = self.storage.borrow_mut().append(digest, offset, &bytes);
                self.blob_result(digest, result);
            }
            Output::SealBlob { digest } => {
                let result = self.storage.borrow_mut().seal(digest);
                self.blob_result(digest, result);
            }
            Output::Publish(fact) => {
                if self.tell(None, fact).is_err() {
                    super::count(&self.counters.facts_refused);
                }
            }
            Output::DropBlob { digest } => self.storage.borrow_mut().drop_blob(digest),
        }
    }

    fn blob_result(&self, digest: protocol::Digest, result: std::io::Result<()>) {
        if let Err(error) = result {
            self.line(
                "error",
                &format!("storing blob {}: {error}", digest.short()),
            );
            // The outputs that this causes come after the ones at hand: the loop goes on.
            let event = Event::BlobFailed { digest };
            self.cloud.borrow_mut().handle_event(self.now(), event);
        }
    }
}

/// Keeps the cloud's deadlines.
pub(crate) async fn deadlines(node: Rc<Node>) {
    loop {
        let seen = node.cloud_bell.rings();
        let next = node.cloud.borrow().next_timeout();
        match next {
            Some(at_ms) if at_ms <= node.executor.now_ms() => {
                node.cloud.borrow_mut().handle_timeout(node.now());
                node.perform();
            }
            Some(at_ms) => {
                let left_ms = at_ms - node.executor.now_ms().min(at_ms);
                let _ = node
                    .executor
                    .timeout(left_ms, node.cloud_bell.after(seen))
                    .await;
            }
            None => {
                node.cloud_bell.after(seen).await;
            }
        }
    }
}
