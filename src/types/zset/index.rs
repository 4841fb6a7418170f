//! From a member to the leaf that holds it: spiral storage ([`crate::types::spiral`]) over buckets of
//! variable size.
//!
//! A member is known here by the upper 32 bits of its hash's position alone, its *rank hash*, and a
//! word of 8 bytes holds these above the number of the leaf. Which bucket a word belongs to is said
//! by the leading bits of the rank hash. One bucket is split with each step, into itself and one at
//! the end, and nothing else ever moves; at any number of buckets their sizes are spread in the same
//! way, so that the memory that one outgrows serves the next.
//!
//! Inside a bucket the words stand in the order of their hashes, each at or behind the place that its
//! hash says (linear probing that keeps order). So a look-up reads one or two lines; and a scan in
//! the order of hashes is stateless: its cursor is the next hash, and neither growth nor shrinking
//! disturbs it.
//!
//! Invariants, checked by [`Index::verify`]: the words of a bucket ascend and lie in its range; no
//! empty word stands between a word's home and the word.

use super::slab::Id;
use crate::types::spiral;

/// A word that holds nothing: it sorts behind every other.
const EMPTY: u64 = u64::MAX;
/// The highest rank hash; the one above stands for an empty word.
const HASH_MAX: u32 = u32::MAX - 1;
/// The next bucket is split when there are more words than so many for each.
const FILL_SPLIT: usize = 384;
/// The last bucket is given back when there are fewer.
const FILL_MERGE: usize = 128;
/// Words behind the last home, for those that are pushed there.
const SLACK: usize = 12;
/// Buckets are held in chunks, so that their table does not move as it grows.
const CHUNK_BITS: u32 = 9;
const CHUNK: usize = 1 << CHUNK_BITS;

#[derive(Clone, Debug)]
struct Bucket {
    words: Box<[u64]>,
    len: usize,
}

/// Where a word stands, until the index's next change of words.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    bucket: usize,
    at: usize,
}

/// The rank hash of a member's hash.
#[inline]
pub fn rank_hash(hash: u64) -> u32 {
    ((spiral::position(hash) >> 32) as u32).min(HASH_MAX)
}

/// The first position with that rank hash.
#[inline]
fn position(hash: u32) -> u64 {
    u64::from(hash) << 32
}

/// The index.
#[derive(Clone, Debug)]
pub struct Index {
    chunks: Vec<Vec<Bucket>>,
    count: usize,
    len: usize,
    words: usize,
}

#[inline]
fn hash_of(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The number of words that a bucket of `len` gets: a size that allocators have, at most seven
/// eighths full.
fn words_for(len: usize) -> usize {
    let least = len + len / 7 + 1 + SLACK;
    let step = (1 << (least.max(32) - 1).ilog2()) / 4;
    least.next_multiple_of(step)
}

impl Bucket {
    fn new(len: usize) -> Self {
        Self {
            words: vec![EMPTY; words_for(len)].into_boxed_slice(),
            len: 0,
        }
    }

    /// A bucket of words that ascend.
    fn of(words: impl Iterator<Item = u64> + Clone, len: usize, depth: u32) -> Self {
        let mut room = words_for(len);
        loop {
            if let Some(spread) = spread(words.clone(), room, depth) {
                return Self { words: spread, len };
            }
            room = words_for(room);
        }
    }

    /// Where a hash belongs.
    #[inline]
    fn home(&self, hash: u32, depth: u32) -> usize {
        home(hash, depth, self.words.len() - SLACK)
    }

    fn filled(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        self.words.iter().copied().filter(|word| *word != EMPTY)
    }

    /// Adds a word; false: there is no room for it.
    fn insert(&mut self, word: u64, depth: u32) -> bool {
        if (self.len + 1) * 8 > (self.words.len() - SLACK) * 7 {
            return false;
        }
        let mut at = self.home(hash_of(word), depth);
        while self.words.get(at).is_some_and(|w| *w <= word) {
            at += 1;
        }
        let Some(gap) = self.words[at.min(self.words.len())..]
            .iter()
            .position(|w| *w == EMPTY)
        else {
            return false;
        };
        self.words.copy_within(at..at + gap, at + 1);
        self.words[at] = word;
        self.len += 1;
        true
    }

    fn remove(&mut self, at: usize, depth: u32) {
        assert_ne!(self.words[at], EMPTY);
        let mut end = at + 1;
        while end < self.words.len()
            && self.words[end] != EMPTY
            && self.home(hash_of(self.words[end]), depth) < end
        {
            end += 1;
        }
        self.words.copy_within(at + 1..end, at);
        self.words[end - 1] = EMPTY;
        self.len -= 1;
    }
}

#[inline]
fn home(hash: u32, depth: u32, homes: usize) -> usize {
    let within = u64::from(hash << depth);
    ((within * homes as u64) >> 32) as usize
}

/// Ascending words, each at or behind its home; None if they do not fit.
fn spread(words: impl Iterator<Item = u64>, room: usize, depth: u32) -> Option<Box<[u64]>> {
    let mut spread = vec![EMPTY; room].into_boxed_slice();
    let mut next = 0;
    for word in words {
        let at = home(hash_of(word), depth, room - SLACK).max(next);
        *spread.get_mut(at)? = word;
        next = at + 1;
    }
    Some(spread)
}

impl Index {
    /// An empty index.
    pub fn new() -> Self {
        let first = Bucket::new(0);
        let words = first.words.len();
        Self {
            chunks: vec![vec![first]],
            count: 1,
            len: 0,
            words,
        }
    }

    /// Words.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes that it holds.
    pub fn heap_bytes(&self) -> usize {
        self.words * 8 + self.count * size_of::<Bucket>()
    }

    #[inline]
    fn bucket(&self, number: usize) -> &Bucket {
        &self.chunks[number >> CHUNK_BITS][number % CHUNK]
    }

    #[inline]
    fn bucket_mut(&mut self, number: usize) -> &mut Bucket {
        &mut self.chunks[number >> CHUNK_BITS][number % CHUNK]
    }

    /// The bucket of a hash, and how many of the hash's leading bits it stands for.
    #[inline]
    fn find_bucket(&self, hash: u32) -> (usize, u32) {
        spiral::bucket(position(hash), self.count)
    }

    /// The first place at which a word of this hash may stand, and the leaf there if one does.
    #[inline]
    pub fn first(&self, hash: u32) -> Option<(Word, Id)> {
        let (bucket, depth) = self.find_bucket(hash);
        let at = self.bucket(bucket).home(hash, depth);
        self.from(Word { bucket, at }, hash)
    }

    /// The next word of this hash behind one that was found.
    #[inline]
    pub fn next(&self, after: Word, hash: u32) -> Option<(Word, Id)> {
        let at = after.at + 1;
        self.from(Word { at, ..after }, hash)
    }

    #[inline]
    fn from(&self, from: Word, hash: u32) -> Option<(Word, Id)> {
        let words = &self.bucket(from.bucket).words;
        let mut at = from.at;
        while let Some(word) = words.get(at) {
            if hash_of(*word) >= hash {
                let found = Word { at, ..from };
                return (hash_of(*word) == hash).then_some((found, *word as Id));
            }
            at += 1;
        }
        None
    }

    /// Adds a member's word.
    pub fn insert(&mut self, hash: u32, leaf: Id) {
        let word = u64::from(hash) << 32 | u64::from(leaf);
        let (number, depth) = self.find_bucket(hash);
        let bucket = self.bucket_mut(number);
        if !bucket.insert(word, depth) {
            let before = bucket.words.len();
            let len = bucket.len + 1;
            // One of them is not there yet; it is put into its order.
            let lower = bucket.filled().take_while(|w| *w <= word);
            let upper = bucket.filled().skip_while(|w| *w <= word);
            let all = lower.chain(std::iter::once(word)).chain(upper);
            *bucket = Bucket::of(all, len, depth);
            let after = bucket.words.len();
            self.words = self.words + after - before;
        }
        self.len += 1;
        if self.len > self.count * FILL_SPLIT {
            self.split_next();
        }
    }

    /// Removes a word that was found.
    pub fn remove(&mut self, word: Word) {
        let hash = hash_of(self.bucket(word.bucket).words[word.at]);
        let (_, depth) = self.find_bucket(hash);
        let bucket = self.bucket_mut(word.bucket);
        bucket.remove(word.at, depth);
        let before = bucket.words.len();
        if before > 2 * words_for(bucket.len + 8) {
            *bucket = Bucket::of(bucket.filled(), bucket.len, depth);
            let after = bucket.words.len();
            self.words = self.words + after - before;
        }
        self.len -= 1;
        if self.count > 1 && self.len < self.count * FILL_MERGE {
            self.merge_last();
        }
    }

    /// The leaf of a word that was found is another one now.
    #[inline]
    pub fn set_leaf(&mut self, word: Word, leaf: Id) {
        let place = &mut self.bucket_mut(word.bucket).words[word.at];
        *place = *place >> 32 << 32 | u64::from(leaf);
    }

    fn split_next(&mut self) {
        let (number, depth) = spiral::split(self.count);
        let high = 1u64 << (64 - depth);
        let old = self.bucket(number);
        let (low_len, old_words) = (
            old.filled().filter(|w| w & high == 0).count(),
            old.words.len(),
        );
        let low = Bucket::of(old.filled().filter(|w| w & high == 0), low_len, depth);
        let rest = old.len - low_len;
        let upper = Bucket::of(old.filled().filter(|w| w & high != 0), rest, depth);
        self.words = self.words + low.words.len() + upper.words.len() - old_words;
        *self.bucket_mut(number) = low;
        if self.count.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let last = self.chunks.last_mut();
        last.expect("a chunk with room").push(upper);
        self.count += 1;
    }

    fn merge_last(&mut self) {
        let last = self.chunks.last_mut().expect("more than one bucket");
        let upper = last.pop().expect("no chunk is empty");
        if last.is_empty() {
            self.chunks.pop();
        }
        self.count -= 1;
        let (number, parts_depth) = spiral::split(self.count);
        let depth = parts_depth - 1;
        let low = self.bucket_mut(number);
        let all = low.filled().chain(upper.filled());
        let before = low.words.len() + upper.words.len();
        *low = Bucket::of(all, low.len + upper.len, depth);
        let after = low.words.len();
        self.words = self.words + after - before;
    }

    /// Calls `visit` for words in the order of hashes from `from` on, until about `count` are seen;
    /// those of one hash always together. The hash to go on at; None when all is seen.
    pub fn scan(&self, from: u32, count: usize, mut visit: impl FnMut(u32, Id)) -> Option<u32> {
        let mut left = count.max(1);
        let mut start = from;
        let mut last = None;
        loop {
            let (number, depth) = self.find_bucket(start);
            for word in self.bucket(number).filled() {
                let hash = hash_of(word);
                if hash < start {
                    continue;
                }
                if left == 0 && last != Some(hash) {
                    return Some(hash);
                }
                last = Some(hash);
                left = left.saturating_sub(1);
                visit(hash, word as Id);
            }
            let last = spiral::last(position(start), depth);
            start = ((last >> 32) as u32).checked_add(1)?;
            if left == 0 {
                return Some(start);
            }
        }
    }

    /// Frees up to `budget` buckets, after which nothing else may be done; whether any is left.
    pub fn free_some(&mut self, budget: &mut usize) -> bool {
        while let Some(chunk) = self.chunks.last_mut() {
            if chunk.is_empty() {
                self.chunks.pop();
                continue;
            }
            if *budget == 0 {
                return true;
            }
            *budget -= 1;
            chunk.pop();
        }
        false
    }

    /// Panics unless every invariant holds.
    pub fn verify(&self) {
        let (mut len, mut words) = (0, 0);
        for number in 0..self.count {
            let bucket = self.bucket(number);
            words += bucket.words.len();
            assert_eq!(bucket.filled().count(), bucket.len);
            assert!(bucket.filled().map(hash_of).is_sorted());
            len += bucket.len;
            for (at, word) in bucket.words.iter().enumerate() {
                if *word == EMPTY {
                    continue;
                }
                let (found, depth) = self.find_bucket(hash_of(*word));
                assert_eq!(found, number);
                let home = bucket.home(hash_of(*word), depth);
                assert!(home <= at && !bucket.words[home..at].contains(&EMPTY));
            }
        }
        assert_eq!((len, words), (self.len, self.words));
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}
