//! Positions as scores: the geohash cells of 52 bits that Redis keeps, and distances.
//!
//! A cell of `step` halves both ranges so many times; its bits interleave those of latitude (even)
//! and longitude (odd). A position is a cell of 26 steps, 0.6 m wide at most. Constants, formulas and
//! their order are Redis's (`geohash.c`, `geohash_helper.c`): the digits of replies depend on them.

use std::f64::consts::PI;

/// Steps of a stored position.
pub(super) const STEPS_MAX: u32 = 26;
/// Bits of a stored position.
const BITS: u32 = 2 * STEPS_MAX;
/// Half the longest distance that is told apart.
const MERCATOR_MAX: f64 = 20_037_726.37;
const EARTH_RADIUS_METERS: f64 = 6_372_797.560856;
const RADIANS: f64 = PI / 180.0;
const LON_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;
const LAT_BITS: u64 = 0x5555_5555_5555_5555;

/// A longitude and a latitude, in degrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Point {
    pub lon: f64,
    pub lat: f64,
}

/// From the lowest to the highest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Span {
    pub min: f64,
    pub max: f64,
}

/// What can be stored: Web Mercator's square.
pub(super) const LON: Span = Span {
    min: -180.0,
    max: 180.0,
};
/// As above.
pub(super) const LAT: Span = Span {
    min: -85.051_128_78,
    max: 85.051_128_78,
};
/// The whole globe, as the textual geohash has it.
const WHOLE_LAT: Span = Span {
    min: -90.0,
    max: 90.0,
};

/// A cell: both coordinates halved `step` times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    pub bits: u64,
    pub step: u32,
}

/// What a cell covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub lon: Span,
    pub lat: Span,
}

impl Point {
    /// Whether it can be stored.
    pub(super) fn is_valid(&self) -> bool {
        (LON.min..=LON.max).contains(&self.lon) && (LAT.min..=LAT.max).contains(&self.lat)
    }

    /// The score of the position.
    pub(super) fn score(self) -> f64 {
        Cell::at(self, STEPS_MAX).bits as f64
    }

    /// The position that a score stands for: the middle of its cell.
    pub(super) fn of_score(score: f64) -> Self {
        let cell = Cell {
            bits: whole(score),
            step: STEPS_MAX,
        };
        let area = cell.area();
        let middle = |s: Span, all: Span| ((s.min + s.max) / 2.0).min(all.max).max(all.min);
        Self {
            lon: middle(area.lon, LON),
            lat: middle(area.lat, LAT),
        }
    }

    /// Metres to another position on a sphere (haversine).
    pub(super) fn distance(self, to: Self) -> f64 {
        let (lat_a, lat_b) = (self.lat * RADIANS, to.lat * RADIANS);
        let v = ((to.lon * RADIANS - self.lon * RADIANS) / 2.0).sin();
        if v == 0.0 {
            return self.lat_distance(to);
        }
        let u = ((lat_b - lat_a) / 2.0).sin();
        let a = u * u + lat_a.cos() * lat_b.cos() * v * v;
        2.0 * EARTH_RADIUS_METERS * a.sqrt().asin()
    }

    /// Metres between two latitudes.
    pub(super) fn lat_distance(self, to: Self) -> f64 {
        EARTH_RADIUS_METERS * (to.lat * RADIANS - self.lat * RADIANS).abs()
    }

    /// The textual geohash, as geohash.org has it; the last of its characters is always `0`, since 52
    /// bits do not fill 11.
    pub(super) fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = interleave(self, LON, WHOLE_LAT, STEPS_MAX);
        let mut text = [b'0'; 11];
        for (at, letter) in text[..10].iter_mut().enumerate() {
            let five = bits >> (BITS as usize - 5 * (at + 1)) & 31;
            *letter = ALPHABET[five as usize];
        }
        text
    }
}

/// A score as bits. One that is no position's becomes what the x86 makes of it, as on Redis.
fn whole(score: f64) -> u64 {
    const END: f64 = u64::MAX as f64;
    match score {
        ..0.0 => (score as i64).cast_unsigned(),
        0.0..END => score as u64,
        _ => 0,
    }
}

/// The bits of a position in cells of these ranges.
fn interleave(point: Point, lon: Span, lat: Span, step: u32) -> u64 {
    let cell = |value: f64, span: Span| {
        let part = (value - span.min) / (span.max - span.min);
        (part * (1u64 << step) as f64) as u32
    };
    spread(cell(point.lat, lat)) | spread(cell(point.lon, lon)) << 1
}

/// Puts a zero above each bit.
fn spread(bits: u32) -> u64 {
    let mut wide = u64::from(bits);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, LAT_BITS),
    ] {
        wide = (wide | wide << shift) & mask;
    }
    wide
}

/// The even bits, put together.
fn gather(bits: u64) -> u32 {
    let mut wide = bits & LAT_BITS;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        wide = (wide | wide >> shift) & mask;
    }
    wide as u32
}

impl Cell {
    /// The cell of a position.
    pub(super) fn at(point: Point, step: u32) -> Self {
        Self {
            bits: interleave(point, LON, LAT, step),
            step,
        }
    }

    /// What it covers.
    pub(super) fn area(self) -> Area {
        let span = |number: u32, all: Span| {
            let cells = (1u64 << self.step) as f64;
            let width = all.max - all.min;
            Span {
                min: all.min + (f64::from(number) / cells) * width,
                max: all.min + ((f64::from(number) + 1.0) / cells) * width,
            }
        };
        Area {
            lon: span(gather(self.bits >> 1), LON),
            lat: span(gather(self.bits), LAT),
        }
    }

    /// The cell so many to the east and to the north, around the globe.
    pub(super) fn neighbour(self, east: i32, north: i32) -> Self {
        let unused = 64 - 2 * self.step;
        let shifted = |own: u64, other: u64, by: i32| {
            // The other coordinate's bits are filled, so that a carry passes over them.
            let fill = other >> unused;
            let moved = match by {
                1 => (self.bits & own).wrapping_add(fill + 1),
                -1 => (self.bits & own | fill).wrapping_sub(fill + 1),
                // The easternmost and northernmost positions lie one cell too far, and stay there.
                _ => return self.bits & own,
            };
            moved & own >> unused
        };
        let lon = shifted(LON_BITS, LAT_BITS, east);
        let lat = shifted(LAT_BITS, LON_BITS, north);
        Self {
            bits: lon | lat,
            ..self
        }
    }

    /// The scores of the positions in it: from, and up to (exclusive).
    pub(super) fn scores(self) -> (f64, f64) {
        let align = |bits: u64| (bits << (BITS - 2 * self.step)) as f64;
        (align(self.bits), align(self.bits + 1))
    }
}

/// How often to halve so that nine cells around a position cover so many metres.
fn steps_for(metres: f64, lat: f64) -> u32 {
    if metres == 0.0 {
        return STEPS_MAX;
    }
    let (mut step, mut range) = (1, metres);
    while range < MERCATOR_MAX {
        range *= 2.0;
        step += 1;
    }
    // Towards the poles cells are narrower.
    step -= 2;
    if lat.abs() > 66.0 {
        step -= 1;
        if lat.abs() > 80.0 {
            step -= 1;
        }
    }
    step.clamp(1, STEPS_MAX as i32) as u32
}

/// The box around a centre that reaches so many metres to each side.
pub(super) fn bounds(center: Point, half_width: f64, half_height: f64) -> Area {
    let lat_delta = half_height / EARTH_RADIUS_METERS / RADIANS;
    let lon_delta = |lat: f64| half_width / EARTH_RADIUS_METERS / (lat * RADIANS).cos() / RADIANS;
    // The wider of its two edges is the one nearer to the pole.
    let delta = if center.lat < 0.0 {
        lon_delta(center.lat - lat_delta)
    } else {
        lon_delta(center.lat + lat_delta)
    };
    Area {
        lon: Span {
            min: center.lon - delta,
            max: center.lon + delta,
        },
        lat: Span {
            min: center.lat - lat_delta,
            max: center.lat + lat_delta,
        },
    }
}

/// The cells around a centre that cover a box, in the order in which they are searched; none twice
/// in a row.
pub(super) fn cover(center: Point, metres: f64, bounds: Area) -> impl Iterator<Item = Cell> {
    /// East and north of each.
    const AROUND: [(i32, i32); 9] = [
        (0, 0),
        (0, 1),
        (0, -1),
        (1, 0),
        (-1, 0),
        (1, 1),
        (-1, 1),
        (1, -1),
        (-1, -1),
    ];
    let mut cell = Cell::at(center, steps_for(metres, center.lat));
    let near = |east, north| cell.neighbour(east, north).area();
    let too_small = near(0, 1).lat.max < bounds.lat.max
        || near(0, -1).lat.min > bounds.lat.min
        || near(1, 0).lon.max < bounds.lon.max
        || near(-1, 0).lon.min > bounds.lon.min;
    if cell.step > 1 && too_small {
        cell = Cell::at(center, cell.step - 1);
    }
    let area = cell.area();
    // A side that the cell itself covers need not be looked at.
    let covered = move |east: i32, north: i32| {
        cell.step >= 2
            && (north < 0 && area.lat.min < bounds.lat.min
                || north > 0 && area.lat.max > bounds.lat.max
                || east < 0 && area.lon.min < bounds.lon.min
                || east > 0 && area.lon.max > bounds.lon.max)
    };
    let mut last = None;
    let cells = AROUND.into_iter().filter(move |(e, n)| !covered(*e, *n));
    cells
        .map(move |(east, north)| cell.neighbour(east, north))
        .filter(move |cell| last.replace(*cell) != Some(*cell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_their_score() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let point = Point {
                lon: rng.f64() * 360.0 - 180.0,
                lat: rng.f64() * 170.0 - 85.0,
            };
            let back = Point::of_score(point.score());
            assert!(point.distance(back) < 0.6, "{point:?} {back:?}");
            assert_eq!(back.score(), point.score());
        }
    }

    #[test]
    fn the_documentation_says_so() {
        let palermo = Point {
            lon: 13.361389,
            lat: 38.115556,
        };
        assert_eq!(palermo.score(), 3_479_099_956_230_698.0);
        let stored = Point::of_score(palermo.score());
        assert_eq!(&stored.geohash(), b"sqc8b49rny0");
    }

    #[test]
    fn neighbours_go_around() {
        let cell = Cell { bits: 0, step: 3 };
        let west = cell.neighbour(-1, 0);
        assert_eq!(west.neighbour(1, 0), cell);
        assert_eq!(cell.neighbour(1, 1).neighbour(-1, -1), cell);
        assert_eq!(gather(west.bits >> 1), 7);
        assert_eq!(gather(spread(0xdead_beef)), 0xdead_beef);
    }
}
