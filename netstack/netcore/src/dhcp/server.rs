//! The DHCP server: addresses from a small pool, or only boot files beside another server.
//!
//! Does:      answers DISCOVER, REQUEST, INFORM, RELEASE and DECLINE; tells firmwares their file.
//!            As a proxy it answers only firmwares, on ports 67 and 4011, and gives no address.
//! Does not:  send; each reply says where it goes.
//! Bounds:    the pool's maximum; one reply per request; no memory besides.
//! Trusts:    nobody. A flood of MACs empties the pool and no more (`pool_empty`).
//! Start at:  `Server::handle_request`, then `Server::answer`.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::boot::{BootAnswer, BootFiles, Firmware};
use super::message::{Direction, Kind, Message};
use super::options::code;
use super::pool::Pool;
use super::{CLIENT_PORT, PXE_PORT, SERVER_PORT};
use crate::ethernet::Mac;

/// The longest client identifier that is echoed; a longer one could push us out of one frame.
const CLIENT_ID_LEN_MAX: usize = 255;

/// What a full server gives besides the address.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
    pub prefix_len: u8,
    pub router: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub ntp: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    pub lease_seconds: u32,
}

#[derive(Debug, Clone)]
pub enum Mode {
    /// The only DHCP server of its LAN.
    Full(PoolSettings),
    /// Boot files beside somebody else's server.
    Proxy,
}

/// Misbehaviour for tests; `Quirks::default()` is a server that behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quirks {
    /// Deaf until this point of the caller's clock.
    pub deaf_until_ms: u64,
    /// Refuses this many requests before the first acknowledgement.
    pub naks: u32,
    /// Never answers at all.
    pub mute: bool,
    /// Ignores ordinary clients and serves firmwares: the address must come from elsewhere.
    pub firmwares_only: bool,
}

#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Our own address: server identifier and source of replies.
    pub address: Ipv4Addr,
    pub mode: Mode,
    pub boot: Option<BootFiles>,
    pub quirks: Quirks,
}

/// Where a reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To everybody: 255.255.255.255, port 68.
    Broadcast,
    /// To a station that has no address yet: this MAC and the address it is about to have, port
    /// 68. Who can't send such frames may broadcast instead.
    Station { mac: Mac, address: Ipv4Addr },
    /// To an address that answers.
    Address(SocketAddrV4),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub target: Target,
    /// The port to send from: the one that was asked.
    pub source_port: u16,
    pub bytes: Vec<u8>,
    /// For the log: what was said to whom.
    pub kind: Kind,
    pub mac: Mac,
    pub yours: Ipv4Addr,
    pub boot_file: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub requests: u64,
    pub replies: u64,
    pub bad_messages: u64,
    /// Not for us: another server's client, or no firmware while we are a proxy.
    pub ignored: u64,
    /// No address was left.
    pub pool_empty: u64,
    pub naks: u64,
}

#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    pool: Option<Pool>,
    counters: Counters,
}

/// What to say, before it is dressed as a message.
struct Answer {
    kind: Kind,
    yours: Ipv4Addr,
}

impl Server {
    pub fn new(settings: ServerSettings) -> Server {
        let pool = match &settings.mode {
            Mode::Full(pool) => Some(Pool::new(pool.first, pool.last)),
            Mode::Proxy => None,
        };
        Server {
            settings,
            pool,
            counters: Counters::default(),
        }
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The address that a station has or had.
    pub fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.pool.as_ref()?.address_of(mac)
    }

    /// A datagram came to `port` (67 or 4011) from `from`.
    pub fn handle_request(
        &mut self,
        now_ms: u64,
        port: u16,
        from: SocketAddrV4,
        bytes: &[u8],
    ) -> Option<Reply> {
        self.counters.requests += 1;
        let quirks = self.settings.quirks;
        if quirks.mute || now_ms < quirks.deaf_until_ms {
            self.counters.ignored += 1;
            return None;
        }
        let Ok(request) = Message::parse(bytes) else {
            self.counters.bad_messages += 1;
            return None;
        };
        let reply = self.reply(now_ms, port, from, &request);
        match reply {
            Some(_) => self.counters.replies += 1,
            None => self.counters.ignored += 1,
        }
        reply
    }

    fn reply(
        &mut self,
        now_ms: u64,
        port: u16,
        from: SocketAddrV4,
        request: &Message,
    ) -> Option<Reply> {
        if request.direction() != Direction::Request || !request.mac.is_unicast() {
            return None;
        }
        let firmware = Firmware::of(request);
        if firmware.is_none() && self.settings.quirks.firmwares_only {
            return None;
        }
        let boot = match (&self.settings.boot, firmware) {
            (Some(files), Some(firmware)) => files.answer(firmware, request),
            _ => None,
        };
        let answer = match self.settings.mode {
            Mode::Full(_) => self.answer(now_ms, request)?,
            Mode::Proxy => {
                boot.as_ref()?;
                self.proxy_answer(port, request)?
            }
        };
        Some(self.dress(&answer, request, boot.as_ref(), port, from))
    }

    /// A proxy offers on port 67; on 4011 it acknowledges whoever was sent there.
    fn proxy_answer(&self, port: u16, request: &Message) -> Option<Answer> {
        let kind = match (port, request.kind) {
            (SERVER_PORT, Kind::Discover) => Kind::Offer,
            (PXE_PORT, Kind::Request | Kind::Inform | Kind::Discover) => Kind::Ack,
            _ => return None,
        };
        Some(Answer {
            kind,
            yours: Ipv4Addr::UNSPECIFIED,
        })
    }

    /// What a full server says, by RFC 2131's table of client states.
    fn answer(&mut self, now_ms: u64, request: &Message) -> Option<Answer> {
        let server = request.options.address(code::SERVER_ID);
        let pool = self.pool.as_mut()?;
        match request.kind {
            Kind::Discover => {
                let wish = request.options.address(code::REQUESTED_ADDRESS);
                let Some(yours) = pool.offer(request.mac, wish, now_ms) else {
                    self.counters.pool_empty += 1;
                    return None;
                };
                Some(Answer {
                    kind: Kind::Offer,
                    yours,
                })
            }
            Kind::Request if server.is_some_and(|id| id != self.settings.address) => {
                pool.release(request.mac, now_ms); // it chose another server
                None
            }
            Kind::Request => Some(self.answer_request(now_ms, request)),
            Kind::Inform => Some(Answer {
                kind: Kind::Ack,
                yours: Ipv4Addr::UNSPECIFIED,
            }),
            Kind::Release => {
                pool.release(request.mac, now_ms);
                None
            }
            Kind::Decline => {
                pool.decline(request.mac, now_ms);
                None
            }
            Kind::Offer | Kind::Ack | Kind::Nak => None,
        }
    }

    /// Acknowledge or refuse. We are the only server of this LAN, so an address that we don't
    /// remember is confirmed when it is ours to give and free: we may have restarted.
    fn answer_request(&mut self, now_ms: u64, request: &Message) -> Answer {
        let wished = request.options.address(code::REQUESTED_ADDRESS);
        let address = wished.unwrap_or(request.client);
        let Mode::Full(settings) = &self.settings.mode else {
            return Answer {
                kind: Kind::Nak,
                yours: Ipv4Addr::UNSPECIFIED,
            };
        };
        let until_ms = now_ms.saturating_add(u64::from(settings.lease_seconds) * 1000);
        let refused = self.settings.quirks.naks > 0;
        let granted = !refused
            && self
                .pool
                .as_mut()
                .is_some_and(|pool| pool.commit(request.mac, address, until_ms));
        if granted {
            return Answer {
                kind: Kind::Ack,
                yours: address,
            };
        }
        self.settings.quirks.naks = self.settings.quirks.naks.saturating_sub(1);
        self.counters.naks += 1;
        Answer {
            kind: Kind::Nak,
            yours: Ipv4Addr::UNSPECIFIED,
        }
    }

    /// Dresses an answer as a message and addresses it.
    fn dress(
        &self,
        answer: &Answer,
        request: &Message,
        boot: Option<&BootAnswer>,
        port: u16,
        from: SocketAddrV4,
    ) -> Reply {
        let mut message = Message::new(answer.kind, request.transaction, request.mac);
        message.broadcast = request.broadcast;
        message.relay = request.relay;
        message.yours = answer.yours;
        message
            .options
            .set_address(code::SERVER_ID, self.settings.address);
        let id = request
            .options
            .bytes(code::CLIENT_ID)
            .filter(|id| id.len() <= CLIENT_ID_LEN_MAX);
        if let Some(id) = id {
            message.options.set(code::CLIENT_ID, id); // RFC 6842
        }
        if answer.kind == Kind::Nak {
            message
                .options
                .set(code::MESSAGE, "This address is not yours here");
        } else {
            message.client = request.client;
            self.add_settings(answer, &mut message);
            if let Some(boot) = boot {
                add_boot(boot, &mut message);
            }
        }
        Reply {
            target: target(answer, request, port, from),
            source_port: port,
            bytes: message.emit(),
            kind: answer.kind,
            mac: request.mac,
            yours: answer.yours,
            boot_file: boot.map(|boot| boot.file.clone()).unwrap_or_default(),
        }
    }

    fn add_settings(&self, answer: &Answer, message: &mut Message) {
        let Mode::Full(settings) = &self.settings.mode else {
            return;
        };
        let options = &mut message.options;
        let ones = u32::MAX.checked_shl(32 - u32::from(settings.prefix_len.min(32)));
        options.set_address(code::MASK, ones.unwrap_or(0).into());
        options.set_addresses(code::ROUTER, settings.router.as_slice());
        options.set_addresses(code::DNS, &settings.dns);
        options.set_addresses(code::NTP, &settings.ntp);
        if let Some(domain) = &settings.domain {
            options.set(code::DOMAIN, domain.as_bytes());
        }
        if !answer.yours.is_unspecified() {
            let lease = settings.lease_seconds;
            options.set_number32(code::LEASE_TIME, lease);
            options.set_number32(code::RENEWAL_TIME, lease / 2);
            options.set_number32(code::REBINDING_TIME, lease / 8 * 7);
        }
    }
}

/// The boot file goes into both places: old firmware reads the field, UEFI reads the option.
fn add_boot(boot: &BootAnswer, message: &mut Message) {
    message.boot_file.clone_from(&boot.file);
    message.next_server = boot.next_server;
    if boot.by_tftp {
        message.server_name = boot.next_server.to_string();
    }
    message.options.join(&boot.options);
}

/// RFC 2131 4.1, and PXE's rule that port 4011 answers the asker.
fn target(answer: &Answer, request: &Message, port: u16, from: SocketAddrV4) -> Target {
    if port == PXE_PORT && !from.ip().is_unspecified() {
        return Target::Address(from);
    }
    if !request.relay.is_unspecified() {
        return Target::Address(SocketAddrV4::new(request.relay, SERVER_PORT));
    }
    if answer.kind == Kind::Nak {
        return Target::Broadcast;
    }
    if !request.client.is_unspecified() {
        return Target::Address(SocketAddrV4::new(request.client, CLIENT_PORT));
    }
    if request.broadcast || answer.yours.is_unspecified() {
        return Target::Broadcast;
    }
    Target::Station {
        mac: request.mac,
        address: answer.yours,
    }
}

/// Fuzz target: one request, at most one reply, and the reply is a message of the conversation.
pub fn fuzz_server(data: &[u8]) {
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let pool = PoolSettings {
        first: Ipv4Addr::new(10, 0, 0, 10),
        last: Ipv4Addr::new(10, 0, 0, 11),
        prefix_len: 24,
        router: Some(address),
        dns: vec![address],
        ntp: Vec::new(),
        domain: Some("luc.test".into()),
        lease_seconds: 600,
    };
    let boot = BootFiles {
        tftp_server: address,
        bios_file: "undionly.kpxe".into(),
        uefi_file: "luc.efi".into(),
        script_url: "http://10.0.0.1/luc.ipxe".into(),
        http_url: "http://10.0.0.1/luc.efi".into(),
    };
    for mode in [Mode::Full(pool), Mode::Proxy] {
        let settings = ServerSettings {
            address,
            mode,
            boot: Some(boot.clone()),
            quirks: Quirks::default(),
        };
        let mut server = Server::new(settings);
        for port in [SERVER_PORT, PXE_PORT] {
            let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), CLIENT_PORT);
            let Some(reply) = server.handle_request(1, port, from, data) else {
                continue;
            };
            let request = Message::parse(data).expect("only messages are answered");
            let message = Message::parse(&reply.bytes).expect("a reply is a message");
            assert_eq!(message.direction(), Direction::Reply, "never a request");
            assert_eq!(
                message.transaction, request.transaction,
                "of the same conversation"
            );
            assert_eq!(message.mac, request.mac, "to the same station");
        }
    }
}
