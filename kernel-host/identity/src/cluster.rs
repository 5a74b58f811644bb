//! The two files of a cluster: `cluster.toml`, which everybody may read, and `cluster.key`.
//!
//! Does:      writes both as TOML; reads back the little of TOML that they use.
//! Does not:  touch a disk.
//! Bounds:    `FILE_BYTES_MAX`, `ROOTS_MAX` roots and successions.
//! Trusts:    nobody: people edit files.
//! Start at:  `ClusterFacts`, `ClusterSecret`.

use crate::armour::{self, BadText};
use crate::ring::ROOTS_MAX;
use crate::secret::{SecretKey, Seed};
use crate::succession::Succession;
use protocol::peer::PublicKey;
use protocol::{BadName, Name, limits};
use std::collections::BTreeMap;

/// Bytes of either file.
pub const FILE_BYTES_MAX: usize = 16 << 10;
/// How the texts in them start.
pub const ROOT_PREFIX: &str = "luc-root-";
const SECRET_PREFIX: &str = "luc-secret-";
const SUCCESSION_PREFIX: &str = "luc-succession-";

/// What everybody may know of a cluster, and every image and node has to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFacts {
    pub name: Name,
    pub roots: Vec<PublicKey>,
    pub successions: Vec<Succession>,
}

/// What only whoever owns the cluster may have.
#[derive(Debug, Clone)]
pub struct ClusterSecret {
    pub name: Name,
    pub root: SecretKey,
    /// How it follows the root before it; rides along with tokens.
    pub succession: Option<Succession>,
}

/// Why a file of a cluster is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCluster {
    #[error("it is longer than {FILE_BYTES_MAX} bytes")]
    Long,
    #[error("line {line} is not `name = \"value\"`")]
    Line { line: usize },
    #[error("`{field}` is missing")]
    Missing { field: &'static str },
    #[error("`{field}` stands in it twice")]
    Twice { field: String },
    #[error("its format is {found}, and this version of luc knows format 1")]
    Format { found: String },
    #[error("`{field}`")]
    Text {
        field: &'static str,
        source: BadText,
    },
    #[error("`name`")]
    Name(#[source] BadName),
    #[error("`{field}` names more than {ROOTS_MAX}")]
    Many { field: &'static str },
    #[error("it holds the secret of another root than it says")]
    OtherRoot,
}

/// A root's public key as text: for `cluster.toml`, kernel arguments and firmware tables.
pub fn write_root(root: &PublicKey) -> String {
    armour::write(ROOT_PREFIX, &root.0)
}

pub fn read_root(text: &str) -> Result<PublicKey, BadText> {
    let bytes = armour::read(ROOT_PREFIX, text)?;
    let key = bytes.try_into().map_err(|_| BadText::Content)?;
    Ok(PublicKey(key))
}

fn write_succession(succession: &Succession) -> String {
    armour::write(SUCCESSION_PREFIX, &succession.encode())
}

fn read_succession(text: &str) -> Result<Succession, BadText> {
    let bytes = armour::read(SUCCESSION_PREFIX, text)?;
    let succession = Succession::decode(&bytes).ok_or(BadText::Content)?;
    match succession.is_signed() {
        true => Ok(succession),
        false => Err(BadText::Content),
    }
}

impl ClusterFacts {
    pub fn write(&self) -> String {
        let quoted = |text: String| format!("    \"{text}\",\n");
        let roots: String = self
            .roots
            .iter()
            .map(|root| quoted(write_root(root)))
            .collect();
        let successions = self.successions.iter();
        let successions: String = successions
            .map(|one| quoted(write_succession(one)))
            .collect();
        format!(
            "# The public facts of the cluster {name}. Nothing in here is secret.\n\
             # Every image and every node of the cluster is given its roots: luc.root=...\n\
             format = 1\n\
             name = \"{name}\"\n\
             roots = [\n{roots}]\n\
             successions = [\n{successions}]\n",
            name = self.name
        )
    }

    pub fn read(text: &str) -> Result<Self, BadCluster> {
        let fields = Fields::read(text)?;
        Ok(Self {
            name: fields.name()?,
            roots: fields.all("roots", read_root)?,
            successions: match fields.0.contains_key("successions") {
                true => fields.all("successions", read_succession)?,
                false => Vec::new(),
            },
        })
    }
}

impl ClusterSecret {
    pub fn facts(&self) -> ClusterFacts {
        let root = self.root.public();
        let old = self.succession.as_ref().map(|one| one.fields().old);
        ClusterFacts {
            name: self.name.clone(),
            roots: [Some(root), old].into_iter().flatten().collect(),
            successions: self.succession.iter().cloned().collect(),
        }
    }

    /// The file's text: whoever reads it owns the cluster.
    pub fn reveal(&self) -> String {
        let succession = self.succession.as_ref().map(|one| {
            let text = write_succession(one);
            format!("succession = \"{text}\"\n")
        });
        format!(
            "# SECRET. Whoever reads this file owns the cluster {name}: it makes tokens and\n\
             # revokes nodes. No node needs it. Keep it off the network, and keep a copy.\n\
             format = 1\n\
             name = \"{name}\"\n\
             root = \"{root}\"\n\
             secret = \"{secret}\"\n\
             {succession}",
            name = self.name,
            root = write_root(&self.root.public()),
            secret = armour::write(SECRET_PREFIX, self.root.seed().reveal()),
            succession = succession.unwrap_or_default()
        )
    }

    pub fn read(text: &str) -> Result<Self, BadCluster> {
        let fields = Fields::read(text)?;
        let root = fields.one("root", read_root)?;
        let seed = fields.one("secret", |text| {
            let bytes = armour::read(SECRET_PREFIX, text)?;
            bytes.try_into().map_err(|_| BadText::Content)
        })?;
        let secret = Self {
            name: fields.name()?,
            root: SecretKey::from_seed(&Seed::new(seed)),
            succession: match fields.0.contains_key("succession") {
                true => Some(fields.one("succession", read_succession)?),
                false => None,
            },
        };
        let follows = |one: &Succession| one.fields().new == root;
        let fits = secret.root.public() == root && secret.succession.as_ref().is_none_or(follows);
        match fits {
            true => Ok(secret),
            false => Err(BadCluster::OtherRoot),
        }
    }
}

/// The names and values of a file: a small part of TOML.
struct Fields(BTreeMap<String, Vec<String>>);

impl Fields {
    fn read(text: &str) -> Result<Self, BadCluster> {
        if text.len() > FILE_BYTES_MAX {
            return Err(BadCluster::Long);
        }
        let mut fields = BTreeMap::new();
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let bad = || BadCluster::Line { line: at + 1 };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (field, value) = line.split_once('=').ok_or_else(bad)?;
            let (field, mut value) = (field.trim(), value.trim().to_owned());
            if value.starts_with('[') {
                while !value.ends_with(']') {
                    let (_, more) = lines.next().ok_or_else(bad)?;
                    value.push_str(more.trim());
                }
            }
            let values = values_of(&value).ok_or_else(bad)?;
            if fields.insert(field.to_owned(), values).is_some() {
                let field = limits::shortened(field, 40);
                return Err(BadCluster::Twice { field });
            }
        }
        let fields = Self(fields);
        match fields.plain("format")? {
            "1" => Ok(fields),
            found => Err(BadCluster::Format {
                found: limits::shortened(found, 20),
            }),
        }
    }

    fn plain(&self, field: &'static str) -> Result<&str, BadCluster> {
        match self.0.get(field).map(Vec::as_slice) {
            Some([value]) => Ok(value),
            _ => Err(BadCluster::Missing { field }),
        }
    }

    fn name(&self) -> Result<Name, BadCluster> {
        self.plain("name")?.parse().map_err(BadCluster::Name)
    }

    fn one<T>(
        &self,
        field: &'static str,
        read: impl Fn(&str) -> Result<T, BadText>,
    ) -> Result<T, BadCluster> {
        read(self.plain(field)?).map_err(|source| BadCluster::Text { field, source })
    }

    fn all<T>(
        &self,
        field: &'static str,
        read: impl Fn(&str) -> Result<T, BadText>,
    ) -> Result<Vec<T>, BadCluster> {
        let values = self.0.get(field).ok_or(BadCluster::Missing { field })?;
        if values.len() > ROOTS_MAX {
            return Err(BadCluster::Many { field });
        }
        let read =
            |value: &String| read(value).map_err(|source| BadCluster::Text { field, source });
        values.iter().map(read).collect()
    }
}

/// A number, a quoted text, or a list of quoted texts.
fn values_of(value: &str) -> Option<Vec<String>> {
    let unquote = |text: &str| {
        let inner = text.trim().strip_prefix('"')?.strip_suffix('"')?;
        (!inner.contains(['"', '\\'])).then(|| inner.to_owned())
    };
    if let Some(list) = value.strip_prefix('[') {
        let list = list.strip_suffix(']')?.trim().trim_end_matches(',');
        if list.is_empty() {
            return Some(Vec::new());
        }
        return list.split(',').map(unquote).collect();
    }
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(vec![value.to_owned()]);
    }
    unquote(value).map(|text| vec![text])
}
