//! Who may write what: one table.
//!
//! Does:      names each kind's realm, authors, size, life span and place in the heal order.
//! Does not:  check signatures (`Keyring`) or read bodies.
//! Bounds:    `body_max` of each row.
//! Trusts:    the certificate for a node's site.
//! Start at:  `AUTHORITY`.

use protocol::SiteId;
use protocol::peer::{RECORD_BODY_BYTES_MAX, Realm, Record, RecordKind};

/// In which realm a kind lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RealmRule {
    Cluster,
    Site,
    Either,
}

/// Who may write a record, and which of two holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorRule {
    /// The node that it is about; in a site's realm, a node of that site.
    Subject,
    /// Any node of the realm's site. The first holds for ever.
    SiteGrows,
    /// Whoever owns the thing: the higher epoch, within an epoch the same author. What was ended
    /// stays ended.
    Owner,
    /// Anybody: the body proves itself.
    Proof,
    /// Any member, of the site whose realm it is: kinds that a later version knows more about.
    Member,
}

/// How long a record stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Its author repeats it, and it fades when that stops. Never on disk.
    Fades,
    /// Until it is ended and everybody knows.
    Stays,
    /// For ever.
    Grows,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Authority {
    pub kind: RecordKind,
    pub name: &'static str,
    pub realm: RealmRule,
    pub author: AuthorRule,
    pub span: Span,
    /// Heal order: 0 revocations, 1 certificates, 2 members, 3 owned objects, 4 the rest.
    pub class: u8,
    pub body_max: usize,
}

/// Number of classes of the heal order.
pub const CLASSES: usize = 5;

const fn row(
    kind: RecordKind,
    name: &'static str,
    realm: RealmRule,
    author: AuthorRule,
    span: Span,
    class: u8,
    body_max: usize,
) -> Authority {
    Authority {
        kind,
        name,
        realm,
        author,
        span,
        class,
        body_max,
    }
}

#[rustfmt::skip] // keeps the columns
pub const AUTHORITY: &[Authority] = &[
    row(RecordKind::NODE_CARD,    "card",        RealmRule::Site,    AuthorRule::Subject,     Span::Fades, 2, 4 << 10),
    row(RecordKind::SITE_MEMBERS, "members",     RealmRule::Cluster, AuthorRule::Subject,     Span::Fades, 2, 48 << 10),
    row(RecordKind::SITE_LOAD,    "load",        RealmRule::Cluster, AuthorRule::Subject,     Span::Fades, 2, 4 << 10),
    row(RecordKind::SITE_RETIRED, "retired",     RealmRule::Cluster, AuthorRule::Proof,       Span::Grows, 1, 4 << 10),
    row(RecordKind::CERTIFICATE,  "certificate", RealmRule::Cluster, AuthorRule::Proof,       Span::Stays, 1, 4 << 10),
    row(RecordKind::GRANT,        "grant",       RealmRule::Cluster, AuthorRule::Proof,       Span::Grows, 1, 16 << 10),
    row(RecordKind::REVOCATION,   "revocation",  RealmRule::Cluster, AuthorRule::Proof,       Span::Grows, 0, 16 << 10),
    row(RecordKind::GRANT_USE,    "grant use",   RealmRule::Site,    AuthorRule::SiteGrows,   Span::Grows, 1, 1 << 10),
    row(RecordKind::VM,           "vm",          RealmRule::Site,    AuthorRule::Owner,       Span::Stays, 3, 16 << 10),
    row(RecordKind::IMAGES,       "images",      RealmRule::Site,    AuthorRule::Subject,     Span::Fades, 4, RECORD_BODY_BYTES_MAX),
    row(RecordKind::CAPACITY,     "capacity",    RealmRule::Site,    AuthorRule::Subject,     Span::Fades, 4, 4 << 10),
];

const UNKNOWN: Authority = row(
    RecordKind(0),
    "unknown",
    RealmRule::Either,
    AuthorRule::Member,
    Span::Stays,
    4,
    RECORD_BODY_BYTES_MAX,
);

/// The row of a kind; kinds of later versions share one.
pub fn of(kind: RecordKind) -> &'static Authority {
    AUTHORITY
        .iter()
        .find(|row| row.kind == kind)
        .unwrap_or(&UNKNOWN)
}

impl Authority {
    /// Whether realm, author, size and shape are as the row demands. `site_of_author`: what the
    /// author's certificate says.
    pub fn permits(&self, record: &Record, site_of_author: Option<SiteId>) -> bool {
        let realm = match (self.realm, record.key.realm) {
            (RealmRule::Either, _)
            | (RealmRule::Cluster, Realm::Cluster)
            | (RealmRule::Site, Realm::Site(_)) => true,
            (RealmRule::Cluster | RealmRule::Site, _) => false,
        };
        let in_site = match record.key.realm {
            Realm::Site(site) => site_of_author == Some(site),
            Realm::Cluster => true,
        };
        let author = match self.author {
            AuthorRule::Subject => record.author.bytes() == record.key.subject && in_site,
            AuthorRule::SiteGrows | AuthorRule::Owner | AuthorRule::Member => in_site,
            AuthorRule::Proof => true,
        };
        let may_end = self.span != Span::Grows || !record.ended;
        realm && author && may_end && record.body.len() <= self.body_max
    }
}
