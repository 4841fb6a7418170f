//! The arguments of SORT, and its patterns.
use crate::command::error::Error;
use crate::resp::number::parse_i64;
use smallvec::SmallVec;

/// Where a value is looked up: a key, or a field of the hash there, in whose name an element stands
/// for the star.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern<'a> {
    before: &'a [u8],
    after: &'a [u8],
    /// The field, where the pattern ends with `->field`.
    pub(super) field: Option<&'a [u8]>,
}

impl<'a> Pattern<'a> {
    /// The pattern that a text is; None without a star.
    fn of(text: &'a [u8]) -> Option<Self> {
        let star = text.iter().position(|byte| *byte == b'*')?;
        let (before, after) = (&text[..star], &text[star + 1..]);
        let arrow = after.windows(2).position(|pair| pair == b"->");
        Some(match arrow {
            Some(at) if at + 2 < after.len() => Self {
                before,
                after: &after[..at],
                field: Some(&after[at + 2..]),
            },
            _ => Self {
                before,
                after,
                field: None,
            },
        })
    }

    /// The key for an element, in `key`.
    pub(super) fn key<'k>(&self, element: &[u8], key: &'k mut Vec<u8>) -> &'k [u8] {
        key.clear();
        for part in [self.before, element, self.after] {
            key.extend_from_slice(part);
        }
        key
    }
}

/// What GET asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Get<'a> {
    /// `#`: the element itself.
    Element,
    /// What a pattern leads to.
    Lookup(Pattern<'a>),
    /// A pattern without a star leads nowhere.
    Nothing,
}

/// What elements are sorted by.
#[derive(Clone, Copy, Debug)]
pub(super) enum By<'a> {
    /// Themselves.
    Element,
    /// What a pattern leads to.
    Lookup(Pattern<'a>),
    /// Nothing: they stay in their order.
    Nothing,
}

/// The options of SORT.
#[derive(Debug)]
pub(super) struct Options<'a> {
    pub(super) by: By<'a>,
    pub(super) get: SmallVec<[Get<'a>; 2]>,
    /// Offset and count, as they were given.
    pub(super) limit: Option<(i64, i64)>,
    pub(super) alpha: bool,
    pub(super) descending: bool,
    pub(super) store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// The option that Redis Cluster refuses: one that leads to keys which may be elsewhere.
    pub(super) fn refused_by_clusters(&self) -> Option<&'static str> {
        if let By::Lookup(_) = self.by {
            return Some("BY");
        }
        (!self.get.is_empty()).then_some("GET")
    }

    /// Reads the arguments behind the key.
    pub(super) fn parse(mut args: &[&'a [u8]], may_store: bool) -> Result<Self, Error> {
        let mut options = Self {
            by: By::Element,
            get: SmallVec::new(),
            limit: None,
            alpha: false,
            descending: false,
            store: None,
        };
        while let [option, rest @ ..] = args {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            args = match rest {
                _ if is("asc") => {
                    options.descending = false;
                    rest
                }
                _ if is("desc") => {
                    options.descending = true;
                    rest
                }
                _ if is("alpha") => {
                    options.alpha = true;
                    rest
                }
                [offset, count, rest @ ..] if is("limit") => {
                    let number = |text| parse_i64(text).ok_or(Error::NOT_INTEGER);
                    options.limit = Some((number(offset)?, number(count)?));
                    rest
                }
                [key, rest @ ..] if may_store && is("store") => {
                    options.store = Some(key);
                    rest
                }
                [pattern, rest @ ..] if is("by") => {
                    options.by = Pattern::of(pattern).map_or(By::Nothing, By::Lookup);
                    rest
                }
                [pattern, rest @ ..] if is("get") => {
                    options.get.push(match Pattern::of(pattern) {
                        Some(pattern) => Get::Lookup(pattern),
                        None if *pattern == b"#" => Get::Element,
                        None => Get::Nothing,
                    });
                    rest
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(options)
    }

    /// The patterns that lead to other keys.
    pub(super) fn patterns(&self) -> impl Iterator<Item = Pattern<'a>> {
        let by = match self.by {
            By::Lookup(pattern) => Some(pattern),
            By::Element | By::Nothing => None,
        };
        let get = self.get.iter().filter_map(|get| match get {
            Get::Lookup(pattern) => Some(*pattern),
            Get::Element | Get::Nothing => None,
        });
        by.into_iter().chain(get)
    }
}

/// The place of the key behind STORE among all arguments, as COMMAND GETKEYS finds it.
pub(crate) fn store_key(args: &[&[u8]]) -> Option<usize> {
    let mut at = 2;
    while let Some(option) = args.get(at) {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("store") && at + 1 < args.len() {
            return Some(at + 1);
        }
        at += match () {
            () if is("limit") => 3,
            () if is("get") || is("by") => 2,
            () => 1,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_keys_and_fields() {
        let shown = |text: &'static str| {
            let pattern = Pattern::of(text.as_bytes())?;
            let mut key = Vec::new();
            let key = String::from_utf8_lossy(pattern.key(b"7", &mut key)).into_owned();
            Some((key, pattern.field.map(<[u8]>::to_vec)))
        };
        let field = |name: &str| Some(name.as_bytes().to_vec());
        assert_eq!(shown("weight_*"), Some(("weight_7".into(), None)));
        assert_eq!(shown("*"), Some(("7".into(), None)));
        assert_eq!(shown("o_*_x->name"), Some(("o_7_x".into(), field("name"))));
        assert_eq!(shown("a->b_*"), Some(("a->b_7".into(), None)));
        assert_eq!(shown("o_*->"), Some(("o_7->".into(), None)));
        assert_eq!(shown("*->*"), Some(("7".into(), field("*"))));
        assert_eq!(shown("nosort"), None);
    }

    #[test]
    fn the_key_to_store_under_is_found() {
        let at = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            store_key(&args)
        };
        assert_eq!(at("sort k store d"), Some(3));
        assert_eq!(
            at("sort k by store get store limit 0 store STORE d"),
            Some(10)
        );
        assert_eq!(at("sort k desc alpha"), None);
        assert_eq!(at("sort k store"), None);
    }
}
