//! Blobs: bytes that arrive in pieces and are named by their SHA-256.
//!
//! Does:      keeps track of what arrived, hashes it on the way, checks it at the end.
//! Does not:  keep the bytes: each piece goes on to the node as an output.
//! Bounds:    `BLOBS_MAX`, memory by the budget (reserved whole at the first piece), and
//!            `BLOB_IDLE_MS` for blobs that nobody sends on or uses.
//! Trusts:    nobody: a blob is usable only after its digest was checked.
//! Start at:  `Blobs::put`.

use crate::{Output, Refusal, machine::Hands};
use protocol::{Blob, ByteCount, Digest, Hasher, limits};
use std::collections::BTreeMap;

#[derive(Debug)]
struct Stored {
    size: u64,
    received: u64,
    /// Of what arrived; `None` once it was checked.
    hasher: Option<Hasher>,
    touched_ms: u64,
    /// Parts of images that name it.
    users: u32,
}

impl Stored {
    fn shown(&self, digest: Digest) -> Blob {
        Blob {
            digest,
            size: ByteCount::bytes(self.size),
            received: self.received,
            complete: self.hasher.is_none(),
        }
    }

    /// When nobody will miss it.
    fn expires_ms(&self) -> Option<u64> {
        (self.users == 0).then(|| self.touched_ms + limits::BLOB_IDLE_MS)
    }
}

/// The next piece of a blob.
#[derive(Debug)]
pub(crate) struct Piece {
    pub digest: Digest,
    pub size: u64,
    pub offset: u64,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct Blobs {
    known: BTreeMap<Digest, Stored>,
}

impl Blobs {
    /// Takes a piece. Bytes that are here already are skipped, so a retry does no harm.
    pub fn put(&mut self, piece: Piece, hands: &mut Hands<'_>) -> Result<Blob, Refusal> {
        let received = self.admit(&piece, hands)?;
        let Piece {
            digest,
            size,
            offset,
            mut bytes,
        } = piece;
        let Some(stored) = self.known.get_mut(&digest) else {
            return Err(Refusal::WrongOffset {
                digest,
                received,
                offset,
            });
        };
        stored.touched_ms = hands.now.uptime_ms;
        let Some(hasher) = &mut stored.hasher else {
            return Ok(stored.shown(digest));
        };
        let here = usize::try_from(received - offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        bytes.drain(..here);
        hasher.update(&bytes);
        stored.received += bytes.len() as u64;
        if !bytes.is_empty() {
            hands.outputs.push_back(Output::AppendBlob {
                digest,
                offset: received,
                bytes,
            });
        }
        if stored.received == size {
            self.finish(digest, hands)
        } else {
            Ok(stored.shown(digest))
        }
    }

    /// Checks a piece, and begins its blob if it is the first. Returns what arrived before.
    fn admit(&mut self, piece: &Piece, hands: &mut Hands<'_>) -> Result<u64, Refusal> {
        check_bounds(piece)?;
        let Piece {
            digest,
            size,
            offset,
            ..
        } = *piece;
        let received = match self.known.get(&digest) {
            Some(stored) if stored.size != size => {
                return Err(Refusal::OtherSize {
                    digest,
                    begun: stored.size,
                    said: size,
                });
            }
            Some(stored) => stored.received,
            None => 0,
        };
        if offset > received {
            return Err(Refusal::WrongOffset {
                digest,
                received,
                offset,
            });
        }
        if !self.known.contains_key(&digest) {
            self.begin(digest, size, hands)?;
        }
        Ok(received)
    }

    /// Reserves the room for all of it before the first byte is taken.
    fn begin(&mut self, digest: Digest, size: u64, hands: &mut Hands<'_>) -> Result<(), Refusal> {
        if self.known.len() >= limits::BLOBS_MAX {
            return Err(Refusal::LimitReached {
                kind: "blobs",
                max: limits::BLOBS_MAX,
            });
        }
        hands
            .budget
            .reserve(ByteCount::bytes(size), &format!("Blob {}", digest.short()))?;
        let (hasher, touched_ms) = (Some(Hasher::new()), hands.now.uptime_ms);
        self.known.insert(
            digest,
            Stored {
                size,
                received: 0,
                hasher,
                touched_ms,
                users: 0,
            },
        );
        hands.outputs.push_back(Output::CreateBlob { digest, size });
        Ok(())
    }

    /// All bytes are here: are they the right ones?
    fn finish(&mut self, digest: Digest, hands: &mut Hands<'_>) -> Result<Blob, Refusal> {
        let hasher = self
            .known
            .get_mut(&digest)
            .and_then(|stored| stored.hasher.take());
        let found = hasher.map_or(digest, Hasher::finish);
        if found != digest {
            hands.counters.blobs_mismatched += 1;
            self.remove(digest, hands);
            return Err(Refusal::DigestMismatch { digest, found });
        }
        hands.counters.blobs_completed += 1;
        hands.outputs.push_back(Output::SealBlob { digest });
        self.show(digest)
    }

    pub fn show(&self, digest: Digest) -> Result<Blob, Refusal> {
        self.known
            .get(&digest)
            .map(|stored| stored.shown(digest))
            .ok_or_else(|| Refusal::NotFound {
                kind: "blob",
                what: digest.to_string(),
                nearest: None,
            })
    }

    /// One more part of an image names it.
    pub fn hold(&mut self, digest: Digest) {
        if let Some(stored) = self.known.get_mut(&digest) {
            stored.users += 1;
        }
    }

    /// One less; the last one takes it along.
    pub fn let_go(&mut self, digest: Digest, hands: &mut Hands<'_>) {
        if let Some(stored) = self.known.get_mut(&digest) {
            stored.users = stored.users.saturating_sub(1);
            if stored.users == 0 {
                self.remove(digest, hands);
            }
        }
    }

    pub fn expire(&mut self, hands: &mut Hands<'_>) {
        let now_ms = hands.now.uptime_ms;
        let over = |stored: &Stored| stored.expires_ms().is_some_and(|at| at <= now_ms);
        let gone: Vec<Digest> = self
            .known
            .iter()
            .filter(|(_, stored)| over(stored))
            .map(|(d, _)| *d)
            .collect();
        for digest in gone {
            hands.counters.blobs_expired += 1;
            self.remove(digest, hands);
        }
    }

    pub fn next_timeout(&self) -> Option<u64> {
        self.known.values().filter_map(Stored::expires_ms).min()
    }

    /// Its bytes could not be stored. A blob in use was sealed before and can't fail any more.
    pub fn failed(&mut self, digest: Digest, hands: &mut Hands<'_>) {
        if self
            .known
            .get(&digest)
            .is_some_and(|stored| stored.users == 0)
        {
            self.remove(digest, hands);
        }
    }

    fn remove(&mut self, digest: Digest, hands: &mut Hands<'_>) {
        if let Some(stored) = self.known.remove(&digest) {
            hands.budget.release(ByteCount::bytes(stored.size));
            hands.outputs.push_back(Output::DropBlob { digest });
        }
    }

    pub fn reserved(&self) -> ByteCount {
        self.known
            .values()
            .map(|stored| ByteCount::bytes(stored.size))
            .sum()
    }

    /// Panics if a blob contradicts itself or has other users than `users` counts.
    pub fn check(&self, users: impl Fn(Digest) -> usize) {
        assert!(self.known.len() <= limits::BLOBS_MAX);
        for (digest, stored) in &self.known {
            assert!(stored.received <= stored.size);
            assert_eq!(stored.hasher.is_none(), stored.received == stored.size);
            assert_eq!(stored.users as usize, users(*digest), "users of {digest}");
        }
    }
}

fn check_bounds(piece: &Piece) -> Result<(), Refusal> {
    let Piece { size, offset, .. } = *piece;
    let end = offset.checked_add(piece.bytes.len() as u64);
    let possible = (1..=limits::BLOB_BYTES_MAX.get()).contains(&size);
    if possible && end.is_some_and(|end| end <= size) {
        return Ok(());
    }
    Err(Refusal::BadValue {
        what: "size",
        why: format!(
            "{} bytes at {offset} are no piece of {size}",
            piece.bytes.len()
        ),
        advice: format!("A blob has 1 byte to {}", limits::BLOB_BYTES_MAX),
    })
}
