//! The categories of JSON conformance, written from RFC 8259: texts that must be accepted, texts
//! that must be rejected, and those the RFC leaves to the implementation.
#![cfg(feature = "json")]

use uarr_layout::uarr::{BuildError, JsonError, JsonErrorKind as Kind, UArrRef, from_json};

/// Accepted, with the text it is written back as.
fn accepts(text: &str, expected: &str) {
    let record = from_json(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let value = UArrRef::validate(&record).expect("what is read is valid");
    assert_eq!(value.to_string(), expected, "{text}");
    assert_eq!(from_json(expected).as_ref(), Ok(&record), "{text}: written and read again");
    let mut written = Vec::new();
    value.write_json(&mut written).expect("a vector takes all");
    assert_eq!(written, expected.as_bytes());
}

fn rejects(text: impl AsRef<[u8]>, kind: Kind, offset: usize) {
    let error = from_json(&text).expect_err(&format!("{:?}", text.as_ref().escape_ascii()));
    assert_eq!((error.kind, error.offset), (kind, offset), "{}", text.as_ref().escape_ascii());
}

#[test]
fn valid_structure() {
    accepts("null", "null");
    accepts(" \t\r\n true \n", "true");
    accepts("false", "false");
    accepts("[]", "[]");
    accepts("[ ]", "[]");
    accepts("{}", "{}");
    accepts("[[], [[]], {}]", "[[],[[]],{}]");
    accepts("[null, 1, \"1\", {}]", "[null,1,\"1\",{}]");
    accepts("{\"a\":[],\"\":0}", "{\"a\":[],\"\":0}");
    accepts("{\"a\":{\"a\":{\"a\":null}}}", "{\"a\":{\"a\":{\"a\":null}}}");
    accepts("[1 , 2]", "[1,2]");
    let deep = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    accepts(&deep, &deep);
}

#[test]
fn valid_numbers() {
    for text in ["0", "1", "-1", "123", "9223372036854775807", "-9223372036854775808"] {
        accepts(text, text);
    }
    for text in ["9223372036854775808", "18446744073709551615", "18446744073709551616"] {
        accepts(text, text);
    }
    accepts("-9223372036854775809", "-9223372036854775809");
    let digits = "1234567890".repeat(100);
    accepts(&digits, &digits);
    accepts("-0", "-0.0");
    accepts("-0.0", "-0.0");
    accepts("0.0", "0.0");
    accepts("1.0", "1.0");
    accepts("1e2", "100.0");
    accepts("1E+2", "100.0");
    accepts("1e-2", "0.01");
    accepts("0e1", "0.0");
    accepts("1.5e300", "1.5e300");
    accepts("5e-324", "5e-324");
    accepts("2.2250738585072011e-308", "2.225073858507201e-308");
    accepts("0.1", "0.1");
    accepts("9007199254740993.0", "9007199254740992.0");
    accepts("1e-400", "0.0");
    accepts("0.10000000000000000000000000000000000000001", "0.1");
}

#[test]
fn valid_strings() {
    accepts(r#""""#, r#""""#);
    accepts(r#""\"\\\/\b\f\n\r\t""#, r#""\"\\/\b\f\n\r\t""#);
    accepts(r#""\u0041\u00e9\u2603""#, "\"A\u{e9}\u{2603}\"");
    accepts(r#""\ud83d\ude00 \uD83D\uDE00""#, "\"\u{1F600} \u{1F600}\"");
    accepts(r#""\u0000\u001f""#, r#""\u0000\u001f""#);
    accepts("\"\u{7f}\u{2028}\u{10ffff}\u{fffe}\"", "\"\u{7f}\u{2028}\u{10ffff}\u{fffe}\"");
    accepts(r#"{"\u0061":1,"\n":2}"#, r#"{"a":1,"\n":2}"#);
    accepts(r#"["a \\u0041"]"#, r#"["a \\u0041"]"#);
}

#[test]
fn invalid_structure() {
    for (text, kind, offset) in [
        ("", Kind::End, 0),
        (" ", Kind::End, 1),
        ("[", Kind::End, 1),
        ("[1", Kind::End, 2),
        ("[1,", Kind::End, 3),
        ("{", Kind::End, 1),
        ("{\"a\"", Kind::End, 4),
        ("{\"a\":", Kind::End, 5),
        ("{\"a\":1", Kind::End, 6),
        ("{\"a\":1,", Kind::End, 7),
        ("[1,]", Kind::Value, 3),
        ("[,1]", Kind::Value, 1),
        ("[1,,2]", Kind::Value, 3),
        ("[1 2]", Kind::Comma, 3),
        ("[1}", Kind::Comma, 2),
        ("{\"a\":1]", Kind::Comma, 6),
        ("{,}", Kind::Name, 1),
        ("{\"a\":1,}", Kind::Name, 7),
        ("{a:1}", Kind::Name, 1),
        ("{'a':1}", Kind::Name, 1),
        ("{1:1}", Kind::Name, 1),
        ("{\"a\" 1}", Kind::Colon, 5),
        ("{\"a\",1}", Kind::Colon, 4),
        ("{\"a\"::1}", Kind::Value, 5),
        ("]", Kind::Value, 0),
        ("1 2", Kind::Trailing, 2),
        ("{}}", Kind::Trailing, 2),
        ("[]]", Kind::Trailing, 2),
        ("nul", Kind::End, 3),
        ("nulL", Kind::Value, 3),
        ("True", Kind::Value, 0),
        ("undefined", Kind::Value, 0),
        ("NaN", Kind::Value, 0),
        ("// c\n1", Kind::Value, 0),
        ("[1/*c*/]", Kind::Comma, 2),
        ("\u{b}1", Kind::Value, 0),
        ("\u{feff}1", Kind::Value, 0),
        ("\u{a0}1", Kind::Value, 0),
        ("1\0", Kind::Trailing, 1),
        ("\0", Kind::Value, 0),
    ] {
        rejects(text, kind, offset);
    }
    let deep = "[".repeat(100_000);
    rejects(&deep, Kind::Limit(BuildError::TooDeep), 64);
    let deep = "{\"a\":".repeat(65);
    rejects(&deep, Kind::Limit(BuildError::TooDeep), 320);
}

#[test]
fn invalid_numbers() {
    for (text, kind, offset) in [
        ("-", Kind::End, 1),
        ("[-]", Kind::Number, 2),
        ("+1", Kind::Value, 0),
        ("01", Kind::Number, 1),
        ("-01", Kind::Number, 2),
        ("00", Kind::Number, 1),
        ("1.", Kind::End, 2),
        ("[1.]", Kind::Number, 3),
        (".5", Kind::Value, 0),
        ("-.5", Kind::Number, 1),
        ("1.e1", Kind::Number, 2),
        ("1e", Kind::End, 2),
        ("1e+", Kind::End, 3),
        ("[1e-]", Kind::Number, 4),
        ("1.5.5", Kind::Trailing, 3),
        ("0x10", Kind::Trailing, 1),
        ("1_000", Kind::Trailing, 1),
        ("-Infinity", Kind::Number, 1),
        ("--1", Kind::Number, 1),
        ("1a", Kind::Trailing, 1),
        ("\u{ff11}", Kind::Value, 0),
    ] {
        rejects(text, kind, offset);
    }
}

#[test]
fn invalid_strings() {
    for (text, kind, offset) in [
        ("\"", Kind::End, 1),
        ("\"abc", Kind::End, 4),
        ("\"\\", Kind::End, 2),
        ("\"\\\"", Kind::End, 3),
        ("'a'", Kind::Value, 0),
        ("\"a\nb\"", Kind::Control, 2),
        ("\"\t\"", Kind::Control, 1),
        ("\"\0\"", Kind::Control, 1),
        ("\"\\n\u{1f}\"", Kind::Control, 3),
        ("\"\\a\"", Kind::Escape, 1),
        ("\"\\x41\"", Kind::Escape, 1),
        ("\"\\'\"", Kind::Escape, 1),
        ("\"\\U0041\"", Kind::Escape, 1),
        ("\"\\u004\"", Kind::Escape, 1),
        ("\"\\u004g\"", Kind::Escape, 1),
        ("\"\\u+041\"", Kind::Escape, 1),
        ("\"a\" \"b\"", Kind::Trailing, 4),
    ] {
        rejects(text, kind, offset);
    }
    rejects(b"\"\xff\"", Kind::Utf8, 1);
    rejects(b"\"\xc0\x80\"", Kind::Utf8, 1);
    rejects(b"\"\xed\xa0\x80\"", Kind::Utf8, 1);
    rejects(b"\"\xf4\x90\x80\x80\"", Kind::Utf8, 1);
    rejects(b"[\"\xe2\x98\"]", Kind::Utf8, 2);
    rejects(b"\xff\xfe1\0", Kind::Utf8, 0);
}

/// The RFC lets implementations choose; these are the choices.
#[test]
fn left_to_the_implementation() {
    rejects("1e400", Kind::NumberRange, 0);
    rejects("[-1e400]", Kind::NumberRange, 1);
    rejects("1".repeat(10_001), Kind::NumberRange, 0);
    rejects(r#""\ud800""#, Kind::Escape, 1);
    rejects(r#""\ude00""#, Kind::Escape, 1);
    rejects(r#""\ud83d\u0041""#, Kind::Escape, 1);
    rejects(r#""\ud83dx""#, Kind::Escape, 1);
    rejects(r#"{"a":1,"b":{"c":2,"c":3}}"#, Kind::DuplicateName, 18);
    rejects(r#"{"a":1,"\u0061":2}"#, Kind::DuplicateName, 7);
    rejects(r#"{"a":"\"{,","b":[1,{"a":1}],"a":2}"#, Kind::DuplicateName, 28);
    let many: Vec<String> = (0..200).map(|i| format!("\"n{}\":1", i % 199)).collect();
    let text = format!("{{{}}}", many.join(","));
    rejects(&text, Kind::DuplicateName, text.len() - 7);
}

#[test]
fn errors_name_line_and_column() {
    let error = from_json("{\n  \"a\": 1,\n  \"\u{e9}\u{e9}\": x\n}").expect_err("no value");
    let expected = JsonError { kind: Kind::Value, offset: 22, line: 3, column: 9 };
    assert_eq!(error, expected);
    assert_eq!(error.to_string(), "a value was expected at line 3 column 9");
}

/// A sign is no digit.
#[test]
fn integers_have_ten_thousand_digits_with_either_sign() {
    for digits in [9_999, 10_000, 10_001] {
        let number = "9".repeat(digits);
        for text in [number.clone(), format!("-{number}"), format!("[{{\"n\":-{number}}}]")] {
            let read = from_json(text.as_bytes());
            assert_eq!(read.is_ok(), digits <= 10_000, "{digits}: {:?}", read.err());
            if let Ok(record) = read {
                assert_eq!(record.to_string(), text);
            }
        }
    }
}
