//! Security groups: which packets a guest may send and get.
//!
//! Does:      finds the rule that lets a packet pass; without one it does not pass.
//! Does not:  remember connections; `flows` does, and what belongs to one is not asked here.
//! Bounds:    `GROUPS_MAX` groups on a switch, `RULES_MAX` rules in each; more are refused.
//! Trusts:    the caller for groups; packets only as far as `packet` checked them.
//! Start at:  `Groups::rule_for`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::records::{Network, Refused, Station};
use crate::packet::{Ip, Transport, protocol};

/// Groups that one switch knows.
pub const GROUPS_MAX: usize = 4096;
/// Rules of one group.
pub const RULES_MAX: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the guest.
    In,
    /// From the guest.
    Out,
}

/// What kind of packet a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    Any,
    Tcp(RangeInclusive<u16>),
    Udp(RangeInclusive<u16>),
    /// ICMP or ICMPv6; `None` is every kind.
    Icmp(Option<u8>),
    /// Any other protocol above IP, by its number.
    Protocol(u8),
}

/// Who is on the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    Anyone,
    Prefix(IpAddr, u8),
    /// The stations of the same network that are in this group.
    Group(GroupId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub direction: Direction,
    pub service: Service,
    pub remote: Remote,
}

/// Every group that the switch knows.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    rules: BTreeMap<GroupId, Vec<Rule>>,
}

impl Groups {
    pub(super) fn put(&mut self, group: GroupId, rules: Vec<Rule>) -> Result<(), Refused> {
        if rules.len() > RULES_MAX {
            return Err(Refused::Full("rule in this group"));
        }
        if !self.rules.contains_key(&group) && self.rules.len() >= GROUPS_MAX {
            return Err(Refused::Full("group"));
        }
        self.rules.insert(group, rules);
        Ok(())
    }

    pub(super) fn remove(&mut self, group: GroupId) {
        self.rules.remove(&group);
    }

    /// The first rule of the station's groups that lets the packet pass, as group and place. A
    /// group that is not known here lets nothing pass.
    pub fn rule_for(
        &self,
        network: &Network,
        station: &Station,
        direction: Direction,
        ip: &Ip,
    ) -> Option<(GroupId, usize)> {
        let remote = match direction {
            Direction::In => ip.source,
            Direction::Out => ip.target,
        };
        station.groups.iter().find_map(|group| {
            let rules = self.rules.get(group)?;
            let at = rules.iter().position(|rule| {
                rule.direction == direction
                    && is_service(&rule.service, ip)
                    && is_remote(&rule.remote, network, remote)
            })?;
            Some((*group, at))
        })
    }
}

fn is_service(service: &Service, ip: &Ip) -> bool {
    match (service, ip.transport) {
        (Service::Any, _) => true,
        (Service::Tcp(ports), Transport::Tcp { target, .. })
        | (Service::Udp(ports), Transport::Udp { target, .. }) => ports.contains(&target),
        (Service::Icmp(None), Transport::Icmp { .. }) => true,
        (Service::Icmp(Some(wanted)), Transport::Icmp { kind, .. }) => *wanted == kind,
        // By number everything but what has rules of its own.
        (Service::Protocol(number), _) => {
            *number == ip.protocol && !matches!(ip.protocol, protocol::TCP | protocol::UDP)
        }
        _ => false,
    }
}

fn is_remote(remote: &Remote, network: &Network, address: IpAddr) -> bool {
    match remote {
        Remote::Anyone => true,
        Remote::Prefix(prefix, len) => is_within(address, *prefix, *len),
        Remote::Group(group) => network
            .station_at(address)
            .is_some_and(|station| station.groups.contains(group)),
    }
}

/// Whether the first `len` bits are the prefix's; addresses of two kinds never are.
fn is_within(address: IpAddr, prefix: IpAddr, len: u8) -> bool {
    match (address, prefix) {
        (IpAddr::V4(address), IpAddr::V4(prefix)) => {
            let differ = u32::from(address) ^ u32::from(prefix);
            differ.leading_zeros() >= u32::from(len.min(32))
        }
        (IpAddr::V6(address), IpAddr::V6(prefix)) => {
            let differ = u128::from(address) ^ u128::from(prefix);
            differ.leading_zeros() >= u32::from(len.min(128))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_prefix_holds_its_addresses() {
        let check = |address: &str, prefix: &str, len, expected| {
            let parsed = (address.parse(), prefix.parse());
            let (Ok(address), Ok(prefix)) = parsed else { panic!("addresses") };
            assert_eq!(is_within(address, prefix, len), expected, "{address} {prefix}/{len}");
        };
        //    address       prefix       bits  within
        check("10.0.0.255", "10.0.0.0",  24,   true);
        check("10.0.1.0",   "10.0.0.0",  24,   false);
        check("10.0.1.0",   "10.0.0.0",  23,   true);
        check("9.9.9.9",    "0.0.0.0",   0,    true);
        check("10.0.0.1",   "10.0.0.1",  32,   true);
        check("fd00::1",    "fd00::",    64,   true);
        check("fd00::1",    "0.0.0.0",   0,    false); // all of IPv4 is not all
    }
}
