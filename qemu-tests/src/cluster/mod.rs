//! A cluster on the rig: sites with a backbone between them, the operator's keys, its nodes.
//!
//! Does:      makes keys and tokens with the `luc` command as an operator would, writes them into
//!            machines' firmware, and switches nodes on.
//! Does not:  know what nodes say to each other, or judge what they say of each other.
//! Bounds:    every wait ends at the scenario's limit.
//! Trusts:    nothing but what nodes print; scenarios judge it.
//! Start at:  `Cluster::start`, `Cluster::seat`, `Cluster::power_on`.

pub mod five;
pub mod views;

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::Value;

use crate::lan::{Backbone, Lan, Subnet};
use crate::luc::Luc;
use crate::machine::{Boot, Firmware, Shape};
use crate::node::Node;
use crate::scenario::{Problem, chain};
use crate::story::Story;
use crate::wire::Link;

/// What the smallest node of a cluster needs, with room for one small guest.
const MEMORY_MIB: u32 = 256;
/// A state disk for a cluster of a few nodes.
const DISK_BYTES: u64 = 16 << 20;
/// Commands that ask no node are given this one, which nobody is.
const NOBODY: &str = "127.0.0.1:1";

/// What `luc cluster init` made: who holds it may let machines in.
#[derive(Debug)]
pub struct Keys {
    luc: Luc,
    key: String,
    root: String,
}

impl Keys {
    /// A new cluster with this name.
    pub fn make(story: &Story, name: &str) -> Result<Self, Problem> {
        let folder = story.folders().logs.join(name);
        fs::create_dir_all(&folder)?;
        let luc = Luc::new(&story.supplies().luc, NOBODY, &folder);
        let out = folder.display().to_string();
        let made = luc.json(&["cluster", "init", "--name", name, "--out", &out])?;
        let text = |value: &Value| {
            let missing = || Problem::Broken(format!("`luc cluster init` said {made}"));
            value.as_str().map(str::to_owned).ok_or_else(missing)
        };
        Ok(Self {
            key: text(&made["secret_file"])?,
            root: text(&made["roots"][0])?,
            luc,
        })
    }

    /// The right for `machines` to join a site; if it `founds`, also without anybody there.
    pub fn token(&self, site: &str, machines: u32, founds: bool) -> Result<String, Problem> {
        let count = machines.to_string();
        let mut words = vec!["token", "create", "--key", &self.key, "--site", site];
        words.extend(["--count", &count]);
        words.extend(founds.then_some("--founds"));
        Ok(self.luc.run(&words)?.trim().to_owned())
    }

    /// The public root, as nodes are told it.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }
}

/// Where a machine of a cluster stands, and what its firmware says. Off until it is switched on.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The node's name.
    pub name: &'static str,
    /// The number of its site.
    pub site: usize,
    /// Its machine.
    pub shape: Shape,
}

impl Seat {
    /// The same with a right to join in its firmware.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.shape = self.shape.oem_string(&format!("luc.token={token}"));
        self
    }

    /// The same with nodes that it asks first.
    #[must_use]
    pub fn seeds(mut self, seeds: &[Ipv4Addr]) -> Self {
        let seeds: Vec<_> = seeds.iter().map(Ipv4Addr::to_string).collect();
        let word = format!("luc.seeds={}", seeds.join(","));
        self.shape = self.shape.oem_string(&word);
        self
    }

    /// The same, booted otherwise than over the network.
    #[must_use]
    pub fn boot(mut self, boot: Boot) -> Self {
        self.shape.boot = boot;
        self
    }

    /// The same with a new state disk.
    pub fn disk(mut self, story: &Story) -> Result<Self, Problem> {
        let path = self.new_disk(story)?;
        self.shape = self.shape.disk(&path);
        Ok(self)
    }

    /// The same with other memory.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.shape.memory_mib = memory_mib;
        self
    }

    /// Takes the machine's disk out and puts an empty one in its place.
    pub fn lose_disk(&mut self, story: &Story) -> Result<(), Problem> {
        let path = self.new_disk(story)?;
        self.shape.disks = vec![path];
        Ok(())
    }

    fn new_disk(&self, story: &Story) -> Result<PathBuf, Problem> {
        let logs = story.folders().logs;
        let paths = (1..).map(|number| logs.join(format!("{}.state.{number}.img", self.name)));
        let path = paths.into_iter().find(|path| !path.exists());
        let path = path.unwrap_or_default();
        let mut id = [0; 32];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(std::io::Error::from)?;
        image_builder::state::create(&path, DISK_BYTES, id)
            .map_err(|error| Problem::broken(chain(&error)))?;
        Ok(path)
    }
}

/// A node that has joined.
#[derive(Debug)]
pub struct Member {
    /// Where it stands.
    pub seat: Seat,
    /// The node.
    pub node: Node,
    /// What it is called by others: its key's digest.
    pub id: String,
}

impl Member {
    /// Cuts its power: nothing is told to it.
    pub fn cut_power(mut self) -> Seat {
        self.node.machine.cut_power();
        self.seat
    }
}

/// See the module. Dropping it pulls every plug.
#[derive(Debug)]
pub struct Cluster {
    /// The ways between sites.
    pub backbone: Backbone,
    /// A LAN for each site.
    pub lans: Vec<Lan>,
    /// The names of sites.
    pub sites: &'static [&'static str],
    /// Who may join.
    pub keys: Keys,
}

impl Cluster {
    /// Sites without machines; every way between two of them begins as `link`.
    pub fn start(
        story: &Story,
        sites: &'static [&'static str],
        link: Link,
    ) -> Result<Self, Problem> {
        let lan = |(number, site): (u8, &&'static str)| Lan::site(story, site, Subnet(number));
        let lans = (1..).zip(sites).map(lan);
        let mut lans = lans.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            backbone: Backbone::start(&mut lans, link)?,
            lans,
            sites,
            keys: Keys::make(story, "operator")?,
        })
    }

    /// A machine in a site that boots from its network, and believes in this cluster's root.
    pub fn seat(&mut self, name: &'static str, site: usize) -> Result<Seat, Problem> {
        let root = self.keys.root().to_owned();
        self.seat_under(name, site, &root)
    }

    /// The same for a machine that believes in another root.
    pub fn seat_under(
        &mut self,
        name: &'static str,
        site: usize,
        root: &str,
    ) -> Result<Seat, Problem> {
        let shape = Shape::new(name, Firmware::Bios, Boot::Pxe)
            .memory_mib(MEMORY_MIB)
            .oem_string(&format!("luc.name={name}"))
            .oem_string(&format!("luc.site={}", self.sites[site]))
            .oem_string(&format!("luc.root={root}"));
        let shape = self.lans[site].plug(shape)?;
        Ok(Seat { name, site, shape })
    }

    /// Switches machines on, as many at a time as have boot slots, and waits until each has joined
    /// its site. They come back in the order of `seats`.
    pub fn power_on(&self, story: &Story, seats: &[Seat]) -> Result<Vec<Member>, Problem> {
        // Each waits by itself: who has a slot must never wait for one who has none.
        std::thread::scope(|scope| {
            let boots: Vec<_> = seats
                .iter()
                .map(|seat| scope.spawn(|| self.power_on_one(story, seat.clone())))
                .collect();
            let joined = boots.into_iter().map(|boot| match boot.join() {
                Ok(joined) => joined,
                Err(_) => Err(Problem::broken("waiting for a node's boot panicked")),
            });
            joined.collect()
        })
    }

    fn power_on_one(&self, story: &Story, seat: Seat) -> Result<Member, Problem> {
        let machine = story.power_on(seat.shape.clone())?;
        let node = Node::join(story, &self.lans[seat.site], machine)?;
        let wanted = format!("] joined site {} as ", self.sites[seat.site]);
        let line = node.machine.serial().wait_for(&wanted, story.left())?;
        let id = line.text.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(Member { seat, node, id })
    }
}
