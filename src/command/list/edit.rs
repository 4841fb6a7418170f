//! Changing a list in its entry, and its form where it crosses a limit.
use crate::command::context::Ctx;
use crate::command::error::Error;
use crate::keyspace::{EntryMut, Expiry, Kind, NewValue, Object, Pos, Value};
use crate::shard::access::EventClass;
use crate::types::list::{End, LargeList, Limit, List};
use crate::types::packed::{self, Block, Element, Packed};

/// The limit of a shard's configuration.
#[inline]
pub(super) fn limit(ctx: &Ctx<'_>) -> Limit {
    Limit::of(ctx.shard.config.list_max_listpack_size)
}

#[inline]
fn large(object: &mut dyn Object) -> &mut LargeList {
    let list = object.as_any_mut().downcast_mut();
    list.expect("the entry holds a list")
}

/// Runs one of two changes, as the list is packed or large.
pub(super) fn edit<R>(
    entry: &mut EntryMut<'_>,
    small: impl FnOnce(&mut EntryMut<'_>) -> R,
    on_large: impl FnOnce(&mut LargeList) -> R,
) -> R {
    match entry.value() {
        Value::Object(_) => {
            let result = entry.edit_object(|object| on_large(large(object)));
            result.expect("it is an object")
        }
        _ => small(entry),
    }
}

/// Makes a list large before something is added, if it would be over the limit then. As on Redis,
/// elements count with the bytes of their text.
pub(super) fn make_room(entry: &mut EntryMut<'_>, added: &[&[u8]], limit: Limit) {
    if let Value::Packed(_, bytes) = entry.value() {
        let more: usize = added.iter().map(|element| element.len()).sum();
        let list = Packed::new(bytes);
        // What the elements really take may be more than their text.
        let packed: usize = added.iter().map(|e| Element::of(e).packed_bytes()).sum();
        if limit.exceeded(bytes.len() + more, list.len() + added.len())
            || !packed::has_room(list, packed, added.len())
        {
            let list = Box::new(LargeList::of(list));
            entry.set(NewValue::Object(list), Expiry::Keep);
        }
    }
}

/// Packs a large list that has become small.
fn shrink(entry: &mut EntryMut<'_>, limit: Limit) {
    if let Value::Object(_) = entry.value()
        && let List::Large(list) = List::of(entry.value())
    {
        let limit = limit.shrinking();
        if list.len() <= limit.count && !limit.exceeded(list.packed_bytes(limit.bytes), list.len())
        {
            let packed = list.pack();
            entry.set(NewValue::Packed(Kind::List, &packed), Expiry::Keep);
        }
    }
}

/// Adds elements at an end, one after the other.
pub(super) fn push(entry: &mut EntryMut<'_>, end: End, elements: &[&[u8]], limit: Limit) {
    make_room(entry, elements, limit);
    edit(
        entry,
        |entry| {
            let mut block = entry.edit_packed();
            push_packed(&mut block, end, elements);
        },
        |list| {
            for element in elements {
                list.push(end, Element::of(element));
            }
        },
    );
}

fn push_packed(block: &mut impl Block, end: End, elements: &[&[u8]]) {
    for element in elements {
        let element = [Element::of(element)];
        match end {
            End::Left => packed::insert(block, packed::HEAD_BYTES, &element),
            End::Right => packed::push(block, &element),
        }
    }
}

/// Gives a new list's value to `store`.
pub(super) fn start(end: End, elements: &[&[u8]], limit: Limit, store: impl FnOnce(NewValue<'_>)) {
    /// Longest only element that is packed on the stack.
    const SHORT_BYTES_MAX: usize = 64;
    if let [only] = elements
        && only.len() <= SHORT_BYTES_MAX
        && !limit.exceeded(packed::HEAD_BYTES + only.len(), 1)
    {
        let element = Element::of(only);
        let mut bytes = [0; packed::HEAD_BYTES + SHORT_BYTES_MAX + 16];
        bytes[0] = 1;
        let len = packed::HEAD_BYTES + element.write(&mut bytes[packed::HEAD_BYTES..]);
        return store(NewValue::Packed(Kind::List, &bytes[..len]));
    }
    let text: usize = elements.iter().map(|element| element.len()).sum();
    let bytes: usize = elements.iter().map(|e| Element::of(e).packed_bytes()).sum();
    if limit.exceeded(packed::HEAD_BYTES + text, elements.len())
        || packed::HEAD_BYTES + bytes > packed::ENTRY_BYTES_MAX
    {
        let mut list = LargeList::default();
        for element in elements {
            list.push(end, Element::of(element));
        }
        store(NewValue::Object(Box::new(list)));
    } else {
        let mut block = packed::EMPTY.to_vec();
        push_packed(&mut block, end, elements);
        store(NewValue::Packed(Kind::List, &block));
    }
}

/// Removes up to `count` elements at an end, after `visit` has seen each.
pub(super) fn pop(
    entry: &mut EntryMut<'_>,
    end: End,
    count: usize,
    mut visit: impl FnMut(Element<'_>),
) {
    if let Value::Object(_) = entry.value() {
        entry.edit_object(|object| {
            let list = large(object);
            for _ in 0..count.min(list.len()) {
                list.pop(end, &mut visit);
            }
        });
        return;
    }
    let mut block = entry.edit_packed();
    let list = Packed::new(block.block());
    let count = count.min(list.len());
    let first = match end {
        End::Left => {
            let to = list.skip(list.start(), count);
            list.iter_between(list.start(), to)
                .for_each(|(_, e)| visit(e));
            list.start()
        }
        End::Right => {
            let from = list.nth(list.len() - count).unwrap_or(list.end());
            list.iter_between(from, list.end())
                .rev()
                .for_each(|(_, e)| visit(e));
            from
        }
    };
    packed::remove(&mut block, first, count);
}

/// After a list was changed by something that may have removed elements: it is deleted if it is
/// empty, and packed if it has become small.
pub(super) fn settle(ctx: &mut Ctx<'_>, pos: Pos, key: &[u8]) {
    let (limit, db) = (limit(ctx), ctx.caller.db);
    let Some(place) = ctx.shard.locate(db, pos, key) else {
        return;
    };
    let mut entry = ctx.shard.at(db, place);
    if List::of(entry.value()).is_empty() {
        ctx.shard.remove(ctx.caller, pos, key);
        ctx.shard.changed(db, pos, key, EventClass::Generic, "del");
    } else {
        shrink(&mut entry, limit);
    }
}

/// The list under a key, for writing; a key of another type is the client's error.
#[inline]
pub(super) fn write<'a>(
    ctx: &'a mut Ctx<'_>,
    pos: Pos,
    key: &[u8],
) -> Result<Option<EntryMut<'a>>, Error> {
    ctx.shard.write_kind(ctx.caller, pos, key, Kind::List)
}
