//! The `luc` program that becomes `/init`.
//!
//! Does:      builds it with cargo so that equal source gives equal bytes, or takes a given file;
//!            checks that it needs no C library at run time.
//! Does not:  change it.
//! Bounds:    `BINARY_BYTES_MAX`.
//! Trusts:    cargo, and the lock file it is held to.
//! Start at:  `obtain`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use object::elf::{EM_X86_64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::Error;
use crate::paths::{Paths, read};
use crate::progress::Progress;

/// A third of what the whole boot program may have.
const BINARY_BYTES_MAX: usize = 32 << 20;
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The program's bytes: of the given file, or of a release build made now.
pub fn obtain(
    paths: &Paths,
    given: Option<&Path>,
    progress: &mut Progress,
) -> Result<Vec<u8>, Error> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => compile(paths, progress)?,
    };
    let bytes = read(&path)?;
    check(&bytes).map_err(|reason| Error::Broken {
        name: path.display().to_string(),
        reason,
    })?;
    Ok(bytes)
}

/// Builds `luc` and says where it is.
fn compile(paths: &Paths, progress: &mut Progress) -> Result<PathBuf, Error> {
    progress.step("building luc (cargo build --release)");
    let cargo = cargo_program();
    let status = Command::new(&cargo)
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "luc",
            "--bin",
            "luc",
        ])
        .args(["--target", TRIPLE, "--config", &remap(paths)])
        .arg("--target-dir")
        .arg(&paths.target)
        .current_dir(&paths.workspace)
        // These would replace the flags in the workspace's own configuration.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(Error::file("Running", &cargo))?;
    if !status.success() {
        let program = "cargo build --release --package luc".to_owned();
        return Err(Error::Program {
            program,
            status: status.to_string(),
        });
    }
    Ok(paths.target.join(TRIPLE).join("release/luc"))
}

/// The cargo that runs us, or the one in the path.
pub fn cargo_program() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Takes this machine's paths out of the program, on top of the workspace's own flags.
fn remap(paths: &Paths) -> String {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let flag = |from: &Path, to: &str| {
        toml::Value::from(format!("--remap-path-prefix={}={to}", from.display())).to_string()
    };
    let flags = [flag(&paths.workspace, "/luc"), flag(&cargo, "/cargo")];
    format!("target.{TRIPLE}.rustflags=[{}]", flags.join(","))
}

/// Refuses what could not run as the only program of a machine. `Err` is a sentence.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    type Header = object::elf::FileHeader64<object::Endianness>;
    if bytes.len() > BINARY_BYTES_MAX {
        return Err(format!(
            "{} bytes, the most is {BINARY_BYTES_MAX}",
            bytes.len()
        ));
    }
    let bad = |error: object::Error| format!("it is no Linux program ({error})");
    let header = Header::parse(bytes).map_err(bad)?;
    let endian = header.endian().map_err(bad)?;
    if header.e_machine(endian) != EM_X86_64 {
        return Err("it is not for x86-64".to_owned());
    }
    let segments = header.program_headers(endian, bytes).map_err(bad)?;
    if segments
        .iter()
        .any(|segment| segment.p_type(endian) == PT_INTERP)
    {
        return Err(
            "it needs a loader at run time; the image has none. Build it static".to_owned(),
        );
    }
    Ok(())
}

/// Any bytes: an answer.
pub fn fuzz_binary(data: &[u8]) {
    let _ = check(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_static_program_for_this_machine_may_be_init() {
        assert!(check(b"#!/bin/sh\n").is_err());
        assert!(check(b"").is_err());
    }
}
