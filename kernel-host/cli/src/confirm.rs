//! Asking before something is lost.
//!
//! Does:      the object was printed before; `--yes` answers, `--dry-run` ends, a person decides.
//! Does not:  ask where nobody can answer: without a terminal, `--yes` must be said.
//! Start at:  `confirm`.

use crate::{Streams, arguments::Common, usage};
use protocol::{Problem, problem::exit};

/// Whether to go on; else the exit code.
pub(crate) enum Decision {
    Go,
    End(u8),
}

/// `question` without a question mark: "Delete 2 VMs".
pub(crate) fn confirm(
    question: &str,
    dry_run: bool,
    common: &Common,
    streams: &mut Streams,
) -> Result<Decision, Problem> {
    if dry_run {
        streams.tell(format_args!(
            "Dry run: nothing was changed. Without it: {question}."
        ));
        return Ok(Decision::End(exit::WOULD_CHANGE));
    }
    if common.yes {
        return Ok(Decision::Go);
    }
    if !streams.input_is_terminal || !streams.errors_is_terminal {
        let detail = format!("{question}: that needs a yes, and there is no terminal to ask on");
        return Err(usage(detail, "Add --yes, or look first with --dry-run"));
    }
    drop(write!(streams.errors, "{question}? [y/N] ").and_then(|()| streams.errors.flush()));
    let answer = streams.input.as_ref().map(read_line).unwrap_or_default();
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(Decision::Go);
    }
    streams.tell("Nothing was changed.");
    Ok(Decision::End(exit::FAILED))
}

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 256;

fn read_line(input: &std::os::fd::OwnedFd) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < ANSWER_BYTES_MAX {
        match rustix::io::read(input, &mut byte) {
            Ok(1) if byte[0] != b'\n' => line.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&line).into_owned()
}
