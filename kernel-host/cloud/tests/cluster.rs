//! Stories of several nodes: power cuts, cuts of the network, names, deletions and owners.
//!
//! How: real cores; records move between nodes by hand, by the rule of owned objects: a higher
//! epoch wins, in one epoch the owner's newer word.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod world;

use cloud::{
    Atlas, Cloud, Event, NodeSight, Publication, Refusal, SiteSight, VmFact, bodies::VmBody,
};
use protocol::peer::{Realm, Record, RecordKey, RecordKind, Signature, Stamp, Version, site};
use protocol::{
    Answer, ByteCount, Command, Name, NewVm, NodeId, PageRequest, Standing, Vm, VmId, VmState, Wish,
};
use std::collections::BTreeMap;
use world::World;

/// A node with its own copy of the records.
struct Node {
    world: World,
    site: Name,
    records: BTreeMap<(RecordKind, [u8; 16]), Record>,
    seq: u64,
    standing: Standing,
    replaces: Option<NodeId>,
}

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

impl Node {
    fn new(number: u8, site: &str) -> Self {
        let mut world = World::of_node(number, ByteCount::gib(1));
        world.add_image();
        world.event(Event::Machine {
            cpus: 4,
            load_permille: 20,
            kvm: true,
        });
        world.cloud.start_publishing(world.now());
        Self {
            world,
            site: site.parse().unwrap(),
            records: BTreeMap::new(),
            seq: 0,
            standing: Standing::Alive,
            replaces: None,
        }
    }

    fn id(&self) -> NodeId {
        self.world.cloud.node()
    }

    /// The overlay's part: numbers and signs what the core publishes.
    fn publish(&mut self, publication: Publication) {
        self.seq += 1;
        let record = Record {
            key: RecordKey {
                realm: Realm::Site(site::id_of(&self.site)),
                kind: publication.kind,
                subject: publication.subject,
            },
            author: self.id(),
            version: Version {
                epoch: publication.epoch,
                seq: self.seq,
            },
            written: Stamp::from_wall(self.world.now().wall),
            ended: publication.ended,
            body: publication.body,
            signature: Signature([0; 64]),
        };
        self.store(record);
    }

    fn store(&mut self, record: Record) -> bool {
        let key = (record.key.kind, record.key.subject);
        let newer = self.records.get(&key).is_none_or(|old| {
            record.version.epoch > old.version.epoch
                || (record.version.epoch == old.version.epoch
                    && record.author == old.author
                    && record.version.seq > old.version.seq)
        });
        if newer {
            self.records.insert(key, record);
        }
        newer
    }

    fn learn(&mut self, record: &Record) {
        if record.key.kind == RecordKind::VM {
            let fact = VmFact {
                vm: VmId::from_bytes(record.key.subject),
                epoch: record.version.epoch,
                is_ours: record.author == self.world.cloud.node(),
                ended: record.ended,
                body: &record.body,
            };
            self.world.cloud.learn(self.world.now(), fact);
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.world.perform();
        for publication in std::mem::take(&mut self.world.told) {
            self.publish(publication);
        }
    }

    fn create(&mut self, name: &str) -> Vm {
        let vm = self.world.create(name);
        self.world.boots(name);
        self.settle();
        vm
    }

    /// The power goes and comes back. What is on disk: identity and records.
    fn loses_power(&mut self, keeps_disk: bool, new_number: u8) {
        let old = self.id();
        let number = if keeps_disk {
            old.bytes()[0]
        } else {
            new_number
        };
        let mut world = World::of_node(number, ByteCount::gib(1));
        world.now_ms = self.world.now_ms + 30_000;
        world.cloud.start_publishing(world.now());
        self.world = world;
        if keeps_disk {
            let records: Vec<Record> = self.records.values().cloned().collect();
            records.iter().for_each(|record| self.learn(record));
        } else {
            self.records.clear();
            self.seq = 0;
            self.replaces = Some(old);
        }
        self.settle();
    }
}

/// Records go both ways until nothing is new; the parties are one island.
fn meet(nodes: &mut [Node], island: &[usize]) {
    for _ in 0..4 {
        for &from in island {
            nodes[from].settle();
            let records: Vec<Record> = nodes[from].records.values().cloned().collect();
            for &to in island.iter().filter(|to| **to != from) {
                for record in &records {
                    if nodes[to].store(record.clone()) {
                        nodes[to].learn(record);
                    }
                }
            }
        }
    }
}

fn atlas(nodes: &[Node], at: usize) -> Atlas {
    let sights = nodes.iter().enumerate().map(|(index, node)| NodeSight {
        standing: node.standing,
        age_ms: (index != at).then_some(if node.standing == Standing::Alive {
            900
        } else {
            200_000
        }),
        site: site::id_of(&node.site),
        replaces: node.replaces,
        ..NodeSight::alone(node.id(), ["a", "b", "c", "d"][index])
    });
    let sites: BTreeMap<&Name, bool> = nodes.iter().fold(BTreeMap::new(), |mut sites, node| {
        *sites.entry(&node.site).or_default() |= node.standing == Standing::Alive;
        sites
    });
    let sites = sites.into_iter().map(|(name, reachable)| SiteSight {
        id: site::id_of(name),
        name: name.clone(),
        reachable,
        round_trip_us: None,
        age_ms: (*name != nodes[at].site).then_some(2_000),
        kept: true,
    });
    let node = &nodes[at];
    Atlas::new(
        node.world.now().wall,
        &node.world.cloud,
        sights.collect(),
        sites.collect(),
        node.records.values(),
    )
}

/// `label state node reachable`, a line each.
fn listed(nodes: &[Node], at: usize) -> Vec<String> {
    let page = atlas(nodes, at)
        .vms(&Wish::default(), &PageRequest::default())
        .unwrap();
    let line = |vm: &Vm| {
        let place = vm.place.as_ref().unwrap();
        let silent = if place.reachable { "" } else { " unreachable" };
        format!(
            "{} {} {}{silent}",
            vm.label.as_ref().unwrap(),
            vm.state,
            place.name
        )
    };
    let mut lines: Vec<String> = page.items.iter().map(line).collect();
    lines.sort();
    lines
}

fn three() -> Vec<Node> {
    vec![
        Node::new(1, "ams"),
        Node::new(2, "ams"),
        Node::new(3, "lon"),
    ]
}

#[test]
fn every_node_gives_the_same_list() {
    let mut nodes = three();
    nodes[0].create("web");
    nodes[2].create("db");
    meet(&mut nodes, &[0, 1, 2]);
    for at in 0..3 {
        assert_eq!(
            listed(&nodes, at),
            ["db running c", "web running a"],
            "asked at {at}"
        );
    }
    let seen = atlas(&nodes, 1);
    let place = seen
        .find(&"web".parse().unwrap())
        .unwrap()
        .vm
        .place
        .clone()
        .unwrap();
    assert_eq!(
        (place.age_ms, place.site),
        (Some(900), Some("ams".parse().unwrap()))
    );
    let own = atlas(&nodes, 0)
        .find(&"web".parse().unwrap())
        .unwrap()
        .vm
        .place
        .clone()
        .unwrap();
    assert_eq!(own.age_ms, None, "the host's own word has no age");
}

#[test]
fn a_host_that_is_away_is_shown_with_its_last_word_and_named() {
    let mut nodes = three();
    nodes[0].create("web");
    meet(&mut nodes, &[0, 1, 2]);
    nodes[0].standing = Standing::Dead;
    assert_eq!(listed(&nodes, 2), ["web running a unreachable"]);
    let page = atlas(&nodes, 2)
        .vms(&Wish::default(), &PageRequest::default())
        .unwrap();
    assert_eq!(
        page.notes,
        ["node `a` of site `ams` does not answer; last known alive 3 min ago"]
    );
    nodes[1].standing = Standing::Dead;
    let page = atlas(&nodes, 2)
        .vms(&Wish::default(), &PageRequest::default())
        .unwrap();
    assert_eq!(
        page.notes,
        ["site `ams` does not answer; last heard of 2 s ago"]
    );
}

#[test]
fn a_host_that_comes_back_with_its_disk_tells_the_truth() {
    let mut nodes = three();
    nodes[0].create("web");
    nodes[0].create("idle");
    nodes[0].world.stop("idle", true, None);
    nodes[0].world.exits("idle");
    meet(&mut nodes, &[0, 1, 2]);
    nodes[0].loses_power(true, 0);
    meet(&mut nodes, &[0, 1, 2]);
    for at in 0..3 {
        assert_eq!(
            listed(&nodes, at),
            ["idle stopped a", "web stopped a"],
            "asked at {at}"
        );
    }
    let reason = |node: &Node, name: &str| node.world.reason(name);
    assert_eq!(
        reason(&nodes[0], "web"),
        "the node lost power; the VM's memory was lost"
    );
    assert_eq!(
        reason(&nodes[0], "idle"),
        "ended by force",
        "it lost nothing"
    );
    // Its image lived in memory: a clear reason, and a start once it is there again.
    let world = &mut nodes[0].world;
    let refused = world
        .ask(Command::StartVm("web".parse().unwrap()))
        .unwrap_err();
    assert!(matches!(refused, Refusal::ImageGone { .. }), "{refused}");
    assert!(
        refused.advice().contains("luc image add img"),
        "{}",
        refused.advice()
    );
    world.add_image();
    world.ask(Command::StartVm("web".parse().unwrap())).unwrap();
    world.boots("web");
    assert_eq!(world.vm("web").unwrap().starts, 2);
    meet(&mut nodes, &[0, 1, 2]);
    assert_eq!(listed(&nodes, 2), ["idle stopped a", "web running a"]);
}

#[test]
fn a_private_disk_that_was_lost_is_told_and_made_anew() {
    let mut nodes = three();
    let new = NewVm {
        disk: protocol::DiskUse::Private,
        ..NewVm::new("db".parse().unwrap(), "img".parse().unwrap())
    };
    nodes[0].world.ask(Command::CreateVm(new)).unwrap();
    nodes[0].settle();
    nodes[0].loses_power(true, 0);
    let world = &mut nodes[0].world;
    assert_eq!(
        world.reason("db"),
        "the node lost power; the VM's memory and private disk were lost"
    );
    world.add_image();
    let before = world.cloud.memory().reserved;
    world.ask(Command::StartVm("db".parse().unwrap())).unwrap();
    let held = world.cloud.memory().reserved.saturating_sub(before);
    assert_eq!(held, ByteCount::mib(128 + 8 + 1), "guest, monitor and disk");
}

#[test]
fn a_host_that_comes_back_without_its_disk_leaves_lost_vms_that_any_node_can_delete() {
    let mut nodes = three();
    let vm = nodes[0].create("web");
    meet(&mut nodes, &[0, 1, 2]);
    nodes[0].loses_power(false, 9);
    meet(&mut nodes, &[0, 1, 2]);
    for at in 0..3 {
        // Old and new identity are one machine: its name stands for the new one.
        let found = atlas(&nodes, at).find(&vm.id.into()).unwrap().vm.clone();
        assert_eq!(found.state, VmState::Lost, "asked at {at}");
        let reason = found.reason.unwrap();
        assert!(reason.contains("the machine is a now"), "{reason}");
        assert!(!found.place.unwrap().reachable);
    }
    let known = atlas(&nodes, 2).find(&vm.id.into()).unwrap().clone();
    let publication = Cloud::wish_to_delete(&known.vm, known.epoch, true);
    nodes[2].publish(publication);
    meet(&mut nodes, &[0, 1, 2]);
    for at in 0..3 {
        assert_eq!(listed(&nodes, at), [""; 0], "asked at {at}");
    }
}

#[test]
fn a_deletion_asked_for_while_the_host_is_away_is_done_on_its_return() {
    for (story, power_cut) in [("a cut of the network", false), ("a power cut", true)] {
        let mut nodes = three();
        let vm = nodes[0].create("web");
        meet(&mut nodes, &[0, 1, 2]);
        nodes[0].standing = Standing::Dead;
        let known = atlas(&nodes, 2)
            .find(&"web".parse().unwrap())
            .unwrap()
            .clone();
        assert!(!known.reachable);
        nodes[2].publish(Cloud::wish_to_delete(&known.vm, known.epoch, false));
        meet(&mut nodes, &[1, 2]);
        assert_eq!(listed(&nodes, 1), ["web deleting a unreachable"], "{story}");
        // Meanwhile the host says something newer, in its old epoch.
        nodes[0].world.stop("web", true, None);
        nodes[0].settle();
        if power_cut {
            nodes[0].loses_power(true, 0);
        }
        nodes[0].standing = Standing::Alive;
        meet(&mut nodes, &[0, 1, 2]);
        if !power_cut {
            nodes[0].world.exits("web");
        }
        meet(&mut nodes, &[0, 1, 2]);
        for at in 0..3 {
            assert_eq!(listed(&nodes, at), [""; 0], "{story}, asked at {at}");
            let record = &nodes[at].records[&(RecordKind::VM, vm.id.bytes())];
            assert!(record.ended, "{story}: deleted stays deleted");
        }
    }
}

#[test]
fn equal_names_from_two_islands_are_both_kept_and_both_shown() {
    let mut nodes = three();
    let (ours, theirs) = (nodes[0].create("web"), nodes[1].create("web"));
    nodes[2].create("web");
    meet(&mut nodes, &[0, 1, 2]);
    for at in 0..3 {
        let labels = ["web~a running a", "web~b running b", "web~lon running c"];
        assert_eq!(listed(&nodes, at), labels, "asked at {at}");
    }
    let atlas = atlas(&nodes, 2);
    let refused = atlas.find(&"web".parse().unwrap()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`web` fits 3 VMs: web~a, web~b, web~lon"
    );
    for (selector, wanted) in [
        ("web~a", ours.id),
        ("web~b", theirs.id),
        (&ours.id.to_string(), ours.id),
    ] {
        assert_eq!(
            atlas.find(&selector.parse().unwrap()).unwrap().vm.id,
            wanted
        );
    }
    assert!(
        atlas.find(&"web~ams".parse().unwrap()).is_err(),
        "two of them are in ams"
    );
}

#[test]
fn an_owner_of_a_higher_epoch_fences_the_old_one() {
    let mut nodes = three();
    let vm = nodes[0].create("web");
    meet(&mut nodes, &[0, 1, 2]);
    // Another node took it over while the host was away.
    let taken = VmBody {
        host: id(2),
        ..VmBody::from(&nodes[0].world.vm("web").unwrap())
    };
    nodes[1].publish(Publication {
        kind: RecordKind::VM,
        subject: vm.id.bytes(),
        epoch: 2,
        ended: false,
        body: taken.encode(),
    });
    nodes[0].world.asked();
    let record = nodes[1].records[&(RecordKind::VM, vm.id.bytes())].clone();
    assert!(nodes[0].store(record.clone()));
    nodes[0].learn(&record);
    assert_eq!(nodes[0].world.asked(), "kill:1", "its process ends");
    nodes[0].world.exits("web");
    nodes[0].settle();
    let after = &nodes[0].records[&(RecordKind::VM, vm.id.bytes())];
    assert_eq!(
        (after.version.epoch, after.ended),
        (2, false),
        "the old owner's end is nobody's"
    );
    assert_eq!(nodes[0].world.cloud.counters().vms_fenced, 1);
}

#[test]
fn a_new_vm_goes_to_the_least_loaded_node_that_has_the_image() {
    let mut nodes = three();
    nodes[0].create("a1");
    nodes[0].world.pass(1_000);
    meet(&mut nodes, &[0, 1, 2]);
    let new = |name: &str| NewVm::new(name.parse().unwrap(), "img".parse().unwrap());
    let wish = |node: Option<&str>, site: Option<&str>| Wish {
        node: node.map(|node| node.parse().unwrap()),
        site: site.map(|site| site.parse().unwrap()),
    };
    let ask = |nodes: &[Node], at: usize, new: &NewVm, wish: &Wish| {
        atlas(nodes, at).candidates(new, wish)
    };
    // Asked at a node of ams, of lon, and with wishes.
    assert_eq!(
        ask(&nodes, 0, &new("x"), &wish(None, None)).unwrap(),
        [id(2), id(1)]
    );
    assert_eq!(
        ask(&nodes, 2, &new("x"), &wish(None, None)).unwrap(),
        [id(3)]
    );
    assert_eq!(
        ask(&nodes, 2, &new("x"), &wish(None, Some("ams"))).unwrap(),
        [id(2), id(1)]
    );
    assert_eq!(
        ask(&nodes, 2, &new("x"), &wish(Some("a"), None)).unwrap(),
        [id(1)]
    );
    // What can't be, and why.
    for (at, name, wish, told) in [
        (
            2,
            "a1",
            wish(Some("b"), None),
            "A VM with the name `a1` exists already",
        ),
        (2, "x", wish(None, Some("asm")), "There is no site `asm`"),
        (2, "x", wish(Some("q"), None), "There is no node `q`"),
        (
            2,
            "x",
            wish(Some("a"), Some("lon")),
            "node: `a` is not in site `lon`",
        ),
    ] {
        assert_eq!(
            ask(&nodes, at, &new(name), &wish).unwrap_err().to_string(),
            told
        );
    }
    assert!(
        ask(&nodes, 2, &new("a1"), &wish(None, None)).is_ok(),
        "names are a site's own"
    );
    let taken = ask(&nodes, 2, &new("a1"), &wish(None, Some("ams")));
    assert_eq!(
        taken.unwrap(),
        [id(1)],
        "its host tells whether it is the same request again"
    );
    let huge = NewVm {
        memory: ByteCount::gib(2),
        ..new("x")
    };
    let refused = ask(&nodes, 0, &huge, &wish(None, None)).unwrap_err();
    assert!(matches!(refused, Refusal::NoCapacity { .. }), "{refused}");
    nodes[2]
        .world
        .ask(Command::DeleteImage("img".parse().unwrap()))
        .unwrap();
    meet(&mut nodes, &[0, 1, 2]);
    let refused = ask(&nodes, 0, &new("x"), &wish(None, Some("lon"))).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Image `img` is on no node of site `lon` that answers; it is on a, b"
    );
    nodes[1].standing = Standing::Dead;
    assert_eq!(
        ask(&nodes, 0, &new("x"), &wish(None, None)).unwrap(),
        [id(1)]
    );
    let refused = ask(&nodes, 0, &new("x"), &wish(Some("b"), None)).unwrap_err();
    assert_eq!(refused.to_string(), "Node `b` does not answer");
}

#[test]
fn images_are_listed_once_with_all_their_nodes() {
    let mut nodes = three();
    let kernel = nodes[1].world.upload(b"another kernel");
    let other = protocol::NewImage {
        name: "img2".parse().unwrap(),
        kernel,
        initrd: None,
        disk: None,
        cmdline: String::new(),
    };
    nodes[1].world.ask(Command::CreateImage(other)).unwrap();
    meet(&mut nodes, &[0, 1, 2]);
    for at in 0..3 {
        let page = atlas(&nodes, at)
            .images(&Wish::default(), &PageRequest::default())
            .unwrap();
        let shown: Vec<(String, Vec<&str>)> = page
            .items
            .iter()
            .map(|image| {
                let at = image.places.iter().map(|place| place.name.as_str());
                (image.name.to_string(), at.collect())
            })
            .collect();
        let wanted = [
            ("img".to_owned(), vec!["a", "b", "c"]),
            ("img2".to_owned(), vec!["b"]),
        ];
        assert_eq!(shown, wanted, "asked at {at}");
    }
}

#[test]
fn pages_of_equal_names_lose_nothing_and_repeat_nothing() {
    let mut nodes = three();
    for node in &mut nodes {
        node.create("web");
    }
    nodes[0].create("zeta");
    meet(&mut nodes, &[0, 1, 2]);
    let atlas = atlas(&nodes, 1);
    for limit in 1..5 {
        let mut page = PageRequest {
            limit,
            ..PageRequest::default()
        };
        let mut seen = Vec::new();
        loop {
            let found = atlas.vms(&Wish::default(), &page).unwrap();
            seen.extend(found.items.iter().map(|vm| vm.id));
            let Some(next) = found.next else { break };
            let (name, id) = next.split_once('~').unwrap();
            page.after = Some(name.parse().unwrap());
            page.after_id = Some(id.parse().unwrap());
        }
        assert_eq!(seen.len(), 4, "limit {limit}");
    }
}

#[test]
fn capacity_is_told_when_it_moved_by_a_tenth_or_after_a_minute() {
    let mut node = Node::new(1, "ams");
    node.settle();
    let told = |node: &Node| node.records[&(RecordKind::CAPACITY, [1; 16])].version.seq;
    let first = told(&node);
    node.world.pass(59_000);
    node.settle();
    assert_eq!(told(&node), first, "nothing moved");
    node.world.pass(2_000);
    node.settle();
    let second = told(&node);
    assert!(second > first, "a minute is over");
    let Answer::VmCreated(_) = node
        .world
        .ask(Command::CreateVm(NewVm {
            memory: ByteCount::mib(256),
            ..NewVm::new("big".parse().unwrap(), "img".parse().unwrap())
        }))
        .unwrap()
    else {
        panic!("not created")
    };
    node.world.pass(1_500);
    node.settle();
    assert!(told(&node) > second, "a quarter of the memory is promised");
}

#[test]
fn a_node_without_a_cluster_answers_the_same_questions() {
    let mut world = World::with_image();
    world.create("web");
    let atlas = Atlas::alone(world.now().wall, &world.cloud, "solo");
    let vms = atlas
        .vms(&Wish::default(), &PageRequest::default())
        .unwrap();
    assert_eq!((vms.items.len(), vms.notes.len()), (1, 0));
    let nodes = atlas
        .nodes(&Wish::default(), &PageRequest::default())
        .unwrap();
    assert_eq!(nodes.items[0].name, "solo");
    assert_eq!(
        (nodes.items[0].site.clone(), nodes.items[0].age_ms),
        (None, None)
    );
    assert!(atlas.sites().items.is_empty());
    let new = NewVm::new("web2".parse().unwrap(), "img".parse().unwrap());
    assert_eq!(atlas.candidates(&new, &Wish::default()).unwrap(), [id(1)]);
    assert!(world.told.is_empty(), "nobody is there to be told");
}
