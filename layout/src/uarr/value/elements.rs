//! Values as elements of typed arrays, and elements as values.

use super::Value;
use super::array::Array;
use crate::uarr::reference::UArrRef;
use crate::uarr::spec::tag;
use crate::uarr::view::View;

impl Array {
    /// Replaces an element. False, and nothing done, if there is none or the type cannot hold it.
    pub(crate) fn set(&mut self, index: usize, value: &Value) -> bool {
        let slot = element_slot(self.tag(), value);
        let (Some(slot), Some(target)) = (slot, self.element_mut(index)) else { return false };
        let width = target.len();
        target.copy_from_slice(&slot.to_le_bytes()[..width]);
        true
    }
}

/// The low bytes of `value` as an element of a typed array, `None` if the type cannot hold it
/// exactly.
pub(crate) fn element_slot(array_tag: u8, value: &Value) -> Option<u64> {
    let limits = match array_tag {
        tag::ARRAY_I8 => i128::from(i8::MIN)..=i128::from(i8::MAX),
        tag::ARRAY_U8 => 0..=i128::from(u8::MAX),
        tag::ARRAY_I16 => i128::from(i16::MIN)..=i128::from(i16::MAX),
        tag::ARRAY_U16 => 0..=i128::from(u16::MAX),
        tag::ARRAY_I32 => i128::from(i32::MIN)..=i128::from(i32::MAX),
        tag::ARRAY_U32 => 0..=i128::from(u32::MAX),
        tag::ARRAY_I64 => i128::from(i64::MIN)..=i128::from(i64::MAX),
        tag::ARRAY_U64 => 0..=i128::from(u64::MAX),
        // Doubles and references take no integers.
        _ => return other_element_slot(array_tag, value),
    };
    value.small_integer().filter(|number| limits.contains(number)).map(|number| number as u64)
}

fn other_element_slot(array_tag: u8, value: &Value) -> Option<u64> {
    match (array_tag, value) {
        (tag::ARRAY_F64, Value::F64(number)) => Some(number.to_bits()),
        (tag::ARRAY_F32, Value::F64(number)) => {
            let narrow = *number as f32;
            let is_exact = f64::from(narrow).to_bits() == number.to_bits();
            is_exact.then_some(u64::from(narrow.to_bits()))
        }
        (tag::ARRAY_NODE, Value::Node(id)) => Some(*id),
        _ => None,
    }
}

/// An element of a typed array as a value.
pub(crate) fn scalar(value: &UArrRef<'_>) -> Value {
    match value.view() {
        Ok(View::Int(number)) => Value::Int(number),
        Ok(View::Uint(number)) => Value::Uint(number),
        Ok(View::Node(id)) => Value::Node(id),
        Ok(View::F64(number)) => Value::F64(number),
        _ => Value::Null,
    }
}
