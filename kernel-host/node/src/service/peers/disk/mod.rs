//! A node's state on its disk: the partition named `luc-state`.
//!
//! Does:      chooses and opens it; its key and the count of its boots are there from the first
//!            boot on; the rest is what membership and overlay had kept.
//! Does not:  make partitions (`cargo image disk` does), take one that is not ours, or begin anew
//!            on one that is damaged: what is there stays, and the operator is told.
//! Bounds:    those of `state`.
//! Trusts:    `state` to keep whole batches or nothing.
//! Start at:  `find`; `search` asks it until there is an answer, `keeper` writes.

mod keeper;
mod search;

pub(crate) use keeper::{DiskState, Keeper};
#[cfg(any(test, feature = "town"))]
pub(crate) use keeper::{FULL_MS, Writer, Written};
pub(crate) use search::{search, watch};

use identity::secret::Seed;
use protocol::peer::Life;
use state::Store;
use state::disk::FileDisk;
use sys::partitions::Partition;

/// The partition's name in the GPT.
const PARTITION: &str = "luc-state";
/// 32 bytes from which the node's key is made.
const SEED_KEY: &str = "node/seed";
/// How often the node has booted: four bytes, little-endian.
const BOOTS_KEY: &str = "node/boots";

/// What a disk kept, and the disk.
#[derive(Debug)]
pub(crate) struct Kept {
    /// What the kernel calls it.
    pub name: String,
    pub seed: Seed,
    pub life: Life,
    pub saved: Vec<(String, Vec<u8>)>,
    pub store: Store,
}

/// What a look at the machine's disks gave.
#[derive(Debug)]
pub(crate) enum Found {
    Kept(Box<Kept>),
    Nothing,
    /// There is one, and it can't be used: what is wrong, and what to do.
    Trouble(String),
}

/// Looks for the state partition, and opens it. This may take as long as a disk takes. `fresh`
/// becomes the key of a node that is here for the first time.
pub(crate) fn find(fresh: [u8; 32]) -> Found {
    let found = match sys::partitions::named(PARTITION) {
        Ok(found) => found,
        Err(error) => return Found::Trouble(format!("the disks can't be listed: {error}")),
    };
    let opened = match choose(&found) {
        Ok(None) => return Found::Nothing,
        Ok(Some(partition)) => open(partition, fresh),
        Err(trouble) => Err(trouble),
    };
    opened.map_or_else(Found::Trouble, |kept| Found::Kept(Box::new(kept)))
}

/// The one that is ours. Two are none: nobody knows which of them holds what this node promised.
fn choose(found: &[Partition]) -> Result<Option<&Partition>, String> {
    match found {
        [] => Ok(None),
        [one] if one.read_only => Err(format!(
            "the state partition {} is write-protected. Take the protection off, or replace the \
             disk",
            one.name
        )),
        [one] => Ok(Some(one)),
        many => {
            let names: Vec<&str> = many.iter().map(|one| one.name.as_str()).collect();
            Err(format!(
                "{} partitions are named {PARTITION}: {}. Leave in the one that belongs to this \
                 machine, and take the others out or rename them",
                many.len(),
                names.join(", ")
            ))
        }
    }
}

fn open(partition: &Partition, fresh: [u8; 32]) -> Result<Kept, String> {
    let name = &partition.name;
    let file = partition.open().map_err(|error| {
        format!("the state partition {name} can't be opened: {error}. Is it mounted elsewhere?")
    })?;
    let store = Store::open(FileDisk::new(file, partition.bytes)).map_err(|error| {
        let advice = error.advice();
        format!("the state partition {name} can't be used: {error}. {advice}")
    })?;
    Kept::read(name, store, fresh)
}

impl Kept {
    /// Reads all, counts this boot, and keeps the key if it is new: both in one step, so that no
    /// power cut leaves one without the other.
    ///
    /// # Errors
    ///
    /// A sentence and advice; what the partition held is still there.
    pub fn read(name: &str, mut store: Store, fresh: [u8; 32]) -> Result<Self, String> {
        let unusable = |error: &dyn std::fmt::Display, advice: &str| {
            format!("the state partition {name} can't be used: {error}. {advice}")
        };
        let mut saved = store
            .entries()
            .map_err(|error| unusable(&error, error.advice()))?;
        let (seed, boots) = own(&mut saved).map_err(|damage| {
            let advice = "Nothing on it was changed. Restore it from a copy, or replace the disk; \
                          to begin anew under a new key, write zeros to the partition";
            unusable(&damage, advice)
        })?;
        let seed = seed.unwrap_or(fresh);
        let boots = boots.saturating_add(1);
        let changes = [
            (SEED_KEY.to_owned(), Some(seed.to_vec())),
            (BOOTS_KEY.to_owned(), Some(boots.to_le_bytes().to_vec())),
        ];
        store
            .save(&changes)
            .map_err(|error| unusable(&error, "Replace the disk, or use a larger one"))?;
        Ok(Self {
            name: name.to_owned(),
            seed: Seed::new(seed),
            life: Life::new(boots, 0),
            saved,
            store,
        })
    }
}

/// Takes the key and the number of boots out. Neither is there on a disk that is new to us; one
/// without the other, or anything without them, is damage: a new key would make a stranger of this
/// node, and a lost count would let an old life speak for it.
fn own(saved: &mut Vec<(String, Vec<u8>)>) -> Result<(Option<[u8; 32]>, u32), String> {
    let mut take = |wanted: &str| {
        let at = saved.iter().position(|(key, _)| key == wanted)?;
        Some(saved.remove(at).1)
    };
    let wrong = |key: &str, bytes: Vec<u8>, wanted: usize| {
        format!("{key} has {} bytes instead of {wanted}", bytes.len())
    };
    match (take(SEED_KEY), take(BOOTS_KEY)) {
        (Some(seed), Some(boots)) => {
            let seed = <[u8; 32]>::try_from(seed).map_err(|seed| wrong(SEED_KEY, seed, 32))?;
            let boots = <[u8; 4]>::try_from(boots).map_err(|boots| wrong(BOOTS_KEY, boots, 4))?;
            Ok((Some(seed), u32::from_le_bytes(boots)))
        }
        (None, None) if saved.is_empty() => Ok((None, 0)),
        (None, None) => Err(format!(
            "{SEED_KEY} and {BOOTS_KEY} are missing beside {} other entries",
            saved.len()
        )),
        (None, Some(_)) => Err(format!("{SEED_KEY} is missing")),
        (Some(_), None) => Err(format!("{BOOTS_KEY} is missing")),
    }
}

#[cfg(test)]
mod tests;
