//! The TFTP server: sends files to firmwares, in windows, with retries.
//!
//! Does:      grants options within its limits, sends windows of blocks, repeats on silence.
//! Does not:  own files or sockets: the caller brings `Files` and carries datagrams. A transfer is
//!            known by its client's address and port, so one socket can serve all.
//! Bounds:    `TRANSFERS_MAX` transfers, `WINDOW_MAX` blocks on the way each, `TRIES_MAX` repeats.
//!            A request beyond the maximum is dropped, so the client asks again (`refused`).
//! Trusts:    nobody: a packet from a stranger is counted and ignored.
//! Start at:  `Server::handle_datagram`.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;

use super::packet::{self, ErrorCode, Packet, Request};

/// Transfers at once: four racks that boot together.
pub const TRANSFERS_MAX: usize = 64;

/// Blocks that may be on the way to one client. More than this overruns small receivers.
pub const WINDOW_MAX: u64 = 16;

/// Repeats without any progress before a client counts as gone.
const TRIES_MAX: u32 = 6;

/// Silence before a repeat, unless the client asks for another time.
const TIMEOUT_MS: u64 = 1_000;
const TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=255;

const BLOCK_LEN_DEFAULT: u64 = 512;
const BLOCK_LEN_MIN: u64 = 8;

/// IPv4, UDP and TFTP headers before a block.
const HEADERS_LEN: u64 = 20 + 8 + 4;

/// RFC 1350's code of an error that ends a transfer on purpose: the client only wanted the size.
const CLIENT_IS_DONE: u16 = 8;

/// Where files come from. A name that exists keeps its length for as long as the server lives.
pub trait Files {
    /// `None`: no such file.
    fn length(&mut self, name: &str) -> Option<u64>;

    /// Fills `buffer` from `offset`, which with it lies inside the file. False: it can't.
    fn read(&mut self, name: &str, offset: u64, buffer: &mut [u8]) -> bool;
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Complete,
    /// The client said stop, which is usual after it learned the size.
    Stopped,
    /// The client vanished.
    Silent,
    /// The file could not be read.
    Broken,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Send {
        to: SocketAddrV4,
        bytes: Vec<u8>,
    },
    Finished {
        client: SocketAddrV4,
        name: String,
        length: u64,
        end: End,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub requests: u64,
    /// Names that we don't have.
    pub not_found: u64,
    /// Requests beyond `TRANSFERS_MAX`.
    pub refused: u64,
    /// Packets of no transfer, or no TFTP at all.
    pub stray: u64,
    pub repeats: u64,
    pub complete: u64,
}

#[derive(Debug)]
struct Transfer {
    name: String,
    length: u64,
    block_len: u64,
    window: u64,
    timeout_ms: u64,
    /// The answer to the options, until the client acknowledges it.
    option_answer: Option<Vec<u8>>,
    /// Blocks that the client has. The last of the file is number `blocks`.
    acknowledged: u64,
    /// The highest block sent.
    sent: u64,
    blocks: u64,
    tries: u32,
    /// A repeated acknowledgement brings one repeat, not one per packet in flight.
    has_repeated: bool,
    next_ms: u64,
}

#[derive(Debug)]
pub struct Server<F> {
    files: F,
    /// The interface's: no block is fragmented.
    mtu: u16,
    transfers: BTreeMap<SocketAddrV4, Transfer>,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl<F: Files> Server<F> {
    pub fn new(files: F, mtu: u16) -> Server<F> {
        Server {
            files,
            mtu,
            transfers: BTreeMap::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub fn transfers(&self) -> usize {
        self.transfers.len()
    }

    /// Call until `None` after each datagram and timeout.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn next_timeout(&self) -> Option<u64> {
        self.transfers
            .values()
            .map(|transfer| transfer.next_ms)
            .min()
    }

    pub fn handle_datagram(&mut self, now_ms: u64, from: SocketAddrV4, bytes: &[u8]) {
        match Packet::parse(bytes) {
            Some(Packet::Read(request)) => self.handle_read(now_ms, from, &request),
            Some(Packet::Write) => {
                self.refuse(from, ErrorCode::IllegalOperation, "This server only reads");
            }
            Some(Packet::Acknowledgement { block }) => self.handle_ack(now_ms, from, block),
            Some(Packet::Error { code, .. }) if self.transfers.contains_key(&from) => {
                let end = if code == CLIENT_IS_DONE {
                    End::Stopped
                } else {
                    End::Silent
                };
                self.finish(from, end);
            }
            _ => self.counters.stray += 1,
        }
    }

    /// Repeats what was not acknowledged in time. Early or repeated calls are harmless.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        let due: Vec<SocketAddrV4> = self
            .transfers
            .iter()
            .filter(|(_, transfer)| transfer.next_ms <= now_ms)
            .map(|(client, _)| *client)
            .collect();
        for client in due {
            self.counters.repeats += 1;
            let Some(transfer) = self.transfers.get_mut(&client) else {
                continue;
            };
            transfer.tries += 1;
            if transfer.tries > TRIES_MAX {
                self.finish(client, End::Silent);
                continue;
            }
            transfer.sent = transfer.acknowledged;
            self.send_window(now_ms, client);
        }
    }

    fn handle_read(&mut self, now_ms: u64, from: SocketAddrV4, request: &Request) {
        self.counters.requests += 1;
        if request.mode != "octet" {
            self.refuse(from, ErrorCode::NotDefined, "Only octet mode is served");
            return;
        }
        if request
            .block_len
            .is_some_and(|length| length < BLOCK_LEN_MIN)
        {
            self.refuse(
                from,
                ErrorCode::OptionsRefused,
                "A block has at least 8 bytes",
            );
            return;
        }
        let Some(length) = self.files.length(&request.name) else {
            self.counters.not_found += 1;
            self.refuse(from, ErrorCode::FileNotFound, "No such file");
            return;
        };
        // A client that asks again did not hear us; its transfer starts over.
        if !self.transfers.contains_key(&from) && self.transfers.len() >= TRANSFERS_MAX {
            self.counters.refused += 1;
            return;
        }
        let transfer = Transfer::new(request, length, self.mtu, now_ms);
        self.transfers.insert(from, transfer);
        self.send_window(now_ms, from);
    }

    fn handle_ack(&mut self, now_ms: u64, from: SocketAddrV4, block: u16) {
        let Some(transfer) = self.transfers.get_mut(&from) else {
            self.counters.stray += 1;
            return;
        };
        if !transfer.take_ack(block) {
            return;
        }
        if transfer.option_answer.is_none() && transfer.acknowledged >= transfer.blocks {
            self.finish(from, End::Complete);
        } else {
            self.send_window(now_ms, from);
        }
    }

    /// Sends the option answer, or all blocks that the window has room for.
    fn send_window(&mut self, now_ms: u64, client: SocketAddrV4) {
        let Some(transfer) = self.transfers.get_mut(&client) else {
            return;
        };
        // Each silence doubles the wait, up to eight times.
        transfer.next_ms = now_ms + (transfer.timeout_ms << transfer.tries.min(3));
        if let Some(answer) = &transfer.option_answer {
            self.outputs.push_back(Output::Send {
                to: client,
                bytes: answer.clone(),
            });
            return;
        }
        let last = (transfer.acknowledged + transfer.window).min(transfer.blocks);
        while transfer.sent < last {
            let Some(bytes) = transfer.block(&mut self.files, transfer.sent + 1) else {
                self.refuse(client, ErrorCode::NotDefined, "The file can't be read");
                self.finish(client, End::Broken);
                return;
            };
            transfer.sent += 1;
            self.outputs.push_back(Output::Send { to: client, bytes });
        }
    }

    fn refuse(&mut self, to: SocketAddrV4, code: ErrorCode, text: &str) {
        self.outputs.push_back(Output::Send {
            to,
            bytes: packet::error(code, text),
        });
    }

    fn finish(&mut self, client: SocketAddrV4, end: End) {
        let Some(transfer) = self.transfers.remove(&client) else {
            return;
        };
        self.counters.complete += u64::from(end == End::Complete);
        let Transfer { name, length, .. } = transfer;
        self.outputs.push_back(Output::Finished {
            client,
            name,
            length,
            end,
        });
    }
}

impl Transfer {
    fn new(request: &Request, length: u64, mtu: u16, now_ms: u64) -> Transfer {
        let fits = u64::from(mtu)
            .saturating_sub(HEADERS_LEN)
            .max(BLOCK_LEN_DEFAULT);
        let block_len = request.block_len.map(|wished| wished.min(fits));
        let window = request.window.filter(|wished| *wished > 0);
        let window = window.map(|wished| wished.min(WINDOW_MAX));
        let timeout = request
            .timeout_seconds
            .filter(|wished| TIMEOUT_SECONDS.contains(wished));
        let granted: Vec<(&str, u64)> = [
            ("blksize", block_len),
            ("tsize", request.wants_size.then_some(length)),
            ("timeout", timeout),
            ("windowsize", window),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        let block_len = block_len.unwrap_or(BLOCK_LEN_DEFAULT);
        Transfer {
            name: request.name.clone(),
            length,
            block_len,
            window: window.unwrap_or(1),
            timeout_ms: timeout.map_or(TIMEOUT_MS, |seconds| seconds * 1000),
            option_answer: (!granted.is_empty()).then(|| packet::option_answer(&granted)),
            acknowledged: 0,
            sent: 0,
            // A file that fills its last block ends with an empty one.
            blocks: length / block_len + 1,
            tries: 0,
            has_repeated: false,
            next_ms: now_ms,
        }
    }

    /// True: something can be sent now, or the transfer is over.
    fn take_ack(&mut self, block: u16) -> bool {
        if self.option_answer.is_some() {
            if block == 0 {
                self.option_answer = None;
                self.tries = 0;
            }
            return block == 0;
        }
        // Numbers roll over after 65,535; the window says which round is meant.
        let ahead = u64::from(block.wrapping_sub(low16(self.acknowledged)));
        if ahead == 0 {
            // In a window it asks for a repeat from here; alone it is a duplicate that must bring
            // nothing, or every packet would be doubled for the rest of the file.
            if self.window == 1 || self.has_repeated || self.sent == 0 {
                return false;
            }
            self.has_repeated = true;
            self.sent = self.acknowledged;
            return true;
        }
        if ahead > self.sent - self.acknowledged {
            return false; // never sent, or from long ago
        }
        self.acknowledged += ahead;
        self.tries = 0;
        self.has_repeated = false;
        // An acknowledgement inside a window means that the next block was lost.
        self.sent = self.acknowledged;
        true
    }

    /// A block as a packet. `None`: the file can't be read.
    fn block(&self, files: &mut impl Files, number: u64) -> Option<Vec<u8>> {
        let offset = (number - 1) * self.block_len;
        let length = usize::try_from(self.block_len.min(self.length - offset)).ok()?;
        let header = packet::data_header(low16(number));
        let mut bytes = vec![0; header.len() + length];
        bytes[..header.len()].copy_from_slice(&header);
        files
            .read(&self.name, offset, &mut bytes[header.len()..])
            .then_some(bytes)
    }
}

/// A block's number as it stands in a packet.
fn low16(number: u64) -> u16 {
    let [.., high, low] = number.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// One file of zeros, for the fuzz target.
struct Zeros;

impl Files for Zeros {
    fn length(&mut self, name: &str) -> Option<u64> {
        (name.len() % 2 == 1).then_some(100_000)
    }

    fn read(&mut self, _: &str, offset: u64, buffer: &mut [u8]) -> bool {
        assert!(
            offset + buffer.len() as u64 <= 100_000,
            "reads stay inside the file"
        );
        true
    }
}

/// Fuzz target: any row of packets from three clients keeps every maximum.
pub fn fuzz_tftp(data: &[u8]) {
    const MTU: u16 = 1500;
    let mut server = Server::new(Zeros, MTU);
    let mut now_ms = 0;
    let mut rest = data;
    while let [step, length, tail @ ..] = rest {
        let (piece, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let from = SocketAddrV4::new([10, 0, 0, 1].into(), 1000 + u16::from(step % 3));
        now_ms += u64::from(*step) * 10;
        server.handle_datagram(now_ms, from, piece);
        server.handle_timeout(now_ms);
        let mut sent = 0;
        while let Some(output) = server.poll_output() {
            let Output::Send { bytes, .. } = output else {
                continue;
            };
            assert!(
                bytes.len() as u64 + HEADERS_LEN - 4 <= u64::from(MTU),
                "never fragmented"
            );
            sent += 1;
        }
        assert!(
            sent <= 4 * WINDOW_MAX + 4,
            "one packet brings a window at most"
        );
        assert!(server.transfers() <= 3, "one transfer per client");
    }
}
