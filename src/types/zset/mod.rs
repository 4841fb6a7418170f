//! The sorted set beyond one packed block: a B+tree in the order of scores and members, and an index
//! by member.
//!
//! | part | what | bytes for a member of 16 bytes, about |
//! | --- | --- | --- |
//! | [`tree`], [`leaf`] | elements in order, packed; counts in inner nodes | 36 |
//! | [`index`] | 32 bits of the member's hash -> the leaf that holds it | 10 |
//!
//! By member (ZSCORE, ZRANK, ZINCRBY): the index names the leaf, eight bits of the hash the element
//! in it, and links upwards give the rank; only the member itself is compared. By order (ranges, new
//! elements): down the tree. Every operation is logarithmic, and none moves more than a leaf, a node
//! on each level and a bucket of the index.
//!
//! An index that held scores instead of leaves would need no update when a leaf is split (about one
//! word for each new element, the misses of one split overlap), but every look-up by member would go
//! down the tree, and compare members on each level where scores are equal.
//!
//! Hashes are made with the keyed hash of the keyspace, a copy of which a set carries. Scores are
//! never NaN; -0 equals 0. At most 2^32 elements.

mod index;
mod leaf;
mod slab;
pub mod small;
mod tree;

use crate::keyspace::{Hasher, Kind, Object};
use index::{Index, Word, rank_hash};
pub use leaf::{Element, order};
use slab::{Id, NONE};
use std::any::Any;
use tree::{Moved, Place, Tree};

/// A sorted set.
#[derive(Clone, Debug)]
pub struct SortedSet {
    hasher: Hasher,
    tree: Tree,
    index: Index,
    /// Whether OBJECT ENCODING says `listpack`: the limits of the configuration allow one that is
    /// longer than a block can be.
    pub is_listpack: bool,
}

/// A member that was looked up and found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    hash: u64,
    word: Word,
    place: Place,
    /// Its score.
    pub score: f64,
}

/// The eight bits of a member's rank hash that its leaf keeps.
#[inline]
fn tag_of(hash: u64) -> u8 {
    rank_hash(hash) as u8
}

impl SortedSet {
    /// An empty set whose members are hashed with `hasher`.
    pub fn new(hasher: Hasher) -> Self {
        Self {
            hasher,
            tree: Tree::new(),
            index: Index::new(),
            is_listpack: false,
        }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks a member up.
    #[inline]
    pub fn find(&self, member: &[u8]) -> Option<Found> {
        self.find_hashed(member, self.hasher.hash(member))
    }

    #[inline]
    fn find_hashed(&self, member: &[u8], hash: u64) -> Option<Found> {
        let wanted = rank_hash(hash);
        let mut candidate = self.index.first(wanted);
        while let Some((word, id)) = candidate {
            let leaf = self.tree.leaf(id);
            if let Some(at) = leaf.find(tag_of(hash), member) {
                let place = Place { leaf: id, at };
                let score = leaf.scores()[at];
                return Some(Found {
                    hash,
                    word,
                    place,
                    score,
                });
            }
            candidate = self.index.next(word, wanted);
        }
        None
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.find(member).map(|found| found.score)
    }

    /// How many elements are in front of a member that was found.
    pub fn rank(&self, found: &Found) -> usize {
        self.tree.rank(found.place)
    }

    /// Adds a member or gives it another score; the score that it had.
    pub fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        self.update(member, |_| Some(score))
    }

    /// Gives a member the score, if any, that `decide` says, being told the present one, if any;
    /// what it was told.
    pub fn update(
        &mut self,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Option<f64> {
        let hash = self.hasher.hash(member);
        let found = self.find_hashed(member, hash);
        let before = found.map(|found| found.score);
        match (found, decide(before)) {
            (_, None) => {}
            (Some(found), Some(score)) => self.rescore(found, member, score),
            (None, Some(score)) => self.insert_hashed(member, hash, score),
        }
        before
    }

    /// Adds a member that is not there.
    pub fn insert(&mut self, member: &[u8], score: f64) {
        self.insert_hashed(member, self.hasher.hash(member), score);
    }

    fn insert_hashed(&mut self, member: &[u8], hash: u64, score: f64) {
        assert!(!score.is_nan());
        let (place, moved) = self.tree.insert((score, member), tag_of(hash));
        self.follow(moved, Some(place));
        self.index.insert(rank_hash(hash), place.leaf);
    }

    /// Gives a member that was found since the last change another score.
    pub fn rescore(&mut self, found: Found, member: &[u8], score: f64) {
        assert!(!score.is_nan());
        if score == found.score || self.tree.change_score(found.place, score).is_some() {
            return;
        }
        // So that its word is not taken for that of another member with the same hash.
        self.index.set_leaf(found.word, NONE);
        let moved = self.tree.remove(found.place);
        self.follow(moved, None);
        let (place, moved) = self.tree.insert((score, member), tag_of(found.hash));
        self.follow(moved, Some(place));
        self.index.set_leaf(found.word, place.leaf);
    }

    /// Removes a member; the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let found = self.find(member)?;
        self.remove_found(found);
        Some(found.score)
    }

    /// Removes a member that was found since the last change.
    pub fn remove_found(&mut self, found: Found) {
        let moved = self.tree.remove(found.place);
        self.index.remove(found.word);
        self.follow(moved, None);
    }

    /// Removes up to `count` elements from a rank on; each is shown before it goes.
    pub fn remove_range(&mut self, rank: usize, count: usize, mut gone: impl FnMut(Element<'_>)) {
        for _ in 0..count.min(self.len().saturating_sub(rank)) {
            let place = self.place(rank);
            let element = self.tree.element(place);
            gone(element);
            let hash = self.hasher.hash(element.1);
            let word = self.word_of(rank_hash(hash), place.leaf);
            self.index.remove(word);
            let moved = self.tree.remove(place);
            self.follow(moved, None);
        }
    }

    /// A word of this hash with this leaf; if there are several, any of them will do.
    fn word_of(&self, hash: u32, leaf: Id) -> Word {
        let mut candidate = self.index.first(hash);
        while let Some((word, id)) = candidate {
            if id == leaf {
                return word;
            }
            candidate = self.index.next(word, hash);
        }
        panic!("a member has no word in the index");
    }

    /// Tells the index of elements that stand in another leaf now; all but a new one, which the
    /// index does not know yet or knows elsewhere.
    fn follow(&mut self, moved: Option<Moved>, new: Option<Place>) {
        let Some(Moved { was, to, from }) = moved else {
            return;
        };
        let leaf = self.tree.leaf(to);
        let mut hashes = [0; leaf::LEAF_MAX];
        let mut count = 0;
        for at in from..leaf.len() {
            if new != Some(Place { leaf: to, at }) {
                hashes[count] = rank_hash(self.hasher.hash(leaf.member(at)));
                count += 1;
            }
        }
        for hash in &hashes[..count] {
            let word = self.word_of(*hash, was);
            self.index.set_leaf(word, to);
        }
    }

    /// The place of a rank; the ends are known without going down the tree.
    fn place(&self, rank: usize) -> Place {
        let first = self.tree.leaf(self.tree.first).len();
        if rank < first {
            let leaf = self.tree.first;
            return Place { leaf, at: rank };
        }
        let last = self.tree.leaf(self.tree.last).len();
        match (rank + last).checked_sub(self.len()) {
            Some(at) => Place {
                leaf: self.tree.last,
                at,
            },
            None => self.tree.select(rank),
        }
    }

    /// The element at a rank below the number of elements.
    pub fn at(&self, rank: usize) -> Element<'_> {
        self.tree.element(self.place(rank))
    }

    /// The elements from a rank on, upwards.
    pub fn ascend(&self, rank: usize) -> impl Iterator<Item = Element<'_>> {
        let mut place = (rank < self.len()).then(|| self.place(rank));
        std::iter::from_fn(move || {
            let Place { leaf, at } = place?;
            let node = self.tree.leaf(leaf);
            place = if at + 1 < node.len() {
                Some(Place { leaf, at: at + 1 })
            } else {
                let leaf = node.next;
                (leaf != NONE).then_some(Place { leaf, at: 0 })
            };
            Some(node.element(at))
        })
    }

    /// The elements from a rank on, downwards.
    pub fn descend(&self, rank: usize) -> impl Iterator<Item = Element<'_>> {
        let mut place = (rank < self.len()).then(|| self.place(rank));
        std::iter::from_fn(move || {
            let Place { leaf, at } = place?;
            let node = self.tree.leaf(leaf);
            place = if at > 0 {
                Some(Place { leaf, at: at - 1 })
            } else {
                let leaf = node.prev;
                (leaf != NONE).then(|| Place {
                    leaf,
                    at: self.tree.leaf(leaf).len() - 1,
                })
            };
            Some(node.element(at))
        })
    }

    /// How many elements have scores of which `before` holds, which holds up to some score only.
    pub fn count_scores(&self, before: impl Fn(f64) -> bool) -> usize {
        self.tree.count_scores(before)
    }

    /// How many elements `before` holds for, which holds up to some element only.
    pub fn count_where(&self, before: impl Fn(Element<'_>) -> bool) -> usize {
        self.tree.count_where(before)
    }

    /// Shows about `count` elements from a cursor (0 at first) on; the cursor to go on at, 0 when all
    /// is seen. What is there from the first call to the last is shown, whatever changes meanwhile.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Element<'_>)) -> u64 {
        let Ok(from) = u32::try_from(cursor) else {
            return 0;
        };
        let mut seen: Option<(u32, Vec<Id>)> = None;
        let next = self.index.scan(from, count, |hash, id| {
            // Several words may share both hash and leaf: all their elements are shown at the first.
            match &mut seen {
                Some((last, leaves)) if *last == hash => {
                    if leaves.contains(&id) {
                        return;
                    }
                    leaves.push(id);
                }
                _ => seen = Some((hash, Vec::from([id]))),
            }
            let leaf = self.tree.leaf(id);
            for at in leaf.tagged(hash as u8) {
                if rank_hash(self.hasher.hash(leaf.member(at))) == hash {
                    visit(leaf.element(at));
                }
            }
        });
        u64::from(next.unwrap_or(0))
    }

    /// Panics unless every invariant holds; walks everything.
    pub fn verify(&self) {
        self.tree.verify(|member| tag_of(self.hasher.hash(member)));
        self.index.verify();
        assert_eq!(self.index.len(), self.tree.len());
        for (rank, (score, member)) in self.ascend(0).enumerate() {
            let found = self.find(member).expect("every member is found");
            assert_eq!(found.score.to_bits(), score.to_bits());
            assert_eq!(self.rank(&found), rank);
        }
    }
}

impl Object for SortedSet {
    fn kind(&self) -> Kind {
        Kind::ZSet
    }

    fn encoding(&self) -> &'static str {
        if self.is_listpack {
            "listpack"
        } else {
            "skiplist"
        }
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.tree.heap_bytes() + self.index.heap_bytes()
    }

    fn free_effort(&self) -> usize {
        self.tree.nodes() + self.index.len() / 256
    }

    fn free_some(&mut self, budget: usize) -> bool {
        let mut left = budget;
        self.tree.free_some(&mut left) || self.index.free_some(&mut left)
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

#[cfg(test)]
mod tests;
