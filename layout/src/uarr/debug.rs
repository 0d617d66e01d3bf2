//! Typed notation: what `{:?}` prints. Unlike JSON it shows every type.
//!
//! `7` int, `7u` unsigned beyond `i64`, `7.0` double, `@42` and `@"name"` references,
//! `time(..)`, `duration(..ns)`, `0x00ff` bytes, `big(..)`, `dec(..)`, `id(..)`, `f32[1.0, 2.0]`
//! typed arrays, `[1, "x"]` lists, `{"a": 1}` objects; `<rule at byte>` where a record that was not
//! validated is damaged.

use std::fmt::{self, Debug, Formatter, Write};

use super::array_ref::ArrayRef;
use super::json_write::{write_elements, write_string};
use super::number::BigInt;
use super::reference::UArrRef;
use super::text::{write_time, write_uuid};
use super::view::{Budget, View};

impl Debug for UArrRef<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_typed(f, self, &mut Budget::new(self))
    }
}

fn write_typed(f: &mut Formatter<'_>, value: &UArrRef<'_>, budget: &mut Budget) -> fmt::Result {
    let view = match budget.pay(value).and_then(|()| value.view()) {
        Ok(view) => view,
        Err(error) => return write!(f, "<{} at {}>", error.rule(), error.offset()),
    };
    match view {
        View::Null => f.write_str("null"),
        View::Undefined => f.write_str("undefined"),
        View::Bool(flag) => write!(f, "{flag}"),
        View::Int(number) => write!(f, "{number}"),
        View::Uint(number) => write!(f, "{number}u"),
        View::F64(number) => write!(f, "{number:?}"),
        View::Time(nanoseconds) => {
            f.write_str("time(")?;
            write_time(f, nanoseconds)?;
            f.write_char(')')
        }
        View::Duration(nanoseconds) => write!(f, "duration({nanoseconds}ns)"),
        View::Node(id) => write!(f, "@{id}"),
        View::NodeName(name) => {
            f.write_char('@')?;
            write_string(f, name)
        }
        View::Str(text) => write_string(f, text),
        View::Bytes(bytes) => {
            f.write_str("0x")?;
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        }
        View::BigInt(bytes) => write!(f, "big({})", BigInt::from_le_bytes(bytes)),
        View::Id128(bytes) => {
            f.write_str("id(")?;
            write_uuid(f, bytes)?;
            f.write_char(')')
        }
        View::Decimal(number) => write!(f, "dec({number})"),
        View::Array(array) => write_array(f, &array),
        View::List(_) | View::Object(_) => {
            if let Err(error) = budget.enter(value) {
                return write!(f, "<{} at {}>", error.rule(), error.offset());
            }
            write_container(f, value, budget)?;
            budget.leave();
            Ok(())
        }
    }
}

fn write_array(f: &mut Formatter<'_>, array: &ArrayRef<'_>) -> fmt::Result {
    write!(f, "{}[", array.element_name())?;
    let double = |f: &mut Formatter<'_>, number: f64| write!(f, "{number:?}");
    let single = |f: &mut Formatter<'_>, number: f32| write!(f, "{number:?}");
    write_elements(f, array, ", ", double, single)?;
    f.write_char(']')
}

fn write_container(f: &mut Formatter<'_>, value: &UArrRef<'_>, budget: &mut Budget) -> fmt::Result {
    if value.tag() == super::spec::tag::LIST {
        f.write_char('[')?;
        for (index, item) in value.iter().enumerate() {
            f.write_str(if index > 0 { ", " } else { "" })?;
            write_typed(f, &item, budget)?;
        }
        return f.write_char(']');
    }
    f.write_char('{')?;
    let mut entries = value.entries();
    let mut gap = "";
    while let Some(entry) = entries.try_next() {
        f.write_str(gap)?;
        gap = ", ";
        match entry {
            Ok((name, field)) => {
                write_string(f, name)?;
                f.write_str(": ")?;
                write_typed(f, &field, budget)?;
            }
            Err(error) => {
                write!(f, "<{} at {}>", error.rule(), error.offset())?;
                break;
            }
        }
    }
    f.write_char('}')
}
