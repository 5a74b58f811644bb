//! DHCP for guests: each gets the address of its record, and no other.

use std::net::Ipv4Addr;

use super::dns::DOMAIN;
use super::records::{METADATA_V4, NetworkSettings, Station};
use crate::dhcp::message::{Kind, Message};
use crate::dhcp::options::code;

/// A record rarely changes; a guest that asks again twice a day keeps its address through any cut
/// of its site, because the switch beside it answers.
const LEASE_SECONDS: u32 = 86_400;
/// Routes without classes (RFC 3442), and what older Windows calls them.
const ROUTES: [u8; 2] = [121, 249];
/// The longest client identifier that is echoed.
const CLIENT_ID_LEN_MAX: usize = 255;

/// What to say to a guest, and whether it can hear only broadcasts yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub message: Vec<u8>,
    pub target: Ipv4Addr,
    pub is_broadcast: bool,
}

/// `None`: not a request of this station, or nothing to say to it.
pub fn answer(network: &NetworkSettings, station: &Station, bytes: &[u8]) -> Option<Lease> {
    let request = Message::parse(bytes).ok()?;
    let subnet = network.v4?;
    let (gateway, own) = (subnet.gateway(), station.v4?);
    if request.mac != station.mac {
        return None;
    }
    let chosen = request.options.address(code::SERVER_ID);
    if chosen.is_some_and(|server| server != gateway) {
        return None;
    }
    let wished = request.options.address(code::REQUESTED_ADDRESS);
    let kind = match request.kind {
        Kind::Discover => Kind::Offer,
        Kind::Inform => Kind::Ack,
        Kind::Request if wished.unwrap_or(request.client) == own => Kind::Ack,
        Kind::Request => Kind::Nak,
        // The record says whose address it is, whatever the guest found on it.
        Kind::Decline | Kind::Release | Kind::Offer | Kind::Ack | Kind::Nak => return None,
    };
    let mut message = Message::new(kind, request.transaction, request.mac);
    message.broadcast = request.broadcast;
    message.options.set_address(code::SERVER_ID, gateway);
    let id = request.options.bytes(code::CLIENT_ID);
    if let Some(id) = id.filter(|id| id.len() <= CLIENT_ID_LEN_MAX) {
        message.options.set(code::CLIENT_ID, id);
    }
    if kind == Kind::Nak {
        let text = "This address is not yours here";
        message.options.set(code::MESSAGE, text);
    } else {
        message.client = request.client;
        if request.kind != Kind::Inform {
            message.yours = own;
            message
                .options
                .set_number32(code::LEASE_TIME, LEASE_SECONDS);
            message
                .options
                .set_number32(code::RENEWAL_TIME, LEASE_SECONDS / 2);
            message
                .options
                .set_number32(code::REBINDING_TIME, LEASE_SECONDS / 8 * 7);
        }
        add_settings(&mut message, network, station, gateway);
    }
    let knows_address = !request.client.is_unspecified() && kind != Kind::Nak;
    Some(Lease {
        message: message.emit(),
        target: if knows_address { request.client } else { own },
        is_broadcast: !knows_address && (request.broadcast || kind == Kind::Nak),
    })
}

fn add_settings(
    message: &mut Message,
    network: &NetworkSettings,
    station: &Station,
    gateway: Ipv4Addr,
) {
    let options = &mut message.options;
    options.set_address(
        code::MASK,
        network.v4.map_or(Ipv4Addr::BROADCAST, |v4| v4.mask()),
    );
    options.set_address(code::ROUTER, gateway);
    options.set_address(code::DNS, gateway);
    options.set(code::MTU, network.mtu.to_be_bytes());
    options.set(code::HOST_NAME, station.name.as_bytes());
    options.set(code::DOMAIN, format!("{}.{DOMAIN}", network.name));
    // Who reads these must not read the router, so the default route stands here again.
    let mut routes = vec![32];
    routes.extend(METADATA_V4.octets());
    routes.extend(gateway.octets());
    routes.push(0);
    routes.extend(gateway.octets());
    for number in ROUTES {
        options.set(number, routes.clone());
    }
}
