//! Words of the cluster's owner: keys, tokens, and what is signed with them.
//!
//! Does:      names their commands and options.
//! Does not:  do anything.
//! Bounds:    none of its own; values are checked by the types they become.
//! Trusts:    the person at the keyboard.
//! Start at:  `ClusterVerb`, `TokenVerb`.

use crate::commands::parse_lifetime;
use clap::{Args, Subcommand, ValueHint};
use identity::{charter::CharterId, grant::GrantId};
use protocol::{Name, NodeId, peer::admission::MachineId};
use std::{path::PathBuf, time::Duration};

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Make a cluster: a public file for every image, and a secret one for you alone
    #[command(after_help = "Example: luc cluster init --name demo --out keys")]
    Init(ClusterInit),
    /// Show what a cluster's public or secret file says, without the secret
    #[command(after_help = "Example: luc cluster show cluster.toml")]
    Show(ClusterShow),
    /// Sign that a node, token or charter counts no more
    #[command(after_help = "\
Example: luc cluster revoke --node node-3f2ac9d0e1b24c5d8e9fa0b1c2d3e4f5 | luc cluster tell -
Example: luc cluster revoke --token grant-8a01b2c3d4e5f60718293a4b5c6d7e8f --since 7d")]
    Revoke(ClusterRevoke),
    /// Sign a list of machines that may join a site without a token
    #[command(after_help = "\
Example: luc cluster admit --site lyon --uuid 4c4c4544-0033-4a10-8051-b4c04f4e4e32
A machine shows its id on its screen while it waits. Whoever copies a machine's UUID
can take its place; a token can't be copied from a machine.")]
    Admit(ClusterAdmit),
    /// Sign that a site is given up for good: nobody waits for it or keeps its things any more
    #[command(after_help = "Example: luc cluster retire --site lyon | luc cluster tell -")]
    Retire(ClusterRetire),
    /// Hand a signed word to any node; it judges it and tells all
    #[command(after_help = "Example: luc --via 192.0.2.7 cluster tell - < word")]
    Tell(ClusterTell),
}

/// Who signs.
#[derive(Debug, Args)]
pub(crate) struct Signer {
    /// The cluster's secret key
    #[arg(long, default_value = "cluster.key", value_name = "FILE",
        value_hint = ValueHint::FilePath)]
    pub key: PathBuf,
}

#[derive(Debug, Args)]
#[group(id = "target", required = true, multiple = false)]
pub(crate) struct Revoked {
    /// A node, by its whole id: luc node list --output wide
    #[arg(long, value_name = "ID")]
    pub node: Option<NodeId>,
    /// A token or list, by its id: luc token show
    #[arg(long, value_name = "ID")]
    pub token: Option<GrantId>,
    /// A site's charter, by its id; its nodes need another one
    #[arg(long, value_name = "ID")]
    pub charter: Option<CharterId>,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterRevoke {
    #[command(flatten)]
    pub signer: Signer,
    #[command(flatten)]
    pub target: Revoked,
    /// Also what it let in since so long ago: 2h, 7d  [default: nothing]
    #[arg(long, value_parser = parse_lifetime, value_name = "TIME")]
    pub since: Option<Duration>,
    /// For people, in every node's keeping
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterAdmit {
    #[command(flatten)]
    pub signer: Signer,
    /// The site that they may join: a-z, 0-9 and `-`
    #[arg(long, value_name = "NAME")]
    pub site: Name,
    /// A machine, by the id on its screen; may be given several times
    #[arg(long, value_name = "ID")]
    pub machine: Vec<MachineId>,
    /// A machine, by the UUID of its firmware; may be given several times
    #[arg(long, value_name = "UUID", value_parser = parse_uuid)]
    pub uuid: Vec<MachineId>,
    /// A machine, by the node id that its state disk keeps; may be given several times
    #[arg(long, value_name = "ID")]
    pub node: Vec<NodeId>,
    /// How long machines that never joined may use it: 2h, 7d  [default: for ever]
    #[arg(long, value_parser = parse_lifetime, value_name = "TIME")]
    pub expires: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterRetire {
    #[command(flatten)]
    pub signer: Signer,
    /// The site: a-z, 0-9 and `-`
    #[arg(long, value_name = "NAME")]
    pub site: Name,
    /// For people, in every node's keeping
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterTell {
    /// The word, or `-` for standard input
    #[arg(value_name = "WORD", allow_hyphen_values = true)]
    pub word: String,
}

/// The id of the machine with this firmware UUID.
fn parse_uuid(text: &str) -> Result<MachineId, String> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let wanted = || "write it as 4c4c4544-0033-4a10-8051-b4c04f4e4e32".to_owned();
    if digits.len() != 32 {
        return Err(wanted());
    }
    let uuid = u128::from_str_radix(&digits, 16).map_err(|_| wanted())?;
    let id = identity::secret::machine_id(Some(uuid.to_be_bytes()), &[]);
    id.ok_or_else(|| "boards that nobody numbered share this UUID".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct ClusterInit {
    /// A name for people: a-z, 0-9 and `-`
    #[arg(long)]
    pub name: Name,
    /// Folder for cluster.toml and cluster.key
    #[arg(long, default_value = ".", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterShow {
    /// cluster.toml or cluster.key
    #[arg(default_value = "cluster.toml", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token: whoever has it may join the site
    #[command(after_help = "\
Example: luc token create --key cluster.key --site lyon --founds --count 5
Example: luc token create --key cluster.key --site lyon --expires 7d")]
    Create(TokenCreate),
    /// Explain a token, without its secret
    #[command(after_help = "Example: luc token show - < token")]
    Show(TokenShow),
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreate {
    /// The cluster's secret key
    #[arg(long, default_value = "cluster.key", value_name = "FILE",
        value_hint = ValueHint::FilePath)]
    pub key: PathBuf,
    /// The site that it is for: a-z, 0-9 and `-`
    #[arg(long, value_name = "NAME")]
    pub site: Name,
    /// Machines that may join with it; one that boots anew counts once
    #[arg(long, default_value_t = 1, value_name = "MACHINES",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// How long machines that never joined may use it: 2h, 7d  [default: for ever]
    #[arg(long, value_parser = parse_lifetime, value_name = "TIME")]
    pub expires: Option<Duration>,
    /// The first machine may found the site when no node of it can be heard
    #[arg(long)]
    pub founds: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenShow {
    /// The token's text, or `-` for standard input, which other users of this machine can't see
    #[arg(value_name = "TOKEN", allow_hyphen_values = true)]
    pub token: String,
}
