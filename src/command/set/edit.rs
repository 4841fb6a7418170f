//! Changing a set in its entry, and its form where it crosses a limit.
use crate::command::context::Ctx;
use crate::keyspace::{EntryMut, Expiry, Hasher, Kind, NewValue, Object, Value, parse_int};
use crate::resp::number::I64_TEXT_MAX;
use crate::server::config::Config;
use crate::types::members::MemberSet;
use crate::types::packed::{self, Block, Element, Packed};
use crate::types::set::intset::{self, Intset};
use crate::types::set::{Form, LargeSet, Limits, Set};

/// The limits of a shard's configuration.
#[inline]
pub(super) fn limits(config: &Config) -> Limits {
    Limits {
        intset_entries: config.set_max_intset_entries,
        listpack_entries: config.set_max_listpack_entries,
        listpack_value: config.set_max_listpack_value,
    }
}

/// The hasher of tables.
#[inline]
pub(super) fn hasher(ctx: &Ctx<'_>) -> Hasher {
    *ctx.shard.keyspace.db(usize::from(ctx.caller.db)).hasher()
}

/// Members that are prefetched together.
const GROUP_MEMBERS: usize = 16;

#[inline]
fn large(object: &mut dyn Object) -> &mut LargeSet {
    let set = object.as_any_mut().downcast_mut();
    set.expect("the entry holds a set")
}

/// The form that a new set starts in, to which so many members are to be added.
fn first_form(first: &[u8], members: usize, limits: Limits) -> Form {
    if parse_int(first).is_some() && members as u64 <= limits.intset_entries {
        Form::Intset
    } else if members as u64 <= limits.listpack_entries {
        Form::Listpack
    } else {
        Form::Table
    }
}

/// Gives a new set's value, without members or with its only one, to `store`; true if the only
/// member is in it.
pub(super) fn start(
    members: &[&[u8]],
    limits: Limits,
    hasher: Hasher,
    store: impl FnOnce(NewValue<'_>),
) -> bool {
    /// Longest member that is packed on the stack.
    const SHORT_BYTES_MAX: usize = 64;
    let only = match members {
        [only] => Some(*only),
        _ => None,
    };
    match first_form(members[0], members.len(), limits) {
        Form::Intset => match only.and_then(parse_int) {
            Some(int) => {
                let (bytes, len) = intset::single(int);
                store(NewValue::Packed(Kind::Set, &bytes[..len]));
                return true;
            }
            None => store(NewValue::Packed(Kind::Set, &intset::of_sorted(&[]))),
        },
        Form::Listpack => match only {
            Some(text)
                if text.len() <= SHORT_BYTES_MAX && text.len() as u64 <= limits.listpack_value =>
            {
                let element = Element::of(text);
                let mut bytes = [0; packed::HEAD_BYTES + SHORT_BYTES_MAX + 16];
                bytes[0] = 1;
                let end = packed::HEAD_BYTES + element.write(&mut bytes[packed::HEAD_BYTES..]);
                store(NewValue::Packed(Kind::Set, &bytes[..end]));
                return true;
            }
            _ => store(NewValue::Packed(Kind::Set, &packed::EMPTY)),
        },
        Form::Table => store(NewValue::Object(Box::new(LargeSet {
            members: MemberSet::new(hasher),
            form: Form::Table,
        }))),
    }
    false
}

/// Adds members; how many are new.
pub(super) fn add(
    entry: &mut EntryMut<'_>,
    members: &[&[u8]],
    limits: Limits,
    hasher: Hasher,
) -> usize {
    let mut added = 0;
    let mut rest = members;
    if let Value::Packed(_, bytes) = entry.value() {
        let most = if intset::is_intset(bytes) {
            limits.intset_entries
        } else {
            limits.listpack_entries
        };
        if members.len() as u64 > most {
            make_table(entry, Form::Table, hasher);
        }
    }
    while let [member, tail @ ..] = rest {
        if let Value::Object(_) = entry.value() {
            let more = entry.edit_object(|object| add_large(large(object), rest, limits));
            return added + more.expect("it is an object");
        }
        match add_small(entry, member, limits) {
            Ok(new) => {
                added += usize::from(new);
                rest = tail;
            }
            Err(form) => make_table(entry, form, hasher),
        }
    }
    added
}

/// Adds a member to a set inside its entry; whether it is new, or else the form that the set has to
/// become a table for.
fn add_small(entry: &mut EntryMut<'_>, member: &[u8], limits: Limits) -> Result<bool, Form> {
    let mut block = entry.edit_packed();
    let bytes = block.block();
    if intset::is_intset(bytes) {
        let set = Intset::new(bytes);
        let Some(int) = parse_int(member) else {
            return add_text_to_ints(entry, member, limits);
        };
        if set.find(int).is_ok() {
            return Ok(false);
        }
        if set.len() as u64 >= limits.intset_entries {
            return Err(Form::Table);
        }
        // One more of the widest kind.
        if (set.len() + 2) * 8 > packed::ENTRY_BYTES_MAX {
            return Err(Form::Intset);
        }
        return Ok(intset::insert(&mut block, int));
    }
    let set = Packed::new(bytes);
    let element = Element::of(member);
    if set.find(element, set.start(), 1).is_some() {
        return Ok(false);
    }
    if set.len() as u64 >= limits.listpack_entries || member.len() as u64 > limits.listpack_value {
        return Err(Form::Table);
    }
    if !packed::has_room(set, element.packed_bytes(), 1) {
        return Err(Form::Listpack);
    }
    packed::push(&mut block, &[element]);
    Ok(true)
}

/// Adds what is no number to integers: they are packed first, if the limits allow it.
fn add_text_to_ints(entry: &mut EntryMut<'_>, member: &[u8], limits: Limits) -> Result<bool, Form> {
    let mut packed = packed::EMPTY.to_vec();
    {
        let block = entry.edit_packed();
        let set = Intset::new(block.block());
        let longest = |index: usize| Element::Int(set.get(index)).text_len() as u64;
        let fits =
            set.is_empty() || longest(0).max(longest(set.len() - 1)) <= limits.listpack_value;
        if set.len() as u64 >= limits.listpack_entries
            || member.len() as u64 > limits.listpack_value
            || !fits
        {
            return Err(Form::Table);
        }
        for int in set.iter() {
            packed::push(&mut packed, &[Element::Int(int)]);
        }
    }
    let element = Element::of(member);
    if !packed::has_room(Packed::new(&packed), element.packed_bytes(), 1) {
        return Err(Form::Listpack);
    }
    packed::push(&mut packed, &[element]);
    entry.set(NewValue::Packed(Kind::Set, &packed), Expiry::Keep);
    Ok(true)
}

/// Moves a set from its entry into a table.
fn make_table(entry: &mut EntryMut<'_>, form: Form, hasher: Hasher) {
    let mut members = MemberSet::new(hasher);
    let mut text = [0; I64_TEXT_MAX];
    Set::of(entry.value()).for_each(|member| {
        members.insert(member.text(&mut text));
    });
    let set = Box::new(LargeSet { members, form });
    entry.set(NewValue::Object(set), Expiry::Keep);
}

/// Adds members to a table; how many are new.
fn add_large(set: &mut LargeSet, members: &[&[u8]], limits: Limits) -> usize {
    let before = set.members.len();
    if let [member] = members {
        set.members.insert(member);
        note_form(set, member, limits);
        return set.members.len() - before;
    }
    for group in members.chunks(GROUP_MEMBERS) {
        let mut hashes = [0; GROUP_MEMBERS];
        for (member, hash) in group.iter().zip(&mut hashes) {
            *hash = set.members.hash(member);
            set.members.prefetch_segment(*hash);
        }
        let found = &hashes[..group.len()];
        found
            .iter()
            .for_each(|hash| set.members.prefetch_tags(*hash));
        for (member, hash) in group.iter().zip(hashes) {
            set.members.insert_hashed(hash, member);
            note_form(set, member, limits);
        }
    }
    set.members.len() - before
}

/// Gives a table its form after a member has come in.
#[inline]
fn note_form(set: &mut LargeSet, member: &[u8], limits: Limits) {
    if set.form != Form::Table {
        change_form(set, member, limits);
    }
}

#[cold]
fn change_form(set: &mut LargeSet, member: &[u8], limits: Limits) {
    let len = set.members.len() as u64;
    let is_int = parse_int(member).is_some();
    if set.form == Form::Intset && is_int {
        if len > limits.intset_entries {
            set.form = Form::Table;
        }
    } else if len > limits.listpack_entries || member.len() as u64 > limits.listpack_value {
        set.form = Form::Table;
    } else {
        set.form = Form::Listpack;
    }
}

/// Removes members; how many were there, and how many are left.
pub(super) fn remove(entry: &mut EntryMut<'_>, members: &[&[u8]]) -> (usize, usize) {
    let mut removed = 0;
    if let Value::Object(_) = entry.value() {
        let left = entry.edit_object(|object| {
            let set = large(object);
            for member in members {
                removed += usize::from(set.members.remove(member));
            }
            set.members.len()
        });
        return (removed, left.expect("it is an object"));
    }
    let mut block = entry.edit_packed();
    for member in members {
        removed += usize::from(remove_small(&mut block, member));
    }
    let left = Set::of(Value::Packed(Kind::Set, block.block())).len();
    (removed, left)
}

fn remove_small(block: &mut impl Block, member: &[u8]) -> bool {
    if intset::is_intset(block.block()) {
        let set = Intset::new(block.block());
        let Some(Ok(index)) = parse_int(member).map(|int| set.find(int)) else {
            return false;
        };
        intset::remove_at(block, index);
        return true;
    }
    let set = Packed::new(block.block());
    let Some(at) = set.find(Element::of(member), set.start(), 1) else {
        return false;
    };
    packed::remove(block, at, 1);
    true
}

/// Takes `count` random members out, fewer than there are, after `visit` has seen each; how many are
/// left.
pub(super) fn take_random(
    entry: &mut EntryMut<'_>,
    count: usize,
    random: &mut impl FnMut() -> u64,
    mut visit: impl FnMut(Element<'_>),
) -> usize {
    let left = entry.edit_object(|object| {
        let set = large(object);
        for _ in 0..count {
            let at = set
                .members
                .draw(&mut *random)
                .expect("fewer than there are");
            visit(Element::Bytes(set.members.at(at).key));
            set.members.remove_at(at);
        }
        set.members.len()
    });
    if let Some(left) = left {
        return left;
    }
    let mut block = entry.edit_packed();
    for _ in 0..count {
        let set = Set::of(Value::Packed(Kind::Set, block.block()));
        let index = crate::types::members::below(random, set.len());
        match set {
            Set::Ints(set) => {
                visit(Element::Int(set.get(index)));
                intset::remove_at(&mut block, index);
            }
            Set::Packed(set) => {
                let at = set
                    .nth(index)
                    .expect("an index below the number of members");
                visit(set.get(at));
                packed::remove(&mut block, at, 1);
            }
            Set::Large(_) => unreachable!("it is in its entry"),
        }
    }
    Set::of(Value::Packed(Kind::Set, block.block())).len()
}
