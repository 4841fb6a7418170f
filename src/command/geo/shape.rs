//! What is searched: circles, boxes and polygons around a centre.
use super::cell::{Area, Cell, Point, Span, bounds, cover};

/// An area, in metres and degrees.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// Everything within so many metres of the centre.
    Circle {
        /// Metres.
        radius: f64,
    },
    /// A box along the parallels, the centre in its middle.
    Box {
        /// Metres.
        width: f64,
        /// Metres.
        height: f64,
    },
    /// What lies inside these corners.
    Polygon {
        /// At least three.
        corners: Vec<Point>,
    },
}

impl Shape {
    /// The cells to be looked at.
    pub(super) fn cells(&self, center: Point) -> Vec<Cell> {
        let (reach, bounds) = match self {
            Self::Circle { radius } => (*radius, bounds(center, *radius, *radius)),
            Self::Box { width, height } => {
                let (half_width, half_height) = (width / 2.0, height / 2.0);
                let reach = (half_width * half_width + half_height * half_height).sqrt();
                (reach, bounds(center, half_width, half_height))
            }
            Self::Polygon { corners } => {
                let far = corners.iter().map(|corner| center.distance(*corner));
                (far.fold(0.0, f64::max), around(corners))
            }
        };
        cover(center, reach, bounds).collect()
    }

    /// The distance of a position from the centre, if it lies in the shape.
    pub(super) fn distance(&self, center: Point, to: Point) -> Option<f64> {
        let distance = match self {
            Self::Circle { radius } => {
                let distance = center.distance(to);
                return (distance <= *radius).then_some(distance);
            }
            Self::Box { width, height } => {
                if center.lat_distance(to) > height / 2.0 {
                    return None;
                }
                let beside = Point {
                    lon: center.lon,
                    lat: to.lat,
                };
                if to.distance(beside) > width / 2.0 {
                    return None;
                }
                center.distance(to)
            }
            Self::Polygon { corners } => {
                if !is_inside(corners, to) {
                    return None;
                }
                center.distance(to)
            }
        };
        Some(distance)
    }
}

/// The mean of the corners.
pub(super) fn middle(corners: &[Point]) -> Point {
    let count = corners.len() as f64;
    Point {
        lon: corners.iter().map(|p| p.lon).sum::<f64>() / count,
        lat: corners.iter().map(|p| p.lat).sum::<f64>() / count,
    }
}

/// The box around the corners.
fn around(corners: &[Point]) -> Area {
    let span = |of: fn(&Point) -> f64| Span {
        min: corners.iter().map(of).fold(f64::INFINITY, f64::min),
        max: corners.iter().map(of).fold(f64::NEG_INFINITY, f64::max),
    };
    Area {
        lon: span(|p| p.lon),
        lat: span(|p| p.lat),
    }
}

/// Whether a ray from the point to the east leaves the polygon an odd number of times.
fn is_inside(corners: &[Point], point: Point) -> bool {
    let mut inside = false;
    let mut before = corners[corners.len() - 1];
    for corner in corners {
        if (corner.lat > point.lat) != (before.lat > point.lat) {
            let part = (point.lat - corner.lat) / (before.lat - corner.lat);
            if point.lon < corner.lon + part * (before.lon - corner.lon) {
                inside = !inside;
            }
        }
        before = *corner;
    }
    inside
}
