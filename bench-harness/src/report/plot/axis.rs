//! Axes: where a value lies, and which values are named.

/// An axis from its first place, 0, to its last, 1.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows.
    pub title: String,
    scale: Scale,
    /// Ends, scaled.
    low: f64,
    high: f64,
    /// Values with their names.
    pub ticks: Vec<(f64, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    Linear,
    Logarithmic,
    /// Parts of all, by the decimal digits of what is left: 0.9 lies as far from 0.99 as from 0.
    PartLeft,
}

/// Smallest part left that an axis reaches.
const LEFT_MIN: f64 = 1e-7;
/// About this many values of a linear axis are named.
const LINEAR_TICKS: f64 = 5.0;
/// A logarithmic axis of so many decades names 1, 2 and 5 of each; a longer one names 1.
const DECADES_IN_STEPS_MAX: f64 = 2.2;

impl Scale {
    fn of(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
            Self::PartLeft => -(1.0 - value).max(LEFT_MIN).log10(),
        }
    }
}

impl Axis {
    /// From 0 to the greatest of `values`; `None` without any above 0.
    pub fn linear(
        title: &str,
        values: impl Iterator<Item = f64>,
        name: fn(f64) -> String,
    ) -> Option<Self> {
        let high = values.fold(0.0, f64::max);
        if high <= 0.0 {
            return None;
        }
        let decade = 10f64.powf((high / LINEAR_TICKS).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
        let step = steps.into_iter().find(|step| high / step <= LINEAR_TICKS);
        let step = step.expect("ten times the decade below is above");
        let ticks = (0..=LINEAR_TICKS as u32).map(|count| f64::from(count) * step);
        let ticks = ticks.take_while(|&value| value <= high).map(|value| (value, name(value)));
        let (title, scale) = (title.to_owned(), Scale::Linear);
        Some(Self { title, scale, low: 0.0, high, ticks: ticks.collect() })
    }

    /// From the least of `values` to the greatest, and to the next 1, 2 or 5 beyond; `None` without
    /// any above 0.
    pub fn logarithmic(
        title: &str,
        values: impl Iterator<Item = f64> + Clone,
        name: fn(f64) -> String,
    ) -> Option<Self> {
        let values = values.filter(|&value| value > 0.0);
        let least = values.clone().reduce(f64::min)?;
        let most = values.reduce(f64::max)?;
        let decades = least.log10().floor() as i32 - 1..=most.log10().ceil() as i32 + 1;
        let steps = |decade| [1.0, 2.0, 5.0].map(|step: f64| step * 10f64.powi(decade));
        let mut steps: Vec<f64> = decades.flat_map(steps).collect();
        // One step beyond each end, at most: the ends are named if each step is.
        let first = steps.iter().rposition(|&step| step <= least).unwrap_or(0);
        let last = steps.iter().position(|&step| step >= most * 0.999).unwrap_or(steps.len() - 1);
        steps = steps[first..=last.max(first + 1)].to_vec();
        let (low, high) = (steps[0].log10(), steps[steps.len() - 1].log10());
        if high - low > DECADES_IN_STEPS_MAX {
            steps.retain(|step| (step.log10() - step.log10().round()).abs() < 1e-9);
        }
        let ticks = steps.into_iter().map(|value| (value, name(value))).collect();
        let (title, scale) = (title.to_owned(), Scale::Logarithmic);
        Some(Self { title, scale, low, high, ticks })
    }

    /// Percentiles as parts of all, up to `deepest`; `None` if that is 0.
    pub fn percentiles(deepest: f64) -> Option<Self> {
        const NAMES: [(f64, &str); 7] = [
            (0.0, "fastest"),
            (0.5, "p50"),
            (0.9, "p90"),
            (0.99, "p99"),
            (0.999, "p99.9"),
            (0.9999, "p99.99"),
            (0.99999, "p99.999"),
        ];
        let scale = Scale::PartLeft;
        let high = scale.of(deepest);
        let ticks = NAMES.into_iter().filter(|(part, _)| scale.of(*part) <= high + 1e-9);
        let ticks = ticks.map(|(part, name)| (part, name.to_owned())).collect();
        (high > 0.0).then(|| Self { title: String::new(), scale, low: 0.0, high, ticks })
    }

    /// Names beside each other, at 0, 1, 2 and so on.
    pub fn names(names: impl ExactSizeIterator<Item = String>) -> Self {
        let (low, high) = (-0.5, names.len() as f64 - 0.5);
        let ticks = names.enumerate().map(|(number, name)| (number as f64, name)).collect();
        Self { title: String::new(), scale: Scale::Linear, low, high, ticks }
    }

    /// The same with another title, and other values named.
    pub fn with_ticks(self, title: String, ticks: Vec<(f64, String)>) -> Self {
        Self { title, ticks, ..self }
    }

    /// Where a value lies, 0 to 1.
    pub fn place(&self, value: f64) -> f64 {
        ((self.scale.of(value) - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn ends_are_round_and_all_values_lie_between_them() {
        let name = |value: f64| format!("{value}");
        let logarithmic = |values: &[f64]| Axis::logarithmic("t", values.iter().copied(), name);
        let axis = logarithmic(&[30.0, 700.0]).unwrap();
        assert_eq!(names(&axis), ["20", "50", "100", "200", "500", "1000"]);
        assert_eq!((axis.place(20.0), axis.place(1000.0), axis.place(5.0)), (0.0, 1.0, 0.0));
        let axis = logarithmic(&[3.0, 70_000.0]).unwrap();
        assert_eq!(names(&axis), ["10", "100", "1000", "10000", "100000"]);
        let axis = logarithmic(&[100.0]).unwrap();
        assert_eq!(names(&axis), ["100", "200"]);
        assert!(logarithmic(&[]).is_none() && logarithmic(&[0.0]).is_none());

        let axis = Axis::linear("t", [3.0, 87.0].into_iter(), name).unwrap();
        assert_eq!(names(&axis), ["0", "20", "40", "60", "80"]);
        assert_eq!((axis.place(0.0), axis.place(87.0)), (0.0, 1.0));
        assert!(Axis::linear("t", [0.0].into_iter(), name).is_none());

        let axis = Axis::names(["a", "b"].map(str::to_owned).into_iter());
        assert_eq!((axis.place(0.0), axis.place(1.0)), (0.25, 0.75));

        let axis = Axis::percentiles(0.999).unwrap();
        assert_eq!(names(&axis), ["fastest", "p50", "p90", "p99", "p99.9"]);
        assert!((axis.place(0.9) - 1.0 / 3.0).abs() < 1e-9);
        assert!(Axis::percentiles(0.0).is_none());
    }
}
