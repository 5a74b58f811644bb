//! A station of our own on a wire: a host stack that runs in its own thread.
//!
//! Does:      holds an address, and runs whatever a caller sends it on its executor.
//! Does not:  know what runs there: the netboot server, a proxy, a ping.
//! Bounds:    one thread and one stack.
//! Trusts:    the rig; frames are netio's business.
//! Start at:  `Station::start`.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netio::executor::Executor;
use netio::frame::{Mac, WirePort};
use netio::host::{HostStack, StackSettings, expose};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use crate::wire::Port;

/// QEMU's and our wire's MTU.
const MTU: u16 = 1500;
/// Our side of a bulk transfer: a window of 1 MiB feeds two booting machines.
const TCP_BUFFER_LEN: usize = 1024 * 1024;
/// How long the thread may take to start.
const START_MAX: Duration = Duration::from_secs(20);

/// How long one echo is waited for, as `ping` does.
const PING_MS: u64 = 1000;

/// Work for the station's thread; an error means that the station can't do it.
type Task = Box<dyn FnOnce(&HostStack) + Send>;

/// A running station. Dropping it ends its thread and everything on it.
#[derive(Debug)]
pub struct Station {
    tasks: Option<mpsc::Sender<Task>>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Station {
    /// Plugs a station into a port.
    pub fn start(port: &Port, mac: [u8; 6], address: Ipv4Addr, prefix: u8) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (tasks, inbox) = mpsc::channel();
        let (report, result) = mpsc::channel();
        let (path, theirs) = (port.path.clone(), Arc::clone(&wake));
        let thread = std::thread::Builder::new()
            .name("station".to_owned())
            .spawn(move || {
                let started = Executor::new().and_then(|executor| {
                    let settings = StackSettings {
                        tcp_buffer_len: TCP_BUFFER_LEN,
                        ..StackSettings::new(Mac(mac), MTU)
                    };
                    let port = WirePort::connect(&path)?;
                    let stack = HostStack::start(&executor.handle(), port, settings)?;
                    stack.set_address(address, prefix, None);
                    Ok((executor, stack))
                });
                match started {
                    Ok((executor, stack)) => {
                        let _ = report.send(Ok(()));
                        executor.block_on(serve(&stack, &inbox, &theirs));
                    }
                    Err(problem) => {
                        let _ = report.send(Err(problem));
                    }
                }
            })?;
        result.recv_timeout(START_MAX).map_err(io::Error::other)??;
        Ok(Self {
            tasks: Some(tasks),
            wake,
            thread: Some(thread),
        })
    }

    /// Runs something on the station's thread and waits for its answer.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&HostStack) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (answer, result) = mpsc::channel();
        self.send(Box::new(move |stack| {
            let _ = answer.send(work(stack));
        }))?;
        result.recv_timeout(START_MAX).map_err(io::Error::other)
    }

    /// Opens a loopback port that leads to an address on the wire; returns the port's address.
    pub fn open_door(&self, to: SocketAddrV4) -> io::Result<std::net::SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        self.run(move |stack| {
            let door = expose(stack.clone(), listener, to);
            let task = async move {
                if let Err(problem) = door.await {
                    eprintln!("rig: the door to {to} is closed: {problem}");
                }
            };
            stack
                .executor()
                .spawn_detached(task)
                .map_err(io::Error::other)
        })??;
        Ok(address)
    }

    /// Pings an address on the wire until it answers; returns the milliseconds the answer took.
    pub fn ping(&self, to: Ipv4Addr, timeout: Duration) -> io::Result<u64> {
        let (answer, result) = mpsc::channel();
        let until = Instant::now() + timeout;
        self.run(move |stack| {
            let pinger = stack.clone();
            let task = async move {
                // The first echo may be lost: whoever answers has to ask for our MAC first.
                let mut heard = pinger.ping(to, PING_MS).await;
                while heard.is_err() && Instant::now() < until {
                    heard = pinger.ping(to, PING_MS).await;
                }
                let _ = answer.send(heard);
            };
            stack
                .executor()
                .spawn_detached(task)
                .map_err(io::Error::other)
        })??;
        result
            .recv_timeout(timeout + START_MAX)
            .map_err(io::Error::other)?
    }

    fn send(&self, task: Task) -> io::Result<()> {
        let gone = || io::Error::other("the station's thread has ended");
        self.tasks
            .as_ref()
            .ok_or_else(gone)?
            .send(task)
            .map_err(|_| gone())?;
        rustix::io::write(&*self.wake, &1_u64.to_ne_bytes())?;
        Ok(())
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.tasks = None; // the thread sees the channel's end
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs tasks until nobody can send any more.
async fn serve(stack: &HostStack, inbox: &mpsc::Receiver<Task>, wake: &OwnedFd) {
    loop {
        match inbox.try_recv() {
            Ok(task) => task(stack),
            Err(mpsc::TryRecvError::Disconnected) => return,
            Err(mpsc::TryRecvError::Empty) => {
                if stack.executor().readable(wake).await.is_err() {
                    return;
                }
                let _ = rustix::io::read(wake, &mut [0; 8]);
            }
        }
    }
}
