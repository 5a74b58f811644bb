//! The words of joining: their bytes for ever, their limits, and what refusals tell.
#![allow(clippy::unwrap_used)]

use protocol::peer::admission::{
    AdmissionMessage, ApprovalCode, CHAIN_BYTES_MAX, CHARTERS_MAX, CharterSecret, Few, JoinRequest,
    MachineId, Refusal, Right, SUCCESSION_BYTES_MAX, TOKEN_GRANT_BYTES_MAX,
};
use protocol::peer::capped::Capped;
use protocol::peer::{Channel, Message, PublicKey, SessionKey, Signature};
use protocol::{Name, NodeId};
use std::path::Path;

fn bytes<const MAX: usize>(count: usize) -> Capped<MAX> {
    Capped::new((0..count).map(|at| at.to_le_bytes()[0]).collect()).unwrap()
}

fn join(right: Right, name: &str) -> AdmissionMessage {
    let name: Name = name.parse().unwrap();
    AdmissionMessage::Join(Box::new(JoinRequest {
        ask: 300,
        node: PublicKey([1; 32]),
        session: SessionKey([2; 32]),
        site: name.clone(),
        name,
        machine: MachineId([3; 16]),
        right,
        proof: Signature([4; 64]),
    }))
}

fn token() -> Right {
    Right::Token {
        grant: bytes(TOKEN_GRANT_BYTES_MAX),
        succession: bytes(SUCCESSION_BYTES_MAX),
        proof: Signature([5; 64]),
    }
}

fn refusals() -> Vec<Refusal> {
    let (granted, asked): (Name, Name) = ("lyon".parse().unwrap(), "nice".parse().unwrap());
    vec![
        Refusal::BadProof,
        Refusal::UnknownRoot,
        Refusal::WrongSite { granted, asked },
        Refusal::WrongPurpose,
        Refusal::Expired { ago_s: 70_000 },
        Refusal::UsedUp { count: 3 },
        Refusal::TokenRevoked,
        Refusal::Revoked,
        Refusal::MachineAlive {
            node: NodeId::from_bytes([6; 16]),
        },
        Refusal::Busy { retry_ms: 1500 },
        Refusal::NotReady,
        Refusal::CertificateExpired { ago_s: 9 },
        Refusal::TooManyFounders,
        Refusal::NotApproved,
    ]
}

/// Every word once; refusals each.
fn words() -> Vec<(String, AdmissionMessage)> {
    let secret = CharterSecret {
        charter: [7; 16],
        seed: [8; 32],
    };
    let code = ApprovalCode::of(&PublicKey([1; 32]));
    let mut words = vec![
        ("join-known", join(Right::Known, "a")),
        ("join-token", join(token(), "a-longer-name")),
        ("waiting", AdmissionMessage::Waiting { ask: 300 }),
        (
            "admitted",
            AdmissionMessage::Admitted {
                ask: 300,
                chain: bytes(CHAIN_BYTES_MAX),
            },
        ),
        (
            "renew",
            AdmissionMessage::Renew {
                ask: 300,
                certificate: bytes(300),
            },
        ),
        (
            "charter-ask",
            AdmissionMessage::CharterAsk {
                lacking: Few::new([[7; 16], [9; 16]]),
            },
        ),
        (
            "charter-give",
            AdmissionMessage::CharterGive {
                secrets: Few::new([secret]),
            },
        ),
        ("approved", AdmissionMessage::Approved { code }),
    ]
    .into_iter()
    .map(|(name, word)| (name.to_owned(), word))
    .collect::<Vec<_>>();
    for (at, refusal) in refusals().into_iter().enumerate() {
        let word = AdmissionMessage::Refused { ask: 300, refusal };
        words.push((format!("refused-{at:02}"), word));
    }
    words
}

#[test]
fn the_bytes_of_version_1_stay_as_they_are() {
    for (name, word) in words() {
        let message = Message::Admission(word);
        let written = message.encode(Channel::Datagram).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = folder.join(format!("tests/golden/admission-{name}.v1"));
        if std::env::var_os("LUC_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &written).unwrap();
            let seed = folder.join(format!("corpus/admission/{name}"));
            std::fs::create_dir_all(seed.parent().unwrap()).unwrap();
            std::fs::write(seed, &written[4..]).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), written, "{name}");
        assert_eq!(
            Message::decode(Channel::Datagram, &written),
            Ok(message),
            "{name}"
        );
    }
}

#[test]
fn the_longest_word_fits_a_datagram() {
    let name = "x".repeat(protocol::limits::NAME_CHARS_MAX);
    let longest = Message::Admission(join(token(), &name));
    assert!(longest.encode(Channel::Datagram).is_some());
}

#[test]
fn more_than_the_maximum_is_no_message() {
    let secret = CharterSecret {
        charter: [7; 16],
        seed: [8; 32],
    };
    let give = AdmissionMessage::CharterGive {
        secrets: Few::new(std::iter::repeat_n(secret, CHARTERS_MAX + 5)),
    };
    let mut bytes = Message::Admission(give).encode(Channel::Datagram).unwrap();
    assert!(Message::decode(Channel::Datagram, &bytes).is_ok());
    assert_eq!(bytes[5], 8, "cut to the maximum");
    bytes[5] = 9;
    bytes.extend([0; 48]);
    assert!(Message::decode(Channel::Datagram, &bytes).is_err());
    // A chain that claims to be long, in a short message.
    let claims = [0x4c, 1, 6, 0, 3, 0, 0xff, 0xff, 0xff, 0x7f, 1, 2];
    assert!(Message::decode(Channel::Datagram, &claims).is_err());
    assert!(Capped::<4>::new(vec![0; 5]).is_none());
}

#[test]
fn every_refusal_has_a_reason_and_advice() {
    for refusal in refusals() {
        let told = refusal.to_string();
        assert!(told.len() > 10 && !told.ends_with('.'), "{told}");
        assert!(refusal.advice().len() > 10, "{told}");
    }
}
