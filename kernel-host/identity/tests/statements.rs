//! What is signed: its size, its bytes for ever, and each link of a chain.
#![allow(clippy::unwrap_used)]

mod world;

use identity::certificate::{CERTIFICATE_BYTES_MAX, Certificate, CertificateFields};
use identity::chain::{Chain, Credential};
use identity::charter::{Charter, CharterFields};
use identity::cluster::ClusterSecret;
use identity::grant::{Grant, GrantFields, GrantRight, Listed};
use identity::publication::{GrantUse, RightBody, Word};
use identity::revocation::{Authority, Target};
use identity::ring::{Keys, Standing};
use identity::secret::{SecretKey, node_id};
use identity::succession::Succession;
use protocol::NodeId;
use protocol::peer::admission::{CHAIN_BYTES_MAX, Few, Refusal};
use std::path::Path;
use world::{DAY_S, START_MS, TokenWish, World, machine, name, operator, revocation, secret};

const NOW_S: u64 = START_MS / 1000;

/// Everything that makes a chain; a test breaks one part.
#[derive(Clone)]
struct Parts {
    root: SecretKey,
    token: SecretKey,
    token_signs: SecretKey,
    charter: SecretKey,
    charter_signs: SecretKey,
    admitter: SecretKey,
    admitter_signs: SecretKey,
    node: SecretKey,
    session_of: SecretKey,
    founds: bool,
    site: String,
    other_grant: bool,
    other_charter: bool,
}

impl Parts {
    fn whole() -> Self {
        Self {
            root: secret(0),
            token: secret(1),
            token_signs: secret(1),
            charter: secret(2),
            charter_signs: secret(2),
            admitter: secret(3),
            admitter_signs: secret(3),
            node: secret(4),
            session_of: secret(4),
            founds: true,
            site: "lyon".to_owned(),
            other_grant: false,
            other_charter: false,
        }
    }

    fn build(&self) -> Chain {
        let fields = GrantFields {
            key: self.token.public(),
            made_s: NOW_S,
            expires_s: Some(NOW_S + DAY_S),
            right: GrantRight::Token {
                site: name(&self.site),
                count: 5,
                founds: self.founds,
            },
        };
        let grant = Grant::sign(fields.clone(), &self.root);
        let other = Grant::sign(
            GrantFields {
                made_s: 1,
                ..fields
            },
            &self.root,
        );
        let fields = CharterFields {
            key: self.charter.public(),
            grant: if self.other_grant {
                other.id()
            } else {
                grant.id()
            },
            founder: self.admitter.public(),
            made_s: NOW_S,
        };
        let charter = Charter::sign(fields.clone(), &self.token_signs);
        let other = Charter::sign(
            CharterFields {
                made_s: 1,
                ..fields
            },
            &self.token_signs,
        );
        let fields = CertificateFields {
            node: self.node.public(),
            session: self.session_of.session().public(),
            name: name("a-node"),
            machine: machine(7),
            admitted_s: NOW_S,
            issued_s: NOW_S,
            expires_s: NOW_S + 30 * DAY_S,
            grant: Some(grant.id()),
            charter: if self.other_charter {
                other.id()
            } else {
                charter.id()
            },
            replaces: Some(NodeId::from_bytes([5; 16])),
            admitter: self.admitter.public(),
        };
        Chain {
            certificate: Certificate::sign(fields, &self.charter_signs, &self.admitter_signs),
            grant,
            charter,
        }
    }
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_chain_holds_only_with_every_link() {
    type Break = fn(&mut Parts);
    const CASES: [(&str, Break, Option<Refusal>); 11] = [
        ("whole",                               |_| (),                              None),
        ("another root",                        |p| p.root = secret(9),              Some(Refusal::UnknownRoot)),
        ("a token that founds nothing",         |p| p.founds = false,                Some(Refusal::BadProof)),
        ("charter not signed by the token",     |p| p.token_signs = secret(9),       Some(Refusal::BadProof)),
        ("charter of another grant",            |p| p.other_grant = true,            Some(Refusal::BadProof)),
        ("certificate not signed by charter",   |p| p.charter_signs = secret(9),     Some(Refusal::BadProof)),
        ("certificate of another charter",      |p| p.other_charter = true,          Some(Refusal::BadProof)),
        ("not signed by its admitter",          |p| p.admitter_signs = secret(9),    Some(Refusal::BadProof)),
        ("another session key",                 |p| p.session_of = secret(9),        Some(Refusal::BadProof)),
        ("signed by the token, not by charter", |p| p.charter_signs = p.token.clone(), Some(Refusal::BadProof)),
        ("signed by the root, not by charter",  |p| p.charter_signs = p.root.clone(), Some(Refusal::BadProof)),
    ];
    for (case, break_it, refused) in CASES {
        let mut parts = Parts::whole();
        break_it(&mut parts);
        let chain = parts.build();
        let payload = Credential::Member(Box::new(chain.clone())).encode();
        let mut keys = Keys::new(secret(77), &name("lyon"), &[secret(0).public()]);
        let now = World::new().now;
        let peer = keys.check_peer(now, &secret(4).session().public(), &payload);
        match refused {
            None => {
                let peer = peer.unwrap();
                assert_eq!(peer.node, node_id(&secret(4).public()), "{case}");
                assert_eq!(peer.standing, Standing::Certified(keys.site()), "{case}");
            }
            Some(refusal) => assert_eq!(peer, Err(refusal), "{case}"),
        }
        let known = keys.is_known(node_id(&secret(4).public()));
        assert_eq!(known, case == "whole", "{case}: only a proved chain leaves a trace");
    }
}

#[test]
fn no_bit_of_a_handshake_can_be_turned() {
    let whole = Credential::Member(Box::new(Parts::whole().build())).encode();
    let session = secret(4).session().public();
    let now = World::new().now;
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut keys = Keys::new(secret(77), &name("lyon"), &[secret(0).public()]);
        let peer = keys.check_peer(now, &session, &bytes);
        assert!(peer.is_err(), "bit {bit} of {} turned", whole.len());
        assert_eq!(keys.certificates(), 0);
    }
}

#[test]
fn a_hello_proves_a_key_for_one_session_key_only() {
    let now = World::new().now;
    let mut keys = Keys::new(secret(77), &name("lyon"), &[secret(0).public()]);
    let hello = Credential::hello(&secret(4)).encode();
    let peer = keys
        .check_peer(now, &secret(4).session().public(), &hello)
        .unwrap();
    assert_eq!(peer.standing, Standing::Stranger);
    assert_eq!(peer.node, node_id(&secret(4).public()));
    let stolen = keys.check_peer(now, &secret(5).session().public(), &hello);
    assert_eq!(stolen, Err(Refusal::BadProof));
}

#[test]
fn a_chain_with_the_longest_names_and_two_roots_fits_a_handshake() {
    let long = "x".repeat(protocol::limits::NAME_CHARS_MAX);
    let mut parts = Parts::whole();
    parts.site = long.clone();
    let mut chain = parts.build();
    chain.grant.endorse(&secret(8));
    let fields = CertificateFields {
        name: name(&long),
        ..chain.certificate.fields().clone()
    };
    chain.certificate = Certificate::sign(fields, &parts.charter, &parts.admitter);
    assert!(chain.links());
    let bytes = chain.encode();
    assert!(bytes.len() <= CHAIN_BYTES_MAX, "{} bytes", bytes.len());
    assert!(chain.certificate.encode().len() <= CERTIFICATE_BYTES_MAX);
    assert_eq!(Chain::decode(&bytes), Some(chain));
    let usual = Parts::whole().build().encode().len();
    assert!(usual <= 640, "{usual} bytes with short names");
}

/// Bytes that version 1 wrote, and must be read for ever.
#[test]
fn the_bytes_of_version_1_stay_as_they_are() {
    let chain = Parts::whole().build();
    let list = GrantFields {
        key: secret(11).public(),
        made_s: NOW_S,
        expires_s: None,
        right: GrantRight::List {
            site: name("lyon"),
            who: Few::new([
                Listed::Machine(machine(1)),
                Listed::Node(NodeId::from_bytes([2; 16])),
            ]),
        },
    };
    let succession = Succession::sign(&secret(0), &secret(8), NOW_S);
    let root = (Authority::Root(secret(0).public()), &secret(0));
    let target = Target::Node(NodeId::from_bytes([5; 16]));
    let by_root = revocation(target, Some(NOW_S), NOW_S, root);
    let operator = operator(Some("lyon"), 12, &secret(0));
    let by_operator = (Authority::Operator(operator), &secret(12));
    let by_operator = revocation(Target::Grant(chain.grant.id()), None, NOW_S, by_operator);
    let site = Authority::Site(chain.grant.clone(), chain.charter.clone());
    let by_site = revocation(target, None, NOW_S, (site, &secret(2)));
    let one_use = GrantUse {
        grant: chain.grant.id(),
        machine: machine(7),
        node: NodeId::from_bytes([5; 16]),
        count: 5,
        at_s: NOW_S,
    };
    let charter = RightBody::Charter(chain.grant.clone(), chain.charter.clone());
    let token = TokenWish {
        succession: Some(succession.clone()),
        expires_s: Some(NOW_S + DAY_S),
        ..TokenWish::founding("lyon")
    };
    let token = token.by(&secret(0), NOW_S);
    let cluster = ClusterSecret {
        name: name("demo"),
        root: secret(8),
        succession: token.succession().cloned(),
    };
    let mut keys = Keys::new(secret(4), &name("lyon"), &[secret(0).public()]);
    keys.adopt(World::new().now, chain.clone()).unwrap();
    let saved = keys.saved().unwrap();
    let mut again = Keys::new(secret(4), &name("lyon"), &[secret(0).public()]);
    again.restore(World::new().now, &saved).unwrap();
    assert!(again.is_member());
    let golden: Vec<(&str, Vec<u8>)> = vec![
        ("cluster.toml", cluster.facts().write().into_bytes()),
        ("cluster.key", cluster.reveal().into_bytes()),
        ("saved", saved),
        ("hello", Credential::hello(&secret(4)).encode()),
        (
            "member",
            Credential::Member(Box::new(chain.clone())).encode(),
        ),
        ("certificate", chain.certificate.encode()),
        (
            "right-token",
            RightBody::Grant(chain.grant.clone()).encode(),
        ),
        (
            "right-list",
            RightBody::Grant(Grant::sign(list, &secret(0))).encode(),
        ),
        ("right-charter", charter.encode()),
        (
            "right-succession",
            RightBody::Succession(succession).encode(),
        ),
        ("revocation-by-root", by_root.encode()),
        ("revocation-by-operator", by_operator.encode()),
        ("revocation-by-site", by_site.encode()),
        ("grant-use", one_use.encode()),
        (
            "word-revocation",
            Word::Revocation(by_root.clone()).to_string().into_bytes(),
        ),
        (
            "word-right",
            Word::Right(charter.clone()).to_string().into_bytes(),
        ),
        ("token", token.reveal().into_bytes()),
    ];
    for (what, bytes) in golden {
        let path = format!("tests/golden/{what}.v1");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("LUC_GOLDEN").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        let kept = std::fs::read(&path).unwrap();
        assert_eq!(kept, bytes, "{what}: version 1 is written differently now");
    }
}

#[test]
fn fields_of_a_later_version_are_kept_and_passed_on() {
    let ours = Parts::whole().build().grant;
    // A later version's statement has more behind our fields, and the root signs all of it.
    let encoded = ours.encode();
    let length = usize::from(encoded[0]);
    let mut statement = encoded[1..=length].to_vec();
    statement[0] = 2;
    statement.extend(b"of a later version");
    let signature = secret(0).sign(identity::secret::Domain::Grant, &statement);
    let mut bytes = vec![u8::try_from(statement.len()).unwrap()];
    bytes.extend(&statement);
    bytes.push(1);
    bytes.extend(&secret(0).public().0[..8]);
    bytes.extend(signature.0);
    let later = Grant::decode(&bytes).unwrap();
    assert_eq!(later.fields(), ours.fields());
    assert!(later.is_endorsed_by(&secret(0).public()));
    assert_eq!(later.encode(), bytes);
    assert_ne!(later.id(), ours.id());
}
