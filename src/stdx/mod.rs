//! What the standard library lacks, without a word of the server's domain.
pub mod allocator;
pub mod bytes;
pub mod extended;
pub mod glob;
pub mod random;
