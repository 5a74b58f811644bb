//! Waking: the one part of the executor that other threads may touch.
//!
//! Does:      keeps the queue of tasks that want to run, and an eventfd that ends a sleep.
//! Does not:  run anything.
//! Bounds:    a task stands in the queue once, so the queue holds at most `TASKS_MAX` + 1 keys.
//! Trusts:    nobody; a waker may fire late, often, or after its task ended.
//! Start at:  `WakeQueue::push`.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use rustix::event::{EventfdFlags, eventfd};

/// Names one task. The life tells a slot's tenants apart, so an old waker can't wake a new task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskKey {
    pub slot: usize,
    pub life: u64,
}

impl TaskKey {
    /// The future that `block_on` itself drives.
    pub const MAIN: TaskKey = TaskKey {
        slot: usize::MAX,
        life: 0,
    };
}

#[derive(Debug)]
pub(super) struct WakeQueue {
    ready: Mutex<VecDeque<TaskKey>>,
    asleep: AtomicBool,
    event: OwnedFd,
}

impl WakeQueue {
    pub fn new() -> rustix::io::Result<WakeQueue> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(WakeQueue {
            ready: Mutex::default(),
            asleep: AtomicBool::new(false),
            event,
        })
    }

    pub fn event(&self) -> &OwnedFd {
        &self.event
    }

    /// A poisoned lock still holds a sound queue: nothing inside can stop half-way.
    fn ready(&self) -> MutexGuard<'_, VecDeque<TaskKey>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, key: TaskKey) {
        self.ready().push_back(key);
        if self.asleep.swap(false, Ordering::SeqCst) {
            // Only fails when the counter is full, and then the sleeper wakes anyway.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    pub fn pop(&self) -> Option<TaskKey> {
        self.ready().pop_front()
    }

    pub fn len(&self) -> usize {
        self.ready().len()
    }

    /// Announces a sleep. False: somebody is ready, don't sleep.
    pub fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.len() > 0 {
            self.asleep.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    pub fn woke_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Empties the eventfd after it ended a sleep.
    pub fn drain_event(&self) {
        let mut count = [0u8; 8];
        // Fails only when already empty.
        let _ = rustix::io::read(&self.event, &mut count);
    }
}

/// What stands behind a task's `Waker`.
#[derive(Debug)]
pub(super) struct TaskWake {
    key: TaskKey,
    queued: AtomicBool,
    queue: Arc<WakeQueue>,
}

impl TaskWake {
    pub fn new(key: TaskKey, queue: Arc<WakeQueue>) -> Arc<TaskWake> {
        Arc::new(TaskWake {
            key,
            queued: AtomicBool::new(false),
            queue,
        })
    }

    /// Called before each poll: wakes from now on count again.
    pub fn begin_poll(&self) {
        self.queued.store(false, Ordering::SeqCst);
    }
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            self.queue.push(self.key);
        }
    }
}
