//! All of the detector's times and counts, with their reasons.
//!
//! A dead node of a site of 100 is first probed within 1.8 s (99 %), that probe ends 0.65 s later,
//! and with three accusers, who are found within that time, the suspicion ends 1.6 s after it
//! began: below 5 s.

/// Each node probes one other in this time, which costs five datagrams a second.
pub(super) const PERIOD_MS: u64 = 400;
/// What a direct answer may take. Sites are small: this is a hundred round trips.
pub(super) const DIRECT_MS: u64 = 200;
/// What the answers of helpers, and one by stream, may take after that.
pub(super) const INDIRECT_MS: u64 = 450;
/// A helper says so far that it is there itself, even if it did not reach the target.
pub(super) const RELAY_MS: u64 = 250;
/// Helpers asked for one probe.
pub(super) const HELPERS: usize = 3;
/// Probes under way; at the maximum no more begin, and the round goes on later.
pub(super) const PROBES_MAX: usize = 16;
/// Probes under way for others; at the maximum further requests are not answered, which the asker
/// counts against itself.
pub(super) const RELAYS_MAX: usize = 64;
/// How much slower a node takes itself to be, at most: all of its times are multiplied.
pub(super) const SLOWNESS_MAX: u8 = 8;
/// A deadline missed by so much means that we stood still: what others did meanwhile is unknown.
pub(super) const STANDSTILL_MS: u64 = 300;

/// Nodes that get the news each `GOSSIP_MS` as long as there are any.
pub(super) const GOSSIP_FANOUT: usize = 3;
pub(super) const GOSSIP_MS: u64 = 150;
/// News wait so long for others.
pub(super) const GOSSIP_DELAY_MS: u64 = 10;

/// How often one gone node is looked for. A split that ends is noticed within this time by each
/// node of both halves.
pub(super) const GONE_MS: u64 = 4000;

/// Whole lists are compared so often, even if their digests agree.
pub(super) const EXCHANGE_MS: u64 = 60_000;
/// And at most so often, plus what a long list takes.
pub(super) const EXCHANGE_GAP_MS: u64 = 1000;
pub(super) const EXCHANGE_GAP_PER_MEMBER_MS: u64 = 4;
/// Digests differ for so long after a change, because news take their time.
pub(super) const SETTLE_MS: u64 = 2500;
/// Facts that we send in answer to requests for all we know: so many a second, and at most twice
/// that at once. Beyond it requests go unanswered; those who ask, ask again.
pub(super) const ANSWER_FACTS_PER_S: u64 = 20_000;

/// Contacts to join by; at the maximum further ones are ignored: discovery brings them again.
pub(super) const SEEDS_MAX: usize = 16;
pub(super) const SEED_MS: u64 = 1000;
pub(super) const SEED_MS_MAX: u64 = 16_000;
pub(super) const SEED_TRIES: u8 = 8;
/// One whose life is only claimed is called dead by the next try after this: four got no answer.
pub(super) const CLAIM_MS: u64 = 10_000;
/// The same for a later claim while it is still asked: two halves of a site whose words reach each
/// other while nothing else does would otherwise call each other dead all the time.
pub(super) const CLAIM_AGAIN_MS: u64 = 60_000;

/// Nodes that are told goodbye directly; they tell the others.
pub(super) const GOODBYES: usize = 20;

/// A machine with our key that was heard of so long ago is gone.
pub(super) const CLONE_MS: u64 = 300_000;
/// Two machines of one key outbid each other at most so often, once they know.
pub(super) const CLONE_BID_MS: u64 = 60_000;

/// Who was told what we know of it is not told again for so long, and no more than so many are
/// told in that time.
pub(super) const CORRECTION_MS: u64 = 250;
pub(super) const CORRECTIONS_MAX: usize = 64;

/// The binary logarithm of a site's size.
pub(super) const fn scale(members: usize) -> u64 {
    (members as u64 + 1).ilog2() as u64
}

/// How often a piece of news is sent by each node.
pub(super) fn sends_max(members: usize) -> u8 {
    u8::try_from(4 + 2 * scale(members)).unwrap_or(u8::MAX)
}

/// How long a node with so many independent accusers may take to refute them, in a site in which
/// there are `members` others.
pub(super) fn suspicion_ms(members: usize, accusers: usize) -> u64 {
    let least = 1200 + 60 * scale(members);
    let wanted = members.clamp(1, protocol::peer::swim::ACCUSERS_MAX);
    match wanted.saturating_sub(accusers) {
        0 => least,
        1 => least * 11 / 8,
        _ => least * 2,
    }
}
