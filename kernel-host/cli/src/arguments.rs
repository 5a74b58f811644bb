//! Words a person says: the tree of commands.
//!
//! Does:      names every command, option and example once; help and completion come from it.
//! Does not:  do anything.
//! Bounds:    none of its own; values are checked by the types they become.
//! Trusts:    the person at the keyboard.
//! Start at:  `Arguments`.

use crate::{
    commands::parse_lifetime,
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
        "Example: luc --node 192.0.2.7 vm create web --image alpine --memory 256MiB\n\n",
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
    /// Node to ask
    #[arg(long, global = true, env = "LUC_NODE", value_name = "ADDRESS[:PORT]")]
    pub node: Option<String>,
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
    /// The node itself
    #[command(after_help = "Example: luc --node 192.0.2.7 node show -o yaml")]
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

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Which VM.
#[derive(Debug, Args)]
pub(crate) struct OneVm {
    /// Name, id, or a start of the id that fits only one VM
    #[arg(value_name = "VM", add = ArgValueCandidates::new(complete::vm_names))]
    pub vm: Selector,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VmVerb {
    /// Make a virtual machine and start it
    #[command(after_help = "\
Example: luc vm create web --image alpine --memory 256MiB --vcpus 2
Example: luc vm create db --image debian --disk private --cmdline 'root=/dev/vda1'")]
    Create(VmCreate),
    /// List virtual machines
    #[command(
        visible_alias = "ls",
        after_help = "Example: luc vm list --columns name,state,age"
    )]
    List,
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
Example: luc image add alpine --kernel vmlinuz --initrd initramfs --cmdline console=ttyS0")]
    Add(ImageAdd),
    /// List images
    #[command(visible_alias = "ls", after_help = "Example: luc image list -o name")]
    List,
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
}

#[derive(Debug, Args)]
pub(crate) struct ImageDelete {
    /// Their names
    #[arg(required = true, value_name = "IMAGE",
        add = ArgValueCandidates::new(complete::image_names))]
    pub images: Vec<Name>,
    /// Only show what would be deleted; exit code 9
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// Show the node: state, addresses, memory, how it booted
    #[command(after_help = "Example: luc node show -o json")]
    Show,
    /// End all virtual machines and switch the node off
    #[command(name = "poweroff", after_help = "Example: luc node poweroff --yes")]
    PowerOff(NodePower),
    /// End all virtual machines and boot the node again
    #[command(after_help = "Example: luc node reboot --yes")]
    Reboot(NodePower),
}

#[derive(Debug, Args)]
pub(crate) struct NodePower {
    /// Only show what would be ended; exit code 9
    #[arg(long)]
    pub dry_run: bool,
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
    #[command(after_help = "Example: luc --node 192.0.2.7 wait node --timeout 5m")]
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
