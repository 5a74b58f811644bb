//! The block device as a driver sees it: requests through a real ring, answers by table.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::sync::{Arc, Mutex};

use virtio::pci::{Face, Function};
use virtio::{Block, Disk, DiskError, Memory};
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const HEADER: u64 = 0x4000;
const DATA: u64 = 0x5000;
const STATUS: u64 = 0x7000;
const SECTORS: usize = 8;

const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const ID: u32 = 8;
const DISCARD: u32 = 11;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// A disk in memory whose sector `n` is filled with `n`.
#[derive(Clone)]
struct RamDisk {
    bytes: Arc<Mutex<Vec<u8>>>,
    read_only: bool,
    broken: bool,
}

impl Disk for RamDisk {
    fn len(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read(&mut self, at: u64, into: &VolatileSlice<'_>) -> Result<(), DiskError> {
        let at = at as usize;
        into.copy_from(&self.bytes.lock().unwrap()[at..at + into.len()]);
        if self.broken { Err(DiskError) } else { Ok(()) }
    }

    fn write(&mut self, at: u64, from: &VolatileSlice<'_>) -> Result<(), DiskError> {
        let at = at as usize;
        from.copy_to(&mut self.bytes.lock().unwrap()[at..at + from.len()]);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        if self.broken { Err(DiskError) } else { Ok(()) }
    }
}

struct Driver {
    function: Function<Block<RamDisk>>,
    memory: Memory,
    disk: RamDisk,
    next: u16,
}

impl Driver {
    fn new(read_only: bool, broken: bool) -> Driver {
        let bytes = (0..SECTORS * 512).map(|at| (at / 512) as u8).collect();
        let disk = RamDisk {
            bytes: Arc::new(Mutex::new(bytes)),
            read_only,
            broken,
        };
        let memory = Memory::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap();
        let mut function = Function::new(Block::new(disk.clone(), "disk0"), 0xc000_0000);
        for (at, value) in [(0x14, 3u64), (0x08, 1), (0x0c, 1), (0x14, 11)] {
            let width = if at == 0x14 { 1 } else { 4 };
            function.write_bar(at, &value.to_le_bytes()[..width], &memory);
        }
        for (at, value) in [(0x20, DESCRIPTORS), (0x28, AVAILABLE), (0x30, USED)] {
            function.write_bar(at, &value.to_le_bytes(), &memory);
        }
        function.write_bar(0x1c, &[1, 0], &memory);
        function.write_bar(0x14, &[15], &memory);
        assert!(function.alive());
        Driver {
            function,
            memory,
            disk,
            next: 0,
        }
    }

    /// One request with a data buffer of `len` bytes. Returns the status and the bytes written.
    fn request(&mut self, kind: u32, sector: u64, len: u32) -> (u8, u32) {
        let mut header = kind.to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(sector.to_le_bytes());
        self.memory
            .write_slice(&header, GuestAddress(HEADER))
            .unwrap();
        self.memory.write_obj(0xffu8, GuestAddress(STATUS)).unwrap();
        let device_writes = if matches!(kind, READ | ID) { 2 } else { 0 };
        let parts: [(u64, u32, u16, u16); 3] = [
            (HEADER, 16, 1, 1),
            (DATA, len, 1 | device_writes, 2),
            (STATUS, 1, 2, 0),
        ];
        for (number, (address, len, flags, next)) in parts.into_iter().enumerate() {
            let at = GuestAddress(DESCRIPTORS + number as u64 * 16);
            let mut bytes = address.to_le_bytes().to_vec();
            bytes.extend(len.to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            bytes.extend(next.to_le_bytes());
            self.memory.write_slice(&bytes, at).unwrap();
        }
        let entry = AVAILABLE + 4 + u64::from(self.next % 128) * 2;
        self.memory.write_obj(0u16, GuestAddress(entry)).unwrap();
        self.next += 1;
        self.memory
            .write_obj(self.next, GuestAddress(AVAILABLE + 2))
            .unwrap();
        let service = self.function.serve(0, &self.memory);
        assert_eq!(service.turn.served + service.turn.refused, 1);
        let used: u16 = self.memory.read_obj(GuestAddress(USED + 2)).unwrap();
        assert_eq!(used, self.next, "each chain comes back once");
        let entry = USED + 4 + u64::from((self.next - 1) % 128) * 8 + 4;
        let written = self.memory.read_obj(GuestAddress(entry)).unwrap();
        (self.memory.read_obj(GuestAddress(STATUS)).unwrap(), written)
    }

    fn data(&self) -> [u8; 4] {
        self.memory.read_obj(GuestAddress(DATA)).unwrap()
    }
}

#[test]
#[rustfmt::skip] // keeps the columns
fn each_request_gets_the_status_of_the_standard() {
    let mut disk = Driver::new(false, false);
    //                      type     sector   bytes      status       written
    assert_eq!(disk.request(READ,    3,       512),      (OK,          513));
    assert_eq!(disk.data(), [3; 4]);
    assert_eq!(disk.request(READ,    7,       512),      (OK,          513)); // the last one
    assert_eq!(disk.request(READ,    8,       512),      (IO_ERROR,    1)); // behind the end
    assert_eq!(disk.request(READ,    7,       1024),     (IO_ERROR,    1)); // across the end
    assert_eq!(disk.request(READ,    u64::MAX, 512),     (IO_ERROR,    1)); // wraps around
    assert_eq!(disk.request(READ,    0,       100),      (IO_ERROR,    1)); // no whole sector
    assert_eq!(disk.request(FLUSH,   0,       0),        (OK,          1));
    assert_eq!(disk.request(ID,      0,       20),       (OK,          21));
    assert_eq!(disk.data(), *b"disk");
    assert_eq!(disk.request(ID,      0,       4),        (OK,          5)); // a short buffer
    assert_eq!(disk.request(DISCARD, 0,       512),      (UNSUPPORTED, 1));
    assert_eq!(disk.request(99,      0,       512),      (UNSUPPORTED, 1));
}

#[test]
fn what_is_written_is_on_the_disk() {
    let mut driver = Driver::new(false, false);
    driver
        .memory
        .write_slice(&[0xa5; 1024], GuestAddress(DATA))
        .unwrap();
    assert_eq!(driver.request(WRITE, 2, 1024), (OK, 1));
    let bytes = driver.disk.bytes.lock().unwrap().clone();
    assert_eq!(bytes[1024..2048], [0xa5; 1024]);
    assert_eq!((bytes[1023], bytes[2048]), (1, 4), "and nowhere else");
}

#[test]
fn a_read_only_disk_refuses_writes_and_keeps_its_bytes() {
    let mut driver = Driver::new(true, false);
    let before = driver.disk.bytes.lock().unwrap().clone();
    assert_eq!(driver.request(WRITE, 2, 512), (IO_ERROR, 1));
    assert_eq!(driver.request(READ, 2, 512), (OK, 513));
    assert_eq!(*driver.disk.bytes.lock().unwrap(), before);
}

#[test]
fn a_failing_disk_is_an_error_of_the_request_only() {
    let mut driver = Driver::new(false, true);
    assert_eq!(driver.request(READ, 1, 512), (IO_ERROR, 1));
    assert_eq!(driver.request(FLUSH, 0, 0), (IO_ERROR, 1));
    assert!(driver.function.alive());
}

#[test]
fn a_ring_that_jumps_stops_the_device_until_it_is_reset() {
    let mut driver = Driver::new(false, false);
    driver
        .memory
        .write_obj(500u16, GuestAddress(AVAILABLE + 2))
        .unwrap();
    driver.function.serve(0, &driver.memory);
    let mut status = [0];
    driver.function.read_bar(0x14, &mut status);
    assert_eq!(status[0] & 64, 64, "the device says that it needs a reset");
    assert!(!driver.function.alive());
    driver.function.write_bar(0x14, &[0], &driver.memory);
    driver.function.read_bar(0x14, &mut status);
    assert_eq!(status[0], 0);
}
