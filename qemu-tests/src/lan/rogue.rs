//! A DHCP server that promises an address and then denies it.
//!
//! Does:      answers DISCOVER with an offer and REQUEST with a NAK, as often as told, then falls
//!            silent for ever.
//! Does not:  lease anything.
//! Bounds:    one thread, `NAKS_MAX` NAKs.
//! Trusts:    nobody; it is the stranger.
//! Start at:  `Rogue::start`.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use netcore::ethernet::{Datagram, Mac};

use crate::wire::{Port, Reassembler, append_frame};

/// What the rogue offers: on another network than the honest server's.
pub const OFFERED: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 66);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
const SERVER_MAC: Mac = Mac([2, 0x66, 0, 0, 0, 1]);
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// A running rogue; it ends with the wire.
#[derive(Debug)]
pub struct Rogue {
    naks: Arc<AtomicUsize>,
}

impl Rogue {
    /// Plugs a rogue into a port; it sends `naks_max` NAKs.
    pub fn start(port: &Port, naks_max: usize) -> io::Result<Self> {
        let stream = UnixStream::connect(&port.path)?;
        let naks = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&naks);
        std::thread::Builder::new()
            .name("rogue".to_owned())
            .spawn(move || {
                // The wire's end is the rogue's end.
                let _ = serve(stream, naks_max, &counter);
            })?;
        Ok(Self { naks })
    }

    /// NAKs sent so far.
    #[must_use]
    pub fn naks(&self) -> usize {
        self.naks.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: UnixStream, naks_max: usize, naks: &AtomicUsize) -> io::Result<()> {
    let mut incoming = Reassembler::default();
    let mut bytes = vec![0; 4096];
    loop {
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        incoming.push(&bytes[..count]);
        while let Some(frame) = incoming.next_frame().map_err(io::Error::other)? {
            if naks.load(Ordering::Relaxed) >= naks_max {
                continue; // silent, but it still reads, as a station does
            }
            let Some((answer, is_nak)) = answer(&frame) else {
                continue;
            };
            let mut out = Vec::new();
            append_frame(&mut out, &answer);
            stream.write_all(&out)?;
            if is_nak {
                naks.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The frame that answers a client's, and whether it is a NAK.
fn answer(frame: &[u8]) -> Option<(Vec<u8>, bool)> {
    let datagram = Datagram::parse(frame)?;
    if datagram.target_port != SERVER_PORT {
        return None;
    }
    let request = Message::decode(&mut Decoder::new(datagram.payload)).ok()?;
    let kind = match request.opts().msg_type()? {
        MessageType::Discover => MessageType::Offer,
        MessageType::Request if asks_us(&request) => MessageType::Nak,
        _ => return None,
    };
    let mut reply = Message::default();
    reply
        .set_opcode(Opcode::BootReply)
        .set_xid(request.xid())
        .set_flags(Flags::default().set_broadcast())
        .set_chaddr(request.chaddr());
    if kind == MessageType::Offer {
        reply.set_yiaddr(OFFERED);
        reply.opts_mut().insert(DhcpOption::AddressLeaseTime(3600));
        reply
            .opts_mut()
            .insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
    }
    reply.opts_mut().insert(DhcpOption::MessageType(kind));
    reply
        .opts_mut()
        .insert(DhcpOption::ServerIdentifier(SERVER));
    let mut payload = Vec::new();
    reply.encode(&mut Encoder::new(&mut payload)).ok()?;
    let frame = Datagram {
        source_mac: SERVER_MAC,
        target_mac: Mac::BROADCAST,
        source: SERVER,
        target: Ipv4Addr::BROADCAST,
        source_port: SERVER_PORT,
        target_port: CLIENT_PORT,
        payload: &payload,
    };
    Some((frame.emit().ok()?, kind == MessageType::Nak))
}

fn asks_us(request: &Message) -> bool {
    match request.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => *server == SERVER,
        _ => true, // a client that renews or reboots asks everyone
    }
}
