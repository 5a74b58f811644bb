//! The `cargo image` command.
//!
//! Does:      reads arguments, calls the library, prints results on stdout and steps on stderr.
//! Does not:  hold any logic of its own.
//! Bounds:    none.
//! Trusts:    the operator.
//! Start at:  `run`.

#![forbid(unsafe_code)]

use std::error::Error as _;
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use clap::{Args, Parser, Subcommand, ValueEnum};
use image_builder::lock::{Lock, resolve};
use image_builder::netboot::{self, Config, Event, Files, Interface, Outcome, UefiLoader};
use image_builder::{Error, Flavour, Image, Options, Paths, Progress, inspect};
use netcore::dhcp::server::{Mode, PoolSettings};
use netio::executor::Executor;

/// How long a station may keep an address that we gave it.
const LEASE_SECONDS: u32 = 3600;

/// Build, inspect, verify and serve the LUC OS image. Only serve needs rights, for low ports.
#[derive(Parser)]
#[command(name = "image", bin_name = "cargo image", after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Examples:\n  \
    cargo image build                     everything into target/image\n  \
    cargo image build --kernel cloud      the small kernel, for rigs\n  \
    cargo image inspect                   what is inside, and how big\n  \
    cargo image serve --interface eth1    boot the machines on that LAN\n  \
    cargo image disk state.img            a disk for a node's identity\n\n\
    Exit: 0 done, 1 refused (why and advice on stderr), 2 wrong usage";

#[derive(Subcommand)]
enum Command {
    /// Build the image from the locked packages and this source tree
    Build(Build),
    /// Show what is inside and how big each part is
    Inspect(Inspect),
    /// Open every artefact again and compare it with the manifest
    Verify(Folder),
    /// Pin the newest packages that apt knows
    Lock,
    /// Boot machines of a LAN from the image: DHCP or ProxyDHCP, TFTP and HTTP
    Serve(Serve),
    /// Make an empty disk that a node keeps its identity and knowledge on
    Disk(Disk),
}

#[derive(Args)]
struct Disk {
    /// The file to make; write it to a real disk with dd
    #[arg(value_name = "FILE")]
    out: PathBuf,
    /// Its size in whole MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    size_mib: u64,
}

#[derive(Args)]
struct Build {
    /// Debian's full kernel, or the small one for virtual machines
    #[arg(long, value_enum, default_value = "amd64")]
    kernel: Kernel,
    /// Use this program as /init instead of building luc
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Write the image here [default: target/image]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Kernel arguments after the standing ones
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        allow_hyphen_values = true
    )]
    append: String,
    /// Fetch nothing; packages must be in target/debs
    #[arg(long)]
    offline: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kernel {
    Amd64,
    Cloud,
}

#[derive(Args)]
struct Inspect {
    #[command(flatten)]
    folder: Folder,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Args)]
struct Folder {
    /// The image's folder [default: target/image]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

#[derive(Args)]
struct Serve {
    /// The interface to serve on, and no other
    #[arg(long, value_name = "NAME")]
    interface: String,
    /// Give boot files only, beside the LAN's own DHCP server [default]
    #[arg(long, conflicts_with = "range")]
    proxy: bool,
    /// Give addresses too, from the first to the last: 10.9.0.100-10.9.0.199
    #[arg(long, value_name = "FIRST-LAST", value_parser = range)]
    range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// TCP port for HTTP
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    http_port: u16,
    /// What UEFI machines load by TFTP: the image itself, or iPXE first
    #[arg(long, value_enum, default_value = "image")]
    uefi: Uefi,
    #[command(flatten)]
    folder: Folder,
}

#[derive(Clone, Copy, ValueEnum)]
enum Uefi {
    Image,
    Ipxe,
}

fn range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let parts = text.split_once('-').ok_or("write it as FIRST-LAST")?;
    let address = |text: &str| {
        text.trim()
            .parse()
            .map_err(|_| format!("{text:?} is no address"))
    };
    let (first, last): (Ipv4Addr, Ipv4Addr) = (address(parts.0)?, address(parts.1)?);
    if first > last {
        Err("the first is above the last".to_owned())
    } else {
        Ok((first, last))
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            eprintln!("advice: {}", error.advice());
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Build(arguments) => build(arguments),
        Command::Inspect(arguments) => {
            let image = open(arguments.folder)?;
            match arguments.output {
                Output::Table => print!("{}", inspect::table(&image.manifest)),
                Output::Json => print!("{}", String::from_utf8_lossy(&image.manifest.to_json())),
            }
            Ok(())
        }
        Command::Verify(folder) => {
            let image = open(folder)?;
            for finding in image_builder::verify(&image.folder)? {
                println!("ok  {finding}");
            }
            Ok(())
        }
        Command::Lock => lock(),
        Command::Serve(arguments) => serve(arguments),
        Command::Disk(arguments) => disk(&arguments),
    }
}

fn disk(arguments: &Disk) -> Result<(), Error> {
    let mut id = [0; 32];
    let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut id));
    random.map_err(|error| Error::StateDisk {
        path: arguments.out.clone(),
        reason: format!("/dev/urandom: {error}"),
    })?;
    image_builder::state::create(
        &arguments.out,
        arguments.size_mib.saturating_mul(1 << 20),
        id,
    )?;
    println!(
        "{}: {} MiB, empty",
        arguments.out.display(),
        arguments.size_mib
    );
    Ok(())
}

fn open(folder: Folder) -> Result<Image, Error> {
    let folder = folder
        .dir
        .map_or_else(|| Ok(Paths::discover()?.image), Ok)?;
    Image::open(&folder)
}

fn build(arguments: Build) -> Result<(), Error> {
    let mut paths = Paths::discover()?;
    paths.image = arguments.out.unwrap_or(paths.image);
    let mut options = Options::of(paths);
    options.flavour = match arguments.kernel {
        Kernel::Amd64 => Flavour::Amd64,
        Kernel::Cloud => Flavour::Cloud,
    };
    options.binary = arguments.binary;
    options.arguments = arguments.append;
    options.offline = arguments.offline;
    let image = image_builder::build(&options, &mut Progress::stderr())?;
    print!("{}", inspect::table(&image.manifest));
    Ok(())
}

fn lock() -> Result<(), Error> {
    let paths = Paths::discover()?;
    let old = Lock::read(&paths.lock).ok();
    let new = resolve()?;
    for package in &new.packages {
        let before = old
            .iter()
            .flat_map(|lock| &lock.packages)
            .find(|p| p.role == package.role);
        let change = match before {
            Some(before) if before == package => "unchanged".to_owned(),
            Some(before) => format!("was {} {}", before.name, before.version),
            None => "new".to_owned(),
        };
        println!(
            "{:<13} {} {}  ({change})",
            package.role, package.name, package.version
        );
    }
    new.write(&paths.lock)
}

fn serve(arguments: Serve) -> Result<(), Error> {
    let interface = netboot::interface(&arguments.interface)?;
    let files = Files::of_image(&open(arguments.folder)?)?;
    let mode = match arguments.range {
        Some(range) => Mode::Full(pool(&interface, range)?),
        None => Mode::Proxy,
    };
    let how = match &mode {
        Mode::Full(pool) => format!("giving addresses {} to {}", pool.first, pool.last),
        Mode::Proxy => "beside the LAN's own DHCP server, which must give the addresses".to_owned(),
    };
    let mut config = Config::new(interface.address, mode, files);
    config.http_port = arguments.http_port;
    config.uefi = match arguments.uefi {
        Uefi::Image => UefiLoader::Image,
        Uefi::Ipxe => UefiLoader::Ipxe,
    };
    config.listener = narrator();
    let failed = |error: std::io::Error| Error::Serve {
        reason: format!("executor: {error}"),
        advice: "This process is out of descriptors or memory",
    };
    let executor = Executor::new().map_err(failed)?;
    let mut server = netboot::Server::on_interface(&executor.handle(), &interface, config)?;
    let (name, address, port) = (&interface.name, interface.address, arguments.http_port);
    eprintln!("serving on {name} ({address}), {how}");
    eprintln!("files also at http://{address}:{port}/luc.ipxe and luc.efi; end with Ctrl-C");
    Err(executor.block_on(server.failure()))
}

fn pool(interface: &Interface, range: (Ipv4Addr, Ipv4Addr)) -> Result<PoolSettings, Error> {
    let refuse = |reason: String| Error::Serve {
        reason,
        advice: "Give addresses of the interface's own network; ip address shows it",
    };
    let (first, last) = range;
    let prefix_len = interface.prefix_len.ok_or_else(|| {
        refuse(format!(
            "the network of {} is unknown: it has no route",
            interface.name
        ))
    })?;
    let network = |address: Ipv4Addr| u32::from(address) >> (32 - u32::from(prefix_len).min(31));
    if [first, last]
        .iter()
        .any(|end| network(*end) != network(interface.address))
    {
        let (name, own) = (&interface.name, interface.address);
        return Err(refuse(format!(
            "{first}-{last} is not in {own}/{prefix_len} of {name}"
        )));
    }
    if (first..=last).contains(&interface.address) {
        return Err(refuse(format!("{first}-{last} holds our own address")));
    }
    Ok(PoolSettings {
        first,
        last,
        prefix_len,
        router: Some(interface.address),
        dns: Vec::new(),
        ntp: Vec::new(),
        domain: None,
        lease_seconds: LEASE_SECONDS,
    })
}

/// Prints each event on stderr; on a terminal a running transfer rewrites its line.
fn narrator() -> netboot::Listener {
    let since = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    Rc::new(move |event: &Event| {
        let seconds = since.elapsed().as_secs_f32();
        let running = matches!(event, Event::Transfer(t) if t.outcome == Outcome::Running);
        if !running {
            let start = if terminal { "\r\x1b[K" } else { "" };
            eprintln!("{start}{seconds:8.1} s  {event}");
        } else if terminal {
            eprint!("\r\x1b[K{seconds:8.1} s  {event}");
            let _ = std::io::stderr().flush();
        }
    })
}
