//! Numbered places for nodes, in chunks: it grows without moving what is there, and a node's memory
//! goes back to the allocator as soon as the node goes.

/// A node's number.
pub type Id = u32;
/// No node.
pub const NONE: Id = Id::MAX;

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Nodes by number.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Vec<Option<Box<T>>>>,
    /// Numbers to be given out again.
    free: Vec<Id>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Slab<T> {
    /// Nodes that are there.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the tables, without the nodes.
    pub fn table_bytes(&self) -> usize {
        let chunks: usize = match self.chunks.len() {
            0 => 0,
            // Only the first chunk is grown; the others have their size from the start.
            n => (n - 1) * CHUNK * size_of::<Option<Box<T>>>() + self.chunks[0].capacity() * 8,
        };
        chunks
            + self.chunks.capacity() * size_of::<Vec<Option<Box<T>>>>()
            + self.free.capacity() * 4
    }

    /// Takes a node in; its number.
    pub fn insert(&mut self, node: T) -> Id {
        self.len += 1;
        if let Some(id) = self.free.pop() {
            let place = &mut self.chunks[id as usize >> CHUNK_BITS][id as usize % CHUNK];
            assert!(place.is_none());
            *place = Some(Box::new(node));
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // A small set has a handful of nodes.
            let room = if self.chunks.is_empty() { 4 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        let at = self.chunks.len() - 1;
        let chunk = &mut self.chunks[at];
        chunk.push(Some(Box::new(node)));
        let id = (at << CHUNK_BITS) + chunk.len() - 1;
        let id = Id::try_from(id).expect("fewer than 2^32 nodes");
        assert_ne!(id, NONE);
        id
    }

    /// Takes a node out.
    pub fn remove(&mut self, id: Id) -> Box<T> {
        let place = &mut self.chunks[id as usize >> CHUNK_BITS][id as usize % CHUNK];
        let node = place.take().expect("a node that is there");
        self.len -= 1;
        self.free.push(id);
        node
    }

    /// Drops up to `budget` nodes, in any order, after which nothing else may be done; whether any
    /// is left.
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
            self.len -= usize::from(chunk.pop().is_some_and(|place| place.is_some()));
        }
        false
    }
}

impl<T> std::ops::Index<Id> for Slab<T> {
    type Output = T;
    #[inline]
    fn index(&self, id: Id) -> &T {
        let place = &self.chunks[id as usize >> CHUNK_BITS][id as usize % CHUNK];
        place.as_ref().expect("a node that is there")
    }
}

impl<T> std::ops::IndexMut<Id> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: Id) -> &mut T {
        let place = &mut self.chunks[id as usize >> CHUNK_BITS][id as usize % CHUNK];
        place.as_mut().expect("a node that is there")
    }
}

impl<T: Clone> Clone for Slab<T> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            free: self.free.clone(),
            len: self.len,
        }
    }
}
