//! The `cargo image` command.
//!
//! Does:      reads arguments, calls the library, prints results on stdout and steps on stderr.
//! Does not:  hold any logic of its own.
//! Bounds:    none.
//! Trusts:    the operator.
//! Start at:  `run`.

#![forbid(unsafe_code)]

use std::error::Error as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use image_builder::lock::{Lock, resolve};
use image_builder::{Error, Flavour, Image, Options, Paths, Progress, inspect};

/// Build, inspect, verify and serve the LUC OS image. Needs no root.
#[derive(Parser)]
#[command(name = "image", bin_name = "cargo image", after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Examples:\n  \
    cargo image build                     everything into target/image\n  \
    cargo image build --kernel cloud      the small kernel, for rigs\n  \
    cargo image inspect                   what is inside, and how big\n\n\
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
    }
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
