//! `luc cluster ...`: a cluster's keys, as files.
//!
//! Does:      makes the root key from the system's randomness; never writes over a file.
//! Does not:  ask a node, or print a secret; words that are signed with a key are `words`'.
//! Bounds:    `cluster::FILE_BYTES_MAX` of a file are read.
//! Trusts:    the system for randomness; a file for nothing but its shape.
//! Start at:  `run`.

use super::words;
use crate::{
    Done, Streams,
    arguments::{ClusterInit, ClusterShow, ClusterVerb, Common},
    local,
    render::{self, Cell, Column, Layout, Resource, Shown, Tone, View, check_columns},
};
use identity::{
    cluster::{BadCluster, ClusterFacts, ClusterSecret, FILE_BYTES_MAX, write_root},
    secret::{SecretKey, Seed},
};
use protocol::{Code, Name, Problem, limits, problem::exit};
use serde::Serialize;
use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

const PUBLIC_FILE: &str = "cluster.toml";
const SECRET_FILE: &str = "cluster.key";
/// Others of this machine may not read a secret.
const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// What is told of a cluster.
#[derive(Debug, Serialize)]
struct Cluster {
    name: Name,
    roots: Vec<String>,
    /// How one root follows another.
    successions: usize,
    public_file: Option<PathBuf>,
    secret_file: Option<PathBuf>,
}

impl Cluster {
    fn of(facts: &ClusterFacts) -> Self {
        Self {
            name: facts.name.clone(),
            roots: facts.roots.iter().map(write_root).collect(),
            successions: facts.successions.len(),
            public_file: None,
            secret_file: None,
        }
    }
}

pub(super) fn cell(text: impl ToString) -> Cell {
    Cell {
        text: text.to_string(),
        tone: Tone::Plain,
    }
}

fn path_cell(path: Option<&PathBuf>) -> Cell {
    path.map_or_else(|| cell("-"), |path| cell(path.display()))
}

impl Resource for Cluster {
    fn name(&self) -> String {
        self.name.to_string()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        const COLUMNS: &[Column<Cluster>] = &[
            Column { key: "name",   shown: Shown::Table, cell: |one, _| cell(&one.name) },
            Column { key: "roots",  shown: Shown::Table, cell: |one, _| cell(one.roots.join(",")) },
            Column { key: "public", shown: Shown::Wide,  cell: |one, _| path_cell(one.public_file.as_ref()) },
            Column { key: "secret", shown: Shown::Wide,  cell: |one, _| path_cell(one.secret_file.as_ref()) },
        ];
        COLUMNS
    }
}

pub(super) fn run(verb: &ClusterVerb, common: &Common, streams: &mut Streams) -> Done {
    let cluster = match verb {
        ClusterVerb::Init(init) => {
            check_columns::<Cluster>(common)?;
            make(init, common, streams)?
        }
        ClusterVerb::Show(show) => {
            check_columns::<Cluster>(common)?;
            read(show, common, streams)?
        }
        ClusterVerb::Revoke(revoke) => return words::revoke(revoke, common, streams),
        ClusterVerb::Admit(admit) => return words::admit(admit, common, streams),
        ClusterVerb::Retire(retire) => return words::retire(retire, common, streams),
        ClusterVerb::Tell(tell) => return words::tell(tell, common, streams),
    };
    render::one(&cluster, Layout::Card, &View::new(common, None), streams)?;
    Ok(exit::DONE)
}

fn make(init: &ClusterInit, common: &Common, streams: &mut Streams) -> Result<Cluster, Problem> {
    let (public, secret) = (init.out.join(PUBLIC_FILE), init.out.join(SECRET_FILE));
    for path in [&public, &secret] {
        if path.exists() {
            let detail = format!("{} exists already", path.display());
            let advice = "Choose another folder: --out DIR. A lost key can't be made again, so \
                          none is ever written over";
            return Err(Problem::new(Code::NameTaken, detail, advice));
        }
    }
    let root = SecretKey::from_seed(&random_seed()?);
    let made = ClusterSecret {
        name: init.name.clone(),
        root,
        succession: None,
    };
    fs::create_dir_all(&init.out).map_err(|error| unwritten(&init.out, &error))?;
    write(&secret, SECRET_MODE, &made.reveal())?;
    write(&public, PUBLIC_MODE, &made.facts().write())?;
    if !common.quiet {
        explain(init, streams);
    }
    Ok(Cluster {
        public_file: Some(public),
        secret_file: Some(secret),
        ..Cluster::of(&made.facts())
    })
}

fn explain(init: &ClusterInit, streams: &mut Streams) {
    let at = |file| init.out.join(file).display().to_string();
    let (public, secret) = (at(PUBLIC_FILE), at(SECRET_FILE));
    streams.tell(format_args!(
        "made:    cluster {}, which is its root key until you hand it on",
        init.name
    ));
    streams.tell(format_args!(
        "public:  {public} may be known to all; nodes are given its root: luc.root=..."
    ));
    streams.tell(format_args!(
        "SECRET:  {secret} makes tokens and revokes nodes. Keep it offline, and keep a copy"
    ));
    streams.tell(format_args!(
        "next:    luc token create --key {secret} --site NAME --founds --count MACHINES"
    ));
}

fn read(show: &ClusterShow, common: &Common, streams: &mut Streams) -> Result<Cluster, Problem> {
    let text = read_file(&show.file)?;
    let (facts, is_secret) = match ClusterFacts::read(&text) {
        Ok(facts) => (facts, false),
        Err(public) => match ClusterSecret::read(&text) {
            Ok(secret) => (secret.facts(), true),
            // A secret file that is damaged says more about itself than a public one would.
            Err(secret) if text.contains("secret") => return Err(unread(&show.file, &secret)),
            Err(_) => return Err(unread(&show.file, &public)),
        },
    };
    let file = Some(show.file.clone());
    let (public_file, secret_file) = if is_secret {
        (None, file)
    } else {
        (file, None)
    };
    if is_secret {
        warn_if_open(&show.file, streams);
    }
    if !common.quiet {
        for root in &facts.roots {
            streams.tell(format_args!("argument: luc.root={}", write_root(root)));
        }
    }
    Ok(Cluster {
        public_file,
        secret_file,
        ..Cluster::of(&facts)
    })
}

/// The cluster's secret, from a file that others should not be able to read.
pub(super) fn read_secret(path: &Path, streams: &mut Streams) -> Result<ClusterSecret, Problem> {
    let secret = ClusterSecret::read(&read_file(path)?).map_err(|error| unread(path, &error))?;
    warn_if_open(path, streams);
    Ok(secret)
}

fn warn_if_open(path: &Path, streams: &mut Streams) {
    let mode = fs::metadata(path).map_or(0, |about| about.permissions().mode());
    if mode & 0o077 != 0 {
        streams.tell(format_args!(
            "warning: others may read {0}; close it: chmod 600 {0}",
            path.display()
        ));
    }
}

pub(super) fn random_seed() -> Result<Seed, Problem> {
    let mut bytes = [0; 32];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match got {
        Ok(count) if count == bytes.len() => Ok(Seed::new(bytes)),
        _ => Err(local(
            "The system gave no randomness for a key",
            "Try again; without it no key is safe",
        )),
    }
}

fn read_file(path: &Path) -> Result<String, Problem> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| {
        let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
        file.take(most + 1).read_to_string(&mut text)
    });
    match read {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Problem::new(
            Code::NotFound,
            format!("There is no file {}", path.display()),
            "Name another, or make a cluster first: luc cluster init --name NAME",
        )),
        Err(error) => Err(local(
            format!("Reading {} failed: {error}", path.display()),
            "Check the file and its permissions",
        )),
    }
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), Problem> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &io::Error) -> Problem {
    local(
        format!("Writing {} failed: {error}", path.display()),
        "Name a folder that you may write to: --out DIR",
    )
}

fn unread(path: &Path, error: &BadCluster) -> Problem {
    let cause = std::error::Error::source(error);
    let cause = cause.map_or(String::new(), |cause| format!(": {cause}"));
    let detail = format!("{} can't be used: {error}{cause}", path.display());
    local(
        limits::shortened(&detail, 500),
        "Name the cluster.toml or cluster.key that `luc cluster init` wrote, or take your copy",
    )
}
