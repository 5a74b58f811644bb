//! Each command: ask the node, show the answer.
//!
//! Does:      opens the client by the options of every command; shows answers, notes and waits.
//! Does not:  know HTTP (`client`) or layouts (`render`).
//! Bounds:    one command.
//! Trusts:    the person for the options.
//! Start at:  `run`.

mod cluster;
mod energy;
mod image;
mod node;
mod sites;
mod token;
mod vm;
mod words;

pub(crate) use token::parse_lifetime;

use crate::{
    Done, Streams,
    arguments::{Arguments, Common, Noun, SiteVerb, VmmVerb, WaitFor},
    client::{CALL_TIMEOUT, Client, RETRIES_MAX},
    complete,
    render::{self, Layout, Resource, View, check_columns},
    usage,
    wait::{Condition, wait_for_node, wait_for_vm},
};
use protocol::{Node, Page, Problem, Selector, Vm, problem::exit};
use std::time::Duration;

/// Even the least patient give a busy node this long for one answer.
const CALL_TIMEOUT_MIN: Duration = Duration::from_secs(2);

/// One command with everything it needs.
struct Session<'a> {
    common: &'a Common,
    client: Client,
    streams: &'a mut Streams,
}

pub(crate) fn run(arguments: &Arguments, streams: &mut Streams) -> Done {
    let common = &arguments.common;
    match &arguments.noun {
        Noun::Completion { shell } => {
            let script = complete::script(*shell)
                .map_err(|error| crate::local(error.to_string(), "Report this bug"))?;
            render::put(&String::from_utf8_lossy(&script), streams)?;
            Ok(exit::DONE)
        }
        Noun::Cluster { verb } => cluster::run(verb, common, streams),
        Noun::Token { verb } => token::run(verb, common, streams),
        Noun::Vmm {
            verb: VmmVerb::Run(_),
        } => Err(usage(
            "This program carries no virtual machine monitor",
            "Use the `luc` program itself: luc vmm run",
        )),
        Noun::Vm { verb } => vm::run(verb, &mut Session::open(common, streams)?),
        Noun::Image { verb } => image::run(verb, &mut Session::open(common, streams)?),
        Noun::Node { verb } => node::run(verb, &mut Session::open(common, streams)?),
        Noun::Site {
            verb: SiteVerb::List,
        } => sites::list(&mut Session::open(common, streams)?),
        Noun::Energy { verb } => energy::run(verb, &mut Session::open(common, streams)?),
        Noun::Events(of) => sites::events(of, &mut Session::open(common, streams)?),
        Noun::Wait {
            what: WaitFor::Node,
        } => {
            let mut session = Session::open(common, streams)?;
            check_columns::<Node>(common)?;
            let node = wait_for_node(&session.client.clone(), common.timeout, session.teller())?;
            session.show(&node, Layout::Row)
        }
        Noun::Wait {
            what: WaitFor::Vm { one, condition },
        } => {
            let mut session = Session::open(common, streams)?;
            check_columns::<Vm>(common)?;
            match session.wait_vm(&one.vm, condition)? {
                Some(vm) => session.show(&vm, Layout::Row),
                None => Ok(exit::DONE),
            }
        }
    }
}

impl<'a> Session<'a> {
    fn open(common: &'a Common, streams: &'a mut Streams) -> Result<Self, Problem> {
        if common.via.is_empty() {
            let advice = "Say it with --via 192.0.2.7, or once for all: export LUC_VIA=192.0.2.7";
            return Err(usage("Which node should be asked?", advice));
        }
        let doors = common.via.iter().map(|door| door.parse());
        let doors: Vec<_> = doors.collect::<Result<_, Problem>>()?;
        // Who waits only seconds for a result does not wait longer for a sign of life.
        let patience = common.timeout.clamp(CALL_TIMEOUT_MIN, CALL_TIMEOUT);
        let client = Client::through(doors.into(), patience, RETRIES_MAX);
        Ok(Self {
            common,
            client,
            streams,
        })
    }

    fn view(&self) -> View<'a> {
        View::new(self.common, self.client.node_now())
    }

    fn show<T: Resource>(&mut self, item: &T, layout: Layout) -> Done {
        render::one(item, layout, &self.view(), self.streams)?;
        Ok(exit::DONE)
    }

    fn list<T: Resource>(&mut self, items: &[T]) -> Done {
        render::list(items, &self.view(), self.streams)?;
        Ok(exit::DONE)
    }

    /// A list, and beside it what may be missing: that is no failure, and no secret either.
    fn page<T: Resource>(&mut self, page: &Page<T>) -> Done {
        self.list(&page.items)?;
        self.note(&page.notes);
        Ok(exit::DONE)
    }

    fn note(&mut self, notes: &[String]) {
        for note in notes.iter().filter(|_| !self.common.quiet) {
            let note = protocol::limits::shortened(note, 300);
            self.streams.tell(format_args!("note:    {note}"));
        }
    }

    /// A word to a person who sees an empty list.
    fn if_empty(&mut self, is_empty: bool, word: &str) {
        if is_empty && self.streams.output_is_terminal && !self.common.quiet {
            self.streams.tell(word);
        }
    }

    /// Shows what is about to be lost, where it does not mix with the answer.
    fn show_beforehand<T: Resource>(&mut self, items: &[T]) -> Result<(), Problem> {
        let format = crate::arguments::Format::Wide;
        let view = View {
            format,
            columns: &[],
            now: self.client.node_now(),
        };
        std::mem::swap(&mut self.streams.output, &mut self.streams.errors);
        let shown = render::list(items, &view, self.streams);
        std::mem::swap(&mut self.streams.output, &mut self.streams.errors);
        shown
    }

    /// `--wait` and `--no-wait` decide, else whether a person looks.
    fn waits(&self) -> bool {
        self.common.wait || (!self.common.no_wait && self.streams.output_is_terminal)
    }

    /// Says how a wait goes on, to a person.
    fn teller(&mut self) -> impl FnMut(&str) {
        let common = self.common;
        let visible = !common.quiet && (self.streams.errors_is_terminal || common.verbose);
        move |line| {
            if visible {
                let line = protocol::limits::shortened(line, 300);
                self.streams.tell(format_args!("waiting: {line}"));
            }
        }
    }

    fn wait_vm(&mut self, vm: &Selector, condition: &Condition) -> Result<Option<Vm>, Problem> {
        let client = self.client.clone();
        wait_for_vm(&client, vm, condition, self.common.timeout, self.teller())
    }

    /// Waits if wanted, then shows what the VM became.
    fn finish_vm(&mut self, vm: Vm, condition: &Condition) -> Done {
        let vm = match self.waits() {
            true => self.wait_vm(&vm.id.into(), condition)?.unwrap_or(vm),
            false => vm,
        };
        self.show(&vm, Layout::Row)
    }
}
