//! When memory that has been freed is to be given back to the system. The allocator keeps what it
//! may need again, and looks at it only when something is freed: after FLUSHALL, or a command with
//! a million arguments, most of it would stay for as long as the server is idle.

use super::engine::Engine;

/// A shard gives memory back when so much less is used than was, and less than half.
const FALL_BYTES_MIN: usize = 32 << 20;
/// To give back takes a walk over all that is used, a few milliseconds for each GiB: a shard that
/// uses more leaves it to the allocator.
const USED_BYTES_MAX: usize = 1 << 30;

/// What a shard has used since memory was given back last.
#[derive(Default)]
pub(super) struct Ebb {
    /// The most bytes of keys and values.
    high: usize,
    /// A command was large enough for its traces to be a reason by themselves.
    large_command: bool,
}

impl Engine {
    /// A command with very many arguments has run.
    #[cold]
    pub(super) fn large_command_has_run(&mut self) {
        self.ebb.large_command = true;
        self.key_scratch = Vec::new();
    }

    /// Looks at how much is used.
    pub(super) fn note_memory(&mut self) {
        let used = self.shard.keyspace.used_bytes();
        self.ebb.high = self.ebb.high.max(used);
    }

    /// Whether memory is to be given back now; to be asked once a tick.
    pub fn memory_has_ebbed(&mut self) -> bool {
        if self.shard.keyspace.has_lazy() {
            return false;
        }
        self.note_memory();
        let used = self.shard.keyspace.used_bytes();
        let fallen = self.ebb.high - used;
        let ebbed = self.ebb.large_command || (fallen > used && fallen >= FALL_BYTES_MIN);
        if !ebbed || used > USED_BYTES_MAX {
            return false;
        }
        self.ebb = Ebb {
            high: used,
            large_command: false,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::testing::shard;

    #[test]
    fn memory_is_given_back_once_when_most_of_it_is_unused() {
        let mut engine = Engine::new(shard());
        assert!(!engine.memory_has_ebbed());
        engine.ebb.high = FALL_BYTES_MIN;
        assert!(engine.memory_has_ebbed());
        assert!(!engine.memory_has_ebbed(), "it has been");
        engine.large_command_has_run();
        assert!(engine.memory_has_ebbed());
        assert!(!engine.memory_has_ebbed());
    }
}
