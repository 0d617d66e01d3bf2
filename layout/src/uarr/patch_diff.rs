//! The search for a short patch between two values.
//!
//! Invariant: the operations, applied in order, give exactly the new value, order of names
//! included. Where no fine change is known to do so, the value is set as a whole.

use super::spec::patch_operation::{APPEND, ARRAY_SET, DELETE, SET};
use super::value::{Array, Value, element_slot, scalar};

/// Appends the operations that turn `old` into `new`, both at `path`.
pub(crate) fn diff_values(
    old: &Value,
    new: &Value,
    path: &mut Vec<Value>,
    operations: &mut Vec<Value>,
) {
    let before = operations.len();
    let is_done = match (old, new) {
        _ if is_same(old, new) => true,
        (Value::Object(old), Value::Object(new)) => diff_objects(old, new, path, operations),
        (Value::List(old), Value::List(new)) => diff_lists(old, new, path, operations),
        (Value::Array(old), Value::Array(new)) => diff_arrays(old, new, path, operations),
        _ => false,
    };
    if !is_done {
        operations.truncate(before);
        operations.push(operation(SET, path, Some(new.clone())));
    }
}

/// Equal as records: `Value` equality knows no difference that the format has.
fn is_same(old: &Value, new: &Value) -> bool {
    old == new
}

fn operation(op: i64, path: &[Value], value: Option<Value>) -> Value {
    let mut parts = vec![Value::Int(op), Value::List(path.to_vec())];
    parts.extend(value);
    Value::List(parts)
}

fn at_step(path: &mut Vec<Value>, step: Value, then: impl FnOnce(&mut Vec<Value>)) {
    path.push(step);
    then(path);
    path.pop();
}

type Field = (String, Value);

fn diff_objects(
    old: &[Field],
    new: &[Field],
    path: &mut Vec<Value>,
    operations: &mut Vec<Value>,
) -> bool {
    let find = |fields: &[Field], name: &str, guess: usize| {
        if fields.get(guess).is_some_and(|field| field.0 == name) {
            return Some(guess);
        }
        fields.iter().position(|field| field.0 == name)
    };
    // Names that stay must stay in order, and in front of those that are new.
    let (mut is_new_seen, mut last) = (false, None);
    let mut places = Vec::with_capacity(new.len());
    for (guess, (name, _)) in new.iter().enumerate() {
        let place = find(old, name, guess);
        places.push(place);
        match place {
            None => is_new_seen = true,
            Some(place) if is_new_seen || Some(place) < last => return false,
            Some(_) => last = place,
        }
    }
    let mut is_kept = vec![false; old.len()];
    places.iter().flatten().for_each(|place| is_kept[*place] = true);
    for ((name, _), _) in old.iter().zip(&is_kept).filter(|(_, kept)| !**kept) {
        at_step(path, Value::from(name.as_str()), |path| {
            operations.push(operation(DELETE, path, None));
        });
    }
    for ((name, value), place) in new.iter().zip(places) {
        at_step(path, Value::from(name.as_str()), |path| match place {
            Some(place) => diff_values(&old[place].1, value, path, operations),
            None => operations.push(operation(SET, path, Some(value.clone()))),
        });
    }
    true
}

fn diff_lists(
    old: &[Value],
    new: &[Value],
    path: &mut Vec<Value>,
    operations: &mut Vec<Value>,
) -> bool {
    let common = old.len().min(new.len());
    let changed = old.iter().zip(new).filter(|(old, new)| !is_same(old, new)).count();
    let removed = old.len() - common;
    if (changed + removed) * 2 > old.len() {
        return false;
    }
    for (index, (old, new)) in old.iter().zip(new).enumerate() {
        at_step(path, Value::Int(index as i64), |path| {
            diff_values(old, new, path, operations);
        });
    }
    for index in (common..old.len()).rev() {
        at_step(path, Value::Int(index as i64), |path| {
            operations.push(operation(DELETE, path, None));
        });
    }
    if new.len() > common {
        let more = Value::List(new[common..].to_vec());
        operations.push(operation(APPEND, path, Some(more)));
    }
    true
}

fn diff_arrays(
    old: &Array,
    new: &Array,
    path: &mut Vec<Value>,
    operations: &mut Vec<Value>,
) -> bool {
    let (a, b) = (old.as_array(), new.as_array());
    let width = if a.is_empty() { 1 } else { a.bytes().len() / a.len() };
    if old.tag() != new.tag() || b.len() < a.len() || a.is_empty() {
        return false;
    }
    let pairs = a.bytes().chunks(width).zip(b.bytes().chunks(width)).enumerate();
    let changed: Vec<usize> = pairs.filter(|(_, (a, b))| a != b).map(|(at, _)| at).collect();
    if changed.len() * 8 > a.len() {
        return false;
    }
    for index in changed {
        let Some(element) = b.get(index).map(|item| scalar(&item)) else { return false };
        let start = index * width;
        // A NaN may not survive being widened and narrowed.
        let is_exact = element_slot(new.tag(), &element)
            .is_some_and(|slot| slot.to_le_bytes()[..width] == b.bytes()[start..start + width]);
        if !is_exact {
            return false;
        }
        at_step(path, Value::Int(index as i64), |path| {
            operations.push(operation(ARRAY_SET, path, Some(element)));
        });
    }
    if b.len() > a.len() {
        let more = Value::Array(new.tail(a.len()));
        operations.push(operation(APPEND, path, Some(more)));
    }
    true
}
