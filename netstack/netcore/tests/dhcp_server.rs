//! The DHCP server: what it says to whom, and where it sends it.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddrV4};

use netcore::dhcp::boot::BootFiles;
use netcore::dhcp::message::{Kind, Message};
use netcore::dhcp::options::code;
use netcore::dhcp::server::{Mode, PoolSettings, Quirks, Reply, Server, ServerSettings, Target};
use netcore::dhcp::{CLIENT_PORT, PXE_PORT, SERVER_PORT};
use netcore::ethernet::Mac;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);
const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);

fn server(proxy: bool) -> Server {
    let pool = PoolSettings {
        first: Ipv4Addr::new(10, 0, 0, 50),
        last: Ipv4Addr::new(10, 0, 0, 51),
        prefix_len: 24,
        router: Some(SERVER),
        dns: vec![SERVER],
        ntp: vec![],
        domain: None,
        lease_seconds: 600,
    };
    let boot = BootFiles {
        tftp_server: SERVER,
        bios_file: "undionly.kpxe".into(),
        uefi_file: "luc.efi".into(),
        script_url: "http://10.0.0.1/luc.ipxe".into(),
        http_url: "http://10.0.0.1/luc.efi".into(),
    };
    let mode = if proxy { Mode::Proxy } else { Mode::Full(pool) };
    Server::new(ServerSettings {
        address: SERVER,
        mode,
        boot: Some(boot),
        quirks: Quirks::default(),
    })
}

fn request(kind: Kind, dress: impl FnOnce(&mut Message)) -> Message {
    let mut message = Message::new(kind, 7, MAC);
    dress(&mut message);
    message
}

fn ask(server: &mut Server, message: &Message) -> Option<(Reply, Message)> {
    let reply = server.handle_request(0, SERVER_PORT, NOBODY, &message.emit())?;
    let message = Message::parse(&reply.bytes).unwrap();
    Some((reply, message))
}

fn firmware(class: &str, architecture: u16) -> impl Fn(&mut Message) {
    move |message| {
        message.options.set(code::VENDOR_CLASS, class);
        message
            .options
            .set(code::ARCHITECTURE, architecture.to_be_bytes());
        message.options.set(code::MACHINE_ID, [0; 17]);
    }
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_reply_goes_where_its_client_can_hear_it() {
    let station = Target::Station { mac: MAC, address: Ipv4Addr::new(10, 0, 0, 50) };
    let relay = Ipv4Addr::new(10, 9, 9, 9);
    let own = Ipv4Addr::new(10, 0, 0, 50);
    let check = |broadcast, giaddr: Option<Ipv4Addr>, ciaddr: Option<Ipv4Addr>, expected| {
        let kind = if ciaddr.is_some() { Kind::Request } else { Kind::Discover };
        let message = request(kind, |m| {
            m.broadcast = broadcast;
            m.relay = giaddr.unwrap_or(m.relay);
            m.client = ciaddr.unwrap_or(m.client);
        });
        let (reply, _) = ask(&mut server(false), &message).unwrap();
        assert_eq!(reply.target, expected);
    };
    let port = SocketAddrV4::new;
    //   flag   relay        holds      | goes to
    check(true,  None,        None,      Target::Broadcast);
    check(false, None,        None,      station);
    check(false, Some(relay), None,      Target::Address(port(relay, SERVER_PORT)));
    check(true,  Some(relay), None,      Target::Address(port(relay, SERVER_PORT)));
    check(false, None,        Some(own), Target::Address(port(own, CLIENT_PORT)));
    check(true,  None,        Some(own), Target::Address(port(own, CLIENT_PORT)));
}

#[test]
fn each_firmware_is_told_its_own_file_in_its_own_way() {
    let cases: [(&str, u16, &str, bool); 4] = [
        ("PXEClient:Arch:00000", 0, "undionly.kpxe", true),
        ("PXEClient:Arch:00007", 7, "luc.efi", true),
        ("PXEClient:Arch:00009", 9, "luc.efi", true),
        (
            "HTTPClient:Arch:00016",
            16,
            "http://10.0.0.1/luc.efi",
            false,
        ),
    ];
    for proxy in [false, true] {
        for (class, architecture, file, by_tftp) in cases {
            let message = request(Kind::Discover, firmware(class, architecture));
            let (_, offer) = ask(&mut server(proxy), &message).unwrap();
            assert_eq!(offer.kind, Kind::Offer);
            assert_eq!(offer.boot_file, file);
            assert_eq!(offer.options.text(code::BOOT_FILE), Some(file));
            assert_eq!(
                offer.options.bytes(code::BOOT_FILE).unwrap().last(),
                Some(&0)
            );
            assert_eq!(
                offer.options.text(code::VENDOR_CLASS),
                class.split(':').next()
            );
            assert_eq!(offer.options.bytes(code::MACHINE_ID), Some(&[0; 17][..]));
            assert_eq!(offer.next_server, SERVER);
            assert_eq!(offer.options.has(code::TFTP_SERVER_NAME), by_tftp);
            assert_eq!(offer.options.address(code::SERVER_ID), Some(SERVER));
            assert_eq!(
                offer.yours.is_unspecified(),
                proxy,
                "a proxy gives no address"
            );
            assert_eq!(offer.options.has(code::LEASE_TIME), !proxy);
        }
    }
}

#[test]
fn ipxe_gets_a_script_and_not_itself_again() {
    let message = request(Kind::Discover, |m| {
        firmware("PXEClient:Arch:00000", 0)(m);
        m.options.set(code::USER_CLASS, "iPXE");
    });
    let (_, offer) = ask(&mut server(false), &message).unwrap();
    assert_eq!(offer.boot_file, "http://10.0.0.1/luc.ipxe");
    assert_eq!(offer.next_server, SERVER);
}

#[test]
fn a_proxy_answers_firmwares_only() {
    let mut server = server(true);
    assert!(ask(&mut server, &request(Kind::Discover, |_| {})).is_none());
    let arm = request(Kind::Discover, firmware("PXEClient:Arch:00011", 11));
    assert!(
        ask(&mut server, &arm).is_none(),
        "nothing for that processor"
    );
    let bios = request(Kind::Request, firmware("PXEClient:Arch:00000", 0));
    assert!(
        ask(&mut server, &bios).is_none(),
        "that request is the other server's"
    );
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), CLIENT_PORT);
    let reply = server
        .handle_request(0, PXE_PORT, from, &bios.emit())
        .unwrap();
    assert_eq!(
        (reply.kind, reply.target),
        (Kind::Ack, Target::Address(from))
    );
    assert_eq!(reply.source_port, PXE_PORT);
}

#[test]
fn requests_are_acknowledged_refused_or_ignored_by_their_state() {
    let ours = Ipv4Addr::new(10, 0, 0, 50);
    let foreign = Ipv4Addr::new(192, 168, 9, 9);
    let wish = |address: Ipv4Addr, id: Option<Ipv4Addr>| {
        request(Kind::Request, |m| {
            m.options.set_address(code::REQUESTED_ADDRESS, address);
            if let Some(id) = id {
                m.options.set_address(code::SERVER_ID, id);
            }
        })
    };
    let kind = |message: &Message| ask(&mut server(false), message).map(|(reply, _)| reply.kind);
    assert_eq!(kind(&wish(ours, Some(SERVER))), Some(Kind::Ack));
    assert_eq!(
        kind(&wish(ours, Some(foreign))),
        None,
        "it chose another server"
    );
    assert_eq!(
        kind(&wish(ours, None)),
        Some(Kind::Ack),
        "a restarted server confirms"
    );
    assert_eq!(
        kind(&wish(foreign, None)),
        Some(Kind::Nak),
        "the wrong network"
    );
    let renewal = request(Kind::Request, |m| m.client = foreign);
    let (reply, _) = ask(&mut server(false), &renewal).unwrap();
    assert_eq!((reply.kind, reply.target), (Kind::Nak, Target::Broadcast));
    assert_eq!(
        kind(&request(Kind::Inform, |m| m.client = foreign)),
        Some(Kind::Ack)
    );
}

#[test]
fn an_empty_pool_is_silent_and_counted() {
    let mut server = server(false);
    for last in 1..=3 {
        let mut message = request(Kind::Discover, |_| {});
        message.mac = Mac([2, 0, 0, 0, 1, last]);
        assert_eq!(ask(&mut server, &message).is_some(), last < 3);
    }
    assert_eq!(server.counters().pool_empty, 1);
}
