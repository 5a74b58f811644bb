//! Nodes that find each other, join and talk: machines in memory, and over real host stacks.

#![allow(clippy::unwrap_used)]

mod disk;
mod joining;
mod network;
mod town;

use super::PeersConfig;
use identity::grant::{Grant, GrantFields, GrantRight};
use identity::request::Applicant;
use identity::secret::{SecretKey, Seed};
use identity::token::Token;
use protocol::peer::Life;
use protocol::peer::admission::MachineId;
use std::net::SocketAddr;

/// A secret that only this number gives.
fn seed(number: u8) -> Seed {
    Seed::new([number; 32])
}

fn root(number: u8) -> SecretKey {
    SecretKey::from_seed(&seed(200 + number))
}

/// A token for a site of the cluster with this root.
fn token(cluster: u8, site: &str, founds: bool) -> Token {
    let key = SecretKey::from_seed(&seed(if founds { 101 } else { 102 }));
    let fields = GrantFields {
        key: key.public(),
        made_s: 1_700_000_000,
        expires_s: None,
        right: GrantRight::Token {
            site: site.parse().unwrap(),
            count: 100,
            founds,
        },
    };
    Token::new(Grant::sign(fields, &root(cluster)), key, None).unwrap()
}

/// A node of cluster 1.
fn config(number: u8, site: &str, token: Option<Token>, seeds: &[SocketAddr]) -> PeersConfig {
    PeersConfig {
        seed: seed(number),
        roots: vec![root(1).public()],
        applicant: Applicant {
            site: site.parse().unwrap(),
            name: format!("{site}-{number}").parse().unwrap(),
            machine: MachineId([number; 16]),
            token,
        },
        seeds: seeds.to_vec(),
        life: Life::new(1, 0),
        saved: Vec::new(),
        disk: None,
        random: [number ^ 0x55; 32],
    }
}

#[test]
fn a_lease_may_name_nodes_to_ask() {
    let seeds = super::seeds::of_lease(&[7, 1, 9, 1, 8, 10, 0, 0, 1, 10, 0, 0, 2, 255]);
    let shown: Vec<String> = seeds.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.1:12213", "10.0.0.2:12213"]);
    assert!(super::seeds::of_lease(&[1, 200, 10]).is_empty());
}
