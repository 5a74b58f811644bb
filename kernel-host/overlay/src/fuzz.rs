//! What must hold for any bytes that peers send.
//!
//! Does:      feeds a node, or one part of it, and panics on a broken promise; a fuzzer, and the
//!            test that replays the corpus, call it.
//! Does not:  search for inputs.
//! Bounds:    as long as the bytes.
//! Trusts:    nothing but its own keyring, which believes all signatures.
//! Start at:  `fuzz_overlay`.

use crate::context::{Context, Keyring, Outbox, Verdict};
use crate::overlay::{Config, Input, Overlay};
use crate::rules::Rules;
use crate::store::Limits;
use crate::swim::Swim;
use core::net::SocketAddr;
use netcore::dice::Dice;
use protocol::peer::{Channel, Contact, Life, Message, Record, RecordKind, Signature, site};
use protocol::{Moment, Name, NodeId, SiteId, Timestamp};

/// Believes every signature, so that bytes get as deep as they can.
#[derive(Debug)]
struct Credulous(SiteId);

impl Keyring for Credulous {
    fn sign(&self, bytes: &[u8]) -> Signature {
        let mut signature = [0; 64];
        let length = u64::try_from(bytes.len()).unwrap_or(0);
        signature[..8].copy_from_slice(&length.to_be_bytes());
        Signature(signature)
    }

    fn verify(&self, author: NodeId, _bytes: &[u8], _signature: &Signature) -> Verdict {
        match author.bytes()[15] {
            250.. => Verdict::UnknownAuthor,
            _ => Verdict::Good,
        }
    }

    fn site_of(&self, node: NodeId) -> Option<SiteId> {
        match node.bytes()[14] {
            0..200 => Some(self.0),
            number => Some(SiteId::from_bytes([number; 16])),
        }
    }

    fn is_revoked(&self, node: NodeId) -> bool {
        node.bytes()[15] == 249
    }

    fn is_replaced(&self, node: NodeId) -> bool {
        node.bytes()[15] == 248
    }

    fn is_long_replaced(&self, node: NodeId) -> bool {
        node.bytes()[14] == 248
    }

    fn learn(&mut self, _now: Moment, record: &Record) -> Verdict {
        match record.key.kind {
            RecordKind::REVOCATION | RecordKind::GRANT => Verdict::Good,
            _ if record.body.first() == Some(&0xff) => Verdict::Bad,
            _ => Verdict::Good,
        }
    }
}

fn contact(number: u8, site: SiteId) -> Contact {
    let mut bytes = [number; 16];
    bytes[14] = 0;
    Contact {
        node: NodeId::from_bytes(bytes),
        site,
        address: SocketAddr::from(([10, 0, 0, number], 12213)),
    }
}

/// Hands the bytes to a node of a site of five as messages: each is behind its sender, its channel
/// and its length (two bytes), and comes a little later than the one before.
///
/// # Panics
///
/// When a message breaks the node.
pub fn fuzz_overlay(data: &[u8]) {
    let Ok(site_name) = "lyon".parse::<Name>() else {
        return;
    };
    let site = site::id_of(&site_name);
    let mut now = Moment {
        uptime_ms: 1000,
        wall: Timestamp::from_unix_ms(1_800_000_000_000),
    };
    let config = Config {
        me: contact(1, site),
        site_name,
        life: Life::new(1, 0),
        seed: 7,
        saved: Vec::new(),
        limits: Limits {
            bytes_max: 100_000,
            ..Limits::USUAL
        },
        rules: Rules::ALL,
    };
    let mut overlay = Overlay::new(now, config, Box::new(Credulous(site)));
    for number in 2..=5 {
        let _ = overlay.handle_input(now, Input::Contact(contact(number, site)));
    }
    let mut rest = data;
    while let Some((&[sender, low, high], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(after.len());
        let (bytes, after) = after.split_at(length);
        rest = after;
        let channel = match sender & 0x80 {
            0 => Channel::Datagram,
            _ => Channel::Stream,
        };
        let from = contact(sender % 7, site);
        let _ = overlay.handle_input(
            now,
            Input::Message {
                from,
                channel,
                bytes,
            },
        );
        now.uptime_ms += 300;
        now.wall = Timestamp::from_unix_ms(now.wall.unix_ms() + 300);
        if overlay.next_timeout().is_some_and(|at| at <= now.uptime_ms) {
            overlay.handle_timeout(now);
        }
        while let Some(output) = overlay.poll_output() {
            drop(output);
        }
    }
    overlay.check();
    assert!(overlay.nodes(now).len() <= 4096);
    assert!(overlay.memory_bytes() <= 8 << 20);
}

/// Hands the bytes to the failure detector of a site of five: each message is behind its sender and
/// its length (two bytes), and comes a little later than the one before.
///
/// # Panics
///
/// When a message breaks the detector.
pub fn fuzz_swim(data: &[u8]) {
    let site = SiteId::from_bytes([7; 16]);
    let me = contact(0, site);
    let mut dice = Dice::new(7);
    let mut swim = Swim::new(me, Life::new(3, 0), Rules::ALL, &mut dice);
    let mut keyring = Credulous(site);
    let mut out = Outbox::default();
    let mut uptime_ms = 1000;
    let mut rest = data;
    let mut joined = 0;
    loop {
        let mut cx = Context {
            now: Moment {
                uptime_ms,
                wall: Timestamp::from_unix_ms(0),
            },
            me: me.node,
            site,
            dice: &mut dice,
            coordinates: &mut crate::coordinates::Coordinates::new(),
            keyring: &mut keyring,
            out: &mut out,
        };
        if joined < 4 {
            joined += 1;
            swim.join(&mut cx, contact(joined, site));
        }
        let Some((&[from, high, low], tail)) = rest.split_first_chunk() else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([high, low])).min(tail.len());
        let (bytes, tail) = tail.split_at(length);
        rest = tail;
        if let Ok(Message::Swim(message)) = Message::decode(Channel::Stream, bytes) {
            swim.handle_message(&mut cx, contact(from % 8, site).node, message);
        }
        swim.handle_timeout(&mut cx);
        for send in out.sends.drain(..) {
            assert!(send.message.encode(send.channel).is_some(), "{send:?}");
        }
        uptime_ms += 20 * u64::from(from);
    }
    swim.check();
}
