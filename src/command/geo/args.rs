//! Reading coordinates, units and the options of a search.
use super::cell::Point;
use super::shape::{Shape, middle};
use crate::command::error::Error;
use crate::command::zset::View;
use crate::resp::double::parse_f64;
use crate::resp::number::parse_i64;

const BAD_UNIT: Error = Error::fixed("ERR unsupported unit provided. please use M, KM, FT, MI");
const NO_MEMBER: Error = Error::fixed("ERR could not decode requested zset member");
/// Corners of a polygon: the least that encloses anything.
const CORNERS_MIN: i64 = 3;

/// Metres of a unit.
pub(super) fn parse_unit(text: &[u8]) -> Result<f64, Error> {
    match text.to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(BAD_UNIT),
    }
}

/// A longitude and a latitude that can be stored.
pub(super) fn parse_point(lon: &[u8], lat: &[u8]) -> Result<Point, Error> {
    let number = |text| parse_f64(text).ok_or(Error::NOT_FLOAT);
    let point = Point {
        lon: number(lon)?,
        lat: number(lat)?,
    };
    if point.is_valid() {
        return Ok(point);
    }
    let (lon, lat) = (point.lon, point.lat);
    Err(Error::new(format!(
        "ERR invalid longitude,latitude pair {lon:.6},{lat:.6}"
    )))
}

fn parse_size(text: &[u8], what: &str) -> Result<f64, Error> {
    parse_f64(text).ok_or_else(|| Error::new(format!("ERR need numeric {what}")))
}

/// A radius and its unit: metres, and those of the unit.
fn parse_radius(radius: &[u8], unit: &[u8]) -> Result<(f64, f64), Error> {
    let radius = parse_size(radius, "radius")?;
    if radius < 0.0 {
        return Err(Error::new("ERR radius cannot be negative"));
    }
    let unit = parse_unit(unit)?;
    Ok((radius * unit, unit))
}

/// The order of the results.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    None,
    Nearest,
    Farthest,
}

/// Which command searches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// GEOSEARCH
    Search,
    /// GEOSEARCHSTORE
    SearchStore,
    /// GEORADIUS and GEORADIUS_RO
    Radius {
        /// Whether it takes STORE.
        stores: bool,
    },
    /// GEORADIUSBYMEMBER and GEORADIUSBYMEMBER_RO
    Member {
        /// Whether it takes STORE.
        stores: bool,
    },
}

impl Form {
    /// Where the searched key stands.
    pub(super) fn key(self) -> usize {
        if self == Self::SearchStore { 2 } else { 1 }
    }

    fn is_search(self) -> bool {
        matches!(self, Self::Search | Self::SearchStore)
    }

    fn takes_store(self) -> bool {
        matches!(
            self,
            Self::Radius { stores: true } | Self::Member { stores: true }
        )
    }
}

/// A search as it was asked for.
pub(super) struct Search<'a> {
    /// None: the set is missing, or so is the position, and the reply is empty.
    pub center: Option<Point>,
    pub shape: Option<Shape>,
    /// Metres of the unit that distances are told in.
    pub unit: f64,
    pub sort: Sort,
    /// 0: all.
    pub count: usize,
    pub any: bool,
    pub with_distance: bool,
    pub with_hash: bool,
    pub with_position: bool,
    pub store: Option<&'a [u8]>,
    pub store_distance: bool,
}

/// The position of a member.
fn position(set: View<'_>, member: &[u8]) -> Result<Point, Error> {
    let score = set.score(member).ok_or(NO_MEMBER)?;
    Ok(Point::of_score(score))
}

impl<'a> Search<'a> {
    /// Reads the arguments; `set` is what the key holds.
    pub(super) fn parse(
        args: &[&'a [u8]],
        form: Form,
        set: Option<View<'_>>,
    ) -> Result<Self, Error> {
        let mut search = Self {
            center: None,
            shape: None,
            unit: 1.0,
            sort: Sort::None,
            count: 0,
            any: false,
            with_distance: false,
            with_hash: false,
            with_position: false,
            store: (form == Form::SearchStore).then(|| args[1]),
            store_distance: false,
        };
        let options = match form {
            Form::Search => 2,
            Form::SearchStore => 3,
            Form::Radius { .. } => {
                search.center = Some(parse_point(args[2], args[3])?);
                search.circle(args[4], args[5])?;
                6
            }
            Form::Member { .. } => {
                // Without a set the radius is not even looked at.
                if let Some(set) = set {
                    search.center = Some(position(set, args[2])?);
                    search.circle(args[3], args[4])?;
                }
                5
            }
        };
        let has_center = search.options(&args[options..], form, set)?;
        search.check(has_center, form, args[0])?;
        Ok(search)
    }

    fn circle(&mut self, radius: &[u8], unit: &[u8]) -> Result<(), Error> {
        let (radius, unit) = parse_radius(radius, unit)?;
        self.shape = Some(Shape::Circle { radius });
        self.unit = unit;
        Ok(())
    }

    /// Reads the options; whether they name a centre.
    fn options(
        &mut self,
        mut options: &[&'a [u8]],
        form: Form,
        set: Option<View<'_>>,
    ) -> Result<bool, Error> {
        let is_search = form.is_search();
        let (mut from_member, mut from_point) = (false, false);
        while let [option, rest @ ..] = options {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            let circle_or_none = matches!(self.shape, None | Some(Shape::Circle { .. }));
            let box_or_none = matches!(self.shape, None | Some(Shape::Box { .. }));
            options = match rest {
                rest if is(b"withdist") => {
                    self.with_distance = true;
                    rest
                }
                rest if is(b"withhash") => {
                    self.with_hash = true;
                    rest
                }
                rest if is(b"withcoord") => {
                    self.with_position = true;
                    rest
                }
                rest if is(b"any") => {
                    self.any = true;
                    rest
                }
                rest if is(b"asc") => {
                    self.sort = Sort::Nearest;
                    rest
                }
                rest if is(b"desc") => {
                    self.sort = Sort::Farthest;
                    rest
                }
                [count, rest @ ..] if is(b"count") => {
                    let count = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
                    if count <= 0 {
                        return Err(Error::new("ERR COUNT must be > 0"));
                    }
                    self.count = usize::try_from(count).unwrap_or(usize::MAX);
                    rest
                }
                [key, rest @ ..] if form.takes_store() && (is(b"store") || is(b"storedist")) => {
                    self.store = Some(key);
                    self.store_distance = is(b"storedist");
                    rest
                }
                rest if form == Form::SearchStore && is(b"storedist") => {
                    self.store_distance = true;
                    rest
                }
                [member, rest @ ..] if is_search && !from_point && is(b"frommember") => {
                    if let Some(set) = set {
                        self.center = Some(position(set, member)?);
                    }
                    from_member = true;
                    rest
                }
                [lon, lat, rest @ ..] if is_search && !from_member && is(b"fromlonlat") => {
                    self.center = Some(parse_point(lon, lat)?);
                    from_point = true;
                    rest
                }
                [radius, unit, rest @ ..] if is_search && circle_or_none && is(b"byradius") => {
                    self.circle(radius, unit)?;
                    rest
                }
                [width, height, unit, rest @ ..] if is_search && box_or_none && is(b"bybox") => {
                    let width = parse_size(width, "width")?;
                    let height = parse_size(height, "height")?;
                    if width < 0.0 || height < 0.0 {
                        return Err(Error::new("ERR height or width cannot be negative"));
                    }
                    self.unit = parse_unit(unit)?;
                    let (width, height) = (width * self.unit, height * self.unit);
                    self.shape = Some(Shape::Box { width, height });
                    rest
                }
                [corners, rest @ ..] if is_search && self.shape.is_none() && is(b"bypolygon") => {
                    self.polygon(corners, rest)?
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(from_member || from_point)
    }

    fn check(&self, has_center: bool, form: Form, name: &[u8]) -> Result<(), Error> {
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_position) {
            let what = if form == Form::SearchStore {
                "GEOSEARCHSTORE"
            } else {
                "STORE option in GEORADIUS"
            };
            return Err(Error::new(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        if form.is_search() {
            let is_polygon = matches!(self.shape, Some(Shape::Polygon { .. }));
            let name = String::from_utf8_lossy(name);
            if is_polygon && has_center {
                return Err(Error::SYNTAX);
            }
            if !is_polygon && !has_center {
                return Err(Error::new(format!(
                    "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}"
                )));
            }
            if self.shape.is_none() {
                return Err(Error::new(format!(
                    "ERR exactly one of BYRADIUS and BYBOX can be specified for {name}"
                )));
            }
        }
        if self.any && self.count == 0 {
            return Err(Error::new("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    /// The corners of a polygon; what follows them.
    fn polygon<'r>(&mut self, count: &[u8], rest: &'r [&'a [u8]]) -> Result<&'r [&'a [u8]], Error> {
        let count = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
        if count < CORNERS_MIN {
            return Err(Error::new(
                "ERR GEOSEARCH BYPOLYGON must have at least 3 vertices",
            ));
        }
        let numbers = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .saturating_mul(2);
        let Some((numbers, rest)) = rest.split_at_checked(numbers) else {
            return Err(Error::SYNTAX);
        };
        let corners = numbers.chunks_exact(2).map(|n| parse_point(n[0], n[1]));
        let corners = corners.collect::<Result<Vec<_>, _>>()?;
        self.center = Some(middle(&corners));
        self.shape = Some(Shape::Polygon { corners });
        Ok(rest)
    }
}
