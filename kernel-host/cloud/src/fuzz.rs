//! What must hold for any bytes that arrive as the body of a record.
//!
//! Start at:  `fuzz_body`.

use crate::bodies::{ImagesBody, VmBody, decode_capacity, encode_capacity};

/// The first byte picks the kind; what was read is written as something that reads the same.
pub fn fuzz_body(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 3 {
        0 => {
            if let Ok(body) = VmBody::decode(bytes) {
                assert_eq!(VmBody::decode(&body.encode()), Ok(body));
            }
        }
        1 => {
            if let Ok(body) = ImagesBody::decode(bytes) {
                assert_eq!(ImagesBody::decode(&body.encode()), Ok(body));
            }
        }
        _ => {
            if let Ok(body) = decode_capacity(bytes) {
                assert_eq!(decode_capacity(&encode_capacity(&body)), Ok(body));
                let _ = (body.free(), body.fullness_permille());
            }
        }
    }
}
