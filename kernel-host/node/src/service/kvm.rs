//! Whether this machine can run virtual machines; found out once, by running one.
//!
//! Does:      probes on a thread of its own, lets requests wait for the answer.
//! Does not:  probe again: what the firmware allows does not change while the machine runs.
//! Bounds:    one probe, which ends by itself; a request waits at most `WAIT_MS`.
//! Trusts:    `machine::probe`.
//! Start at:  `find_out`, then `Node::need_kvm`.

use super::Node;
use crate::bell::Bell;
use protocol::{Code, KvmStatus, Problem};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

/// Devices may still be loading when the first request comes.
const WAIT_MS: u64 = 20_000;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    reason: String,
    advice: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Kvm {
    begun: Cell<bool>,
    answer: RefCell<Option<Result<(), Trouble>>>,
    bell: Bell,
}

impl Kvm {
    /// Decides without a probe.
    #[cfg(test)]
    pub fn decide_for_test(&self, usable: bool) {
        let trouble = Trouble {
            reason: "switched off".to_owned(),
            advice: "for this test".to_owned(),
        };
        self.answer
            .replace(Some(if usable { Ok(()) } else { Err(trouble) }));
    }

    /// For the status page.
    pub fn word(&self) -> String {
        match &*self.answer.borrow() {
            None => "not known yet".to_owned(),
            Some(Ok(())) => "usable".to_owned(),
            Some(Err(trouble)) => format!("not usable: {}", trouble.reason),
        }
    }

    /// For the API.
    pub fn status(&self) -> KvmStatus {
        match &*self.answer.borrow() {
            None => KvmStatus {
                usable: false,
                detail: Some("not known yet".to_owned()),
            },
            Some(Ok(())) => KvmStatus {
                usable: true,
                detail: None,
            },
            Some(Err(trouble)) => {
                let detail = format!("{}. {}", trouble.reason, trouble.advice);
                KvmStatus {
                    usable: false,
                    detail: Some(detail),
                }
            }
        }
    }
}

/// Begins the probe; later calls change nothing.
pub(crate) fn find_out(node: &Rc<Node>) {
    if node.kvm.begun.replace(true) {
        return;
    }
    let task = learn(node.clone());
    if node.executor.spawn_detached(task).is_err() {
        node.kvm.begun.set(false);
    }
}

async fn learn(node: Rc<Node>) {
    let answer = match probe_on_thread(&node).await {
        Ok(answer) => answer,
        Err(error) => Err(Trouble {
            reason: format!("the probe could not be started: {error}"),
            advice: "Reboot the node; report this if it repeats".to_owned(),
        }),
    };
    match &answer {
        Ok(()) => node
            .parent
            .stage("kvm", "usable: virtual machines run here"),
        Err(trouble) => node.line(
            "warning",
            &format!("no virtual machines: {}", trouble.reason),
        ),
    }
    node.kvm.answer.replace(Some(answer));
    node.kvm.bell.ring();
    node.publish();
}

/// Runs the probe beside the event loop.
async fn probe_on_thread(node: &Node) -> io::Result<Result<(), Trouble>> {
    let probe = || {
        machine::probe().map_err(|problem| Trouble {
            reason: chain(&problem),
            advice: problem.advice().to_owned(),
        })
    };
    crate::aside::run(&node.executor, "kvm-ask", probe).await
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Node {
    /// Waits until it is known whether VMs run here.
    pub async fn need_kvm(&self) -> Result<(), Problem> {
        let known = self.executor.timeout(WAIT_MS, async {
            loop {
                let seen = self.kvm.bell.rings();
                if let Some(answer) = self.kvm.answer.borrow().clone() {
                    return answer;
                }
                self.kvm.bell.after(seen).await;
            }
        });
        match known.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(trouble)) => Err(Problem::new(Code::NoKvm, trouble.reason, trouble.advice)),
            Err(_) => Err(Problem::new(
                Code::Busy,
                "The node is still loading its drivers",
                "Try again in a few seconds",
            )),
        }
    }
}
