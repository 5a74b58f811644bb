//! A single-threaded executor on epoll.
//!
//! Does:      runs futures that are not `Send`, wakes them by file descriptors, timers, or wakers
//!            from any thread; sleeps in the kernel when nobody is ready.
//! Does not:  tick, poll busily, steal work, or start threads.
//! Bounds:    `TASKS_MAX` tasks, `TIMERS_MAX` timers, `EVENTS_MAX` events a turn; each turn runs
//!            only the tasks that were ready when it began, so I/O is never starved.
//! Trusts:    its tasks to return soon: one that computes for long delays all others.
//! Start at:  `Executor::block_on`, then `Handle`.

mod clock;
mod futures;
mod readiness;
mod tasks;
mod timers;
mod wake;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

pub use clock::monotonic_ms;
pub use futures::{
    Cancelled, Either, Elapsed, HyperSleep, HyperTimer, JoinHandle, Readiness, Sleep, Yield, race,
    yield_now,
};
pub use tasks::TASKS_MAX;
pub use timers::TIMERS_MAX;

use clock::Clock;
use readiness::{Direction, Sources};
use tasks::Tasks;
use timers::Timers;
use wake::{TaskKey, TaskWake, WakeQueue};

/// Events taken from the kernel in one turn. More stay there for the next turn; none is lost.
const EVENTS_MAX: usize = 64;

/// The epoll data of our own eventfd; no descriptor has this number.
const WAKE_DATA: u64 = u64::MAX;

/// All tasks are taken: `TASKS_MAX` are alive.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("No room for another task: {TASKS_MAX} are running")]
pub struct TooManyTasks;

/// What the executor did so far, for idle tests and the API.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// Returns from the kernel's wait: the wake-ups that cost energy.
    pub wake_ups: u64,
    /// Futures polled.
    pub polls: u64,
    /// Spawns refused at `TASKS_MAX`.
    pub spawns_refused: u64,
    /// Sleepers woken early at `TIMERS_MAX`.
    pub timer_overruns: u64,
    /// Tasks alive.
    pub tasks: usize,
}

struct Core {
    clock: Clock,
    epoll: OwnedFd,
    wakes: Arc<WakeQueue>,
    tasks: RefCell<Tasks>,
    timers: RefCell<Timers>,
    sources: RefCell<Sources>,
    /// Room for the kernel's answer; empty between waits.
    events: RefCell<Vec<Event>>,
    wake_ups: Cell<u64>,
    polls: Cell<u64>,
    spawns_refused: Cell<u64>,
}

thread_local! {
    /// The executor that runs on this thread: hyper's timer must be `Send` and finds it here.
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// Owns the tasks. Dropping it drops them.
pub struct Executor {
    core: Rc<Core>,
}

/// What tasks hold to spawn, sleep and wait. Cheap to clone, bound to its thread.
#[derive(Clone)]
pub struct Handle {
    core: Rc<Core>,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("counters", &self.handle().counters())
            .finish()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Executor {
    /// Opens epoll and the eventfd. Fails only when the process is out of descriptors or memory.
    pub fn new() -> io::Result<Executor> {
        Self::with_clock(Clock::Monotonic)
    }

    /// An executor whose time passes only while all tasks wait: then it jumps to the next deadline,
    /// so that an hour of timeouts takes as long as the work in it. Descriptors must be answered by
    /// tasks of this executor: another process or thread is too slow for it.
    pub fn in_virtual_time(start_ms: u64) -> io::Result<Executor> {
        Self::with_clock(Clock::starting_at(start_ms))
    }

    fn with_clock(clock: Clock) -> io::Result<Executor> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wakes = Arc::new(WakeQueue::new()?);
        epoll::add(
            &epoll,
            wakes.event(),
            EventData::new_u64(WAKE_DATA),
            EventFlags::IN,
        )?;
        let core = Core {
            clock,
            epoll,
            wakes,
            tasks: RefCell::default(),
            timers: RefCell::default(),
            sources: RefCell::default(),
            events: RefCell::new(Vec::with_capacity(EVENTS_MAX)),
            wake_ups: Cell::new(0),
            polls: Cell::new(0),
            spawns_refused: Cell::new(0),
        };
        Ok(Executor {
            core: Rc::new(core),
        })
    }

    pub fn handle(&self) -> Handle {
        Handle {
            core: Rc::clone(&self.core),
        }
    }

    /// Runs until `future` is done. Spawned tasks run beside it and stay alive, unpolled, after it.
    ///
    /// # Panics
    /// When called from inside itself: that would run tasks in the middle of a task.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _current = Entered::new(&self.core);
        let mut future = pin!(future);
        let main = TaskWake::new(TaskKey::MAIN, Arc::clone(&self.core.wakes));
        let waker = Waker::from(Arc::clone(&main));
        waker.wake_by_ref();
        loop {
            for _ in 0..self.core.wakes.len() {
                let Some(key) = self.core.wakes.pop() else {
                    break;
                };
                if key != TaskKey::MAIN {
                    self.core.run_task(key);
                    continue;
                }
                main.begin_poll();
                self.core.polls.set(self.core.polls.get() + 1);
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return value;
                }
            }
            self.core.wait_for_events();
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Tasks hold handles, handles hold the core: without this, nothing would ever be freed.
        let futures = self.core.tasks.borrow_mut().drain();
        drop(futures);
    }
}

/// Marks this thread as running the executor for as long as it lives.
struct Entered;

impl Entered {
    fn new(core: &Rc<Core>) -> Entered {
        CURRENT.with(|current| {
            let previous = current.borrow_mut().replace(Rc::clone(core));
            assert!(
                previous.is_none(),
                "block_on was called inside block_on on one thread"
            );
        });
        Entered
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| current.borrow_mut().take());
    }
}

impl Core {
    fn run_task(&self, key: TaskKey) {
        let Some((mut future, wake)) = self.tasks.borrow_mut().take(key) else {
            return;
        };
        wake.begin_poll();
        self.polls.set(self.polls.get() + 1);
        let waker = Waker::from(wake);
        let leftover = match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => {
                self.tasks.borrow_mut().remove(key);
                Some(future)
            }
            Poll::Pending => self.tasks.borrow_mut().put_back(key, future),
        };
        drop(leftover); // outside the borrow: a destructor may spawn or cancel
    }

    /// Sleeps until a descriptor, a timer or a waker has something to do; then wakes the tasks.
    fn wait_for_events(&self) {
        let next_ms = self.timers.borrow().next_ms();
        let is_idle = self.wakes.fall_asleep();
        let timeout_ms = match is_idle {
            true => self.clock.patience_ms(next_ms),
            false => Some(0),
        };
        let mut events = self.events.borrow_mut();
        events.clear();
        let timeout = timeout_ms.map(to_timespec);
        let buffer = rustix::buffer::spare_capacity(&mut events);
        let waited = epoll::wait(&self.epoll, buffer, timeout.as_ref());
        self.wakes.woke_up();
        if timeout_ms != Some(0) {
            self.wake_ups.set(self.wake_ups.get() + 1);
        }
        // EINTR is the only error a sound epoll can give; the loop just comes round again.
        if waited.is_ok() {
            self.dispatch(&events);
        }
        if is_idle && events.is_empty() && self.wakes.len() == 0 {
            self.clock.all_wait(next_ms);
        }
        self.timers.borrow_mut().wake_due(self.clock.now_ms());
    }

    fn dispatch(&self, events: &[Event]) {
        for event in events {
            let data = event.data;
            if data.u64() == WAKE_DATA {
                self.wakes.drain_event();
            } else if let Ok(fd) = RawFd::try_from(data.u64()) {
                self.sources.borrow_mut().fire(fd);
            }
        }
    }
}

fn to_timespec(ms: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ms % 1000).unwrap_or(0) * 1_000_000,
    }
}

impl Handle {
    /// Starts a task and returns a handle to await, abort or drop (which lets it run on).
    pub fn spawn<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
    ) -> Result<JoinHandle<T>, TooManyTasks> {
        let (sender, slot) = futures::join_slot();
        let key = self.insert(Box::pin(async move { sender.finish(future.await) }))?;
        Ok(JoinHandle::new(self.clone(), key, slot))
    }

    /// Starts a task whose end nobody waits for.
    pub fn spawn_detached(
        &self,
        future: impl Future<Output = ()> + 'static,
    ) -> Result<(), TooManyTasks> {
        self.insert(Box::pin(future)).map(|_| ())
    }

    fn insert(&self, future: tasks::TaskFuture) -> Result<TaskKey, TooManyTasks> {
        let inserted = self
            .core
            .tasks
            .borrow_mut()
            .insert(future, &self.core.wakes);
        match inserted {
            Ok((key, wake)) => {
                Waker::from(wake).wake();
                Ok(key)
            }
            Err(_future) => {
                self.core
                    .spawns_refused
                    .set(self.core.spawns_refused.get() + 1);
                Err(TooManyTasks)
            }
        }
    }

    fn abort(&self, key: TaskKey) {
        let future = self.core.tasks.borrow_mut().remove(key);
        drop(future);
    }

    /// Milliseconds of the executor's clock; the time that cores get as their argument.
    pub fn now_ms(&self) -> u64 {
        self.core.clock.now_ms()
    }

    pub fn sleep(&self, ms: u64) -> Sleep {
        self.sleep_until(self.now_ms().saturating_add(ms))
    }

    pub fn sleep_until(&self, at_ms: u64) -> Sleep {
        Sleep::new(Rc::clone(&self.core), at_ms)
    }

    /// Gives `future` at most `ms` milliseconds, then drops it.
    pub async fn timeout<F: Future>(&self, ms: u64, future: F) -> Result<F::Output, Elapsed> {
        match race(future, self.sleep(ms)).await {
            Either::Left(value) => Ok(value),
            Either::Right(()) => Err(Elapsed { ms }),
        }
    }

    /// Waits until `fd` may be readable (or has hung up). May return early: ask the fd itself.
    pub fn readable<'fd>(&self, fd: &'fd (impl AsFd + ?Sized)) -> Readiness<'fd> {
        self.readiness(fd.as_fd(), Direction::Read)
    }

    /// Waits until `fd` may be writable (or has failed). May return early: ask the fd itself.
    pub fn writable<'fd>(&self, fd: &'fd (impl AsFd + ?Sized)) -> Readiness<'fd> {
        self.readiness(fd.as_fd(), Direction::Write)
    }

    fn readiness<'fd>(&self, fd: BorrowedFd<'fd>, direction: Direction) -> Readiness<'fd> {
        Readiness::new(Rc::clone(&self.core), fd, direction)
    }

    pub fn counters(&self) -> Counters {
        Counters {
            wake_ups: self.core.wake_ups.get(),
            polls: self.core.polls.get(),
            spawns_refused: self.core.spawns_refused.get(),
            timer_overruns: self.core.timers.borrow().overruns,
            tasks: self.core.tasks.borrow().len(),
        }
    }
}
