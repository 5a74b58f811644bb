//! One VM in the foreground: `luc vmm run`, on any Linux with KVM, without a node.
//!
//! Does:      opens what the VM needs, starts the jailed child, joins its console to the terminal,
//!            boots again when the guest resets itself.
//! Does not:  parse arguments (the CLI does), or need root.
//! Bounds:    one VM; `BUFFER_BYTES` of console each way.
//! Trusts:    the user for files; the child for nothing but bytes to show.
//! Start at:  `run`.

mod tap;
mod terminal;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};

use crate::control::{self, DiskSpec, Event, Jail, Request, Start};
use crate::probe::{KvmProblem, probe};
use crate::spawn::{Child, explain_end};
use terminal::Terminal;

/// Bytes moved at once.
const BUFFER_BYTES: usize = 4096;
/// Ctrl-]: leave.
const LEAVE: u8 = 0x1d;
/// Who the child becomes when started by root: nobody.
const NOBODY: u32 = 65_534;

/// A disk by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskPath {
    /// A raw image or a block device.
    pub path: PathBuf,
    /// The guest may only read.
    pub read_only: bool,
}

/// What `luc vmm run` was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A bzImage (vmlinuz).
    pub kernel: PathBuf,
    /// An initrd.
    pub initrd: Option<PathBuf>,
    /// vda, vdb, ...
    pub disks: Vec<DiskPath>,
    /// TAP devices by name: eth0, eth1, ...
    pub taps: Vec<String>,
    /// The kernel's command line; for the terminal it should contain `console=ttyS0`.
    pub cmdline: String,
    /// 1 to 8.
    pub vcpus: u8,
    /// MiB.
    pub memory_mib: u32,
    /// Without namespaces, for hosts that refuse them.
    pub no_jail: bool,
    /// End when the guest resets itself, instead of booting again.
    pub no_reboot: bool,
    /// Tell every event on standard error.
    pub verbose: bool,
}

/// How it ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest turned itself off.
    Shutdown,
    /// The guest reset itself and `no_reboot` was given.
    Reset,
    /// The user left.
    Left,
}

/// How it ended otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("Opening the {what} {path}", path = path.display())]
    Open {
        /// Kernel, initrd or disk.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A network card.
    #[error("Opening the TAP device {name}")]
    Tap {
        /// Which.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// This host can't.
    #[error("This host can't run virtual machines")]
    Kvm {
        /// Why.
        #[source]
        source: KvmProblem,
    },
    /// Sockets, processes, terminal.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The VM failed and said why.
    #[error("The VM failed: {reason}")]
    Failed {
        /// In the child's words.
        reason: String,
    },
    /// The guest crashed so hard that its processor stopped.
    #[error("The guest's vCPU {vcpu} stopped at a triple fault")]
    TripleFault {
        /// Which.
        vcpu: u8,
    },
    /// The child vanished.
    #[error("{reason}")]
    Vanished {
        /// How.
        reason: String,
    },
}

impl Error {
    /// The user's next step.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Open { .. } => "Check the path and who may read it",
            Self::Tap { .. } => {
                "Make it for this user first: ip tuntap add NAME mode tap user USER vnet_hdr; \
                 ip link set NAME up"
            }
            Self::Kvm { source } => source.advice(),
            Self::System { .. } => "The host may be short of memory or descriptors",
            Self::Failed { .. } => "The sentence above names what to change",
            Self::TripleFault { .. } => {
                "The guest's kernel crashed; its last words are above. Boot it with \
                 earlyprintk=ttyS0 to see more"
            }
            Self::Vanished { .. } => "Look into the host's kernel log",
        }
    }
}

/// The opened files of a VM. They are opened once and serve every boot.
#[derive(Debug)]
struct Files {
    kernel: File,
    initrd: Option<File>,
    disks: Vec<File>,
    taps: Vec<File>,
}

/// How one boot ended.
enum Boot {
    Done(Outcome),
    Again,
}

/// Runs a VM until it ends or the user leaves.
pub fn run(options: &Options) -> Result<Outcome, Error> {
    let files = open_files(options)?;
    probe().map_err(|source| Error::Kvm { source })?;
    let terminal = Terminal::raw().map_err(system("Setting up the terminal"))?;
    if terminal.is_interactive() {
        eprint!("Ctrl-] leaves and ends the VM.\r\n");
    }
    loop {
        match boot_once(options, &files)? {
            Boot::Done(outcome) => return Ok(outcome),
            Boot::Again if options.no_reboot => return Ok(Outcome::Reset),
            Boot::Again => {}
        }
    }
}

fn system(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::System { what, source }
}

fn open(what: &'static str, path: &Path, write: bool) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .open(path)
        .map_err(|source| Error::Open {
            what,
            path: path.to_owned(),
            source,
        })
}

fn open_files(options: &Options) -> Result<Files, Error> {
    Ok(Files {
        kernel: open("kernel", &options.kernel, false)?,
        initrd: options
            .initrd
            .as_deref()
            .map(|path| open("initrd", path, false))
            .transpose()?,
        disks: options
            .disks
            .iter()
            .map(|disk| open("disk", &disk.path, !disk.read_only))
            .collect::<Result<_, _>>()?,
        taps: options
            .taps
            .iter()
            .map(|name| {
                tap::open(name).map_err(|source| Error::Tap {
                    name: name.clone(),
                    source,
                })
            })
            .collect::<Result<_, _>>()?,
    })
}

fn boot_once(options: &Options, files: &Files) -> Result<Boot, Error> {
    let kvm = open("device", Path::new("/dev/kvm"), true)?;
    let (console, theirs) = UnixStream::pair().map_err(system("Making the console's socket"))?;
    let mut fds: Vec<BorrowedFd<'_>> = vec![kvm.as_fd(), theirs.as_fd(), files.kernel.as_fd()];
    fds.extend(files.initrd.iter().map(AsFd::as_fd));
    fds.extend(files.disks.iter().map(AsFd::as_fd));
    fds.extend(files.taps.iter().map(AsFd::as_fd));
    let mut child =
        Child::spawn(start(options), &fds).map_err(system("Starting the VM's process"))?;
    drop(fds);
    drop(theirs);
    let ended = Session {
        options,
        child: &mut child,
        console,
        input_open: true,
        end: None,
    }
    .run();
    // After an error, or when the user left, the child may still run.
    let _ = child.kill();
    let status = child
        .wait()
        .map_err(system("Waiting for the VM's process"))?;
    match ended? {
        Some(end) => end,
        None => Err(Error::Vanished {
            reason: explain_end(status),
        }),
    }
}

fn start(options: &Options) -> Start {
    Start {
        name: "standalone".to_owned(),
        vcpus: options.vcpus,
        memory_mib: options.memory_mib,
        cmdline: options.cmdline.clone(),
        initrd: options.initrd.is_some(),
        disks: options
            .disks
            .iter()
            .map(|disk| DiskSpec {
                read_only: disk.read_only,
            })
            .collect(),
        nics: options.taps.iter().map(|name| tap::spec(name)).collect(),
        uid: NOBODY,
        jail: if options.no_jail {
            Jail::WithoutNamespaces
        } else {
            Jail::Full
        },
    }
}

/// One boot, joined to the terminal.
struct Session<'a> {
    options: &'a Options,
    child: &'a mut Child,
    console: UnixStream,
    input_open: bool,
    end: Option<Result<Boot, Error>>,
}

impl Session<'_> {
    /// Until the child's last event. `None`: it vanished before that.
    fn run(mut self) -> Result<Option<Result<Boot, Error>>, Error> {
        loop {
            let stdin = io::stdin();
            let mut fds = vec![
                PollFd::from_borrowed_fd(self.child.control(), PollFlags::IN),
                PollFd::new(&self.console, PollFlags::IN),
            ];
            if self.input_open {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(|error| system("Waiting")(error.into()))?,
            };
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if ready[1] {
                self.show()?;
            }
            if ready[0] && self.hear()? {
                self.show_rest()?;
                return Ok(self.end);
            }
            if ready.get(2) == Some(&true) && self.type_in()? {
                return Ok(Some(Ok(Boot::Done(Outcome::Left))));
            }
        }
    }

    /// Console to terminal. Returns whether more may come.
    fn show(&mut self) -> Result<bool, Error> {
        let mut buffer = [0; BUFFER_BYTES];
        let len = self
            .console
            .read(&mut buffer)
            .map_err(system("Reading the console"))?;
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(&buffer[..len])
            .and_then(|()| stdout.flush())
            .map_err(system("Writing to standard output"))?;
        Ok(len > 0)
    }

    fn show_rest(&mut self) -> Result<(), Error> {
        while self.show()? {}
        Ok(())
    }

    /// The child's next event. True: it was the last.
    fn hear(&mut self) -> Result<bool, Error> {
        let event = control::recv(self.child.control()).map_err(system("Hearing the child"))?;
        let Some(event) = event else { return Ok(true) };
        if self.options.verbose {
            eprint!("luc vmm: {event:?}\r\n");
        }
        match event {
            Event::GuestShutdown => self.end = Some(Ok(Boot::Done(Outcome::Shutdown))),
            Event::GuestReset => self.end = Some(Ok(Boot::Again)),
            Event::Killed => self.end = Some(Ok(Boot::Done(Outcome::Left))),
            Event::TripleFault { vcpu } => self.end = Some(Err(Error::TripleFault { vcpu })),
            Event::Failed { reason, .. } => self.end = Some(Err(Error::Failed { reason })),
            Event::Warning(text) => eprint!("luc vmm: {text}\r\n"),
            Event::Jailed | Event::Started { .. } | Event::Running { .. } | Event::Exited(_) => {}
        }
        Ok(false)
    }

    /// Terminal to console. True: the user leaves.
    fn type_in(&mut self) -> Result<bool, Error> {
        let mut buffer = [0; BUFFER_BYTES];
        let len = rustix::io::read(io::stdin(), &mut buffer[..])
            .map_err(|error| system("Reading standard input")(error.into()))?;
        if len == 0 {
            self.input_open = false;
        }
        if buffer[..len].contains(&LEAVE) && Terminal::stdin_is_terminal() {
            let _ = control::send(self.child.control(), &Request::Kill);
            return Ok(true);
        }
        // A guest that doesn't read makes this wait, as a serial line would.
        self.console
            .write_all(&buffer[..len])
            .or_else(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(system("Writing to the console")(error)),
            })?;
        Ok(false)
    }
}
