//! Names to things, and new VMs to nodes.
//!
//! Does:      finds the one VM, image, node or site that is meant; ranks the nodes that could take
//!            a new VM, the least loaded first.
//! Does not:  reserve anything: the chosen node may refuse, and the next one is asked.
//! Bounds:    `CANDIDATES_MAX` nodes are worth asking.
//! Trusts:    capacities for what their nodes said last; the host's own word decides.
//! Start at:  `Atlas::candidates`.

use crate::{
    Refusal,
    atlas::{Atlas, KnownVm},
    bodies::ImageFact,
    machines::listed,
    sights::NodeSight,
};
use protocol::{
    ByteCount, Capacity, DiskUse, Name, NewVm, NodeId, Selector, SiteId, VmId, VmState, Wish,
    limits, nearest,
};

/// Nodes that are asked one after the other before the last refusal is told.
const CANDIDATES_MAX: usize = 3;

impl Atlas {
    /// The one VM that is meant: its name, `name~site`, `name~node`, id, or the start of an id.
    pub fn find(&self, selector: &Selector) -> Result<&KnownVm, Refusal> {
        let named = self.named(selector.name());
        let at = |known: &&KnownVm| match (selector.place(), &known.vm.place) {
            (None, _) => true,
            (Some(wanted), Some(place)) => {
                place.site.as_ref() == Some(wanted) || place.name == wanted.as_str()
            }
            (Some(_), None) => false,
        };
        let mut found: Vec<&KnownVm> = named.filter(at).collect();
        if let (true, Some(start)) = (found.is_empty(), selector.id_start(VmId::PREFIX)) {
            let fits = |known: &&KnownVm| known.vm.id.to_string().starts_with(start);
            found = self.vms.values().filter(fits).collect();
        }
        match found.as_slice() {
            [one] => Ok(one),
            [] => {
                let labels = self
                    .vms
                    .values()
                    .filter_map(|known| known.vm.label.as_deref());
                Err(not_found("VM", selector.as_str(), labels))
            }
            several => Err(ambiguous(
                "VMs",
                selector,
                several.iter().map(|known| {
                    known
                        .vm
                        .label
                        .clone()
                        .unwrap_or_else(|| known.vm.id.to_string())
                }),
            )),
        }
    }

    /// The one node that is meant.
    pub fn find_node(&self, selector: &Selector) -> Result<&NodeSight, Refusal> {
        let text = selector.as_str();
        let current = || self.nodes.values().filter(|node| !self.is_past(node.id));
        let at = |node: &&NodeSight| match selector.place() {
            None => true,
            Some(place) => self.site_name(node.site).as_ref() == Some(place),
        };
        let named = |node: &&NodeSight| node.name.as_deref() == Some(selector.name().as_str());
        let mut found: Vec<&NodeSight> = current().filter(named).filter(at).collect();
        if let (true, Some(start)) = (found.is_empty(), selector.id_start(NodeId::PREFIX)) {
            let fits = |node: &&NodeSight| node.id.to_string().starts_with(start);
            found = self.nodes.values().filter(fits).collect();
        }
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(not_found(
                "node",
                text,
                current().filter_map(|node| node.name.as_deref()),
            )),
            several => Err(ambiguous(
                "nodes",
                selector,
                several.iter().map(|node| match self.site_name(node.site) {
                    Some(site) => format!("{}~{site} ({})", node.shown(), node.id.short()),
                    None => node.id.short(),
                }),
            )),
        }
    }

    /// The site of this name.
    pub fn find_site(&self, name: &Name) -> Result<SiteId, Refusal> {
        let found = self.sites.values().find(|site| site.name == *name);
        found.map(|site| site.id).ok_or_else(|| {
            let names = self.sites.values().map(|site| site.name.as_str());
            not_found("site", name.as_str(), names)
        })
    }

    /// A node that answers and has the image, the asking node first.
    pub fn holder_of(&self, image: &Name) -> Result<NodeId, Refusal> {
        let mut holders: Vec<NodeId> = self.holders(image).collect();
        holders.sort_by_key(|node| (*node != self.me, !self.place(*node).reachable, *node));
        holders
            .first()
            .copied()
            .ok_or_else(|| self.no_such_image(image))
    }

    pub(crate) fn no_such_image(&self, image: &Name) -> Refusal {
        let all = self.images.values().flatten();
        not_found("image", image.as_str(), all.map(|fact| fact.name.as_str()))
    }

    /// Whom to ask about a site whose records are not kept here. `None`: they are, or nobody of
    /// it answers.
    pub fn keeper_of(&self, site: SiteId) -> Option<NodeId> {
        if self.sites.get(&site).is_none_or(|site| site.kept) {
            return None;
        }
        self.someone_of(site, None)
    }

    /// A node of the site that answers, and is not the one named.
    pub fn someone_of(&self, site: SiteId, but: Option<NodeId>) -> Option<NodeId> {
        let of_site = self.nodes.values().filter(|node| node.site == site);
        let answers = |node: &&NodeSight| node.standing.may_answer() && !self.is_past(node.id);
        let other = |node: &&NodeSight| Some(node.id) != but;
        of_site
            .filter(answers)
            .filter(other)
            .map(|node| node.id)
            .next()
    }

    fn holders<'a>(&'a self, image: &'a Name) -> impl Iterator<Item = NodeId> {
        self.images
            .iter()
            .filter(|(node, facts)| {
                !self.is_past(**node) && facts.iter().any(|fact| fact.name == *image)
            })
            .map(|(node, _)| *node)
    }

    /// The nodes to ask for a new VM, the best first.
    pub fn candidates(&self, new: &NewVm, wish: &Wish) -> Result<Vec<NodeId>, Refusal> {
        let node = wish
            .node
            .as_ref()
            .map(|node| self.find_node(node))
            .transpose()?;
        let site = wish
            .site
            .as_ref()
            .map(|site| self.find_site(site))
            .transpose()?;
        if let Some(node) = node {
            if site.is_some_and(|site| site != node.site) {
                return Err(elsewhere(node, wish));
            }
            self.check_answers(node)?;
            return match self.taken(&new.name, node.site).transpose()? {
                Some(host) if host != node.id => Err(Refusal::NameTaken {
                    kind: "VM",
                    name: new.name.clone(),
                }),
                _ => Ok(vec![node.id]),
            };
        }
        let Some(site) = site.or_else(|| self.own_site()) else {
            return Ok(vec![self.me]); // a node alone is its own site
        };
        if let Some(host) = self.taken(&new.name, site) {
            return Ok(vec![host?]);
        }
        let mut fitting = Vec::new();
        let mut best_free = None;
        for node in self.nodes.values().filter(|node| node.site == site) {
            let answers = node.standing.may_answer() && !self.is_past(node.id);
            let image = self.image_on(node.id, &new.image).filter(|_| answers);
            let (Some(image), Some(is)) = (image, self.capacities.get(&node.id)) else {
                continue;
            };
            let needs = needed(new, image);
            best_free = best_free.max(Some((is.free(), is.memory, needs)));
            if is.free() >= needs {
                fitting.push((!is.kvm, fullness_with(is, new, needs), node.id));
            }
        }
        fitting.sort_unstable();
        if !fitting.is_empty() {
            let best = fitting.into_iter().map(|(.., node)| node);
            return Ok(best.take(CANDIDATES_MAX).collect());
        }
        Err(match best_free {
            Some((free, capacity, asked)) => Refusal::NoCapacity {
                what: format!("VM `{}`", new.name),
                asked,
                free,
                capacity,
            },
            None => self.no_image(&new.image, site),
        })
    }

    /// Names are unique in a site, as far as this island knows. A taken name is for its host to
    /// tell: the request may be the very one that made the VM, come again.
    fn taken(&self, name: &Name, site: SiteId) -> Option<Result<NodeId, Refusal>> {
        self.own_site()?;
        let of_site = |known: &&KnownVm| {
            let site_of = self.nodes.get(&known.vm.node).map(|node| node.site);
            site_of.or(known.realm) == Some(site) && known.vm.state != VmState::Deleting
        };
        let mut named = self.named(name).filter(of_site);
        let known = named.next()?;
        Some(match known.reachable {
            true => Ok(known.vm.node),
            false => Err(Refusal::NameTaken {
                kind: "VM",
                name: name.clone(),
            }),
        })
    }

    fn named(&self, name: &Name) -> impl Iterator<Item = &KnownVm> {
        let first = (name.clone(), VmId::from_bytes([0; 16]));
        let last = (name.clone(), VmId::from_bytes([255; 16]));
        self.vms.range(first..=last).map(|(_, known)| known)
    }

    /// Whether asking a node makes sense.
    pub fn check_answers(&self, node: &NodeSight) -> Result<(), Refusal> {
        if node.id == self.me || node.standing.may_answer() {
            return Ok(());
        }
        Err(Refusal::HostSilent {
            node: node.shown(),
            what: None,
        })
    }

    fn image_on(&self, node: NodeId, image: &Name) -> Option<&ImageFact> {
        self.images
            .get(&node)?
            .iter()
            .find(|fact| fact.name == *image)
    }

    fn no_image(&self, image: &Name, site: SiteId) -> Refusal {
        let holders: Vec<NodeId> = self.holders(image).collect();
        if holders.is_empty() {
            return self.no_such_image(image);
        }
        let names: Vec<Name> = holders
            .iter()
            .filter_map(|node| self.place(*node).name.parse().ok())
            .collect();
        Refusal::ImageElsewhere {
            image: image.clone(),
            site: self.site_name(site),
            holders: listed(names.iter()),
        }
    }
}

fn needed(new: &NewVm, image: &ImageFact) -> ByteCount {
    let disk = image.disk.filter(|_| new.disk == DiskUse::Private);
    let disk = disk.map_or(ByteCount::ZERO, |part| part.size);
    new.memory
        .saturating_add(limits::VM_OVERHEAD)
        .saturating_add(disk)
}

fn fullness_with(is: &Capacity, new: &NewVm, needs: ByteCount) -> u64 {
    let then = Capacity {
        vcpus: is.vcpus.saturating_add(u32::from(new.vcpus)),
        reserved: is.reserved.saturating_add(needs),
        ..*is
    };
    then.fullness_permille()
}

fn elsewhere(node: &NodeSight, wish: &Wish) -> Refusal {
    let site = wish.site.as_ref().map(Name::to_string).unwrap_or_default();
    Refusal::BadValue {
        what: "node",
        why: format!("`{}` is not in site `{site}`", node.shown()),
        advice: "Leave one of the two out; luc node list shows who is where".to_owned(),
    }
}

fn not_found<'a>(
    kind: &'static str,
    what: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Refusal {
    Refusal::NotFound {
        kind,
        what: what.to_owned(),
        nearest: nearest(what, known).map(str::to_owned),
    }
}

fn ambiguous(
    kind: &'static str,
    selector: &Selector,
    all: impl Iterator<Item = String>,
) -> Refusal {
    let mut shown: Vec<String> = all.collect();
    shown.sort();
    let count = shown.len();
    shown.truncate(5);
    let more = if count > shown.len() { ", ..." } else { "" };
    Refusal::Ambiguous {
        what: selector.to_string(),
        kind,
        count,
        fitting: format!("{}{more}", shown.join(", ")),
    }
}
