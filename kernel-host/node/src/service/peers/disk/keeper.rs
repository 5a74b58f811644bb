//! The thread that writes to the state disk, so that the event loop never waits for it.
//!
//! Does:      takes what is to be kept, with its number; writes all that waits in one transaction;
//!            says up to which number everything is on the disk.
//! Does not:  decide what may happen before that (`hub::ledger`), or try a disk again that failed.
//! Bounds:    `WAITING_BYTES_MAX` of what waits; of several values for one key the last is kept.
//!            Above, the disk counts as failed: it is far behind. `FULL_MS` between attempts on a
//!            full disk.
//! Trusts:    `state::Store` to keep whole batches, or nothing.
//! Start at:  `Keeper::put`, then `Writer::write`.

use state::{SaveError, Store};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Twice what an overlay may hold.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// After a full disk refused a batch: perhaps something was removed by then.
pub(crate) const FULL_MS: u64 = 5_000;

/// How the disk is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum DiskState {
    #[default]
    Works,
    Full,
    /// For this boot; and why.
    Failed(String),
}

#[derive(Debug, Default)]
struct Inside {
    waiting: BTreeMap<String, Option<Vec<u8>>>,
    waiting_bytes: usize,
    /// The last number given out, and the last on the disk.
    asked: u64,
    kept: u64,
    state: DiskState,
    /// The loop has not seen the last two yet.
    is_news: bool,
    waker: Option<Waker>,
    /// Of a writer without a thread.
    writer: Option<Waker>,
    commits: u64,
    has_ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    inside: Mutex<Inside>,
    more: Condvar,
}

/// The loop's end of the thread.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
}

impl Inside {
    fn add(&mut self, key: String, value: Option<Vec<u8>>) {
        let key_bytes = key.len();
        let bytes = |value: Option<&Vec<u8>>| key_bytes + value.map_or(0, Vec::len);
        self.waiting_bytes += bytes(value.as_ref());
        if let Some(old) = self.waiting.insert(key, value) {
            self.waiting_bytes -= bytes(old.as_ref());
        }
    }

    fn tell(&mut self) {
        self.is_news = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn fail(&mut self, why: String) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.state = DiskState::Failed(why);
        self.tell();
    }
}

impl Shared {
    /// Nothing is done under the lock that could stop half-way.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work. `false`: there will be no more.
    fn wait(&self) -> bool {
        let idle = |inside: &mut Inside| inside.waiting.is_empty() && !inside.has_ended;
        let inside = self.more.wait_while(self.inside(), idle);
        let inside = inside.unwrap_or_else(PoisonError::into_inner);
        !inside.waiting.is_empty()
    }

    fn call_writer(&self, inside: &mut Inside) {
        self.more.notify_one();
        if let Some(waker) = inside.writer.take() {
            waker.wake();
        }
    }
}

/// The disk's end of a keeper.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    store: Store,
}

/// How an attempt to write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Kept,
    /// To be tried again after `FULL_MS`.
    Full,
    /// There will be no more.
    Ended,
}

impl Keeper {
    /// Starts the thread for an opened disk.
    ///
    /// # Errors
    ///
    /// The kernel gives no thread.
    pub fn start(store: Store) -> io::Result<Self> {
        let (keeper, writer) = Self::with_writer(store);
        std::thread::Builder::new()
            .name("state-disk".to_owned())
            .spawn(move || writer.work())?;
        Ok(keeper)
    }

    /// A keeper whose writer runs where the caller wants it.
    pub fn with_writer(store: Store) -> (Self, Writer) {
        let shared = Arc::new(Shared::default());
        let keeper = Self {
            shared: Arc::clone(&shared),
        };
        (keeper, Writer { shared, store })
    }

    /// Has something kept; `number` grows. Returns at once.
    pub fn put(&self, number: u64, key: String, value: Option<Vec<u8>>) {
        let mut inside = self.shared.inside();
        if matches!(inside.state, DiskState::Failed(_)) {
            return;
        }
        inside.asked = number;
        inside.add(key, value);
        if inside.waiting_bytes > WAITING_BYTES_MAX {
            inside.fail(format!(
                "more than {} MiB wait for it",
                WAITING_BYTES_MAX >> 20
            ));
        }
        self.shared.call_writer(&mut inside);
    }

    /// How far the disk is, whenever that changes.
    pub async fn news(&self) -> (u64, DiskState) {
        poll_fn(|cx| self.poll_news(cx)).await
    }

    fn poll_news(&self, cx: &Context<'_>) -> Poll<(u64, DiskState)> {
        let mut inside = self.shared.inside();
        if std::mem::take(&mut inside.is_news) {
            return Poll::Ready((inside.kept, inside.state.clone()));
        }
        inside.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Transactions so far, and bytes that wait.
    pub fn figures(&self) -> (u64, usize) {
        let inside = self.shared.inside();
        (inside.commits, inside.waiting_bytes)
    }
}

impl Drop for Keeper {
    /// The thread writes what waits, and ends; nobody waits for it.
    fn drop(&mut self) {
        let mut inside = self.shared.inside();
        inside.has_ended = true;
        self.shared.call_writer(&mut inside);
    }
}

impl Writer {
    /// The thread's whole life.
    fn work(mut self) {
        while self.shared.wait() {
            match self.write() {
                Written::Kept => {}
                Written::Full => {
                    let pause = Duration::from_millis(FULL_MS);
                    let stays = |inside: &mut Inside| !inside.has_ended;
                    let inside = self.shared.inside();
                    let waited = self.shared.more.wait_timeout_while(inside, pause, stays);
                    if waited.unwrap_or_else(PoisonError::into_inner).0.has_ended {
                        return;
                    }
                }
                Written::Ended => return,
            }
        }
    }

    /// Until something waits, or nothing will any more.
    #[cfg(any(test, feature = "town"))]
    pub async fn due(&self) {
        poll_fn(|cx| {
            let mut inside = self.shared.inside();
            if inside.waiting.is_empty() && !inside.has_ended {
                inside.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await
    }

    /// Writes all that waits, in one transaction.
    pub fn write(&mut self) -> Written {
        let (batch, upto) = {
            let mut inside = self.shared.inside();
            if inside.waiting.is_empty() {
                return match inside.has_ended {
                    true => Written::Ended,
                    false => Written::Kept,
                };
            }
            inside.waiting_bytes = 0;
            let batch: Vec<_> = std::mem::take(&mut inside.waiting).into_iter().collect();
            (batch, inside.asked)
        };
        let result = self.store.save(&batch);
        let mut inside = self.shared.inside();
        if matches!(inside.state, DiskState::Failed(_)) {
            return Written::Ended; // too much waited meanwhile
        }
        match result {
            Ok(()) => {
                inside.commits += 1;
                inside.kept = upto;
                inside.state = DiskState::Works;
                inside.tell();
                Written::Kept
            }
            Err(SaveError::Full) => {
                for (key, value) in batch {
                    // What came meanwhile is newer.
                    if !inside.waiting.contains_key(&key) {
                        inside.add(key, value);
                    }
                }
                if inside.state != DiskState::Full {
                    inside.state = DiskState::Full;
                    inside.tell();
                }
                Written::Full
            }
            Err(error) => {
                inside.fail(error.to_string());
                Written::Ended
            }
        }
    }
}
