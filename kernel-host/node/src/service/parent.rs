//! The node process's side of the talk with PID 1.
//!
//! Does:      heartbeats, standing, stages and lines to PID 1; its timeline and orders from it.
//! Does not:  end the run; PID 1 does.
//! Bounds:    a message that PID 1 has no room for is dropped; heartbeats and standings repeat.
//! Trusts:    PID 1.
//! Start at:  `listen`.

use super::{Node, kvm, memory_for_guests};
use crate::bell::Bell;
use crate::supervision::{End, Mark, State, ToInit, ToNode, console_text, decode, encode};
use cloud::Event;
use protocol::{Command, Selector, StopRequest, VmState};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use sys::seqpacket::{Received, receive_message, send_message};

/// PID 1 kills a process that is silent for a minute.
const HEARTBEAT_MS: u64 = 5_000;
/// What of PID 1's limit is kept for ending guests by force.
const FORCE_RESERVE_MS: u64 = 5_000;
/// The last answers get this long to reach their clients.
const FAREWELL_MS: u64 = 300;
/// The last words for the site and for the state disk.
const GOODBYE_MS: u64 = 3_000;

/// The socket to PID 1 and what came over it.
#[derive(Debug)]
pub(crate) struct Parent {
    socket: OwnedFd,
    timeline: RefCell<Vec<Mark>>,
    restarts: Cell<u32>,
    last_end: RefCell<Option<String>>,
    /// The drivers of what is plugged in are loaded.
    is_settled: Cell<bool>,
    settled_bell: Bell,
}

impl Parent {
    /// Takes the socket that PID 1 gave as stdin.
    pub fn on_stdin() -> io::Result<Parent> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        rustix::net::sockopt::socket_type(&socket)?;
        Ok(Parent::new(socket))
    }

    pub fn new(socket: OwnedFd) -> Parent {
        Parent {
            socket,
            timeline: RefCell::default(),
            restarts: Cell::default(),
            last_end: RefCell::default(),
            is_settled: Cell::default(),
            settled_bell: Bell::default(),
        }
    }

    /// Waits until PID 1 has loaded the drivers of what is plugged in.
    pub async fn until_settled(&self) {
        loop {
            let seen = self.settled_bell.rings();
            if self.is_settled.get() {
                return;
            }
            self.settled_bell.after(seen).await;
        }
    }

    pub fn settle(&self) {
        self.is_settled.set(true);
        self.settled_bell.ring();
    }

    pub fn say(&self, message: &ToInit) {
        if let Ok(bytes) = encode(message) {
            // No room: PID 1 is behind, and what matters is repeated. Gone: `listen` sees it.
            let _ = send_message(&self.socket, &bytes);
        }
    }

    pub fn stage(&self, stage: &str, text: &str) {
        self.say(&ToInit::Stage {
            stage: console_text(stage),
            text: console_text(text),
        });
    }

    pub fn line(&self, stage: &str, text: &str) {
        self.say(&ToInit::Line {
            stage: console_text(stage),
            text: console_text(text),
        });
    }

    pub fn timeline(&self) -> Vec<Mark> {
        self.timeline.borrow().clone()
    }

    pub fn restarts(&self) -> u32 {
        self.restarts.get()
    }

    /// Why the process before this one ended.
    pub fn last_end(&self) -> Option<String> {
        self.last_end.borrow().clone()
    }
}

/// Says that the loop turns. It also re-sends the standing, so that a lost one heals.
pub(crate) async fn heartbeats(node: Rc<Node>) {
    loop {
        node.parent.say(&ToInit::Heartbeat);
        node.publish();
        node.executor.sleep(HEARTBEAT_MS).await;
    }
}

/// Obeys PID 1 until its end of the socket closes.
pub(crate) async fn listen(node: Rc<Node>) {
    loop {
        match receive_message(&node.parent.socket) {
            Ok(Received::Message(bytes)) => {
                if let Some(message) = decode::<ToNode>(&bytes) {
                    obey(&node, message);
                }
            }
            Ok(Received::Empty) => {
                if node.executor.readable(&node.parent.socket).await.is_err() {
                    return;
                }
            }
            Ok(Received::End) | Err(_) => return,
        }
    }
}

fn obey(node: &Rc<Node>, message: ToNode) {
    match message {
        ToNode::Welcome(welcome) => {
            node.parent.timeline.replace(welcome.timeline);
            node.parent.restarts.set(welcome.restarts);
            node.parent.last_end.replace(welcome.last_end);
            if welcome.settled {
                node.parent.settle();
                kvm::find_out(node);
            }
        }
        ToNode::Timeline(marks) => {
            node.parent.timeline.replace(marks);
        }
        ToNode::DevicesSettled => {
            node.parent.settle();
            if node.cloud.borrow().vms().next().is_none() {
                // The drivers have taken theirs.
                let capacity = Event::Capacity(memory_for_guests());
                node.cloud.borrow_mut().handle_event(node.now(), capacity);
            }
            kvm::find_out(node);
        }
        ToNode::ShutDown { how, limit_ms, .. } => {
            if !node.going_down.replace(true) {
                let task = shut_down(node.clone(), how, limit_ms);
                if node.executor.spawn_detached(task).is_err() {
                    // Without a task to wait in, there is no time to give.
                    node.parent.say(&ToInit::Stopped);
                }
            }
        }
    }
}

/// Stops all VMs, then tells PID 1.
async fn shut_down(node: Rc<Node>, how: End, limit_ms: u64) {
    node.standing.borrow_mut().going_down(how);
    node.publish();
    let began_ms = node.executor.now_ms();
    let how = StopRequest {
        force: false,
        force_after_ms: Some(limit_ms.saturating_sub(FORCE_RESERVE_MS)),
    };
    let names: Vec<_> = node
        .cloud
        .borrow()
        .vms()
        .map(|vm| vm.name.to_string())
        .collect();
    for name in names {
        if let Ok(selector) = name.parse::<Selector>() {
            // A refusal means that the VM does not run, or is on its way out.
            let _ = node.command(Command::StopVm(selector, how).into());
        }
    }
    while node.executor.now_ms() < began_ms + limit_ms {
        let seen = node.cloud_bell.rings();
        if !any_runs(&node) {
            break;
        }
        let left_ms = (began_ms + limit_ms).saturating_sub(node.executor.now_ms());
        let _ = node
            .executor
            .timeout(left_ms, node.cloud_bell.after(seen))
            .await;
    }
    node.leave_peers();
    node.until_gone(GOODBYE_MS).await;
    node.executor.sleep(FAREWELL_MS).await;
    node.parent.say(&ToInit::Stopped);
}

fn any_runs(node: &Node) -> bool {
    let cloud = node.cloud.borrow();
    cloud
        .vms()
        .any(|vm| !matches!(vm.state, VmState::Stopped | VmState::Failed))
}

impl Node {
    /// Tells PID 1 the whole standing.
    pub fn publish(&self) {
        let mut status = self.standing.borrow().status();
        status.kvm = self.kvm.word();
        status.vms = u32::try_from(self.cloud.borrow().vms().count()).unwrap_or(u32::MAX);
        if self.going_down.get() {
            status.state = State::GoingDown;
        }
        self.parent.say(&ToInit::Status(status));
    }
}
