//! What must hold for any request.
//!
//! Does:      panics on a broken promise; a fuzzer, and the test that replays the corpus, call it.
//! Start at:  `fuzz_request`.

use crate::{Call, Reply, RequestHead, body_max, parse};
use protocol::{Code, Command, limits};

/// Input: lines of method, target, content type and key, an empty line, then the body.
pub fn fuzz_request(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &[][..]),
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let method = lines.next().unwrap_or("");
    let target = lines.next().unwrap_or("");
    let content_type = lines.next().filter(|line| !line.is_empty());
    let idempotency_key = lines.next();
    let content_length = Some(body.len() as u64);
    let websocket = lines.next().is_some();
    let head = RequestHead {
        method,
        target,
        content_type,
        content_length,
        idempotency_key,
        websocket,
    };
    let most = body_max(&head);
    let result = parse(&head, body.to_vec());
    match result {
        Ok(call) => {
            assert!(
                most.is_ok_and(|most| body.len() <= most),
                "an unbounded body was taken"
            );
            check_call(&call);
        }
        Err(problem) => {
            assert!(
                !problem.detail.is_empty() && !problem.advice.is_empty(),
                "{problem:?}"
            );
            assert!(
                problem.status >= 400 && problem.code != Code::Internal,
                "{problem:?}"
            );
            assert!(!problem.detail.chars().any(char::is_control), "{problem:?}");
            let reply = Reply::problem(problem, "fuzz").into_http();
            assert!(reply.body().len() < 16 << 10, "a huge problem");
        }
    }
}

fn check_call(call: &Call) {
    let Call::Cloud(request) = call else { return };
    match &request.command {
        Command::ListVms(page) | Command::ListImages(page) => {
            assert!((1..=limits::PAGE_ITEMS_MAX).contains(&page.limit));
        }
        Command::PutBlob { bytes, .. } => assert!(bytes.len() <= limits::CHUNK_BYTES_MAX),
        _ => {}
    }
}
