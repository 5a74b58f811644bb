//! What makes a node part of a cluster, and how it is read from what the operator said.
//!
//! Does:      puts the words of command line and firmware, the machine's ids and the state of its
//!            disk together; says in a sentence what can't be used.
//! Does not:  judge a token: the site does.
//! Bounds:    those of `arguments`.
//! Trusts:    the firmware for the token, and for a UUID of its own.
//! Start at:  `PeersConfig`, `PeersConfig::of`.

use super::disk::Kept;
use crate::arguments::{Arguments, ClusterWords};
use identity::cluster::read_root;
use identity::request::Applicant;
use identity::secret::{SecretKey, Seed, machine_id};
use identity::token::Token;
use protocol::peer::admission::MachineId;
use protocol::peer::{Life, PublicKey};
use state::Store;
use std::net::SocketAddr;
use sys::dmi::Machine;

/// What makes a node part of a cluster.
#[derive(Debug)]
pub struct PeersConfig {
    /// The node's key: from its disk, or new.
    pub seed: Seed,
    /// The cluster's public root keys, at most two.
    pub roots: Vec<PublicKey>,
    /// Site, name, machine, token.
    pub applicant: Applicant,
    /// Nodes to ask first.
    pub seeds: Vec<SocketAddr>,
    /// Of this boot.
    pub life: Life,
    /// What its disk kept.
    pub saved: Vec<(String, Vec<u8>)>,
    /// What the kernel calls the disk that keeps its state, if there is one.
    pub disk: Option<String>,
    /// Nobody may guess it.
    pub random: [u8; 32],
}

impl PeersConfig {
    /// Whether the operator said anything of a cluster. If not, the node runs alone.
    #[must_use]
    pub fn is_wanted(arguments: &Arguments) -> bool {
        let words = &arguments.cluster;
        !words.roots.is_empty() || words.token.is_some()
    }

    /// Whether what was said can be used at all, before a disk is looked for.
    ///
    /// # Errors
    ///
    /// A sentence and advice.
    pub(crate) fn check(arguments: &Arguments) -> Result<(), String> {
        let words = &arguments.cluster;
        if words.roots.is_empty() {
            return Err(
                "a token without the cluster's root. Add luc.root=<root>, which \
                        `luc cluster show` prints"
                    .to_owned(),
            );
        }
        let (seed, machine) = (Seed::new(random()?), MachineId([0; 16]));
        Self::from_words(words, arguments.name.as_deref(), seed, machine).map(drop)
    }

    /// The configuration of a node with what its disk kept, and that disk; or without a disk: then
    /// it has a new key at each boot.
    ///
    /// # Errors
    ///
    /// A sentence and advice, when what was said can't be used.
    pub(crate) fn of(
        arguments: &Arguments,
        kept: Option<Kept>,
    ) -> Result<(Self, Option<Store>), String> {
        let words = &arguments.cluster;
        let name = arguments.name.as_deref();
        let fresh = Seed::new(random()?);
        let seed = kept.as_ref().map_or(fresh, |kept| kept.seed.clone());
        let mut config = Self::from_words(words, name, seed, machine()?)?;
        let store = kept.map(|kept| {
            config.life = kept.life;
            config.saved = kept.saved;
            config.disk = Some(kept.name);
            kept.store
        });
        Ok((config, store))
    }

    /// Checks the words themselves.
    pub(crate) fn from_words(
        words: &ClusterWords,
        name: Option<&str>,
        seed: Seed,
        machine: MachineId,
    ) -> Result<Self, String> {
        let roots = words.roots.iter().map(|text| {
            read_root(text).map_err(|error| format!("luc.root={text} can't be read: {error}"))
        });
        let roots = roots.collect::<Result<Vec<PublicKey>, String>>()?;
        let site = words.site.clone().ok_or_else(|| {
            "a cluster's root without a site. Add luc.site=<name of the place>".to_owned()
        })?;
        let token = words.token.as_deref().map(|text| {
            let token = text.parse::<Token>();
            token.map_err(|error| format!("luc.token can't be read: {error}"))
        });
        let id = identity::secret::node_id(&SecretKey::from_seed(&seed).public());
        let name = name.map_or_else(|| id.short(), str::to_owned);
        Ok(Self {
            applicant: Applicant {
                site,
                name: name
                    .parse()
                    .map_err(|error: protocol::BadName| error.to_string())?,
                machine,
                token: token.transpose()?,
            },
            seed,
            roots,
            seeds: words.seeds.clone(),
            life: Life::new(1, 0),
            saved: Vec::new(),
            disk: None,
            random: random()?,
        })
    }
}

/// Tells this machine from others across boots. The firmware's UUID alone, where it has one: cards
/// may appear later than this is asked.
fn machine() -> Result<MachineId, String> {
    let uuid = uuid_of(&Machine::read().uuid);
    let nics = sys::nics::list().unwrap_or_default();
    let macs: Vec<[u8; 6]> = nics.iter().map(|nic| nic.mac).collect();
    let macs = if uuid.is_some() { &[] } else { &macs[..] };
    let random = || Ok(MachineId(first_half(random()?)));
    machine_id(uuid, macs).map_or_else(random, Ok)
}

fn uuid_of(text: &str) -> Option<[u8; 16]> {
    let text = text.to_lowercase();
    if super::super::facts::PLACEHOLDERS.contains(&text.as_str()) {
        return None;
    }
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes
        .filter(|_| rest.is_empty())
        .and_then(|bytes| bytes.try_into().ok())
}

fn first_half(bytes: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&bytes[..16]);
    half
}

pub(crate) fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| format!("the kernel gives no randomness: {error}"))?;
    Ok(bytes)
}
