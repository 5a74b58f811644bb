//! The user's terminal in raw mode, for as long as the value lives.

use std::io::{self, IsTerminal};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Puts the terminal back when dropped.
#[derive(Debug)]
pub(super) struct Terminal {
    before: Option<Termios>,
}

impl Terminal {
    /// Raw mode, if standard input and output are a terminal; otherwise nothing is changed.
    pub(super) fn raw() -> io::Result<Terminal> {
        if !Self::stdin_is_terminal() || !io::stdout().is_terminal() {
            return Ok(Terminal { before: None });
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Terminal {
            before: Some(before),
        })
    }

    /// Whether a person sits there.
    pub(super) fn is_interactive(&self) -> bool {
        self.before.is_some()
    }

    pub(super) fn stdin_is_terminal() -> bool {
        io::stdin().is_terminal()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nothing better can be done about a terminal that is gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
