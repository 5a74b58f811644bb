//! The DHCP client on a stack.
//!
//! Does:      carries netcore's client: frames out, tapped frames in, time; sets the stack's
//!            address, gateway and DNS servers as leases come and go.
//! Does not:  run by itself: `next_event` drives it, and may be dropped and called again.
//! Bounds:    netcore's client; one tap.
//! Trusts:    netcore's client to judge what the network says.
//! Start at:  `DhcpClient::next_event`.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use netcore::dhcp::client::{Client, ClientSettings, Counters, Input, LostReason, Output, Target};
use netcore::dhcp::lease::Lease;
use netcore::dhcp::{CLIENT_PORT, SERVER_PORT};
use netcore::ethernet::{Datagram, Mac};

use super::{HostStack, UdpSocket, UdpTap, random_seed};
use crate::executor::{Either, race};

/// What the client says about the machine.
#[derive(Debug, Clone, Default)]
pub struct DhcpSettings {
    pub host_name: Option<String>,
    pub vendor_class: Option<String>,
}

/// The stack's address changed; the stack has it already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DhcpEvent {
    Bound(Lease),
    Lost(LostReason),
}

/// A DHCP client on one stack.
#[derive(Debug)]
pub struct DhcpClient {
    stack: HostStack,
    client: Client,
    tap: UdpTap,
    socket: UdpSocket,
}

impl DhcpClient {
    /// Fails when the stack has a DHCP client already.
    pub fn new(stack: &HostStack, settings: DhcpSettings) -> io::Result<DhcpClient> {
        let settings = ClientSettings {
            mac: stack.mac(),
            host_name: settings.host_name,
            vendor_class: settings.vendor_class,
            seed: random_seed()?,
        };
        Ok(DhcpClient {
            tap: stack.tap_udp(CLIENT_PORT)?,
            socket: UdpSocket::bind(stack, CLIENT_PORT)?,
            client: Client::new(settings, stack.executor().now_ms()),
            stack: stack.clone(),
        })
    }

    /// Runs the client until the address changes. It waits for ever if no server answers. Safe to
    /// drop half-way and to call again: nothing is lost.
    pub async fn next_event(&mut self) -> DhcpEvent {
        loop {
            while let Some(output) = self.client.poll_output() {
                match output {
                    Output::Send { target, bytes } => self.send(target, &bytes).await,
                    Output::Bound(lease) => {
                        let gateway = lease.routers.first().copied();
                        self.stack
                            .set_address(lease.address, lease.prefix_len, gateway);
                        self.stack.set_dns(&lease.dns);
                        return DhcpEvent::Bound(lease);
                    }
                    Output::Lost(reason) => {
                        self.stack.clear_address();
                        return DhcpEvent::Lost(reason);
                    }
                }
            }
            self.wait().await;
        }
    }

    /// The link went down or came up. On the way up, a lease is confirmed at once.
    pub fn carrier_changed(&mut self, up: bool) {
        let input = if up {
            Input::CarrierBack
        } else {
            Input::CarrierLost
        };
        self.client
            .handle_input(self.stack.executor().now_ms(), input);
    }

    pub fn lease(&self) -> Option<&Lease> {
        self.client.lease()
    }

    pub fn counters(&self) -> Counters {
        self.client.counters()
    }

    /// One frame or one deadline.
    async fn wait(&mut self) {
        let executor = self.stack.executor().clone();
        let deadline_ms = self.client.next_timeout().unwrap_or(u64::MAX);
        match race(self.tap.receive(), executor.sleep_until(deadline_ms)).await {
            Either::Left(frame) => {
                if let Some(datagram) = Datagram::parse(&frame) {
                    let from = datagram.source;
                    let input = Input::Datagram {
                        from,
                        bytes: datagram.payload,
                    };
                    self.client.handle_input(executor.now_ms(), input);
                }
            }
            Either::Right(()) => self.client.handle_timeout(executor.now_ms()),
        }
    }

    /// A message that can't be sent now is sent again at the next retry.
    async fn send(&self, target: Target, bytes: &[u8]) {
        match target {
            Target::Broadcast => {
                let datagram = Datagram {
                    source_mac: self.stack.mac(),
                    target_mac: Mac::BROADCAST,
                    source: Ipv4Addr::UNSPECIFIED,
                    target: Ipv4Addr::BROADCAST,
                    source_port: CLIENT_PORT,
                    target_port: SERVER_PORT,
                    payload: bytes,
                };
                if let Ok(frame) = datagram.emit() {
                    self.stack.send_frame(&frame);
                }
            }
            Target::Server(address) => {
                let to = SocketAddrV4::new(address, SERVER_PORT);
                let _ = self.socket.send_to(bytes, to).await;
            }
        }
    }
}
