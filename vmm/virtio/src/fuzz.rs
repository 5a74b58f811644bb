//! What a hostile guest can do to each parser, as functions over arbitrary bytes.
//!
//! Does:      plays bytes as guest memory, rings and register accesses, and panics when a device
//!            breaks its word: a head returned twice, a write outside of its buffers, a turn
//!            without end.
//! Does not:  search for inputs; a fuzzer or the corpus brings them.
//! Bounds:    64 KiB of guest memory; `ACCESSES_MAX` accesses per input.
//! Trusts:    nothing: the input plays the guest.
//! Start at:  `fuzz_block`.

use std::cell::RefCell;
use std::collections::VecDeque;

use vm_memory::{Bytes, GuestAddress, VolatileSlice};

use crate::blk::{Block, Disk, DiskError};
use crate::console::{Console, Sink};
use crate::device::{Device, Memory};
use crate::net::{FRAME_BYTES_MAX, NET_HEADER_BYTES, Net, Offloads, Wire};
use crate::pci::{BAR_BYTES, Face, Function, from_cf8, from_ecam};
use crate::ring::CHAINS_PER_TURN_MAX;
use crate::rng::{Entropy, EntropySource};

const MEMORY_BYTES: usize = 64 << 10;
const DISK_BYTES: usize = 16 << 10;
const ACCESSES_MAX: usize = 512;
/// Where the fuzzed rings lie, all inside of the memory.
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const QUEUE_SIZE: u16 = 16;

struct RamDisk {
    bytes: Vec<u8>,
    read_only: bool,
}

impl RamDisk {
    fn range(&self, at: u64, len: usize) -> std::ops::Range<usize> {
        let at = usize::try_from(at).expect("a checked offset fits");
        assert!(
            at + len <= self.bytes.len(),
            "the device asked outside of the disk"
        );
        at..at + len
    }
}

impl Disk for RamDisk {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read(&mut self, at: u64, into: &VolatileSlice<'_>) -> Result<(), DiskError> {
        let range = self.range(at, into.len());
        into.copy_from(&self.bytes[range]);
        Ok(())
    }

    fn write(&mut self, at: u64, from: &VolatileSlice<'_>) -> Result<(), DiskError> {
        assert!(!self.read_only, "a write reached a read-only disk");
        let range = self.range(at, from.len());
        from.copy_to(&mut self.bytes[range]);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// A sink that is full now and then.
#[derive(Default)]
struct Narrow {
    room: usize,
}

impl Sink for Narrow {
    fn room(&self) -> usize {
        self.room
    }

    fn push(&mut self, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.room,
            "more was pushed than there was room for"
        );
        self.room -= bytes.len();
    }
}

struct Sevens;

impl EntropySource for Sevens {
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        buffer.fill(7);
        true
    }
}

/// Bytes of the input, one after the other; zero when they are used up.
struct Input<'a>(RefCell<VecDeque<&'a u8>>);

impl<'a> Input<'a> {
    fn new(data: &'a [u8]) -> Input<'a> {
        Input(RefCell::new(data.iter().collect()))
    }

    fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    fn u8(&self) -> u8 {
        self.0.borrow_mut().pop_front().copied().unwrap_or(0)
    }

    fn u16(&self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    fn u32(&self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }
}

fn memory() -> Memory {
    Memory::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)]).expect("64 KiB can be mapped")
}

fn write_u32<D: Device>(function: &mut Function<D>, memory: &Memory, at: u64, value: u32) {
    function.write_bar(at, &value.to_le_bytes(), memory);
}

/// What a well-behaved driver does until DRIVER_OK, with rings at the fuzzed places.
fn bring_up<D: Device>(function: &mut Function<D>, memory: &Memory) {
    bring_up_with(function, memory, 0);
}

/// The same, with these feature bits of the device's own.
fn bring_up_with<D: Device>(function: &mut Function<D>, memory: &Memory, features: u32) {
    for status in [1u8, 3] {
        function.write_bar(0x14, &[status], memory);
    }
    write_u32(function, memory, 0x08, 1);
    write_u32(function, memory, 0x0c, 1); // VIRTIO_F_VERSION_1
    write_u32(function, memory, 0x08, 0);
    write_u32(function, memory, 0x0c, 1 << 28 | features); // indirect descriptors
    function.write_bar(0x14, &[11], memory);
    for queue in 0..function.queues() {
        function.write_bar(0x16, &queue.to_le_bytes(), memory);
        function.write_bar(0x18, &QUEUE_SIZE.to_le_bytes(), memory);
        let used = used_ring(queue);
        for (at, address) in [(0x20, DESCRIPTORS), (0x28, AVAILABLE), (0x30, used)] {
            function.write_bar(at, &address.to_le_bytes(), memory);
        }
        function.write_bar(0x1c, &1u16.to_le_bytes(), memory);
    }
    function.write_bar(0x14, &[15], memory);
    assert!(
        function.alive(),
        "a well-behaved driver brings the device up"
    );
}

/// The input as descriptor table, available ring and buffers.
fn lay_out(data: &[u8], memory: &Memory) {
    let (table, rest) = data.split_at(data.len().min(usize::from(QUEUE_SIZE) * 16));
    let (available, rest) = rest.split_at(rest.len().min(4 + usize::from(QUEUE_SIZE) * 2));
    let rest = &rest[..rest.len().min(0x4000)];
    for (at, bytes) in [(DESCRIPTORS, table), (AVAILABLE, available), (0x4000, rest)] {
        memory
            .write_slice(bytes, GuestAddress(at))
            .expect("the layout fits into memory");
    }
}

/// Serves all queues until they rest; every used entry must name a head that was available.
fn serve_all<D: Device>(function: &mut Function<D>, memory: &Memory) {
    for queue in 0..function.queues() {
        let before = used_index(queue, memory);
        let mut turns = 0;
        loop {
            let service = function.serve(queue, memory);
            assert!(service.turn.served + service.turn.refused <= CHAINS_PER_TURN_MAX + 1);
            turns += 1;
            assert!(turns < 64, "a queue without end");
            if !service.turn.again {
                break;
            }
        }
        let given = used_index(queue, memory).wrapping_sub(before);
        assert!(
            u32::from(given) <= turns * CHAINS_PER_TURN_MAX,
            "more given back than taken"
        );
    }
}

/// Each queue's own, so that what comes back can be counted.
fn used_ring(queue: u16) -> u64 {
    USED + u64::from(queue) * 0x200
}

fn used_index(queue: u16, memory: &Memory) -> u16 {
    memory
        .read_obj(GuestAddress(used_ring(queue) + 2))
        .expect("the used ring lies in memory")
}

fn run_device<D: Device>(data: &[u8], device: D) {
    let memory = memory();
    let mut function = Function::new(device, 0xc000_0000);
    bring_up(&mut function, &memory);
    lay_out(data, &memory);
    serve_all(&mut function, &memory);
    function.write_bar(0x14, &[0], &memory);
    assert!(!function.alive());
    serve_all(&mut function, &memory);
}

/// Block requests from rings full of nonsense.
pub fn fuzz_block(data: &[u8]) {
    let read_only = data.first().is_some_and(|byte| byte & 1 == 1);
    let disk = RamDisk {
        bytes: vec![0x5a; DISK_BYTES],
        read_only,
    };
    run_device(data.get(1..).unwrap_or_default(), Block::new(disk, "fuzz"));
}

/// Console output into a narrow sink, and input.
pub fn fuzz_console(data: &[u8]) {
    let memory = memory();
    let mut function = Function::new(Console::new(Narrow::default()), 0xc000_0000);
    bring_up(&mut function, &memory);
    lay_out(data, &memory);
    for round in 0..32 {
        let (taken, _) = function.accept(&[1; 48], &memory);
        assert!(taken <= 48);
        function.serve(1, &memory);
        function.device_mut().sink_mut().room = round * 7;
    }
}

/// A wire that takes a frame now and then, and sends what the input says.
struct Loose {
    to_guest: Vec<Vec<u8>>,
    takes: bool,
}

impl Wire for Loose {
    fn receive(&mut self, into: &mut [u8]) -> Option<usize> {
        let packet = self.to_guest.pop()?;
        into[..packet.len()].copy_from_slice(&packet);
        Some(packet.len())
    }

    fn send(&mut self, packet: &[u8]) -> bool {
        let frame = packet.len() - NET_HEADER_BYTES;
        assert!(
            (14..=FRAME_BYTES_MAX).contains(&frame),
            "a frame of {frame}"
        );
        assert!(
            packet[0] <= 1 && [0, 1, 4].contains(&packet[1]),
            "a clean header"
        );
        self.takes = !self.takes;
        self.takes
    }

    fn guest_can(&mut self, _: Offloads) {}
}

/// Frames both ways through rings full of nonsense, with any of the features.
pub fn fuzz_network(data: &[u8]) {
    const OFFERED: u32 = 1 | 1 << 1 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 12 | 1 << 15;
    let (choice, data) = data.split_at(data.len().min(2));
    let choice = choice
        .iter()
        .fold(0, |all, byte| all << 8 | u32::from(*byte));
    let memory = memory();
    let to_guest = data.chunks(1500).take(16).map(<[u8]>::to_vec).collect();
    let wire = Loose {
        to_guest,
        takes: false,
    };
    let mut function = Function::new(Net::new(wire, [2, 0, 0, 0, 0, 1], 1500), 0xc000_0000);
    bring_up_with(&mut function, &memory, choice & OFFERED);
    lay_out(data, &memory);
    serve_all(&mut function, &memory);
    function.device_mut().wire_mut().to_guest = vec![vec![0; 4096]; 3];
    serve_all(&mut function, &memory);
}

/// Requests for randomness.
pub fn fuzz_entropy(data: &[u8]) {
    run_device(data, Entropy::new(Sevens));
}

/// Arbitrary configuration space accesses, by port and ECAM addresses.
pub fn fuzz_config_space(data: &[u8]) {
    let memory = memory();
    let mut function = Function::new(Entropy::new(Sevens), 0xc000_0000);
    let mut before = [0; 64];
    function.read_config(0, &mut before);
    let input = Input::new(data);
    for _ in 0..ACCESSES_MAX {
        if input.is_empty() {
            break;
        }
        let by_port = from_cf8(input.u32() | 0x8000_0000, input.u8() & 3);
        let by_ecam = from_ecam(u64::from(input.u32()));
        for address in by_port.into_iter().chain(by_ecam) {
            assert!(address.device < 32 && address.function < 8 && address.register < 4096);
            let width = [1, 2, 4, 8][usize::from(input.u8() & 3)];
            let bytes: Vec<u8> = (0..width).map(|_| input.u8()).collect();
            function.write_config(address.register, &bytes, &memory);
            function.read_config(address.register, &mut vec![0; width]);
        }
        let mut after = [0; 64];
        function.read_config(0, &mut after);
        assert_eq!(before[..4], after[..4], "identifiers never change");
        if let Some(base) = function.window() {
            assert_eq!(
                base % u64::from(BAR_BYTES),
                0,
                "the BAR stays aligned to its size"
            );
        }
    }
}

/// Arbitrary register accesses to BAR 0 of a console, whose queues lie wherever the input says.
pub fn fuzz_registers(data: &[u8]) {
    let memory = memory();
    let mut function = Function::new(Console::new(Narrow { room: 4096 }), 0xc000_0000);
    let input = Input::new(data);
    for _ in 0..ACCESSES_MAX {
        if input.is_empty() {
            break;
        }
        // Half of the accesses go to the common structure, the others anywhere.
        let choice = input.u8();
        let offset = match choice & 1 {
            0 => u64::from(input.u8() & 0x3f),
            _ => u64::from(input.u32()) % u64::from(BAR_BYTES + 16),
        };
        let width = [1, 2, 4, 8][usize::from(choice >> 1 & 3)];
        let bytes: Vec<u8> = (0..width).map(|_| input.u8()).collect();
        let effects = function.write_bar(offset, &bytes, &memory);
        assert!(effects.kick.is_none_or(|queue| queue < function.queues()));
        assert!(effects.signal < 1 << (function.queues() + 1));
        function.read_bar(offset, &mut vec![0; width]);
        for queue in 0..function.queues() {
            function.serve(queue, &memory);
        }
        function.device_mut().sink_mut().room = 4096;
    }
}

#[cfg(test)]
mod tests {
    use corpus::replay;

    use super::{
        fuzz_block, fuzz_config_space, fuzz_console, fuzz_entropy, fuzz_network, fuzz_registers,
    };

    const HERE: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn no_bytes_break_the_block_device() {
        replay(HERE, "block", fuzz_block);
    }

    #[test]
    fn no_bytes_break_the_console() {
        replay(HERE, "console", fuzz_console);
    }

    #[test]
    fn no_bytes_break_the_network_card() {
        replay(HERE, "network", fuzz_network);
    }

    #[test]
    fn no_bytes_break_the_entropy_device() {
        replay(HERE, "entropy", fuzz_entropy);
    }

    #[test]
    fn no_bytes_break_configuration_space() {
        replay(HERE, "config_space", fuzz_config_space);
    }

    #[test]
    fn no_bytes_break_the_registers() {
        replay(HERE, "registers", fuzz_registers);
    }
}
