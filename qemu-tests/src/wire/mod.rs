//! The wire between machines: a switch in user space on unix sockets.
//!
//! Does:      gives each NIC a socket path that QEMU connects to, carries frames between them,
//!            and treats each direction of each port as a cable that can be slow, lossy or cut.
//! Does not:  need root, a TAP, a bridge or netem; know what the frames mean.
//! Bounds:    `PORTS_MAX` ports; `IN_FLIGHT_MAX` frames under way and `OUT_MAX` bytes waiting for
//!            a slow reader on each port: beyond, frames are dropped and counted.
//! Trusts:    nobody on its ports; a port that breaks the framing is disconnected.
//! Start at:  `Wire::start`, then `carrier::Carrier::run`.

mod carrier;
mod framing;
mod link;
mod pcap;
mod switch;
pub mod talk;

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

pub use framing::{BadLength, FRAME_MAX, Reassembler, append_frame};
pub use link::{Dropped, Lane, Link};
pub use pcap::WHOLE_PORT;
pub use switch::PortNumber;

/// Ports of one wire; a rig on two processors runs far fewer machines.
pub const PORTS_MAX: usize = 64;
/// Frames under way on delayed links of one wire: 20,000 x 1.5 kB is 30 MB.
const IN_FLIGHT_MAX: usize = 20_000;
/// Bytes that wait for one slow reader; a machine that boots does not read for seconds.
const OUT_MAX: usize = 4 * 1024 * 1024;

/// What a wire did, counted; shared with its thread.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames that came in.
    pub frames: AtomicU64,
    /// Frames that went out; a flooded frame counts once a port.
    pub delivered: AtomicU64,
    /// Frames dropped because a link was cut, the dice fell so, or a queue was full.
    pub dropped: AtomicU64,
    /// Ports disconnected for broken framing.
    pub broken: AtomicU64,
}

/// A running wire. Dropping it ends its thread and closes its ports.
#[derive(Debug)]
pub struct Wire {
    folder: PathBuf,
    name: String,
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    counters: Arc<Counters>,
    ports: usize,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is asked for.
#[derive(Debug)]
enum Command {
    AddPort(UnixListener),
    Set {
        port: PortNumber,
        direction: Direction,
        link: Link,
    },
    Stop,
}

/// Seen from the machine at the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What the machine sends.
    Out,
    /// What the machine receives.
    In,
    /// Both.
    Both,
}

/// A socket that a NIC connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its number on the wire.
    pub number: PortNumber,
    /// Where to connect: QEMU's `-netdev stream`, or our own client.
    pub path: PathBuf,
}

/// Where a wire lives.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Short folder for sockets: their paths may have 107 bytes.
    pub sockets: &'a Path,
    /// Folder for the capture.
    pub logs: &'a Path,
}

impl Wire {
    /// Starts a wire without ports. `seed` decides its losses.
    pub fn start(name: &str, place: Place<'_>, seed: u64) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let capture = pcap::Capture::create(&place.logs.join(format!("{name}.pcap")))?;
        let counters = Arc::new(Counters::default());
        let (commands, orders) = mpsc::channel();
        let carrier = carrier::Carrier::new(
            Arc::clone(&wake),
            orders,
            capture,
            Arc::clone(&counters),
            seed,
        );
        let thread = std::thread::Builder::new()
            .name(format!("wire-{name}"))
            .spawn(move || carrier.run())?;
        Ok(Self {
            folder: place.sockets.to_owned(),
            name: name.to_owned(),
            commands,
            wake,
            counters,
            ports: 0,
            thread: Some(thread),
        })
    }

    /// Adds a port that one NIC may connect to, and connect to again after it left.
    pub fn add_port(&mut self) -> io::Result<Port> {
        if self.ports == PORTS_MAX {
            return Err(io::Error::other(format!(
                "a wire has at most {PORTS_MAX} ports"
            )));
        }
        let number = self.ports;
        let path = self.folder.join(format!("{}-{number}.sock", self.name));
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        self.send(Command::AddPort(listener));
        self.ports += 1;
        Ok(Port { number, path })
    }

    /// Changes how a port's cable behaves from now on.
    pub fn set_link(&self, port: PortNumber, direction: Direction, link: Link) {
        self.send(Command::Set {
            port,
            direction,
            link,
        });
    }

    /// Frames in, delivered, dropped, and broken ports, so far.
    #[must_use]
    pub fn counts(&self) -> [u64; 4] {
        let all = &self.counters;
        [&all.frames, &all.delivered, &all.dropped, &all.broken]
            .map(|counter| counter.load(Ordering::Relaxed))
    }

    /// A thread that has ended is noticed by the machines on it; there is nobody else to tell.
    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Direction, Link, Place, Port, Reassembler, Wire, append_frame};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    struct Nic {
        stream: UnixStream,
        incoming: Reassembler,
    }

    impl Nic {
        fn plug(port: &Port) -> Self {
            let stream = UnixStream::connect(&port.path).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            Self {
                stream,
                incoming: Reassembler::default(),
            }
        }

        fn send(&mut self, target: u8, source: u8, note: u8) {
            let mut frame = vec![2, 0, 0, 0, 0, target, 2, 0, 0, 0, 0, source, 8, 0, note];
            frame.resize(60, 0);
            let mut bytes = Vec::new();
            assert!(append_frame(&mut bytes, &frame));
            self.stream.write_all(&bytes).unwrap();
        }

        /// The note of the next frame.
        fn receive(&mut self) -> u8 {
            loop {
                if let Some(frame) = self.incoming.next_frame().unwrap() {
                    return frame[14];
                }
                let mut bytes = [0; 2048];
                let count = self.stream.read(&mut bytes).unwrap();
                assert!(count > 0, "the wire hung up");
                self.incoming.push(&bytes[..count]);
            }
        }
    }

    #[test]
    fn frames_cross_the_wire_unless_their_direction_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place {
            sockets: folder.path(),
            logs: folder.path(),
        };
        let mut wire = Wire::start("w", place, 1).unwrap();
        let (one, two) = (wire.add_port().unwrap(), wire.add_port().unwrap());
        let (mut a, mut b) = (Nic::plug(&one), Nic::plug(&two));
        // Frames to a NIC that isn't plugged in yet are lost, as on any wire: knock until heard.
        b.stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        loop {
            a.send(2, 1, 0);
            if b.stream.read(&mut [0; 2048]).is_ok() {
                break;
            }
        }
        b.stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        b.incoming = Reassembler::default();

        wire.set_link(
            two.number,
            Direction::Out,
            Link {
                cut: true,
                ..Link::default()
            },
        );
        b.send(1, 2, 1); // into the cut
        a.send(2, 1, 2); // the other direction lives
        while b.receive() != 2 {}
        wire.set_link(
            two.number,
            Direction::Out,
            Link {
                delay_ms: 20,
                ..Link::default()
            },
        );
        b.send(1, 2, 3);
        assert_eq!(a.receive(), 3, "what was sent into the cut never comes");
        let [_, _, dropped, broken] = wire.counts();
        assert!(dropped >= 1);
        assert_eq!(broken, 0);
        drop(wire);
        assert!(folder.path().join("w.pcap").metadata().unwrap().len() > 24);
    }
}
