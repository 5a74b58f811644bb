//! Something that may take long, on a thread of its own beside the event loop.
//!
//! Start at:  `run`.

use netio::executor::Handle;
use std::io;
use std::os::fd::OwnedFd;

/// Runs `work` on a thread called `name`. A pipe's end tells the loop when it is over. Dropping
/// the future leaves the thread to itself.
///
/// # Errors
///
/// The kernel gives no pipe or no thread, or `work` panicked.
pub(crate) async fn run<T: Send + 'static>(
    executor: &Handle,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let flags = rustix::pipe::PipeFlags::CLOEXEC;
    let (over, theirs): (OwnedFd, OwnedFd) = rustix::pipe::pipe_with(flags)?;
    let thread = std::thread::Builder::new().name(name.to_owned());
    let thread = thread.spawn(move || {
        let result = work();
        drop(theirs);
        result
    })?;
    executor.readable(&over).await?;
    let panicked = |_| io::Error::other("it panicked");
    thread.join().map_err(panicked)
}
