//! Words for numbers.

/// A duration with three digits and its unit.
pub fn duration(ns: Option<f64>) -> String {
    let Some(ns) = ns else { return "n/a".to_owned() };
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A number of bytes that is a power of two from 1024 on with its unit; any other text as it is.
pub fn shortened_bytes(text: &str) -> String {
    let Some(bytes) = text.parse().ok().filter(|bytes: &u64| bytes.is_power_of_two()) else {
        return text.to_owned();
    };
    match bytes {
        0..1024 => text.to_owned(),
        1024..0x10_0000 => format!("{}K", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{}M", bytes >> 20),
        _ => format!("{}G", bytes >> 30),
    }
}

/// A rate per second with three digits.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 1e3 => three_digits(rate),
        rate if rate < 1e6 => format!("{} K", three_digits(rate / 1e3)),
        rate => format!("{} M", three_digits(rate / 1e6)),
    }
}

/// A ratio, such as 1.07x.
pub fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{}x", three_digits(ratio)))
}

/// A number with two decimals, or a dash.
pub fn count(count: Option<f64>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| format!("{count:.2}"))
}

/// A number with three digits.
pub(super) fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
