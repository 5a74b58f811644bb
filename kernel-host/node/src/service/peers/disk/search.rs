//! The search for the state disk, before a node says who it is.
//!
//! Does:      waits until all drivers are loaded; then takes the disk that is there, begins without
//!            one, or waits and says for what. Later it tells of disks that came too late.
//! Does not:  hold up anything but the node's life among peers; opening is done on a thread.
//! Bounds:    one look at a time, one every `LOOK_MS` while it waits; each thing is told once.
//! Trusts:    PID 1 for when all drivers are loaded.
//! Start at:  `search`.
//!
//! The rule: a node takes a new identity only where nothing says that it has one. That is so when
//! all drivers are loaded and no partition is named `luc-state`. One that is there and can't be
//! used is waited for, and `luc.state=disk` makes a node wait for one that is not there.
//! `luc.state=none` is the operator's word to begin anew at each boot, whatever is plugged in.

use super::{Found, Kept, PARTITION, find};
use crate::arguments::DiskWish;
use crate::aside;
use crate::service::Node;
use netio::executor::{Either, race};
use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;

/// Between two looks while it waits.
const LOOK_MS: u64 = 5_000;
/// Drivers that load for so long, and a disk that does not answer, are told; again each time the
/// age has doubled.
const TELL_MS: u64 = 10_000;
/// Between two looks for a disk that comes too late.
const WATCH_MS: u64 = 60_000;

/// What is told once, until something else is.
#[derive(Debug, Default)]
struct Told(String);

impl Told {
    fn tell(&mut self, node: &Rc<Node>, stage: &str, text: String) {
        if self.0 != text {
            node.line(stage, &text);
            self.0 = text;
        }
    }
}

/// What this node's disk kept. `None`: it has none, and begins anew at each boot.
///
/// # Errors
///
/// The kernel gives no randomness or no thread.
pub(crate) async fn search(node: &Rc<Node>, fresh: [u8; 32]) -> Result<Option<Kept>, String> {
    let wish = node.arguments.cluster.disk;
    if wish == DiskWish::Never {
        node.line("disk", "luc.state=none: this node begins anew at each boot");
        return Ok(None);
    }
    drivers(node).await;
    let mut told = Told::default();
    loop {
        let trouble = match look(node, fresh).await? {
            Found::Kept(kept) => {
                let (name, boots) = (&kept.name, kept.life.boots());
                let text = format!("{name} keeps this node's state; boot {boots} with it");
                node.line("disk", &text);
                return Ok(Some(*kept));
            }
            Found::Nothing if wish == DiskWish::Any => {
                let text = "no state disk: this node begins anew at each boot";
                node.line("disk", text);
                return Ok(None);
            }
            Found::Nothing => format!(
                "no partition is named {PARTITION}, and luc.state=disk says that this machine has \
                 one. Plug it in, or make one: cargo image disk"
            ),
            Found::Trouble(trouble) => trouble,
        };
        waits(node, &trouble);
        let text = format!(
            "{trouble}. Until then this node joins no cluster, so as not to come as another node; \
             luc.state=none lets it begin anew"
        );
        told.tell(node, "error", text);
        node.executor.sleep(LOOK_MS).await;
    }
}

/// Says for what the node waits, on its screens and in its API, which is served meanwhile.
fn waits(node: &Rc<Node>, what: &str) {
    let what = Some(format!("its state disk: {what}"));
    if node.standing.borrow_mut().set_joining(what) {
        node.publish();
    }
    node.transport.decide();
}

/// Waits for all drivers: before that, nobody knows that a disk is not there.
async fn drivers(node: &Rc<Node>) {
    let mut age_ms = 0;
    loop {
        let next_ms = TELL_MS.max(age_ms);
        let settled = node.parent.until_settled();
        if node.executor.timeout(next_ms, settled).await.is_ok() {
            return;
        }
        age_ms += next_ms;
        let seconds = age_ms / 1000;
        let text = format!("drivers are still being loaded after {seconds} s");
        node.line("warning", &text);
        waits(node, &text);
    }
}

/// One look, on a thread. While a disk does not answer, its age is told.
async fn look(node: &Rc<Node>, fresh: [u8; 32]) -> Result<Found, String> {
    let mut looking = pin!(aside::run(&node.executor, "disk-look", move || find(fresh)));
    let mut age_ms = 0;
    loop {
        let next_ms = TELL_MS.max(age_ms);
        match race(looking.as_mut(), node.executor.sleep(next_ms)).await {
            Either::Left(found) => {
                return found.map_err(|error| format!("the disks can't be looked at: {error}"));
            }
            Either::Right(()) => {
                age_ms += next_ms;
                let seconds = age_ms / 1000;
                let text = format!("a disk has not answered for {seconds} s");
                node.line("warning", &text);
                waits(node, &text);
            }
        }
    }
}

/// Tells of state disks that came after this node had begun with another one, or without.
pub(crate) async fn watch(node: Rc<Node>, own: Option<String>) {
    let mut told: BTreeSet<String> = own.iter().cloned().collect();
    loop {
        node.executor.sleep(WATCH_MS).await;
        let list = aside::run(&node.executor, "disk-look", || {
            sys::partitions::named(PARTITION)
        });
        let Ok(Ok(found)) = list.await else {
            continue; // the next look may see more
        };
        for partition in found {
            let name = partition.name;
            if told.contains(&name) {
                continue;
            }
            let text = match &own {
                Some(own) => format!(
                    "{name} is named {PARTITION} too; this node uses {own}. Take one out: with \
                     both, it will not join after its next boot"
                ),
                None => format!(
                    "the state disk {name} came after this node had begun without one, and is not \
                     used before the next boot. luc.state=disk makes a node wait for its disk"
                ),
            };
            node.line("warning", &text);
            told.insert(name);
        }
    }
}
