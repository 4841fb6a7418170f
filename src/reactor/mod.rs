//! The shard's loop: its ring, buffers, sockets, timers and doorbells. The only place that names
//! io_uring, libc and core_affinity on the way of a request.
pub mod clock;
pub mod listener;
pub mod log_writes;
pub mod ports;
pub mod ring;
pub mod run;
pub mod socket;
