//! Files to the node, piece by piece.
//!
//! Does:      hashes a file first, asks what is there already, sends only the rest; goes on where
//!            it was after a lost connection.
//! Does not:  hold a file in memory.
//! Bounds:    `CHUNK_BYTES_MAX` per piece; `STUMBLES_MAX` lost pieces in a row.
//! Trusts:    the file to stay as it is; the node checks the sum and refuses a changed one.
//! Start at:  `upload`.

use crate::{Streams, client::Client, local, progress::Progress};
use protocol::{Blob, ByteCount, Code, Digest, Hasher, Problem, limits};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// Pieces in a row that may fail before the upload gives up.
const STUMBLES_MAX: u32 = 5;

/// Sends one file, unless the node has it. Returns its digest.
pub(crate) fn upload(
    client: &Client,
    role: &str,
    path: &Path,
    quiet: bool,
    streams: &mut Streams,
) -> Result<Digest, Problem> {
    let mut file = File::open(path).map_err(|error| unreadable(role, path, &error))?;
    let label = format!("{role} {}", path.display());
    let (digest, size) =
        hash(&mut file, &label, quiet, streams).map_err(|error| unreadable(role, path, &error))?;
    if size == 0 {
        let detail = format!("The {role} {} is empty", path.display());
        return Err(local(detail, "Name the right file"));
    }
    let there = begin(client, digest, size)?;
    if there.complete {
        if !quiet {
            streams.tell(format_args!("{label}: the node has it already"));
        }
        return Ok(digest);
    }
    let mut progress = Progress::new(label, size, there.received, quiet, streams);
    let result = send(client, &mut file, there, |done| progress.at(done, streams));
    progress.clear(streams);
    result.map_err(|failed| match failed {
        Failed::Node(problem) => problem,
        Failed::File(error) => unreadable(role, path, &error),
    })?;
    Ok(digest)
}

fn unreadable(role: &str, path: &Path, error: &io::Error) -> Problem {
    let detail = format!("The {role} {} can't be read: {error}", path.display());
    local(detail, "Check the path and its permissions")
}

fn hash(
    file: &mut File,
    label: &str,
    quiet: bool,
    streams: &mut Streams,
) -> io::Result<(Digest, u64)> {
    let total = file.metadata()?.len();
    let mut progress = Progress::new(format!("hash {label}"), total, 0, quiet, streams);
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; limits::CHUNK_BYTES_MAX];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
        progress.at(size, streams);
    }
    progress.clear(streams);
    Ok((hasher.finish(), size))
}

/// What the node has of it.
fn begin(client: &Client, digest: Digest, size: u64) -> Result<Blob, Problem> {
    match client.show_blob(digest) {
        Ok(blob) => Ok(blob),
        Err(problem) if problem.code == Code::NotFound => Ok(Blob {
            digest,
            size: ByteCount::bytes(size),
            received: 0,
            complete: false,
        }),
        Err(problem) => Err(problem),
    }
}

enum Failed {
    Node(Problem),
    File(io::Error),
}

fn send(
    client: &Client,
    file: &mut File,
    mut there: Blob,
    mut at: impl FnMut(u64),
) -> Result<(), Failed> {
    let (digest, size) = (there.digest, there.size.get());
    // A node that takes pieces and loses them again makes no progress either.
    let (mut stumbles, mut furthest) = (0, there.received);
    while !there.complete {
        at(there.received);
        let piece = read_piece(file, there.received, size).map_err(Failed::File)?;
        match client.put_blob(digest, size, there.received, &piece) {
            Ok(blob) => {
                there = blob;
                if there.received > furthest {
                    (stumbles, furthest) = (0, there.received);
                }
            }
            Err(problem) => {
                let passes = matches!(problem.code, Code::Unreachable | Code::WrongOffset);
                stumbles += 1;
                if !passes || stumbles > STUMBLES_MAX {
                    let lost = format!(
                        "The node keeps what arrived for {} minutes; the same \
                        command goes on from there.",
                        limits::BLOB_IDLE_MS / 60_000
                    );
                    let problem = if passes {
                        problem.with_lost(lost)
                    } else {
                        problem
                    };
                    return Err(Failed::Node(problem));
                }
                there = begin(client, digest, size).map_err(Failed::Node)?;
            }
        }
    }
    at(size);
    Ok(())
}

fn read_piece(file: &mut File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    let left = size.saturating_sub(offset);
    let length = usize::try_from(left)
        .unwrap_or(usize::MAX)
        .min(limits::CHUNK_BYTES_MAX);
    let mut piece = vec![0; length];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut piece)?;
    Ok(piece)
}
