//! Kinds that serde does not know, passed through it as newtypes with names of our own.
//!
//! Invariant: other formats see the plain content; only our serializer gives the names a meaning.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::uarr::builder::{Id128, Nanoseconds, Node, Time};

pub(super) const TIME: &str = "$uarr::Time";
pub(super) const DURATION: &str = "$uarr::Nanoseconds";
pub(super) const NODE: &str = "$uarr::Node";
pub(super) const ID128: &str = "$uarr::Id128";

macro_rules! newtypes {
    ($($kind:ident($content:ty) = $name:expr;)*) => { $(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_newtype_struct($name, &self.0)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Content;

                impl<'de> Visitor<'de> for Content {
                    type Value = $kind;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(stringify!($kind))
                    }

                    fn visit_newtype_struct<D: Deserializer<'de>>(
                        self,
                        deserializer: D,
                    ) -> Result<$kind, D::Error> {
                        <$content>::deserialize(deserializer).map($kind)
                    }
                }

                deserializer.deserialize_newtype_struct($name, Content)
            }
        }
    )* };
}

newtypes! {
    Time(i64) = TIME;
    Nanoseconds(i64) = DURATION;
    Node(u64) = NODE;
}

/// Sixteen bytes that serialize as bytes.
struct Raw<'v>(&'v [u8; 16]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Id128 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(ID128, &Raw(&self.0))
    }
}

impl<'de> Deserialize<'de> for Id128 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Content;

        impl Visitor<'_> for Content {
            type Value = Id128;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sixteen bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Id128, E> {
                let sixteen = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self));
                sixteen.map(Id128)
            }
        }

        deserializer.deserialize_bytes(Content)
    }
}
