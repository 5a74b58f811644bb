//! A Linux interface by `AF_PACKET`: the kernel gives drivers and offloads, we do all IP.
//!
//! Does:      receives and sends raw frames on one interface; completes checksums that the sender
//!            left to its hardware (veth and virtio peers do); sorts frames by VLAN.
//! Does not:  bring the interface up or read its MAC, MTU and carrier; `sys` does. No promiscuous
//!            mode: the interface filters by its own MAC.
//! Bounds:    `RECEIVE_BUFFER_LEN` in the kernel; beyond it the kernel drops the newest frame.
//! Trusts:    the kernel's headers. Frames themselves are hostile; offsets are checked.
//! Start at:  `AfPacket::open`, then `sort_by_vlan`.
//!
//! Aggregates: Linux hands over several TCP segments as one, so a frame may be longer than the MTU.
//! For a receiver that is one valid segment; who forwards frames to a real link must not use them
//! (turn them off: `ethtool -K <interface> gro off tso off`).
//!
//! VLAN: the kernel strips the outer tag and tells it beside the frame. A port without a VLAN takes
//! untagged and priority-tagged (id 0) frames; a port with one takes only its own. All others
//! belong to another network: they are dropped and counted, as are frames with a second tag.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use netcore::ethernet::{HEADER_LEN, checksum};

use super::{FRAME_LEN_MAX, FramePort};

/// The virtio-net header that `PACKET_VNET_HDR` puts before each frame.
pub const VNET_HEADER_LEN: usize = 10;
const VNET_NEEDS_CHECKSUM: u8 = 1;
const VNET_GSO_NONE: u8 = 0;
const VNET_GSO_TCPV4: u8 = 1;
const VNET_GSO_ECN: u8 = 0x80;

const ETHERTYPE_AT: usize = 12;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const VLAN_ID_MASK: u16 = 0x0fff;
const VLAN_TAG_LEN: usize = 4;

/// Frames waiting in the kernel, with its overhead: about 1,000 full ones, 10 ms at 1 Gb/s.
const RECEIVE_BUFFER_LEN: libc::c_int = 4 * 1024 * 1024;

/// Foreign frames skipped in one call before others get their turn.
const SKIPS_MAX: usize = 64;

/// Which interface, and which network on it.
#[derive(Debug, Clone, Copy)]
pub struct AfPacketSettings {
    pub interface_index: u32,
    /// Take and send only frames of this VLAN (1 to 4094).
    pub vlan: Option<u16>,
}

/// Frames that went another way than through.
#[derive(Debug, Clone, Copy, Default)]
pub struct PacketCounters {
    pub received: u64,
    pub sent: u64,
    /// Tagged for another network, or tagged twice.
    pub foreign_vlan: u64,
    /// An offload header that contradicts the frame, or an aggregate that isn't TCP over IPv4.
    pub bad_offload: u64,
    /// Longer than any frame may be.
    pub truncated: u64,
    /// The interface was down, or its queue was full, when we sent.
    pub send_dropped: u64,
    /// The interface went down while we listened.
    pub link_down: u64,
}

/// One interface (and VLAN) as a frame port.
#[derive(Debug)]
pub struct AfPacket {
    socket: OwnedFd,
    vlan: Option<u16>,
    counters: PacketCounters,
}

/// What the kernel says beside a frame.
#[derive(Debug, Clone, Copy, Default)]
struct Beside {
    length: usize,
    truncated: bool,
    /// The stripped tag's control information.
    tag: Option<u16>,
}

impl AfPacket {
    /// Opens a raw socket on the interface. Needs `CAP_NET_RAW`.
    pub fn open(settings: AfPacketSettings) -> io::Result<AfPacket> {
        if settings
            .vlan
            .is_some_and(|id| id == 0 || id >= VLAN_ID_MASK)
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a VLAN is 1 to 4094",
            ));
        }
        let socket = packet_socket()?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        // Needs CAP_NET_ADMIN to exceed the system's limit; without it the limit is what we get.
        let forced = set_option(
            &socket,
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            RECEIVE_BUFFER_LEN,
        );
        if forced.is_err() {
            set_option(
                &socket,
                libc::SOL_SOCKET,
                libc::SO_RCVBUF,
                RECEIVE_BUFFER_LEN,
            )?;
        }
        bind(&socket, settings.interface_index)?;
        Ok(AfPacket {
            socket,
            vlan: settings.vlan,
            counters: PacketCounters::default(),
        })
    }

    pub fn counters(&self) -> PacketCounters {
        self.counters
    }

    /// Sends a frame that the kernel or the card still has to finish: `header` says how, as in
    /// virtio-net. The kernel refuses a header that contradicts the frame.
    pub fn send_with(&mut self, header: [u8; VNET_HEADER_LEN], frame: &[u8]) -> io::Result<()> {
        let mut tag = [0u8; VLAN_TAG_LEN];
        let (macs, rest) = frame.split_at(ETHERTYPE_AT.min(frame.len()));
        let tag = match self.vlan {
            Some(id) => {
                tag[..2].copy_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
                tag[2..].copy_from_slice(&id.to_be_bytes());
                &tag[..]
            }
            None => &[],
        };
        let parts = [&header[..], macs, tag, rest].map(io::IoSlice::new);
        match rustix::io::writev(&self.socket, &parts) {
            Ok(_) => {
                self.counters.sent += 1;
                Ok(())
            }
            Err(rustix::io::Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
            Err(
                rustix::io::Errno::NOBUFS
                | rustix::io::Errno::NETDOWN
                | rustix::io::Errno::MSGSIZE
                | rustix::io::Errno::INTR,
            ) => {
                self.counters.send_dropped += 1;
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// True: this frame is ours to hand out.
    fn accept(&mut self, header: [u8; VNET_HEADER_LEN], frame: &mut [u8], beside: Beside) -> bool {
        if beside.truncated {
            self.counters.truncated += 1;
            return false;
        }
        if !sort_by_vlan(self.vlan, beside.tag, frame) {
            self.counters.foreign_vlan += 1;
            return false;
        }
        if !apply_offload(header, frame) {
            self.counters.bad_offload += 1;
            return false;
        }
        self.counters.received += 1;
        true
    }
}

impl FramePort for AfPacket {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..SKIPS_MAX {
            let mut header = [0; VNET_HEADER_LEN];
            match receive_message(&self.socket, &mut header, buffer) {
                Ok(beside) => {
                    if self.accept(header, &mut buffer[..beside.length], beside) {
                        return Ok(beside.length);
                    }
                }
                // Told once when the link goes down; the socket works on when it is up again.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                    self.counters.link_down += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.send_with([0; VNET_HEADER_LEN], frame) // no offload asked
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Does this frame belong to the port's network? See the table in the module header.
fn sort_by_vlan(vlan: Option<u16>, tag: Option<u16>, frame: &[u8]) -> bool {
    let Some(ethertype) = frame
        .get(ETHERTYPE_AT..)
        .and_then(|rest| rest.first_chunk::<2>())
    else {
        return false;
    };
    if matches!(
        u16::from_be_bytes(*ethertype),
        ETHERTYPE_VLAN | ETHERTYPE_QINQ
    ) {
        return false;
    }
    let id = tag.map_or(0, |tag| tag & VLAN_ID_MASK);
    id == vlan.unwrap_or(0)
}

/// Finishes what the sender left to its hardware. False: the header contradicts the frame.
fn apply_offload(header: [u8; VNET_HEADER_LEN], frame: &mut [u8]) -> bool {
    let [
        flags,
        gso_type,
        _,
        _,
        _,
        _,
        start_low,
        start_high,
        offset_low,
        offset_high,
    ] = header;
    // An aggregate is one long, valid TCP segment to us. Aggregates of other kinds aren't.
    if !matches!(gso_type & !VNET_GSO_ECN, VNET_GSO_NONE | VNET_GSO_TCPV4) {
        return false;
    }
    if flags & VNET_NEEDS_CHECKSUM == 0 {
        return true;
    }
    let start = usize::from(u16::from_ne_bytes([start_low, start_high]));
    let offset = usize::from(u16::from_ne_bytes([offset_low, offset_high]));
    complete_checksum(frame, start, offset)
}

/// The field already holds the pseudo header's sum, so the sum over all from `start` is complete.
fn complete_checksum(frame: &mut [u8], start: usize, offset: usize) -> bool {
    if start < HEADER_LEN || start >= frame.len() {
        return false;
    }
    let sum = match checksum(&[&frame[start..]]) {
        0 => 0xffff, // in UDP, zero would mean "none"; in TCP both mean the same
        sum => sum,
    };
    let field = frame[start..]
        .get_mut(offset..)
        .and_then(|rest| rest.first_chunk_mut::<2>());
    let Some(field) = field else { return false };
    *field = sum.to_be_bytes();
    true
}

fn packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes three integers and touches no memory of ours. Protocol 0 receives
    // nothing until `bind` names one.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, it is open, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The size of a plain value as the kernel wants it.
fn socklen_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of::<T>()).unwrap_or(0)
}

fn set_option(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = socklen_of::<libc::c_int>();
    // SAFETY: setsockopt(2) wants an open descriptor and `length` readable bytes.
    // - Descriptor: borrowed from an `OwnedFd`, so open.
    // - Bytes: `value` is a live c_int and `length` is its size; the call only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn bind(socket: &OwnedFd, interface_index: u32) -> io::Result<()> {
    let everything = u16::try_from(libc::ETH_P_ALL).unwrap_or(0).to_be();
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or(0),
        sll_protocol: everything,
        sll_ifindex: i32::try_from(interface_index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = socklen_of::<libc::sockaddr_ll>();
    // SAFETY: bind(2) wants an open descriptor and `length` readable bytes of an address.
    // - Descriptor: borrowed from an `OwnedFd`, so open.
    // - Bytes: `address` is live and whole, `length` is its size; the call only reads it.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Room for one control message with `tpacket_auxdata`, aligned as `cmsghdr` wants it.
#[repr(align(8))]
struct Control([u8; 64]);

fn receive_message(
    socket: &OwnedFd,
    header: &mut [u8; VNET_HEADER_LEN],
    buffer: &mut [u8],
) -> io::Result<Beside> {
    let room = buffer.len().min(FRAME_LEN_MAX);
    let mut parts = [
        libc::iovec {
            iov_base: header.as_mut_ptr().cast(),
            iov_len: header.len(),
        },
        libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: room,
        },
    ];
    let mut control = Control([0; 64]);
    // SAFETY: all-zero is a valid `msghdr`: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len();
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: recvmsg(2) wants an open descriptor and a `msghdr` whose pointers are writable for
    // the lengths beside them.
    // - Descriptor: borrowed from an `OwnedFd`, so open.
    // - `parts` point into `header` and `buffer`, mutably borrowed here, with lengths within them.
    // - `control` is live, mutable and as long as `msg_controllen` says.
    let received =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let length = received.checked_sub(VNET_HEADER_LEN);
    Ok(Beside {
        length: length.unwrap_or(0).min(room),
        truncated: length.is_none() || message.msg_flags & libc::MSG_TRUNC != 0,
        tag: stripped_tag(&control.0, message.msg_controllen),
    })
}

/// Reads the VLAN tag from the control bytes: one `cmsghdr` (16 bytes) and a `tpacket_auxdata`.
fn stripped_tag(control: &[u8], length: usize) -> Option<u16> {
    const HEADER: usize = mem::size_of::<libc::cmsghdr>();
    let bytes = control.get(..length)?;
    let level = i32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*bytes.get(12..)?.first_chunk()?);
    if level != libc::SOL_PACKET || kind != libc::PACKET_AUXDATA {
        return None;
    }
    let data = bytes.get(HEADER..)?;
    let status = u32::from_ne_bytes(*data.first_chunk()?);
    let at = mem::offset_of!(libc::tpacket_auxdata, tp_vlan_tci);
    let tag = u16::from_ne_bytes(*data.get(at..)?.first_chunk()?);
    (status & libc::TP_STATUS_VLAN_VALID != 0).then_some(tag)
}

/// Fuzz target: a hostile frame behind any offload header and tag never panics.
pub fn fuzz_offload(data: &[u8]) {
    let Some((header, rest)) = data.split_first_chunk::<VNET_HEADER_LEN>() else {
        return;
    };
    let Some((tag, frame)) = rest.split_first_chunk::<2>() else {
        return;
    };
    let mut frame = frame.to_vec();
    let length = frame.len();
    let _ = sort_by_vlan(None, Some(u16::from_ne_bytes(*tag)), &frame);
    let _ = apply_offload(*header, &mut frame);
    let _ = stripped_tag(data, data.len());
    assert_eq!(
        frame.len(),
        length,
        "an offload never changes a frame's length"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_port_takes_only_the_frames_of_its_own_network() {
        let plain = [&[0u8; 12][..], &[8, 0]].concat();
        let tagged = [&[0u8; 12][..], &[0x81, 0]].concat();
        //                      port     stripped tag   frame     taken
        assert!( sort_by_vlan(None,      None,          &plain));
        assert!( sort_by_vlan(None,      Some(0x6000),  &plain)); // priority only
        assert!(!sort_by_vlan(None,      Some(7),       &plain));
        assert!( sort_by_vlan(Some(7),   Some(0x6007),  &plain));
        assert!(!sort_by_vlan(Some(7),   Some(8),       &plain));
        assert!(!sort_by_vlan(Some(7),   None,          &plain));
        assert!(!sort_by_vlan(None,      None,          &tagged));
        assert!(!sort_by_vlan(Some(7),   Some(7),       &tagged)); // QinQ
        assert!(!sort_by_vlan(None,      None,          &plain[..13]));
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn an_offload_header_that_lies_is_refused() {
        let mut frame = vec![0u8; 60];
        let mut check = |flags: u8, gso: u8, start: u16, offset: u16| {
            let [sl, sh] = start.to_ne_bytes();
            let [ol, oh] = offset.to_ne_bytes();
            apply_offload([flags, gso, 0, 0, 0, 0, sl, sh, ol, oh], &mut frame)
        };
        //            flags gso start  offset
        assert!( check(0,   0,   0,     0));
        assert!( check(1,   1,   34,    16));
        assert!( check(1,   0x81, 34,   16));
        assert!( check(1,   0,   58,    0)); // the last two bytes
        assert!(!check(1,   0,   58,    1));
        assert!(!check(1,   0,   60,    0));
        assert!(!check(1,   0,   0,     0)); // inside the Ethernet header
        assert!(!check(1,   0,   65535, 65535));
        assert!(!check(0,   3,   0,     0)); // an aggregate of UDP
        assert!(!check(0,   4,   0,     0)); // TCP over IPv6
    }
}
