//! The numbers of the format: versions, types, opcodes.

use super::error::Bad;

/// The version that is written where nothing needs a newer one: Redis 7.0's.
pub const VERSION: u32 = 10;
/// The version that is written where fields of hashes expire: Redis 7.4's.
pub const VERSION_WITH_FIELD_EXPIRY: u32 = 12;
/// The newest version of Redis that is read: 8's.
pub const VERSION_MAX: u32 = 12;
/// From here on versions are Valkey's (9.0: 80), and type 22 is its own.
pub const VALKEY_VERSION_MIN: u32 = 80;
/// The newest version of Valkey that is read.
pub const VALKEY_VERSION_MAX: u32 = 80;
/// From this version on a file ends with a checksum.
pub const VERSION_WITH_CHECKSUM: u32 = 5;

/// Whether a version can be read.
pub fn is_known_version(version: u32) -> bool {
    (1..=VERSION_MAX).contains(&version)
        || (VALKEY_VERSION_MIN..=VALKEY_VERSION_MAX).contains(&version)
}

/// What stands in a file where no type does.
pub mod opcode {
    /// Valkey 9: slots are being imported. Name, number of ranges, and their first and last slots.
    pub const SLOT_IMPORT: u8 = 243;
    /// Slot, keys and expiries in it.
    pub const SLOT_INFO: u8 = 244;
    /// A library of functions.
    pub const FUNCTION: u8 = 245;
    /// The same in 7.0's release candidates.
    pub const FUNCTION_PRE_GA: u8 = 246;
    /// Data of a module.
    pub const MODULE_AUX: u8 = 247;
    /// Seconds since the next key's last access.
    pub const IDLE: u8 = 248;
    /// How often the next key is accessed.
    pub const FREQ: u8 = 249;
    /// Something that is known of the file: two strings.
    pub const AUX: u8 = 250;
    /// Keys and expiries of the database.
    pub const RESIZE_DB: u8 = 251;
    /// When the next key expires, in milliseconds: eight bytes.
    pub const EXPIRE_MS: u8 = 252;
    /// When the next key expires, in seconds: four bytes.
    pub const EXPIRE_SECONDS: u8 = 253;
    /// The number of the database that follows.
    pub const SELECT_DB: u8 = 254;
    /// The end; the checksum follows.
    pub const END: u8 = 255;
}

/// The kinds of a list's nodes in [`Kind::ListQuicklist2`].
pub struct Node;

impl Node {
    /// One element.
    pub const PLAIN: u64 = 1;
    /// A listpack.
    pub const PACKED: u64 = 2;
}

/// What a type belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Strings
    String,
    /// Lists
    List,
    /// Sets
    Set,
    /// Sorted sets
    ZSet,
    /// Hashes
    Hash,
    /// Streams
    Stream,
}

/// The types of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A string.
    String = 0,
    /// Strings.
    List = 1,
    /// Strings.
    Set = 2,
    /// Strings, each with its score as text.
    ZSet = 3,
    /// Fields and values.
    Hash = 4,
    /// Strings, each with its score in binary.
    ZSet2 = 5,
    /// Redis before 2.6.
    HashZipmap = 9,
    /// Until 3.0.
    ListZiplist = 10,
    /// Integers.
    SetIntset = 11,
    /// Until 6.2.
    ZSetZiplist = 12,
    /// Until 6.2.
    HashZiplist = 13,
    /// Ziplists, until 6.2.
    ListQuicklist = 14,
    /// Since 5.0.
    Stream = 15,
    /// Since 7.0.
    HashListpack = 16,
    /// Since 7.0.
    ZSetListpack = 17,
    /// Listpacks and long elements, since 7.0.
    ListQuicklist2 = 18,
    /// With what is remembered of entries that have gone, since 7.0.
    Stream2 = 19,
    /// Since 7.2.
    SetListpack = 20,
    /// With the time at which consumers last got something, since 7.2.
    Stream3 = 21,
    /// Time, field and value: 7.4's release candidates.
    HashMetadataPreGa = 22,
    /// Field, value and time: 7.4's release candidates.
    HashListpackExPreGa = 23,
    /// The earliest time, then the difference to it (and 1, 0 being none), field and value: since 7.4.
    HashMetadata = 24,
    /// The earliest time, then field, value and time: since 7.4.
    HashListpackEx = 25,
    /// Field, value and time: Valkey's 22.
    HashValkey = 122,
}

impl Kind {
    const ALL: [Self; 24] = [
        Self::String,
        Self::List,
        Self::Set,
        Self::ZSet,
        Self::Hash,
        Self::ZSet2,
        Self::HashZipmap,
        Self::ListZiplist,
        Self::SetIntset,
        Self::ZSetZiplist,
        Self::HashZiplist,
        Self::ListQuicklist,
        Self::Stream,
        Self::HashListpack,
        Self::ZSetListpack,
        Self::ListQuicklist2,
        Self::Stream2,
        Self::SetListpack,
        Self::Stream3,
        Self::HashMetadataPreGa,
        Self::HashListpackExPreGa,
        Self::HashMetadata,
        Self::HashListpackEx,
        Self::HashValkey,
    ];

    /// The type with this number in a file or payload of a version.
    pub fn of(number: u8, version: u32) -> Result<Self, Bad> {
        const PRE_GA: u8 = Kind::HashMetadataPreGa as u8;
        const LAST: u8 = Kind::HashListpackEx as u8;
        /// Types 6 and 7.
        const MODULES: std::ops::RangeInclusive<u8> = 6..=7;
        match number {
            PRE_GA if version >= VALKEY_VERSION_MIN => Ok(Self::HashValkey),
            number if MODULES.contains(&number) => {
                Err(Bad::Module("the value of a module's type".to_owned()))
            }
            ..=LAST => {
                let known = Self::ALL.into_iter().find(|kind| *kind as u8 == number);
                known.ok_or(Bad::UnknownType(number))
            }
            _ => Err(Bad::UnknownType(number)),
        }
    }

    /// What it belongs to.
    pub fn family(self) -> Family {
        match self {
            Self::String => Family::String,
            Self::List | Self::ListZiplist | Self::ListQuicklist | Self::ListQuicklist2 => {
                Family::List
            }
            Self::Set | Self::SetIntset | Self::SetListpack => Family::Set,
            Self::ZSet | Self::ZSet2 | Self::ZSetZiplist | Self::ZSetListpack => Family::ZSet,
            Self::Hash
            | Self::HashZipmap
            | Self::HashZiplist
            | Self::HashListpack
            | Self::HashMetadataPreGa
            | Self::HashListpackExPreGa
            | Self::HashMetadata
            | Self::HashListpackEx
            | Self::HashValkey => Family::Hash,
            Self::Stream | Self::Stream2 | Self::Stream3 => Family::Stream,
        }
    }

    /// Whether it is a collection in one string.
    pub fn is_blob(self) -> bool {
        matches!(
            self,
            Self::HashZipmap
                | Self::ListZiplist
                | Self::SetIntset
                | Self::ZSetZiplist
                | Self::HashZiplist
                | Self::HashListpack
                | Self::ZSetListpack
                | Self::SetListpack
                | Self::HashListpackExPreGa
                | Self::HashListpackEx
        )
    }
}
