//! The network cards: found, switched on, given an address, served.
//!
//! Does:      one stack, one DHCP client and one API listener per card with our drivers; all in
//!            parallel, the card we booted from with a head start; addresses come and go.
//! Does not:  use management controllers' own USB cards, nor give the kernel an address.
//! Bounds:    `NICS_MAX` cards; DHCP goes on for ever with netcore's back-off.
//! Trusts:    nothing on the network; DHCP's answers as far as `netcore` checked them.
//! Start at:  `watch`.

use super::standing::{Address, shown};
use super::{Node, count, peers, server};
use crate::arguments::is_name;
use crate::bell::Bell;
use netcore::dhcp::lease::Lease;
use netio::executor::{Either, JoinHandle, race};
use netio::frame::{AfPacket, AfPacketSettings, Mac};
use netio::host::{DhcpClient, DhcpEvent, DhcpSettings, HostStack, StackSettings};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use sys::links::LinkChanges;
use sys::nics::{NICS_MAX, Nic};

/// What the card named on the command line gets ahead of the others.
const HEAD_START_MS: u64 = 3_000;
/// Carriers come and go in bursts; the last word counts.
const SETTLE_MS: u64 = 20;

/// A card that is served.
struct Card {
    index: u32,
    carrier: Rc<Carrier>,
    task: JoinHandle<()>,
}

/// A card's cable, as its task sees it.
#[derive(Debug, Default)]
struct Carrier {
    up: Cell<bool>,
    bell: Bell,
}

/// Follows the kernel's list of cards for ever.
pub(crate) async fn watch(node: Rc<Node>) {
    // Opened before the first look, so that nothing falls between.
    let changes = match LinkChanges::open() {
        Ok(changes) => changes,
        Err(error) => panic!("network changes can't be seen: {error}"),
    };
    let mut cards: BTreeMap<String, Card> = BTreeMap::new();
    loop {
        let _ = changes.clear();
        match sys::nics::list() {
            Ok(nics) => update(&node, &mut cards, &nics),
            Err(error) => node.line("error", &format!("network cards can't be listed: {error}")),
        }
        node.publish();
        if let Err(error) = node.executor.readable(&changes).await {
            panic!("network changes can't be seen: {error}");
        }
        node.executor.sleep(SETTLE_MS).await;
    }
}

fn update(node: &Rc<Node>, cards: &mut BTreeMap<String, Card>, nics: &[Nic]) {
    let present = |name: &String, card: &Card| {
        nics.iter()
            .any(|nic| nic.name == *name && nic.index == card.index)
    };
    let gone: Vec<String> = cards
        .iter()
        .filter(|(name, card)| !present(name, card))
        .map(|(name, _)| name.clone())
        .collect();
    for name in gone {
        if let Some(card) = cards.remove(&name) {
            card.task.abort();
        }
        node.standing.borrow_mut().drop_card(&name);
        node.line("warning", &format!("network card {name} is gone"));
    }
    let preferred = node.arguments.nic;
    let prefer = nics.iter().any(|nic| Some(nic.mac) == preferred);
    for nic in nics.iter().filter(|nic| !nic.management) {
        node.standing.borrow_mut().set_card(nic);
        let up = nic.carrier == Some(true);
        if let Some(card) = cards.get(&nic.name) {
            if card.carrier.up.replace(up) != up {
                card.carrier.bell.ring();
            }
            continue;
        }
        if cards.len() >= NICS_MAX {
            continue;
        }
        let wait_ms = if prefer && Some(nic.mac) != preferred {
            HEAD_START_MS
        } else {
            0
        };
        match begin(node, nic, wait_ms) {
            Ok(card) => {
                cards.insert(nic.name.clone(), card);
            }
            Err(error) => {
                node.line(
                    "warning",
                    &format!("network card {} can't be used: {error}", nic.name),
                );
            }
        }
    }
}

/// Switches a card on and starts its stack and its tasks.
fn begin(node: &Rc<Node>, nic: &Nic, wait_ms: u64) -> io::Result<Card> {
    sys::nics::switch_on(&nic.name)?;
    let settings = AfPacketSettings {
        interface_index: nic.index,
        vlan: node.arguments.vlan,
    };
    let port = AfPacket::open(settings)?;
    let mtu = u16::try_from(nic.mtu).unwrap_or(u16::MAX);
    let stack = HostStack::start(&node.executor, port, StackSettings::new(Mac(nic.mac), mtu))?;
    if node.standing.borrow().name().is_empty() {
        set_name(
            node,
            &node
                .arguments
                .name
                .clone()
                .unwrap_or_else(|| name_of(nic.mac)),
        );
    }
    let carrier = Rc::new(Carrier::default());
    carrier.up.set(nic.carrier == Some(true));
    let serve = serve(
        node.clone(),
        nic.name.clone(),
        stack,
        carrier.clone(),
        wait_ms,
    );
    let task = node.executor.spawn(serve).map_err(io::Error::other)?;
    Ok(Card {
        index: nic.index,
        carrier,
        task,
    })
}

/// A card's whole life: its API listener, and its address.
async fn serve(node: Rc<Node>, nic: String, stack: HostStack, carrier: Rc<Carrier>, wait_ms: u64) {
    let listener = async {
        let api = async {
            // Whom its answers are from must not change, unless that takes long.
            node.transport.decided().await;
            server::listen(node.clone(), stack.clone()).await;
        };
        let peers = peers::serve(node.clone(), nic.clone(), stack.clone());
        match race(api, peers).await {
            Either::Left(()) | Either::Right(Ok(())) => {}
            Either::Right(Err(error)) => node.line("error", &format!("peers on {nic}: {error}")),
        }
    };
    let address = keep_address(&node, &nic, &stack, &carrier, wait_ms);
    match race(listener, address).await {
        Either::Left(()) => node.line("error", &format!("the API on {nic} has ended")),
        Either::Right(Ok(())) => {}
        Either::Right(Err(error)) => node.line("error", &format!("DHCP on {nic}: {error}")),
    }
}

async fn keep_address(
    node: &Rc<Node>,
    nic: &str,
    stack: &HostStack,
    carrier: &Carrier,
    wait_ms: u64,
) -> io::Result<()> {
    until_up(carrier).await;
    if node.standing.borrow().url().is_none() {
        node.parent.stage(
            "network",
            &format!("link up on {nic}, waiting for an address"),
        );
    }
    if wait_ms > 0 {
        node.executor.sleep(wait_ms).await;
    }
    let settings = DhcpSettings {
        host_name: node.arguments.name.clone(),
        vendor_class: Some(format!("LUC OS {}", node.facts.version)),
    };
    let mut client = DhcpClient::new(stack, settings)?;
    loop {
        let seen = carrier.bell.rings();
        match race(client.next_event(), carrier.bell.after(seen)).await {
            Either::Left(DhcpEvent::Bound(lease)) => {
                bound(node, nic, &lease);
                node.tell_peers_address();
                node.tell_peers_seeds(lease.vendor.as_deref().unwrap_or_default());
            }
            Either::Left(DhcpEvent::Lost(reason)) => {
                count(&node.counters.addresses_lost);
                node.standing.borrow_mut().set_address(nic, None);
                node.tell_peers_address();
                node.line(
                    "warning",
                    &format!("address on {nic} lost: {reason:?}; asking again"),
                );
            }
            Either::Right(_) => {
                let up = carrier.up.get();
                client.carrier_changed(up);
                let word = if up { "up again" } else { "down" };
                node.line("warning", &format!("link on {nic} is {word}"));
            }
        }
        node.publish();
    }
}

async fn until_up(carrier: &Carrier) {
    loop {
        let seen = carrier.bell.rings();
        if carrier.up.get() {
            return;
        }
        carrier.bell.after(seen).await;
    }
}

fn bound(node: &Rc<Node>, nic: &str, lease: &Lease) {
    let address = Address {
        address: lease.address,
        prefix_len: lease.prefix_len,
        gateway: lease.routers.first().copied(),
    };
    let first = node.standing.borrow().url().is_none();
    node.standing
        .borrow_mut()
        .set_address(nic, Some(address.clone()));
    if node.arguments.name.is_none()
        && first
        && let Some(name) = lease
            .host_name
            .as_deref()
            .map(str::to_lowercase)
            .as_deref()
            .and_then(label)
    {
        set_name(node, name);
    }
    node.parent.stage("address", &shown(nic, &address));
    if first {
        node.parent
            .stage("ready", &format!("http://{}/", address.address));
    }
}

/// The first label of a name, if it is one for us.
fn label(name: &str) -> Option<&str> {
    name.split('.').next().filter(|label| is_name(label))
}

fn name_of(mac: [u8; 6]) -> String {
    let [.., a, b, c] = mac;
    format!("node-{a:02x}{b:02x}{c:02x}")
}

fn set_name(node: &Node, name: &str) {
    node.standing.borrow_mut().set_name(name);
    if let Err(errno) = rustix::system::sethostname(name.as_bytes()) {
        node.line("warning", &format!("the host name can't be set: {errno}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_from_the_first_label_or_the_card() {
        assert_eq!(label("paris-3.example.net"), Some("paris-3"));
        assert_eq!(label("paris_3"), None);
        assert_eq!(label(""), None);
        assert_eq!(name_of([0x52, 0x54, 0, 0xab, 0xcd, 0x0f]), "node-abcd0f");
    }
}
