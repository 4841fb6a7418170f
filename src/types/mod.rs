//! The data types' own structures: pure, without clock, chance or shard; what they need of these
//! comes as arguments. Commands on them live in `command`, one folder for each family.
pub mod zset;
