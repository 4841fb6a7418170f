//! MULTI, EXEC, DISCARD, WATCH and UNWATCH as one connection sees them.
//!
//! The state of a connection at its home shard: whether it queues, what it has queued, what it
//! watches. What a command *is* (arity, whether a block may hold it) the command table knows;
//! the session asks that first, then this. Whether a watched key has changed only its owner
//! knows, see `watch`; EXEC asks for it with its locks.
//!
//! Behaviour and texts are those of Redis 7.0: a command that is refused while queueing makes
//! EXEC fail, except that a nested MULTI or a WATCH is refused and does no more harm; an EXEC
//! that is refused itself (a wrong number of arguments, say) ends the block and the watches
//! even where no block was open; errors while a block runs do not stop the rest of it.

use smallvec::SmallVec;

use super::ids::{DbIndex, Position, ShardId};

/// Why a transaction command is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MultiError {
    /// EXEC while no block is open.
    ExecWithoutMulti,
    /// DISCARD while no block is open.
    DiscardWithoutMulti,
    /// MULTI inside a block, which stays open and unharmed.
    Nested,
    /// WATCH inside a block, which stays open and unharmed.
    WatchInside,
    /// EXEC of a block in which a command was refused; the block and the watches are gone.
    Aborted,
    /// A command that no block may hold (flag `no_multi`); EXEC will be refused.
    NotAllowed,
}

impl MultiError {
    /// Redis's text, without the leading `-` and the line's end.
    pub fn text(self) -> &'static str {
        match self {
            Self::ExecWithoutMulti => "ERR EXEC without MULTI",
            Self::DiscardWithoutMulti => "ERR DISCARD without MULTI",
            Self::Nested => "ERR MULTI calls can not be nested",
            Self::WatchInside => "ERR WATCH inside MULTI is not allowed",
            Self::Aborted => "EXECABORT Transaction discarded because of previous errors.",
            Self::NotAllowed => "ERR Command not allowed inside a transaction",
        }
    }
}

/// What stands before the reason when EXEC itself is refused. The reason follows without the
/// word `ERR`, but with any other code (`OOM`, `NOAUTH`).
pub const EXEC_REFUSED: &str = "EXECABORT Transaction discarded because of: ";

/// The commands that a block does not queue, whatever the command table says (they act on the
/// block or end the connection), and UNWATCH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// Opens a block.
    Multi,
    /// Runs the block.
    Exec,
    /// Drops the block.
    Discard,
    /// Watches keys; not inside a block.
    Watch,
    /// Watches nothing any more. A block queues it.
    Unwatch,
    /// Takes the connection back to its beginning, block and watches included.
    Reset,
    /// Ends the connection.
    Quit,
}

impl Control {
    /// What a block does not queue, by the command's name in lower case.
    pub fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"multi" => Self::Multi,
            b"exec" => Self::Exec,
            b"discard" => Self::Discard,
            b"watch" => Self::Watch,
            b"reset" => Self::Reset,
            b"quit" => Self::Quit,
            _ => return None,
        })
    }
}

/// A command with its own copy of the arguments: one allocation for the bytes, none for the list of
/// usual commands. Arguments that were received into memory of their own keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedCommand<C> {
    /// What the command table knows of it.
    pub command: C,
    bytes: Box<[u8]>,
    /// Where each argument ends in `bytes`.
    ends: SmallVec<[usize; 6]>,
    /// Large arguments, by their index; they take no room in `bytes`.
    large: Vec<(usize, Vec<u8>)>,
}

impl<C> QueuedCommand<C> {
    /// Copies the arguments, but for those whose memory is given in `large` with their index.
    pub fn new<'a>(
        command: C,
        args: impl Iterator<Item = &'a [u8]> + Clone,
        large: Vec<(usize, Vec<u8>)>,
    ) -> Self {
        let small = || {
            let is_large = |at: usize| large.iter().any(|(index, _)| *index == at);
            args.clone()
                .enumerate()
                .map(move |(at, arg)| if is_large(at) { &[][..] } else { arg })
        };
        let mut bytes = Vec::with_capacity(small().map(<[u8]>::len).sum());
        let ends = small().map(|arg| {
            bytes.extend_from_slice(arg);
            bytes.len()
        });
        Self {
            command,
            ends: ends.collect(),
            bytes: bytes.into_boxed_slice(),
            large,
        }
    }

    /// The number of arguments, the command's name included.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has no arguments, not even a name.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// An argument; 0 is the command's name as the client wrote it.
    pub fn arg(&self, at: usize) -> &[u8] {
        if let Some((_, memory)) = self.large.iter().find(|(index, _)| *index == at) {
            return memory;
        }
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start..self.ends[at]]
    }

    /// Gives back what [`take_large`](Self::take_large) took, but for what was used.
    pub fn put_large(&mut self, large: Vec<(usize, Vec<u8>)>) {
        self.large = large;
    }

    /// All arguments in their order.
    pub fn args(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (0..self.len()).map(|at| self.arg(at))
    }

    /// The memory of the large arguments with their indexes, to be moved into values. The
    /// arguments are not to be asked for afterwards.
    pub fn take_large(&mut self) -> Vec<(usize, Vec<u8>)> {
        std::mem::take(&mut self.large)
    }

    fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.large.iter().map(|(_, m)| m.len()).sum::<usize>()
    }
}

/// A key that a connection watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedKey {
    /// The database that was selected.
    pub db: DbIndex,
    /// The shard at which the watch is registered.
    pub owner: ShardId,
    /// The key's place at its owner.
    pub position: Position,
    /// The key's name.
    pub key: Box<[u8]>,
}

/// What EXEC has to run: all of it, and only if no watched key has changed. Its
/// [watches](super::Part::watcher) end with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block<C> {
    /// The queued commands in their order.
    pub commands: Vec<QueuedCommand<C>>,
    /// The watched keys; claimed as reads.
    pub watched: Vec<WatchedKey>,
}

/// How a request for EXEC ends the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exec<C> {
    /// Run this.
    Run(Block<C>),
    /// Reply with the error; these watches end, their owners are to be told.
    Refuse(MultiError, Vec<WatchedKey>),
}

/// The transaction state of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multi<C> {
    /// The open block.
    queue: Option<Vec<QueuedCommand<C>>>,
    /// A command was refused while queueing.
    aborted: bool,
    queued_bytes: usize,
    watched: Vec<WatchedKey>,
}

impl<C> Default for Multi<C> {
    fn default() -> Self {
        Self {
            queue: None,
            aborted: false,
            queued_bytes: 0,
            watched: Vec::new(),
        }
    }
}

impl<C> Multi<C> {
    /// Whether a block is open, so that commands are queued: the one branch of every command.
    #[inline]
    pub fn is_queueing(&self) -> bool {
        self.queue.is_some()
    }

    /// Whether EXEC will be refused, since a command of the open block was.
    pub fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// MULTI. Reply OK.
    pub fn multi(&mut self) -> Result<(), MultiError> {
        if self.is_queueing() {
            return Err(MultiError::Nested);
        }
        assert!(!self.aborted, "a block begins clean");
        self.queue = Some(Vec::new());
        Ok(())
    }

    /// Keeps a command of an open block. Reply QUEUED. One that is queued behind a refused one
    /// is answered alike and not kept: EXEC will not run it.
    pub fn queue(&mut self, command: QueuedCommand<C>) {
        let queue = self.queue.as_mut().expect("a block is open");
        if !self.aborted {
            self.queued_bytes += command.memory_bytes();
            queue.push(command);
        }
    }

    /// The commands of the open block.
    pub fn commands(&self) -> &[QueuedCommand<C>] {
        self.queue.as_deref().unwrap_or_default()
    }

    /// The watched keys.
    pub fn watched(&self) -> &[WatchedKey] {
        &self.watched
    }

    /// A command was refused before it ran: unknown, wrong number of arguments, no permission,
    /// out of memory, not allowed here. An open block cannot be executed any more. To be called
    /// for every command that is refused, EXEC excepted (see
    /// [`exec_refused`](Self::exec_refused)).
    pub fn refused(&mut self) {
        self.aborted = self.is_queueing();
    }

    /// EXEC.
    pub fn exec(&mut self) -> Exec<C> {
        if !self.is_queueing() {
            return Exec::Refuse(MultiError::ExecWithoutMulti, Vec::new());
        }
        if self.aborted {
            return Exec::Refuse(MultiError::Aborted, self.reset());
        }
        let block = Block {
            commands: self.queue.take().expect("it queues"),
            watched: std::mem::take(&mut self.watched),
        };
        self.queued_bytes = 0;
        Exec::Run(block)
    }

    /// EXEC itself was refused. Reply [`EXEC_REFUSED`] and the reason. Returns the watches
    /// that end.
    pub fn exec_refused(&mut self) -> Vec<WatchedKey> {
        self.reset()
    }

    /// DISCARD. Reply OK. Returns the watches that end.
    pub fn discard(&mut self) -> Result<Vec<WatchedKey>, MultiError> {
        if !self.is_queueing() {
            return Err(MultiError::DiscardWithoutMulti);
        }
        Ok(self.reset())
    }

    /// RESET, and the end of the connection: no block, no watches. Returns the watches that
    /// end.
    pub fn reset(&mut self) -> Vec<WatchedKey> {
        self.queue = None;
        self.aborted = false;
        self.queued_bytes = 0;
        std::mem::take(&mut self.watched)
    }

    /// Whether WATCH may run.
    pub fn may_watch(&self) -> Result<(), MultiError> {
        if self.is_queueing() {
            return Err(MultiError::WatchInside);
        }
        Ok(())
    }

    /// WATCH of one key. Returns whether it is new, and so to be registered at its owner.
    pub fn watch(&mut self, watched: WatchedKey) -> bool {
        assert!(!self.is_queueing(), "the caller asked may_watch");
        // The owner may be another one since the key was watched first: then both know of it.
        let known = self.watched.iter().any(|other| {
            other.db == watched.db && other.owner == watched.owner && other.key == watched.key
        });
        if !known {
            self.watched.push(watched);
        }
        !known
    }

    /// UNWATCH outside of a block (inside, it comes too late to matter and only replies OK).
    /// Returns the watches that end.
    pub fn unwatch(&mut self) -> Vec<WatchedKey> {
        std::mem::take(&mut self.watched)
    }

    /// CLIENT LIST's `multi`: the number of queued commands, -1 outside of a block.
    pub fn queued(&self) -> i64 {
        self.queue.as_ref().map_or(-1, |queue| {
            i64::try_from(queue.len()).expect("a list's length fits")
        })
    }

    /// CLIENT LIST's `multi-mem`: bytes of the queued arguments and of the queue.
    pub fn queued_bytes(&self) -> usize {
        let queue = self.queue.as_ref().map_or(0, Vec::capacity);
        self.queued_bytes + queue * size_of::<QueuedCommand<C>>()
    }

    /// CLIENT LIST's `watch`: the number of watched keys.
    pub fn watches(&self) -> usize {
        self.watched.len()
    }
}

/// The distinct owners of some watched keys: whom to tell that they end, whom EXEC involves.
pub fn owners(watched: &[WatchedKey]) -> SmallVec<[ShardId; 4]> {
    let mut owners: SmallVec<[ShardId; 4]> = watched.iter().map(|key| key.owner).collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(kind: char, args: &[&[u8]]) -> QueuedCommand<char> {
        QueuedCommand::new(kind, args.iter().copied(), Vec::new())
    }

    fn key(name: &str) -> WatchedKey {
        WatchedKey {
            db: 0,
            owner: ShardId(u16::try_from(name.len()).unwrap()),
            position: 1,
            key: name.as_bytes().into(),
        }
    }

    #[test]
    fn a_block_keeps_its_commands_and_watches() {
        let mut multi = Multi::default();
        assert!(multi.watch(key("a")) && !multi.watch(key("a")) && multi.watch(key("bb")));
        multi.multi().unwrap();
        assert_eq!(multi.queued(), 0);
        multi.queue(command('s', &[b"SET", b"", b"v"]));
        multi.queue(command('p', &[b"PING"]));
        assert_eq!((multi.queued(), multi.watches()), (2, 2));
        let Exec::Run(block) = multi.exec() else {
            panic!("it runs");
        };
        let args: Vec<&[u8]> = block.commands[0].args().collect();
        assert_eq!(args, [&b"SET"[..], b"", b"v"]);
        assert_eq!(
            (block.commands[1].arg(0), block.commands[1].len()),
            (&b"PING"[..], 1)
        );
        assert_eq!(&owners(&block.watched)[..], [ShardId(1), ShardId(2)]);
        assert_eq!(multi, Multi::default());
        assert_eq!(multi.queued(), -1);
    }

    #[test]
    fn a_refused_command_aborts_and_a_nested_multi_or_watch_does_not() {
        let mut multi = Multi::default();
        assert!(multi.watch(key("a")));
        multi.refused();
        multi.multi().unwrap();
        assert_eq!(multi.multi(), Err(MultiError::Nested));
        assert_eq!(multi.may_watch(), Err(MultiError::WatchInside));
        multi.queue(command('p', &[b"PING"]));
        assert!(matches!(multi.clone().exec(), Exec::Run(_)));
        multi.refused();
        multi.queue(command('p', &[b"PING"]));
        assert_eq!(
            multi.exec(),
            Exec::Refuse(MultiError::Aborted, vec![key("a")])
        );
        assert_eq!(
            multi.exec(),
            Exec::Refuse(MultiError::ExecWithoutMulti, vec![])
        );
    }

    #[test]
    fn discard_reset_and_a_refused_exec_end_block_and_watches() {
        let mut multi: Multi<char> = Multi::default();
        assert_eq!(multi.discard(), Err(MultiError::DiscardWithoutMulti));
        for end in [
            |multi: &mut Multi<char>| multi.discard().unwrap(),
            Multi::exec_refused,
            Multi::reset,
        ] {
            assert!(multi.watch(key("a")));
            multi.multi().unwrap();
            assert_eq!(end(&mut multi), [key("a")]);
            assert_eq!(multi, Multi::default());
        }
        assert!(multi.watch(key("a")));
        // Without a block, a refused EXEC still ends the watches, and EXEC alone does not.
        assert!(matches!(multi.exec(), Exec::Refuse(..)));
        assert_eq!(multi.exec_refused(), [key("a")]);
        assert!(multi.watch(key("a")));
        assert_eq!(multi.unwatch(), [key("a")]);
    }

    #[test]
    fn large_arguments_keep_their_memory() {
        let args: [&[u8]; 3] = [b"SET", b"k", b"large"];
        let memory = b"large".to_vec();
        let place = memory.as_ptr();
        let mut queued = QueuedCommand::new('s', args.into_iter(), vec![(2, memory)]);
        assert_eq!(queued.args().collect::<Vec<_>>(), args);
        assert_eq!((queued.bytes.len(), queued.memory_bytes()), (4, 9));
        let taken = queued.take_large();
        assert_eq!((taken[0].0, taken[0].1.as_ptr()), (2, place));
    }

    #[test]
    fn only_what_acts_on_a_block_is_not_queued() {
        assert_eq!(Control::of(b"exec"), Some(Control::Exec));
        assert_eq!(Control::of(b"reset"), Some(Control::Reset));
        assert_eq!(Control::of(b"unwatch"), None);
    }
}
