//! What a test guest and the rig agree on: the token and the words around it.
//!
//! Does:      turns a nonce and a kernel release into a token, the same on both sides.
//! Does not:  keep secrets: the token proves that *this* program ran under *that* kernel with
//!            *our* nonce; it is no signature.
//! Bounds:    a fixed number of rounds; allocates one short string.
//! Trusts:    its caller for the release: the guest asks its own kernel, the rig reads it from
//!            the image's lock.
//! Start at:  `token`.

#![forbid(unsafe_code)]

pub mod bench;

pub mod linux;

/// Begins the line that carries a token.
pub const TOKEN_LINE: &str = "LUC-TOKEN ";
/// Begins each line that the guest says about itself.
pub const GUEST_LINE: &str = "luc-guest[";
/// Begins the answer to a line typed into an `echo` guest.
pub const ECHO_LINE: &str = "LUC-ECHO ";
/// Begins the verdict of a `disk` guest.
pub const DISK_LINE: &str = "LUC-DISK ";
/// Begins each line of a `flood` guest.
pub const FLOOD_LINE: &str = "LUC-FLOOD ";
/// Printed when the power button was pressed, before the guest switches itself off.
pub const BUTTON_LINE: &str = "LUC-BUTTON";

/// Modules that the rig packs for guests, as `/lib/<name>.ko.xz`; Debian's cloud kernel has the
/// rest built in.
pub const MODULES: [&str; 3] = ["button", "evdev", "virtio_blk"];

/// Mixed into every token, so that a token of another version of this program is wrong.
const SALT: &str = "luc-guest-1";
/// Rounds over the four lanes: enough that nobody does it by hand, and about 1 ms in emulation.
const ROUNDS: u32 = 1000;
/// FNV-1a, 64 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The token for `nonce` under the kernel `release`: 64 lower-case hex digits.
#[must_use]
pub fn token(nonce: &str, release: &str) -> String {
    let mut lanes = [0_u64, 1, 2, 3].map(|lane| FNV_OFFSET ^ lane);
    for part in [SALT, nonce, "\0", release] {
        lanes = lanes.map(|lane| absorb(lane, part.as_bytes()));
    }
    for _ in 0..ROUNDS {
        for lane in 0..lanes.len() {
            let neighbour = lanes[(lane + 1) % lanes.len()];
            lanes[lane] = absorb(lanes[lane], &neighbour.to_le_bytes()).rotate_left(17);
        }
    }
    lanes.iter().map(|lane| format!("{lane:016x}")).collect()
}

fn absorb(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    }
    hash
}

/// The value of `key=` in a kernel command line; the last one wins, as in the kernel.
#[must_use]
pub fn argument<'a>(cmdline: &'a str, key: &str) -> Option<&'a str> {
    let words = cmdline.split_ascii_whitespace();
    words
        .filter_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::{argument, token};

    #[test]
    fn a_token_depends_on_the_nonce_and_on_the_kernel() {
        let ours = token("n1", "6.12.117+deb12-cloud-amd64");
        assert_eq!(ours.len(), 64);
        assert_eq!(ours, token("n1", "6.12.117+deb12-cloud-amd64"));
        assert_ne!(ours, token("n2", "6.12.117+deb12-cloud-amd64"));
        assert_ne!(ours, token("n1", "6.12.118+deb12-cloud-amd64"));
        // The border between the two parts counts too.
        assert_ne!(token("ab", "c"), token("a", "bc"));
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn an_argument_is_a_whole_word_and_the_last_one_wins() {
        //       command line                      key          value
        assert_eq!(argument("quiet luc.nonce=7",   "luc.nonce"), Some("7"));
        assert_eq!(argument("luc.nonce=1 luc.nonce=2", "luc.nonce"), Some("2"));
        assert_eq!(argument("xluc.nonce=1",        "luc.nonce"), None);
        assert_eq!(argument("luc.nonce",           "luc.nonce"), None);
        assert_eq!(argument("luc.nonce=",          "luc.nonce"), Some(""));
    }
}
