//! The futures that the executor hands out.
//!
//! Does:      sleep, readiness, join, race, yield, and hyper's timer.
//! Does not:  keep anything registered after it is dropped.
//! Bounds:    one timer or one readiness entry per future.
//! Trusts:    `Core`'s tables.
//! Start at:  `Sleep`.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::clock::monotonic_ms;
use super::readiness::Direction;
use super::timers::TimerKey;
use super::wake::TaskKey;
use super::{CURRENT, Core, Handle};

/// Ends at a point of the executor's clock.
#[must_use = "a sleep does nothing until it is awaited"]
pub struct Sleep {
    core: Rc<Core>,
    at_ms: u64,
    timer: Option<TimerKey>,
}

impl Sleep {
    pub(super) fn new(core: Rc<Core>, at_ms: u64) -> Sleep {
        Sleep {
            core,
            at_ms,
            timer: None,
        }
    }
}

impl std::fmt::Debug for Sleep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleep")
            .field("at_ms", &self.at_ms)
            .finish_non_exhaustive()
    }
}

/// One step of any sleep; `timer` is the sleep's own memory.
fn poll_sleep(core: &Core, at_ms: u64, timer: &mut Option<TimerKey>, waker: &Waker) -> Poll<()> {
    let mut timers = core.timers.borrow_mut();
    if core.clock.now_ms() >= at_ms {
        if let Some(key) = timer.take() {
            timers.cancel(key);
        }
        return Poll::Ready(());
    }
    match *timer {
        Some(key) => timers.renew(key, waker),
        None => *timer = timers.set(at_ms, waker),
    }
    Poll::Pending
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        poll_sleep(&this.core, this.at_ms, &mut this.timer, cx.waker())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer.take() {
            self.core.timers.borrow_mut().cancel(key);
        }
    }
}

/// Time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("No answer within {ms} ms")]
pub struct Elapsed {
    pub ms: u64,
}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Ends when the kernel reports the descriptor.
#[must_use = "readiness does nothing until it is awaited"]
pub struct Readiness<'fd> {
    core: Rc<Core>,
    fd: BorrowedFd<'fd>,
    direction: Direction,
    number: Option<u64>,
}

impl<'fd> Readiness<'fd> {
    pub(super) fn new(core: Rc<Core>, fd: BorrowedFd<'fd>, direction: Direction) -> Self {
        Readiness {
            core,
            fd,
            direction,
            number: None,
        }
    }
}

impl std::fmt::Debug for Readiness<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readiness")
            .field("fd", &self.fd)
            .finish_non_exhaustive()
    }
}

impl Future for Readiness<'_> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut sources = this.core.sources.borrow_mut();
        if let Some(number) = this.number {
            if sources.is_waiting(this.fd.as_raw_fd(), number, cx.waker()) {
                return Poll::Pending;
            }
            this.number = None;
            return Poll::Ready(Ok(()));
        }
        match sources.wait(&this.core.epoll, this.fd, this.direction, cx.waker()) {
            Ok(number) => {
                this.number = Some(number);
                Poll::Pending
            }
            // Regular files can't be polled and never block.
            Err(rustix::io::Errno::PERM) => Poll::Ready(Ok(())),
            Err(errno) => Poll::Ready(Err(errno.into())),
        }
    }
}

impl Drop for Readiness<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.core
                .sources
                .borrow_mut()
                .forget(self.fd.as_raw_fd(), number);
        }
    }
}

/// The task was aborted, or its executor ended, before it had a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The task was stopped before it finished")]
pub struct Cancelled;

#[derive(Debug)]
struct JoinState<T> {
    value: Option<T>,
    over: bool,
    waker: Option<Waker>,
}

pub(super) struct JoinSlot<T>(Rc<RefCell<JoinState<T>>>);

/// The task's end of a join. Dropping it unfinished tells the other end.
pub(super) struct JoinSender<T>(Rc<RefCell<JoinState<T>>>);

pub(super) fn join_slot<T>() -> (JoinSender<T>, JoinSlot<T>) {
    let state = Rc::new(RefCell::new(JoinState {
        value: None,
        over: false,
        waker: None,
    }));
    (JoinSender(Rc::clone(&state)), JoinSlot(state))
}

impl<T> JoinSender<T> {
    pub fn finish(self, value: T) {
        self.0.borrow_mut().value = Some(value);
    }
}

impl<T> Drop for JoinSender<T> {
    fn drop(&mut self) {
        let mut state = self.0.borrow_mut();
        state.over = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

/// A running task. Await it for its value; drop it to let it run on; `abort` ends it.
#[must_use = "dropping this lets the task run on unwatched; use spawn_detached to say so"]
pub struct JoinHandle<T> {
    handle: Handle,
    key: TaskKey,
    slot: JoinSlot<T>,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(handle: Handle, key: TaskKey, slot: JoinSlot<T>) -> Self {
        JoinHandle { handle, key, slot }
    }

    /// Drops the task's future. Harmless when it is already done.
    pub fn abort(&self) {
        self.handle.abort(self.key);
    }

    pub fn is_finished(&self) -> bool {
        self.slot.0.borrow().over
    }
}

impl<T> std::fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinHandle")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.0.borrow_mut();
        if let Some(value) = state.value.take() {
            return Poll::Ready(Ok(value));
        }
        if state.over {
            return Poll::Ready(Err(Cancelled));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Which of two futures finished first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<L, R> {
    Left(L),
    Right(R),
}

/// Runs both, returns the first result and drops the other. A tie goes to the left one.
pub async fn race<L: Future, R: Future>(left: L, right: R) -> Either<L::Output, R::Output> {
    let mut left = pin!(left);
    let mut right = pin!(right);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = left.as_mut().poll(cx) {
            return Poll::Ready(Either::Left(value));
        }
        right.as_mut().poll(cx).map(Either::Right)
    })
    .await
}

/// Lets every other ready task run once.
#[derive(Debug)]
#[must_use = "a yield does nothing until it is awaited"]
pub struct Yield {
    yielded: bool,
}

pub fn yield_now() -> Yield {
    Yield { yielded: false }
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Hyper's timer on this thread's executor, for its header and keep-alive limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct HyperTimer;

impl hyper::rt::Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let now_ms = CURRENT.with(|current| {
            let current = current.borrow();
            let core = current.as_ref();
            core.map_or_else(monotonic_ms, |core| core.clock.now_ms())
        });
        Box::pin(HyperSleep {
            at_ms: now_ms.saturating_add(ms),
            timer: None,
        })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(Instant::now()))
    }
}

/// A sleep without a handle, because hyper wants it `Send`: it finds the executor by its thread.
#[derive(Debug)]
pub struct HyperSleep {
    at_ms: u64,
    timer: Option<TimerKey>,
}

impl hyper::rt::Sleep for HyperSleep {}

impl Future for HyperSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        CURRENT.with(|current| {
            let current = current.borrow();
            let core = current
                .as_ref()
                .expect("a HyperSleep is polled inside block_on only");
            poll_sleep(core, this.at_ms, &mut this.timer, cx.waker())
        })
    }
}

impl Drop for HyperSleep {
    fn drop(&mut self) {
        let Some(key) = self.timer.take() else { return };
        CURRENT.with(|current| {
            if let Some(core) = current.borrow().as_ref() {
                core.timers.borrow_mut().cancel(key);
            }
        });
    }
}
