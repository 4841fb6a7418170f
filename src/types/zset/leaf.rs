//! A leaf: up to [`LEAF_MAX`] elements in order, scores beside scores and members packed behind one
//! another, so that a search reads few lines and a range reads them one after the other.
//!
//! | field | what |
//! | --- | --- |
//! | `scores` | in order |
//! | `starts` | where each member begins in `heap` |
//! | `tags` | eight bits of each member's hash: which elements a look-up by member compares |
//! | `heap` | members in no order: one byte of length, then the bytes; or 255 and the number of a large one |
//! | `large` | members longer than [`PACKED_MAX`], each in its own allocation |
//!
//! A member that goes leaves a hole in the heap, which is closed when room is needed.

use super::slab::{Id, NONE};
use std::cmp::Ordering;

/// Elements of a full leaf.
pub const LEAF_MAX: usize = 64;
/// Longest member inside the heap.
const PACKED_MAX: usize = 250;
/// In place of a length: the member is a large one, whose number follows.
const LARGE: u8 = 255;

/// An element as it is given out.
pub type Element<'a> = (f64, &'a [u8]);

/// A leaf. The tree's links are kept by the tree.
#[derive(Clone, Debug)]
pub struct Leaf {
    scores: [f64; LEAF_MAX],
    starts: [u16; LEAF_MAX],
    tags: [u8; LEAF_MAX],
    len: u16,
    /// Bytes of holes in the heap.
    holes: u16,
    /// The inner node above, if there is one.
    pub parent: Id,
    /// The leaf with the next higher elements.
    pub next: Id,
    /// The leaf with the next lower elements.
    pub prev: Id,
    heap: Vec<u8>,
    #[expect(clippy::box_collection, reason = "one word where there are none")]
    large: Option<Box<Vec<Box<[u8]>>>>,
}

const _: () = assert!(size_of::<Leaf>() <= 768, "a size that allocators have");

/// The order of elements: by score, then by the members' bytes.
#[inline]
pub fn order(a: Element<'_>, b: Element<'_>) -> Ordering {
    if a.0 < b.0 {
        Ordering::Less
    } else if a.0 > b.0 {
        Ordering::Greater
    } else {
        a.1.cmp(b.1)
    }
}

/// Bytes that a heap of `len` gets: an eighth of it is room for more.
fn room_for(len: usize) -> usize {
    let least = len.max(32);
    least.next_multiple_of((1 << (least - 1).ilog2()) / 4)
}

impl Leaf {
    /// An empty leaf.
    pub fn new() -> Self {
        Self {
            scores: [0.0; LEAF_MAX],
            starts: [0; LEAF_MAX],
            tags: [0; LEAF_MAX],
            len: 0,
            holes: 0,
            parent: NONE,
            next: NONE,
            prev: NONE,
            heap: Vec::new(),
            large: None,
        }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether it has room for no more.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() == LEAF_MAX
    }

    /// Bytes that it holds outside itself.
    pub fn heap_bytes(&self) -> usize {
        let large = self.large.as_ref().map_or(0, |all| {
            size_of::<Vec<Box<[u8]>>>()
                + all.capacity() * size_of::<Box<[u8]>>()
                + all.iter().map(|member| member.len()).sum::<usize>()
        });
        self.heap.capacity() + large
    }

    /// The scores, in order.
    #[inline]
    pub fn scores(&self) -> &[f64] {
        &self.scores[..self.len()]
    }

    /// The member at a place.
    #[inline]
    pub fn member(&self, at: usize) -> &[u8] {
        let start = usize::from(self.starts[..self.len()][at]);
        let rest = &self.heap[start..];
        match rest[0] {
            LARGE => &self.large.as_ref().expect("a large member")[usize::from(rest[1])],
            len => &rest[1..1 + usize::from(len)],
        }
    }

    /// The element at a place.
    #[inline]
    pub fn element(&self, at: usize) -> Element<'_> {
        (self.scores()[at], self.member(at))
    }

    /// Where a member stands.
    #[inline]
    pub fn find(&self, tag: u8, member: &[u8]) -> Option<usize> {
        self.tagged(tag)
            .find(|at| crate::stdx::bytes::equal(self.member(*at), member))
    }

    /// The places of a tag.
    #[inline]
    pub fn tagged(&self, tag: u8) -> impl Iterator<Item = usize> {
        let len = self.len();
        // A word of tags at a time: a byte of the word is 0 where the tags are equal; the test finds
        // every such byte, and rarely one above it.
        const ONES: u64 = u64::from_le_bytes([1; 8]);
        const HIGHS: u64 = ONES << 7;
        let wanted = u64::from(tag) * ONES;
        let mut places = 0u64;
        for (i, chunk) in self.tags.chunks_exact(8).enumerate() {
            let word = u64::from_le_bytes(chunk.try_into().expect("eight tags")) ^ wanted;
            let zeros = word.wrapping_sub(ONES) & !word & HIGHS;
            // The eight high bits are gathered into the highest byte.
            let bits = (zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            places |= bits << (8 * i);
        }
        if len < LEAF_MAX {
            places &= (1 << len) - 1;
        }
        let tags = self.tags;
        std::iter::from_fn(move || {
            while places != 0 {
                let at = places.trailing_zeros() as usize;
                places &= places - 1;
                if tags[at] == tag {
                    return Some(at);
                }
            }
            None
        })
    }

    /// How many elements are in front of one.
    #[inline]
    pub fn position(&self, element: Element<'_>) -> usize {
        let (score, member) = element;
        let lower = self.scores().partition_point(|s| *s < score);
        let ties = self.scores()[lower..].partition_point(|s| *s <= score);
        if ties == 0 {
            return lower;
        }
        let (mut low, mut high) = (lower, lower + ties);
        while low < high {
            let middle = low.midpoint(high);
            if self.member(middle) < member {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Puts an element in at a place. The leaf is not full.
    pub fn insert(&mut self, at: usize, element: Element<'_>, tag: u8) {
        let start = self.store(element.1);
        self.open(at);
        (self.scores[at], self.starts[at], self.tags[at]) = (element.0, start, tag);
    }

    /// Makes room for an element in the lists.
    #[inline]
    fn open(&mut self, at: usize) {
        let len = self.len();
        assert!(at <= len && len < LEAF_MAX);
        self.scores.copy_within(at..len, at + 1);
        self.starts.copy_within(at..len, at + 1);
        self.tags.copy_within(at..len, at + 1);
        self.len += 1;
    }

    /// Takes an element out of the lists.
    #[inline]
    fn close(&mut self, at: usize) {
        let len = self.len();
        assert!(at < len);
        self.scores.copy_within(at + 1..len, at);
        self.starts.copy_within(at + 1..len, at);
        self.tags.copy_within(at + 1..len, at);
        self.len -= 1;
    }

    /// Gives an element another score and with it another place, counted without itself.
    pub fn relocate(&mut self, from: usize, to: usize, score: f64) {
        let (start, tag) = (self.starts[from], self.tags[from]);
        if from < to {
            self.scores.copy_within(from + 1..=to, from);
            self.starts.copy_within(from + 1..=to, from);
            self.tags.copy_within(from + 1..=to, from);
        } else if to < from {
            self.scores.copy_within(to..from, to + 1);
            self.starts.copy_within(to..from, to + 1);
            self.tags.copy_within(to..from, to + 1);
        }
        (self.scores[to], self.starts[to], self.tags[to]) = (score, start, tag);
    }

    /// Where an element belongs whose score changes, counted without itself; None where that may be
    /// in another leaf.
    #[inline]
    pub fn new_place(&self, at: usize, score: f64) -> Option<usize> {
        let scores = self.scores();
        let last = self.len() - 1;
        let before = scores[at];
        let fits_below = at == last || score < scores[at + 1];
        let fits_above = at == 0 || score > scores[at - 1];
        let is_up = score > before;
        // Beyond the ends only in the direction from which the element comes nothing else can be.
        if fits_below && fits_above {
            let inside = if is_up {
                at < last || self.next == NONE
            } else {
                at > 0 || self.prev == NONE
            };
            return inside.then_some(at);
        }
        let to = self.position((score, self.member(at)));
        if is_up {
            (to <= last || self.next == NONE).then(|| to - 1)
        } else {
            (to > 0 || self.prev == NONE).then_some(to)
        }
    }

    /// Bytes of an element's member in the heap.
    fn stored(&self, at: usize) -> usize {
        match self.heap[usize::from(self.starts[at])] {
            LARGE => 2,
            len => 1 + usize::from(len),
        }
    }

    /// Gives a large member's memory back.
    #[inline]
    fn forget_large(&mut self, at: usize) {
        let start = usize::from(self.starts[at]);
        if self.heap[start] == LARGE {
            let number = usize::from(self.heap[start + 1]);
            let all = self.large.as_mut().expect("a large member");
            all[number] = Box::default();
        }
    }

    /// Removes an element.
    pub fn remove(&mut self, at: usize) {
        let (start, stored) = (usize::from(self.starts[at]), self.stored(at));
        self.forget_large(at);
        self.close(at);
        if start + stored == self.heap.len() {
            self.heap.truncate(start);
        } else {
            self.holes += stored as u16;
        }
        if self.len == 0 {
            (self.heap, self.large) = (Vec::new(), None);
            self.holes = 0;
        } else if usize::from(self.holes) > self.heap.capacity() / 2 {
            self.pack(0);
        }
    }

    /// Writes a member into the heap; where it begins.
    fn store(&mut self, member: &[u8]) -> u16 {
        let need = if member.len() > PACKED_MAX {
            2
        } else {
            1 + member.len()
        };
        if self.heap.len() + need > self.heap.capacity() {
            self.pack(need);
        }
        let start = self.heap.len() as u16;
        if member.len() > PACKED_MAX {
            let number = self.store_large(member);
            self.heap.extend_from_slice(&[LARGE, number]);
        } else {
            self.heap.push(member.len() as u8);
            self.heap.extend_from_slice(member);
        }
        start
    }

    /// Takes a large member in; its number, one that went before if there is one.
    fn store_large(&mut self, member: &[u8]) -> u8 {
        let all = self.large.get_or_insert_default();
        let number = match all.iter().position(|old| old.is_empty()) {
            Some(number) => {
                all[number] = member.into();
                number
            }
            None => {
                all.push(member.into());
                all.len() - 1
            }
        };
        u8::try_from(number).expect("not more than elements")
    }

    /// Closes the holes, and makes room for `need` more bytes.
    #[cold]
    fn pack(&mut self, need: usize) {
        let used = self.heap.len() - usize::from(self.holes);
        let mut packed = Vec::with_capacity(room_for(used + used / 16 + need));
        for at in 0..self.len() {
            let (start, stored) = (usize::from(self.starts[at]), self.stored(at));
            self.starts[at] = packed.len() as u16;
            packed.extend_from_slice(&self.heap[start..start + stored]);
        }
        assert_eq!(packed.len(), used);
        self.heap = packed;
        self.holes = 0;
    }

    /// Moves the elements from a place on to the end of another leaf, which has room for them.
    pub fn move_tail(&mut self, from: usize, to: &mut Self) {
        let moved: usize = (from..self.len()).map(|at| self.stored(at)).sum();
        if to.heap.capacity() < to.heap.len() + moved {
            let room = room_for(to.heap.len() + moved);
            to.heap.reserve_exact(room - to.heap.len());
        }
        for at in from..self.len() {
            to.insert(to.len(), self.element(at), self.tags[at]);
            self.forget_large(at);
        }
        self.len = from as u16;
        self.holes = self.heap.len() as u16;
        self.holes -= (0..from).map(|at| self.stored(at)).sum::<usize>() as u16;
        self.pack(0);
    }

    /// Panics unless every invariant holds.
    pub fn verify(&self, tag_of: impl Fn(&[u8]) -> u8) {
        let mut used = 0;
        for at in 0..self.len() {
            assert_eq!(self.tags[at], tag_of(self.member(at)));
            assert!(at == 0 || order(self.element(at - 1), self.element(at)).is_lt());
            used += self.stored(at);
        }
        assert_eq!(used + usize::from(self.holes), self.heap.len());
    }
}
