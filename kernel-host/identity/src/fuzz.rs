//! What any bytes may do to each decoder: be refused, or mean something that is written the same.
//!
//! Start at:  any target; `qemu-tests/fuzz` runs them.

use crate::chain::Credential;
use crate::cluster::{ClusterFacts, ClusterSecret};
use crate::publication::{GrantUse, RightBody, Word, certificate_in, revocation_in};
use crate::ring::Keys;
use crate::secret::{SecretKey, Seed};
use crate::token::Token;
use protocol::peer::PublicKey;
use protocol::peer::admission::CHAIN_BYTES_MAX;
use protocol::{Moment, Timestamp};

const NOW: Moment = Moment {
    uptime_ms: 1,
    wall: Timestamp::from_unix_ms(1),
};

/// Keys that trust a root nobody has the secret of.
fn keys() -> Option<Keys> {
    let secret = SecretKey::from_seed(&Seed::new([1; 32]));
    let site = "fuzz".parse().ok()?;
    Some(Keys::new(secret, &site, &[PublicKey([9; 32])]))
}

/// What a peer shows in a handshake.
pub fn fuzz_credential(data: &[u8]) {
    if let Some(credential) = Credential::decode(data) {
        let bytes = credential.encode();
        assert!(bytes.len() <= CHAIN_BYTES_MAX + 1 || data.len() >= bytes.len());
        assert_eq!(Credential::decode(&bytes), Some(credential));
    }
    if let Some(mut keys) = keys() {
        let peer = keys.check_peer(NOW, &protocol::peer::SessionKey([3; 32]), data);
        assert!(
            peer.is_err() || peer.is_ok_and(|peer| peer.refusal.is_none()),
            "nothing proves itself to a root without a secret"
        );
        assert_eq!(keys.certificates(), 0);
    }
}

/// The bodies of records that prove themselves.
pub fn fuzz_statement(data: &[u8]) {
    if let Some(right) = RightBody::decode(data) {
        assert_eq!(RightBody::decode(&right.encode()).as_ref(), Some(&right));
        if let Some(mut keys) = keys() {
            keys.learn_right(&right);
            assert_eq!(
                keys.roots().len(),
                1,
                "no root follows one without a secret"
            );
        }
    }
    if let Some(certificate) = certificate_in(data) {
        assert_eq!(certificate_in(&certificate.encode()), Some(certificate));
    }
    if let Some(revocation) = revocation_in(data) {
        assert_eq!(revocation_in(&revocation.encode()), Some(revocation));
    }
    if let Some(one) = GrantUse::decode(data) {
        assert_eq!(GrantUse::decode(&one.encode()), Some(one));
    }
}

/// What people copy.
pub fn fuzz_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(token) = text.parse::<Token>() {
        let again: Token = token.reveal().parse().expect("what was written is read");
        assert_eq!(again.grant(), token.grant());
    }
    if let Ok(word) = text.parse::<Word>() {
        assert_eq!(word.to_string().parse(), Ok(word));
    }
    if let Ok(facts) = ClusterFacts::read(&text) {
        assert_eq!(ClusterFacts::read(&facts.write()), Ok(facts));
    }
    if let Ok(secret) = ClusterSecret::read(&text) {
        let again = ClusterSecret::read(&secret.reveal()).expect("what was written is read");
        assert_eq!(again.facts(), secret.facts());
    }
}

/// What a disk kept.
pub fn fuzz_saved(data: &[u8]) {
    if let Some(mut keys) = keys() {
        assert!(
            keys.restore(NOW, data).is_err(),
            "no chain leads to that root"
        );
    }
}
