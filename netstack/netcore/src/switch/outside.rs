//! The way outside: shared addresses, forwarded ports, and addresses that belong to one guest.
//!
//! Does:      says what a guest's end of a conversation looks like outside, and back. One end of a
//!            guest has one end outside, whoever is on the far side (RFC 4787, 4.1).
//! Does not:  decide who may come in: the guest's groups and conversations do, so that a packet
//!            from a stranger to a shared port passes only where a rule lets it.
//! Bounds:    `FLOATING_MAX` addresses, `FORWARDS_MAX` forwarded ports; `ENDS_PER_PORT_MAX` shared
//!            ports of one guest. At a maximum the newcomer is refused and counted.
//! Trusts:    the caller that the addresses are this switch's to use.
//! Start at:  `Outside::leave`, `Outside::enter`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::flows::End;
use super::records::{PortId, Refused};

/// Addresses that each belong to one guest.
pub const FLOATING_MAX: usize = 4096;
/// Ports of shared addresses that lead to a guest.
pub const FORWARDS_MAX: usize = 4096;
/// Ports of a shared address that one guest has at one time.
pub const ENDS_PER_PORT_MAX: usize = 4096;
/// Ports that are looked at to find a free one.
const PROBES_MAX: u32 = 1024;

/// A shared address, and which of its ports guests may use; the others are the node's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    pub address: IpAddr,
    pub ports: RangeInclusive<u16>,
}

/// A port of a shared address that leads to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forward {
    pub protocol: u8,
    pub outside: End,
    pub port: PortId,
    pub guest_port: u16,
}

/// Where a packet from outside belongs. `None` as the guest's address: the one of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub port: PortId,
    pub guest: Option<IpAddr>,
    pub guest_port: u16,
    pub outside: End,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    port: PortId,
    guest: End,
    /// Conversations that use it.
    uses: u32,
}

#[derive(Debug, Default)]
pub struct Outside {
    v4: Option<Shared>,
    v6: Option<Shared>,
    floating: BTreeMap<IpAddr, PortId>,
    forwards: BTreeMap<(u8, End), Forward>,
    leases: BTreeMap<(u8, End), Lease>,
    by_guest: BTreeMap<(PortId, u8, End), u16>,
    counts: BTreeMap<PortId, usize>,
    cursor: u32,
}

impl Outside {
    /// Sets the shared address of one kind; conversations over another one are forgotten by time.
    pub(super) fn share(&mut self, shared: Shared) {
        if shared.address.is_ipv4() {
            self.v4 = Some(shared);
        } else {
            self.v6 = Some(shared);
        }
    }

    pub(super) fn float(&mut self, address: IpAddr, port: PortId) -> Result<(), Refused> {
        if !self.floating.contains_key(&address) && self.floating.len() >= FLOATING_MAX {
            return Err(Refused::Full("floating address"));
        }
        self.floating.insert(address, port);
        Ok(())
    }

    pub(super) fn sink(&mut self, address: IpAddr) {
        self.floating.remove(&address);
    }

    pub(super) fn forward(&mut self, forward: Forward) -> Result<(), Refused> {
        let key = (forward.protocol, forward.outside);
        if !self.forwards.contains_key(&key) && self.forwards.len() >= FORWARDS_MAX {
            return Err(Refused::Full("forwarded port"));
        }
        self.forwards.insert(key, forward);
        Ok(())
    }

    pub(super) fn forget_forward(&mut self, protocol: u8, outside: End) {
        self.forwards.remove(&(protocol, outside));
    }

    pub(super) fn forget_port(&mut self, port: PortId) {
        self.floating.retain(|_, owner| *owner != port);
        self.forwards.retain(|_, forward| forward.port != port);
        self.leases.retain(|_, lease| lease.port != port);
        self.by_guest.retain(|(owner, ..), _| *owner != port);
        self.counts.remove(&port);
    }

    /// Whether guests' IPv6 leads anywhere.
    pub fn leads_v6(&self) -> bool {
        self.v6.is_some() || self.floating.keys().any(IpAddr::is_ipv6)
    }

    /// Whether packets to this address come back here.
    pub fn owns(&self, address: IpAddr) -> bool {
        let shared = [&self.v4, &self.v6].into_iter().flatten();
        self.floating.contains_key(&address) || shared.into_iter().any(|s| s.address == address)
    }

    fn shared(&self, is_v4: bool) -> Option<&Shared> {
        if is_v4 {
            self.v4.as_ref()
        } else {
            self.v6.as_ref()
        }
    }

    /// What the guest's end is outside. `Ok(None)`: there is no way outside for it.
    pub fn leave(&self, port: PortId, protocol: u8, guest: End) -> Result<Option<End>, NoEnd> {
        let is_v4 = guest.0.is_ipv4();
        let own = self
            .floating
            .iter()
            .find(|(address, owner)| **owner == port && address.is_ipv4() == is_v4);
        if let Some((address, _)) = own {
            return Ok(Some((*address, guest.1)));
        }
        let Some(shared) = self.shared(is_v4) else {
            return Ok(None);
        };
        // A forwarded port answers from where it is forwarded.
        let forward = self.forwards.values().find(|forward| {
            forward.port == port
                && forward.protocol == protocol
                && forward.guest_port == guest.1
                && forward.outside.0.is_ipv4() == is_v4
        });
        if let Some(forward) = forward {
            return Ok(Some(forward.outside));
        }
        if let Some(number) = self.by_guest.get(&(port, protocol, guest)) {
            return Ok(Some((shared.address, *number)));
        }
        if self
            .counts
            .get(&port)
            .is_some_and(|count| *count >= ENDS_PER_PORT_MAX)
        {
            return Err(NoEnd::Quota);
        }
        let free = |number: u16| {
            let end = (shared.address, number);
            !self.leases.contains_key(&(protocol, end))
                && !self.forwards.contains_key(&(protocol, end))
        };
        if shared.ports.contains(&guest.1) && free(guest.1) {
            return Ok(Some((shared.address, guest.1)));
        }
        let first = u32::from(*shared.ports.start());
        let count = (u32::from(*shared.ports.end()) + 1)
            .saturating_sub(first)
            .max(1);
        (0..PROBES_MAX.min(count))
            .map(|step| first + self.cursor.wrapping_add(step) % count)
            .filter_map(|number| u16::try_from(number).ok())
            .find(|number| free(*number))
            .map(|number| Some((shared.address, number)))
            .ok_or(NoEnd::Full)
    }

    /// A conversation begins with this end outside, which `leave` or `enter` gave.
    pub(super) fn hold(&mut self, port: PortId, protocol: u8, guest: End, outside: End) {
        let is_shared = self
            .shared(outside.0.is_ipv4())
            .is_some_and(|s| s.address == outside.0);
        let key = (protocol, outside);
        if !is_shared || self.forwards.contains_key(&key) {
            return;
        }
        if let Some(lease) = self.leases.get_mut(&key) {
            lease.uses += 1;
            return;
        }
        let lease = Lease {
            port,
            guest,
            uses: 1,
        };
        self.leases.insert(key, lease);
        self.by_guest.insert((port, protocol, guest), outside.1);
        *self.counts.entry(port).or_default() += 1;
        self.cursor = self.cursor.wrapping_add(1);
    }

    /// A conversation with this end outside is over.
    pub(super) fn release(&mut self, protocol: u8, outside: End) {
        let key = (protocol, outside);
        let Some(lease) = self.leases.get_mut(&key) else {
            return;
        };
        lease.uses = lease.uses.saturating_sub(1);
        if lease.uses > 0 {
            return;
        }
        let lease = *lease;
        self.leases.remove(&key);
        self.by_guest.remove(&(lease.port, protocol, lease.guest));
        if let Some(count) = self.counts.get_mut(&lease.port) {
            *count -= 1;
        }
    }

    /// Whose end outside this is.
    pub fn enter(&self, protocol: u8, outside: End) -> Option<Entry> {
        let entry = |port, guest, guest_port| Entry {
            port,
            guest,
            guest_port,
            outside,
        };
        if let Some(port) = self.floating.get(&outside.0) {
            return Some(entry(*port, None, outside.1));
        }
        let key = (protocol, outside);
        if let Some(forward) = self.forwards.get(&key) {
            return Some(entry(forward.port, None, forward.guest_port));
        }
        let lease = self.leases.get(&key)?;
        Some(entry(lease.port, Some(lease.guest.0), lease.guest.1))
    }

    /// Shared ports that a guest has.
    pub fn ends_of(&self, port: PortId) -> usize {
        self.counts.get(&port).copied().unwrap_or(0)
    }
}

/// Why a guest's end has none outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoEnd {
    #[error("the guest has {ENDS_PER_PORT_MAX} ports of the shared address already")]
    Quota,
    #[error("no port of the shared address is free")]
    Full,
}
