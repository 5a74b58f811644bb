//! Every maximum that users can meet, in one table.
//!
//! Does:      names each limit with its unit and its reason; what happens at it stands beside it.
//! Start at:  the table.

use crate::ByteCount;

/// Virtual machines a node keeps in its list, running or not. At it: `limit_reached`.
/// 128 is far above what the memory of a small server can run.
pub const VMS_MAX: usize = 128;

/// Images on a node. At it: `limit_reached`.
pub const IMAGES_MAX: usize = 64;

/// Blobs on a node, complete or not: kernel, initrd and disk of each image, and some in flight.
/// At it: `limit_reached`.
pub const BLOBS_MAX: usize = 3 * IMAGES_MAX + 16;

/// Size of one blob. Blobs live in memory, so that is the other limit (`no_capacity`).
pub const BLOB_BYTES_MAX: ByteCount = ByteCount::gib(64);

/// Body of one piece of a blob. At it: `too_large`. 1 MiB keeps a node's memory calm and is
/// still one round trip per 8 ms at 1 Gbit/s.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Body of any other request. At it: `too_large`.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// Path and query of a request. At it: `bad_request`.
pub const TARGET_BYTES_MAX: usize = 2048;

/// Characters of a name: a DNS label.
pub const NAME_CHARS_MAX: usize = 63;

/// Characters of a node's name, as it stands in its certificate and in lists.
pub const NODE_NAME_CHARS_MAX: usize = 64;

/// Events a node keeps for `luc events`. Older ones are forgotten, and readers told how many.
pub const EVENTS_MAX: usize = 1024;

/// Longest wait of one request for the next event.
pub const EVENTS_WAIT_MS_MAX: u64 = 25_000;

/// Characters of an approval code.
pub const CODE_CHARS_MAX: usize = 32;

/// Characters of all kernel arguments together: what x86 kernels read (2048 with the final zero).
pub const CMDLINE_CHARS_MAX: usize = 2047;

/// Virtual CPUs of one VM.
pub const VCPUS_MAX: u8 = 8;

/// Least memory of one VM: what a stock kernel and an initrd can start with.
pub const VM_MEMORY_MIN: ByteCount = ByteCount::mib(48);

/// Most memory of one VM: well inside the 64-bit window of the monitor's address map.
pub const VM_MEMORY_MAX: ByteCount = ByteCount::gib(256);

/// What one running VM costs beside its own memory: the monitor's process and page tables.
pub const VM_OVERHEAD: ByteCount = ByteCount::mib(8);

/// Items of one page of a list. More asked: `bad_value`.
pub const PAGE_ITEMS_MAX: u32 = 100;

/// Items of one page if nothing was said.
pub const PAGE_ITEMS_DEFAULT: u32 = 50;

/// Characters of an idempotency key.
pub const RETRY_KEY_CHARS_MAX: usize = 64;

/// Idempotency keys remembered. At it the oldest is forgotten (`retry_keys_dropped` +1).
pub const RETRY_KEYS_MAX: usize = 256;

/// How long an idempotency key is remembered.
pub const RETRY_KEY_LIFE_MS: u64 = 10 * 60_000;

/// A blob that nobody sends on and no image uses is dropped after this (`blobs_expired` +1).
pub const BLOB_IDLE_MS: u64 = 15 * 60_000;

/// How long a guest may ignore the power button before its VM counts as running again.
pub const POWER_BUTTON_PATIENCE_MS: u64 = 90_000;

/// Longest wait for the guest before a stop by force, if the caller named one.
pub const FORCE_AFTER_MS_MAX: u64 = 60 * 60_000;

/// Characters of a reason. Longer ones are cut, and end in `...`.
pub const REASON_CHARS_MAX: usize = 300;

/// Scrollback kept per VM console. Older bytes are dropped; a reader is told from which byte on.
pub const CONSOLE_SCROLLBACK_BYTES: usize = 64 << 10;

/// Bytes of one WebSocket message of a console, both ways. Longer ones end the session.
pub const CONSOLE_MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Readers of one console. At it: `busy`.
pub const CONSOLE_READERS_MAX: usize = 8;

/// Characters that move the cursor, hide, or turn the direction of what stands around them.
fn plays_tricks(c: char) -> bool {
    let invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' | '\u{feff}');
    c.is_control() || invisible
}

/// At most `chars_max` characters of a text, safe to print on a terminal.
pub fn shortened(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == chars_max {
            out.push_str("...");
            break;
        }
        if plays_tricks(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
    }
    out
}
