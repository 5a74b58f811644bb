//! Words of the cluster's owner: keys and tokens.
//!
//! Start at:  `ClusterVerb`, `TokenVerb`.

use crate::commands::parse_lifetime;
use clap::{Args, Subcommand, ValueHint};
use protocol::Name;
use std::{path::PathBuf, time::Duration};

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Make a cluster: a public file for every image, and a secret one for you alone
    #[command(after_help = "Example: luc cluster init --name demo --out keys")]
    Init(ClusterInit),
    /// Show what a cluster's public or secret file says, without the secret
    #[command(after_help = "Example: luc cluster show cluster.toml")]
    Show(ClusterShow),
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
