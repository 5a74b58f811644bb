//! Names and keys of the world's nodes, cheap to make and to check.
//!
//! Does:      node ids that tell host, site and key to the simulator and look random to machines; a
//!            stand-in for signatures, as long as real ones.
//! Does not:  resist anyone: `identity` does. Nobody in the world can sign for another.
//! Bounds:    65,536 sites, 4 billion hosts.
//! Trusts:    machines to read no meaning into ids.
//! Start at:  `Ids::node`, `Stamps`.

use overlay::{Keyring, Verdict};
use protocol::peer::{Record, RecordKind, Signature, site};
use protocol::{Moment, Name, NodeId, SiteId};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// The overlay's port.
pub const PORT: u16 = 12213;

/// Who is who.
#[derive(Debug)]
pub struct Ids {
    seed: u64,
    names: Vec<Name>,
    sites: Rc<[SiteId]>,
}

impl Ids {
    pub fn new(seed: u64, sites: u16) -> Self {
        let names: Vec<Name> = (0..sites).map(name_of).collect();
        let sites = names.iter().map(site::id_of).collect();
        Self { seed, names, sites }
    }

    /// The id of the `key`-th key of a host.
    pub fn node(&self, host: u32, site: u16, key: u16) -> NodeId {
        let dice = mix(self.seed ^ u64::from(host) << 20 ^ u64::from(key));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&dice.to_be_bytes());
        bytes[8..12].copy_from_slice(&host.to_be_bytes());
        bytes[12..14].copy_from_slice(&site.to_be_bytes());
        bytes[14..].copy_from_slice(&key.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    pub fn site(&self, site: u16) -> SiteId {
        self.sites[usize::from(site)]
    }

    pub fn site_name(&self, site: u16) -> Name {
        self.names[usize::from(site)].clone()
    }

    /// The index of a site.
    pub fn site_index(&self, site: SiteId) -> Option<u16> {
        let at = self.sites.iter().position(|other| *other == site)?;
        u16::try_from(at).ok()
    }

    pub fn keyring(&self, me: NodeId) -> Stamps {
        Stamps {
            me,
            sites: Rc::clone(&self.sites),
            revoked: BTreeSet::new(),
            replaced: BTreeSet::new(),
            long_replaced: BTreeSet::new(),
        }
    }
}

#[allow(clippy::expect_used)] // digits and letters only
fn name_of(site: u16) -> Name {
    format!("site-{site}").parse().expect("a short plain name")
}

/// The host that an id was made for.
pub fn host_of(node: NodeId) -> u32 {
    let [.., a, b, c, d, _, _, _, _] = node.bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// The site that an id was made for.
pub fn site_of(node: NodeId) -> u16 {
    let [.., a, b, _, _] = node.bytes();
    u16::from_be_bytes([a, b])
}

/// Where the host lives that has this address.
pub fn address_of(address: u32) -> SocketAddr {
    let [_, a, b, c] = address.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, a, b, c)), PORT)
}

/// The number of an address, if it is one of ours.
pub fn number_of(address: SocketAddr) -> Option<u32> {
    match address.ip() {
        IpAddr::V4(ip) if ip.octets()[0] == 10 => Some(u32::from(ip) & 0xff_ffff),
        _ => None,
    }
}

/// Spreads the bits of a number (the finalizer of splitmix64).
pub const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A fast digest of bytes, from a start value.
pub fn fold(start: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = start ^ bytes.len() as u64;
    for word in words {
        sum = (sum.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    for byte in rest {
        sum = (sum.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    sum
}

/// The signature of `author` under `bytes`.
pub fn stamp(author: NodeId, bytes: &[u8]) -> Signature {
    let [first, second] = [fold(1, &author.bytes()), fold(2, bytes)];
    let mut signature = [0; 64];
    for (at, eight) in signature.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *eight = mix(first ^ second.rotate_left(17) ^ at as u64).to_be_bytes();
    }
    Signature(signature)
}

/// A keyring for which all certificates have come, and which can't be asked to sign for others.
#[derive(Debug)]
pub struct Stamps {
    me: NodeId,
    sites: Rc<[SiteId]>,
    revoked: BTreeSet<NodeId>,
    replaced: BTreeSet<NodeId>,
    /// Those of them whose machines have come back more than once since.
    long_replaced: BTreeSet<NodeId>,
}

impl Keyring for Stamps {
    fn sign(&self, bytes: &[u8]) -> Signature {
        stamp(self.me, bytes)
    }

    fn verify(&self, author: NodeId, bytes: &[u8], signature: &Signature) -> Verdict {
        if self.revoked.contains(&author) {
            return Verdict::Revoked;
        }
        if stamp(author, bytes) == *signature {
            Verdict::Good
        } else {
            Verdict::Bad
        }
    }

    fn site_of(&self, node: NodeId) -> Option<SiteId> {
        self.sites.get(usize::from(site_of(node))).copied()
    }

    fn learn(&mut self, _now: Moment, record: &Record) -> Verdict {
        match record.key.kind {
            RecordKind::REVOCATION => {
                self.revoked.insert(NodeId::from_bytes(record.key.subject));
            }
            // A certificate names the keys that its machine had before, the latest first.
            RecordKind::CERTIFICATE => {
                let old = record.body.as_chunks::<16>().0.iter();
                let old = old.copied().map(NodeId::from_bytes);
                self.replaced.extend(old.clone());
                self.long_replaced.extend(old.skip(1));
            }
            _ => {}
        }
        Verdict::Good
    }

    fn is_replaced(&self, node: NodeId) -> bool {
        self.replaced.contains(&node)
    }

    fn is_long_replaced(&self, node: NodeId) -> bool {
        self.long_replaced.contains(&node)
    }
}
