//! Socket calls that are made once for a connection or a listener.
#![expect(
    unsafe_code,
    reason = "system calls on descriptors that this module is given"
)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

/// Closes a descriptor.
pub fn close(fd: RawFd) {
    // SAFETY: the caller owns the descriptor and does not use it any more.
    unsafe { libc::close(fd) };
}

/// Ends both directions; pending receives complete.
pub fn shutdown(fd: RawFd) {
    // SAFETY: only the descriptor is passed.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Sends a few bytes without waiting, as a farewell to a connection that is refused.
pub fn say(fd: RawFd, text: &[u8]) {
    // SAFETY: the pointer and length are those of the slice.
    unsafe {
        libc::send(
            fd,
            text.as_ptr().cast(),
            text.len(),
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
        )
    };
}

/// Sets an integer option.
pub fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointer is to an integer of the size given.
    let done = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

type NameCall = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32;

/// The two ends' addresses; None for a UNIX socket.
pub fn addresses(fd: RawFd) -> Option<(SocketAddr, SocketAddr)> {
    Some((
        address(fd, libc::getpeername)?,
        address(fd, libc::getsockname)?,
    ))
}

fn address(fd: RawFd, call: NameCall) -> Option<SocketAddr> {
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the structure has the size that is passed.
    if unsafe { call(fd, (&raw mut storage).cast(), &raw mut size) } != 0 {
        return None;
    }
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel says that it is an IPv4 address.
            let v4 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: the kernel says that it is an IPv6 address.
            let v6 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::new(IpAddr::V6(ip), u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

/// A fresh event descriptor.
pub fn event() -> io::Result<RawFd> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(fd)
    }
}

/// Signals an event descriptor.
pub fn signal_event(fd: RawFd) {
    let one = 1u64;
    // SAFETY: eight bytes, as the call wants.
    unsafe { libc::write(fd, (&raw const one).cast(), 8) };
}

/// Takes the signals off an event descriptor.
pub fn drain_event(fd: RawFd) {
    let mut count = 0u64;
    // SAFETY: eight bytes, as the call wants.
    unsafe { libc::read(fd, (&raw mut count).cast(), 8) };
}
