//! HTTP for firmware: the plain subset that boot ROMs survive.
//!
//! Does:      GET and HEAD with ranges, keep-alive, exact lengths; `//` counts as `/`.
//! Does not:  redirect, chunk, compress, or send headers that nobody needs: each of these stops
//!            some firmware (edk2#9920, edk2#7443, smee#229).
//! Bounds:    `CONNECTIONS_MAX` connections; more wait in the backlog. `HEAD_BYTES_MAX` a request
//!            head, `HEAD_MS_MAX` to send it.
//! Trusts:    nobody.
//! Start at:  `answer`.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use netio::executor::{Handle, HyperTimer};

use super::event::{Event, Outcome, Protocol, Tracker, Transfer};
use super::kernel::Stream;
use super::{Config, Listener};

/// Connections served at once: a rack that boots at the same moment, twice.
pub const CONNECTIONS_MAX: usize = 128;
/// A boot ROM's request has a few hundred bytes. hyper wants at least 8 KiB.
const HEAD_BYTES_MAX: usize = 8192;
/// How long a client may keep a connection open without asking for anything.
const HEAD_MS_MAX: u64 = 60_000;
/// How long to wait for a free place before looking again.
const FULL_PAUSE_MS: u64 = 20;
/// Bytes handed to the connection at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Serves on a stack of our own.
pub(super) async fn serve_stack(
    executor: Handle,
    mut listener: netio::host::TcpListener,
    config: Config,
) -> io::Result<()> {
    let open = Rc::new(Cell::new(0));
    loop {
        room(&executor, &open).await;
        let stream = listener.accept().await?;
        let Some(peer) = stream.peer() else { continue };
        spawn(&executor, stream, SocketAddr::V4(peer), &config, &open)?;
    }
}

/// Serves on an interface of this machine.
pub(super) async fn serve_kernel(
    executor: Handle,
    listener: std::net::TcpListener,
    config: Config,
) -> io::Result<()> {
    let open = Rc::new(Cell::new(0));
    loop {
        room(&executor, &open).await;
        match listener.accept() {
            Ok((stream, peer)) => {
                // A connection that is gone already is no reason to stop.
                if let Ok(stream) = Stream::new(&executor, stream) {
                    spawn(&executor, stream, peer, &config, &open)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                executor.readable(&listener).await?;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

async fn room(executor: &Handle, open: &Cell<usize>) {
    while open.get() >= CONNECTIONS_MAX {
        executor.sleep(FULL_PAUSE_MS).await;
    }
}

/// One place among the connections; given back when dropped.
struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn spawn<S>(
    executor: &Handle,
    stream: S,
    peer: SocketAddr,
    config: &Config,
    open: &Rc<Cell<usize>>,
) -> io::Result<()>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    open.set(open.get() + 1);
    let place = Place(Rc::clone(open));
    let config = config.clone();
    let task = async move {
        let _place = place;
        let service = service_fn(|request: Request<Incoming>| {
            let response = answer(&request, peer, &config);
            async move { Ok::<_, Infallible>(response) }
        });
        // How a connection ends is the client's affair; transfers tell their own story.
        let _ = http1::Builder::new()
            .timer(HyperTimer)
            .header_read_timeout(Duration::from_millis(HEAD_MS_MAX))
            .max_buf_size(HEAD_BYTES_MAX)
            .auto_date_header(false)
            .half_close(true)
            .serve_connection(stream, service)
            .await;
    };
    executor.spawn_detached(task).map_err(io::Error::other)
}

/// What one request gets.
fn answer<B>(request: &Request<B>, peer: SocketAddr, config: &Config) -> Response<Pieces> {
    let name = file_name(request.uri().path());
    let refuse = |status: StatusCode, why: &str| {
        let transfer = Transfer {
            protocol: Protocol::Http,
            peer,
            file: request.uri().path().chars().take(100).collect(),
            sent: 0,
            total: 0,
            outcome: Outcome::Refused(why.to_owned()),
        };
        (config.listener)(&Event::Transfer(transfer));
        plain(status, &format!("{why}\n"))
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let Some(bytes) = config.files.find(&name) else {
        return refuse(StatusCode::NOT_FOUND, "no such file");
    };
    match range_of(request.headers(), bytes.len()) {
        Wanted::Nothing => {
            let mut response = refuse(StatusCode::RANGE_NOT_SATISFIABLE, "no such range");
            let size = format!("bytes */{}", bytes.len());
            insert(response.headers_mut(), CONTENT_RANGE, &size);
            response
        }
        wanted => {
            let listener = (*request.method() == Method::GET).then(|| Rc::clone(&config.listener));
            file(&name, &bytes, wanted, peer, listener)
        }
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Pieces> {
    let bytes = Bytes::from(text.to_owned());
    let mut response = Response::new(Pieces {
        rest: bytes.clone(),
        sent: 0,
        tracker: None,
    });
    *response.status_mut() = status;
    insert(
        response.headers_mut(),
        CONTENT_LENGTH,
        &bytes.len().to_string(),
    );
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn file(
    name: &str,
    bytes: &Bytes,
    wanted: Wanted,
    peer: SocketAddr,
    listener: Option<Listener>,
) -> Response<Pieces> {
    let (status, range) = match wanted {
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        _ => (StatusCode::OK, 0..bytes.len()),
    };
    let part = bytes.slice(range.clone());
    let tracker = listener
        .map(|listener| Tracker::start(Protocol::Http, peer, name, part.len() as u64, listener));
    let length = part.len().to_string();
    let mut response = Response::new(Pieces {
        rest: part,
        sent: 0,
        tracker,
    });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    insert(headers, CONTENT_LENGTH, &length);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind_of(name)));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len());
        insert(headers, CONTENT_RANGE, &text);
    }
    response
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, text: &str) {
    // Digits and our own words are always a valid value.
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// UEFI takes the type or the name's ending for what the file is.
fn kind_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("efi") => "application/efi",
        Some("json") => "application/json",
        Some("ipxe") => "text/plain",
        _ => "application/octet-stream",
    }
}

/// The file that a path names. Slashes may come in any number: firmware joins paths carelessly.
fn file_name(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty());
    let name = parts.collect::<Vec<_>>().join("/");
    percent_decoded(&name).unwrap_or(name)
}

/// Turns `%2B` into `+`. `None`: the text is no such encoding.
fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

/// What a request wants of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(Range<usize>),
    /// A range that lies outside the file.
    Nothing,
}

fn range_of(headers: &HeaderMap, size: usize) -> Wanted {
    match headers.get(RANGE).map(HeaderValue::to_str) {
        Some(Ok(text)) => parse_range(text, size),
        _ => Wanted::Whole,
    }
}

/// RFC 9110 14: one range is honoured; several, or none we understand, get the whole file.
fn parse_range(text: &str, size: usize) -> Wanted {
    let Some((first, last)) = text
        .trim()
        .strip_prefix("bytes=")
        .and_then(|s| s.split_once('-'))
    else {
        return Wanted::Whole;
    };
    let number = |text: &str| -> Option<usize> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(usize::MAX))
    };
    let part = |start: usize, end: usize| match start..end.min(size) {
        range if range.is_empty() => Wanted::Nothing,
        range => Wanted::Part(range),
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => part(first, last.saturating_add(1)),
        (Some(first), None) if last.is_empty() => part(first, size),
        (None, Some(count)) if first.is_empty() => part(size.saturating_sub(count), size),
        _ => Wanted::Whole,
    }
}

/// A file on its way, piece by piece, without a copy.
struct Pieces {
    rest: Bytes,
    sent: u64,
    tracker: Option<Tracker>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        this.sent += piece.len() as u64;
        if let Some(tracker) = &mut this.tracker {
            tracker.reached(this.sent);
            if this.rest.is_empty() {
                tracker.done();
            }
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// Any text as a range: what comes out lies inside the file.
pub fn fuzz_range(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for size in [0, 1, 1000] {
        if let Wanted::Part(range) = parse_range(&text, size) {
            assert!(
                range.start < range.end && range.end <= size,
                "{text:?} of {size}: {range:?}"
            );
        }
    }
}

/// Any text as a path: a name that no longer depends on the number of slashes.
pub fn fuzz_path(data: &[u8]) {
    let path = String::from_utf8_lossy(data);
    let name = file_name(&path);
    assert_eq!(file_name(&path.replace('/', "//")), name);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::netboot::Files;
    use netcore::dhcp::server::Mode;
    use std::net::Ipv4Addr;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn one_range_is_honoured_and_others_get_the_whole_file() {
        use Wanted::{Nothing, Part, Whole};
        for (text, expected) in [
            ("bytes=0-0",        Part(0..1)),
            ("bytes=10-19",      Part(10..20)),
            ("bytes=90-",        Part(90..100)),
            ("bytes=-10",        Part(90..100)),
            ("bytes=-1000",      Part(0..100)),
            ("bytes=50-1000",    Part(50..100)),
            ("bytes=0-99999999999999999999999", Part(0..100)),
            ("bytes=100-",       Nothing),
            ("bytes=100-200",    Nothing),
            ("bytes=-0",         Nothing),
            ("bytes=9-3",        Whole),
            ("bytes=0-1,5-6",    Whole),
            ("bytes=-",          Whole),
            ("bytes=a-b",        Whole),
            ("lines=1-2",        Whole),
            ("",                 Whole),
        ] {
            assert_eq!(parse_range(text, 100), expected, "{text}");
        }
        assert_eq!(parse_range("bytes=0-0", 0), Nothing);
    }

    fn ask(method: &str, path: &str, range: Option<&str>) -> Response<Pieces> {
        let files = Files::of([("luc.efi".to_owned(), vec![7; 100])]).unwrap();
        let config = Config::new(Ipv4Addr::LOCALHOST, Mode::Proxy, files);
        let mut request = Request::builder().method(method).uri(path);
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        answer(
            &request.body(()).unwrap(),
            "10.0.0.9:1".parse().unwrap(),
            &config,
        )
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn firmware_gets_exact_lengths_and_no_surprises() {
        //   method  path            range               status length
        for (method, path, range, status, length) in [
            ("GET",  "/luc.efi",     None,               200,   "100"),
            ("HEAD", "/luc.efi",     None,               200,   "100"),
            ("GET",  "//luc.efi",    None,               200,   "100"),
            ("GET",  "/luc%2Eefi",   None,               200,   "100"),
            ("GET",  "/luc.efi",     Some("bytes=0-9"),  206,   "10"),
            ("GET",  "/luc.efi",     Some("bytes=100-"), 416,   "14"),
            ("GET",  "/",            None,               404,   "13"),
            ("GET",  "/../luc.efi",  None,               404,   "13"),
            ("PUT",  "/luc.efi",     None,               405,   "18"),
        ] {
            let response = ask(method, path, range);
            assert_eq!(response.status().as_u16(), status, "{method} {path} {range:?}");
            assert_eq!(response.headers()[CONTENT_LENGTH], length, "{method} {path} {range:?}");
        }
        assert_eq!(ask("GET", "/luc.efi", Some("bytes=-1")).headers()[CONTENT_RANGE], "bytes 99-99/100");
    }
}
