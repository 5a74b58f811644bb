//! `Keys` as the overlay's keyring.
//!
//! Start at:  `SharedKeys`.

use super::{Keys, PROVEN_MAX};
use crate::publication::{RightBody, certificate_in, revocation_in};
use crate::revocation::Target;
use crate::secret::{Domain, is_signed};
use overlay::{Keyring, Verdict};
use protocol::peer::{Realm, Record, RecordKind, Signature};
use protocol::{Hasher, Moment, NodeId, SiteId};
use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

impl Keys {
    /// Checks `author`'s signature over `bytes`; one that was checked lately costs a hash.
    pub fn verify_record(
        &mut self,
        author: NodeId,
        bytes: &[u8],
        signature: &Signature,
    ) -> Verdict {
        let key = match self.table.find(author) {
            Some(entry) if entry.revoked => return Verdict::Revoked,
            Some(entry) => entry.key,
            None if author == self.me => self.secret.public(),
            None => return Verdict::UnknownAuthor,
        };
        let mut hasher = Hasher::new();
        hasher.update(&key.0);
        hasher.update(&signature.0);
        hasher.update(bytes);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finish().bytes()[..16]);
        if self.proven.contains(&digest) {
            self.counters.proven_hits += 1;
            return Verdict::Good;
        }
        self.counters.proven_misses += 1;
        if !is_signed(Domain::Record, &key, bytes, signature) {
            return Verdict::Bad;
        }
        if self.proven_order.len() >= PROVEN_MAX
            && let Some(oldest) = self.proven_order.pop_front()
        {
            self.proven.remove(&oldest);
        }
        self.proven.insert(digest);
        self.proven_order.push_back(digest);
        Verdict::Good
    }

    /// Takes in a record that proves itself.
    pub fn learn_record(&mut self, now: Moment, record: &Record) -> Verdict {
        if record.ended || record.key.realm != Realm::Cluster {
            return Verdict::Bad;
        }
        let (subject, body) = (record.key.subject, record.body.as_slice());
        match record.key.kind {
            RecordKind::CERTIFICATE => certificate_in(body)
                .filter(|certificate| certificate.node().bytes() == subject)
                .map_or(Verdict::Bad, |certificate| {
                    self.learn_certificate(&certificate, now)
                }),
            RecordKind::REVOCATION => revocation_in(body)
                .filter(|revocation| revocation.id() == subject && !revocation.gives_up_a_site())
                .map_or(Verdict::Bad, |revocation| {
                    self.learn_revocation(&revocation)
                }),
            RecordKind::SITE_RETIRED => revocation_in(body)
                .filter(|word| word.fields().target == Target::Site(SiteId::from_bytes(subject)))
                .map_or(Verdict::Bad, |word| self.judge_retirement(&word)),
            RecordKind::GRANT => RightBody::decode(body)
                .filter(|right| right.subject() == subject)
                .map_or(Verdict::Bad, |right| self.learn_right(&right)),
            _ => Verdict::Bad,
        }
    }
}

/// One node's keys, for all parts of its process: they run on one thread, and none keeps a borrow
/// while it calls another.
#[derive(Debug, Clone)]
pub struct SharedKeys(Rc<RefCell<Keys>>);

impl SharedKeys {
    pub fn new(keys: Keys) -> Self {
        Self(Rc::new(RefCell::new(keys)))
    }

    pub fn borrow(&self) -> Ref<'_, Keys> {
        self.0.borrow()
    }

    pub fn borrow_mut(&self) -> RefMut<'_, Keys> {
        self.0.borrow_mut()
    }
}

impl Keyring for SharedKeys {
    fn sign(&self, bytes: &[u8]) -> Signature {
        self.borrow().secret.sign(Domain::Record, bytes)
    }

    fn verify(&self, author: NodeId, bytes: &[u8], signature: &Signature) -> Verdict {
        self.borrow_mut().verify_record(author, bytes, signature)
    }

    fn site_of(&self, node: NodeId) -> Option<SiteId> {
        self.borrow().table.find(node).map(|entry| entry.site)
    }

    fn is_revoked(&self, node: NodeId) -> bool {
        let keys = self.borrow();
        keys.table.find(node).is_some_and(|entry| entry.revoked)
    }

    fn is_replaced(&self, node: NodeId) -> bool {
        self.borrow().successor(node).is_some()
    }

    fn is_long_replaced(&self, node: NodeId) -> bool {
        let keys = self.borrow();
        let new = keys.successor(node);
        new.is_some_and(|new| keys.successor(new).is_some())
    }

    fn learn(&mut self, now: Moment, record: &Record) -> Verdict {
        self.borrow_mut().learn_record(now, record)
    }
}
