//! When memory that has been freed is to be given back to the system. The allocator keeps what it
//! may need again: after FLUSHALL, or a command with a million arguments, most of it would stay for
//! as long as the server is idle.

use super::engine::Engine;

/// All that was freed goes back when so much less is used than was, and less than half.
const FALL_BYTES_MIN: usize = 32 << 20;
/// The shard's part takes a walk over what is used, milliseconds for each GiB of small objects: one
/// that uses more leaves that to the allocator.
const USED_BYTES_MAX: usize = 1 << 30;

/// What to give back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ebb {
    /// Nothing: to look for it would take too long, or something is being freed.
    Unknown,
    /// What was freed a while ago.
    Little,
    /// All that was freed.
    Much,
}

/// What a shard has used since all was given back last.
#[derive(Default)]
pub(super) struct Tide {
    /// The most bytes of keys and values.
    high: usize,
    /// A command was large enough for its traces to be a reason by themselves.
    large_command: bool,
}

impl Engine {
    /// A command with very many arguments has run.
    #[cold]
    pub(super) fn large_command_has_run(&mut self) {
        self.tide.large_command = true;
        self.key_scratch = Vec::new();
    }

    /// Looks at how much is used.
    pub(super) fn note_memory(&mut self) {
        let used = self.shard.keyspace.used_bytes();
        self.tide.high = self.tide.high.max(used);
    }

    /// What is to be given back now; to be asked once a tick.
    pub fn memory_ebbs(&mut self) -> Ebb {
        self.note_memory();
        let used = self.shard.keyspace.used_bytes();
        if self.shard.keyspace.has_lazy() || used > USED_BYTES_MAX {
            return Ebb::Unknown;
        }
        let fallen = self.tide.high - used;
        if !self.tide.large_command && (fallen <= used || fallen < FALL_BYTES_MIN) {
            return Ebb::Little;
        }
        self.tide = Tide {
            high: used,
            large_command: false,
        };
        Ebb::Much
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::testing::shard;

    #[test]
    fn all_is_given_back_once_when_most_of_it_is_unused() {
        let mut engine = Engine::new(shard());
        assert_eq!(engine.memory_ebbs(), Ebb::Little);
        engine.tide.high = FALL_BYTES_MIN;
        assert_eq!(engine.memory_ebbs(), Ebb::Much);
        assert_eq!(engine.memory_ebbs(), Ebb::Little, "it has been");
        engine.large_command_has_run();
        assert_eq!(engine.memory_ebbs(), Ebb::Much);
        assert_eq!(engine.memory_ebbs(), Ebb::Little);
    }
}
