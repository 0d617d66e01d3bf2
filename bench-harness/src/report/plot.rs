//! Plots as SVG, written by hand: no network, no script, readable in any browser.
//!
//! A plot has the size of a telephone; a wide page has several beside each other. Colours are names
//! of the style sheet, so that a page has a light and a dark side. The legend is a list below.

mod axis;

use std::fmt::{self, Write};
use std::ops::Range;

pub use self::axis::Axis;

/// Size of a plot in SVG units, which are pixels at its usual size.
const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 240.0;
/// Room for the names of values.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 36.0;
/// About as wide is a letter.
const LETTER_WIDTH: f64 = 6.4;
/// Colours of the style sheet, from 0 on.
pub const COLOUR_COUNT: usize = 8;

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A line.
    Line,
    /// A thin line beside the one of the same colour; not in the legend.
    Thin,
    /// A line with a dot at each point.
    Dots,
}

/// A curve with its name and colour.
#[derive(Clone, Debug)]
pub struct Curve {
    /// The name in the legend.
    pub name: String,
    /// Number of the colour; from [`COLOUR_COUNT`] on they repeat, in dashes.
    pub colour: usize,
    /// How it is drawn.
    pub style: Style,
    /// In the order of drawing.
    pub points: Vec<(f64, f64)>,
}

/// Curves between two axes.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows; stands above it.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// What is drawn.
    pub curves: Vec<Curve>,
    /// Ranges of the horizontal axis that are marked.
    pub bands: Vec<Range<f64>>,
    /// What the marks mean, if there are any.
    pub band_name: &'static str,
}

/// The horizontal place of a value.
fn across(axis: &Axis, value: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * axis.place(value)
}

/// The vertical place of a value.
fn upwards(axis: &Axis, value: f64) -> f64 {
    HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * axis.place(value)
}

impl Plot {
    /// Draws it, title and legend included.
    pub fn draw(&self, html: &mut String) -> fmt::Result {
        writeln!(html, "<figure>")?;
        if !self.title.is_empty() {
            writeln!(html, "<figcaption>{}</figcaption>", escape(&self.title))?;
        }
        writeln!(
            html,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(&self.title)
        )?;
        self.draw_bands(html)?;
        self.draw_axes(html)?;
        self.curves.iter().try_for_each(|curve| self.draw_curve(html, curve))?;
        writeln!(html, "</svg>\n<ul class=\"legend\">")?;
        for curve in self.curves.iter().filter(|curve| curve.style != Style::Thin) {
            let class = class(curve.colour);
            writeln!(html, "<li><i class=\"{class}\"></i>{}</li>", escape(&curve.name))?;
        }
        if !self.bands.is_empty() {
            writeln!(html, "<li><i class=\"band\"></i>{}</li>", escape(self.band_name))?;
        }
        writeln!(html, "</ul></figure>")
    }

    fn draw_bands(&self, svg: &mut String) -> fmt::Result {
        for band in &self.bands {
            let (from, to) = (across(&self.x, band.start), across(&self.x, band.end));
            writeln!(
                svg,
                "<rect class=\"band\" x=\"{from:.1}\" width=\"{:.1}\" y=\"{TOP}\" \
                 height=\"{}\"/>",
                (to - from).max(1.0),
                HEIGHT - TOP - BOTTOM,
            )?;
        }
        Ok(())
    }

    fn draw_axes(&self, svg: &mut String) -> fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        // A name stays inside the picture, and is left out where it would run into the one before.
        let mut free_from = 0.0;
        for (value, name) in &self.x.ticks {
            let x = across(&self.x, *value);
            writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>")?;
            let half = name.len() as f64 * LETTER_WIDTH / 2.0;
            let middle = x.min(WIDTH - half);
            if middle - half < free_from {
                continue;
            }
            free_from = middle + half + LETTER_WIDTH;
            writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 14.0,
                escape(name),
            )?;
        }
        for (value, name) in &self.y.ticks {
            let y = upwards(&self.y, *value);
            writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 5.0,
                y + 4.0,
                escape(name),
            )?;
        }
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 6.0,
            escape(&self.x.title),
        )
    }

    fn draw_curve(&self, svg: &mut String, curve: &Curve) -> fmt::Result {
        let place = |&(x, y): &(f64, f64)| (across(&self.x, x), upwards(&self.y, y));
        let (class, name) = (class(curve.colour), escape(&curve.name));
        let thin = if curve.style == Style::Thin { " thin" } else { "" };
        write!(svg, "<polyline class=\"{class}{thin}\" points=\"")?;
        for (x, y) in curve.points.iter().map(place) {
            write!(svg, "{x:.1},{y:.1} ")?;
        }
        writeln!(svg, "\"><title>{name}</title></polyline>")?;
        // A line needs two points to be seen.
        if curve.style != Style::Dots && curve.points.len() > 1 {
            return Ok(());
        }
        for (x, y) in curve.points.iter().map(place) {
            writeln!(
                svg,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\">\
                 <title>{name}</title></circle>"
            )?;
        }
        Ok(())
    }
}

/// The classes of a colour in the style sheet.
pub fn class(colour: usize) -> String {
    let dashes = if colour >= COLOUR_COUNT { " dashed" } else { "" };
    format!("c{}{dashes}", colour % COLOUR_COUNT)
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
        let latencies = points.iter().map(|point| point.1);
        let plot = Plot {
            title: "a & b".to_owned(),
            x: Axis::percentiles(points[39].0).unwrap(),
            y: Axis::logarithmic("", latencies, |ns| format!("{ns} ns")).unwrap(),
            curves: vec![Curve { name: "a<b".into(), colour: 9, style: Style::Line, points }],
            bands: std::iter::once(0.5..0.9).collect(),
            band_name: "meanwhile",
        };
        let mut html = String::new();
        plot.draw(&mut html).unwrap();
        assert!(html.contains("a &amp; b") && html.contains("a&lt;b"));
        assert!(html.contains("class=\"c1 dashed\"") && html.contains("meanwhile"));
        let line = html.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
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
}
