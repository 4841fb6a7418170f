//! A segment: up to about 900 entries of neighbouring positions, as words of a gapped, sorted array.
//!
//! | words | what |
//! | --- | --- |
//! | 0 | how many entries |
//! | 1 | lower bound of their expiries, unix milliseconds; [`NEVER`] if none has one |
//! | 2.. | slots: 16-bit tag, then 48-bit address of the entry; 0 where free |
//!
//! The tag is the 16 bits of the position below those that all of the segment share (its depth).
//! Linear probing in the tags' order: a tag's home is its share of the array, an entry stands at
//! its home or behind it with no free slot in between, and tags never descend. So a search ends at
//! the first free slot or greater tag; growing, shrinking and merging move words in order without
//! looking at a key; and reading the array is reading in the order of positions. Nothing wraps
//! around: a few slots behind the last home take what overflows.
//!
//! Everything here is safe code on slices; where segments live is `table.rs`'s matter.

/// No expiry at all.
pub(super) const NEVER: u64 = u64::MAX;
/// Words in front of the slots.
pub(super) const HEADER_WORDS: usize = 2;
/// Words in a cache line.
pub(super) const LINE_WORDS: usize = 8;
/// Bits of a tag.
pub(super) const TAG_BITS: u32 = 16;

const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: u64 = (1 << ADDRESS_BITS) - 1;

/// Cache lines that a segment may have: steps of about an eighth (or one line), so that a segment is
/// never much emptier than it may be full, at numbers that divide a page of the heap with little
/// left over. A segment that is full at the last step splits.
const LINES: [u16; 34] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 22, 25, 28, 31, 35, 39, 44, 50, 56,
    63, 68, 73, 78, 85, 93, 102, 113,
];
/// Lines of the largest segment.
pub(super) const LINES_MAX: usize = LINES[LINES.len() - 1] as usize;

/// Makes a slot's word.
#[inline]
pub(super) fn slot_word(tag: u64, address: u64) -> u64 {
    debug_assert!(tag < 1 << TAG_BITS && address & !ADDRESS_MASK == 0 && address != 0);
    tag << ADDRESS_BITS | address
}

/// The tag of a slot's word.
#[inline]
pub(super) fn tag_of(word: u64) -> u64 {
    word >> ADDRESS_BITS
}

/// The address in a slot's word.
#[inline]
pub(super) fn address_of(word: u64) -> u64 {
    word & ADDRESS_MASK
}

/// Slots in that many lines.
#[inline]
pub(super) fn slots_in(lines: usize) -> usize {
    lines * LINE_WORDS - HEADER_WORDS
}

/// How many entries that many slots may hold before the segment grows: 9 of 10.
#[inline]
pub(super) fn room(slots: usize) -> usize {
    slots - slots.div_ceil(10)
}

/// Lines for `count` entries, with room for at least one more.
pub(super) fn lines_for(count: usize) -> usize {
    let fits = |lines: &&u16| room(slots_in(usize::from(**lines))) > count;
    LINES.iter().find(fits).map_or_else(
        || (count * 10 / 9 + 16).div_ceil(LINE_WORDS),
        |l| usize::from(*l),
    )
}

/// The next larger size.
pub(super) fn lines_after(lines: usize) -> usize {
    LINES
        .iter()
        .map(|l| usize::from(*l))
        .find(|l| *l > lines)
        .unwrap_or(lines + lines / 8)
}

/// Where a tag's probe starts.
#[inline]
pub(super) fn home(slots: usize, tag: u64) -> usize {
    let homes = slots - slots / 32 - 1;
    (tag as usize * homes) >> TAG_BITS
}

/// The first slot of this tag for which `is_it` holds, given its address.
#[inline]
pub(super) fn find(slots: &[u64], tag: u64, mut is_it: impl FnMut(u64) -> bool) -> Option<usize> {
    let start = home(slots.len(), tag);
    for (i, &word) in slots[start..].iter().enumerate() {
        // A free slot's tag reads 0, so it ends the search below unless tag is 0 as well.
        if word == 0 || tag_of(word) > tag {
            return None;
        }
        if tag_of(word) == tag && is_it(address_of(word)) {
            return Some(start + i);
        }
    }
    None
}

/// The slot that a search for this tag would look at first with the same tag, without asking
/// whether it is the key.
#[inline]
pub(super) fn first_of_tag(slots: &[u64], tag: u64) -> Option<u64> {
    find(slots, tag, |_| true).map(|i| address_of(slots[i]))
}

/// Puts a word in its place; false, and nothing is changed, if there is no free slot behind it.
pub(super) fn place(slots: &mut [u64], word: u64) -> bool {
    let tag = tag_of(word);
    let start = home(slots.len(), tag);
    let before = slots[start..]
        .iter()
        .take_while(|w| **w != 0 && tag_of(**w) <= tag)
        .count();
    let at = start + before;
    let Some(moved) = slots[at..].iter().position(|w| *w == 0) else {
        return false;
    };
    slots.copy_within(at..at + moved, at + 1);
    slots[at] = word;
    true
}

/// Frees a slot; those behind it that stand off their homes move up.
pub(super) fn remove(slots: &mut [u64], at: usize) {
    assert_ne!(slots[at], 0);
    let total = slots.len();
    let off_home = |i: &usize| {
        let word = slots[*i];
        word != 0 && home(total, tag_of(word)) < *i
    };
    let moved = (at + 1..total).take_while(off_home).count();
    slots.copy_within(at + 1..at + 1 + moved, at);
    slots[at + moved] = 0;
}

/// Fills free slots with words that come in order; false if they overflow the end (what was placed
/// until then is there).
pub(super) fn fill(slots: &mut [u64], words: impl Iterator<Item = u64>) -> bool {
    let total = slots.len();
    let mut next = 0;
    for word in words {
        let at = next.max(home(total, tag_of(word)));
        let Some(slot) = slots.get_mut(at) else {
            return false;
        };
        *slot = word;
        next = at + 1;
    }
    true
}

/// The words from this tag on, in order.
#[inline]
pub(super) fn from_tag(slots: &[u64], tag: u64) -> impl Iterator<Item = u64> {
    let start = home(slots.len(), tag);
    slots[start..]
        .iter()
        .copied()
        .filter(move |w| *w != 0 && tag_of(*w) >= tag)
}

/// Panics unless every rule of the head of this module holds.
pub(super) fn verify(slots: &[u64], count: usize) {
    let mut last_tag = 0;
    let mut seen = 0;
    let mut free_since = 0;
    for (i, &word) in slots.iter().enumerate() {
        if word == 0 {
            free_since = i + 1;
            continue;
        }
        let tag = tag_of(word);
        assert!(tag >= last_tag, "tags descend at slot {i}");
        assert!(
            home(slots.len(), tag) <= i,
            "slot {i} is in front of its home"
        );
        assert!(
            home(slots.len(), tag) >= free_since,
            "a free slot stands between slot {i} and its home"
        );
        last_tag = tag;
        seen += 1;
    }
    assert_eq!(seen, count, "the count is wrong");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_step_by_an_eighth_or_a_line() {
        for pair in LINES.windows(2) {
            let [small, large] = pair else {
                unreachable!("windows of two")
            };
            assert!(
                large - small <= (small / 8).max(1) + 1,
                "{small} to {large}"
            );
            assert_eq!(lines_after(usize::from(*small)), usize::from(*large));
        }
        for count in 0..3000 {
            assert!(room(slots_in(lines_for(count))) > count, "{count}");
        }
    }

    #[test]
    fn words_stay_sorted_whatever_the_order_of_changes() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for lines in [1, 2, 5, 20, 113] {
            let mut slots = vec![0; slots_in(lines)];
            let mut model: Vec<u64> = Vec::new();
            for step in 1..5000u64 {
                let tag = random() >> 48;
                if random() % 2 == 0 && model.len() < room(slots.len()) {
                    let word = slot_word(tag, step);
                    if place(&mut slots, word) {
                        model.push(word);
                    }
                } else if !model.is_empty() {
                    let word = model.swap_remove(random() as usize % model.len());
                    let at =
                        find(&slots, tag_of(word), |a| a == address_of(word)).expect("it is there");
                    remove(&mut slots, at);
                }
                verify(&slots, model.len());
            }
            let mut larger = vec![0; slots_in(lines_after(lines))];
            if fill(&mut larger, slots.iter().copied().filter(|w| *w != 0)) {
                verify(&larger, model.len());
            }
        }
    }
}
