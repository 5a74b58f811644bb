//! What a server gave, made sane.
//!
//! Does:      reads an acknowledgement into a lease; a renewal that leaves something out keeps the
//!            old value; lease times become a schedule without storms.
//! Does not:  know the state of the conversation; `client` does.
//! Bounds:    `LIST_MAX` addresses of each kind; `LEASE_MS_MIN` between renewals, whatever the
//!            server says.
//! Trusts:    nothing: a server may send any number, so each is checked or replaced.
//! Start at:  `Lease::read`.

use std::net::Ipv4Addr;

use super::message::Message;
use super::options::code;

/// Addresses kept of a list of routers, DNS or time servers. More are left out.
const LIST_MAX: usize = 4;

/// The shortest lease we believe: shorter ones are renewed as if they were this long.
const LEASE_MS_MIN: u64 = 10_000;

/// The lease when a server forgets to say, against RFC 2131: one hour.
const LEASE_MS_DEFAULT: u64 = 3_600_000;

/// The earliest renewal after an acknowledgement.
const RENEW_MS_MIN: u64 = 2_000;

/// Option 51's value for "for ever".
const INFINITE: u32 = u32::MAX;

/// The MTUs that a server may set: IPv4's minimum to the largest usual frame.
const MTUS: std::ops::RangeInclusive<u16> = 576..=9216;

/// Points of the monotonic clock; `None` in a lease means that it never ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    pub renew_ms: u64,
    pub rebind_ms: u64,
    pub expire_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    pub routers: Vec<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub ntp: Vec<Ipv4Addr>,
    pub host_name: Option<String>,
    pub domain: Option<String>,
    pub mtu: Option<u16>,
    /// Option 43, for its reader to judge.
    pub vendor: Option<Vec<u8>>,
    /// Who gave it: the server identifier, else the sender.
    pub server: Ipv4Addr,
    pub schedule: Option<Schedule>,
}

impl Lease {
    /// Reads an acknowledgement. `sent_ms` is when it was asked for: a lease counts from there.
    /// `old` fills what the message leaves out. `None`: the address is none for a host.
    pub fn read(
        message: &Message,
        server: Ipv4Addr,
        sent_ms: u64,
        old: Option<&Lease>,
    ) -> Option<Lease> {
        let address = message.yours;
        if !is_host(address) {
            return None;
        }
        let options = &message.options;
        // Another address is another network: nothing of the old one holds there.
        let old = old.filter(|lease| lease.address == address);
        let list = |number: u8, kept: fn(&Lease) -> &Vec<Ipv4Addr>| {
            let mut list: Vec<Ipv4Addr> = options.addresses(number);
            list.retain(|address| is_host(*address));
            list.truncate(LIST_MAX);
            if list.is_empty() {
                old.map(kept).cloned().unwrap_or_default()
            } else {
                list
            }
        };
        let text = |number: u8, kept: fn(&Lease) -> &Option<String>| {
            let text = options
                .text(number)
                .filter(|text| is_name(text))
                .map(str::to_owned);
            text.or_else(|| old.and_then(|lease| kept(lease).clone()))
        };
        let prefix_len = options.address(code::MASK).and_then(prefix_len_of);
        let mtu = options.number16(code::MTU).filter(|mtu| MTUS.contains(mtu));
        let vendor = options.bytes(code::VENDOR_SPECIFIC).map(<[u8]>::to_vec);
        Some(Lease {
            address,
            prefix_len: prefix_len
                .or(old.map(|lease| lease.prefix_len))
                .unwrap_or_else(|| classful_prefix_len(address)),
            routers: list(code::ROUTER, |lease| &lease.routers),
            dns: list(code::DNS, |lease| &lease.dns),
            ntp: list(code::NTP, |lease| &lease.ntp),
            host_name: text(code::HOST_NAME, |lease| &lease.host_name),
            domain: text(code::DOMAIN, |lease| &lease.domain),
            mtu: mtu.or(old.and_then(|lease| lease.mtu)),
            vendor: vendor.or_else(|| old.and_then(|lease| lease.vendor.clone())),
            server,
            schedule: schedule(message, sent_ms),
        })
    }

    /// The same settings, whatever the times say?
    pub fn configures_like(&self, other: &Lease) -> bool {
        let timeless = |lease: &Lease| Lease {
            schedule: None,
            ..lease.clone()
        };
        timeless(self) == timeless(other)
    }
}

/// An address that one host can have.
pub fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_loopback()
        || address.octets()[0] >= 240)
}

/// A host or domain name from a stranger: short, printable, nothing that a terminal acts on.
fn is_name(text: &str) -> bool {
    text.len() <= 253
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// `None`: the mask has holes, or is no mask for a LAN.
fn prefix_len_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let length = bits.leading_ones();
    let holes = bits.count_ones() != length;
    if holes || length == 0 {
        None
    } else {
        u8::try_from(length).ok()
    }
}

/// What a mask was before there were masks (RFC 791): the only guess that a standard backs.
fn classful_prefix_len(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}

/// Turns the three times into points that are in order and apart.
fn schedule(message: &Message, sent_ms: u64) -> Option<Schedule> {
    let millis = |number: u8| {
        message
            .options
            .number32(number)
            .map(|s| u64::from(s) * 1000)
    };
    let lease_ms = match message.options.number32(code::LEASE_TIME) {
        Some(INFINITE) => return None,
        Some(seconds) => (u64::from(seconds) * 1000).max(LEASE_MS_MIN),
        None => LEASE_MS_DEFAULT,
    };
    let asked = (millis(code::RENEWAL_TIME), millis(code::REBINDING_TIME));
    let (renew_ms, rebind_ms) = match asked {
        (Some(t1), Some(t2)) if 0 < t1 && t1 < t2 && t2 < lease_ms => (t1, t2),
        (Some(t1), None) if 0 < t1 && t1 < lease_ms / 8 * 7 => (t1, lease_ms / 8 * 7),
        _ => (lease_ms / 2, lease_ms / 8 * 7),
    };
    let renew_ms = renew_ms.max(RENEW_MS_MIN);
    let rebind_ms = rebind_ms.max(renew_ms + RENEW_MS_MIN);
    let expire_ms = lease_ms.max(rebind_ms + RENEW_MS_MIN);
    Some(Schedule {
        renew_ms: sent_ms + renew_ms,
        rebind_ms: sent_ms + rebind_ms,
        expire_ms: sent_ms + expire_ms,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::message::Kind;
    use super::*;
    use crate::ethernet::Mac;

    fn acknowledgement(times: [Option<u32>; 3]) -> Message {
        let mut message = Message::new(Kind::Ack, 1, Mac([2, 0, 0, 0, 0, 1]));
        message.yours = Ipv4Addr::new(10, 0, 0, 9);
        for (number, seconds) in [code::LEASE_TIME, code::RENEWAL_TIME, code::REBINDING_TIME]
            .into_iter()
            .zip(times)
        {
            if let Some(seconds) = seconds {
                message.options.set_number32(number, seconds);
            }
        }
        message
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn times_become_a_schedule_that_is_in_order_and_never_a_storm() {
        const S: fn(u32) -> Option<u32> = Some;
        let check = |lease, t1, t2, expected: Option<[u64; 3]>| {
            let got = schedule(&acknowledgement([lease, t1, t2]), 0);
            let got = got.map(|s| [s.renew_ms, s.rebind_ms, s.expire_ms].map(|ms| ms / 1000));
            assert_eq!(got, expected, "lease {lease:?}, T1 {t1:?}, T2 {t2:?}");
        };
        //    lease          T1         T2        | renew  rebind expire (s)
        check(S(800),        None,      None,      Some([400,  700,   800]));
        check(S(800),        S(100),    S(200),    Some([100,  200,   800]));
        check(S(800),        S(0),      S(0),      Some([400,  700,   800]));
        check(S(800),        S(600),    S(500),    Some([400,  700,   800])); // T1 > T2
        check(S(800),        S(500),    S(900),    Some([400,  700,   800])); // T2 > lease
        check(S(800),        S(100),    None,      Some([100,  700,   800]));
        check(S(10),         None,      None,      Some([5,    8,     10]));
        check(S(0),          None,      None,      Some([5,    8,     10]));
        check(S(10),         S(1),      S(2),      Some([2,    4,     10]));
        check(S(u32::MAX),   S(1),      S(2),      None);                    // for ever
        check(S(u32::MAX-1), None,      None,      Some([2_147_483_647, 3_758_096_382, 4_294_967_294]));
        check(None,          None,      None,      Some([1800, 3150,  3600]));
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_mask_with_holes_falls_back_to_the_class() {
        let check = |mask: Option<[u8; 4]>, address: [u8; 4], expected: u8| {
            let mut message = acknowledgement([None; 3]);
            message.yours = address.into();
            if let Some(mask) = mask {
                message.options.set(code::MASK, mask);
            }
            let lease = Lease::read(&message, Ipv4Addr::new(10, 0, 0, 1), 0, None).unwrap();
            assert_eq!(lease.prefix_len, expected, "{mask:?}");
        };
        check(Some([255, 255, 254, 0]),   [10, 0, 0, 9],    23);
        check(Some([255, 255, 255, 255]), [10, 0, 0, 9],    32);
        check(Some([255, 0, 255, 0]),     [10, 0, 0, 9],    8);
        check(Some([0, 0, 0, 0]),         [172, 16, 0, 9],  16);
        check(None,                       [192, 168, 0, 9], 24);
    }

    #[test]
    fn names_and_addresses_that_no_host_has_are_left_out() {
        let mut message = acknowledgement([None; 3]);
        message.options.set(code::HOST_NAME, "bad\u{1b}[2Jname");
        message.options.set(code::DOMAIN, "example.net\0");
        message
            .options
            .set(code::ROUTER, [0, 0, 0, 0, 10, 0, 0, 1, 9, 9]);
        let lease = Lease::read(&message, Ipv4Addr::new(10, 0, 0, 1), 0, None).unwrap();
        assert_eq!(lease.host_name, None);
        assert_eq!(lease.domain.as_deref(), Some("example.net"));
        assert_eq!(lease.routers, [Ipv4Addr::new(10, 0, 0, 1)]);
        message.yours = Ipv4Addr::BROADCAST;
        assert_eq!(
            Lease::read(&message, Ipv4Addr::new(10, 0, 0, 1), 0, None),
            None
        );
    }
}
