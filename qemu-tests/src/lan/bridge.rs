//! Joins a Linux interface to a wire, so that a stranger's program can serve our machines.
//!
//! Does:      moves frames both ways between an interface and a wire's port.
//! Does not:  learn addresses; the wire does.
//! Bounds:    a frame that the other side can't take at once is dropped, as on any bridge.
//! Trusts:    nobody on either side.
//! Start at:  `Bridge::start`.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use netio::frame::{AfPacket, AfPacketSettings, FRAME_LEN_MAX, FramePort, WirePort};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};

use crate::wire::Port;

/// Frames moved in one direction before the other gets its turn.
const BURST_MAX: usize = 64;

/// A running bridge. Dropping it ends its thread.
#[derive(Debug)]
pub struct Bridge {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    /// Joins the interface with this index to a port. Needs the right to open raw sockets.
    pub fn start(interface_index: u32, port: &Port) -> io::Result<Self> {
        let mut linux = AfPacket::open(AfPacketSettings {
            interface_index,
            vlan: None,
        })?;
        let mut wire = WirePort::connect(&port.path)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("bridge".to_owned())
            .spawn(move || {
                if let Err(problem) = run(&mut linux, &mut wire, &asked) {
                    eprintln!("rig: the bridge to interface {interface_index} broke: {problem}");
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(linux: &mut AfPacket, wire: &mut WirePort, stop: &OwnedFd) -> io::Result<()> {
    let mut buffer = vec![0; FRAME_LEN_MAX];
    loop {
        let mut wanted = PollFlags::IN;
        if wire.is_flush_due() {
            wanted |= PollFlags::OUT;
        }
        let mut fds = [
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(linux.readiness(), PollFlags::IN),
            PollFd::from_borrowed_fd(wire.readiness(), wanted),
        ];
        poll(&mut fds, None)?;
        if !fds[0].revents().is_empty() {
            return Ok(());
        }
        wire.flush()?;
        forward(linux, wire, &mut buffer)?;
        forward(wire, linux, &mut buffer)?;
    }
}

fn forward(
    from: &mut impl FramePort,
    to: &mut impl FramePort,
    buffer: &mut [u8],
) -> io::Result<()> {
    let would_block = |problem: &io::Error| problem.kind() == io::ErrorKind::WouldBlock;
    for _ in 0..BURST_MAX {
        let length = match from.receive(buffer) {
            Ok(length) => length,
            Err(problem) if would_block(&problem) => return Ok(()),
            Err(problem) => return Err(problem),
        };
        match to.send(&buffer[..length]) {
            Err(problem) if !would_block(&problem) => return Err(problem),
            _ => {}
        }
    }
    Ok(())
}
