//! Texts that people copy, and what they are told about typos.
#![allow(clippy::unwrap_used)]

mod world;

use identity::armour::{self, BadText};
use identity::cluster::{BadCluster, ClusterFacts, ClusterSecret, read_root, write_root};
use identity::succession::Succession;
use identity::token::Token;
use protocol::peer::admission::{ApprovalCode, MachineId};
use std::collections::BTreeSet;
use world::{TokenWish, name, secret};

fn token() -> String {
    TokenWish::founding("lyon").by(&secret(0), 1).reveal()
}

#[test]
fn a_token_is_read_back_with_its_secret_and_shows_none() {
    let text = token();
    let read: Token = text.parse().unwrap();
    assert_eq!(read.secret().public(), secret(900).public());
    assert_eq!(read.reveal(), text);
    let shown = format!("{read} {read:?}");
    assert!(!shown.contains(&text[10..50]), "{shown}");
    let wrapped = format!("  {}\n{}\n", &text[..40], &text[40..]);
    assert_eq!(
        wrapped.parse::<Token>().unwrap().reveal(),
        text,
        "as a terminal wraps it"
    );
    let rotated = TokenWish {
        succession: Some(Succession::sign(&secret(0), &secret(1), 7)),
        ..TokenWish::founding("lyon")
    };
    let rotated = rotated.by(&secret(1), 8).reveal();
    assert!(rotated.len() < 600, "{} characters", rotated.len());
    let read: Token = rotated.parse().unwrap();
    assert!(read.succession().is_some_and(Succession::is_signed));
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_typo_is_named() {
    type Typo = fn(&str) -> String;
    const CASES: [(&str, Typo, &str); 10] = [
        ("cut off at the end",      |t| t[..t.len() - 9].to_owned(),      "its checksum is wrong"),
        ("cut off early",           |t| t[..13].to_owned(),               "too short: 13 characters; was it cut off?"),
        ("a character too many",    |t| format!("{t}A"),                  "its checksum is wrong"),
        ("one character changed",   |t| format!("{}{}{}", &t[..40], if &t[40..41] == "j" { "k" } else { "j" }, &t[41..]),          "its checksum is wrong"),
        ("two swapped",             |t| format!("{}{}{}{}", &t[..30], &t[31..32], &t[30..31], &t[32..]), "its checksum is wrong"),
        ("a character of no text",  |t| format!("{}!{}", &t[..20], &t[21..]), "`!` at place 21 can't stand in it"),
        ("an umlaut",               |t| format!("{}ü{}", &t[..20], &t[21..]), "`ü` at place 21 can't stand in it"),
        ("another kind of text",    |_| write_root(&secret(0).public()),  "it starts with `luc-root-"),
        ("nothing",                 |_| String::new(),                    "should start with `luc-token-`"),
        ("a file",                  |_| "luc-token-".repeat(3000),        "it is too long: "),
    ];
    for (case, typo, told) in CASES {
        let text = typo(&token());
        let error = text.parse::<Token>().unwrap_err().to_string();
        assert!(error.contains(told), "{case}: {error}");
    }
}

#[test]
fn every_single_wrong_character_is_found() {
    let text = token();
    for place in 10..text.len() {
        for wrong in ['A', 'z', '-', '0'] {
            let mut typo: Vec<char> = text.chars().collect();
            if typo[place] == wrong {
                continue;
            }
            typo[place] = wrong;
            let typo: String = typo.into_iter().collect();
            assert_eq!(
                typo.parse::<Token>().err(),
                Some(BadText::Checksum),
                "place {place}"
            );
        }
    }
}

#[test]
fn any_bytes_survive_the_armour() {
    for length in 1..200_u8 {
        let bytes: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37) ^ length).collect();
        let text = armour::write("luc-test-", &bytes);
        assert_eq!(armour::read("luc-test-", &text), Ok(bytes));
    }
}

#[test]
fn an_approval_code_can_be_spoken_and_written_as_heard() {
    let codes: BTreeSet<ApprovalCode> = (0..500)
        .map(|number| ApprovalCode::of(&secret(number).public()))
        .collect();
    assert_eq!(codes.len(), 500, "each stranger has its own");
    for code in codes {
        let text = code.to_string();
        assert_eq!(text.len(), 17, "{text}");
        assert_eq!(text.parse(), Ok(code));
        assert_eq!(text.to_uppercase().replace('-', "  ").parse(), Ok(code));
        assert!(text[..16].parse::<ApprovalCode>().is_err());
        assert!(format!("{text}-babab").parse::<ApprovalCode>().is_err());
    }
    let error = "lusab-babad"
        .parse::<ApprovalCode>()
        .unwrap_err()
        .to_string();
    assert!(error.contains("three words such as"), "{error}");
}

#[test]
fn a_machine_id_is_text_too() {
    let text = MachineId([0xab; 16]).to_string();
    assert_eq!(text.parse(), Ok(MachineId([0xab; 16])));
    assert!("machine-12".parse::<MachineId>().is_err());
}

fn cluster() -> ClusterSecret {
    ClusterSecret {
        name: name("demo"),
        root: secret(1),
        succession: Some(Succession::sign(&secret(0), &secret(1), 7)),
    }
}

#[test]
fn the_files_of_a_cluster_are_read_back() {
    let facts = cluster().facts();
    assert_eq!(ClusterFacts::read(&facts.write()), Ok(facts.clone()));
    let key = ClusterSecret::read(&cluster().reveal()).unwrap();
    assert_eq!(key.facts(), facts);
    assert!(!facts.write().contains("luc-secret"));
    assert_eq!(read_root(&write_root(&facts.roots[0])), Ok(facts.roots[0]));
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_file_that_was_edited_says_where_it_is_wrong() {
    let (facts, key) = (cluster().facts().write(), cluster().reveal());
    let of_facts = |text: String| ClusterFacts::read(&text).unwrap_err();
    let of_key = |text: String| ClusterSecret::read(&text).unwrap_err();
    let other = cluster().facts().roots[1];
    assert_eq!(of_facts(facts.replace("format = 1", "format = 2")), BadCluster::Format { found: "2".to_owned() });
    assert_eq!(of_facts(facts.replace("name =", "names =")),        BadCluster::Missing { field: "name" });
    assert_eq!(of_facts(facts.replace("name = \"demo\"", "name")),  BadCluster::Line { line: 4 });
    assert_eq!(of_facts(format!("{facts}name = \"a\"\n")),          BadCluster::Twice { field: "name".to_owned() });
    assert_eq!(of_facts(facts.replace("luc-root-", "luc-rot-")).to_string(), "`roots`");
    assert!(matches!(of_facts(facts.replace("\"demo\"", "\"De\"")), BadCluster::Name(_)));
    assert!(matches!(of_facts("#".repeat(20_000)),                  BadCluster::Long));
    assert!(matches!(of_key(facts.clone()),                         BadCluster::Missing { field: "root" }));
    assert!(matches!(of_key(key.replace(&write_root(&secret(1).public()), &write_root(&other))), BadCluster::OtherRoot));
}
