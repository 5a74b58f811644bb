//! Just enough HTTP to ask a meter: one GET over a connection that ends with the answer.
//!
//! Does:      writes the request; reads status and body by length, by chunks or by the end.
//! Does not:  follow redirects, keep connections, or do TLS: who fetches may wrap the bytes.
//! Bounds:    `HEAD_BYTES_MAX` of a head; the body by the caller's `ANSWER_BYTES_MAX`.
//! Trusts:    nobody.
//! Start at:  `parse`.

use super::Fault;

/// A meter's head is a few hundred bytes; who sends more is no meter.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Words that open a meter's door; they are in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// The request for one path. `authorization` is the header's value, such as `Basic ...`.
#[must_use]
pub fn request(host: &str, path: &str, authorization: Option<&Secret>) -> Vec<u8> {
    let authorization = authorization.map_or(String::new(), |Secret(value)| {
        format!("Authorization: {value}\r\n")
    });
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}\
         Accept: application/json, text/csv\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// Reads an answer; `None` while it is not whole.
///
/// # Errors
/// When the bytes are no HTTP answer, or end too early.
pub fn parse(bytes: &[u8], end: bool) -> Result<Option<Response>, Fault> {
    let nonsense = |why: &str| Fault::nonsense("the HTTP answer", why);
    let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return match end || bytes.len() > HEAD_BYTES_MAX {
            true => Err(nonsense("its head has no end")),
            false => Ok(None),
        };
    };
    let head = std::str::from_utf8(&bytes[..at]).map_err(|_| nonsense("its head is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(status)
        .ok_or_else(|| nonsense("it does not begin with a status"))?;
    let (mut length, mut chunked) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let value = value.trim().parse::<usize>();
                length = Some(value.map_err(|_| nonsense("its length is no number"))?);
            }
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let rest = &bytes[at + 4..];
    let body = match (chunked, length) {
        (true, _) => chunks(rest)?,
        (false, Some(length)) => rest.get(..length).map(<[u8]>::to_vec),
        (false, None) => end.then(|| rest.to_vec()),
    };
    match body {
        Some(body) => Ok(Some(Response { status, body })),
        None if end => Err(nonsense("it ends before its body does")),
        None => Ok(None),
    }
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?;
    let mut words = rest.split(' ').skip(1);
    words
        .next()?
        .parse()
        .ok()
        .filter(|code| (100..600).contains(code))
}

/// The body out of its chunks; `None` while the last one is missing.
fn chunks(mut rest: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let nonsense = || Fault::nonsense("the HTTP answer", "its chunks make no sense");
    let mut body = Vec::new();
    loop {
        let Some(at) = rest.windows(2).position(|two| two == b"\r\n") else {
            return match rest.len() > 64 {
                true => Err(nonsense()),
                false => Ok(None),
            };
        };
        let line = std::str::from_utf8(&rest[..at]).map_err(|_| nonsense())?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| nonsense())?;
        if size == 0 {
            return Ok(Some(body));
        }
        let end = at.checked_add(2).and_then(|at| at.checked_add(size));
        let Some(end) = end.filter(|end| end.checked_add(2).is_some_and(|end| end <= rest.len()))
        else {
            return Ok(None);
        };
        body.extend_from_slice(&rest[at + 2..end]);
        if &rest[end..end + 2] != b"\r\n" {
            return Err(nonsense());
        }
        rest = &rest[end + 2..];
    }
}
