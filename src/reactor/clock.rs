//! Clocks: wall time once a turn, and the time stamp counter around each command.
#![expect(unsafe_code, reason = "reading the time stamp counter is an intrinsic")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::shard::Ticks;

/// Unix time in microseconds.
pub fn unix_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_micros() as u64)
}

#[cfg(target_arch = "x86_64")]
fn read() -> u64 {
    // SAFETY: the instruction is there on every x86_64 processor.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
fn read() -> u64 {
    let ticks: u64;
    // SAFETY: the virtual counter may be read from user space on Linux.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

/// Calibrates the counter against the monotonic clock; takes some 5 ms.
pub fn calibrate() -> Ticks {
    let (clock, ticks) = (Instant::now(), read());
    while clock.elapsed().as_micros() < 5000 {
        std::hint::spin_loop();
    }
    let per_us = (read() - ticks) / clock.elapsed().as_micros() as u64;
    Ticks {
        read,
        per_us: per_us.max(1),
    }
}
