//! Who should be whose neighbour, computed alike by everybody from what all know.
//!
//! Does:      a ring with chords inside a site; for each site a few others at random, and the one
//!            node of the site that holds the link to each.
//! Does not:  need a message: nodes whose views differ for a while just have a few links more.
//! Bounds:    `NEAR_MAX` near links; a site links to `FAR_SITES_MAX` others.
//! Trusts:    the lists it is given.
//! Start at:  `near`, `far`.
//!
//! Random graphs in which every vertex picks three others are connected with high probability, and
//! stay so in large part when half of the vertices fall out (computed in the tests).

use protocol::{NodeId, SiteId};

/// Neighbours in the own site: two beside us on the ring, two across.
pub const NEAR_MAX: usize = 4;
/// Far links that each node of a site holds, on average.
const FAR_PER_NODE: usize = 2;
/// Sites that one site links to, at least, if there are as many.
const FAR_SITES_MIN: usize = 3;
/// And at most.
const FAR_SITES_MAX: usize = 48;

/// How well two things go together: random, but the same everywhere and both ways round.
pub fn weight(a: &[u8; 16], b: &[u8; 16]) -> u64 {
    let number = |id: &[u8; 16]| {
        let (mut high, mut low) = ([0; 8], [0; 8]);
        high.copy_from_slice(&id[..8]);
        low.copy_from_slice(&id[8..]);
        mixed(u64::from_be_bytes(high) ^ mixed(u64::from_be_bytes(low)))
    };
    mixed(number(a).wrapping_add(number(b)))
}

const fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Our neighbours among the nodes of our site, ourselves among them; sorted.
pub fn near(me: NodeId, site: SiteId, members: &[NodeId]) -> Vec<NodeId> {
    let mut ring: Vec<(u64, NodeId)> = members
        .iter()
        .map(|node| (weight(&site.bytes(), &node.bytes()), *node))
        .collect();
    ring.sort_unstable();
    let count = ring.len();
    let Some(at) = ring.iter().position(|(_, node)| *node == me) else {
        return Vec::new();
    };
    let chord = count.isqrt().max(2);
    let steps = [1, count - 1, chord, count.saturating_sub(chord)];
    let mut near: Vec<NodeId> = steps
        .into_iter()
        .map(|step| ring[(at + step) % count].1)
        .filter(|node| *node != me)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.truncate(NEAR_MAX);
    near
}

/// The sites to which we, of all members of our site that are there, hold its link.
pub fn far(me: NodeId, site: SiteId, members: &[NodeId], sites: &[SiteId]) -> Vec<SiteId> {
    let mut others: Vec<(u64, SiteId)> = sites
        .iter()
        .filter(|other| **other != site)
        .map(|other| (weight(&site.bytes(), &other.bytes()), *other))
        .collect();
    others.sort_unstable();
    let count = members.len().saturating_mul(FAR_PER_NODE);
    others.truncate(count.clamp(FAR_SITES_MIN, FAR_SITES_MAX));
    others
        .into_iter()
        .map(|(_, other)| other)
        .filter(|other| holder(other, members) == Some(me))
        .collect()
}

/// Which of the members holds the link to another site.
fn holder(other: &SiteId, members: &[NodeId]) -> Option<NodeId> {
    let best = members
        .iter()
        .map(|node| (weight(&other.bytes(), &node.bytes()), *node));
    best.max().map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcore::dice::Dice;
    use std::collections::{BTreeMap, BTreeSet};

    fn node(site: u16, number: u16) -> NodeId {
        let mut bytes = [3; 16];
        bytes[..2].copy_from_slice(&site.to_be_bytes());
        bytes[2..4].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn site(number: u16) -> SiteId {
        let mut bytes = [9; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        SiteId::from_bytes(bytes)
    }

    /// All links of a cluster, both ways; far ends are chosen at random.
    fn graph(sites: u16, nodes: u16) -> BTreeMap<NodeId, BTreeSet<NodeId>> {
        let mut dice = Dice::new(11);
        let ids: Vec<SiteId> = (0..sites).map(site).collect();
        let mut links: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
        for (here, id) in (0..sites).zip(&ids) {
            let members: Vec<NodeId> = (0..nodes).map(|number| node(here, number)).collect();
            for me in &members {
                let mut ends = near(*me, *id, &members);
                for other in far(*me, *id, &members, &ids) {
                    let there = u16::try_from(dice.below(u64::from(nodes))).unwrap_or(0);
                    let at = ids.iter().position(|id| *id == other).unwrap_or(0);
                    ends.push(node(u16::try_from(at).unwrap_or(0), there));
                }
                for end in ends {
                    links.entry(*me).or_default().insert(end);
                    links.entry(end).or_default().insert(*me);
                }
            }
        }
        links
    }

    fn largest_part(links: &BTreeMap<NodeId, BTreeSet<NodeId>>) -> usize {
        let mut left: BTreeSet<NodeId> = links.keys().copied().collect();
        let mut largest = 0;
        while let Some(start) = left.pop_first() {
            let (mut size, mut edge) = (1, vec![start]);
            while let Some(at) = edge.pop() {
                for next in &links[&at] {
                    if left.remove(next) {
                        size += 1;
                        edge.push(*next);
                    }
                }
            }
            largest = largest.max(size);
        }
        largest
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn every_cluster_is_one_and_nodes_have_few_links() {
        //  sites nodes
        for (sites, nodes) in [(1, 2), (1, 3), (1, 20), (1, 100), (2, 1), (3, 2), (5, 1), (40, 1),
                               (300, 1), (30, 5), (250, 20)] {
            let links = graph(sites, nodes);
            let all = usize::from(sites) * usize::from(nodes);
            assert_eq!(largest_part(&links), all, "{sites} x {nodes}");
            let ends: usize = links.values().map(BTreeSet::len).sum();
            assert!(ends <= all * 9, "{sites} x {nodes}: {ends}");
        }
    }

    #[test]
    fn half_of_all_nodes_removed_leaves_almost_all_others_in_one_part() {
        let mut links = graph(250, 20);
        let mut dice = Dice::new(3);
        let gone: BTreeSet<NodeId> = links
            .keys()
            .copied()
            .filter(|_| dice.below(2) == 0)
            .collect();
        links.retain(|node, _| !gone.contains(node));
        links
            .values_mut()
            .for_each(|ends| ends.retain(|end| !gone.contains(end)));
        let (part, all) = (largest_part(&links), links.len());
        assert!(part * 100 >= all * 97, "{part} of {all}");
    }
}
