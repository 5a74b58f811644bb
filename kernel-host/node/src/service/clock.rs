//! A node's clocks: the executor's for deadlines, the machine's for the time of day.

use netio::executor::Handle;
use protocol::{Moment, Timestamp};
use std::cell::Cell;
use std::rc::Rc;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    executor: Handle,
    /// In a town: the time of day when the executor's clock stood at zero.
    wall_zero_ms: Option<Rc<Cell<u64>>>,
}

impl Clock {
    pub fn of_machine(executor: &Handle) -> Self {
        Self {
            executor: executor.clone(),
            wall_zero_ms: None,
        }
    }

    #[cfg(any(test, feature = "town"))]
    pub fn of_town(executor: &Handle, wall_zero_ms: u64) -> Self {
        Self {
            executor: executor.clone(),
            wall_zero_ms: Some(Rc::new(Cell::new(wall_zero_ms))),
        }
    }

    /// The time of day jumps; a machine's is not ours to move.
    #[cfg(any(test, feature = "town"))]
    pub fn jump(&self, by_ms: i64) {
        if let Some(zero_ms) = &self.wall_zero_ms {
            zero_ms.set(zero_ms.get().saturating_add_signed(by_ms));
        }
    }

    pub fn now(&self) -> Moment {
        let uptime_ms = self.executor.now_ms();
        let wall_ms = match &self.wall_zero_ms {
            Some(zero_ms) => zero_ms.get() + uptime_ms,
            None => sys::clock::wall_ms(),
        };
        Moment {
            uptime_ms,
            wall: Timestamp::from_unix_ms(wall_ms),
        }
    }
}
