//! Streams: a log of entries that are read in order, by everybody or by groups of consumers.
//!
//! | module | what |
//! | --- | --- |
//! | `id` | an entry's ID: milliseconds and a number within them |
//! | `element` | strings and numbers in a block, in the encoding of Redis's listpack |
//! | `block` | up to `stream-node-max-entries` entries in one piece of memory: fields that are the first entry's are not repeated, IDs are differences |
//! | `index` | the blocks by their first IDs; the last one stands outside of the tree |
//! | `log` | appending, ranges, deletion, trimming; what is remembered of what has gone |
//! | `group` | consumer groups, and what is pending in them |
//! | `lag` | how far a group is behind |
//! | `restore` | a stream's parts as snapshots have them |
//!
//! A block is full at the very entry at which Redis's is, and `~` removes whole blocks: so a stream
//! has the same length as on Redis after trimming. Appending costs the same whatever the length; a
//! deleted entry is marked where it stands, and its block goes with its last live entry.

mod block;
mod element;
mod group;
mod id;
mod index;
mod lag;
mod log;
mod nodes;
mod restore;
#[cfg(test)]
mod tests;

pub use block::Entry;
pub use element::Element;
pub use group::{Consumer, ConsumerId, Group, Pending};
pub use id::StreamId;
pub use log::{BlockLimits, Log, NewId, Range, Refused, Trim, TrimLimits};
pub use restore::{Body, Node};

use crate::keyspace::{Kind, Object};
use std::any::Any;

/// A stream.
#[derive(Clone, Default, Debug)]
pub struct Stream {
    /// Its entries.
    pub log: Log,
    /// Most streams have none, and are of the allocator's next smaller size then.
    groups: Option<Box<Groups>>,
}

const _: () = assert!(size_of::<Stream>() <= 160);

#[derive(Clone, Default, Debug)]
struct Groups {
    /// In the order of their names.
    list: Vec<Group>,
    /// Bytes of the groups.
    bytes: usize,
}

impl Groups {
    /// Changes a group, and counts what it holds afterwards.
    fn edit<R>(&mut self, at: usize, edit: impl FnOnce(&mut Group) -> R) -> R {
        let group = &mut self.list[at];
        let before = group_bytes(group);
        let result = edit(group);
        self.bytes = self.bytes - before + group_bytes(group);
        result
    }
}

/// Those of a stream.
fn listed(groups: &Option<Box<Groups>>) -> &[Group] {
    groups.as_ref().map_or(&[], |groups| &groups.list)
}

impl Stream {
    /// Its groups in the order of their names.
    pub fn groups(&self) -> &[Group] {
        listed(&self.groups)
    }

    fn search(&self, name: &[u8]) -> Result<usize, usize> {
        self.groups()
            .binary_search_by(|group| (*group.name).cmp(name))
    }

    /// The group of a name.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.search(name).ok().map(|at| &self.groups()[at])
    }

    /// Adds a group; whether there was none of its name.
    pub fn add_group(&mut self, group: Group) -> bool {
        let Err(at) = self.search(&group.name) else {
            return false;
        };
        let groups = self.groups.get_or_insert_default();
        groups.bytes += group_bytes(&group);
        groups.list.insert(at, group);
        true
    }

    /// Removes a group; whether it was there.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        let (Ok(at), Some(groups)) = (self.search(name), &mut self.groups) else {
            return false;
        };
        let group = groups.list.remove(at);
        groups.bytes -= group_bytes(&group);
        if groups.list.is_empty() {
            self.groups = None;
        }
        true
    }

    /// Changes a group, with the entries at hand; None if there is no such group.
    pub fn edit_group<R>(
        &mut self,
        name: &[u8],
        edit: impl FnOnce(&Log, &mut Group) -> R,
    ) -> Option<R> {
        let at = self.search(name).ok()?;
        let groups = self.groups.as_mut()?;
        Some(groups.edit(at, |group| edit(&self.log, group)))
    }

    /// Removes all references of groups to an entry; whether there were any.
    pub fn forget(&mut self, entry: StreamId) -> bool {
        let Some(groups) = &mut self.groups else {
            return false;
        };
        let mut any = false;
        for at in 0..groups.list.len() {
            any |= groups.edit(at, |group| group.acknowledge(entry));
        }
        any
    }

    /// Whether every group has read and acknowledged an entry.
    pub fn all_are_done_with(&self, entry: StreamId) -> bool {
        self.groups().iter().all(|group| group.is_done_with(entry))
    }

    /// Trims with an eye on the groups; how many entries went.
    pub fn trim(&mut self, trim: Trim, limits: TrimLimits, references: References) -> u64 {
        match references {
            _ if self.groups.is_none() => self.log.trim(trim, limits, None),
            References::Keep => self.log.trim(trim, limits, None),
            References::Delete => {
                let (log, mut gone) = (&mut self.log, Vec::new());
                let mut note = |id| {
                    gone.push(id);
                    true
                };
                let count = log.trim(trim, limits, Some(&mut note));
                for id in gone {
                    self.forget(id);
                }
                count
            }
            References::Acknowledged => {
                let (log, groups) = (&mut self.log, listed(&self.groups));
                let mut may_go = |id| groups.iter().all(|group| group.is_done_with(id));
                log.trim(trim, limits, Some(&mut may_go))
            }
        }
    }

    /// Panics unless every invariant holds; walks everything.
    pub fn verify(&self) {
        self.log.verify();
        if let Some(groups) = &self.groups {
            let bytes: usize = groups.list.iter().map(group_bytes).sum();
            assert_eq!(bytes, groups.bytes);
            assert!(!groups.list.is_empty());
        }
        assert!(self.groups().is_sorted_by(|a, b| a.name < b.name));
        self.groups().iter().for_each(|group| group.verify());
    }
}

/// What becomes of groups' references to an entry that is to go.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum References {
    /// They stay.
    #[default]
    Keep,
    /// They go, too.
    Delete,
    /// The entry stays as long as a group has not read and acknowledged it.
    Acknowledged,
}

fn group_bytes(group: &Group) -> usize {
    size_of::<Group>() + group.heap_bytes()
}

impl Object for Stream {
    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn encoding(&self) -> &'static str {
        "stream"
    }

    fn heap_bytes(&self) -> usize {
        let groups = self.groups.as_ref();
        let groups = groups.map_or(0, |groups| size_of::<Groups>() + groups.bytes);
        size_of::<Self>() + self.log.heap_bytes() + groups
    }

    fn free_effort(&self) -> usize {
        let groups = self.groups().iter().map(|group| group.free_effort());
        self.log.blocks() + groups.sum::<usize>()
    }

    fn free_some(&mut self, budget: usize) -> bool {
        let mut left = budget;
        while left > 0 {
            if let Some(groups) = &mut self.groups {
                if let Some(group) = groups.list.last_mut() {
                    left = group.free_some(left);
                }
                if left > 0 {
                    groups.list.pop();
                    left -= 1;
                }
                if groups.list.is_empty() {
                    self.groups = None;
                }
            } else if self.log.free_block() {
                left -= 1;
            } else {
                return false;
            }
        }
        true
    }

    fn duplicate(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
