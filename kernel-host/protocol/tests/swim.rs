//! The words of the failure detector: their bytes for ever, and their limits.
#![allow(clippy::unwrap_used)]

use protocol::NodeId;
use protocol::peer::admission::Few;
use protocol::peer::swim::{
    ACCUSERS_MAX, BOOTS_MAX, Claim, Fact, Own, RUMOURS_MAX, Rumours, STATE_FACTS_MAX, SwimMessage,
};
use protocol::peer::{Channel, Coordinate, Life, Message};
use std::net::SocketAddr;
use std::path::Path;

fn four() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 12213))
}

fn six() -> SocketAddr {
    SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xffff], 65_535))
}

fn own(address: SocketAddr) -> Own {
    Own {
        life: Life::new(3, 1),
        instance: 77,
        address,
    }
}

fn fact(number: u8, life: Life, claim: Claim) -> Fact {
    Fact {
        node: NodeId::from_bytes([number; 16]),
        life,
        claim,
    }
}

/// One of each claim.
fn rumours() -> Rumours {
    let alive = |address| Claim::Alive {
        instance: u32::MAX,
        address,
    };
    let by = Few::new([1, u32::MAX]);
    let life = Life::new(2, 5);
    Few::new([
        fact(1, life, Claim::Suspect { by }),
        fact(2, life, alive(four())),
        fact(3, life, alive(six())),
        fact(4, life, Claim::Dead),
        fact(5, life, Claim::Left),
    ])
}

/// Every word once.
fn words() -> Vec<(&'static str, Channel, SwimMessage)> {
    let target = NodeId::from_bytes([9; 16]);
    let ping = |by_stream| SwimMessage::Ping {
        seq: 300,
        own: own(four()),
        digest: 0xdead_beef,
        by_stream,
        rumours: Few::default(),
    };
    let ack = SwimMessage::Ack {
        seq: 300,
        own: own(six()),
        digest: 0xdead_beef,
        rumours: rumours(),
        place: Coordinate {
            axes_us: [12_000, -300, 0],
            height_us: 100,
            error_milli: 1000,
        },
    };
    let ping_for = SwimMessage::PingFor {
        seq: 301,
        target,
        rumours: rumours(),
    };
    let ack_for = |reached| SwimMessage::AckFor {
        seq: 301,
        reached,
        rumours: Few::default(),
    };
    let gossip = SwimMessage::Gossip {
        own: own(four()),
        rumours: rumours(),
    };
    let state = SwimMessage::State {
        own: own(four()),
        is_asking: true,
        facts: Few::new(rumours().as_slice().iter().cloned()),
    };
    vec![
        ("ping", Channel::Datagram, ping(false)),
        ("ping-stream", Channel::Stream, ping(true)),
        ("ack", Channel::Datagram, ack),
        ("ping-for", Channel::Datagram, ping_for),
        ("ack-for", Channel::Datagram, ack_for(true)),
        ("ack-for-not", Channel::Datagram, ack_for(false)),
        ("gossip", Channel::Datagram, gossip),
        ("state", Channel::Stream, state),
    ]
}

#[test]
fn the_bytes_of_version_1_stay_as_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, channel, word) in words() {
        let message = Message::Swim(word);
        let written = message.encode(channel).unwrap();
        let path = folder.join(format!("tests/golden/swim-{name}.v1"));
        if std::env::var_os("LUC_GOLDEN").is_some() {
            std::fs::write(&path, &written).unwrap();
            let seeds = folder.join("../overlay/corpus/swim");
            std::fs::create_dir_all(&seeds).unwrap();
            // As the fuzz target reads it: a sender, two bytes of length, the message.
            let [high, low] = u16::try_from(written.len()).unwrap().to_be_bytes();
            let seed = [&[1, high, low], written.as_slice()].concat();
            std::fs::write(seeds.join(name), seed.repeat(2)).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), written, "{name}");
        assert_eq!(Message::decode(channel, &written), Ok(message), "{name}");
    }
}

/// The longest fact there is.
fn longest() -> Fact {
    let life = Life::new(BOOTS_MAX - 1, u32::MAX);
    let claim = Claim::Alive {
        instance: u32::MAX,
        address: six(),
    };
    fact(255, life, claim)
}

#[test]
fn the_longest_words_fit_their_channels() {
    let mut own = own(six());
    own.life = longest().life;
    own.instance = u32::MAX;
    let ping = SwimMessage::Ping {
        seq: u32::MAX,
        own,
        digest: u32::MAX,
        by_stream: true,
        rumours: Few::new(vec![longest(); RUMOURS_MAX]),
    };
    assert!(Message::Swim(ping).encode(Channel::Datagram).is_some());
    let state = SwimMessage::State {
        own,
        is_asking: true,
        facts: Few::new(vec![longest(); STATE_FACTS_MAX]),
    };
    assert!(Message::Swim(state).encode(Channel::Stream).is_some());
}

#[test]
fn more_than_the_maximum_and_impossible_lives_are_no_words() {
    let gossip = |facts: Vec<Fact>| {
        let rumours = Few::new(facts);
        let own = own(four());
        let message = Message::Swim(SwimMessage::Gossip { own, rumours });
        message.encode(Channel::Datagram).unwrap()
    };
    let is_word = |bytes: &[u8]| Message::decode(Channel::Datagram, bytes).is_ok();
    assert!(is_word(&gossip(vec![longest()])));
    let mut impossible = longest();
    impossible.life = Life::new(BOOTS_MAX, 0);
    assert!(!is_word(&gossip(vec![impossible])));
    let by = Few::new([1; ACCUSERS_MAX]);
    let suspect = fact(1, Life::new(1, 0), Claim::Suspect { by });
    let mut bytes = gossip(vec![suspect]);
    let count = bytes.len() - 1 - ACCUSERS_MAX;
    assert_eq!(usize::from(bytes[count]), ACCUSERS_MAX);
    bytes[count] += 1;
    bytes.push(1);
    assert!(!is_word(&bytes), "too many accusers");
}
