//! `luc cluster revoke`, `admit`, `retire` and `tell`: words that the owner signs at home.
//!
//! Does:      signs with the cluster's secret key, on a machine without a network if you like;
//!            prints a text without any secret; hands such a text to a node.
//! Does not:  decide whether a word counts: each node judges it by the roots that it was given.
//! Bounds:    `LISTED_MAX` machines on a list; `armour::TEXT_CHARS_MAX` of a text are read.
//! Trusts:    the person for what to sign.
//! Start at:  `revoke`, `tell`.

use super::Session;
use super::cluster::{cell, random_seed, read_secret};
use super::token::{clock, read_input};
use crate::{
    Done, Streams,
    arguments::{ClusterAdmit, ClusterRetire, ClusterRevoke, ClusterTell, Common, Format, Signer},
    render::{self, Column, Layout, Resource, Shown, View, check_columns},
    usage,
};
use identity::{
    cluster::ClusterSecret,
    grant::{Grant, GrantFields, GrantRight, LISTED_MAX, Listed},
    publication::{RightBody, Word},
    revocation::{Authority, REASON_BYTES_MAX, Revocation, RevocationFields, Target},
    secret::SecretKey,
};
use protocol::{
    OwnerWordTaken, Problem,
    peer::{admission::Few, capped::Capped, site},
    problem::exit,
};
use serde::Serialize;
use std::time::Duration;

/// What is told of a signed word.
#[derive(Debug, Serialize)]
struct Signed {
    what: String,
    word: String,
}

impl Resource for Signed {
    fn name(&self) -> String {
        self.word.clone()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        const COLUMNS: &[Column<Signed>] = &[
            Column { key: "what", shown: Shown::Table, cell: |one, _| cell(&one.what) },
            Column { key: "word", shown: Shown::Card,  cell: |one, _| cell(&one.word) },
        ];
        COLUMNS
    }
}

impl Resource for OwnerWordTaken {
    fn name(&self) -> String {
        self.what.clone()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        const COLUMNS: &[Column<OwnerWordTaken>] = &[
            Column { key: "what", shown: Shown::Table, cell: |one, _| cell(&one.what) },
        ];
        COLUMNS
    }
}

pub(super) fn revoke(revoke: &ClusterRevoke, common: &Common, streams: &mut Streams) -> Done {
    let target = &revoke.target;
    let target = (target.node.map(Target::Node))
        .or(target.token.map(Target::Grant))
        .or(target.charter.map(Target::Charter));
    let target = target.ok_or_else(|| usage("What should be revoked?", "Add --node ID"))?;
    let what = (target, revoke.since, revoke.reason.as_str());
    put(&take_away(&revoke.signer, what, streams)?, common, streams)
}

pub(super) fn retire(retire: &ClusterRetire, common: &Common, streams: &mut Streams) -> Done {
    let target = Target::Site(site::id_of(&retire.site));
    let what = (target, None, retire.reason.as_str());
    put(&take_away(&retire.signer, what, streams)?, common, streams)
}

fn now_s() -> u64 {
    clock().unix_ms() / 1000
}

fn take_away(
    signer: &Signer,
    (target, since, reason): (Target, Option<Duration>, &str),
    streams: &mut Streams,
) -> Result<Word, Problem> {
    let reason = Capped::new(reason.as_bytes().to_vec()).ok_or_else(|| {
        let detail = format!("The reason is longer than {REASON_BYTES_MAX} bytes");
        usage(detail, "Say it shorter: every node keeps it for ever")
    })?;
    let ClusterSecret { root, .. } = read_secret(&signer.key, streams)?;
    let made_s = now_s();
    let fields = RevocationFields {
        target,
        since_s: since.map(|since| made_s.saturating_sub(since.as_secs())),
        spares: Few::default(),
        made_s,
        reason,
    };
    let authority = Authority::Root(root.public());
    Ok(Word::Revocation(Revocation::sign(fields, authority, &root)))
}

pub(super) fn admit(admit: &ClusterAdmit, common: &Common, streams: &mut Streams) -> Done {
    let machines = admit.machine.iter().chain(&admit.uuid);
    let machines = machines.map(|machine| Listed::Machine(*machine));
    let nodes = admit.node.iter().map(|node| Listed::Node(*node));
    let who: Vec<Listed> = machines.chain(nodes).collect();
    if who.is_empty() || who.len() > LISTED_MAX {
        let detail = format!(
            "A list names 1 to {LISTED_MAX} machines, this one {}",
            who.len()
        );
        return Err(usage(
            detail,
            "Add --uuid, --machine or --node; or sign several lists",
        ));
    }
    let ClusterSecret { root, .. } = read_secret(&admit.signer.key, streams)?;
    let made_s = now_s();
    let expires_s = |lifetime: Duration| made_s.saturating_add(lifetime.as_secs());
    let fields = GrantFields {
        // A list has no use for a key of its own; nobody has this one's secret.
        key: SecretKey::from_seed(&random_seed()?).public(),
        made_s,
        expires_s: admit.expires.map(expires_s),
        right: GrantRight::List {
            site: admit.site.clone(),
            who: Few::new(who),
        },
    };
    let list = RightBody::Grant(Grant::sign(fields, &root));
    put(&Word::Right(list), common, streams)
}

/// The word alone, so that `> word` and pipes get it; what it says, beside it.
fn put(word: &Word, common: &Common, streams: &mut Streams) -> Done {
    check_columns::<Signed>(common)?;
    let signed = Signed {
        what: word.what(),
        word: word.to_string(),
    };
    if !common.quiet {
        streams.tell(format_args!("word:    {}", signed.what));
        streams.tell("public:  it holds no secret; nothing happens until a node is told");
        streams.tell("next:    luc --via NODE cluster tell WORD");
    }
    match common.output {
        Format::Table | Format::Wide | Format::Name => {
            render::put(&(signed.word + "\n"), streams)?;
        }
        _ => render::one(&signed, Layout::Card, &View::new(common, None), streams)?,
    }
    Ok(exit::DONE)
}

pub(super) fn tell(tell: &ClusterTell, common: &Common, streams: &mut Streams) -> Done {
    check_columns::<OwnerWordTaken>(common)?;
    let text = match tell.word.as_str() {
        "-" => read_input("word", streams)?,
        text => text.to_owned(),
    };
    let mut session = Session::open(common, streams)?;
    let taken = session.client.tell_word(text.trim())?;
    session.show(&taken, Layout::Row)
}
