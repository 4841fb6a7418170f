//! The Redis serialisation protocol, versions 2 and 3, and inline commands: bytes in, ranges out,
//! and replies as bytes. No sockets and no state but what a half-received command needs.
pub mod decode;
pub mod double;
pub mod encode;
pub mod number;

/// The protocol version that a connection has chosen with HELLO.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Version {
    /// RESP2, the default of a new connection.
    #[default]
    Resp2 = 2,
    /// RESP3.
    Resp3 = 3,
}
