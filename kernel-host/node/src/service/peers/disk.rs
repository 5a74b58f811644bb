//! A node's state on its disk: the partition named `luc-state`.
//!
//! Does:      finds and opens it; its key and the count of its boots are there from the first boot
//!            on; keeps what membership and overlay save.
//! Does not:  make partitions (`cargo image disk` does), or take one that is not ours.
//! Bounds:    those of `state`.
//! Trusts:    `state` to keep whole batches or nothing.
//! Start at:  `Kept::open`.

use super::config::StateDisk;
use identity::secret::Seed;
use protocol::peer::Life;
use state::Store;
use state::disk::FileDisk;
use std::io;

/// The partition's name in the GPT.
const PARTITION: &str = "luc-state";
/// 32 bytes from which the node's key is made.
const SEED_KEY: &str = "node/seed";
/// How often the node has booted: four bytes, little-endian.
const BOOTS_KEY: &str = "node/boots";

/// What a disk kept, and the disk.
#[derive(Debug)]
pub(crate) struct Kept {
    pub seed: Seed,
    pub life: Life,
    pub saved: Vec<(String, Vec<u8>)>,
    pub disk: Box<dyn StateDisk>,
}

#[derive(Debug)]
struct StatePartition(Store);

impl StateDisk for StatePartition {
    fn save(&mut self, changes: &[(String, Option<Vec<u8>>)]) -> io::Result<()> {
        self.0.save(changes).map_err(io::Error::other)
    }
}

impl Kept {
    /// What the state partition holds. `None`: the machine has none, and the node begins anew at
    /// each boot. `fresh` becomes the key of a node that is here for the first time.
    ///
    /// # Errors
    ///
    /// A sentence and advice; the partition was not changed.
    pub fn open(fresh: [u8; 32]) -> Result<Option<Self>, String> {
        let found = sys::partitions::named(PARTITION).map_err(|error| error.to_string())?;
        let Some(partition) = found.iter().find(|one| !one.read_only) else {
            return Ok(None);
        };
        let name = &partition.name;
        let file = partition.open().map_err(|error| {
            format!("the state partition {name} can't be opened: {error}. Is it mounted elsewhere?")
        })?;
        let store = Store::open(FileDisk::new(file, partition.bytes)).map_err(|error| {
            let advice = error.advice();
            format!("the state partition {name} can't be used: {error}. {advice}")
        })?;
        Self::read(store, fresh).map_err(|error| format!("the state partition {name}: {error}"))
    }

    /// Reads all, counts this boot, and keeps the key if it is new.
    pub(crate) fn read(store: Store, fresh: [u8; 32]) -> Result<Option<Self>, String> {
        let mut saved = store.entries().map_err(|error| error.to_string())?;
        let mut take = |wanted: &str| {
            let at = saved.iter().position(|(key, _)| key == wanted)?;
            Some(saved.swap_remove(at).1)
        };
        let old = take(SEED_KEY).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let boots = take(BOOTS_KEY).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        let boots = boots.map_or(0, u32::from_le_bytes).saturating_add(1);
        let seed = old.unwrap_or(fresh);
        let mut disk = StatePartition(store);
        let own = [
            (SEED_KEY.to_owned(), Some(seed.to_vec())),
            (BOOTS_KEY.to_owned(), Some(boots.to_le_bytes().to_vec())),
        ];
        disk.save(&own).map_err(|error| error.to_string())?;
        Ok(Some(Self {
            seed: Seed::new(seed),
            life: Life::new(boots, 0),
            saved,
            disk: Box::new(disk),
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use state::faulty::FaultyDisk;

    #[test]
    fn the_key_stays_and_boots_are_counted() {
        let disk = FaultyDisk::new(8 << 20);
        let boot = |fresh| {
            let store = Store::open(disk.clone()).unwrap();
            Kept::read(store, [fresh; 32]).unwrap().unwrap()
        };
        let mut first = boot(1);
        assert_eq!(
            (first.seed.reveal(), first.life),
            (&[1; 32], Life::new(1, 0))
        );
        let kept = ("contact/x".to_owned(), Some(vec![7]));
        first.disk.save(&[kept]).unwrap();
        drop(first);
        let second = boot(2);
        assert_eq!(
            (second.seed.reveal(), second.life),
            (&[1; 32], Life::new(2, 0))
        );
        assert_eq!(second.saved, [("contact/x".to_owned(), vec![7])]);
    }
}
