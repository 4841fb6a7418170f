//! Commands over many keys: the cache lines that their look-ups need are asked for together, so that
//! the misses of a group of keys overlap instead of following one another.

use super::Shard;
use crate::keyspace::Pos;

/// Keys of one group. A core has some 10 to 16 misses under way; more would wait in any case.
pub const GROUP_KEYS_MAX: usize = 16;

impl Shard {
    /// The positions of up to [`GROUP_KEYS_MAX`] keys, after three passes over them, each of which
    /// prefetches what the next one reads. The look-ups themselves should follow at once.
    #[inline]
    pub fn prefetch<'k>(
        &self,
        db: u16,
        keys: impl Iterator<Item = &'k [u8]>,
    ) -> [Pos; GROUP_KEYS_MAX] {
        let db = self.keyspace.db(usize::from(db));
        let mut positions = [Pos::default(); GROUP_KEYS_MAX];
        let mut count = 0;
        for (key, pos) in keys.zip(&mut positions) {
            *pos = db.hasher().pos(key);
            db.prefetch_directory(*pos);
            count += 1;
        }
        let found = &positions[..count];
        found.iter().for_each(|pos| db.prefetch_segment(*pos));
        found.iter().for_each(|pos| db.prefetch_entry(*pos));
        positions
    }
}
