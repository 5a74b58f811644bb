//! Which sites, and which of their nodes, are the homes of a bucket: computed alike by everybody.
//!
//! Does:      weighted rendezvous over sites, then over the nodes of a site: when a site comes or
//!            goes, or its weight changes, only the share moves that must.
//! Does not:  look at load or free space: weights are the number of a site's nodes, in steps, so
//!            that one node more or less moves little.
//! Bounds:    one pass over the sites and a sort; `SITES` sites, `NODES` nodes in each.
//! Trusts:    the atlas: nodes whose views differ compute different homes for a while.
//! Start at:  `Homes::of`. Source: Thaler and Ravishankar, "A Name-Based Mapping Scheme for
//!            Rendezvous", 1998; the weights after Schindelhauer and Schomaker, 2005.

use protocol::{NodeId, SiteId};

/// Sites that keep an entry, and nodes of each.
pub const SITES: usize = 3;
pub const NODES: usize = 2;

/// What must be known of the cluster to find homes.
pub trait Atlas: std::fmt::Debug {
    /// All sites that are not retired, and how many nodes each has.
    fn sites(&self) -> Vec<(SiteId, u32)>;
    /// Whether some node of the site can be expected to answer.
    fn is_reachable(&self, site: SiteId) -> bool;
    /// The nodes of a site that are there.
    fn nodes(&self, site: SiteId) -> Vec<Peer>;
    /// What a round trip to a node should take.
    fn distance_us(&self, node: NodeId, site: SiteId) -> u64;
}

/// A node, and its boot: in another one it has lost what it kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    pub node: NodeId,
    pub boots: u32,
}

/// A site, and those of its nodes that are to keep a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    pub site: SiteId,
    pub nodes: [Option<Peer>; NODES],
}

/// The homes of a bucket, the best first; `SITES` at most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Homes(Vec<Home>);

/// What a node is to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It answers for its site.
    First,
    /// It keeps a copy of what the first has.
    Second,
    Stranger,
}

/// A site's weight: its size, rounded down to one of 1, 2, 3, 4, 6, 8, 12, 16, 24...
pub const fn weight(nodes: u32) -> u64 {
    let nodes = if nodes == 0 { 1 } else { nodes };
    let power = 1 << nodes.ilog2();
    if nodes >= power + power / 2 {
        (power + power / 2) as u64
    } else {
        power as u64
    }
}

const fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number for a bucket and an id: random, but the same everywhere.
fn lot(bucket: u16, id: [u8; 16]) -> u64 {
    let (mut high, mut low) = ([0; 8], [0; 8]);
    high.copy_from_slice(&id[..8]);
    low.copy_from_slice(&id[8..]);
    let id = mixed(u64::from_be_bytes(high) ^ mixed(u64::from_be_bytes(low)));
    mixed(id.wrapping_add(mixed(u64::from(bucket))))
}

/// Bits behind the point of a logarithm: ties are rare enough.
const BITS: u32 = 20;

/// The negative logarithm of a number taken as a fraction of 2^64, as `BITS` bits behind the point.
fn log(number: u64) -> u64 {
    let number = number.max(1);
    let zeros = number.leading_zeros();
    let mut square = u128::from(number << zeros);
    let mut fraction = 0;
    for _ in 0..BITS {
        square = (square * square) >> 63;
        fraction <<= 1;
        if square >> 64 != 0 {
            fraction |= 1;
            square >>= 1;
        }
    }
    ((u64::from(zeros) + 1) << BITS) - fraction
}

/// How dear a bucket is to a site: the cheapest are its homes, each as often as it weighs.
fn cost(bucket: u16, site: SiteId, weight: u64) -> u64 {
    (log(lot(bucket, site.bytes())) << BITS) / weight.max(1)
}

/// All sites, the best for the bucket first.
pub fn ranking(atlas: &dyn Atlas, bucket: u16) -> Vec<SiteId> {
    let mut ranked: Vec<(u64, SiteId)> = atlas
        .sites()
        .into_iter()
        .map(|(site, nodes)| (cost(bucket, site, weight(nodes)), site))
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, site)| site).collect()
}

/// The best nodes of a site for the bucket.
pub fn nodes_in(atlas: &dyn Atlas, bucket: u16, site: SiteId) -> [Option<Peer>; NODES] {
    let mut best: [Option<(u64, Peer)>; NODES] = [None; NODES];
    for peer in atlas.nodes(site) {
        let new = Some((lot(bucket, peer.node.bytes()), peer));
        if new > best[0] {
            best = [new, best[0]];
        } else if new > best[1] {
            best[1] = new;
        }
    }
    best.map(|one| one.map(|(_, peer)| peer))
}

impl Home {
    fn has_at(&self, place: usize, node: NodeId) -> bool {
        self.nodes[place].is_some_and(|peer| peer.node == node)
    }

    /// The node that `second` has its copies from.
    pub fn first_of(&self, second: NodeId) -> Option<NodeId> {
        let first = self.nodes[0].filter(|_| self.has_at(1, second));
        first.map(|peer| peer.node)
    }
}

impl Homes {
    /// The homes among the sites that answer: those that don't are passed over, so that every
    /// bucket has homes in every island.
    pub fn of(atlas: &dyn Atlas, bucket: u16) -> Self {
        Self::among(atlas, bucket, &ranking(atlas, bucket))
    }

    pub fn among(atlas: &dyn Atlas, bucket: u16, ranked: &[SiteId]) -> Self {
        let there = ranked.iter().filter(|site| atlas.is_reachable(**site));
        let homes = there.map(|site| Home {
            site: *site,
            nodes: nodes_in(atlas, bucket, *site),
        });
        let staffed = homes.filter(|home| home.nodes[0].is_some());
        Self(staffed.take(SITES).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Home> {
        self.0.iter()
    }

    /// The first node of each home.
    pub fn firsts(&self) -> impl Iterator<Item = (SiteId, NodeId)> {
        let firsts = self.0.iter();
        firsts.filter_map(|home| Some((home.site, home.nodes[0]?.node)))
    }

    pub fn role(&self, node: NodeId) -> Role {
        for home in &self.0 {
            if home.has_at(0, node) {
                return Role::First;
            }
            if home.has_at(1, node) {
                return Role::Second;
            }
        }
        Role::Stranger
    }

    pub fn has(&self, node: NodeId) -> bool {
        self.role(node) != Role::Stranger
    }

    /// How many homes are most of them.
    pub fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::peer::lookup::BUCKETS;
    use std::collections::BTreeMap;

    /// Sites with so many nodes each; the first site is number 0.
    #[derive(Debug, Clone)]
    struct Sites(Vec<(u16, u32)>);

    fn site(number: u16) -> SiteId {
        let mut bytes = [0x51; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        SiteId::from_bytes(bytes)
    }

    fn node(site: SiteId, number: u32) -> Peer {
        let mut bytes = site.bytes();
        bytes[12..].copy_from_slice(&number.to_be_bytes());
        Peer {
            node: NodeId::from_bytes(bytes),
            boots: 1,
        }
    }

    impl Atlas for Sites {
        fn sites(&self) -> Vec<(SiteId, u32)> {
            self.0
                .iter()
                .map(|(at, nodes)| (site(*at), *nodes))
                .collect()
        }

        fn is_reachable(&self, _site: SiteId) -> bool {
            true
        }

        fn nodes(&self, of: SiteId) -> Vec<Peer> {
            let found = self.0.iter().find(|(at, _)| site(*at) == of);
            let count = found.map_or(0, |(_, nodes)| *nodes);
            (0..count).map(|number| node(of, number)).collect()
        }

        fn distance_us(&self, _node: NodeId, _site: SiteId) -> u64 {
            0
        }
    }

    fn equal(sites: u16, nodes: u32) -> Sites {
        Sites((0..sites).map(|at| (at, nodes)).collect())
    }

    fn plan(sites: &Sites) -> Vec<Homes> {
        (0..BUCKETS)
            .map(|bucket| Homes::of(sites, bucket))
            .collect()
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn weights_grow_in_steps() {
        for (nodes, wanted) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (6, 6), (7, 6),
                                (11, 8), (12, 12), (20, 16), (47, 32), (48, 48), (100, 96)] {
            assert_eq!(weight(nodes), wanted, "{nodes}");
        }
    }

    #[test]
    fn logarithms_are_as_they_should_be() {
        assert_eq!(log(1 << 63), 1 << BITS);
        assert_eq!(log(1 << 62), 2 << BITS);
        assert_eq!(log(0), 64 << BITS);
        assert!(log(u64::MAX) <= 1);
        // 3/4: log2(4/3) = 0.4150374993.
        let wanted = 435_196_u64;
        assert!(log(3 << 62).abs_diff(wanted) < 4, "{}", log(3 << 62));
    }

    #[test]
    fn every_bucket_has_as_many_homes_as_there_are_sites_and_nodes() {
        for (sites, nodes) in [(1, 1), (1, 3), (2, 1), (3, 2), (20, 5)] {
            for homes in plan(&equal(sites, nodes)) {
                assert_eq!(homes.0.len(), SITES.min(usize::from(sites)));
                for home in &homes.0 {
                    let there = home.nodes.iter().flatten().count();
                    assert_eq!(there, NODES.min(nodes as usize));
                }
            }
        }
    }

    /// The most that one has of `shares`, against the mean, in hundredths.
    fn busiest<T: Ord>(shares: impl Iterator<Item = T>, among: usize) -> usize {
        let (mut of_each, mut all) = (BTreeMap::new(), 0);
        for one in shares {
            *of_each.entry(one).or_insert(0) += 1;
            all += 1;
        }
        of_each.values().max().unwrap_or(&0) * among * 100 / all
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn buckets_are_spread_evenly() {
        //  sites nodes  busiest site, node: against the mean, in hundredths
        for (sites, nodes, site_max, node_max) in
            [(3,    2,   101, 101), (20,  5,  115, 140), (100, 10, 130, 250), (250, 20, 170, 350)] {
            let plans = plan(&equal(sites, nodes));
            let homes = || plans.iter().flat_map(Homes::iter);
            let site = busiest(homes().map(|home| home.site), usize::from(sites));
            let all = usize::from(sites) * nodes as usize;
            let node = busiest(homes().flat_map(|home| home.nodes).flatten(), all);
            println!("{sites} x {nodes}: busiest site {site}, busiest node {node} hundredths");
            assert!(site <= site_max && node <= node_max, "{sites} x {nodes}: {site} {node}");
        }
    }

    #[test]
    fn a_site_has_the_share_that_it_weighs() {
        // Twenty sites of 4, one of 8, one of 16: together 104.
        let mut sites = equal(20, 4);
        sites.0.extend([(90, 8), (91, 16)]);
        let first = |at: u16| {
            let plans = plan(&sites);
            let best = plans.iter().filter(|homes| homes.0[0].site == site(at));
            best.count() * 104 * 100 / usize::from(BUCKETS)
        };
        let (eight, sixteen) = (first(90), first(91));
        println!("weight 8 acts as {eight}, 16 as {sixteen} hundredths");
        assert!((700..900).contains(&eight), "{eight}");
        assert!((1450..1750).contains(&sixteen), "{sixteen}");
    }

    /// Copies that move when the first becomes the second.
    fn moved(before: &Sites, after: &Sites) -> usize {
        let both = plan(before).into_iter().zip(plan(after));
        let moved = both.map(|(old, new)| {
            let stays = |home: &Home| old.0.iter().any(|one| one.site == home.site);
            new.0.iter().filter(|home| !stays(home)).count()
        });
        moved.sum()
    }

    #[test]
    fn only_the_share_of_a_site_that_comes_or_goes_moves() {
        let (twenty, twenty_one) = (equal(20, 5), equal(21, 5));
        let all = usize::from(BUCKETS) * 3;
        for (before, after) in [(&twenty, &twenty_one), (&twenty_one, &twenty)] {
            let moved = moved(before, after);
            println!("{moved} of {all} copies move, {} must", all / 21);
            assert!(moved <= all / 21 * 12 / 10, "{moved} of {all}");
        }
        // One node of five less is no step of the weight; one of four is.
        let mut less = twenty.clone();
        less.0[7].1 = 4;
        assert_eq!(moved(&twenty, &less), 0);
        less.0[7].1 = 3;
        let moved = moved(&twenty, &less);
        println!("{moved} of {all} copies move with a quarter of one site's weight");
        assert!(moved <= all / 20 / 4 * 14 / 10, "{moved} of {all}");
    }

    #[test]
    fn a_node_that_goes_moves_only_its_own_buckets() {
        let before = equal(1, 5);
        let plans = plan(&before);
        let gone = node(site(0), 2);
        let mut moved = 0;
        #[derive(Debug)]
        struct Without(Sites, Peer);
        impl Atlas for Without {
            fn sites(&self) -> Vec<(SiteId, u32)> {
                self.0.sites()
            }
            fn is_reachable(&self, site: SiteId) -> bool {
                self.0.is_reachable(site)
            }
            fn nodes(&self, site: SiteId) -> Vec<Peer> {
                let mut nodes = self.0.nodes(site);
                nodes.retain(|node| *node != self.1);
                nodes
            }
            fn distance_us(&self, _node: NodeId, _site: SiteId) -> u64 {
                0
            }
        }
        let after = Without(before, gone);
        for (bucket, old) in (0..).zip(&plans) {
            let new = Homes::of(&after, bucket);
            let (was, is) = (old.0[0].nodes, new.0[0].nodes);
            if was.contains(&Some(gone)) {
                moved += 1;
                let left = was.iter().flatten().find(|node| **node != gone);
                assert!(is.contains(&left.copied()), "the other copy stays");
            } else {
                assert_eq!(was, is);
            }
        }
        println!("{moved} of {BUCKETS} buckets had a copy there");
    }
}
