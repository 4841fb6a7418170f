//! Changing a packed collection inside its entry.

use super::{Form, INLINE_LENGTH_MAX, Raw};
use crate::keyspace::heap::Heap;
use crate::keyspace::value::Kind;

impl Raw {
    /// The bytes of a packed collection, to be changed in place.
    ///
    /// # Safety
    /// The caller holds the entry exclusively for 'a.
    #[inline]
    pub(in crate::keyspace) unsafe fn packed_mut<'a>(self) -> &'a mut [u8] {
        let header = self.header();
        assert!(header.form() == Form::Inline && header.kind() != Kind::String);
        self.bytes_mut(self.value_start(header), header.inline_len())
    }

    /// Takes `remove` bytes of a packed collection out at `at` and makes room for `insert` there,
    /// zeroed: the entry's place afterwards. It moves where its size class changes, so that it
    /// takes no more memory than one just made.
    ///
    /// # Safety
    /// As for [`replace`](super::replace); the entry is a packed collection.
    pub(in crate::keyspace) unsafe fn splice_packed(
        self,
        heap: &Heap,
        at: usize,
        remove: usize,
        insert: usize,
    ) -> Self {
        let header = self.header();
        assert!(header.form() == Form::Inline && header.kind() != Kind::String);
        let old_len = header.inline_len();
        assert!(at <= old_len && remove <= old_len - at);
        let len = old_len - remove + insert;
        assert!(len <= INLINE_LENGTH_MAX, "a block of {len} bytes");
        let start = self.value_start(header);
        let tail = at + remove;
        let tail_len = old_len - tail;
        let fits = Heap::good_size(start + len) == Heap::good_size(start + old_len);
        let new = if fits {
            let (from, to) = (self.part(start + tail), self.part(start + at + insert));
            // SAFETY: both spans lie inside the entry, whose class has room for `len` bytes of value.
            unsafe { from.copy_to(to, tail_len) };
            self
        } else {
            let new = Self(heap.alloc(start + len));
            new.put(0, self.bytes(0, start + at));
            new.put(start + at + insert, self.bytes(start + tail, tail_len));
            // SAFETY: the caller gives the old place up; a packed collection owns nothing outside.
            unsafe { heap.free(self.0, start + old_len) };
            new
        };
        new.set_header(header.with_inline_len(len));
        // SAFETY: the room lies inside the entry.
        unsafe { new.part(start + at).write_bytes(0, insert) };
        new
    }
}

#[cfg(test)]
mod tests {
    use crate::keyspace::{Expiry, Hasher, Keyspace, Kind, NewValue, Value};
    use crate::types::packed::{self, Block, Element, Packed};

    #[test]
    fn a_block_in_an_entry_changes_as_one_in_a_vector() {
        let mut keyspace = Keyspace::new(1, Hasher::new([1, 2]));
        for (key, expiry) in [(&b"k"[..], None), (&[b'k'; 300][..], Some(1 << 40))] {
            let db = keyspace.db_mut(0);
            let pos = db.hasher().pos(key);
            let value = NewValue::Packed(Kind::Hash, &packed::EMPTY);
            db.set(pos, key, value, expiry.map_or(Expiry::Clear, Expiry::At), 7);
            let mut model = packed::EMPTY.to_vec();
            let mut random = 12345u64;
            let mut below = |bound: usize| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (random >> 33) as usize % bound
            };
            for step in 0..20_000 {
                let text = vec![
                    b'v';
                    if step % 50 == 0 {
                        below(3000)
                    } else {
                        below(40)
                    }
                ];
                let new = [Element::Int(step), Element::Bytes(&text)];
                let count = Packed::new(&model).len();
                let index = below(count + 1);
                let at = Packed::new(&model).nth(index).unwrap_or(model.len());
                let gone = below(if model.len() > 40_000 { 40 } else { 5 }).min(count - index);
                let new = &new[..below(3)];
                assert!(packed::has_room(
                    Packed::new(&model),
                    packed::packed_bytes(new),
                    2
                ));
                packed::replace(&mut model, at, gone, new);
                let mut entry = db.lookup_mut(pos, key, 0).live().expect("stored");
                let mut block = entry.edit_packed();
                packed::replace(&mut block, at, gone, new);
                assert_eq!(block.block(), model);
                let entry = entry.get();
                assert_eq!(
                    (entry.key(), entry.expiry(), entry.clock()),
                    (key, expiry, 7)
                );
                assert!(matches!(entry.value(), Value::Packed(Kind::Hash, b) if b == model));
            }
            db.verify();
            let before = keyspace.used_bytes();
            let value = NewValue::Packed(Kind::Hash, &model);
            let db = keyspace.db_mut(0);
            db.remove(pos, key);
            db.set(pos, key, value, expiry.map_or(Expiry::Clear, Expiry::At), 7);
            assert_eq!(keyspace.used_bytes(), before, "as large as one just made");
            keyspace.db_mut(0).remove(pos, key);
        }
    }
}
