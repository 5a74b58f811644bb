//! Our stack on AF_PACKET against Linux and dnsmasq, over a veth pair in a network namespace.
//!
//! Needs root; without it, or without a tool, a test says why it is skipped.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use netio::executor::{Executor, Handle};
use netio::frame::{AfPacket, AfPacketSettings, Mac};
use netio::host::{self, DhcpClient, DhcpEvent, DhcpSettings, HostStack, StackSettings};

/// Set in the copy of this program that runs inside the namespace.
const INSIDE: &str = "LUC_TEST_INSIDE_NAMESPACE";

/// The kernel's end of the pair, and ours.
const LINUX: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

const LENGTH: usize = 32 * 1024 * 1024;

/// Runs the test named `name` again, inside a fresh namespace. False: this is that run.
fn runs_outside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: {name} needs root for a network namespace");
        return true;
    }
    let status = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed inside its namespace");
    true
}

fn ip(arguments: &str) -> bool {
    Command::new("ip")
        .args(arguments.split(' '))
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

fn veth_pair() {
    for arguments in [
        "link set lo up",
        "link add ours type veth peer name linux",
        "link set ours up",
        "link set linux up",
        "address add 10.77.0.1/24 dev linux",
    ] {
        assert!(ip(arguments), "ip {arguments}");
    }
}

fn read_number(interface: &str, file: &str) -> u32 {
    let text = fs::read_to_string(format!("/sys/class/net/{interface}/{file}"));
    // sysfs shows the namespace that mounted it, so ask `ip` when it does not know ours.
    match text {
        Ok(text) => text.trim().parse().unwrap(),
        Err(_) => {
            let shown = Command::new("ip")
                .args(["-o", "link", "show", interface])
                .output()
                .unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            shown.split(':').next().unwrap().trim().parse().unwrap()
        }
    }
}

fn port(vlan: Option<u16>) -> AfPacket {
    let interface_index = read_number("ours", "ifindex");
    AfPacket::open(AfPacketSettings {
        interface_index,
        vlan,
    })
    .unwrap()
}

/// Linux drops what is not for the interface's own MAC only in hardware, so any MAC will do.
fn stack(executor: &Handle, vlan: Option<u16>, last: u8) -> HostStack {
    let mac = Mac([2, 0, 0, 0, 77, last]);
    HostStack::start(executor, port(vlan), StackSettings::new(mac, 1500)).unwrap()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from((at / 7 + at) & 0xff).unwrap())
        .collect()
}

/// Segments of 64 KiB with unfinished checksums go one way, full frames the other.
#[test]
fn tcp_with_linux_carries_both_ways() {
    if runs_outside("tcp_with_linux_carries_both_ways") {
        return;
    }
    veth_pair();
    let listener = TcpListener::bind((LINUX, 80)).unwrap();
    let linux = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&pattern(LENGTH)).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(back == pattern(LENGTH), "what came back is what was sent");
    });
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let stack = stack(&handle, None, 2);
    stack.set_address(OURS, 24, None);
    executor.block_on(async {
        stack.ping(LINUX, 2_000).await.unwrap();
        let stream = host::tcp_connect(&stack, SocketAddrV4::new(LINUX, 80))
            .await
            .unwrap();
        let started_ms = handle.now_ms();
        let mut received = vec![0; LENGTH];
        let mut have = 0;
        while have < LENGTH {
            have += stream.read(&mut received[have..]).await.unwrap();
        }
        println!(
            "{} MiB from Linux in {} ms",
            LENGTH >> 20,
            handle.now_ms() - started_ms
        );
        assert!(received == pattern(LENGTH));
        let started_ms = handle.now_ms();
        stream.write_all(&received).await.unwrap();
        stream.shutdown();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
        println!(
            "{} MiB to Linux in {} ms",
            LENGTH >> 20,
            handle.now_ms() - started_ms
        );
    });
    linux.join().unwrap();
}

#[test]
fn linux_connects_to_our_listener_and_sees_no_reset() {
    if runs_outside("linux_connects_to_our_listener_and_sees_no_reset") {
        return;
    }
    veth_pair();
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let stack = stack(&handle, None, 2);
    stack.set_address(OURS, 24, None);
    let mut listener = host::TcpListener::bind(&stack, 80, 64).unwrap();
    let linux = thread::spawn(|| {
        let mut streams: Vec<TcpStream> = (0..50)
            .map(|_| TcpStream::connect((OURS, 80)).unwrap())
            .collect();
        for stream in &mut streams {
            let mut greeting = [0; 5];
            stream.read_exact(&mut greeting).unwrap();
            assert_eq!(&greeting, b"hello");
        }
    });
    executor.block_on(async {
        for _ in 0..50 {
            listener
                .accept()
                .await
                .unwrap()
                .write_all(b"hello")
                .await
                .unwrap();
        }
        handle.sleep(300).await;
    });
    linux.join().unwrap();
}

/// A connection from a port of the client's choice, as a client that reuses ports makes it.
fn connect_from(port: u16) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    bind(&socket, &SocketAddrV4::new(LINUX, port)).unwrap();
    // Until our last acknowledgement is in, Linux keeps the old connection of that port.
    for _ in 0..1000 {
        match connect(&socket, &SocketAddrV4::new(OURS, 80)) {
            Err(rustix::io::Errno::ADDRNOTAVAIL) => thread::sleep(Duration::from_millis(1)),
            connected => {
                connected.unwrap();
                return TcpStream::from(socket);
            }
        }
    }
    panic!("Linux never let go of port {port}");
}

/// asterinas#1531: the old connection of that port waits in TIME-WAIT on our side.
#[test]
fn a_reused_port_gets_its_connection_at_once() {
    if runs_outside("a_reused_port_gets_its_connection_at_once") {
        return;
    }
    veth_pair();
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let stack = stack(&handle, None, 2);
    stack.set_address(OURS, 24, None);
    let mut listener = host::TcpListener::bind(&stack, 80, 8).unwrap();
    let started_ms = handle.now_ms();
    let linux = thread::spawn(|| {
        for _ in 0..20 {
            let mut greeting = Vec::new();
            connect_from(4000).read_to_end(&mut greeting).unwrap();
            assert_eq!(greeting, b"hello");
        }
    });
    executor.block_on(async {
        for _ in 0..20 {
            let accepted = handle.timeout(10_000, listener.accept()).await.unwrap();
            accepted.unwrap().write_all(b"hello").await.unwrap();
        }
        handle.sleep(100).await;
    });
    linux.join().unwrap();
    assert!(
        handle.now_ms() - started_ms < 5_000,
        "no connection waited for TIME-WAIT to end"
    );
}

/// FDio/vpp#458: a datagram of a veth peer has only half a checksum.
#[test]
fn datagrams_with_unfinished_checksums_are_read() {
    if runs_outside("datagrams_with_unfinished_checksums_are_read") {
        return;
    }
    veth_pair();
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let stack = stack(&handle, None, 2);
    stack.set_address(OURS, 24, None);
    let ours = host::UdpSocket::bind(&stack, 5000).unwrap();
    let linux = UdpSocket::bind((LINUX, 5001)).unwrap();
    linux.set_nonblocking(true).unwrap();
    executor.block_on(async {
        // Linux has to ask for our MAC first, so its datagram may wait for a moment.
        linux.send_to(b"from Linux", (OURS, 5000)).unwrap();
        let mut buffer = [0; 64];
        let received = handle
            .timeout(3_000, ours.recv_from(&mut buffer))
            .await
            .unwrap();
        let (length, from, _) = received.unwrap();
        assert_eq!(&buffer[..length], b"from Linux");
        ours.send_to(b"to Linux", from).await.unwrap();
        handle
            .timeout(3_000, handle.readable(&linux))
            .await
            .unwrap()
            .unwrap();
        let (length, _) = linux.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"to Linux");
    });
}

#[test]
fn networks_on_one_cable_stay_apart() {
    if runs_outside("networks_on_one_cable_stay_apart") {
        return;
    }
    veth_pair();
    if !ip("link add link linux name linux.7 type vlan id 7") {
        println!("skipped: this kernel has no VLANs");
        return;
    }
    assert!(ip("link set linux.7 up") && ip("address add 10.78.0.1/24 dev linux.7"));
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (plain, tagged) = (stack(&handle, None, 2), stack(&handle, Some(7), 3));
    plain.set_address(OURS, 24, None);
    tagged.set_address(Ipv4Addr::new(10, 78, 0, 2), 24, None);
    executor.block_on(async {
        plain.ping(LINUX, 2_000).await.unwrap();
        tagged
            .ping(Ipv4Addr::new(10, 78, 0, 1), 2_000)
            .await
            .unwrap();
        tagged.ping(LINUX, 300).await.unwrap_err();
        plain
            .ping(Ipv4Addr::new(10, 78, 0, 1), 300)
            .await
            .unwrap_err();
    });
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn dnsmasq_gives_an_address_and_answers_names() {
    if runs_outside("dnsmasq_gives_an_address_and_answers_names") {
        return;
    }
    veth_pair();
    let dnsmasq = Command::new("dnsmasq")
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--interface=linux",
        ])
        .args([
            "--bind-interfaces",
            "--dhcp-range=10.77.0.100,10.77.0.110,255.255.255.0,2m",
        ])
        .args([
            "--dhcp-option=option:ntp-server,10.77.0.1",
            "--domain=luc.test",
        ])
        .args([
            "--address=/node.luc.test/10.77.0.42",
            "--no-resolv",
            "--dhcp-authoritative",
        ])
        .args([
            "--leasefile-ro",
            "--user=root",
            "--log-facility=-",
            "--pid-file=",
        ])
        .stderr(Stdio::null())
        .spawn();
    let Ok(dnsmasq) = dnsmasq else {
        println!("skipped: dnsmasq is not installed");
        return;
    };
    let _dnsmasq = Killed(dnsmasq);
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let stack = stack(&handle, None, 2);
    let settings = DhcpSettings {
        host_name: Some("node-1".into()),
        vendor_class: None,
    };
    let mut client = DhcpClient::new(&stack, settings).unwrap();
    executor.block_on(async {
        let event = handle.timeout(15_000, client.next_event()).await.unwrap();
        let DhcpEvent::Bound(lease) = event else {
            panic!("{event:?}")
        };
        println!("{lease:?}");
        assert_eq!(lease.prefix_len, 24);
        assert_eq!(lease.server, LINUX);
        assert_eq!(lease.dns, [LINUX]);
        assert_eq!(lease.ntp, [LINUX]);
        assert_eq!(lease.domain.as_deref(), Some("luc.test"));
        let found = stack.resolve("node.luc.test").await.unwrap();
        assert_eq!(found, [Ipv4Addr::new(10, 77, 0, 42)]);
        let error = stack.resolve("missing.invalid").await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        // A flap: the lease is confirmed, the address stays.
        client.carrier_changed(false);
        client.carrier_changed(true);
        handle
            .timeout(3_000, client.next_event())
            .await
            .unwrap_err();
        assert_eq!(stack.address(), Some((lease.address, 24)));
    });
}
