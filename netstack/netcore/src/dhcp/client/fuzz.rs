//! The client's fuzz target.
//!
//! Does:      plays any bytes as a row of replies, waits, carrier flaps and conflicts.
//! Does not:  run in production.
//! Bounds:    the input's length.
//! Trusts:    nothing.
//! Start at:  `fuzz_client`.

use std::net::Ipv4Addr;

use super::{Client, ClientSettings, Input, Output, State};
use crate::ethernet::Mac;

/// Fuzz target: any row of datagrams, times and carrier flaps leaves a client that still asks.
pub fn fuzz_client(data: &[u8]) {
    let settings = ClientSettings {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        host_name: None,
        vendor_class: None,
        seed: 7,
    };
    let mut client = Client::new(settings, 0);
    let mut now_ms = 0;
    let mut rest = data;
    while let [step, length, tail @ ..] = rest {
        let (piece, tail) = tail.split_at(usize::from(*length).saturating_mul(2).min(tail.len()));
        rest = tail;
        now_ms += u64::from(*step) * 100;
        match step % 8 {
            0 => client.handle_input(now_ms, Input::CarrierLost),
            1 => client.handle_input(now_ms, Input::CarrierBack),
            2 => client.handle_input(now_ms, Input::Conflict),
            3 => feed_reply(&mut client, now_ms, piece),
            _ => client.handle_timeout(now_ms),
        }
        let mut sent = 0;
        while let Some(output) = client.poll_output() {
            sent += usize::from(matches!(output, Output::Send { .. }));
        }
        assert!(sent <= 1, "one input never sends twice");
        if client.carrier && client.lease().is_none() {
            assert!(
                client.next_timeout().is_some(),
                "without a lease it keeps asking"
            );
        }
    }
}

/// Makes a hostile reply fit the conversation, so that it gets past the first checks.
fn feed_reply(client: &mut Client, now_ms: u64, piece: &[u8]) {
    let mut bytes = piece.to_vec();
    if let (
        Some(field),
        State::Selecting(asking)
        | State::Requesting(asking, _)
        | State::Confirming(asking, _)
        | State::Bound(_, Some(asking)),
    ) = (bytes.get_mut(4..8), &client.state)
    {
        field.copy_from_slice(&asking.transaction.to_be_bytes());
    }
    let from = Ipv4Addr::new(10, 0, 0, 1);
    client.handle_input(
        now_ms,
        Input::Datagram {
            from,
            bytes: &bytes,
        },
    );
}
