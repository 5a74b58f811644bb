//! Control channel: what a parent and the jailed child of one VM say to each other.
//!
//! Does:      defines the packets, writes and reads them on a SOCK_SEQPACKET socket.
//! Does not:  start processes (`spawn`), or decide anything about a VM.
//! Bounds:    one packet <= `PACKET_MAX`; `DISKS_MAX` disks, `NICS_MAX` cards; descriptors only
//!            beside `Start`.
//! Trusts:    nothing: a child may have been taken over by its guest, so the parent reads every
//!            event as a claim; the child trusts its parent once, for `Start`.
//! Start at:  `Request`, `Event`, then `send_start`.
//!
//! The life of one child, seen by the parent:
//! ```text
//! Start -> Jailed -> Started -> Running -> (GuestShutdown | GuestReset | TripleFault | Killed
//!                                           | Failed) -> Exited -> end of stream, process gone
//! ```
//! **A child lives for one boot.** When the guest resets (or `Request::Reset` asks for it) the
//! child reports `GuestReset` and ends; the parent starts a new child, with a new console
//! socket, to boot the VM again. So every boot gets fresh memory and a fresh jail, and the
//! system-call filter never has to allow the building of a machine after a guest ran.
//! A stream that ends without `Exited` means that the child was killed or crashed.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// First byte of each packet; both ends are the same binary, so no older version is read.
pub const VERSION: u8 = 1;
/// A packet, with the longest command line and all disks. A longer one is refused.
pub const PACKET_MAX: usize = 8 << 10;
/// Disks of one VM. More are refused at `Start`.
pub const DISKS_MAX: usize = 8;
/// Network cards of one VM. More are refused at `Start`.
pub const NICS_MAX: usize = 4;
/// Virtual CPUs of one VM. More are refused at `Start`.
pub const VCPUS_MAX: u8 = 8;
/// The least memory that a stock kernel and an initrd can start with.
pub const MEMORY_MIN_MIB: u32 = 48;
/// Guest memory limit: 256 GiB, well inside the 64-bit window of the address map.
pub const MEMORY_MAX_MIB: u32 = 256 << 10;
/// The kernel's own limit on x86 is 2,048 bytes with the final NUL.
pub const CMDLINE_MAX: usize = 2047;
/// Descriptors beside `Start`: kvm, console, kernel, initrd, disks, network cards.
pub const FDS_MAX: usize = 4 + DISKS_MAX + NICS_MAX;

/// One disk; its descriptor travels beside `Start`, in the order of `Start::disks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// The guest can't write; the descriptor should be read-only too.
    pub read_only: bool,
}

/// What the other end of a network card is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NicKind {
    /// A TAP device with virtio-net headers of 12 bytes, opened without packet information.
    Tap,
    /// A `SOCK_SEQPACKET` socket to a switch; each packet is a header and a frame.
    Socket,
}

/// One network card; its descriptor travels beside `Start`, after those of the disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicSpec {
    /// What the descriptor is.
    pub kind: NicKind,
    /// The guest's hardware address.
    pub mac: [u8; 6],
    /// What the guest may send in one packet of IP.
    pub mtu: u16,
}

/// What machine to build. The descriptors come in this order:
/// `/dev/kvm`, console (unix stream socket), kernel, `[initrd]`, disks, network cards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// For messages only.
    pub name: String,
    /// 1..=`VCPUS_MAX`.
    pub vcpus: u8,
    /// `MEMORY_MIN_MIB..=MEMORY_MAX_MIB`.
    pub memory_mib: u32,
    /// Passed to the guest's kernel as it is.
    pub cmdline: String,
    /// Whether an initrd's descriptor follows the kernel's.
    pub initrd: bool,
    /// In the order of their descriptors; the guest sees vda, vdb, ...
    pub disks: Vec<DiskSpec>,
    /// In the order of their descriptors; the guest sees eth0, eth1, ...
    pub nics: Vec<NicSpec>,
    /// User and group that the child becomes when it starts as root.
    pub uid: u32,
    /// How the child locks itself in.
    pub jail: Jail,
}

/// How much of the jail is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Jail {
    /// Namespaces, empty root, user, limits, system-call filter; any refusal stops the start.
    Full,
    /// Only limits and the system-call filter: for hosts that refuse namespaces, on request.
    WithoutNamespaces,
}

/// From the parent to the child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The first packet, and only the first.
    Start(Start),
    /// Press the ACPI power button: the guest is asked to shut down.
    PowerButton,
    /// Stop now and report `GuestReset`, as if the guest had asked.
    Reset,
    /// Stop now and report `Killed`.
    Kill,
}

/// How far a start came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Reading the `Start` packet.
    Request,
    /// Entering namespaces, dropping rights, limits, filters.
    Jail,
    /// Loading kernel, initrd and command line.
    Boot,
    /// Creating the machine in KVM.
    Machine,
    /// The guest runs.
    Run,
}

/// How the kernel was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// Decompressed by us and entered at its 64-bit entry.
    Vmlinux,
    /// The kernel decompresses itself.
    BzImage,
}

/// Counted behaviour of one child, reported once at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Port and memory-mapped accesses that vCPU threads served.
    pub exits: u64,
    /// Accesses to addresses where nothing is.
    pub unclaimed: u64,
    /// Bytes the guest wrote to its consoles.
    pub console_out: u64,
    /// Bytes that went from the console socket to the guest.
    pub console_in: u64,
    /// Times a vCPU had to wait for the console's reader.
    pub console_waits: u64,
    /// Requests served by virtio devices: disk, entropy, console buffers.
    pub requests: u64,
    /// Requests refused because the guest built them badly.
    pub bad_requests: u64,
}

/// From the child to the parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The walls stand; the guest's kernel was not touched before this.
    Jailed,
    /// Machine built, kernel loaded, vCPUs about to run.
    Started {
        /// How the kernel is entered.
        entry: Entry,
        /// Microseconds from `Start` to `Jailed`, and from there to now.
        jail_us: u64,
        /// See `jail_us`.
        build_us: u64,
    },
    /// The guest made its first access to one of its devices.
    Running {
        /// Microseconds since `Started`.
        first_exit_us: u64,
    },
    /// Something odd that doesn't stop the VM, in words.
    Warning(String),
    /// The guest asked for a reset, or `Request::Reset` did.
    GuestReset,
    /// The guest powered itself off.
    GuestShutdown,
    /// A vCPU gave up on a fault inside a fault inside a fault; a PC resets then.
    TripleFault {
        /// Which.
        vcpu: u8,
    },
    /// `Request::Kill` was obeyed.
    Killed,
    /// The VM can't go on. `reason` is a sentence for the operator.
    Failed {
        /// Where it happened.
        stage: Stage,
        /// What was tried, on what, and the advice.
        reason: String,
    },
    /// The last packet.
    Exited(Counters),
}

/// Sends the first packet with its descriptors (see `Start` for their order).
pub fn send_start(socket: BorrowedFd<'_>, start: Start, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > FDS_MAX {
        return Err(invalid("more descriptors than a VM can have"));
    }
    let bytes = encode(&Request::Start(start))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(invalid("the descriptors don't fit beside the packet"));
    }
    sendmsg(
        socket,
        &[IoSlice::new(&bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Sends a request to the child.
pub fn send(socket: BorrowedFd<'_>, request: &Request) -> io::Result<()> {
    send_packet(socket, request)
}

/// Sends an event to the parent.
pub fn send_event(socket: BorrowedFd<'_>, event: &Event) -> io::Result<()> {
    send_packet(socket, event)
}

/// The child's next event. `None`: the stream has ended. A non-blocking socket without a packet
/// gives `ErrorKind::WouldBlock`; a malformed packet gives `ErrorKind::InvalidData`.
pub fn recv(socket: BorrowedFd<'_>) -> io::Result<Option<Event>> {
    Ok(recv_packet(socket)?.map(|(event, _)| event))
}

/// The parent's next request with the descriptors beside it; as `recv` otherwise.
pub fn recv_request(socket: BorrowedFd<'_>) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
    recv_packet(socket)
}

fn send_packet<T: Serialize>(socket: BorrowedFd<'_>, value: &T) -> io::Result<()> {
    let bytes = encode(value)?;
    rustix::net::send(socket, &bytes, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn recv_packet<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = [0u8; PACKET_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let mut fds = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    if message.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((decode(&bytes[..message.bytes])?, fds)))
}

pub(crate) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let bytes = postcard::to_extend(value, vec![VERSION]).map_err(|_| invalid("encoding"))?;
    if bytes.len() > PACKET_MAX {
        return Err(invalid("the packet is longer than the channel carries"));
    }
    Ok(bytes)
}

/// Reads one packet's bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|_| invalid("malformed control packet"))
        }
        _ => Err(invalid("control packet of another version")),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
