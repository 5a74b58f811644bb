//! Words a person says: the tree of commands.
//!
//! Does:      names every command, option and example once; help and completion come from it.
//! Does not:  do anything.
//! Bounds:    none of its own; values are checked by the types they become.
//! Trusts:    the person at the keyboard.
//! Start at:  `Arguments`.

mod energy;
mod owner;

pub(crate) use energy::{EnergyVerb, OfNode};
pub(crate) use owner::{
    ClusterAdmit, ClusterInit, ClusterRetire, ClusterRevoke, ClusterShow, ClusterTell, ClusterVerb,
    Signer, TokenCreate, TokenShow, TokenVerb,
};

use crate::{
    complete,
    wait::{Condition, parse_duration},
};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCandidates;
use protocol::{ByteCount, Name, Selector, limits};
use std::{path::PathBuf, time::Duration};

/// Run virtual machines on bare machines. Any node answers.
#[derive(Debug, Parser)]
#[command(
    name = "luc",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = concat!(
        "Example: luc --via 192.0.2.7 vm create web --image alpine --memory 256MiB\n\n",
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 conflict, 5 refused by a \
         limit,\n6 not enough memory, 7 timeout, 8 node unreachable, 9 dry run: something would \
         change"
    )
)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

impl Arguments {
    pub(crate) fn vmm_run(&self) -> Option<&VmmRunOptions> {
        match &self.noun {
            Noun::Vmm {
                verb: VmmVerb::Run(options),
            } => Some(options),
            _ => None,
        }
    }
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// Node to ask, for whichever node; of several the first that answers
    #[arg(
        long,
        global = true,
        env = "LUC_VIA",
        value_delimiter = ',',
        value_name = "ADDRESS[:PORT],..."
    )]
    pub via: Vec<String>,
    /// How to show the answer
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub output: Format,
    /// Columns of a table, in this order
    #[arg(long, global = true, value_delimiter = ',', value_name = "A,B,...")]
    pub columns: Vec<String>,
    /// Wait until it is done  [default: on a terminal]
    #[arg(long, global = true, overrides_with = "no_wait")]
    pub wait: bool,
    /// Return as soon as the node accepted it
    #[arg(long, global = true)]
    pub no_wait: bool,
    /// Longest wait: 500ms, 30s, 5m
    #[arg(long, global = true, value_parser = parse_duration, default_value = "120s",
        value_name = "TIME")]
    pub timeout: Duration,
    /// Don't ask before something is deleted or ended
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// Say nothing but the answer and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say how a wait goes on, also where nobody looks
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

// What a variant is for stands in no doc comment: clap would print a line for each, everywhere.
/// How answers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table, // for people
    Wide,   // for people with wide screens
    Json,   // one document, the API's own fields
    Ndjson, // the same, one line per item
    Yaml,
    Name, // one per line, for `xargs`
}

/// What a command is about.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Virtual machines
    #[command(after_help = "Example: luc vm create web --image alpine --memory 256MiB")]
    Vm {
        #[command(subcommand)]
        verb: VmVerb,
    },
    /// What virtual machines boot from
    #[command(after_help = "Example: luc image add alpine --kernel vmlinuz --initrd initramfs")]
    Image {
        #[command(subcommand)]
        verb: ImageVerb,
    },
    /// The servers, and who may be one
    #[command(after_help = "Example: luc --via 192.0.2.7 node list")]
    Node {
        #[command(subcommand)]
        verb: NodeVerb,
    },
    /// The cluster's keys, as files on this machine; no node is asked
    #[command(after_help = "Example: luc cluster init --name demo")]
    Cluster {
        #[command(subcommand)]
        verb: ClusterVerb,
    },
    /// Rights to join, made from the cluster's secret key; no node is asked
    #[command(after_help = "Example: luc token create --key cluster.key --site lyon --founds")]
    Token {
        #[command(subcommand)]
        verb: TokenVerb,
    },
    /// Where the servers stand
    #[command(after_help = "Example: luc site list")]
    Site {
        #[command(subcommand)]
        verb: SiteVerb,
    },
    /// What is drawn, measured and charged
    #[command(after_help = "Example: luc energy now")]
    Energy {
        #[command(subcommand)]
        verb: EnergyVerb,
    },
    /// What a node saw happen
    #[command(after_help = "Example: luc events --follow")]
    Events(EventsOf),
    /// Wait for something to become true
    #[command(after_help = "Example: luc wait vm web --for running --timeout 30s")]
    Wait {
        #[command(subcommand)]
        what: WaitFor,
    },
    /// The virtual machine monitor alone, on this machine, without a node
    #[command(after_help = "Example: luc vmm run --kernel vmlinuz --initrd initrd.img")]
    Vmm {
        #[command(subcommand)]
        verb: VmmVerb,
    },
    /// Print the completion script of a shell
    #[command(after_help = "Example: source <(luc completion bash)")]
    Completion { shell: Shell },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Which VM.
#[derive(Debug, Args)]
pub(crate) struct OneVm {
    /// Name, NAME~SITE, id, or a start of the id that fits only one VM
    #[arg(value_name = "VM", add = ArgValueCandidates::new(complete::vm_names))]
    pub vm: Selector,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VmVerb {
    /// Make a virtual machine and start it
    #[command(after_help = "\
Example: luc vm create web --image alpine --memory 256MiB --vcpus 2 --site ams
Example: luc vm create db --image debian --disk private --cmdline 'root=/dev/vda1'")]
    Create(VmCreate),
    /// List virtual machines
    #[command(
        visible_alias = "ls",
        after_help = "\
Example: luc vm list --site ams
Example: luc vm list --columns name,state,age"
    )]
    List(Where),
    /// Show a virtual machine
    #[command(after_help = "Example: luc vm show web -o json")]
    Show(OneVm),
    /// Use the serial console; Ctrl-] detaches
    #[command(after_help = "\
Example: luc vm console web
Example: luc vm console web --for 'login:' </dev/null")]
    Console(VmConsole),
    /// Print what the serial console kept
    #[command(after_help = "Example: luc vm log web | tail")]
    Log(OneVm),
    /// Press the power button
    #[command(after_help = "Example: luc vm stop web --force-after 20s")]
    Stop(VmStop),
    /// Start a stopped or failed virtual machine
    #[command(after_help = "Example: luc vm start web --wait")]
    Start(OneVm),
    /// Reset a running virtual machine, as its reset button would
    #[command(after_help = "Example: luc vm reset web")]
    Reset(OneVm),
    /// End virtual machines by force and delete them
    #[command(
        visible_alias = "rm",
        after_help = "Example: luc vm delete web db --yes"
    )]
    Delete(VmDelete),
}

/// Which node or site.
#[derive(Debug, Default, Args)]
pub(crate) struct Where {
    /// Only this site
    #[arg(long, value_name = "SITE", add = ArgValueCandidates::new(complete::site_names))]
    pub site: Option<Name>,
    /// Only this node: name, id, or start of the id
    #[arg(long, value_name = "NODE", add = ArgValueCandidates::new(complete::node_names))]
    pub node: Option<Selector>,
}

/// Which nodes.
#[derive(Debug, Default, Args)]
pub(crate) struct Nodes {
    /// These nodes: names, ids, or starts of ids; may come several times
    #[arg(long = "node", value_name = "NODE",
        add = ArgValueCandidates::new(complete::node_names))]
    pub nodes: Vec<Selector>,
    /// Every node of this site
    #[arg(long, value_name = "SITE", conflicts_with = "nodes",
        add = ArgValueCandidates::new(complete::site_names))]
    pub site: Option<Name>,
}

#[derive(Debug, Args)]
pub(crate) struct VmCreate {
    /// A name that is not taken: a-z, 0-9 and `-`
    pub name: Name,
    /// What it boots from
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::image_names))]
    pub image: Name,
    /// Its memory
    #[arg(long, default_value = "128MiB", value_name = "AMOUNT")]
    pub memory: ByteCount,
    /// Its virtual CPUs, 1 to 8
    #[arg(long, default_value_t = 1, value_name = "COUNT",
        value_parser = clap::value_parser!(u8).range(1..=limits::VCPUS_MAX as i64))]
    pub vcpus: u8,
    /// Kernel arguments behind those of the image
    #[arg(
        long,
        default_value = "",
        value_name = "ARGUMENTS",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub cmdline: String,
    /// The image's disk: shared and read-only, a private copy, or not attached
    #[arg(long, value_enum, default_value_t, value_name = "USE")]
    pub disk: DiskUse,
    /// Where it runs: the least loaded node of this site that has the image  [default: the
    /// site of the node that is asked]
    #[arg(long, value_name = "SITE", add = ArgValueCandidates::new(complete::site_names))]
    pub site: Option<Name>,
    /// Where it runs: this node
    #[arg(long, value_name = "NODE", add = ArgValueCandidates::new(complete::node_names))]
    pub node: Option<Selector>,
}

/// How a VM uses the disk of its image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiskUse {
    #[default]
    ReadOnly,
    Private,
    None,
}

impl From<DiskUse> for protocol::DiskUse {
    fn from(disk: DiskUse) -> Self {
        match disk {
            DiskUse::ReadOnly => Self::ReadOnly,
            DiskUse::Private => Self::Private,
            DiskUse::None => Self::None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct VmConsole {
    #[command(flatten)]
    pub one: OneVm,
    /// Take the keyboard from whoever has it
    #[arg(long)]
    pub take: bool,
    /// Only watch
    #[arg(long, conflicts_with = "take")]
    pub read_only: bool,
    /// End when this text appears; 7 if it does not within --timeout
    #[arg(long = "for", value_name = "TEXT")]
    pub until: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VmStop {
    #[command(flatten)]
    pub one: OneVm,
    /// Don't ask the guest: as if the power failed
    #[arg(long)]
    pub force: bool,
    /// End it by force if the guest still runs after this time
    #[arg(long, value_parser = parse_duration, conflicts_with = "force", value_name = "TIME")]
    pub force_after: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct VmDelete {
    /// Names, ids, or starts of ids that fit only one VM each
    #[arg(required = true, value_name = "VM", add = ArgValueCandidates::new(complete::vm_names))]
    pub vms: Vec<Selector>,
    /// Only show what would be deleted; exit code 9
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Send kernel, initrd and disk to the node and give them a name
    #[command(after_help = "\
Example: luc image add alpine --kernel vmlinuz --initrd initramfs --cmdline console=ttyS0
Example: luc image add alpine --kernel vmlinuz --site ams")]
    Add(ImageAdd),
    /// List images
    #[command(visible_alias = "ls", after_help = "Example: luc image list -o wide")]
    List(Where),
    /// Show an image
    #[command(after_help = "Example: luc image show alpine -o yaml")]
    Show(OneImage),
    /// Delete images that no virtual machine uses
    #[command(
        visible_alias = "rm",
        after_help = "Example: luc image delete alpine --dry-run"
    )]
    Delete(ImageDelete),
}

#[derive(Debug, Args)]
pub(crate) struct OneImage {
    /// Its name
    #[arg(value_name = "IMAGE", add = ArgValueCandidates::new(complete::image_names))]
    pub image: Name,
}

#[derive(Debug, Args)]
pub(crate) struct ImageAdd {
    /// A name that is not taken: a-z, 0-9 and `-`
    pub name: Name,
    /// Linux kernel (bzImage)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kernel: PathBuf,
    /// First root file system
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub initrd: Option<PathBuf>,
    /// Raw disk
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub disk: Option<PathBuf>,
    /// Kernel arguments of every VM made from it
    #[arg(
        long,
        default_value = "",
        value_name = "ARGUMENTS",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub cmdline: String,
    /// Where to put it  [default: the node that is asked]
    #[command(flatten)]
    pub on: Nodes,
}

#[derive(Debug, Args)]
pub(crate) struct ImageDelete {
    /// Their names
    #[arg(required = true, value_name = "IMAGE",
        add = ArgValueCandidates::new(complete::image_names))]
    pub images: Vec<Name>,
    /// Where to delete it  [default: every node that has it and answers]
    #[command(flatten)]
    pub on: Nodes,
    /// Only show what would be deleted; exit code 9
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// List the nodes of all sites
    #[command(
        visible_alias = "ls",
        after_help = "Example: luc node list --site ams -o wide"
    )]
    List {
        /// Only this site
        #[arg(long, value_name = "SITE", add = ArgValueCandidates::new(complete::site_names))]
        site: Option<Name>,
    },
    /// Show a node: state, addresses, memory, how it booted
    #[command(after_help = "\
Example: luc node show -o json
Example: luc node show ams-2")]
    Show(OneNode),
    /// List machines that wait for somebody to let them in
    #[command(after_help = "Example: luc node pending")]
    Pending,
    /// Let a waiting machine in, by the code on its screen
    #[command(after_help = "Example: luc node approve 3f9a-c21e")]
    Approve {
        /// The code; compare it with the screen of the machine
        code: String,
    },
    /// Take a node's right to be one away, for ever
    #[command(
        visible_alias = "rm",
        after_help = "Example: luc node remove ams-2 --dry-run"
    )]
    Remove {
        /// Name, id, or a start of the id that fits only one node
        #[arg(value_name = "NODE", add = ArgValueCandidates::new(complete::node_names))]
        node: Selector,
        /// Only show what would be removed; exit code 9
        #[arg(long)]
        dry_run: bool,
    },
    /// End all virtual machines and switch the node off
    #[command(
        name = "poweroff",
        after_help = "Example: luc node poweroff ams-2 --yes"
    )]
    PowerOff(NodePower),
    /// End all virtual machines and boot the node again
    #[command(after_help = "Example: luc node reboot ams-2 --yes")]
    Reboot(NodePower),
}

#[derive(Debug, Args)]
pub(crate) struct OneNode {
    /// Name, id, or a start of the id that fits only one node  [default: the node that is asked]
    #[arg(value_name = "NODE", add = ArgValueCandidates::new(complete::node_names))]
    pub node: Option<Selector>,
}

#[derive(Debug, Args)]
pub(crate) struct NodePower {
    #[command(flatten)]
    pub one: OneNode,
    /// Only show what would be ended; exit code 9
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SiteVerb {
    /// List the sites
    #[command(visible_alias = "ls", after_help = "Example: luc site list")]
    List,
}

#[derive(Debug, Args)]
pub(crate) struct EventsOf {
    /// Go on with what happens from now on, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// The node whose view it is  [default: the node that is asked]
    #[arg(long, value_name = "NODE", add = ArgValueCandidates::new(complete::node_names))]
    pub node: Option<Selector>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WaitFor {
    /// Wait for a virtual machine, also for one that does not exist yet
    #[command(after_help = "\
Example: luc wait vm web --for running
Example: luc wait vm web --for 'console~login:' --timeout 2m")]
    Vm {
        #[command(flatten)]
        one: OneVm,
        /// running, stopped, failed, deleted, or console~TEXT
        #[arg(long = "for", value_name = "CONDITION", default_value = "running",
            add = ArgValueCandidates::new(complete::conditions))]
        condition: Condition,
    },
    /// Wait until the node answers and is ready
    #[command(after_help = "Example: luc --via 192.0.2.7 wait node --timeout 5m")]
    Node,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VmmVerb {
    /// Run one virtual machine here; its console is this terminal
    #[command(after_help = "\
Example: luc vmm run --kernel vmlinuz --initrd initrd.img --cmdline 'console=ttyS0'")]
    Run(VmmRunOptions),
}

/// What `luc vmm run` was told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct VmmRunOptions {
    /// Linux kernel (bzImage)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kernel: PathBuf,
    /// First root file system
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub initrd: Option<PathBuf>,
    /// Raw disk that the guest may write to; may come several times
    #[arg(long = "disk", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub disks: Vec<PathBuf>,
    /// Raw disk that the guest may only read; may come several times, after the others
    #[arg(long = "disk-read-only", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub read_only_disks: Vec<PathBuf>,
    /// TAP device for a network card of the guest; may come several times, at most 4
    #[arg(long = "tap", value_name = "NAME")]
    pub taps: Vec<String>,
    /// Kernel arguments
    #[arg(
        long,
        default_value = "console=ttyS0 reboot=k panic=-1",
        value_name = "ARGUMENTS",
        allow_hyphen_values = true
    )]
    pub cmdline: String,
    /// Memory of the guest
    #[arg(long, default_value = "128MiB", value_name = "AMOUNT")]
    pub memory: ByteCount,
    /// Virtual CPUs, 1 to 8
    #[arg(long, default_value_t = 1, value_name = "COUNT",
        value_parser = clap::value_parser!(u8).range(1..=limits::VCPUS_MAX as i64))]
    pub vcpus: u8,
    /// End when the guest resets, instead of booting it again
    #[arg(long)]
    pub no_reboot: bool,
    /// Run without namespaces, on hosts that refuse them; the system-call filter stays
    #[arg(long)]
    pub without_namespaces: bool,
}
