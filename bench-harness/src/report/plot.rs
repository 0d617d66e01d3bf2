//! Percentile curves as SVG, written by hand: no network, no script, readable in any browser.
//!
//! The horizontal axis is the share of operations that are slower, on a logarithmic scale (50, 10,
//! 1, 0.1 %, ...), so the tail has as much room as the rest. The vertical axis is latency,
//! logarithmic.

use std::fmt::Write;

use crate::report::words::duration;

/// Size of a plot in SVG units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
/// Room for the labels of the axes and for the legend.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 40.0;
/// Smallest share of slower operations that an axis reaches.
const BEYOND_MIN: f64 = 1e-7;

/// A curve with its name and colour.
#[derive(Clone, Debug)]
pub struct Curve<'r> {
    /// The name in the legend.
    pub name: String,
    /// A CSS colour.
    pub colour: &'static str,
    /// (fraction of operations, ns), rising.
    pub points: &'r [(f64, f64)],
}

/// Draws curves; `None` when none of them has two points.
pub fn percentile_plot(curves: &[Curve<'_>]) -> Option<String> {
    let curves: Vec<&Curve<'_>> = curves.iter().filter(|curve| curve.points.len() >= 2).collect();
    let all = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let deepest = all().map(|(p, _)| 1.0 - p).fold(1.0, f64::min).max(BEYOND_MIN);
    let low = all().map(|(_, ns)| ns).fold(f64::INFINITY, f64::min).max(1.0);
    let high = all().map(|(_, ns)| ns).fold(1.0, f64::max);
    if curves.is_empty() || deepest >= 1.0 {
        return None;
    }
    let axes = Axes {
        depth: -deepest.log10(),
        low: low.log10().floor(),
        high: (high.log10() + 0.02).ceil(),
    };
    let mut svg = String::new();
    let written = axes.draw(&mut svg).and_then(|()| {
        for (index, curve) in curves.iter().enumerate() {
            axes.draw_curve(&mut svg, curve, index)?;
        }
        svg.write_str("</svg>\n")
    });
    written.expect("writing to a string cannot fail");
    Some(svg)
}

/// Logarithms of the ranges shown.
struct Axes {
    /// Decimal digits of the smallest share of slower operations.
    depth: f64,
    low: f64,
    high: f64,
}

impl Axes {
    fn x(&self, p: f64) -> f64 {
        let depth = -(1.0 - p).max(BEYOND_MIN).log10();
        LEFT + (WIDTH - LEFT - RIGHT) * depth / self.depth
    }

    fn y(&self, ns: f64) -> f64 {
        let height = (ns.max(1.0).log10() - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * height
    }

    fn draw(&self, svg: &mut String) -> std::fmt::Result {
        writeln!(
            svg,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"sans-serif\" \
             font-size=\"11\" \
             xmlns=\"http://www.w3.org/2000/svg\">"
        )?;
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (p, label) in [
            (0.0, "fastest"),
            (0.5, "p50"),
            (0.9, "p90"),
            (0.99, "p99"),
            (0.999, "p99.9"),
            (0.9999, "p99.99"),
            (0.99999, "p99.999"),
        ] {
            let x = self.x(p);
            if x > right + 0.5 {
                break;
            }
            writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" class=\"grid\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                bottom + 16.0,
            )?;
        }
        let mut decade = self.low;
        while decade <= self.high {
            for step in [1.0, 2.0, 5.0] {
                let ns = 10f64.powf(decade) * step;
                if ns.log10() > self.high + 1e-9 {
                    break;
                }
                let y = self.y(ns);
                writeln!(
                    svg,
                    "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" \
                     class=\"grid\"/>\
                     <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    LEFT - 6.0,
                    y + 4.0,
                    duration(Some(ns)),
                )?;
            }
            decade += 1.0;
        }
        Ok(())
    }

    fn draw_curve(&self, svg: &mut String, curve: &Curve<'_>, index: usize) -> std::fmt::Result {
        write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\" points=\"",
            curve.colour
        )?;
        for &(p, ns) in curve.points {
            write!(svg, "{:.1},{:.1} ", self.x(p), self.y(ns))?;
        }
        let (x, y) = (WIDTH - RIGHT + 12.0, TOP + 14.0 + 18.0 * index as f64);
        writeln!(
            svg,
            "\"/><line x1=\"{x}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{}\" \
             stroke-width=\"3\"/>\
             <text x=\"{:.1}\" y=\"{y}\">{}</text>",
            x + 16.0,
            y - 4.0,
            y - 4.0,
            curve.colour,
            x + 22.0,
            escape(&curve.name),
        )
    }
}

/// Makes text safe between tags and inside attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_stay_inside_the_picture() {
        let points: Vec<(f64, f64)> =
            (0..40).map(|step| (1.0 - 0.5f64.powi(step), 100.0 * 1.5f64.powi(step))).collect();
        let curve = Curve { name: "a<b".into(), colour: "red", points: &points };
        let svg = percentile_plot(&[curve]).unwrap();
        assert!(svg.contains("a&lt;b") && svg.ends_with("</svg>\n"));
        let line = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let coordinates: Vec<(f64, f64)> = line
            .split_whitespace()
            .map(|pair| {
                let (x, y) = pair.split_once(',').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            })
            .collect();
        assert_eq!(coordinates.len(), 40);
        assert!(coordinates.iter().all(|&(x, y)| {
            (LEFT..=WIDTH - RIGHT + 0.1).contains(&x)
                && (TOP - 0.1..=HEIGHT - BOTTOM + 0.1).contains(&y)
        }));
        assert!(
            coordinates.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1)
        );
    }

    #[test]
    fn nothing_to_draw_is_no_picture() {
        assert!(percentile_plot(&[]).is_none());
        let one = Curve { name: "one".into(), colour: "red", points: &[(0.0, 5.0)] };
        assert!(percentile_plot(&[one]).is_none());
    }
}
