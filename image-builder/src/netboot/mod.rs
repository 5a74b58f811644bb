//! The netboot server: everything a machine with an empty disk asks for on its way up.
//!
//! Does:      DHCP (or ProxyDHCP beside another server), TFTP and HTTP over one set of files, on
//!            an interface of this machine or on a stack of our own.
//! Does not:  decide protocol questions; `netcore` does. Writes nothing a client sends.
//! Bounds:    `http::CONNECTIONS_MAX` connections, `tftp::TRANSFERS_MAX` transfers; beyond them
//!            newcomers wait or are refused, and that is counted.
//! Trusts:    nobody on the network. Whoever asks gets public files and nothing else.
//! Start at:  `Server::on_stack`, `Server::on_interface`.

mod dhcp;
mod event;
mod files;
mod http;
mod kernel;
mod tftp;

use std::cell::RefCell;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use netcore::dhcp::boot::BootFiles;
use netcore::dhcp::server::{self as dhcp_core, Mode, Quirks, ServerSettings};
use netcore::dhcp::{PXE_PORT, SERVER_PORT};
use netcore::ethernet::Mac;
use netio::executor::{Handle, JoinHandle};
use netio::host::{HostStack, TcpListener, UdpSocket};

pub use event::{Event, Outcome, Protocol, Transfer};
pub use files::Files;
pub use http::{fuzz_path, fuzz_range};
pub use kernel::{Interface, interface};

use crate::Error;

/// Where TFTP servers listen.
const TFTP_PORT: u16 = 69;
/// Connections that may wait to be accepted on a stack.
const BACKLOG: usize = 8;

/// What native UEFI PXE loads by TFTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UefiLoader {
    /// The image itself: one file, and what Secure Boot checks.
    #[default]
    Image,
    /// iPXE first, which then fetches the image by HTTP: faster where the link is slow.
    Ipxe,
}

/// Called with each event, in the thread of the executor.
pub type Listener = Rc<dyn Fn(&Event)>;

/// How to serve.
#[derive(Clone)]
pub struct Config {
    /// Our address, which must be reachable for clients.
    pub address: Ipv4Addr,
    /// Give addresses too, or only boot files.
    pub mode: Mode,
    pub files: Files,
    pub http_port: u16,
    pub uefi: UefiLoader,
    /// Misbehaviour, for tests.
    pub quirks: Quirks,
    pub listener: Listener,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address)
            .field("mode", &self.mode)
            .field("http_port", &self.http_port)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// A well-behaved server of these files that tells nobody what it does.
    pub fn new(address: Ipv4Addr, mode: Mode, files: Files) -> Config {
        Config {
            address,
            mode,
            files,
            http_port: 80,
            uefi: UefiLoader::default(),
            quirks: Quirks::default(),
            listener: Rc::new(|_| ()),
        }
    }

    /// What each kind of firmware is told. Addresses are literal: firmware forgets its DNS server.
    fn boot_files(&self) -> BootFiles {
        let url = |name: &str| match self.http_port {
            80 => format!("http://{}/{name}", self.address),
            port => format!("http://{}:{port}/{name}", self.address),
        };
        let uefi_file = match self.uefi {
            UefiLoader::Image => "luc.efi",
            UefiLoader::Ipxe => "snponly.efi",
        };
        BootFiles {
            tftp_server: self.address,
            bios_file: "undionly.kpxe".to_owned(),
            uefi_file: uefi_file.to_owned(),
            script_url: url("luc.ipxe"),
            http_url: url("luc.efi"),
        }
    }

    fn dhcp_core(&self) -> Rc<RefCell<dhcp_core::Server>> {
        let settings = ServerSettings {
            address: self.address,
            mode: self.mode.clone(),
            boot: Some(self.boot_files()),
            quirks: self.quirks,
        };
        Rc::new(RefCell::new(dhcp_core::Server::new(settings)))
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    tasks: Vec<JoinHandle<io::Result<()>>>,
    dhcp: Rc<RefCell<dhcp_core::Server>>,
}

impl Server {
    /// Serves on a stack of our own. The stack has `config.address` already.
    pub fn on_stack(stack: &HostStack, config: Config) -> Result<Server, Error> {
        let failed =
            |what: &'static str| move |error: io::Error| refuse(what, &error, STACK_ADVICE);
        let core = config.dhcp_core();
        let executor = stack.executor().clone();
        let mut server = Server {
            tasks: Vec::new(),
            dhcp: Rc::clone(&core),
        };
        for port in [SERVER_PORT, PXE_PORT] {
            let tap = stack.tap_udp(port).map_err(failed("DHCP port"))?;
            let task = dhcp::serve_stack(stack.clone(), tap, Rc::clone(&core), config.clone());
            server.start(&executor, task)?;
        }
        let socket = UdpSocket::bind(stack, TFTP_PORT).map_err(failed("TFTP port"))?;
        server.start(
            &executor,
            tftp::serve(executor.clone(), tftp::Socket::Stack(socket), &config),
        )?;
        let listener = TcpListener::bind(stack, config.http_port, BACKLOG);
        let listener = listener.map_err(failed("HTTP port"))?;
        server.start(
            &executor,
            http::serve_stack(executor.clone(), listener, config),
        )?;
        Ok(server)
    }

    /// Serves on an interface of this machine, and on no other.
    pub fn on_interface(
        executor: &Handle,
        interface: &Interface,
        config: Config,
    ) -> Result<Server, Error> {
        let core = config.dhcp_core();
        let mut server = Server {
            tasks: Vec::new(),
            dhcp: Rc::clone(&core),
        };
        for port in [SERVER_PORT, PXE_PORT] {
            let socket = kernel::udp(interface, port)?;
            let core = Rc::clone(&core);
            let task = dhcp::serve_kernel(executor.clone(), socket, port, core, config.clone());
            server.start(executor, task)?;
        }
        let socket = tftp::Socket::Kernel(executor.clone(), kernel::udp(interface, TFTP_PORT)?);
        server.start(executor, tftp::serve(executor.clone(), socket, &config))?;
        let listener = kernel::tcp(interface, config.http_port)?;
        server.start(
            executor,
            http::serve_kernel(executor.clone(), listener, config),
        )?;
        Ok(server)
    }

    fn start(
        &mut self,
        executor: &Handle,
        task: impl Future<Output = io::Result<()>> + 'static,
    ) -> Result<(), Error> {
        let full = |error| refuse("task", &io::Error::other(error), STACK_ADVICE);
        self.tasks.push(executor.spawn(task).map_err(full)?);
        Ok(())
    }

    /// What the DHCP side counted.
    pub fn dhcp_counters(&self) -> dhcp_core::Counters {
        self.dhcp.borrow().counters()
    }

    /// The address that a station has or had from us.
    pub fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.dhcp.borrow().address_of(mac)
    }

    /// Ends only if a part of the server fails, with the reason.
    pub async fn failure(&mut self) -> Error {
        let ended = std::future::poll_fn(|cx| {
            for task in &mut self.tasks {
                if let std::task::Poll::Ready(end) = std::pin::Pin::new(task).poll(cx) {
                    return std::task::Poll::Ready(end);
                }
            }
            std::task::Poll::Pending
        });
        let reason = match ended.await {
            Ok(Ok(())) => io::Error::other("it ended"),
            Ok(Err(error)) => error,
            Err(cancelled) => io::Error::other(cancelled),
        };
        refuse(
            "socket",
            &reason,
            "Check the interface, then start it again",
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

const STACK_ADVICE: &str = "One server a stack; give it an address first";

fn refuse(what: &str, error: &io::Error, advice: &'static str) -> Error {
    Error::Serve {
        reason: format!("{what}: {error}"),
        advice,
    }
}
