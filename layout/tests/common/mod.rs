//! Random values and damaged records from a seed.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use uarr_layout::uarr::{Array, BigInt, Decimal, Value};

/// Long tests do so many times less under Miri, which is some ten thousand times slower.
pub const SCALE: usize = if cfg!(miri) { 500 } else { 1 };

/// Pseudo-random numbers: xorshift with a multiplied output.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

/// Doubles of every class.
pub const DOUBLES: [u64; 12] = [
    0,
    0x8000_0000_0000_0000,
    0x3FF0_0000_0000_0000,
    0x7FF0_0000_0000_0000,
    0xFFF0_0000_0000_0000,
    0x7FF8_0000_0000_0000,
    0x7FF0_0000_0000_0001,
    0xFFF8_0000_DEAD_BEEF,
    0x0000_0000_0000_0001,
    0x7E37_E43C_8800_759C,
    0x4340_0000_0000_0000,
    0xBFB9_9999_9999_999A,
];

const TEXTS: [&str; 10] = [
    "",
    "a",
    "ab\u{e9}",
    "seven77",
    "eight888",
    "nine chars",
    "\u{1F600}",
    "snow \u{2603} man",
    "quote \" back \\ slash \n",
    "a longer text that does not fit into any slot",
];

pub fn text(random: &mut Random) -> String {
    TEXTS[random.below(TEXTS.len())].to_owned()
}

fn integer(random: &mut Random) -> i64 {
    let shift = random.below(64);
    (random.next() as i64) >> shift
}

fn array(random: &mut Random) -> Array {
    let count = random.below(6);
    let raw: Vec<u64> = (0..count).map(|_| random.next()).collect();
    macro_rules! of {
        ($kind:ty) => {
            Array::new(&raw.iter().map(|bits| *bits as $kind).collect::<Vec<_>>())
        };
    }
    match random.below(10) {
        0 => of!(i8),
        1 => of!(u8),
        2 => of!(i16),
        3 => of!(u16),
        4 => of!(i32),
        5 => of!(u32),
        6 => of!(i64),
        7 => of!(u64),
        8 => Array::new(&raw.iter().map(|b| f32::from_bits(*b as u32)).collect::<Vec<_>>()),
        _ => Array::new(&raw.iter().map(|b| f64::from_bits(*b)).collect::<Vec<_>>()),
    }
}

/// A value of any kind, nested at most `depth` times.
pub fn value(random: &mut Random, depth: usize) -> Value {
    let kinds = if depth == 0 { 16 } else { 22 };
    match random.below(kinds) {
        0 => Value::Null,
        1 => Value::Undefined,
        2 => Value::Bool(random.one_in(2)),
        3 | 4 => Value::Int(integer(random)),
        5 => Value::Uint(random.next() | 1 << 63),
        6 => Value::F64(f64::from_bits(DOUBLES[random.below(DOUBLES.len())])),
        7 => Value::Time(integer(random)),
        8 => Value::Duration(integer(random)),
        9 => Value::Node(random.next()),
        10 => Value::NodeName(format!("node {}", random.below(100))),
        11 => Value::Id128(u128::from(random.next()).to_le_bytes()),
        12 => Value::Bytes((0..random.below(20)).map(|_| random.next() as u8).collect()),
        13 => match random.below(3) {
            0 => Value::BigInt(BigInt::from(i128::from(integer(random)) << 64)),
            1 => Value::BigInt(BigInt::from(u128::MAX - u128::from(random.next()))),
            _ => Decimal::new(i128::from(integer(random)), random.next() as i8 >> 1)
                .map_or(Value::Null, Value::Decimal),
        },
        14 => Value::Array(array(random)),
        15 => Value::Str(text(random)),
        16 | 17 => Value::List((0..random.below(5)).map(|_| value(random, depth - 1)).collect()),
        18 if depth > 2 && random.one_in(8) => {
            let count = 120 + random.below(30);
            Value::Object((0..count).map(|i| (format!("n{i}"), value(random, 0))).collect())
        }
        _ => object(random, depth),
    }
}

pub fn object(random: &mut Random, depth: usize) -> Value {
    let mut object = Value::Object(Vec::new());
    for _ in 0..random.below(7) {
        let name = if random.one_in(3) {
            text(random)
        } else {
            ["id", "name", "pos", "x", "y", "a rather long name", ""][random.below(7)].to_owned()
        };
        object.insert(&name, value(random, depth - 1));
    }
    object
}

/// Damages a record: bits, bytes, words, moved and repeated parts, small numbers in header fields
/// and slots. The checksum is not repaired.
pub fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let len = bytes.len();
        if len == 0 {
            return;
        }
        let at = random.below(len);
        match random.below(12) {
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = random.next() as u8,
            3 => bytes[at] = bytes[at].wrapping_add(1),
            4 => bytes[at] = bytes[at].wrapping_sub(1),
            5 => {
                let word = at & !7;
                let step = (random.below(9) as i64 - 4) * 8;
                add(bytes, word, step as u64);
            }
            6 => {
                let half = at & !3;
                add32(bytes, half, (random.below(33) as u32).wrapping_sub(16));
            }
            7 => {
                let from = random.below(len);
                let count = random.below(24).min(len - at.max(from));
                bytes.copy_within(from..from + count, at);
            }
            8 => {
                let word = (at & !7)..((at & !7) + 8).min(len);
                let other = random.below(len) & !7;
                for (i, place) in word.enumerate() {
                    if other + i < len {
                        bytes.swap(place, other + i);
                    }
                }
            }
            9 => {
                let tags = [0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x36, 0x38, 0x40, 0x41, 0x10, 0x04];
                bytes[at] = tags[random.below(tags.len())];
            }
            10 => {
                bytes.truncate(len - random.below(9).min(len));
                set_len(bytes);
            }
            _ => {
                bytes.resize(len + 8, 0);
                set_len(bytes);
            }
        }
    }
}

fn set_len(bytes: &mut [u8]) {
    let len = bytes.len() as u32;
    if let Some(place) = bytes.get_mut(12..16) {
        place.copy_from_slice(&len.to_le_bytes());
    }
}

fn add(bytes: &mut [u8], at: usize, more: u64) {
    if let Some(place) = bytes.get_mut(at..at + 8) {
        let word = u64::from_le_bytes((&*place).try_into().expect("eight bytes"));
        place.copy_from_slice(&word.wrapping_add(more).to_le_bytes());
    }
}

fn add32(bytes: &mut [u8], at: usize, more: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        let word = u32::from_le_bytes((&*place).try_into().expect("four bytes"));
        place.copy_from_slice(&word.wrapping_add(more).to_le_bytes());
    }
}
