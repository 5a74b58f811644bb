//! `luc vm console`: a terminal at a guest's serial line, through the node.
//!
//! Does:      bytes both ways over a WebSocket; scrollback first; Ctrl-] detaches; works in pipes.
//! Does not:  interpret the bytes: the terminal does.
//! Bounds:    `CONSOLE_MESSAGE_BYTES_MAX` per message; input waits while the node does not take it.
//! Trusts:    the guest not at all, yet its bytes go to the terminal as they are, as with any
//!            serial line; in a pipe they are data.
//! Start at:  `run`, then `session::Session`.

mod finder;
mod session;
mod socket;
mod terminal;

use crate::{
    Done, Streams,
    arguments::{Common, VmConsole},
    client::Client,
    wait::{Patience, told},
};
use protocol::{Problem, problem::exit};
use session::{End, Options, Session};
use terminal::Raw;

/// Ctrl-], as telnet and virsh have it.
const DETACH: u8 = 0x1d;

pub(crate) fn run(
    options: &VmConsole,
    common: &Common,
    client: &Client,
    streams: &mut Streams,
) -> Done {
    let vm = client.show_vm(&options.one.vm)?;
    let socket = socket::connect(client.node(), vm.id, options.take)?;
    let interactive = streams.input_is_terminal && streams.output_is_terminal;
    if !common.quiet && (interactive || streams.errors_is_terminal) {
        streams.tell(told(&vm));
        if interactive {
            streams.tell("Detach with Ctrl-]; the VM goes on.");
        }
    }
    let raw = match streams.input.as_ref().filter(|_| interactive) {
        Some(input) => Some(Raw::enter(input).map_err(|error| {
            crate::local(
                format!("The terminal can't be made raw: {error}"),
                "Use another terminal, or a pipe: luc vm console NAME | cat",
            )
        })?),
        None => None,
    };
    let options = Options {
        read_only: options.read_only,
        until: options.until.clone(),
        quiet: common.quiet,
        signals: raw.as_ref().and_then(Raw::signals),
        interactive,
    };
    let patience = options
        .until
        .is_some()
        .then(|| Patience::new(common.timeout));
    let end = Session::new(socket, options, streams).run(patience.as_ref());
    drop(raw); // the terminal is itself again before anything is printed
    tell_end(end, vm.name.as_str(), interactive, common, streams)
}

fn tell_end(
    end: Result<End, Problem>,
    name: &str,
    interactive: bool,
    common: &Common,
    streams: &mut Streams,
) -> Done {
    let end = end?;
    let line = match &end {
        End::Detached => format!("Detached. Back again: luc vm console {name}"),
        End::Found => "Found.".to_owned(),
        End::Closed(Some(state)) => format!("The console closed: the VM is {state}."),
        End::Closed(None) => "The node closed the console.".to_owned(),
        End::Signal => "Ended by a signal; the VM goes on.".to_owned(),
    };
    if !common.quiet && (interactive || streams.errors_is_terminal) {
        streams.tell(format_args!("\n{line}"));
    }
    Ok(if matches!(end, End::Signal) {
        exit::FAILED
    } else {
        exit::DONE
    })
}
