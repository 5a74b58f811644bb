//! A house of a town: a machine with one card and one disk, on which a node may run.
//!
//! Does:      boots and loses power; what a dead boot still tries to write reaches nothing.
//! Does not:  time anything: `Town` does.
//! Bounds:    one node, `DISK_BYTES`.
//! Trusts:    its town.
//! Start at:  `House::power_on`.

use super::street::{Street, mac};
use super::{START_WALL_MS, site_name};
use crate::service::parent::Parent;
use crate::service::peers::disk::{FULL_MS, Keeper, Kept, Writer, Written};
use crate::service::peers::{self, Transport};
use crate::service::standing::Address;
use crate::service::{Clock, Node, PeersConfig};
use identity::request::Applicant;
use identity::secret::Seed;
use identity::token::Token;
use netio::executor::{Handle, JoinHandle};
use netio::host::{HostStack, StackSettings};
use protocol::NodeId;
use protocol::peer::PublicKey;
use protocol::peer::admission::MachineId;
use state::faulty::FaultyDisk;
use state::{Disk, Store};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const DISK_BYTES: usize = 8 << 20;
const CARD: &str = "eth0";
const DISK: &str = "vda1";
const MTU: u16 = 1500;
/// A transaction on a disk of flash.
const COMMIT_MS: u64 = 5;

/// What a boot gets from its town's dice.
pub(super) struct Luck {
    /// The key of a node that finds no other on its disk.
    pub key: [u8; 32],
    pub sessions: [u8; 32],
    pub ports: u64,
}

/// One boot. Dropping it ends its tasks.
struct Boot {
    node: Rc<Node>,
    /// PID 1's end.
    _init: OwnedFd,
    tasks: Vec<JoinHandle<()>>,
    has_power: Arc<AtomicBool>,
}

impl Drop for Boot {
    fn drop(&mut self) {
        self.has_power.store(false, Ordering::Relaxed);
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// See the module.
pub(super) struct House {
    number: usize,
    site: usize,
    token: Option<Token>,
    seeds: Vec<SocketAddr>,
    pub disk: FaultyDisk,
    /// The disk keeps nothing before this.
    stalled_ms: Rc<Cell<u64>>,
    /// Its node in each boot, for those who ask whose ghost they see.
    pub nodes: BTreeSet<NodeId>,
    boot: Option<Boot>,
}

fn address(house: usize) -> Ipv4Addr {
    let [.., high, low] = house.to_be_bytes();
    Ipv4Addr::new(10, 0, high, low.wrapping_add(1))
}

impl House {
    /// A dark house; its node may ask the first house of each site.
    pub fn new(number: usize, sites: &[usize], token: Option<Token>) -> Self {
        let is_first = |house: &usize| !sites[..*house].contains(&sites[*house]);
        let seeds = (0..sites.len()).filter(|house| *house != number && is_first(house));
        let seeds = seeds.map(|house| SocketAddr::new(address(house).into(), session::PORT));
        Self {
            number,
            site: sites[number],
            token,
            seeds: seeds.collect(),
            disk: FaultyDisk::new(DISK_BYTES),
            stalled_ms: Rc::default(),
            nodes: BTreeSet::new(),
            boot: None,
        }
    }

    pub fn empty_disk(&mut self) {
        self.disk = FaultyDisk::new(DISK_BYTES);
    }

    pub fn stall_disk(&self, until_ms: u64) {
        self.stalled_ms.set(until_ms);
    }

    pub fn node(&self) -> Option<&Rc<Node>> {
        self.boot.as_ref().map(|boot| &boot.node)
    }

    pub fn me(&self) -> Option<NodeId> {
        self.node()?.transport.as_ref().map(Transport::me)
    }

    pub fn power_cut(&mut self, street: &Street, dice: impl FnMut(u64) -> u64) {
        street.unplug(self.number);
        if self.boot.take().is_some() {
            self.disk.power_cut(dice);
        }
    }

    pub fn power_on(
        &mut self,
        handle: &Handle,
        street: &Rc<Street>,
        luck: &Luck,
        roots: Vec<PublicKey>,
    ) -> io::Result<()> {
        let has_power = Arc::new(AtomicBool::new(true));
        let disk = Powered {
            disk: self.disk.clone(),
            has_power: has_power.clone(),
        };
        let store = Store::open(disk).map_err(io::Error::other)?;
        let kept = Kept::read(DISK, store, luck.key).map_err(io::Error::other)?;
        let config = self.config(luck, roots, &kept)?;
        let (keeper, writer) = Keeper::with_writer(kept.store);

        let (init, theirs) = sys::seqpacket::pair()?;
        let parent = Parent::new(theirs);
        let mut node = Node::new(handle.clone(), parent)?;
        node.clock = Clock::of_town(handle, START_WALL_MS);
        let node = Rc::new(node);
        let transport = Transport::new(node.clock.clone(), config, Some(keeper));
        self.nodes.insert(transport.me());
        peers::late::be(&node, transport.me());
        node.transport.set(transport);

        let mut settings = StackSettings::new(mac(self.number), MTU);
        settings.seed = Some(luck.ports);
        let port = street.plug(handle, self.number)?;
        let stack = HostStack::start(handle, port, settings)?;
        let ip = address(self.number);
        stack.set_address(ip, 16, None);
        let address = Address {
            address: ip,
            prefix_len: 16,
            gateway: None,
        };
        node.standing.borrow_mut().set_address(CARD, Some(address));
        let serve = peers::serve(node.clone(), CARD.to_owned(), stack);
        let serve = async move { drop(serve.await) };
        let mut boot = Boot {
            node: node.clone(),
            _init: init,
            tasks: Vec::new(),
            has_power,
        };
        boot.run(handle, serve)?;
        boot.run(handle, peers::deadlines(node.clone()))?;
        boot.run(handle, peers::late::keep(node.clone()))?;
        boot.run(
            handle,
            write(handle.clone(), writer, self.stalled_ms.clone()),
        )?;
        node.tell_peers_address();
        self.boot = Some(boot);
        Ok(())
    }

    fn config(&self, luck: &Luck, roots: Vec<PublicKey>, kept: &Kept) -> io::Result<PeersConfig> {
        let name = format!("house-{}", self.number).parse();
        let number = u8::try_from(self.number).unwrap_or(u8::MAX);
        Ok(PeersConfig {
            seed: Seed::new(*kept.seed.reveal()),
            roots,
            applicant: Applicant {
                site: site_name(self.site).ok_or(io::ErrorKind::InvalidInput)?,
                name: name.map_err(io::Error::other)?,
                machine: MachineId([number + 1; 16]),
                token: self.token.clone(),
            },
            seeds: self.seeds.clone(),
            life: kept.life,
            saved: kept.saved.clone(),
            disk: Some(DISK.to_owned()),
            random: luck.sessions,
        })
    }
}

impl Boot {
    fn run(&mut self, handle: &Handle, task: impl Future<Output = ()> + 'static) -> io::Result<()> {
        self.tasks
            .push(handle.spawn(task).map_err(io::Error::other)?);
        Ok(())
    }
}

/// What the thread of a state disk does elsewhere: `COMMIT_MS` for each transaction.
async fn write(executor: Handle, mut writer: Writer, stalled_ms: Rc<Cell<u64>>) {
    loop {
        writer.due().await;
        let at_ms = executor.now_ms() + COMMIT_MS;
        executor.sleep_until(at_ms.max(stalled_ms.get())).await;
        match writer.write() {
            Written::Kept => {}
            Written::Full => executor.sleep(FULL_MS).await,
            Written::Ended => return,
        }
    }
}

/// A disk while its machine has power.
#[derive(Debug)]
struct Powered {
    disk: FaultyDisk,
    has_power: Arc<AtomicBool>,
}

impl Powered {
    fn check(&self) -> io::Result<&FaultyDisk> {
        let has_power = self.has_power.load(Ordering::Relaxed);
        has_power
            .then_some(&self.disk)
            .ok_or_else(|| io::Error::other("the power is off"))
    }
}

impl Disk for Powered {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check()?.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check()?.write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.check()?.sync()
    }
}
