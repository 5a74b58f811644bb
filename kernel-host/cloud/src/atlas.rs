//! The whole cluster on one page: which VM, image and node is where, and how fresh that is.
//!
//! Does:      joins the directory, the records of all sites kept here and the node's own tables;
//!            answers lists with ages, and says in words what may be missing.
//! Does not:  keep anything: it is made for a question and dropped; nor change anything.
//! Bounds:    as large as the records that the overlay keeps; `NOTES_MAX` notes.
//! Trusts:    records only as far as their authors may speak (`overlay` saw to that), and never
//!            more than the node's own tables.
//! Start at:  `Atlas::new`, then `find` for names and `placing` for new VMs.

use crate::{
    Cloud,
    bodies::{ImageFact, ImagesBody, VmBody, decode_capacity},
    sights::{NodeSight, SiteSight},
};
use protocol::peer::{Record, RecordKind};
use protocol::{
    ByteCount, Capacity, Image, Name, NodeEntry, NodeId, Page, PageRequest, Place, SiteEntry,
    SiteId, Standing, Timestamp, Vm, VmId, VmState, Wish, limits,
};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

/// Notes of one answer; the rest is counted in a last one.
const NOTES_MAX: usize = 20;

/// A VM as far as it is known, and what a newer statement about it has to top.
#[derive(Debug, Clone)]
pub struct KnownVm {
    pub vm: Vm,
    pub epoch: u64,
    /// The site whose nodes keep its record.
    pub realm: Option<SiteId>,
    /// Its host can be asked.
    pub reachable: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Atlas {
    pub(crate) me: NodeId,
    pub(crate) nodes: BTreeMap<NodeId, NodeSight>,
    pub(crate) sites: BTreeMap<SiteId, SiteSight>,
    /// Identities that were lost, and the machine's new ones.
    replaced: BTreeMap<NodeId, NodeId>,
    pub(crate) vms: BTreeMap<(Name, VmId), KnownVm>,
    pub(crate) images: BTreeMap<NodeId, Vec<ImageFact>>,
    pub(crate) capacities: BTreeMap<NodeId, Capacity>,
    now: Timestamp,
}

impl Atlas {
    /// `nodes` holds the asking node too; `records` may hold any kinds.
    pub fn new<R: Borrow<Record>>(
        now: Timestamp,
        cloud: &Cloud,
        nodes: Vec<NodeSight>,
        sites: Vec<SiteSight>,
        records: impl IntoIterator<Item = R>,
    ) -> Self {
        let replaced = nodes
            .iter()
            .filter_map(|node| Some((node.replaces?, node.id)));
        let mut atlas = Self {
            me: cloud.node(),
            replaced: replaced.collect(),
            nodes: nodes.into_iter().map(|node| (node.id, node)).collect(),
            sites: sites.into_iter().map(|site| (site.id, site)).collect(),
            vms: BTreeMap::new(),
            images: BTreeMap::new(),
            capacities: BTreeMap::new(),
            now,
        };
        for record in records {
            atlas.read(record.borrow());
        }
        atlas.read_own(cloud);
        atlas.label();
        atlas
    }

    /// The node alone.
    pub fn alone(now: Timestamp, cloud: &Cloud, name: &str) -> Self {
        let node = NodeSight::alone(cloud.node(), name);
        Self::new(now, cloud, vec![node], Vec::new(), [] as [Record; 0])
    }

    fn read(&mut self, record: &Record) {
        let key = &record.key;
        let author = record.author;
        let body = record.body.as_slice();
        match key.kind {
            RecordKind::VM if !record.ended => {
                if let Ok(body) = VmBody::decode(body) {
                    let realm = match key.realm {
                        protocol::peer::Realm::Site(site) => Some(site),
                        protocol::peer::Realm::Cluster => None,
                    };
                    let vm = body.into_vm(VmId::from_bytes(key.subject));
                    self.add_vm(vm, record.version.epoch, realm, record.written.wall());
                }
            }
            RecordKind::IMAGES if key.subject == author.bytes() => {
                if let Ok(body) = ImagesBody::decode(body) {
                    self.images.insert(author, body.images);
                }
            }
            RecordKind::CAPACITY if key.subject == author.bytes() => {
                if let Ok(capacity) = decode_capacity(body) {
                    self.capacities.insert(author, capacity);
                }
            }
            _ => {}
        }
    }

    /// The host's word is law; that of a host that is gone for good is its last.
    fn add_vm(&mut self, mut vm: Vm, epoch: u64, realm: Option<SiteId>, written: Timestamp) {
        // Our own VMs come from our own tables; one that is not there is gone.
        if vm.node == self.me && vm.state != VmState::Deleting {
            return;
        }
        let mut place = self.place(vm.node);
        if place.age_ms.is_none() && vm.node != self.me {
            // A host that this node watches itself would have told of a change.
            let age_ms = self.now.ms_since(written);
            place.age_ms = Some(if place.reachable { 0 } else { age_ms });
        }
        if let Some(why) = self.gone_for_good(vm.node)
            && vm.state != VmState::Lost
        {
            (vm.state, vm.reason) = (VmState::Lost, Some(why));
        }
        let reachable = place.reachable;
        vm.place = Some(place);
        let known = KnownVm {
            vm,
            epoch,
            realm,
            reachable,
        };
        self.vms.insert((known.vm.name.clone(), known.vm.id), known);
    }

    fn read_own(&mut self, cloud: &Cloud) {
        let me = self.me;
        let place = Place {
            age_ms: None,
            reachable: true,
            ..self.place(me)
        };
        let realm = self.nodes.get(&me).map(|node| node.site);
        self.vms.retain(|_, known| known.vm.node != me);
        for vm in cloud.vms() {
            let vm = Vm {
                place: Some(place.clone()),
                ..vm.clone()
            };
            let known = KnownVm {
                epoch: cloud.epoch(vm.id),
                reachable: true,
                realm,
                vm,
            };
            self.vms.insert((known.vm.name.clone(), known.vm.id), known);
        }
        self.images.insert(me, cloud.images_body().images);
        self.capacities.insert(me, cloud.capacity());
    }

    /// Names that are not alone say where they are.
    fn label(&mut self) {
        let mut by_name: BTreeMap<&Name, Vec<(Option<&Name>, &str)>> = BTreeMap::new();
        for ((name, _), known) in &self.vms {
            if let Some(place) = &known.vm.place {
                let all = by_name.entry(name).or_default();
                all.push((place.site.as_ref(), place.name.as_str()));
            }
        }
        let mut labels = Vec::new();
        for ((name, id), known) in &self.vms {
            let all = by_name.get(name).map(Vec::as_slice).unwrap_or_default();
            let place = known.vm.place.as_ref();
            let (site, node) = place.map_or((None, ""), |p| (p.site.as_ref(), p.name.as_str()));
            let same_site = all.iter().filter(|(other, _)| *other == site).count();
            let same_node = all.iter().filter(|(_, other)| *other == node).count();
            labels.push(match site {
                _ if all.len() < 2 => name.to_string(),
                Some(site) if same_site == 1 => format!("{name}~{site}"),
                _ if same_node == 1 && node.parse::<Name>().is_ok() => format!("{name}~{node}"),
                _ => id.to_string(),
            });
        }
        for (known, label) in self.vms.values_mut().zip(labels) {
            known.vm.label = Some(label);
        }
    }

    /// Why a node will never come back, if it won't.
    fn gone_for_good(&self, node: NodeId) -> Option<String> {
        let shown = self
            .nodes
            .get(&node)
            .map_or_else(|| node.short(), NodeSight::shown);
        if let Some(new) = self.replaced.get(&node) {
            let now = self
                .nodes
                .get(new)
                .map_or_else(|| new.short(), NodeSight::shown);
            return Some(format!(
                "its host {shown} lost power and has no disk; the machine is {now} now, \
                 and the VM's memory and private disk are lost"
            ));
        }
        let removed = self.nodes.get(&node).is_some_and(|node| node.removed);
        removed.then(|| format!("its host {shown} was removed from the cluster"))
    }

    /// Where a node is, and how fresh what it said is.
    pub fn place(&self, node: NodeId) -> Place {
        let sight = self.nodes.get(&node);
        Place {
            node,
            name: sight.map_or_else(|| node.short(), NodeSight::shown),
            site: sight.and_then(|node| self.site_name(node.site)),
            reachable: sight.is_some_and(|node| node.standing.may_answer() && !node.removed),
            age_ms: sight.and_then(|node| node.age_ms),
        }
    }

    pub fn site_name(&self, site: SiteId) -> Option<Name> {
        self.sites.get(&site).map(|site| site.name.clone())
    }

    /// The site of the asking node. `None`: it belongs to no cluster.
    pub fn own_site(&self) -> Option<SiteId> {
        let site = self.nodes.get(&self.me)?.site;
        self.sites.contains_key(&site).then_some(site)
    }

    /// One page of the VMs that a wish selects.
    pub fn vms(&self, wish: &Wish, page: &PageRequest) -> Result<Page<Vm>, crate::Refusal> {
        let only = self.chosen(wish)?;
        let fitting = self
            .vms
            .iter()
            .filter(|((name, id), _)| is_behind(page, name, || (*id).into()))
            .map(|(_, known)| &known.vm)
            .filter(|vm| only.as_ref().is_none_or(|only| only.contains(&vm.node)));
        let mut found = Page::cut(fitting.cloned(), page.limit, |vm| {
            format!("{}~{}", vm.name, vm.id)
        });
        found.notes = self.notes(only.as_ref());
        Ok(found)
    }

    /// One page of the images that a wish selects; equal ones are told once, with their nodes.
    pub fn images(&self, wish: &Wish, page: &PageRequest) -> Result<Page<Image>, crate::Refusal> {
        let only = self.chosen(wish)?;
        let found = self.joined_images(only.as_ref(), |_| true);
        let behind = found
            .into_iter()
            .filter(|((name, id), _)| match id.parse::<Name>() {
                Ok(id) => is_behind(page, name, || id.clone()),
                Err(_) => false,
            });
        let mut found = Page::cut(behind, page.limit, |((name, id), _)| format!("{name}~{id}"));
        let items = std::mem::take(&mut found.items);
        Ok(Page {
            items: items.into_iter().map(|(_, image)| image).collect(),
            next: found.next,
            notes: self.notes(only.as_ref()),
        })
    }

    /// The images with this name, one for each content.
    pub(crate) fn named_images(
        &self,
        name: &Name,
        wish: &Wish,
    ) -> Result<Vec<Image>, crate::Refusal> {
        let only = self.chosen(wish)?;
        let found = self.joined_images(only.as_ref(), |other| other == name);
        Ok(found.into_values().collect())
    }

    fn joined_images(
        &self,
        only: Option<&BTreeSet<NodeId>>,
        wanted: impl Fn(&Name) -> bool,
    ) -> BTreeMap<(Name, String), Image> {
        let mut found: BTreeMap<(Name, String), Image> = BTreeMap::new();
        for (node, facts) in &self.images {
            if only.is_some_and(|only| !only.contains(node)) || self.is_past(*node) {
                continue;
            }
            for fact in facts.iter().filter(|fact| wanted(&fact.name)) {
                let key = (fact.name.clone(), content_of(fact));
                let image = found.entry(key).or_insert_with(|| shown(fact));
                if !image.places.is_empty() {
                    image.vms = image.vms.saturating_add(fact.vms);
                }
                image.created_at = image.created_at.min(fact.created_at);
                image.places.push(self.place(*node));
            }
        }
        found
    }

    /// All nodes, the machines' newest identities only.
    pub fn nodes(
        &self,
        wish: &Wish,
        page: &PageRequest,
    ) -> Result<Page<NodeEntry>, crate::Refusal> {
        let only = self.chosen(wish)?;
        let mut entries: Vec<NodeEntry> = self
            .nodes
            .values()
            .filter(|node| !self.is_past(node.id))
            .filter(|node| only.as_ref().is_none_or(|only| only.contains(&node.id)))
            .map(|node| self.entry(node))
            .collect();
        entries.sort_by_cached_key(|node| (sortable(&node.name), node.id));
        let behind = entries
            .into_iter()
            .filter(|node| is_behind(page, &sortable(&node.name), || node.id.into()));
        let next = |node: &NodeEntry| format!("{}~{}", sortable(&node.name), node.id);
        let mut found = Page::cut(behind, page.limit, next);
        found.notes = self.notes(only.as_ref());
        Ok(found)
    }

    /// What is known of one node.
    pub fn entry(&self, node: &NodeSight) -> NodeEntry {
        let reason = match (self.replaced.get(&node.id), node.removed) {
            (Some(new), _) => Some(format!("its machine is {} now", self.place(*new).name)),
            (None, true) => Some("it was removed from the cluster".to_owned()),
            _ => None,
        };
        NodeEntry {
            id: node.id,
            name: node.shown(),
            site: self.site_name(node.site),
            state: node.standing,
            reason,
            address: node.address.map(|address| address.to_string()),
            boots: node.boots,
            capacity: self.capacities.get(&node.id).copied(),
            age_ms: node.age_ms,
        }
    }

    /// All sites, by name.
    pub fn sites(&self) -> Page<SiteEntry> {
        let mut items: Vec<SiteEntry> = self.sites.values().map(|site| self.site(site)).collect();
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Page {
            items,
            next: None,
            notes: self.notes(None),
        }
    }

    fn site(&self, site: &SiteSight) -> SiteEntry {
        let all = self.nodes.values().filter(|node| node.site == site.id);
        let all: Vec<&NodeSight> = all.filter(|node| !self.is_past(node.id)).collect();
        let alive = all.iter().filter(|node| node.standing.may_answer());
        let known = alive
            .clone()
            .filter_map(|node| self.capacities.get(&node.id));
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        SiteEntry {
            id: site.id,
            name: site.name.clone(),
            reachable: site.reachable,
            nodes: count(all.len()),
            alive: count(alive.count()),
            vms: known.clone().map(|capacity| capacity.vms).sum(),
            free: known.map(Capacity::free).sum::<ByteCount>(),
            round_trip_us: site.round_trip_us,
            age_ms: site.age_ms,
        }
    }

    /// Whether an identity is of the past: its machine has another, or it was removed.
    pub(crate) fn is_past(&self, node: NodeId) -> bool {
        self.replaced.contains_key(&node) || self.nodes.get(&node).is_some_and(|node| node.removed)
    }

    /// The nodes that a wish names. `None`: all.
    fn chosen(&self, wish: &Wish) -> Result<Option<BTreeSet<NodeId>>, crate::Refusal> {
        let site = wish
            .site
            .as_ref()
            .map(|site| self.find_site(site))
            .transpose()?;
        let node = wish
            .node
            .as_ref()
            .map(|node| self.find_node(node))
            .transpose()?;
        Ok(match (node, site) {
            (None, None) => None,
            (Some(node), _) => Some([node.id].into()),
            (None, Some(site)) => {
                let members = self.nodes.values().filter(|node| node.site == site);
                Some(members.map(|node| node.id).collect())
            }
        })
    }

    /// What may be missing or old, in words.
    fn notes(&self, only: Option<&BTreeSet<NodeId>>) -> Vec<String> {
        let asked = |node: &NodeSight| only.is_none_or(|only| only.contains(&node.id));
        let mut notes = Vec::new();
        for site in self.sites.values() {
            let mut members = self.nodes.values().filter(|node| node.site == site.id);
            if !members.any(asked) && only.is_some() {
                continue;
            }
            let name = &site.name;
            if !site.reachable {
                notes.push(match site.age_ms {
                    Some(ms) => format!(
                        "site `{name}` does not answer; last heard of {} ago",
                        age(ms)
                    ),
                    None => format!("site `{name}` does not answer"),
                });
            } else if !site.kept {
                notes.push(format!(
                    "site `{name}` keeps its own lists; ask for them with --site {name}"
                ));
            }
        }
        let silent = self.nodes.values().filter(|node| {
            let site_answers = self.sites.get(&node.site).is_none_or(|site| site.reachable);
            asked(node) && site_answers && !self.is_past(node.id) && node.standing != Standing::Left
        });
        for node in silent.filter(|node| !node.standing.may_answer()) {
            let at = self
                .site_name(node.site)
                .map(|site| format!(" of site `{site}`"));
            let since = node
                .age_ms
                .map(|ms| format!("; last known alive {} ago", age(ms)));
            notes.push(format!(
                "node `{}`{} does not answer{}",
                node.shown(),
                at.unwrap_or_default(),
                since.unwrap_or_default()
            ));
        }
        let more = notes.len().saturating_sub(NOTES_MAX);
        notes.truncate(NOTES_MAX);
        if more > 0 {
            notes.push(format!("and {more} more"));
        }
        notes
    }
}

/// For people: `5 s`, `3 min`, `2 h`.
fn age(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// A node's name as a place in a list; names that are no labels come by their letters.
fn sortable(name: &str) -> Name {
    let label: String = name
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(limits::NAME_CHARS_MAX)
        .collect();
    let label = label.trim_matches('-').parse();
    label.unwrap_or_else(|_| NodeId::from_bytes([0; 16]).into())
}

/// Whether a thing comes after the last one of the page before.
fn is_behind(page: &PageRequest, name: &Name, id: impl Fn() -> Name) -> bool {
    match (&page.after, &page.after_id) {
        (None, _) => true,
        (Some(after), None) => name > after,
        (Some(after), Some(after_id)) => name > after || (name == after && id() > *after_id),
    }
}

/// Equal for images that are the same, different otherwise; a label.
fn content_of(fact: &ImageFact) -> String {
    let mut hasher = protocol::Hasher::new();
    for part in [Some(fact.kernel), fact.initrd, fact.disk] {
        match part {
            Some(part) => hasher.update(&part.digest.bytes()),
            None => hasher.update(&[0]),
        }
    }
    hasher.update(fact.cmdline.as_bytes());
    hasher.finish().to_string()[..32].to_owned()
}

fn shown(fact: &ImageFact) -> Image {
    let mut image = Image {
        name: fact.name.clone(),
        kernel: fact.kernel,
        initrd: fact.initrd,
        disk: fact.disk,
        cmdline: fact.cmdline.clone(),
        size: ByteCount::ZERO,
        created_at: fact.created_at,
        vms: fact.vms,
        places: Vec::new(),
    };
    image.size = image.parts().map(|part| part.size).sum();
    image
}
