//! Who may be a node: keys, certificates, and how a stranger becomes a member.
//!
//! Does:      makes keys from seeds; root -> grant -> charter -> certificate, revocations, roots
//!            that follow each other; `Keys`, which knows whom to trust; `Joiner` and `Admitter`,
//!            the two sides of joining, renewal and approval; `Membership`, which has all three.
//! Does not:  do I/O, encrypt (`session`), spread records or decide who is alive (`overlay`).
//! Bounds:    `ring::CERTIFICATES_MAX` and its neighbours, `admitter::PENDING_MAX`,
//!            `joiner::PEERS_MAX`; a chain fits `CHAIN_BYTES_MAX`.
//! Trusts:    the root keys that it was given, and its caller for seeds nobody can guess.
//! Start at:  `chain::Chain` (what proves what), then `membership::Membership`.
//!
//! What a chain means. The root is a key on somebody's shelf. It signs *grants*: a token, a list
//! of machines, or an operator. The first node of a site that holds a founding token makes the
//! site's *charter*, whose secret all nodes of the site share, so that any of them can sign
//! *certificates* for ever, also in a site that nothing else reaches. So a node that is stolen can
//! make certificates until its charter is revoked: revoke the node, and then its charters.

#![forbid(unsafe_code)]

pub mod admitter;
pub mod armour;
pub mod certificate;
pub mod chain;
pub mod charter;
pub mod cluster;
pub mod desk;
pub mod fuzz;
pub mod gate;
pub mod grant;
pub mod joiner;
pub mod membership;
pub mod publication;
pub mod request;
pub mod revocation;
pub mod ring;
pub mod secret;
mod statement;
pub mod succession;
pub mod token;
