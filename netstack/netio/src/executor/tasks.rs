//! The table of tasks.
//!
//! Does:      keeps each task's future and waker in a slot, lends the future out for one poll.
//! Does not:  poll or drop a future while the table is borrowed; both may call back into it.
//! Bounds:    `TASKS_MAX` tasks.
//! Trusts:    the executor alone calls it.
//! Start at:  `Tasks::insert`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::wake::{TaskKey, TaskWake, WakeQueue};

/// Tasks alive at once. A node serves 256 sockets with about two tasks each, plus its own dozen.
/// At the limit `spawn` refuses and hands the error to its caller.
pub const TASKS_MAX: usize = 1024;

pub(super) type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    life: u64,
    /// Empty while the task is being polled.
    future: Option<TaskFuture>,
    wake: Arc<TaskWake>,
}

#[derive(Default)]
pub(super) struct Tasks {
    slots: Vec<Option<Task>>,
    free: Vec<usize>,
    lives: u64,
}

impl Tasks {
    /// Stores the future and returns its key and waker, or gives the future back at the limit.
    pub fn insert(
        &mut self,
        future: TaskFuture,
        queue: &Arc<WakeQueue>,
    ) -> Result<(TaskKey, Arc<TaskWake>), TaskFuture> {
        if self.len() >= TASKS_MAX {
            return Err(future);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.lives += 1;
        let key = TaskKey {
            slot,
            life: self.lives,
        };
        let wake = TaskWake::new(key, Arc::clone(queue));
        self.slots[slot] = Some(Task {
            life: key.life,
            future: Some(future),
            wake: Arc::clone(&wake),
        });
        Ok((key, wake))
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn entry(&mut self, key: TaskKey) -> Option<&mut Task> {
        let task = self.slots.get_mut(key.slot)?.as_mut()?;
        (task.life == key.life).then_some(task)
    }

    /// Lends the future out for one poll. `None`: the task ended, or is being polled right now.
    pub fn take(&mut self, key: TaskKey) -> Option<(TaskFuture, Arc<TaskWake>)> {
        let task = self.entry(key)?;
        let future = task.future.take()?;
        Some((future, Arc::clone(&task.wake)))
    }

    /// Puts a pending future back; the caller drops it if the task was removed meanwhile.
    pub fn put_back(&mut self, key: TaskKey, future: TaskFuture) -> Option<TaskFuture> {
        match self.entry(key) {
            Some(task) => {
                task.future = Some(future);
                None
            }
            None => Some(future),
        }
    }

    /// Ends a task. The future, if it is here, is the caller's to drop.
    pub fn remove(&mut self, key: TaskKey) -> Option<TaskFuture> {
        self.entry(key)?;
        let task = self.slots[key.slot].take()?;
        self.free.push(key.slot);
        task.future
    }

    /// Takes everything out, for the executor's own end.
    pub fn drain(&mut self) -> Vec<TaskFuture> {
        self.free.clear();
        self.slots
            .drain(..)
            .flatten()
            .filter_map(|task| task.future)
            .collect()
    }
}
