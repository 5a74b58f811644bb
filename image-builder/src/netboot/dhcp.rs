//! Carries DHCP datagrams between `netcore`'s server and the network.
//!
//! Does:      on a stack of our own, whole frames, so that a station can be answered at the
//!            address it does not have yet; on an interface, datagrams, and broadcasts instead.
//! Does not:  read or write a DHCP option.
//! Bounds:    one datagram at a time.
//! Trusts:    nobody; the core parses.
//! Start at:  `serve_stack`, `serve_kernel`.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::rc::Rc;

use netcore::dhcp::CLIENT_PORT;
use netcore::dhcp::message::Message;
use netcore::dhcp::server::{Reply, Server, Target};
use netcore::ethernet::{Datagram, Mac};
use netio::executor::Handle;
use netio::host::{HostStack, UdpTap};

use super::Config;
use super::event::Event;

/// The longest DHCP message: one Ethernet frame.
const MESSAGE_BYTES_MAX: usize = 1500;

type Core = Rc<RefCell<Server>>;

/// Serves one port of a stack.
pub(super) async fn serve_stack(
    stack: HostStack,
    tap: UdpTap,
    core: Core,
    config: Config,
) -> io::Result<()> {
    loop {
        let frame = tap.receive().await;
        let Some(request) = Datagram::parse(&frame) else {
            continue;
        };
        let from = SocketAddrV4::new(request.source, request.source_port);
        let now_ms = stack.executor().now_ms();
        let port = request.target_port;
        let reply = core
            .borrow_mut()
            .handle_request(now_ms, port, from, request.payload);
        let Some(reply) = reply.map(|reply| with_server(reply, config.address)) else {
            continue;
        };
        if let Some(frame) = frame_of(&reply, &request, stack.mac(), config.address) {
            stack.send_frame(&frame);
            tell(&config, reply);
        }
    }
}

/// Names ourselves as the boot server, also where the file is a URL. Without it iPXE takes the
/// offer for one that needs another question to port 4011, and waits 15 s for that answer.
fn with_server(mut reply: Reply, address: Ipv4Addr) -> Reply {
    let boots = !reply.boot_file.is_empty();
    if let Some(mut message) = Message::parse(&reply.bytes).ok().filter(|_| boots) {
        message.next_server = address;
        reply.bytes = message.emit();
    }
    reply
}

/// The reply as a frame. `None`: it does not fit one, which the core does not let happen.
fn frame_of(reply: &Reply, request: &Datagram<'_>, mac: Mac, address: Ipv4Addr) -> Option<Vec<u8>> {
    let (target_mac, target) = match reply.target {
        Target::Broadcast => (Mac::BROADCAST, BROADCAST),
        Target::Station { mac, address } => (mac, SocketAddrV4::new(address, CLIENT_PORT)),
        // Whoever handed us the request, a relay or the client, knows the way back.
        Target::Address(to) => (request.source_mac, to),
    };
    let datagram = Datagram {
        source_mac: mac,
        target_mac,
        source: address,
        target: *target.ip(),
        source_port: reply.source_port,
        target_port: target.port(),
        payload: &reply.bytes,
    };
    datagram.emit().ok()
}

const BROADCAST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);

/// Serves one port of an interface.
pub(super) async fn serve_kernel(
    executor: Handle,
    socket: UdpSocket,
    port: u16,
    core: Core,
    config: Config,
) -> io::Result<()> {
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let (length, from) = match socket.recv_from(&mut message) {
            Ok((length, SocketAddr::V4(from))) => (length, from),
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                executor.readable(&socket).await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let now_ms = executor.now_ms();
        let reply = core
            .borrow_mut()
            .handle_request(now_ms, port, from, &message[..length]);
        let Some(reply) = reply.map(|reply| with_server(reply, config.address)) else {
            continue;
        };
        let to = match reply.target {
            Target::Address(to) => to,
            // The kernel has no way to reach a station that does not answer ARP yet.
            Target::Broadcast | Target::Station { .. } => BROADCAST,
        };
        // A full queue or a link that is down loses one reply; the client asks again.
        if socket.send_to(&reply.bytes, to).is_ok() {
            tell(&config, reply);
        }
    }
}

fn tell(config: &Config, reply: Reply) {
    let Reply {
        kind,
        mac,
        yours,
        boot_file,
        ..
    } = reply;
    (config.listener)(&Event::Answered {
        kind,
        mac,
        address: yours,
        boot_file,
    });
}
