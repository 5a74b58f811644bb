//! One UDP port past smoltcp, for datagrams between nodes.
//!
//! Does:      sends at once, and to everybody on the link; receives whole datagrams.
//! Does not:  wait. In smoltcp's sockets one station that does not answer ARP holds up what is for
//!            all others: a dead neighbour would silence a failure detector.
//! Bounds:    `FRAMES_MAX` datagrams wait for `receive`, then the oldest is dropped; those of
//!            `neighbours`.
//! Trusts:    nobody.
//! Start at:  `DirectUdp::send`.

use super::{HostStack, UdpTap};
use netcore::ethernet::{Datagram, Mac};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Datagrams that wait for their reader: what one turn of the stack takes in, four times.
const FRAMES_MAX: usize = 256;

/// A datagram that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub from: SocketAddrV4,
    /// The address that it was sent to: ours, or that of everybody.
    pub to: Ipv4Addr,
    pub bytes: Vec<u8>,
}

/// One UDP port of a stack.
#[derive(Debug)]
pub struct DirectUdp {
    stack: HostStack,
    tap: UdpTap,
    port: u16,
}

impl DirectUdp {
    /// Takes the port from smoltcp.
    ///
    /// # Errors
    ///
    /// When it is taken already.
    pub fn bind(stack: &HostStack, port: u16) -> io::Result<DirectUdp> {
        let tap = stack.shared.inner.borrow_mut().taps.add(port, FRAMES_MAX);
        let in_use = || io::Error::new(io::ErrorKind::AddrInUse, format!("UDP port {port}"));
        Ok(DirectUdp {
            tap: tap.ok_or_else(in_use)?,
            stack: stack.clone(),
            port,
        })
    }

    /// Whether `to` can be reached from here: on the link, or through a gateway.
    pub fn reaches(&self, to: Ipv4Addr) -> bool {
        self.hop(to).is_some()
    }

    /// Whether `to` is on the link.
    pub fn is_neighbour(&self, to: Ipv4Addr) -> bool {
        let address = self.stack.address();
        address.is_some_and(|(own, prefix_len)| is_on_link(own, prefix_len, to))
    }

    /// Sends a datagram, or keeps it for the moment that ARP takes. `false`: there is no way to
    /// that address, or the datagram is too long.
    pub fn send(&self, bytes: &[u8], to: SocketAddrV4) -> bool {
        let Some((own, hop)) = self.hop(*to.ip()) else {
            return false;
        };
        let Some(frame) = self.frame(own, to, bytes) else {
            return false;
        };
        let now_ms = self.stack.executor().now_ms();
        let mut inner = self.stack.shared.inner.borrow_mut();
        let us = (inner.settings.mac, own);
        for frame in inner.neighbours.send(us, hop, frame, now_ms) {
            inner.nic.out.send(&frame);
        }
        inner.kick();
        true
    }

    /// Sends a datagram to everybody on the link. `false`: we have no address yet.
    pub fn send_to_all(&self, bytes: &[u8]) -> bool {
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, self.port);
        let own = self.stack.address();
        let frame = own.and_then(|(own, _)| self.frame(own, to, bytes));
        if let Some(frame) = &frame {
            self.stack.send_frame(frame);
        }
        frame.is_some()
    }

    /// The next datagram that is for us or for everybody.
    pub async fn receive(&self) -> Received {
        loop {
            let frame = self.tap.receive().await;
            if let Some(received) = self.take(&frame) {
                return received;
            }
        }
    }

    /// Datagrams that nobody received in time.
    pub fn dropped(&self) -> u64 {
        self.tap.dropped()
    }

    fn take(&self, frame: &[u8]) -> Option<Received> {
        let datagram = Datagram::parse(frame)?;
        let (own, prefix_len) = self.stack.address()?;
        let source = datagram.source;
        let for_all = datagram.target.is_broadcast();
        if !for_all && datagram.target != own || source == own || source.is_unspecified() {
            return None;
        }
        if is_on_link(own, prefix_len, source) && datagram.source_mac.is_unicast() {
            let now_ms = self.stack.executor().now_ms();
            let mut inner = self.stack.shared.inner.borrow_mut();
            for frame in inner.neighbours.hear(source, datagram.source_mac, now_ms) {
                inner.nic.out.send(&frame);
            }
        }
        Some(Received {
            from: SocketAddrV4::new(source, datagram.source_port),
            to: datagram.target,
            bytes: datagram.payload.to_vec(),
        })
    }

    /// Our address, and the station to hand a datagram for `to` to.
    fn hop(&self, to: Ipv4Addr) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let (own, prefix_len) = self.stack.address()?;
        if to == own || to.is_unspecified() || to.is_multicast() || to.is_broadcast() {
            return None;
        }
        if is_on_link(own, prefix_len, to) {
            return Some((own, to));
        }
        let gateway = self.stack.shared.inner.borrow().gateway;
        gateway.map(|gateway| (own, gateway))
    }

    /// The frame but for its target's MAC, which is everybody's until it is known.
    fn frame(&self, own: Ipv4Addr, to: SocketAddrV4, bytes: &[u8]) -> Option<Vec<u8>> {
        let datagram = Datagram {
            source_mac: self.stack.mac(),
            target_mac: Mac::BROADCAST,
            source: own,
            target: *to.ip(),
            source_port: self.port,
            target_port: to.port(),
            payload: bytes,
        };
        datagram.emit().ok()
    }
}

fn is_on_link(own: Ipv4Addr, prefix_len: u8, other: Ipv4Addr) -> bool {
    let bits = 32_u32.saturating_sub(u32::from(prefix_len));
    let mask = u32::MAX.checked_shl(bits).unwrap_or(0);
    u32::from(own) & mask == u32::from(other) & mask
}
