//! A door from this machine's loopback into a stack.
//!
//! Does:      accepts connections on a kernel TCP socket and forwards each into the stack, both
//!            ways, half-closes included.
//! Does not:  look into the bytes.
//! Bounds:    `CONNECTIONS_MAX` connections; more wait in the kernel's backlog. `CHUNK_LEN` bytes
//!            of buffer each way.
//! Trusts:    who may reach the loopback port.
//! Start at:  `expose`.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddrV4};
use std::rc::Rc;

use super::HostStack;
use super::stream::{TcpStream, tcp_connect};
use crate::executor::{Either, Handle, race};

/// Connections forwarded at once through one door.
pub const CONNECTIONS_MAX: usize = 64;

/// Bytes moved at a time.
const CHUNK_LEN: usize = 32 * 1024;

/// How long the far end may take to open.
const CONNECT_MS_MAX: u64 = 15_000;

/// Pause before looking again for a free place.
const FULL_PAUSE_MS: u64 = 20;

/// Forwards every connection on `listener` to `to` inside the stack, until the listener fails.
pub async fn expose(
    stack: HostStack,
    listener: std::net::TcpListener,
    to: SocketAddrV4,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let executor = stack.executor().clone();
    let open = Rc::new(Cell::new(0usize));
    loop {
        while open.get() >= CONNECTIONS_MAX {
            executor.sleep(FULL_PAUSE_MS).await;
        }
        match listener.accept() {
            Ok((near, _)) => {
                near.set_nonblocking(true)?;
                near.set_nodelay(true)?;
                let counted = Counted::new(&open);
                let stack = stack.clone();
                let task = async move {
                    let _counted = counted;
                    // A broken connection is the two ends' own affair; both see it close.
                    let _ = forward(&stack, near, to).await;
                };
                executor.spawn_detached(task).map_err(io::Error::other)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                executor.readable(&listener).await?;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(open: &Rc<Cell<usize>>) -> Counted {
        open.set(open.get() + 1);
        Counted(Rc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn forward(stack: &HostStack, near: std::net::TcpStream, to: SocketAddrV4) -> io::Result<()> {
    let executor = stack.executor();
    let far = executor
        .timeout(CONNECT_MS_MAX, tcp_connect(stack, to))
        .await??;
    let mut inward = std::pin::pin!(copy_inward(executor, &near, &far));
    let mut outward = std::pin::pin!(copy_outward(executor, &near, &far));
    let both = match race(inward.as_mut(), outward.as_mut()).await {
        Either::Left(Ok(())) => outward.await,
        Either::Right(Ok(())) => inward.await,
        Either::Left(error) | Either::Right(error) => error,
    };
    if both.is_err() {
        far.abort();
    }
    both
}

async fn copy_inward(
    executor: &Handle,
    near: &std::net::TcpStream,
    far: &TcpStream,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        match (&mut &*near).read(&mut chunk) {
            Ok(0) => {
                far.shutdown();
                return Ok(());
            }
            Ok(count) => far.write_all(&chunk[..count]).await?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                executor.readable(near).await?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

async fn copy_outward(
    executor: &Handle,
    near: &std::net::TcpStream,
    far: &TcpStream,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        let count = far.read(&mut chunk).await?;
        if count == 0 {
            near.shutdown(Shutdown::Write)?;
            return Ok(());
        }
        let mut rest = &chunk[..count];
        while !rest.is_empty() {
            match (&mut &*near).write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    executor.writable(near).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
