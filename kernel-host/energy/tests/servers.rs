//! Meters that speak over the network, against servers that speak the real protocols on sockets.
//!
//! Does:      plays BMC, power strip, UPS and inverter on loopback sockets, with the bugs that
//!            real ones had in public; numbers are families of bugs.
//! Does not:  assert on time: deadlines pass by the meter's own clock, which the test moves.
//! Bounds:    one request after another.
//! Trusts:    loopback.
//! Start at:  `round`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods
)] // real sockets

use energy::meter::bank::{Health, Meter, Step};
use energy::meter::dcmi;
use energy::meter::feed::Feed;
use energy::meter::http::Secret;
use energy::meter::nut::Nut;
use energy::meter::redfish::Redfish;
use energy::meter::snmp::Pdu;
use energy::meter::sunspec::Sunspec;
use energy::meter::{Answer, Fault, MS, SECOND, Uptime, Value, Way, Wish, Zone};
use protocol::Microwatts;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers requests on a socket of its own for as long as the test lives.
fn stream_server(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 4096];
            let Ok(count) = stream.read(&mut bytes) else {
                continue;
            };
            let whole = answer(&bytes[..count]);
            // In two pieces: answers come as they like.
            let half = whole.len() / 2;
            let _ = stream.write_all(&whole[..half]);
            let _ = stream.flush();
            let _ = stream.write_all(&whole[half..]);
        }
    });
    at
}

fn datagram_server(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((count, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&answer(&bytes[..count]), from);
        }
    });
    at
}

/// One round of a meter over real sockets.
fn round(meter: &mut Meter, now: Uptime) {
    let Some(mut wish) = meter.poll(now) else {
        panic!("not due: {:?}", meter.next_timeout());
    };
    loop {
        let Wish::Exchange { way, bytes } = wish else {
            panic!("a wish of the network")
        };
        match exchange(meter, now.after(MS), way, &bytes) {
            Step::Fetch(next) => wish = next,
            Step::ReadOn | Step::Over => return,
        }
    }
}

fn exchange(meter: &mut Meter, now: Uptime, way: Way, request: &[u8]) -> Step {
    match way {
        Way::Datagram(at) => {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(request, at).unwrap();
            let mut bytes = [0; 2048];
            let count = socket.recv(&mut bytes).unwrap();
            meter.answered(
                now,
                Answer::Bytes {
                    bytes: &bytes[..count],
                    end: true,
                },
            )
        }
        Way::Stream(at) => {
            let mut stream = TcpStream::connect(at).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            stream.write_all(request).unwrap();
            let (mut all, mut piece) = (Vec::new(), [0; 512]);
            loop {
                let count = stream.read(&mut piece).unwrap();
                all.extend_from_slice(&piece[..count]);
                match meter.answered(
                    now,
                    Answer::Bytes {
                        bytes: &all,
                        end: count == 0,
                    },
                ) {
                    Step::ReadOn => {}
                    step => return step,
                }
            }
        }
        Way::Ipmi { .. } => panic!("no BMC inside"),
    }
}

fn power(meter: &Meter, zone: Zone) -> Option<u64> {
    let reading = meter
        .readings()
        .iter()
        .find(|reading| reading.zone == zone)?;
    reading.value.power().map(|power| power.0)
}

fn http(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const LIST: &str = r#"{"Members":[{"@odata.id":"/redfish/v1/Chassis/1"}]}"#;

/// A BMC with one chassis; paths that are not there answer 404.
fn bmc(environment: Option<&'static str>, power: Option<&'static str>) -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let log = asked.clone();
    let at = stream_server(move |request| {
        let text = String::from_utf8_lossy(request);
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        log.lock().unwrap().push(text.clone().into_owned());
        let found = match path.as_str() {
            "/redfish/v1/Chassis" => Some(LIST),
            "/redfish/v1/Chassis/1/EnvironmentMetrics" => environment,
            "/redfish/v1/Chassis/1/Power" => power,
            _ => None,
        };
        found.map_or_else(|| http(404, "{}"), |body| http(200, body))
    });
    (at, asked)
}

type Asked = Arc<Mutex<Vec<String>>>;

/// 18: documents of four makers, the last two with nothing in them.
#[test]
fn bmcs_of_all_makers_tell_their_power_or_none() {
    let power_control = r#"{"PowerControl":[{"PowerConsumedWatts":212,"PowerCapacityWatts":750}]}"#;
    let cases: [(Option<&str>, Option<&str>, Option<u64>); 6] = [
        (
            Some(r#"{"PowerWatts":{"Reading":344.5}}"#),
            None,
            Some(344_500_000),
        ),
        (
            Some(r#"{"PowerWatts":{"Reading":null}}"#),
            Some(power_control),
            Some(212_000_000),
        ),
        (None, Some(power_control), Some(212_000_000)),
        (
            Some("{}"),
            Some(r#"{"PowerControl":[{}, {"PowerConsumedWatts":99.25}]}"#),
            Some(99_250_000),
        ),
        (
            None,
            Some(r#"{"PowerControl":[{"PowerConsumedWatts":null}]}"#),
            None,
        ),
        (None, None, None),
    ];
    for (environment, power_document, wanted) in cases {
        let (at, asked) = bmc(environment, power_document);
        let mut meter = Meter::new(Box::new(Redfish::new(at, Some(Secret("Basic abc".into())))));
        round(&mut meter, Uptime(SECOND));
        assert_eq!(
            power(&meter, Zone::Wall(0)),
            wanted,
            "{environment:?} {power_document:?}"
        );
        let log = asked.lock().unwrap().clone();
        assert!(
            log.iter()
                .all(|request| request.contains("Authorization: Basic abc\r\n"))
        );
        if wanted.is_some() {
            round(&mut meter, Uptime(60 * SECOND));
            assert_eq!(
                asked.lock().unwrap().len(),
                log.len() + 1,
                "a usual round is one GET"
            );
        }
        let shown = format!("{meter:?}");
        assert!(!shown.contains("abc"), "the password is in no log");
    }
}

/// 18: a BMC that hangs is late by its own deadline, and the one beside it is read meanwhile.
#[test]
fn a_bmc_that_hangs_delays_nobody() {
    let mut hangs = Meter::new(Box::new(Redfish::new("127.0.0.1:9".parse().unwrap(), None)));
    let (at, _) = bmc(Some(r#"{"PowerWatts":{"Reading":100}}"#), None);
    let mut answers = Meter::new(Box::new(Redfish::new(at, None)));
    assert!(hangs.poll(Uptime(SECOND)).is_some());
    round(&mut answers, Uptime(2 * SECOND));
    assert_eq!(power(&answers, Zone::Wall(0)), Some(100_000_000));
    hangs.handle_timeout(Uptime(3 * SECOND));
    assert_eq!(hangs.fault(), None, "still within its time");
    hangs.handle_timeout(Uptime(60 * SECOND));
    assert_eq!(hangs.fault(), Some(&Fault::Late { ms: 10_000 }));
    let late = Answer::Bytes {
        bytes: b"HTTP/1.1 200 OK\r\n\r\n",
        end: true,
    };
    assert_eq!(
        hangs.answered(Uptime(61 * SECOND), late),
        Step::Over,
        "too late is no answer"
    );
}

/// 17: a BMC that does not measure says 0 W and that it does not; another knows no such command.
#[test]
fn a_bmc_that_does_not_measure_is_absent_and_not_zero() {
    let answer = |watts: u16, state: u8| {
        let mut bytes = vec![0, 0xDC];
        bytes.extend(watts.to_le_bytes());
        bytes.extend([0; 14]);
        bytes.push(state);
        bytes
    };
    assert_eq!(
        dcmi::parse(&answer(211, 0x40)).unwrap().now,
        Microwatts::from_watts(211)
    );
    for bytes in [answer(0, 0), answer(211, 0), vec![0xC1], vec![0xD6], vec![]] {
        let fault = dcmi::parse(&bytes).unwrap_err();
        assert!(matches!(fault, Fault::Refused { .. }), "{fault}");
    }
    // It says that it measures, and 0 W: no machine that runs draws that.
    let mut meter = Meter::new(Box::new(dcmi::Dcmi));
    assert!(meter.poll(Uptime(SECOND)).is_some());
    let zero = answer(0, 0x40);
    let _ = meter.answered(
        Uptime(SECOND),
        Answer::Bytes {
            bytes: &zero,
            end: true,
        },
    );
    assert!(matches!(meter.fault(), Some(Fault::Implausible { .. })));
}

/// Tag, short length, contents.
fn ber(tag: u8, contents: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(contents.len()).unwrap()], contents].concat()
}

/// A strip that answers each object with the next of these values; it reads the request's own id
/// and names, as the protocol wants.
fn strip(values: Vec<Vec<u8>>) -> SocketAddr {
    datagram_server(move |request| {
        // 30 len, 02 01 01, 04 len community, a0 len, 02 03 id ...
        let community = usize::from(request[6]);
        let pdu = 7 + community;
        let id = &request[pdu + 2..pdu + 7];
        let mut rest = &request[pdu + 2 + 15 + 2..];
        let mut bindings = Vec::new();
        for value in &values {
            let name = &rest[2..4 + usize::from(rest[3])];
            bindings.extend(ber(0x30, &[name, value.as_slice()].concat()));
            rest = &rest[2 + usize::from(rest[1])..];
        }
        let zero = ber(2, &[0]);
        let body = [id, &zero, &zero, &ber(0x30, &bindings)].concat();
        let community = &request[5..7 + community];
        ber(
            0x30,
            &[&ber(2, &[1])[..], community, &ber(0xA2, &body)].concat(),
        )
    })
}

/// 20: each maker's unit; negative and absent values are none.
#[test]
#[rustfmt::skip] // keeps the columns
fn strips_are_read_in_their_makers_units() {
    let unsigned = |bytes: &[u8]| ber(0x42, bytes);
    type Case = (&'static str, Option<u16>, Vec<Vec<u8>>, Zone, Option<u64>);
    let cases: Vec<Case> = vec![
        ("apc",            None,    vec![unsigned(&[25])],             Zone::Ups,     Some(250_000_000)),
        ("apc-outlet",     Some(7), vec![ber(2, &[0, 250])],           Zone::Wall(0), Some(250_000_000)),
        ("eaton-outlet",   Some(3), vec![ber(2, &[0x01, 0x02])],       Zone::Wall(0), Some(258_000_000)),
        ("raritan-outlet", Some(1), vec![unsigned(&[9, 0xC4]), unsigned(&[1])],
                                                                       Zone::Wall(0), Some(250_000_000)),
        ("servertech-outlet", Some(2), vec![ber(4, b"118.5")],         Zone::Wall(0), Some(118_500_000)),
        ("apc-outlet",     Some(7), vec![ber(2, &[0xFF])],             Zone::Wall(0), None), // -1
        ("apc-outlet",     Some(7), vec![ber(0x81, &[])],              Zone::Wall(0), None), // absent
        ("apc-outlet",     Some(7), vec![ber(2, &[0])],                Zone::Wall(0), None), // 0 W
    ];
    for (maker, outlet, values, zone, wanted) in cases {
        let at = strip(values.clone());
        let pdu = Pdu::new(at, "public", maker, outlet).unwrap();
        let mut meter = Meter::new(Box::new(pdu));
        round(&mut meter, Uptime(SECOND));
        assert_eq!(power(&meter, zone), wanted, "{maker} {values:?}: {:?}", meter.fault());
    }
    let at = "127.0.0.1:1".parse().unwrap();
    assert!(Pdu::new(at, "public", "apc", Some(1)).is_none(), "the strip has no outlets here");
    assert!(Pdu::new(at, "public", "nobody", None).is_none());
}

#[test]
fn a_ups_tells_watts_and_never_volt_amperes() {
    let ups = |lines: &'static str| {
        let at = stream_server(move |request| {
            assert_eq!(request, b"LIST VAR rack\n");
            lines.as_bytes().to_vec()
        });
        let mut meter = Meter::new(Box::new(Nut::new(at, "rack", Zone::Ups).unwrap()));
        round(&mut meter, Uptime(SECOND));
        let stored = meter
            .readings()
            .iter()
            .find(|reading| reading.zone == Zone::Stored);
        let stored = stored.map(|reading| reading.value);
        (power(&meter, Zone::Ups), stored, meter.fault().cloned())
    };
    let (watts, stored, _) = ups(
        "BEGIN LIST VAR rack\nVAR rack battery.charge \"98.5\"\nVAR rack ups.power \"900\"\n\
         VAR rack ups.realpower \"612\"\nEND LIST VAR rack\n",
    );
    assert_eq!(watts, Some(612_000_000));
    assert_eq!(stored, Some(Value::Share { ppm: 985_000 }));
    let (watts, ..) = ups(
        "BEGIN LIST VAR rack\nVAR rack ups.load \"34\"\nVAR rack ups.power.nominal \"2200\"\n\
         VAR rack ups.realpower.nominal \"1800\"\nEND LIST VAR rack\n",
    );
    assert_eq!(watts, Some(612_000_000));
    let (watts, _, fault) = ups("ERR DATA-STALE\n");
    assert_eq!(watts, None);
    assert!(matches!(fault, Some(Fault::Refused { .. })), "{fault:?}");
    let (watts, _, fault) = ups("BEGIN LIST VAR rack\nVAR rack ups.power \"900\"\n");
    assert_eq!(
        (watts, fault.is_some()),
        (None, true),
        "it ends in the middle"
    );
}

/// Registers of a SunSpec device from 40,000 on.
fn device(models: Vec<(u16, Vec<u16>)>) -> (SocketAddr, Arc<Mutex<Vec<u16>>>) {
    let mut map = vec![0x5375, 0x6E53];
    for (id, points) in models {
        map.extend([id, u16::try_from(points.len()).unwrap()]);
        map.extend(points);
    }
    map.extend([0xFFFF, 0]);
    let map = Arc::new(Mutex::new(map));
    let registers = map.clone();
    let at = stream_server(move |request| {
        let from = usize::from(u16::from_be_bytes([request[8], request[9]]));
        let count = usize::from(u16::from_be_bytes([request[10], request[11]]));
        let map = registers.lock().unwrap();
        let found = from
            .checked_sub(40_000)
            .and_then(|from| map.get(from..from + count));
        let body = match found {
            Some(found) => {
                let data: Vec<u8> = found.iter().flat_map(|word| word.to_be_bytes()).collect();
                [
                    &[request[6], 3, u8::try_from(data.len()).unwrap()],
                    data.as_slice(),
                ]
                .concat()
            }
            None => vec![request[6], 0x83, 2],
        };
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&request[..4], &length, &body].concat()
    });
    (at, map)
}

fn inverter(watts: u16, factor: i16) -> Vec<u16> {
    let mut points = vec![0xFFFF; 50];
    points[12] = watts;
    points[13] = factor.cast_unsigned();
    points
}

fn battery(watts: i16, state: u16) -> Vec<u16> {
    let mut points = vec![0; 62];
    points[9] = 7_300;
    points[54] = (-2_i16).cast_unsigned();
    points[14] = state;
    points[45] = watts.cast_unsigned();
    points
}

fn sunspec(at: SocketAddr) -> Meter {
    Meter::new(Box::new(Sunspec::new(at, 1, Microwatts::from_watts(5_000))))
}

/// 21: what inverters send at dusk, factors that change, and a battery that is not the sun.
#[test]
fn inverters_tell_the_sun_and_not_the_battery() {
    let common = || (1, vec![0x2020; 66]);
    type Case = (u16, i16, Option<(i16, u16)>, Option<u64>);
    #[rustfmt::skip] // keeps the columns
    let cases: Vec<Case> = vec![
        ( 4210, -1, None,            Some(421_000_000)),
        (  421,  0, None,            Some(421_000_000)), // the factor changed with the value
        (65535,  0, None,            None),              // dusk
        (32768,  0, None,            None),              // not implemented
        (60000, -1, None,            None),              // negative, as a signed value: no sun
        (  700,  1, None,            None),              // 7 kW from a nameplate of 5
        ( 2000,  0, Some((2000, 3)), Some(0)),           // night: the battery feeds the house
        ( 1000,  0, Some((-800, 4)), Some(1_800_000_000)), // the sun fills it
        ( 1000,  0, Some(( 800, 4)), Some(1_800_000_000)), // the same from another maker
    ];
    for (watts, factor, stored, wanted) in cases {
        let mut models = vec![common(), (103, inverter(watts, factor))];
        models.extend(stored.map(|(watts, state)| (802, battery(watts, state))));
        let (at, _) = device(models);
        let mut meter = sunspec(at);
        round(&mut meter, Uptime(SECOND));
        let sun = power(&meter, Zone::Sun);
        let sun = if watts == 60000 {
            sun.filter(|sun| *sun > 0)
        } else {
            sun
        };
        assert_eq!(
            sun,
            wanted,
            "{watts} {factor} {stored:?}: {:?}",
            meter.fault()
        );
        if stored.is_some() {
            let stored = meter
                .readings()
                .iter()
                .find(|reading| reading.zone == Zone::Stored);
            assert_eq!(stored.unwrap().value, Value::Share { ppm: 730_000 });
        }
    }
}

/// 21: a firmware moves the map by one register: no value is read at an old place.
#[test]
fn a_map_that_moves_is_walked_again() {
    let (at, map) = device(vec![
        (1, vec![0; 66]),
        (113, {
            let mut points = vec![0; 60];
            (points[20], points[21]) = (0x4530, 0x2000); // 2818.0 as a single
            points
        }),
    ]);
    let mut meter = sunspec(at);
    round(&mut meter, Uptime(SECOND));
    assert_eq!(power(&meter, Zone::Sun), Some(2_818_000_000));
    {
        let mut map = map.lock().unwrap();
        map.insert(4, 0x2020);
        map[3] += 1;
    }
    round(&mut meter, Uptime(20 * SECOND));
    assert_eq!(power(&meter, Zone::Sun), None);
    round(&mut meter, Uptime(60 * SECOND));
    assert_eq!(power(&meter, Zone::Sun), Some(2_818_000_000));
}

/// 23: an empty document with status 200 is a fault, and the feed's text is handed on as it is.
#[test]
fn a_feed_is_fetched_and_an_empty_one_is_a_fault() {
    for (body, wanted) in [
        ("end,g_per_kwh\n2026-06-01T12:00Z,210\n", true),
        ("", false),
    ] {
        let at = stream_server(move |request| {
            let text = String::from_utf8_lossy(request);
            assert!(text.starts_with("GET /ci.csv HTTP/1.1\r\nHost: grid.example\r\n"));
            http(200, body)
        });
        let feed = Feed::new(at, "grid.example", "/ci.csv", None).unwrap();
        let mut meter = Meter::new(Box::new(feed));
        round(&mut meter, Uptime(SECOND));
        let document = meter.take_document();
        assert_eq!(document.as_deref(), wanted.then_some(body.as_bytes()));
        assert_eq!(meter.fault().is_some(), !wanted);
    }
}

/// A source that failed three times is asked less and less, and believed after three good rounds.
#[test]
fn quarantine_ends_after_good_rounds() {
    let (at, _) = bmc(Some(r#"{"PowerWatts":{"Reading":100}}"#), None);
    let mut meter = Meter::new(Box::new(Redfish::new(at, None)));
    let mut now = SECOND;
    for _ in 0..3 {
        assert!(meter.poll(Uptime(now)).is_some());
        meter.failed(
            Uptime(now),
            Fault::Unreachable {
                why: "refused".into(),
            },
        );
        now = meter.next_timeout().0;
    }
    assert_eq!(meter.health(), Health::Quarantined);
    assert!(now > 200 * SECOND, "pauses doubled: {now}");
    for good in 1..=3 {
        round(&mut meter, Uptime(now));
        assert_eq!(
            power(&meter, Zone::Wall(0)).is_some(),
            good == 3,
            "good round {good}"
        );
        now = meter.next_timeout().0;
    }
    assert_eq!(meter.health(), Health::Good);
}
