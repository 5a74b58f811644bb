//! Whole nodes in one process and in virtual time: each with its own host stack, sessions,
//! overlay and a database on a disk that fails on command.
//!
//! Does:      runs the node's own service code, from Ethernet frames to the state disk, so that
//!            what stands between the cores and the machine is tried as the cores are.
//! Does not:  run VMs or PID 1, or decide what goes wrong: its caller does.
//! Bounds:    `HOUSES_MAX` nodes: sessions and databases are real, and cost what they cost.
//! Trusts:    its caller; everything random comes from the seed.
//! Start at:  `Town::new`, `Town::power_on`, `Town::run_until`.

mod house;
mod street;

pub use street::{Letter, LetterKind, Paths};

use crate::service::peers::News;
use house::{House, Luck};
use identity::grant::{Grant, GrantFields, GrantRight};
use identity::secret::{SecretKey, Seed};
use identity::token::Token;
use netcore::dice::Dice;
use netio::executor::Executor;
use overlay::{Answer, Input, Overlay};
use protocol::{Moment, Name, NodeId};
use std::io;
use std::rc::Rc;
use street::Street;

/// Nodes of one town.
pub const HOUSES_MAX: usize = 12;
/// The clocks when a town begins.
const START_MS: u64 = 1_000;
const START_WALL_MS: u64 = 1_767_225_600_000;
/// More boots without a disk than a run can have.
const TOKEN_USES: u32 = 1_000;

/// See the module.
pub struct Town {
    executor: Executor,
    street: Rc<Street>,
    houses: Vec<House>,
    root: SecretKey,
    dice: Dice,
}

impl std::fmt::Debug for Town {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Town")
            .field("houses", &self.houses.len())
            .finish_non_exhaustive()
    }
}

impl Town {
    /// A town without power: one house for each entry, which names its site.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors, or there are more than `HOUSES_MAX` houses.
    pub fn new(seed: u64, sites: &[usize], paths: Box<dyn Paths>) -> io::Result<Self> {
        if sites.len() > HOUSES_MAX {
            return Err(io::Error::other(format!(
                "a town of {} houses; {HOUSES_MAX} is the most",
                sites.len()
            )));
        }
        let executor = Executor::in_virtual_time(START_MS)?;
        let street = Rc::new(Street::new(sites.to_vec(), paths));
        let deliver = street.clone().deliver(executor.handle());
        let handle = executor.handle();
        handle.spawn_detached(deliver).map_err(io::Error::other)?;
        let mut dice = Dice::new(seed);
        let root = SecretKey::from_seed(&Seed::new(bytes(&mut dice)));
        let mut houses = Vec::new();
        for (number, &site) in sites.iter().enumerate() {
            let token = token(&root, bytes(&mut dice), site);
            houses.push(House::new(number, sites, token));
        }
        Ok(Self {
            executor,
            street,
            houses,
            root,
            dice,
        })
    }

    pub fn now_ms(&self) -> u64 {
        self.executor.handle().now_ms()
    }

    /// Lets time pass.
    pub fn run_until(&mut self, at_ms: u64) {
        let handle = self.executor.handle();
        self.executor.block_on(handle.sleep_until(at_ms));
    }

    /// Boots a house, with its disk or with an empty one.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors, or the node refuses its disk: then the house stays dark.
    pub fn power_on(&mut self, house: usize, keeps_disk: bool) -> io::Result<()> {
        self.power_cut(house);
        let luck = Luck {
            key: bytes(&mut self.dice),
            sessions: bytes(&mut self.dice),
            ports: self.dice.next_u64(),
        };
        let roots = vec![self.root.public()];
        let (handle, street) = (self.executor.handle(), self.street.clone());
        let house = &mut self.houses[house];
        if !keeps_disk {
            house.empty_disk();
        }
        house.power_on(&handle, &street, &luck, roots)
    }

    /// The power goes, and with it what the disk had not synced yet, or parts of it.
    pub fn power_cut(&mut self, house: usize) {
        let dice = &mut self.dice;
        self.houses[house].power_cut(&self.street, |limit| dice.below(limit));
    }

    /// From now on, until its power is cut, every write of the house's disk fails.
    pub fn break_disk(&mut self, house: usize) {
        self.houses[house].disk.break_down();
    }

    /// The house's disk keeps nothing for so long; then it works on.
    pub fn stall_disk(&mut self, house: usize, for_ms: u64) {
        let until_ms = self.now_ms() + for_ms;
        self.houses[house].stall_disk(until_ms);
    }

    /// The time of day of a house jumps, at this boot.
    pub fn shift_clock(&mut self, house: usize, jump_ms: i64) {
        if let Some(node) = self.houses[house].node() {
            node.clock.jump(jump_ms);
        }
    }

    /// The node says goodbye to its peers; its power stays on.
    pub fn leave(&mut self, house: usize) {
        if let Some(node) = self.houses[house].node() {
            node.leave_peers();
        }
    }

    pub fn is_on(&self, house: usize) -> bool {
        self.houses[house].me().is_some()
    }

    /// The node of a house that has power.
    pub fn me(&self, house: usize) -> Option<NodeId> {
        self.houses[house].me()
    }

    /// Whether this was the house's node in any boot.
    pub fn has_been(&self, house: usize, node: NodeId) -> bool {
        self.houses[house].nodes.contains(&node)
    }

    /// Looks into the overlay of a house. `None`: it has no power, or is no member yet.
    pub fn overlay<R>(&self, house: usize, look: impl FnOnce(&Overlay, Moment) -> R) -> Option<R> {
        self.houses[house].node()?.overlay(look)
    }

    /// Gives a house's overlay something to publish or to ask. `false`: it was refused.
    pub fn tell(&mut self, house: usize, input: Input<'_>) -> bool {
        let node = self.houses[house].node();
        node.is_some_and(|node| node.tell_overlay(input).is_ok())
    }

    /// Answers that came since this was last asked.
    pub fn answers(&mut self, house: usize) -> Vec<(u64, Answer)> {
        let node = self.houses[house].node();
        let peers = node.and_then(|node| node.transport.as_ref());
        let news = std::iter::from_fn(|| peers?.poll_news());
        news.filter_map(|news| match news {
            News::Answer { ask, answer } => Some((ask, answer)),
            _ => None,
        })
        .collect()
    }

    /// Why a house is no member yet. `None`: it is one, or dark.
    pub fn waits_for(&self, house: usize) -> Option<String> {
        self.houses[house].node()?.transport.as_ref()?.waits_for()
    }

    /// Equal for two runs whose every frame came at the same time with the same bytes.
    pub fn trace(&self) -> u64 {
        self.street.trace()
    }
}

/// A right to join a site, and to found it if nobody has.
fn token(root: &SecretKey, secret: [u8; 32], site: usize) -> Option<Token> {
    let key = SecretKey::from_seed(&Seed::new(secret));
    let fields = GrantFields {
        key: key.public(),
        made_s: START_WALL_MS / 1000,
        expires_s: None,
        right: GrantRight::Token {
            site: site_name(site)?,
            count: TOKEN_USES,
            founds: true,
        },
    };
    Token::new(Grant::sign(fields, root), key, None)
}

fn site_name(site: usize) -> Option<Name> {
    format!("site-{site}").parse().ok()
}

fn bytes(dice: &mut Dice) -> [u8; 32] {
    let mut bytes = [0; 32];
    for word in bytes.as_chunks_mut::<8>().0 {
        *word = dice.next_u64().to_be_bytes();
    }
    bytes
}
