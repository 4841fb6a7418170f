//! The client side of a shard: sessions, the batch of commands that a turn of the loop collects,
//! and the dispatch of each to where it runs. State machines only: bytes and messages come in,
//! bytes and messages go out; sockets and rings belong to the reactor.
pub mod balance;
pub mod batch;
mod block;
pub mod blocking;
mod care;
pub mod cores;
pub mod dispatch;
pub mod ebb;
#[cfg(test)]
mod effects_test;
pub mod engine;
mod errand;
pub mod gather;
pub mod held;
pub mod idle;
mod journal;
pub mod large;
pub mod limits;
mod log_switch;
pub mod log_waits;
mod migrate;
pub mod migration;
pub mod monitor;
mod multi;
pub mod pause;
pub mod pubsub;
pub mod remote;
pub mod session;
#[cfg(test)]
mod simulation;
pub mod slots;
mod slow;
mod spread;
mod steps;
pub mod tracking;
mod transaction;
mod volley;
