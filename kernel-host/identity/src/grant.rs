//! Grants: rights that the cluster's root signs.
//!
//! Does:      tokens, lists of machines, operators; a grant may be endorsed by two roots, so that
//!            it holds while one follows the other.
//! Does not:  decide whether a root is to be trusted (`ring`), or keep a token's secret (`token`).
//! Bounds:    `LISTED_MAX` machines on a list, `ENDORSEMENTS_MAX` roots a grant.
//! Trusts:    nobody: a decoded grant is well-formed; `endorsed_by` says more.
//! Start at:  `Grant`.

use crate::secret::{Domain, SecretKey, is_signed, start_of_digest};
use crate::statement;
use protocol::peer::admission::{Few, MachineId};
use protocol::peer::capped::Capped;
use protocol::peer::{PublicKey, Signature, site};
use protocol::{Name, NodeId, SiteId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Machines on one list: as many as a large site has. More go on another list.
pub const LISTED_MAX: usize = 256;
/// Roots that vouch for one grant. While a root is replaced these are the old and the new one; a
/// third takes the place of the oldest.
pub const ENDORSEMENTS_MAX: usize = 2;
/// Bytes of a grant's statement: a full list.
const STATEMENT_BYTES_MAX: usize = 17 * LISTED_MAX + 256;

macro_rules! digest_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let digits = text.strip_prefix($prefix).unwrap_or_default();
                let mut bytes = [0; 16];
                let is_hex = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                for (at, byte) in bytes.iter_mut().enumerate().filter(|_| is_hex) {
                    let pair = digits.get(2 * at..2 * at + 2).unwrap_or_default();
                    *byte = u8::from_str_radix(pair, 16).unwrap_or_default();
                }
                let wanted = || format!("wanted {} and 32 hexadecimal digits", $prefix);
                is_hex.then_some(Self(bytes)).ok_or_else(wanted)
            }
        }
    };
}
pub(crate) use digest_id;

digest_id!(
    /// Names a grant, whoever endorses it: the start of a digest of what was signed.
    GrantId,
    "grant-"
);

/// What a grant says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantFields {
    /// Whoever has its secret has the right. A list has no use for it.
    pub key: PublicKey,
    pub made_s: u64,
    /// `None`: never.
    pub expires_s: Option<u64>,
    pub right: GrantRight,
}

/// What a grant allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantRight {
    /// `count` machines may join this site; with `founds` the first may found it.
    Token {
        site: Name,
        count: u32,
        founds: bool,
    },
    /// These may join this site.
    List {
        site: Name,
        who: Few<Listed, LISTED_MAX>,
    },
    /// May revoke nodes, charters and tokens: of this site, or of all.
    Operator { site: Option<Name> },
}

/// Who is on a list. A machine's id can be copied by whoever sees the machine; a node's can't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listed {
    Machine(MachineId),
    Node(NodeId),
}

/// A right, and the signatures of the roots that vouch for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    fields: GrantFields,
    statement: Vec<u8>,
    endorsements: Vec<Endorsement>,
}

/// One root's signature; the start of its key says which root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Endorsement {
    root: [u8; 8],
    signature: Signature,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    statement: Capped<STATEMENT_BYTES_MAX>,
    endorsements: Few<Endorsement, ENDORSEMENTS_MAX>,
}

fn start_of(key: &PublicKey) -> [u8; 8] {
    let mut start = [0; 8];
    start.copy_from_slice(&key.0[..8]);
    start
}

impl Grant {
    pub fn sign(fields: GrantFields, root: &SecretKey) -> Self {
        let statement = statement::write(&fields);
        let mut grant = Self {
            fields,
            statement,
            endorsements: Vec::new(),
        };
        grant.endorse(root);
        grant
    }

    /// Lets one more root vouch for it.
    pub fn endorse(&mut self, root: &SecretKey) {
        let endorsement = Endorsement {
            root: start_of(&root.public()),
            signature: root.sign(Domain::Grant, &self.statement),
        };
        self.add(endorsement);
    }

    fn add(&mut self, endorsement: Endorsement) {
        self.endorsements.retain(|old| old.root != endorsement.root);
        if self.endorsements.len() == ENDORSEMENTS_MAX {
            self.endorsements.remove(0);
        }
        self.endorsements.push(endorsement);
    }

    /// Adds the endorsements of the same grant by `roots`. Says whether that changed anything.
    pub(crate) fn absorb(&mut self, other: &Self, roots: &[PublicKey]) -> bool {
        let before = self.endorsements.clone();
        for endorsement in &other.endorsements {
            let known = |old: &Endorsement| old.root == endorsement.root;
            let signed = |root: &&PublicKey| other.is_endorsement(endorsement, root);
            if !self.endorsements.iter().any(known) && roots.iter().any(|root| signed(&root)) {
                self.add(*endorsement);
            }
        }
        before != self.endorsements
    }

    /// This grant with those endorsements only that these roots made; `None`: there is none.
    pub(crate) fn endorsed_by_any(&self, roots: &[PublicKey]) -> Option<Self> {
        let mut proved = Self {
            endorsements: Vec::new(),
            ..self.clone()
        };
        proved.absorb(self, roots).then_some(proved)
    }

    /// Whether `known` has every endorsement of this.
    pub(crate) fn is_covered_by(&self, known: &Self) -> bool {
        self.endorsements
            .iter()
            .all(|endorsement| known.endorsements.contains(endorsement))
    }

    fn is_endorsement(&self, endorsement: &Endorsement, root: &PublicKey) -> bool {
        endorsement.root == start_of(root)
            && is_signed(Domain::Grant, root, &self.statement, &endorsement.signature)
    }

    /// Whether this root vouches for it. Costs a signature check.
    pub fn is_endorsed_by(&self, root: &PublicKey) -> bool {
        self.endorsements
            .iter()
            .any(|endorsement| self.is_endorsement(endorsement, root))
    }

    /// Whether it says that this root vouches for it, of a grant that was checked before.
    pub(crate) fn names_root(&self, root: &PublicKey) -> bool {
        let start = start_of(root);
        self.endorsements.iter().any(|one| one.root == start)
    }

    pub fn id(&self) -> GrantId {
        GrantId(start_of_digest(b"luc grant id\0", &self.statement))
    }

    pub const fn fields(&self) -> &GrantFields {
        &self.fields
    }

    /// The site that it is for. `None`: an operator of all sites.
    pub const fn site(&self) -> Option<&Name> {
        match &self.fields.right {
            GrantRight::Token { site, .. } | GrantRight::List { site, .. } => Some(site),
            GrantRight::Operator { site } => site.as_ref(),
        }
    }

    pub fn site_id(&self) -> Option<SiteId> {
        self.site().map(site::id_of)
    }

    pub const fn founds(&self) -> bool {
        matches!(self.fields.right, GrantRight::Token { founds: true, .. })
    }

    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            statement: Capped::new(self.statement.clone()).unwrap_or_default(),
            endorsements: Few::new(self.endorsements.iter().copied()),
        };
        postcard::to_extend(&wire, Vec::new()).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Self::decode_start(bytes).map(|(grant, _)| grant)
    }

    /// Reads a grant from the start of `bytes`; gives the rest back.
    pub(crate) fn decode_start(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (wire, rest) = postcard::take_from_bytes::<Wire>(bytes).ok()?;
        let statement = wire.statement.bytes().to_vec();
        let grant = Self {
            fields: statement::read(&statement)?,
            statement,
            endorsements: wire.endorsements.as_slice().to_vec(),
        };
        (!grant.endorsements.is_empty()).then_some((grant, rest))
    }
}
