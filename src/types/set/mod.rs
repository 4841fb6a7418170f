//! Sets, small and large.
//!
//! | form | where | OBJECT ENCODING |
//! | --- | --- | --- |
//! | [`intset`] | in the entry | `intset` |
//! | [packed] block of members | in the entry | `listpack` |
//! | [`LargeSet`] | a table of members | `hashtable` |
//!
//! A set changes its form at the limits of the configuration and never goes back by itself. A set
//! that the limits allow to be an intset or a listpack, but that has outgrown an entry, is a table
//! that bears the name of what it would be.

pub mod intset;

use super::members::{Element as TableElement, MemberSet, below};
use super::packed::{self, Element, Packed};
use crate::keyspace::{Hasher, Kind, NewValue, Object, Value, parse_int};
use crate::resp::number::I64_TEXT_MAX;
use intset::Intset;
use std::any::Any;

/// `set-max-intset-entries`, `set-max-listpack-entries`, `set-max-listpack-value`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most integers of an intset.
    pub intset_entries: u64,
    /// Most members of a listpack.
    pub listpack_entries: u64,
    /// Bytes of the longest member of a listpack.
    pub listpack_value: u64,
}

/// The names of the three forms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `intset`
    Intset,
    /// `listpack`
    Listpack,
    /// `hashtable`
    Table,
}

impl Form {
    /// What OBJECT ENCODING replies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intset => "intset",
            Self::Listpack => "listpack",
            Self::Table => "hashtable",
        }
    }
}

/// A set of more than an entry holds.
#[derive(Clone, Debug)]
pub struct LargeSet {
    /// Its members.
    pub members: MemberSet,
    /// What it counts as.
    pub form: Form,
}

impl Object for LargeSet {
    fn kind(&self) -> Kind {
        Kind::Set
    }
    fn encoding(&self) -> &'static str {
        self.form.name()
    }
    fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.members.heap_bytes()
    }
    fn free_effort(&self) -> usize {
        self.members.free_effort()
    }
    fn free_some(&mut self, budget: usize) -> bool {
        self.members.free_some(budget)
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

/// A set, for reading.
#[derive(Clone, Copy, Debug)]
pub enum Set<'a> {
    /// In an entry, as integers.
    Ints(Intset<'a>),
    /// In an entry, packed.
    Packed(Packed<'a>),
    /// A table.
    Large(&'a LargeSet),
}

impl<'a> Set<'a> {
    /// The set that a value is.
    #[inline]
    pub fn of(value: Value<'a>) -> Self {
        match value {
            Value::Packed(Kind::Set, bytes) if intset::is_intset(bytes) => {
                Self::Ints(Intset::new(bytes))
            }
            Value::Packed(Kind::Set, bytes) => Self::Packed(Packed::new(bytes)),
            Value::Object(object) => Self::Large(
                object
                    .as_any()
                    .downcast_ref()
                    .expect("the caller has looked at the type"),
            ),
            _ => unreachable!("the caller has looked at the type"),
        }
    }

    /// Its form.
    pub fn form(&self) -> Form {
        match self {
            Self::Ints(_) => Form::Intset,
            Self::Packed(_) => Form::Listpack,
            Self::Large(set) => set.form,
        }
    }

    /// Members.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Ints(set) => set.len(),
            Self::Packed(set) => set.len(),
            Self::Large(set) => set.members.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a text is a member.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self {
            Self::Ints(set) => parse_int(member).is_some_and(|int| set.find(int).is_ok()),
            Self::Packed(set) => set.find(Element::of(member), set.start(), 1).is_some(),
            Self::Large(set) => set.members.contains(member),
        }
    }

    /// Whether another set's member is one.
    #[inline]
    pub fn has(&self, member: Element<'_>) -> bool {
        match (self, member) {
            (Self::Ints(set), Element::Int(int)) => set.find(int).is_ok(),
            (Self::Ints(_), Element::Bytes(text)) => self.contains(text),
            (Self::Packed(set), Element::Int(_)) => set.find(member, set.start(), 1).is_some(),
            (Self::Packed(_), Element::Bytes(text)) => self.contains(text),
            (Self::Large(set), member) => set.members.contains(member.text(&mut [0; I64_TEXT_MAX])),
        }
    }

    /// Calls `visit` for each member until it says false. A table's members come as bytes, even
    /// those that are decimals.
    #[inline]
    pub fn all(&self, mut visit: impl FnMut(Element<'a>) -> bool) -> bool {
        match *self {
            Self::Ints(set) => set.iter().all(|int| visit(Element::Int(int))),
            Self::Packed(set) => set.iter().all(|(_, member)| visit(member)),
            Self::Large(set) => set
                .members
                .iter()
                .all(|member| visit(Element::Bytes(member.key))),
        }
    }

    /// Calls `visit` for each member.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(Element<'a>)) {
        self.all(|member| {
            visit(member);
            true
        });
    }

    /// A member, each with the same probability; there must be one.
    pub fn draw(&self, random: &mut impl FnMut() -> u64) -> Element<'a> {
        match *self {
            Self::Ints(set) => Element::Int(set.get(below(random, set.len()))),
            Self::Packed(set) => {
                let at = set.nth(below(random, set.len()));
                set.get(at.expect("an index below the number of members"))
            }
            Self::Large(set) => {
                let at = set.members.draw(random).expect("a set has members");
                Element::Bytes(set.members.at(at).key)
            }
        }
    }

    /// Calls `visit` for `count` different members, each choice of so many with the same
    /// probability; `count` must not be above [`len`](Self::len).
    pub fn sample(
        &self,
        count: usize,
        random: &mut impl FnMut() -> u64,
        mut visit: impl FnMut(Element<'a>),
    ) {
        /// Of a table, up to this share is drawn one by one; above it all of it is walked.
        const DRAWN_SHARE: usize = 3;
        assert!(count <= self.len());
        if let Self::Large(set) = *self
            && count * DRAWN_SHARE < set.members.len()
        {
            let mut seen = rustc_hash::FxHashSet::default();
            while seen.len() < count {
                let at = set.members.draw(&mut *random).expect("a set has members");
                if seen.insert(at) {
                    visit(Element::Bytes(set.members.at(at).key));
                }
            }
            return;
        }
        // Selection sampling (Knuth, TAOCP vol. 2, 3.4.2, algorithm S).
        let (mut wanted, mut left) = (count, self.len());
        self.all(|member| {
            if below(random, left) < wanted {
                visit(member);
                wanted -= 1;
            }
            left -= 1;
            wanted > 0
        });
    }
}

/// A set in the making: what SINTERSTORE and its like, SORT or a loaded snapshot store. Its form in
/// the end is the smallest that the limits allow for what it holds.
#[derive(Debug)]
pub struct Builder {
    members: MemberSet,
    ints: usize,
    longest: usize,
    packed_bytes: usize,
}

impl Builder {
    /// An empty set.
    pub fn new(hasher: Hasher) -> Self {
        Self {
            members: MemberSet::new(hasher),
            ints: 0,
            longest: 0,
            packed_bytes: 0,
        }
    }

    /// Adds a member; whether it is new.
    pub fn insert(&mut self, member: Element<'_>) -> bool {
        let mut text = [0; I64_TEXT_MAX];
        let text = member.text(&mut text);
        let is_new = self.members.insert(text);
        if is_new {
            self.note(text, 1);
        }
        is_new
    }

    fn note(&mut self, text: &[u8], sign: isize) {
        let element = Element::of(text);
        let add = |n: usize, more: usize| n.wrapping_add_signed(sign * more as isize);
        self.ints = add(self.ints, usize::from(element.int().is_some()));
        self.packed_bytes = add(self.packed_bytes, element.packed_bytes());
        // After a removal it may be too high.
        self.longest = self.longest.max(text.len());
    }

    /// Removes a member.
    pub fn remove(&mut self, member: Element<'_>) {
        let mut text = [0; I64_TEXT_MAX];
        let text = member.text(&mut text);
        if self.members.remove(text) {
            self.note(text, -1);
        }
    }

    /// Members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.members.iter().map(|TableElement { key, .. }| key)
    }

    /// Gives the value to store to `store`; there must be members.
    pub fn finish<R>(self, limits: Limits, store: impl FnOnce(NewValue<'_>) -> R) -> R {
        assert!(!self.is_empty(), "an empty set does not exist");
        let len = self.len() as u64;
        let form = if self.ints == self.len() && len <= limits.intset_entries {
            let mut ints: Vec<i64> = self.iter().filter_map(parse_int).collect();
            ints.sort_unstable();
            let block = intset::of_sorted(&ints);
            if block.len() <= packed::ENTRY_BYTES_MAX {
                return store(NewValue::Packed(Kind::Set, &block));
            }
            Form::Intset
        } else if len <= limits.listpack_entries && self.longest as u64 <= limits.listpack_value {
            if packed::HEAD_BYTES + self.packed_bytes <= packed::ENTRY_BYTES_MAX
                && self.len() <= packed::COUNT_MAX
            {
                let mut block = packed::EMPTY.to_vec();
                block.reserve_exact(self.packed_bytes);
                self.iter()
                    .for_each(|member| packed::push(&mut block, &[Element::of(member)]));
                return store(NewValue::Packed(Kind::Set, &block));
            }
            Form::Listpack
        } else {
            Form::Table
        };
        let members = self.members;
        store(NewValue::Object(Box::new(LargeSet { members, form })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::packed::Element;

    const LIMITS: Limits = Limits {
        intset_entries: 512,
        listpack_entries: 128,
        listpack_value: 64,
    };

    /// The form that a set of these members gets, and its members.
    fn built(members: &[String], limits: Limits) -> (Form, Vec<Vec<u8>>) {
        let mut builder = Builder::new(Hasher::new([1, 2]));
        for member in members {
            builder.insert(Element::of(member.as_bytes()));
        }
        builder.finish(limits, |value| {
            let mut found = Vec::new();
            let form = match &value {
                NewValue::Packed(Kind::Set, bytes) => {
                    let set = Set::of(Value::Packed(Kind::Set, bytes));
                    set.for_each(|member| found.push(member.to_vec()));
                    set.form()
                }
                NewValue::Object(object) => {
                    let set = Set::of(Value::Object(&**object));
                    set.for_each(|member| found.push(member.to_vec()));
                    set.form()
                }
                other => panic!("{other:?}"),
            };
            found.sort();
            (form, found)
        })
    }

    #[test]
    fn a_set_takes_the_smallest_form_that_the_limits_allow() {
        let numbers = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        let words = |n: usize| (0..n).map(|i| format!("w{i}")).collect::<Vec<_>>();
        for (members, form) in [
            (numbers(512), Form::Intset),
            (numbers(513), Form::Table),
            (words(128), Form::Listpack),
            (words(129), Form::Table),
            (vec!["x".repeat(64)], Form::Listpack),
            (vec!["x".repeat(65)], Form::Table),
        ] {
            let (found_form, found) = built(&members, LIMITS);
            assert_eq!(found_form, form, "{} members", members.len());
            let mut wanted: Vec<Vec<u8>> = members.into_iter().map(String::into_bytes).collect();
            wanted.sort();
            assert_eq!(found, wanted);
        }
        let high = Limits {
            intset_entries: 1 << 40,
            listpack_entries: 1 << 40,
            listpack_value: 1 << 40,
        };
        assert_eq!(built(&numbers(100_000), high).0, Form::Intset);
        assert_eq!(built(&words(100_000), high).0, Form::Listpack);
    }

    #[test]
    fn samples_are_even() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut random = || random.u64(..);
        for (len, count) in [(20, 5), (600, 10), (600, 590)] {
            let mut members = MemberSet::new(Hasher::new([3, 4]));
            let mut block = packed::EMPTY.to_vec();
            for n in 0..len {
                members.insert(n.to_string().as_bytes());
                packed::push(&mut block, &[Element::Int(n)]);
            }
            let large = LargeSet {
                members,
                form: Form::Table,
            };
            let ints = intset::of_sorted(&(0..len).collect::<Vec<_>>());
            for set in [
                Set::Large(&large),
                Set::Packed(Packed::new(&block)),
                Set::Ints(Intset::new(&ints)),
            ] {
                let rounds = 4000;
                let mut counts = vec![0f64; len as usize];
                for _ in 0..rounds {
                    let mut seen = std::collections::HashSet::new();
                    set.sample(count, &mut random, |member| {
                        let text = member.to_vec();
                        let n: usize = String::from_utf8(text)
                            .expect("digits")
                            .parse()
                            .expect("a number");
                        assert!(seen.insert(n));
                        counts[n] += 1.0;
                    });
                    assert_eq!(seen.len(), count);
                }
                let p = count as f64 / len as f64;
                let sigma = (rounds as f64 * p * (1.0 - p)).sqrt();
                for n in counts {
                    assert!(
                        (n - rounds as f64 * p).abs() < 5.0 * sigma,
                        "{n} of {rounds} by {p}"
                    );
                }
                assert!(set.has(set.draw(&mut random)));
            }
        }
    }
}
