//! Positions on the globe: sorted sets whose scores are geohash cells.
mod args;
mod cell;
mod point;
mod search;
mod shape;

use super::spec::{
    Acl, Begin, Deprecated, Effect, Find, Flags, Group, KeyFlags, KeySpec, Run, Spec,
};
use crate::resp::encode::Reply;
use cell::Point;
use std::io::Write;

const READ: Spec = Spec {
    flags: Flags::READONLY,
    acl: Acl::READ.or(Acl::GEO).or(Acl::SLOW),
    keys: &[SOURCE],
    group: Group::Geo,
    since: "3.2.0",
    ..Spec::BASE
};

const WRITE: Spec = Spec {
    effect: Effect::Keys,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Acl::WRITE.or(Acl::GEO).or(Acl::SLOW),
    ..READ
};

const SOURCE: KeySpec = KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS));
const TARGET: KeyFlags = KeyFlags::OW.or(KeyFlags::UPDATE);

/// The key behind a word of the options.
const fn named(word: &'static str, from: i16) -> KeySpec {
    KeySpec {
        flags: TARGET,
        begin: Begin::Keyword(word, from),
        find: Find::Range {
            last: 0,
            step: 1,
            limit: 0,
        },
    }
}

const SEARCH_COMPLEXITY: &str = "O(N+log(M)) where N is the number of elements in the cells around the shape and M that of those inside it.";

/// The commands of the group.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "geoadd",
        arity: -5,
        keys: &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
        complexity: "O(log(N)) for each position, where N is the number of elements.",
        summary: "Adds positions to a key, or changes them.",
        syntax: "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
        effect: Effect::Verbatim,
        run: Run::Keyed(point::geoadd),
        ..WRITE
    },
    Spec {
        name: "geopos",
        arity: -2,
        complexity: "O(1) for each member.",
        summary: "Returns the longitudes and latitudes of members.",
        syntax: "key [member [member ...]]",
        run: Run::Keyed(point::geopos),
        ..READ
    },
    Spec {
        name: "geodist",
        arity: -4,
        complexity: "O(1)",
        summary: "Returns the distance between two members.",
        syntax: "key member1 member2 [M | KM | FT | MI]",
        run: Run::Keyed(point::geodist),
        ..READ
    },
    Spec {
        name: "geohash",
        arity: -2,
        complexity: "O(1) for each member.",
        summary: "Returns members' positions as geohash texts.",
        syntax: "key [member [member ...]]",
        run: Run::Keyed(point::geohash),
        ..READ
    },
    Spec {
        name: "geosearch",
        arity: -7,
        since: "6.2.0",
        complexity: SEARCH_COMPLEXITY,
        summary: "Finds the members inside a circle, a box or a polygon.",
        syntax: "key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI> | BYPOLYGON num-vertices longitude latitude [longitude latitude ...]> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
        run: Run::Keyed(search::geosearch),
        ..READ
    },
    Spec {
        name: "geosearchstore",
        arity: -8,
        keys: &[
            KeySpec::one(1, TARGET),
            KeySpec::one(2, KeyFlags::RO.or(KeyFlags::ACCESS)),
        ],
        since: "6.2.0",
        complexity: SEARCH_COMPLEXITY,
        summary: "Stores the members inside a circle, a box or a polygon under another key.",
        syntax: "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI> | BYPOLYGON num-vertices longitude latitude [longitude latitude ...]> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
        run: Run::Keyed(search::geosearchstore),
        ..WRITE
    },
    Spec {
        name: "georadius",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
        }),
        arity: -6,
        flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
        keys: &[SOURCE, named("STORE", 6), named("STOREDIST", 6)],
        complexity: SEARCH_COMPLEXITY,
        summary: "Finds the members within a distance of a position, and stores them if asked to.",
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        run: Run::Keyed(search::georadius),
        ..WRITE
    },
    Spec {
        name: "georadius_ro",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`GEOSEARCH` with the `BYRADIUS` argument",
        }),
        arity: -6,
        since: "3.2.10",
        complexity: SEARCH_COMPLEXITY,
        summary: "Finds the members within a distance of a position.",
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        run: Run::Keyed(search::georadius_ro),
        ..READ
    },
    Spec {
        name: "georadiusbymember",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        }),
        arity: -5,
        flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
        keys: &[SOURCE, named("STORE", 5), named("STOREDIST", 5)],
        complexity: SEARCH_COMPLEXITY,
        summary: "Finds the members within a distance of another one, and stores them if asked to.",
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        run: Run::Keyed(search::georadiusbymember),
        ..WRITE
    },
    Spec {
        name: "georadiusbymember_ro",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            instead: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
        }),
        arity: -5,
        since: "3.2.10",
        complexity: SEARCH_COMPLEXITY,
        summary: "Finds the members within a distance of another one.",
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        run: Run::Keyed(search::georadiusbymember_ro),
        ..READ
    },
];

/// Longest text of a distance or a coordinate.
const TEXT_MAX: usize = 48;

/// A distance with four decimals, a bulk string in both versions.
fn put_distance(reply: &mut Reply<'_>, distance: f64) {
    let mut text = [0; TEXT_MAX];
    let mut rest = &mut text[..];
    // No distance on the globe in metres or feet is longer than the buffer.
    let written = write!(rest, "{distance:.4}");
    let left = rest.len();
    assert!(written.is_ok());
    reply.bulk(&text[..TEXT_MAX - left]);
}

/// A longitude and a latitude, with up to 17 decimals.
fn put_position(reply: &mut Reply<'_>, point: Point) {
    reply.array(2);
    for degrees in [point.lon, point.lat] {
        let mut text = [0; TEXT_MAX];
        let mut rest = &mut text[..];
        let written = write!(rest, "{degrees:.17}");
        let left = rest.len();
        assert!(written.is_ok());
        let text = std::str::from_utf8(&text[..TEXT_MAX - left]).expect("a decimal");
        reply.double_text(text.trim_end_matches('0').trim_end_matches('.'));
    }
}
