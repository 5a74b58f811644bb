//! Where the node stands, for screens and for the API.
//!
//! Does:      collects names, cards and addresses; says what the node waits for.
//! Does not:  change anything; the network's tasks tell it.
//! Bounds:    one entry per network card.
//! Trusts:    its callers.
//! Start at:  `Standing::status`.

use crate::supervision::{End, State, Status};
use protocol::{NodeAddress, NodeState};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use sys::nics::{Nic, format_mac};

/// An address that a card has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    pub gateway: Option<Ipv4Addr>,
}

#[derive(Debug, Default)]
struct Card {
    shown: String,
    carrier: bool,
    address: Option<Address>,
    /// Order in which cards got their first address.
    rank: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    name: String,
    cards: BTreeMap<String, Card>,
    ranked: u32,
    was_ready: bool,
    ending: Option<End>,
    /// What it waits for to become a member of its cluster.
    joining: Option<String>,
}

impl Standing {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn set_name(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    pub fn going_down(&mut self, how: End) {
        self.ending = Some(how);
    }

    /// A card is there, or its cable changed.
    pub fn set_card(&mut self, nic: &Nic) {
        let carrier = nic.carrier == Some(true);
        let cable = if carrier { "link up" } else { "no link" };
        let mac = format_mac(nic.mac);
        let card = self.cards.entry(nic.name.clone()).or_default();
        card.shown = format!("{} {mac} {}, {cable}", nic.name, nic.driver);
        card.carrier = carrier;
    }

    /// A card is gone.
    pub fn drop_card(&mut self, nic: &str) {
        self.cards.remove(nic);
    }

    /// A card got an address, or lost it.
    pub fn set_address(&mut self, nic: &str, address: Option<Address>) {
        let card = self.cards.entry(nic.to_owned()).or_default();
        if address.is_some() && card.rank == 0 {
            self.ranked += 1;
            card.rank = self.ranked;
        }
        card.address = address;
        self.was_ready |= card.address.is_some();
    }

    /// The addresses, the first one that came first.
    fn ranked(&self) -> Vec<(&str, &Address)> {
        let mut found: Vec<_> = self
            .cards
            .iter()
            .filter_map(|(nic, card)| Some((card.rank, nic.as_str(), card.address.as_ref()?)))
            .collect();
        found.sort_by_key(|(rank, ..)| *rank);
        found
            .into_iter()
            .map(|(_, nic, address)| (nic, address))
            .collect()
    }

    /// Where others reach this node.
    pub fn first_address(&self) -> Option<std::net::IpAddr> {
        let ranked = self.ranked();
        ranked.first().map(|(_, address)| address.address.into())
    }

    /// What it waits for to become a member; nothing on a node without a cluster. Says whether
    /// that is new.
    pub fn set_joining(&mut self, waits_for: Option<String>) -> bool {
        let changed = self.joining != waits_for;
        self.joining = waits_for;
        changed
    }

    pub fn addresses(&self) -> Vec<NodeAddress> {
        let addresses = self.ranked().into_iter();
        addresses
            .map(|(nic, address)| NodeAddress {
                nic: nic.to_owned(),
                address: format!("{}/{}", address.address, address.prefix_len),
                gateway: address.gateway.map(|gateway| gateway.to_string()),
            })
            .collect()
    }

    /// Where clients reach the API.
    pub fn url(&self) -> Option<String> {
        self.ranked()
            .first()
            .map(|(_, address)| format!("http://{}/", address.address))
    }

    /// What has to happen before the node is ready.
    pub fn waits_for(&self) -> Option<String> {
        if self.ending.is_some() {
            return Some("its VMs to stop".to_owned());
        }
        if self.cards.values().any(|card| card.address.is_some()) {
            return self.joining.clone();
        }
        Some(if self.cards.is_empty() {
            "a network card that it has a driver for".to_owned()
        } else if self.cards.values().all(|card| !card.carrier) {
            "a network cable with something at its other end".to_owned()
        } else {
            "an address from a DHCP server".to_owned()
        })
    }

    pub fn state(&self) -> NodeState {
        match (self.ending, self.waits_for(), self.was_ready) {
            (Some(_), ..) => NodeState::GoingDown,
            (None, None, _) => NodeState::Ready,
            (None, Some(_), true) => NodeState::Degraded,
            (None, Some(_), false) => NodeState::Starting,
        }
    }

    /// For PID 1; the caller adds what it knows of KVM and VMs.
    pub fn status(&self) -> Status {
        let state = match self.state() {
            NodeState::Starting => State::Starting,
            NodeState::Ready => State::Ready,
            NodeState::Degraded => State::Degraded,
            NodeState::GoingDown => State::GoingDown,
        };
        let ranked = self.ranked();
        Status {
            state,
            name: self.name.clone(),
            addresses: ranked
                .iter()
                .map(|(nic, address)| shown(nic, address))
                .collect(),
            nics: self.cards.values().map(|card| card.shown.clone()).collect(),
            url: self.url(),
            waits_for: self.waits_for(),
            ..Status::default()
        }
    }
}

/// `192.0.2.7/24 via 192.0.2.1 on eth0`.
pub(crate) fn shown(nic: &str, address: &Address) -> String {
    let gateway = address
        .gateway
        .map_or("-".to_owned(), |gateway| gateway.to_string());
    format!(
        "{}/{} via {gateway} on {nic}",
        address.address, address.prefix_len
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(name: &str, carrier: bool) -> Nic {
        Nic {
            name: name.into(),
            index: 2,
            mac: [0x52, 0x54, 0, 0, 0, 1],
            mtu: 1500,
            carrier: Some(carrier),
            driver: "virtio_net".into(),
            management: false,
        }
    }

    fn address(last: u8) -> Option<Address> {
        let gateway = Some(Ipv4Addr::new(192, 0, 2, 1));
        Some(Address {
            address: Ipv4Addr::new(192, 0, 2, last),
            prefix_len: 24,
            gateway,
        })
    }

    #[test]
    fn a_node_says_what_it_waits_for_and_the_first_address_serves() {
        let mut standing = Standing::default();
        assert_eq!(standing.state(), NodeState::Starting);
        assert!(
            standing
                .waits_for()
                .is_some_and(|text| text.contains("card"))
        );
        standing.set_card(&nic("eth0", false));
        standing.set_card(&nic("eth1", false));
        assert!(
            standing
                .waits_for()
                .is_some_and(|text| text.contains("cable"))
        );
        standing.set_card(&nic("eth1", true));
        assert!(
            standing
                .waits_for()
                .is_some_and(|text| text.contains("DHCP"))
        );
        standing.set_address("eth1", address(7));
        standing.set_address("eth0", address(8));
        assert_eq!(standing.url().as_deref(), Some("http://192.0.2.7/"));
        let status = standing.status();
        assert_eq!(status.state, State::Ready);
        assert_eq!(status.addresses[0], "192.0.2.7/24 via 192.0.2.1 on eth1");
        assert_eq!(status.nics[0], "eth0 52:54:00:00:00:01 virtio_net, no link");
    }

    #[test]
    fn a_lost_address_degrades_and_another_takes_over() {
        let mut standing = Standing::default();
        standing.set_address("eth0", address(7));
        standing.set_address("eth1", address(8));
        standing.set_address("eth0", None);
        assert_eq!(standing.url().as_deref(), Some("http://192.0.2.8/"));
        standing.set_address("eth1", None);
        assert_eq!(standing.state(), NodeState::Degraded);
        standing.set_address("eth0", address(9));
        assert_eq!(standing.state(), NodeState::Ready);
    }
}
