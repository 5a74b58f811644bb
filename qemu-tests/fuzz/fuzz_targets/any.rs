//! The libFuzzer program: runs the target that the environment variable `LUC_FUZZ` names.
//!
//! Stable Rust and a C++ compiler are enough. In `qemu-tests/fuzz`:
//!
//! ```text
//! RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
//!   -Cllvm-args=-sanitizer-coverage-level=4 \
//!   -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
//!   -Cllvm-args=-sanitizer-coverage-pc-table \
//!   -Cllvm-args=-sanitizer-coverage-trace-compares" \
//! cargo build --release --target-dir target
//!
//! mkdir -p found/netcore/tftp artifacts
//! LUC_FUZZ=netcore/tftp target/x86_64-unknown-linux-gnu/release/any -max_total_time=60 \
//!   -artifact_prefix=artifacts/ found/netcore/tftp ../../netstack/netcore/corpus/tftp
//! ```
//!
//! New inputs go to `found`, what broke a promise to `artifacts`; add the latter's files to the
//! room's corpus, where its tests replay them for ever. Other targets need no other build.

#![no_main]

use std::sync::OnceLock;

use fuzz::{Target, named};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

/// Before the first input, so that a wrong name does not look like a finding.
fn choose() {
    match named(std::env::var("LUC_FUZZ").ok().as_deref()) {
        Ok(target) => TARGET.set(target).expect("chosen once"),
        Err(problem) => {
            eprintln!("{problem}");
            std::process::exit(2);
        }
    }
}

fuzz_target!(init: choose(), |data: &[u8]| {
    TARGET.get().expect("chosen before the first input")(data);
});
