//! What must hold for any text that arrives as a name, an id, an amount or a time.
//!
//! Does:      panics on a broken promise; a fuzzer, and the test that replays the corpus, call it.
//! Start at:  `fuzz_words`.

use crate::{ByteCount, Digest, Name, NodeId, RetryKey, Selector, Timestamp, VmId, VmState};
use std::{fmt::Display, str::FromStr};

/// What was read prints as something that reads as the same again.
fn reads_back<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str) -> Option<T>
where
    T::Err: Display,
{
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            let again = printed.parse::<T>();
            assert!(
                again.is_ok_and(|again| again == value),
                "{printed:?} does not read back"
            );
            Some(value)
        }
        Err(error) => {
            let told = error.to_string();
            assert!(
                !told.is_empty() && told.len() < 500,
                "a useless error: {told:?}"
            );
            assert!(
                !told.chars().any(char::is_control),
                "raw control characters: {told:?}"
            );
            None
        }
    }
}

/// Reads the bytes as every kind of word.
pub fn fuzz_words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(name) = reads_back::<Name>(&text) {
        assert_eq!(name.as_str(), text);
    }
    if let Some(selector) = reads_back::<Selector>(&text) {
        assert!(
            selector
                .id_start(VmId::PREFIX)
                .is_none_or(|start| start == text)
        );
    }
    reads_back::<VmId>(&text);
    reads_back::<NodeId>(&text);
    reads_back::<Digest>(&text);
    reads_back::<RetryKey>(&text);
    reads_back::<VmState>(&text);
    reads_back::<Timestamp>(&text);
    if let Some(count) = reads_back::<ByteCount>(&text) {
        assert!(count.human().len() < 24);
    }
}

/// Reads the bytes as the body of a message about joining.
pub fn fuzz_admission(data: &[u8]) {
    use crate::peer::admission::AdmissionMessage;
    let Ok((message, _)) = postcard::take_from_bytes::<AdmissionMessage>(data) else {
        return;
    };
    if let AdmissionMessage::Refused { refusal, .. } = &message {
        let told = format!("{refusal} {}", refusal.advice());
        assert!(!told.chars().any(char::is_control), "{told:?}");
    }
    let again = postcard::to_extend(&message, Vec::new()).expect("what was read can be written");
    assert_eq!(postcard::from_bytes(&again), Ok(message));
}

/// Reads the bytes as a record, as each body that we know, and as messages of reconciliation.
pub fn fuzz_record(data: &[u8]) {
    use crate::peer::directory::DirectoryMessage;
    use crate::peer::recon::{self, ReconMessage};
    use crate::peer::{NodeCard, Record, SiteLoad, SiteMembers};
    if let Some(record) = Record::decode(data) {
        let again = record.encode();
        assert_eq!(Record::decode(&again), Some(record));
        let canonical = Record::signed_part(&again).len() + 64;
        assert_eq!(canonical, again.len(), "the signature is the end");
    }
    if let Some(members) = SiteMembers::decode(data) {
        let one_by_one: Vec<_> = SiteMembers::lines(data).collect();
        assert_eq!(members.members.as_slice(), one_by_one);
        assert_eq!(SiteMembers::decode(&members.encode()), Some(members));
    }
    if let Some(load) = SiteLoad::decode(data) {
        assert_eq!(SiteLoad::decode(&load.encode()), Some(load));
    }
    if let Some(card) = NodeCard::decode(data) {
        assert_eq!(NodeCard::decode(&card.encode()), Some(card));
    }
    recon::unpack(data).for_each(|record| drop(Record::decode(record)));
    if let Ok((message, _)) = postcard::take_from_bytes::<ReconMessage>(data) {
        let again = postcard::to_extend(&message, Vec::new()).expect("what was read is writable");
        assert_eq!(postcard::from_bytes(&again), Ok(message));
    }
    let _ = postcard::take_from_bytes::<DirectoryMessage>(data);
}

/// Reads the bytes as the body of a message about registers, and as a council.
pub fn fuzz_register(data: &[u8]) {
    use crate::peer::register::{Council, RegisterMessage};
    if let Some(council) = Council::decode(data) {
        assert!(council.majority() <= council.seats.as_slice().len());
        assert!(!council.follows(&council), "no council follows itself");
        assert_eq!(Council::decode(&council.encode()), Some(council));
    }
    let Ok((message, _)) = postcard::take_from_bytes::<RegisterMessage>(data) else {
        return;
    };
    let again = postcard::to_extend(&message, Vec::new()).expect("what was read can be written");
    assert_eq!(postcard::from_bytes(&again), Ok(message));
}

/// Reads the bytes as the body of a message about the cluster's table, and as one of its entries.
pub fn fuzz_lookup(data: &[u8]) {
    use crate::peer::lookup::{BUCKETS, Entry, LIVES_S_MAX, LookupMessage};
    if let Ok((entry, _)) = postcard::take_from_bytes::<Entry>(data) {
        assert!(entry.lives_s <= LIVES_S_MAX && entry.key.bucket() < BUCKETS);
        assert!(
            !entry.is_newer_than(&entry),
            "no entry is newer than itself"
        );
        let signed = entry.signed_part();
        let whole = postcard::to_extend(&entry, Vec::new()).expect("what was read can be written");
        assert!(signed.ends_with(&whole[..whole.len() - 64]));
    }
    let Ok((message, _)) = postcard::take_from_bytes::<LookupMessage>(data) else {
        return;
    };
    let again = postcard::to_extend(&message, Vec::new()).expect("what was read can be written");
    assert_eq!(postcard::from_bytes(&again), Ok(message));
}
