//! The target of a request: path and query.
//!
//! Does:      splits, decodes percent signs and refuses what is not UTF-8.
//! Bounds:    `TARGET_BYTES_MAX`.
//! Start at:  `Target::parse`.

use protocol::{Code, Problem, limits};

/// A decoded target.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Each segment decoded by itself, joined by `/`; an encoded slash stays encoded.
    pub path: String,
    pub query: Vec<(String, String)>,
}

impl Target {
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > limits::TARGET_BYTES_MAX {
            return Err(bad(
                format!("The path and query have {} bytes", text.len()),
                format!("Send at most {}", limits::TARGET_BYTES_MAX),
            ));
        }
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if !path.starts_with('/') {
            return Err(bad(
                format!(
                    "The path `{}` does not start with `/`",
                    limits::shortened(path, 60)
                ),
                "Send an absolute path such as /v1/vms".to_owned(),
            ));
        }
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decoded(name, true)?, decoded(value, true)?))
            })
            .collect::<Result<_, Problem>>()?;
        Ok(Self {
            path: decoded(path, false)?,
            query,
        })
    }
}

fn bad(detail: String, advice: String) -> Problem {
    Problem::new(Code::BadRequest, detail, advice)
}

fn decoded(text: &str, plus_is_space: bool) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let pair = (rest.next(), rest.next());
                match pair {
                    (Some(high), Some(low)) => bytes.push(unhex(high, low, text)?),
                    _ => return Err(bad_percent(text)),
                }
            }
            b'+' if plus_is_space => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| {
        bad(
            format!(
                "`{}` is not UTF-8 after decoding",
                limits::shortened(text, 60)
            ),
            "Encode names as UTF-8, then each other byte as %XX".to_owned(),
        )
    })
}

fn unhex(high: u8, low: u8, text: &str) -> Result<u8, Problem> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    match (digit(high), digit(low)) {
        // A decoded slash would make two segments out of one.
        (Some(2), Some(15)) => Err(bad_percent(text)),
        (Some(high), Some(low)) => Ok(high << 4 | low),
        _ => Err(bad_percent(text)),
    }
}

fn bad_percent(text: &str) -> Problem {
    bad(
        format!(
            "`{}` holds a percent sign that encodes nothing",
            limits::shortened(text, 60)
        ),
        "Write %25 for a percent sign; a `/` can't stand in a name or value".to_owned(),
    )
}
