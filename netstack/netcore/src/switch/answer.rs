//! What the gateway says: the same words from the same address on every switch.
//!
//! Does:      answers ARP, neighbours, routers' solicitations, DHCP, DNS, echoes; complains about
//!            what can't be passed on; hands questions on and their answers back.
//! Does not:  decide what is asked; `judge` did.
//! Bounds:    each port's rates; `QUERIES_MAX` questions under way.
//! Trusts:    records. An answer from outside is only believed with the number that was asked.
//! Start at:  `Switch::answer`.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::dns::{self, Reply};
use super::guard::Neighbour;
use super::judge::{Ask, Fate, Pass, Verdict};
use super::reason::Reason;
use super::records::{GATEWAY_LINK_LOCAL, GATEWAY_MAC, Place, PortId};
use super::write::{self, Complaint};
use super::{Output, QUERIES_MAX, QUERY_MS, Query, Switch, lease};
use crate::ethernet::{HEADER_LEN, Mac};
use crate::offload::{Checked, Offload};
use crate::packet::{Body, Ip, Transport, protocol};

const DNS_PORT: u16 = 53;

impl Switch {
    pub(super) fn answer(&mut self, now_ms: u64, id: PortId, checked: &Checked<'_>, ask: Ask) {
        if ask != Ask::Metadata && !self.take_service(now_ms, id) {
            return self.drop_at(id, &Reason::TooFast("questions"));
        }
        // What was left to the card is finished first; a question is short.
        let Some(whole) = checked.segments().next() else {
            return;
        };
        let frame = match (ask, checked.packet().body) {
            (Ask::Arp { address, mac }, Body::Arp(arp)) => {
                Some(write::arp_reply(mac, address, arp.sender_mac, arp.sender))
            }
            (_, Body::Arp(_)) => None,
            (Ask::Metadata, Body::Ip(_)) => {
                for frame in checked.segments() {
                    let packet = frame[HEADER_LEN..].to_vec();
                    self.push(Output::Host { port: id, packet });
                }
                return;
            }
            (_, Body::Ip(ip)) if !ip.has_good_checksum(&whole) => {
                return self.drop_at(id, &Reason::Checksum);
            }
            (Ask::Arp { .. }, Body::Ip(_)) => None,
            (Ask::Neighbour { mac, asked }, Body::Ip(ip)) => neighbour_answer(mac, asked, &ip)
                .map(|packet| write::frame(checked.packet().source_mac, mac, &packet)),
            (Ask::Router, Body::Ip(ip)) => {
                let IpAddr::V6(source) = ip.source else {
                    return;
                };
                let target = if source.is_unspecified() {
                    write::ALL_NODES
                } else {
                    source
                };
                return self.advertise(now_ms, id, target);
            }
            (Ask::Echo, Body::Ip(ip)) => write::echo_reply(&ip, &whole)
                .map(|packet| write::frame(checked.packet().source_mac, GATEWAY_MAC, &packet)),
            (Ask::Lease, Body::Ip(ip)) => self.lease(id, &whole, &ip),
            (Ask::Name, Body::Ip(ip)) => return self.name(now_ms, id, &whole, &ip),
        };
        if let Some(frame) = frame {
            self.reply(now_ms, id, frame);
        }
    }

    fn reply(&mut self, now_ms: u64, id: PortId, frame: Vec<u8>) {
        if let Some(port) = self.tables.ports.get_mut(&id) {
            port.counters.answers += 1;
        }
        self.deliver(now_ms, id, frame, Offload::default());
    }

    fn take_service(&mut self, now_ms: u64, id: PortId) -> bool {
        let port = self.tables.ports.get_mut(&id);
        port.is_some_and(|port| port.services.take(now_ms, 1))
    }

    /// Tells a guest that the gateway is there.
    pub(super) fn advertise(&mut self, now_ms: u64, id: PortId, target: Ipv6Addr) {
        let leads_outside = self.tables.outside.leads_v6();
        let Ok((port, network, _)) = self.tables.guest(id) else {
            return;
        };
        let mac = if target == write::ALL_NODES {
            group_mac(target)
        } else {
            port.mac
        };
        let packet = write::router_advertisement(&network.settings, target, leads_outside);
        if let Some(packet) = packet {
            let frame = write::frame(mac, GATEWAY_MAC, &packet);
            self.reply(now_ms, id, frame);
        }
    }

    fn lease(&self, id: PortId, frame: &[u8], ip: &Ip) -> Option<Vec<u8>> {
        let (_, network, station) = self.tables.guest(id).ok()?;
        let message = frame.get(ip.transport_at + 8..ip.end)?;
        let lease = lease::answer(&network.settings, station, message)?;
        let (mac, target) = if lease.is_broadcast {
            (Mac::BROADCAST, Ipv4Addr::BROADCAST)
        } else {
            (station.mac, lease.target)
        };
        let datagram = write::udp(67, 68, &lease.message);
        let gateway = network.settings.gateway_v4()?;
        let packet = write::ip_packet(gateway.into(), target.into(), protocol::UDP, 64, &datagram)?;
        Some(write::frame(mac, GATEWAY_MAC, &packet))
    }

    fn name(&mut self, now_ms: u64, id: PortId, frame: &[u8], ip: &Ip) {
        let Some(port) = self.tables.ports.get_mut(&id) else {
            return;
        };
        if !port.names.take(now_ms, 1) {
            return self.drop_at(id, &Reason::TooFast("questions about names"));
        }
        let Ok((_, network, _)) = self.tables.guest(id) else {
            return;
        };
        let Transport::Udp { source, .. } = ip.transport else {
            return;
        };
        let message = &frame[ip.transport_at + 8..ip.end];
        match dns::answer(network, message) {
            Reply::Answer(message) => {
                self.say(now_ms, id, ip.target, (ip.source, source), &message);
            }
            Reply::Forward => {
                let query = Query {
                    port: id,
                    guest: (ip.source, source),
                    server: ip.target,
                    id: [message[0], message[1]],
                    until_ms: now_ms.saturating_add(QUERY_MS),
                };
                self.ask(query, message);
            }
            Reply::Nothing => {}
        }
    }

    fn ask(&mut self, query: Query, message: &[u8]) {
        if self.queries.len() >= QUERIES_MAX {
            self.counters.queries_dropped += 1;
            return;
        }
        while self.queries.contains_key(&self.next_query) {
            self.next_query = self.next_query.wrapping_add(1);
        }
        let mut message = message.to_vec();
        message[..2].copy_from_slice(&self.next_query.to_be_bytes());
        let port = query.port;
        self.queries.insert(self.next_query, query);
        self.next_query = self.next_query.wrapping_add(1);
        self.push(Output::Query { port, message });
    }

    /// Another server's answer goes to the guest that asked, as if the gateway had known it.
    pub(super) fn hear_server(&mut self, now_ms: u64, message: &[u8]) {
        let Some(id) = message.first_chunk::<2>() else {
            return;
        };
        let Some(query) = self.queries.remove(&u16::from_be_bytes(*id)) else {
            return;
        };
        let mut message = message.to_vec();
        message[..2].copy_from_slice(&query.id);
        self.say(now_ms, query.port, query.server, query.guest, &message);
    }

    fn say(
        &mut self,
        now_ms: u64,
        id: PortId,
        server: IpAddr,
        guest: super::flows::End,
        message: &[u8],
    ) {
        let Some(mac) = self.tables.ports.get(&id).map(|port| port.mac) else {
            return;
        };
        let datagram = write::udp(DNS_PORT, guest.1, message);
        let packet = write::ip_packet(server, guest.0, protocol::UDP, 64, &datagram);
        if let Some(packet) = packet {
            self.reply(now_ms, id, write::frame(mac, GATEWAY_MAC, &packet));
        }
    }

    /// Tells a guest why its packet did not go on.
    pub(super) fn complain(
        &mut self,
        now_ms: u64,
        id: PortId,
        checked: &Checked<'_>,
        about: Complaint,
    ) {
        if !self.take_service(now_ms, id) {
            return;
        }
        let (Some(ip), Ok((port, network, _))) = (checked.packet().ip(), self.tables.guest(id))
        else {
            return;
        };
        let mac = port.mac;
        let Some(whole) = checked.segments().next() else {
            return;
        };
        let is_tcp = matches!(ip.transport, Transport::Tcp { .. });
        let packet = if about == Complaint::NoPort && is_tcp {
            write::reset(&ip, &whole)
        } else {
            let own = network.settings.gateway_v4().map(IpAddr::V4);
            let from = if ip.is_v4() {
                own
            } else {
                Some(GATEWAY_LINK_LOCAL.into())
            };
            from.and_then(|from| write::complaint(&ip, &whole[HEADER_LEN..], from, about))
        };
        if let Some(packet) = packet {
            let frame = write::frame(mac, GATEWAY_MAC, &packet);
            self.reply(now_ms, id, frame);
        }
    }

    /// What would become of a frame of this guest now, in words. Nothing is changed or counted, so
    /// rates, which only the moment knows, are left out.
    pub fn explain(&self, now_ms: u64, id: PortId, frame: &[u8], offload: Offload) -> String {
        let checked = match Checked::new(frame, offload) {
            Ok(checked) => checked,
            Err(bad) => return format!("Dropped: {}.\n", Reason::Malformed(bad)),
        };
        let mut text = match checked.packet().body {
            Body::Arp(arp) => format!("ARP about {}.\n", arp.target),
            Body::Ip(ip) => format!("{}.\n", in_words(&ip)),
        };
        let verdict = self.tables.judge_guest(now_ms, id, &checked);
        self.tell(&verdict, &mut text);
        text
    }

    fn tell(&self, verdict: &Verdict, text: &mut String) {
        let _ = match &verdict.fate {
            Fate::Drop(reason) => writeln!(text, "Dropped: {reason}."),
            Fate::Complain(reason, _) => {
                writeln!(text, "Dropped: {reason}. The sender is told.")
            }
            Fate::Quiet(why) => writeln!(text, "Taken without an answer: {why}."),
            Fate::Gateway(ask) => writeln!(text, "The gateway answers: {}.", asked(ask)),
            Fate::Station { mac, place, .. } => {
                tell_pass("It may leave", verdict.sent, text);
                match place {
                    Place::Here(port) => {
                        tell_pass("It may arrive", verdict.got, text);
                        writeln!(text, "Delivered to {mac} at port {} here.", port.0)
                    }
                    Place::There(peer) => {
                        let name = peer.0;
                        writeln!(
                            text,
                            "Sent to {mac} by way of switch {name}, which judges too."
                        )
                    }
                }
            }
            Fate::Everyone => {
                tell_pass("It may leave", verdict.sent, text);
                writeln!(text, "Sent to every station whose groups let it in.")
            }
            Fate::Outside((address, number)) => {
                tell_pass("It may leave", verdict.sent, text);
                writeln!(text, "Sent outside as {address}, number {number}.")
            }
        };
    }
}

fn tell_pass(what: &str, pass: Option<Pass>, text: &mut String) {
    let _ = match pass {
        Some(Pass::Flow) => writeln!(text, "{what}: it belongs to a conversation."),
        Some(Pass::Related) => writeln!(text, "{what}: it is an error about a conversation."),
        Some(Pass::Fragment) => writeln!(text, "{what}: its first part passed."),
        Some(Pass::Rule(group, place)) => {
            let place = place + 1;
            writeln!(text, "{what}: rule {place} of group {} lets it.", group.0)
        }
        None => Ok(()),
    };
}

fn asked(ask: &Ask) -> &'static str {
    match ask {
        Ask::Arp { .. } | Ask::Neighbour { .. } => "where an address is",
        Ask::Router => "who the router is",
        Ask::Lease => "which address the guest has",
        Ask::Name => "which address a name has",
        Ask::Echo => "an echo",
        Ask::Metadata => "who the guest is; the host serves it",
    }
}

fn in_words(ip: &Ip) -> String {
    let (source, target) = (ip.source, ip.target);
    match ip.transport {
        Transport::Tcp {
            source: from,
            target: to,
            ..
        } => format!("TCP from {source} port {from} to {target} port {to}"),
        Transport::Udp {
            source: from,
            target: to,
        } => format!("UDP from {source} port {from} to {target} port {to}"),
        Transport::Icmp { kind, code, .. } => {
            format!("ICMP {kind} code {code} from {source} to {target}")
        }
        Transport::Other => format!("Protocol {} from {source} to {target}", ip.protocol),
    }
}

/// To who probes an address that is taken everybody is told (RFC 4861, 7.2.4).
fn neighbour_answer(mac: Mac, asked: Neighbour, ip: &Ip) -> Option<Vec<u8>> {
    let IpAddr::V6(asker) = ip.source else {
        return None;
    };
    write::neighbour_advertisement(asked.target, mac, mac == GATEWAY_MAC, asker)
}

/// Where packets to an IPv6 group go on Ethernet (RFC 2464).
fn group_mac(address: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = address.octets();
    Mac([0x33, 0x33, a, b, c, d])
}
