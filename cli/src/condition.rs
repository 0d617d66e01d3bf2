//! Conditions on fields, as `scan --where` takes them: `a.b=3`, `name!=Ada`, `born<1900`.

use std::cmp::Ordering;
use std::str::FromStr;

use uarr_layout::uarr::{Kind, UArrBuf, UArrRef, from_json};

/// What a field must be.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Path of the field.
    pub path: String,
    operator: Operator,
    /// The value as it was given.
    text: String,
    /// The same as JSON, if it is any.
    json: Option<UArrBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The operators, those before others that they begin with.
const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl FromStr for Condition {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let wrong = || "give PATH=VALUE, or one of != < <= > >= in place of =".to_owned();
        let at = given.find(['!', '<', '>', '=']).filter(|at| *at > 0).ok_or_else(wrong)?;
        let (path, rest) = given.split_at(at);
        let known = OPERATORS
            .iter()
            .find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
        let (operator, value) = known.ok_or_else(wrong)?;
        if value.starts_with('=') {
            return Err("one = is enough; a text that begins with it goes in quotes".to_owned());
        }
        let (path, text) = (path.trim().to_owned(), value.trim().to_owned());
        if text.starts_with(['<', '>', '=']) {
            return Err(wrong() + "; a text that begins with one of them goes in quotes");
        }
        Ok(Self { path, operator, json: from_json(&text).ok(), text })
    }
}

impl Condition {
    /// Whether the field is what it must be. Values of different kinds are not equal, and none of
    /// them is less.
    pub fn holds(&self, field: &UArrRef<'_>) -> bool {
        let order = self.order(field);
        match self.operator {
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::NotEqual => order != Some(Ordering::Equal),
            Operator::Less => order == Some(Ordering::Less),
            Operator::LessOrEqual => order.is_some_and(Ordering::is_le),
            Operator::Greater => order == Some(Ordering::Greater),
            Operator::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }

    /// How the field compares to the value, if they can be compared.
    fn order(&self, field: &UArrRef<'_>) -> Option<Ordering> {
        match field.kind() {
            Kind::Int | Kind::F64 => numbers(field, &self.json.as_ref()?.as_ref()),
            Kind::Null | Kind::Bool | Kind::Array | Kind::List | Kind::Object => {
                let json = self.json.as_ref()?.to_string();
                (field.to_string() == json).then_some(Ordering::Equal)
            }
            // The others are compared as they are shown: as texts, or as numbers.
            _ => {
                let shown = from_json(field.to_string()).ok()?;
                match shown.as_ref().as_str() {
                    Some(text) => Some(text.cmp(self.value_text())),
                    None => numbers(&shown.as_ref(), &self.json.as_ref()?.as_ref()),
                }
            }
        }
    }

    /// The value as a text: quotes may stand around it.
    fn value_text(&self) -> &str {
        let json = self.json.as_ref().and_then(|json| json.as_ref().as_str());
        json.unwrap_or(&self.text)
    }
}

/// How two numbers compare; `None`: they are none, or one is NaN.
fn numbers(one: &UArrRef<'_>, other: &UArrRef<'_>) -> Option<Ordering> {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => double(one)?.partial_cmp(&double(other)?),
    }
}

/// The double next to a number.
fn double(number: &UArrRef<'_>) -> Option<f64> {
    match number.kind() {
        Kind::F64 => number.as_f64(),
        Kind::Int | Kind::BigInt => number.as_big_int()?.to_string().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uarr_layout::uarr::{Builder, Time};

    fn check(condition: &str, json: &str, expected: bool) {
        let record = from_json(json).unwrap();
        let parsed: Condition = condition.parse().unwrap();
        assert_eq!(parsed.holds(&record.as_ref()), expected, "{json}: {condition}");
    }

    #[test]
    fn fields_are_compared_with_values() {
        for (condition, json, expected) in [
            ("a=3", "3", true),
            ("a=3", "3.0", true),
            ("a = 3", "3", true),
            ("a!=3", "3", false),
            ("a!=3", "\"x\"", true),
            ("a<3", "2.99", true),
            ("a<3", "3", false),
            ("a<=3", "3", true),
            ("a>3", "4", true),
            ("a>3", "\"4\"", true),
            ("a>=3", "-1", false),
            ("a=9007199254740993", "9007199254740992", false),
            ("a=9007199254740993", "9007199254740993", true),
            ("a>18446744073709551616", "18446744073709551615", false),
            ("a<18446744073709551616", "18446744073709551615", true),
            ("a=Ada", "\"Ada\"", true),
            ("a=\"Ada\"", "\"Ada\"", true),
            ("a=12", "\"12\"", true),
            ("a=\"12\"", "12", false),
            ("a<b", "\"a\"", true),
            ("a=", "\"\"", true),
            ("a=null", "null", true),
            ("a=true", "true", true),
            ("a=true", "false", false),
            ("a!=true", "null", true),
            ("a<true", "false", false),
            ("a=[1,2]", "[1, 2]", true),
            ("a={\"b\":1}", "{\"b\":1}", true),
            ("a=\"=\"", "\"=\"", true),
            ("a<x=y", "\"a\"", true),
        ] {
            check(condition, json, expected);
        }
        let mut builder = Builder::new();
        let time = builder.value(Time(1_700_000_000_000_000_000)).unwrap();
        let holds = |text: &str| text.parse::<Condition>().unwrap().holds(&time.as_ref());
        assert!(holds("a>2023-11-14") && holds("a<2023-11-15") && !holds("a=2023"));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for given in ["", "a", "=3", "a!3", "a==3", "a!", "<3"] {
            assert!(given.parse::<Condition>().is_err(), "{given}");
        }
    }
}
