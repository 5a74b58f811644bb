//! The three streams of a command, and what is known about them.
//!
//! Does:      data goes to `output`, everything else to `errors`; knows which are terminals.
//! Start at:  `Streams::of_process`.

use rustix::termios::isatty;
use std::{
    fmt::{self, Display},
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
};

/// Where a command reads and writes.
pub struct Streams {
    /// `None` if there is no standard input.
    pub input: Option<OwnedFd>,
    pub output: Box<dyn Write + Send>,
    pub errors: Box<dyn Write + Send>,
    pub input_is_terminal: bool,
    pub output_is_terminal: bool,
    pub errors_is_terminal: bool,
    /// Colour on `output`.
    pub colour: bool,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("output_is_terminal", &self.output_is_terminal)
            .finish()
    }
}

impl Streams {
    /// Those of this process. Colour follows `NO_COLOR` and `TERM`.
    pub fn of_process() -> Self {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let output_is_terminal = isatty(&stdout);
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        Self {
            input_is_terminal: isatty(&stdin),
            output_is_terminal,
            errors_is_terminal: isatty(&stderr),
            colour: output_is_terminal && set("NO_COLOR").is_none() && !dumb,
            input: stdin.as_fd().try_clone_to_owned().ok(),
            output: Box::new(stdout),
            errors: Box::new(stderr),
        }
    }

    /// A line for the person. If nobody can read it, so be it.
    pub fn tell(&mut self, line: impl Display) {
        drop(writeln!(self.errors, "{line}"));
    }
}
