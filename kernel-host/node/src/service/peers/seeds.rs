//! Nodes that the DHCP server names.
//!
//! Start at:  `of_lease`.

use crate::arguments::SEEDS_MAX;
use std::net::{IpAddr, SocketAddr};

/// Our sub-option of option 43: IPv4 addresses of nodes, four bytes each.
const SEEDS: u8 = 1;

/// The nodes in an option 43; what is no sub-option ends it, and above `SEEDS_MAX` none is read.
#[must_use]
pub fn of_lease(vendor: &[u8]) -> Vec<SocketAddr> {
    let mut rest = vendor;
    let mut seeds = Vec::new();
    while let [kind, length, tail @ ..] = rest {
        let Some((body, tail)) = tail.split_at_checked(usize::from(*length)) else {
            break;
        };
        if *kind == SEEDS {
            let (addresses, _) = body.as_chunks::<4>();
            let addresses = addresses.iter().map(|ip| IpAddr::from(*ip));
            seeds.extend(addresses.map(|ip| SocketAddr::new(ip, session::PORT)));
        }
        rest = tail;
    }
    seeds.truncate(SEEDS_MAX);
    seeds
}

/// Fuzz target: any option gives few seeds, each at our port.
pub fn fuzz_seeds(data: &[u8]) {
    let seeds = of_lease(data);
    assert!(seeds.len() <= SEEDS_MAX && seeds.len() * 4 <= data.len());
    assert!(seeds.iter().all(|seed| seed.port() == session::PORT));
}
