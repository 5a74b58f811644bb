//! Server sockets on one interface of this machine.
//!
//! Does:      finds an interface's address, opens sockets that hear that interface alone, and
//!            adapts TCP streams for hyper.
//! Does not:  configure the interface, or need more than the right to bind low ports.
//! Bounds:    the kernel's own buffers.
//! Trusts:    /proc.
//! Start at:  `interface`.

use std::fs;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::ReadBufCursor;
use netcore::dhcp::SERVER_PORT;
use netio::executor::Handle;
use socket2::{Domain, Protocol, Socket, Type};

use crate::Error;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// Silence after which a client that stopped acknowledging is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes read at once; requests are short.
const READ_BYTES: usize = 8192;

/// A network interface of this machine with its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub address: Ipv4Addr,
    /// Absent when no route says how big its network is.
    pub prefix_len: Option<u8>,
}

/// Looks an interface up by name.
pub fn interface(name: &str) -> Result<Interface, Error> {
    let known = names();
    if !known.iter().any(|other| other == name) {
        let reason = format!(
            "no interface {name:?} here; there are: {}",
            known.join(", ")
        );
        return Err(Error::Serve {
            reason,
            advice: "Pick one of them with --interface",
        });
    }
    let address = address_of(name).map_err(|error| Error::Serve {
        reason: format!("interface {name} has no IPv4 address ({error})"),
        advice: "Give it one, such as: ip address add 10.9.0.1/24 dev NAME && ip link set NAME up",
    })?;
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    Ok(Interface {
        name: name.to_owned(),
        address,
        prefix_len: prefix_len(&routes, name, address),
    })
}

/// Names of interfaces, of this network namespace: /sys may show another one's.
fn names() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let rows = table
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    let mut names: Vec<String> = rows.collect();
    names.sort();
    names
}

/// The address from which this interface would broadcast.
fn address_of(name: &str) -> io::Result<Ipv4Addr> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(name.as_bytes()))?;
    socket.set_broadcast(true)?;
    // Connecting a datagram socket sends nothing; it only picks a source address.
    let anybody = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT));
    socket.connect(&anybody.into())?;
    let own = socket.local_addr()?.as_socket_ipv4();
    let own = own.map(|own| *own.ip()).filter(|own| !own.is_unspecified());
    own.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Reads `/proc/net/route`: the length of the directly connected network with this address.
fn prefix_len(routes: &str, name: &str, address: Ipv4Addr) -> Option<u8> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::from_be);
    routes.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [route, network, gateway, _, _, _, _, mask, ..] = fields[..] else {
            return None;
        };
        let (network, gateway, mask) = (number(network)?, number(gateway)?, number(mask)?);
        let direct = route == name && gateway == 0 && mask != 0;
        let ones = u8::try_from(mask.leading_ones()).ok()?;
        (direct && u32::from(address) & mask == network).then_some(ones)
    })
}

/// A datagram socket for one port of the interface.
pub(super) fn udp(interface: &Interface, port: u16) -> Result<UdpSocket, Error> {
    let open = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // Beside an ordinary DHCP server on this very machine, both hear the broadcasts.
        socket.set_reuse_address(port == SERVER_PORT)?;
        socket.set_broadcast(true)?;
        prepare(&socket, interface, port)?;
        Ok(socket.into())
    };
    open().map_err(|error| refuse("UDP", interface, port, &error))
}

/// A listening socket for one port of the interface.
pub(super) fn tcp(interface: &Interface, port: u16) -> Result<TcpListener, Error> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        prepare(&socket, interface, port)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|error| refuse("TCP", interface, port, &error))
}

fn prepare(socket: &Socket, interface: &Interface, port: u16) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    let any = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    socket.bind(&any.into())
}

fn refuse(what: &str, interface: &Interface, port: u16, error: &io::Error) -> Error {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "Ports below 1024 need a right: run as root, or give the program CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrInUse => {
            "Another program serves that port; ss -lnup and ss -lntp name it. For HTTP take a free \
             with --http-port"
        }
        _ => "Check the interface",
    };
    let name = &interface.name;
    Error::Serve {
        reason: format!("{what} port {port} on {name}: {error}"),
        advice,
    }
}

type Waiting = Option<Pin<Box<dyn Future<Output = io::Result<()>>>>>;

/// A kernel TCP stream that hyper can read and write on our executor.
pub(super) struct Stream {
    executor: Handle,
    stream: Rc<TcpStream>,
    readable: Waiting,
    writable: Waiting,
}

impl Stream {
    pub fn new(executor: &Handle, stream: TcpStream) -> io::Result<Stream> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(SILENCE_MAX))?;
        let executor = executor.clone();
        Ok(Stream {
            executor,
            stream: Rc::new(stream),
            readable: None,
            writable: None,
        })
    }

    /// Tries until it works, or waits for the kernel to say that it may.
    fn attempt<T>(
        cx: &mut Context<'_>,
        waiting: &mut Waiting,
        mut wait: impl FnMut() -> Pin<Box<dyn Future<Output = io::Result<()>>>>,
        mut act: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            if let Some(ready) = waiting {
                match ready.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) => *waiting = None,
                }
            }
            match act() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *waiting = Some(wait()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut piece = [0; READ_BYTES];
        let room = piece.len().min(into.remaining());
        let (executor, stream) = (&this.executor, &this.stream);
        let wait = || {
            let (executor, stream) = (executor.clone(), Rc::clone(stream));
            Box::pin(async move { executor.readable(&*stream).await }) as Pin<Box<_>>
        };
        let read = || (&**stream).read(&mut piece[..room]);
        match Stream::attempt(cx, &mut this.readable, wait, read) {
            Poll::Ready(Ok(count)) => {
                into.put_slice(&piece[..count]);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let (executor, stream) = (&this.executor, &this.stream);
        let wait = || {
            let (executor, stream) = (executor.clone(), Rc::clone(stream));
            Box::pin(async move { executor.writable(&*stream).await }) as Pin<Box<_>>
        };
        Stream::attempt(cx, &mut this.writable, wait, || (&**stream).write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A client that reset the connection has ended it already.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_size_of_a_network_is_read_from_its_route() {
        let routes = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
            eth1\t00000000\t0100090A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth1\t0000090A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let own = Ipv4Addr::new(10, 9, 0, 1);
        assert_eq!(prefix_len(routes, "eth1", own), Some(16));
        assert_eq!(prefix_len(routes, "eth0", own), None);
        assert_eq!(prefix_len(routes, "eth1", Ipv4Addr::new(10, 8, 0, 1)), None);
    }

    #[test]
    fn an_interface_that_is_not_there_is_refused_with_those_that_are() {
        let error = interface("no-such-nic").unwrap_err();
        assert!(error.to_string().contains("lo"), "{error}");
    }

    #[test]
    fn the_loopback_interface_has_an_address() {
        assert!(!interface("lo").unwrap().address.is_unspecified());
    }
}
