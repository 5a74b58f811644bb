//! Words of `luc energy`.

use super::OneVm;
use crate::complete;
use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use protocol::Selector;

#[derive(Debug, Subcommand)]
pub(crate) enum EnergyVerb {
    /// What a node draws now, and who for
    #[command(after_help = "\
Example: luc energy now
Example: luc energy now --node ams-2 -o json")]
    Now(OfNode),
    /// What a virtual machine draws and has drawn
    #[command(after_help = "Example: luc energy vm web")]
    Vm(OneVm),
    /// What LUC OS itself draws on a node
    #[command(name = "self", after_help = "Example: luc energy self --node ams-2")]
    Own(OfNode),
    /// The meters of a node, and why one is silent
    #[command(after_help = "Example: luc energy sources")]
    Sources(OfNode),
}

#[derive(Debug, Args)]
pub(crate) struct OfNode {
    /// The node  [default: the node that is asked]
    #[arg(long, value_name = "NODE", add = ArgValueCandidates::new(complete::node_names))]
    pub node: Option<Selector>,
}
