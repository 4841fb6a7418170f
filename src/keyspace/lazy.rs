//! What was removed and is too big to be freed at once: whole tables and large objects wait here and
//! are freed in slices.

use super::entry::{Outside, drop_outside};
use super::supply::{DISPOSE_MIN, Disposer};
use super::table::Table;
use super::value::Object;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Objects that take no more steps than this are freed where they are removed (Redis's
/// LAZYFREE_THRESHOLD).
const EFFORT_AT_ONCE: usize = 64;

/// The queue of one shard; its databases share it.
#[derive(Debug, Default)]
pub(super) struct Lazy {
    queue: RefCell<VecDeque<Waiting>>,
    freed: Cell<u64>,
    /// Frees large values elsewhere, if there is somebody to do it.
    disposer: Option<Disposer>,
}

#[derive(Debug)]
enum Waiting {
    Table(Table),
    Object(Box<dyn Object>),
}

impl Lazy {
    /// A queue; large values go to `disposer` if there is one.
    pub(super) fn new(disposer: Option<Disposer>) -> Self {
        Self {
            disposer,
            ..Self::default()
        }
    }

    /// Frees what an entry owned outside, now or later.
    #[inline]
    pub(super) fn discard(&self, outside: Outside) {
        if matches!(outside, Outside::Nothing) {
            return;
        }
        match outside {
            Outside::Object(object) if object.free_effort() > EFFORT_AT_ONCE => {
                self.queue.borrow_mut().push_back(Waiting::Object(object));
            }
            Outside::Large(large) if large.as_slice().len() >= DISPOSE_MIN => {
                self.dispose(large.into_bytes());
            }
            small => drop_outside(small),
        }
    }

    /// Lets go of bytes; large ones are freed elsewhere.
    pub(super) fn dispose(&self, bytes: Bytes) {
        if bytes.len() >= DISPOSE_MIN
            && let Some(disposer) = &self.disposer
        {
            disposer.free(bytes);
        }
    }

    /// Has another thread give freed memory back to the system; whether there is one.
    pub(super) fn give_back(&self) -> bool {
        self.disposer.as_ref().inspect(|d| d.give_back()).is_some()
    }

    /// Frees a table later.
    pub(super) fn discard_table(&self, table: Table) {
        if table.len() > 0 {
            self.queue.borrow_mut().push_back(Waiting::Table(table));
        }
    }

    /// Whether nothing waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Tables and objects that wait.
    pub(super) fn pending(&self) -> usize {
        let queue = self.queue.borrow();
        let keys = |w: &Waiting| match w {
            Waiting::Table(table) => table.len(),
            Waiting::Object(_) => 1,
        };
        queue.iter().map(keys).sum()
    }

    /// What was freed in slices since the start.
    pub(super) fn freed(&self) -> u64 {
        self.freed.get()
    }

    /// Frees about `budget` allocations; whether anything is left.
    pub(super) fn free_some(&self, budget: usize) -> bool {
        let Some(mut first) = self.queue.borrow_mut().pop_front() else {
            return false;
        };
        // The queue is not borrowed meanwhile: a table's objects join it.
        let left = match &mut first {
            Waiting::Table(table) => {
                let before = table.len();
                let left = table.free_some(budget, |outside| self.discard(outside));
                self.freed
                    .set(self.freed.get() + (before - table.len()) as u64);
                left
            }
            Waiting::Object(object) => {
                let left = object.free_some(budget);
                self.freed.set(self.freed.get() + u64::from(!left));
                left
            }
        };
        let mut queue = self.queue.borrow_mut();
        if left {
            queue.push_front(first);
        }
        !queue.is_empty()
    }
}
