//! What DUMP replies and RESTORE takes.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | the type |
//! | n | the value |
//! | 2 | version, little-endian |
//! | 8 | CRC-64 of all before it, little-endian |

use super::build::{Built, Limits};
use super::crc64::crc64;
use super::decode::Decoder;
use super::encode::{Encoder, has_field_expiry};
use super::error::Bad;
use super::format::{Kind, VERSION, VERSION_WITH_FIELD_EXPIRY, is_known_version};
use super::input::{Input, Stop};
use crate::keyspace::Value;

const FOOTER_BYTES: usize = 10;
const CHECKSUM_BYTES: usize = 8;

/// Appends the payload of a value.
pub fn dump(encoder: &mut Encoder, value: &Value<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    encoder.typed_value(value, out);
    let version = if has_field_expiry(value) {
        VERSION_WITH_FIELD_EXPIRY
    } else {
        VERSION
    };
    out.extend_from_slice(&(version as u16).to_le_bytes());
    let crc = crc64(0, &out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// A payload whose footer is right.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    body: &'a [u8],
    version: u32,
}

impl<'a> Payload<'a> {
    /// Looks at the footer; `verifies`: also at the checksum.
    pub fn open(bytes: &'a [u8], verifies: bool) -> Result<Self, Bad> {
        let split = bytes
            .len()
            .checked_sub(FOOTER_BYTES)
            .ok_or(Bad::Truncated)?;
        let (body, footer) = bytes.split_at(split);
        let (version, checksum) = footer.split_at(FOOTER_BYTES - CHECKSUM_BYTES);
        let version = u32::from(u16::from_le_bytes(version.try_into().expect("two bytes")));
        if !is_known_version(version) {
            return Err(Bad::Version(version));
        }
        let stored = u64::from_le_bytes(checksum.try_into().expect("eight bytes"));
        let computed = crc64(0, &bytes[..bytes.len() - CHECKSUM_BYTES]);
        if verifies && computed != stored {
            return Err(Bad::Checksum { computed, stored });
        }
        Ok(Self { body, version })
    }

    /// Its value.
    pub fn value(&self, limits: &Limits) -> Result<Built, Bad> {
        let mut input = Input::new(self.body);
        let mut read = || {
            let kind = Kind::of(input.byte()?, self.version)?;
            let mut decoder = Decoder::new(kind, limits);
            decoder.read(&mut input)?;
            Ok(decoder.finish()?)
        };
        let value = read().map_err(|stop| match stop {
            Stop::More(_) => Bad::Truncated,
            Stop::Bad(bad) => bad,
        })?;
        if input.at() < self.body.len() {
            return Err(Bad::Corrupt("something stands behind the value"));
        }
        Ok(value)
    }
}
