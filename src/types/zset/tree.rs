//! The B+tree above the leaves: order and order statistics.
//!
//! An inner node knows of each child how many elements are below it and a *fence*: no element before
//! that child has a higher score, and none in or behind it a lower one. Where a fence alone does not
//! decide (equal scores), the first element of the child does, which is found by going down its left
//! edge. The fence of a node's first child says nothing.
//!
//! Links go up, too: from a leaf that is known (the index knows the leaf of every member) rank and
//! removal need no comparison at all.
//!
//! Elements move between leaves when one is split or two become one; the caller is told ([`Moved`]).
//! No operation moves more than one leaf's elements and, for each level, one node's children.

use super::leaf::{Element, LEAF_MAX, Leaf, order};
use super::slab::{Id, NONE, Slab};

/// Children of a full inner node: 16 bytes each make a node of 1 KiB.
const CHILDREN_MAX: usize = 63;
/// A node with no more children looks for a neighbour to join.
const CHILDREN_FEW: usize = 16;
/// They join if they have no more together.
const CHILDREN_JOINED: usize = 40;
/// The same for the elements of leaves.
const LEAF_FEW: usize = LEAF_MAX / 4;
const LEAF_JOINED: usize = LEAF_MAX / 2;

#[derive(Clone, Debug)]
struct Inner {
    fences: [f64; CHILDREN_MAX],
    children: [Id; CHILDREN_MAX],
    /// Elements below each child.
    counts: [u32; CHILDREN_MAX],
    parent: Id,
    len: u32,
}

const _: () = assert!(size_of::<Inner>() <= 1024, "a size that allocators have");

/// Where an element stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The leaf.
    pub leaf: Id,
    /// The place in it.
    pub at: usize,
}

/// Elements that stand in another leaf now: those of `to` from `from` on were in `was`.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// Where they were.
    pub was: Id,
    /// Where they are.
    pub to: Id,
    /// The first of them there.
    pub from: usize,
}

/// The tree.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(super) leaves: Slab<Leaf>,
    inners: Slab<Inner>,
    root: Id,
    /// Levels of inner nodes.
    height: u32,
    /// The leaf with the lowest elements.
    pub first: Id,
    /// The leaf with the highest elements.
    pub last: Id,
    len: usize,
    /// Bytes that leaves hold outside themselves.
    packed_bytes: usize,
}

impl Inner {
    fn new() -> Self {
        Self {
            fences: [0.0; CHILDREN_MAX],
            children: [NONE; CHILDREN_MAX],
            counts: [0; CHILDREN_MAX],
            parent: NONE,
            len: 0,
        }
    }

    #[inline]
    fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    fn slot_of(&self, child: Id) -> usize {
        let slot = self.children[..self.len()].iter().position(|c| *c == child);
        slot.expect("a child of this node")
    }

    /// The fences of all children but the first.
    #[inline]
    fn fences(&self) -> &[f64] {
        &self.fences[1..self.len()]
    }

    #[inline]
    fn count_before(&self, slot: usize) -> usize {
        self.counts[..slot].iter().map(|n| *n as usize).sum()
    }

    fn insert(&mut self, slot: usize, child: Id, count: u32, fence: f64) {
        let len = self.len();
        assert!(slot <= len && len < CHILDREN_MAX);
        self.children.copy_within(slot..len, slot + 1);
        self.counts.copy_within(slot..len, slot + 1);
        self.fences.copy_within(slot..len, slot + 1);
        (self.children[slot], self.counts[slot], self.fences[slot]) = (child, count, fence);
        self.len += 1;
    }

    fn remove(&mut self, slot: usize) {
        let len = self.len();
        assert!(slot < len);
        self.children.copy_within(slot + 1..len, slot);
        self.counts.copy_within(slot + 1..len, slot);
        self.fences.copy_within(slot + 1..len, slot);
        self.len -= 1;
    }

    /// Moves the children from a slot on to the end of another node.
    fn move_tail(&mut self, from: usize, to: &mut Self) {
        for slot in from..self.len() {
            let (child, count) = (self.children[slot], self.counts[slot]);
            to.insert(to.len(), child, count, self.fences[slot]);
        }
        self.len = from as u32;
    }
}

impl Tree {
    /// An empty tree: one empty leaf.
    pub fn new() -> Self {
        let mut leaves = Slab::default();
        let root = leaves.insert(Leaf::new());
        Self {
            leaves,
            inners: Slab::default(),
            root,
            height: 0,
            first: root,
            last: root,
            len: 0,
            packed_bytes: 0,
        }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes that it holds.
    pub fn heap_bytes(&self) -> usize {
        self.leaves.len() * size_of::<Leaf>()
            + self.leaves.table_bytes()
            + self.inners.len() * size_of::<Inner>()
            + self.inners.table_bytes()
            + self.packed_bytes
    }

    /// The leaf of that number.
    #[inline]
    pub fn leaf(&self, id: Id) -> &Leaf {
        &self.leaves[id]
    }

    /// The element at a place.
    #[inline]
    pub fn element(&self, place: Place) -> Element<'_> {
        self.leaves[place.leaf].element(place.at)
    }

    /// Changes a leaf and keeps account of its bytes.
    #[inline]
    fn edit<R>(&mut self, id: Id, change: impl FnOnce(&mut Leaf) -> R) -> R {
        let leaf = &mut self.leaves[id];
        let before = leaf.heap_bytes();
        let result = change(leaf);
        self.packed_bytes = self.packed_bytes + leaf.heap_bytes() - before;
        result
    }

    /// The first element below a child of a node whose children are `levels` above the leaves.
    fn first_below(&self, mut child: Id, levels: u32) -> Element<'_> {
        for _ in 0..levels {
            child = self.inners[child].children[0];
        }
        self.leaves[child].element(0)
    }

    /// The slot of the last child (or the first one) that begins with an element of which `before`
    /// holds, between two slots of which all in front are known to hold.
    fn last_slot(
        &self,
        inner: &Inner,
        levels: u32,
        (mut low, mut high): (usize, usize),
        before: impl Fn(Element<'_>) -> bool,
    ) -> usize {
        while low < high {
            let middle = (low + high).div_ceil(2);
            if before(self.first_below(inner.children[middle], levels)) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    /// The leaf in which an element stands, or would.
    fn descend(&self, element: Element<'_>) -> Id {
        let mut node = self.root;
        for levels in (0..self.height).rev() {
            let inner = &self.inners[node];
            let fences = inner.fences();
            let low = fences.partition_point(|f| *f < element.0);
            let ties = fences[low..].partition_point(|f| *f <= element.0);
            let slot = if ties == 0 {
                low
            } else {
                let before = |first: Element<'_>| order(first, element).is_le();
                self.last_slot(inner, levels, (low, low + ties), before)
            };
            node = inner.children[slot];
        }
        node
    }

    /// How many elements `before` holds for, which holds for all up to some element and for none
    /// behind it, as it says of scores alone.
    pub fn count_scores(&self, before: impl Fn(f64) -> bool) -> usize {
        let (mut node, mut count) = (self.root, 0);
        for _ in 0..self.height {
            let inner = &self.inners[node];
            let slot = inner.fences().partition_point(|f| before(*f));
            count += inner.count_before(slot);
            node = inner.children[slot];
        }
        count + self.leaves[node].scores().partition_point(|s| before(*s))
    }

    /// How many elements `before` holds for, which holds for all up to some element and for none
    /// behind it.
    pub fn count_where(&self, before: impl Fn(Element<'_>) -> bool) -> usize {
        let (mut node, mut count) = (self.root, 0);
        for levels in (0..self.height).rev() {
            let inner = &self.inners[node];
            let slot = self.last_slot(inner, levels, (0, inner.len() - 1), &before);
            count += inner.count_before(slot);
            node = inner.children[slot];
        }
        let leaf = &self.leaves[node];
        let (mut low, mut high) = (0, leaf.len());
        while low < high {
            let middle = low.midpoint(high);
            if before(leaf.element(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        count + low
    }

    /// How many elements are in front of the one at a place.
    #[inline]
    pub fn rank(&self, place: Place) -> usize {
        let mut rank = place.at;
        let (mut child, mut node) = (place.leaf, self.leaves[place.leaf].parent);
        while node != NONE {
            let inner = &self.inners[node];
            rank += inner.count_before(inner.slot_of(child));
            (child, node) = (node, inner.parent);
        }
        rank
    }

    /// The place of a rank below the number of elements.
    pub fn select(&self, rank: usize) -> Place {
        assert!(rank < self.len);
        let (mut node, mut left) = (self.root, rank);
        for _ in 0..self.height {
            let inner = &self.inners[node];
            let mut slot = 0;
            while left >= inner.counts[slot] as usize {
                left -= inner.counts[slot] as usize;
                slot += 1;
            }
            node = inner.children[slot];
        }
        Place {
            leaf: node,
            at: left,
        }
    }

    /// Adds an element that is not there.
    pub fn insert(&mut self, element: Element<'_>, tag: u8) -> (Place, Option<Moved>) {
        let mut leaf = self.descend(element);
        let mut at = self.leaves[leaf].position(element);
        let mut moved = None;
        if self.leaves[leaf].is_full() {
            (Place { leaf, at }, moved) = self.split(Place { leaf, at }, element.0);
        }
        self.edit(leaf, |leaf| leaf.insert(at, element, tag));
        self.len += 1;
        self.add_above(leaf, 1);
        (Place { leaf, at }, moved)
    }

    /// A leaf has so many more elements (fewer, where that is negative).
    #[inline]
    fn add_above(&mut self, leaf: Id, more: i32) {
        let (mut child, mut node) = (leaf, self.leaves[leaf].parent);
        while node != NONE {
            let inner = &mut self.inners[node];
            let slot = inner.slot_of(child);
            inner.counts[slot] = inner.counts[slot].wrapping_add_signed(more);
            (child, node) = (node, inner.parent);
        }
    }

    /// Makes room in a full leaf: the place for a new element of that score afterwards.
    fn split(&mut self, place: Place, score: f64) -> (Place, Option<Moved>) {
        let Place { leaf, at } = place;
        let (prev, next) = (self.leaves[leaf].prev, self.leaves[leaf].next);
        // Elements that come in order fill their leaves.
        if at == LEAF_MAX && next == NONE {
            let new = self.link(leaf, Leaf::new(), NONE);
            self.add_child(leaf, new, true, 0, score);
            return (Place { leaf: new, at: 0 }, None);
        }
        let mut tail = Leaf::new();
        if at == 0 && prev == NONE {
            let new = self.link(NONE, tail, leaf);
            self.add_first_child(leaf, new);
            return (Place { leaf: new, at: 0 }, None);
        }
        let middle = LEAF_MAX / 2;
        self.edit(leaf, |leaf| leaf.move_tail(middle, &mut tail));
        self.packed_bytes += tail.heap_bytes();
        let (count, fence) = (tail.len() as u32, tail.scores()[0]);
        let new = self.link(leaf, tail, next);
        self.add_child(leaf, new, true, count, fence);
        let place = match at.checked_sub(middle) {
            Some(at) if at > 0 => Place { leaf: new, at },
            _ => place,
        };
        let (was, to, from) = (leaf, new, 0);
        (place, Some(Moved { was, to, from }))
    }

    /// Puts a new leaf between two that are neighbours; its number.
    fn link(&mut self, prev: Id, mut leaf: Leaf, next: Id) -> Id {
        (leaf.prev, leaf.next) = (prev, next);
        let id = self.leaves.insert(leaf);
        match prev {
            NONE => self.first = id,
            prev => self.leaves[prev].next = id,
        }
        match next {
            NONE => self.last = id,
            next => self.leaves[next].prev = id,
        }
        id
    }

    fn set_parent(&mut self, child: Id, is_leaf: bool, parent: Id) {
        if is_leaf {
            self.leaves[child].parent = parent;
        } else {
            self.inners[child].parent = parent;
        }
    }

    /// The node above a child, with room for another child; made if there is none.
    fn roomy_parent(&mut self, child: Id, is_leaf: bool) -> Id {
        let parent = if is_leaf {
            self.leaves[child].parent
        } else {
            self.inners[child].parent
        };
        if parent == NONE {
            let mut root = Inner::new();
            root.insert(0, child, self.len as u32, f64::NEG_INFINITY);
            self.root = self.inners.insert(root);
            self.height += 1;
            self.set_parent(child, is_leaf, self.root);
            return self.root;
        }
        let node = &mut self.inners[parent];
        if node.len() < CHILDREN_MAX {
            return parent;
        }
        let mut upper = Inner::new();
        let middle = CHILDREN_MAX / 2;
        let fence = node.fences[middle];
        node.move_tail(middle, &mut upper);
        let goes_up = upper.children[..upper.len()].contains(&child);
        let count = upper.count_before(upper.len()) as u32;
        let children = upper.children;
        let len = upper.len();
        let new = self.inners.insert(upper);
        for moved in &children[..len] {
            self.set_parent(*moved, is_leaf, new);
        }
        self.add_child(parent, new, false, count, fence);
        if goes_up { new } else { parent }
    }

    /// Puts a new node behind a child from which it has taken `count` elements.
    fn add_child(&mut self, left: Id, new: Id, is_leaf: bool, count: u32, fence: f64) {
        let parent = self.roomy_parent(left, is_leaf);
        let node = &mut self.inners[parent];
        let slot = node.slot_of(left);
        node.counts[slot] -= count;
        node.insert(slot + 1, new, count, fence);
        self.set_parent(new, is_leaf, parent);
    }

    /// Puts a new, empty leaf in front of the first one.
    fn add_first_child(&mut self, first: Id, new: Id) {
        let fence = self.leaves[first].scores()[0];
        let parent = self.roomy_parent(first, true);
        let node = &mut self.inners[parent];
        assert_eq!(node.children[0], first);
        // It said nothing as the first one's.
        node.fences[0] = fence;
        node.insert(0, new, 0, f64::NEG_INFINITY);
        self.leaves[new].parent = parent;
    }

    /// Removes the element at a place.
    pub fn remove(&mut self, place: Place) -> Option<Moved> {
        let leaf = place.leaf;
        self.edit(leaf, |leaf| leaf.remove(place.at));
        self.len -= 1;
        self.add_above(leaf, -1);
        if self.height == 0 || self.leaves[leaf].len() > LEAF_FEW {
            return None;
        }
        if self.leaves[leaf].len() == 0 {
            self.drop_leaf(leaf);
            return None;
        }
        self.join(leaf)
    }

    /// Unlinks an empty leaf.
    fn drop_leaf(&mut self, id: Id) {
        let parent = self.leaves[id].parent;
        let slot = self.inners[parent].slot_of(id);
        let leaf = self.leaves.remove(id);
        assert_eq!(leaf.len(), 0);
        self.packed_bytes -= leaf.heap_bytes();
        match leaf.prev {
            NONE => self.first = leaf.next,
            prev => self.leaves[prev].next = leaf.next,
        }
        match leaf.next {
            NONE => self.last = leaf.prev,
            next => self.leaves[next].prev = leaf.prev,
        }
        self.remove_child(parent, slot, true);
    }

    /// Joins a leaf of few elements with a neighbour below the same node, where they fit.
    fn join(&mut self, leaf: Id) -> Option<Moved> {
        let inner = &self.inners[self.leaves[leaf].parent];
        let slot = inner.slot_of(leaf);
        let fits = |a: usize| {
            let both = inner.counts.get(a..a + 2)?;
            let fits = a + 1 < inner.len() && both[0] + both[1] <= LEAF_JOINED as u32;
            fits.then_some((inner.children[a], inner.children[a + 1], a))
        };
        let (left, right, slot) = fits(slot).or_else(|| fits(slot.checked_sub(1)?))?;
        let mut gone = std::mem::replace(&mut self.leaves[right], Leaf::new());
        let from = self.leaves[left].len();
        self.packed_bytes -= gone.heap_bytes();
        self.edit(left, |left| gone.move_tail(0, left));
        let empty = &mut self.leaves[right];
        (empty.prev, empty.next, empty.parent) = (gone.prev, gone.next, gone.parent);
        let node = &mut self.inners[gone.parent];
        node.counts[slot] += std::mem::take(&mut node.counts[slot + 1]);
        self.drop_leaf(right);
        let (was, to) = (right, left);
        Some(Moved { was, to, from })
    }

    /// Removes a child that has no elements any more from its node.
    fn remove_child(&mut self, parent: Id, slot: usize, is_leaf: bool) {
        let node = &mut self.inners[parent];
        assert_eq!(node.counts[slot], 0);
        node.remove(slot);
        let (len, above) = (node.len(), node.parent);
        if above == NONE {
            if len == 1 {
                self.lower_root();
            }
        } else if len == 0 {
            let slot = self.inners[above].slot_of(parent);
            self.inners.remove(parent);
            self.remove_child(above, slot, false);
        } else if len <= CHILDREN_FEW {
            self.join_inner(parent, is_leaf);
        }
    }

    /// A root with one child gives its place to it.
    fn lower_root(&mut self) {
        while self.height > 0 && self.inners[self.root].len() == 1 {
            let child = self.inners[self.root].children[0];
            self.inners.remove(self.root);
            self.height -= 1;
            self.root = child;
            self.set_parent(child, self.height == 0, NONE);
        }
    }

    /// Joins a node of few children with a neighbour below the same node, where they fit.
    fn join_inner(&mut self, id: Id, is_leaf: bool) {
        let above = self.inners[id].parent;
        let node = &self.inners[above];
        let slot = node.slot_of(id);
        let fits = |a: usize| {
            let right = *node.children[..node.len()].get(a + 1)?;
            let left = node.children[a];
            let both = self.inners[left].len() + self.inners[right].len();
            (both <= CHILDREN_JOINED).then_some((left, right, a))
        };
        let found = fits(slot).or_else(|| fits(slot.checked_sub(1)?));
        let Some((left, right, slot)) = found else {
            return;
        };
        let fence = node.fences[slot + 1];
        let mut gone = self.inners.remove(right);
        // What the node above says of the whole is now said of its first child.
        gone.fences[0] = fence;
        for child in &gone.children[..gone.len()] {
            self.set_parent(*child, is_leaf, left);
        }
        gone.move_tail(0, &mut self.inners[left]);
        let node = &mut self.inners[above];
        node.counts[slot] += std::mem::take(&mut node.counts[slot + 1]);
        self.remove_child(above, slot + 1, false);
    }

    /// Frees up to `budget` nodes, after which nothing else may be done; whether any is left.
    pub fn free_some(&mut self, budget: &mut usize) -> bool {
        self.leaves.free_some(budget) || self.inners.free_some(budget)
    }

    /// Nodes.
    pub fn nodes(&self) -> usize {
        self.leaves.len() + self.inners.len()
    }

    /// Changes the score of an element that stays in its leaf; false: it does not, and nothing was
    /// changed.
    #[inline]
    pub fn change_score(&mut self, place: Place, score: f64) -> Option<usize> {
        let leaf = &mut self.leaves[place.leaf];
        let to = leaf.new_place(place.at, score)?;
        leaf.relocate(place.at, to, score);
        Some(to)
    }

    /// Panics unless every invariant holds.
    pub fn verify(&self, tag_of: impl Fn(&[u8]) -> u8) {
        let mut leaves = Vec::new();
        let (mut inners, mut packed) = (0, 0);
        let root = (self.root, self.height, NONE);
        let total = self.verify_below(root, &mut leaves, &mut inners);
        assert_eq!((total, leaves.len()), (self.len, self.leaves.len()));
        assert_eq!(inners, self.inners.len());
        let mut prev = NONE;
        for id in &leaves {
            let leaf = &self.leaves[*id];
            leaf.verify(&tag_of);
            assert!(leaf.len() > 0 || self.len == 0);
            assert_eq!(leaf.prev, prev);
            packed += leaf.heap_bytes();
            if prev != NONE {
                let before = &self.leaves[prev];
                assert_eq!(before.next, *id);
                assert!(order(before.element(before.len() - 1), leaf.element(0)).is_lt());
            }
            prev = *id;
        }
        assert_eq!((self.first, self.last), (leaves[0], prev));
        assert_eq!(self.leaves[prev].next, NONE);
        assert_eq!(packed, self.packed_bytes);
    }

    fn verify_below(
        &self,
        (node, height, parent): (Id, u32, Id),
        leaves: &mut Vec<Id>,
        inners: &mut usize,
    ) -> usize {
        if height == 0 {
            leaves.push(node);
            assert_eq!(self.leaves[node].parent, parent);
            return self.leaves[node].len();
        }
        *inners += 1;
        let inner = &self.inners[node];
        assert_eq!(inner.parent, parent);
        assert!(inner.len() > usize::from(parent == NONE));
        let mut total = 0;
        for slot in 0..inner.len() {
            let begun = leaves.len();
            let child = inner.children[slot];
            let count = self.verify_below((child, height - 1, node), leaves, inners);
            assert_eq!(count, inner.counts[slot] as usize);
            total += count;
            if slot > 0 {
                let fence = inner.fences[slot];
                let before = &self.leaves[leaves[begun - 1]];
                let highest = before.scores().last().expect("not empty");
                let lowest = self.leaves[leaves[begun]].scores()[0];
                assert!(*highest <= fence && fence <= lowest);
            }
        }
        total
    }
}
