//! What the scans of one collection (SSCAN and its like) have in common: cursor and options.
use super::error::Error;
use crate::resp::number::parse_i64;
use crate::stdx::glob;

/// Elements that a scan looks at without COUNT.
const COUNT_DEFAULT: usize = 10;

/// The options of a scan.
#[derive(Debug)]
pub struct MemberScan<'a> {
    /// About how many elements to visit.
    pub count: usize,
    pattern: Option<&'a [u8]>,
}

impl<'a> MemberScan<'a> {
    /// Reads the arguments behind the cursor.
    pub fn parse(mut options: &[&'a [u8]]) -> Result<Self, Error> {
        let mut scan = Self {
            count: COUNT_DEFAULT,
            pattern: None,
        };
        while let [option, rest @ ..] = options {
            options = match rest {
                [count, rest @ ..] if option.eq_ignore_ascii_case(b"count") => {
                    let count = parse_i64(count).ok_or(Error::NOT_INTEGER)?;
                    if count < 1 {
                        return Err(Error::SYNTAX);
                    }
                    scan.count = usize::try_from(count).unwrap_or(usize::MAX);
                    rest
                }
                [pattern, rest @ ..] if option.eq_ignore_ascii_case(b"match") => {
                    // The pattern that matches everything need not be asked.
                    scan.pattern = (*pattern != b"*").then_some(*pattern);
                    rest
                }
                _ if option.eq_ignore_ascii_case(b"novalues") => {
                    return Err(Error::new("ERR NOVALUES option can only be used in HSCAN"));
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(scan)
    }

    /// Whether the pattern lets an element through.
    #[inline]
    pub fn wants(&self, element: &[u8]) -> bool {
        self.pattern
            .is_none_or(|pattern| glob::matches(pattern, element, false))
    }
}
