//! Rust collections as values.
//!
//! | Rust | record |
//! |---|---|
//! | slices, arrays and vectors of numbers | typed array of that type |
//! | those of other types | list |
//! | maps | object; an unordered one in the order of its names, so equal maps give equal bytes |
//! | `Box`, `Rc`, `Arc`, `Cow` | what is inside |

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::builder::Encode;
use super::encode::Encoder;

impl<T: Encode> Encode for [T] {
    #[inline]
    fn encode(&self, encoder: &mut Encoder) {
        T::encode_all(self, encoder);
    }
}

impl<T: Encode> Encode for Vec<T> {
    #[inline]
    fn encode(&self, encoder: &mut Encoder) {
        T::encode_all(self, encoder);
    }
}

impl<T: Encode, const N: usize> Encode for [T; N] {
    #[inline]
    fn encode(&self, encoder: &mut Encoder) {
        T::encode_all(self, encoder);
    }
}

macro_rules! encode_inside {
    ($([$($generics:tt)*] $owner:ty;)*) => { $(
        impl<$($generics)*> Encode for $owner {
            #[inline]
            fn encode(&self, encoder: &mut Encoder) {
                (**self).encode(encoder);
            }
        }
    )* };
}

encode_inside! {
    [T: Encode + ?Sized] Box<T>;
    [T: Encode + ?Sized] Rc<T>;
    [T: Encode + ?Sized] Arc<T>;
    [T: Encode + ToOwned + ?Sized] Cow<'_, T>;
}

impl<N: AsRef<str>, V: Encode> Encode for BTreeMap<N, V> {
    fn encode(&self, encoder: &mut Encoder) {
        encode_fields(self.iter().map(|(name, value)| (name.as_ref(), value)), encoder);
    }
}

impl<N: AsRef<str>, V: Encode, S> Encode for HashMap<N, V, S> {
    fn encode(&self, encoder: &mut Encoder) {
        let mut fields: Vec<_> = self.iter().map(|(name, value)| (name.as_ref(), value)).collect();
        fields.sort_unstable_by_key(|(name, _)| *name);
        encode_fields(fields.into_iter(), encoder);
    }
}

fn encode_fields<'v, V: Encode + 'v>(
    fields: impl Iterator<Item = (&'v str, &'v V)>,
    encoder: &mut Encoder,
) {
    encoder.begin_object();
    for (name, value) in fields {
        encoder.name(name);
        value.encode(encoder);
    }
    encoder.end_object();
}
