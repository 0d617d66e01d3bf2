//! What every page has: style, light and dark sides, tables, lists, and plots beside each other.
//!
//! A page is one file without links, and without a script: it can be mailed and opened offline. Its
//! colours follow the system unless the reader chooses.

use std::fmt::{self, Write};

use crate::report::plot::{COLOUR_COUNT, Plot, escape};
use crate::report::table::Table;

/// Names of the colours that differ between the sides.
const NAMES: [&str; 7] = ["paper", "ink", "faint", "rule", "own", "band", "scheme"];
const LIGHT: [&str; 7] =
    ["#ffffff", "#1c2330", "#5d6879", "#dfe4ec", "#eef4ff", "#f4d27a88", "light"];
const DARK: [&str; 7] =
    ["#14181f", "#dfe5ee", "#98a4b6", "#2b3340", "#1b2a44", "#8a6a1c88", "dark"];
/// Of curves: apart for eyes that see few colours, too (Okabe and Ito, shaded for each side).
const LIGHT_CURVES: [&str; COLOUR_COUNT] =
    ["#1660d0", "#c2571a", "#1d8a5f", "#8a4fb0", "#8a93a3", "#b8860b", "#c0397b", "#0f8fa8"];
const DARK_CURVES: [&str; COLOUR_COUNT] =
    ["#6ea8ff", "#f0965a", "#54c99a", "#c794ea", "#8e9aad", "#e0b84c", "#f07fb4", "#56c7dd"];

const STYLE: &str = "\
*{box-sizing:border-box}\
body{font:15px/1.45 system-ui,sans-serif;max-width:1240px;margin:1.5em auto;padding:0 1em;\
color:var(--ink);background:var(--paper)}\
h1{font-size:1.4em}h2{font-size:1.15em;margin-top:2em}h3{font-size:1em;margin:1.2em 0 .2em}\
li,p{overflow-wrap:anywhere}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\
th,td{padding:.25em .6em;border-bottom:1px solid var(--rule);text-align:left;\
white-space:nowrap;vertical-align:top}\
td.number,th.number{text-align:right}tr.uarr td{background:var(--own)}\
tr.floor td{color:var(--faint)}\
.wide{overflow-x:auto;max-width:100%}\
.facts td{white-space:normal;overflow-wrap:anywhere}.facts td:first-child{min-width:8em}\
.plots{display:grid;gap:1em 1.5em;\
grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr))}\
figure{margin:0;min-width:0}figcaption{font-size:13px;font-weight:600}\
svg{display:block;width:100%;max-width:480px}\
svg text{fill:var(--faint);font:11px system-ui,sans-serif}\
.grid{stroke:var(--rule);fill:none}rect.band{fill:var(--band)}i.band{background:var(--band)}\
polyline{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}\
polyline.thin{stroke-width:1;opacity:.55}polyline.dashed{stroke-dasharray:5 3}\
circle{fill:var(--c)}\
.legend{list-style:none;margin:.2em 0 0;padding:0;font-size:12px;color:var(--faint);\
display:flex;flex-wrap:wrap;gap:.1em 1em}\
.legend i{display:inline-block;width:14px;height:4px;margin-right:5px;vertical-align:middle;\
background:var(--c)}.legend i.dashed{opacity:.55}.legend i.band{height:10px;\
background:var(--band)}\
.bars p{margin:.5em 0 .1em;font-size:13px}.bar{display:flex;height:18px;max-width:760px}\
.bar span{background:var(--c);flex-basis:0}\
.verdict{display:inline-block;padding:.3em .8em;border-radius:.3em;color:#fff;font-weight:600}\
.pass{background:#19733c}.miss{background:#b3261e}.inconclusive{background:#8a6100}\
pre{overflow-x:auto;font-size:12px;background:var(--own);padding:.6em}\
.sides{border:0;padding:0;margin:0;font-size:13px;color:var(--faint)}\
.sides label{margin-right:1em}";

fn colours(names: [&str; 7], curves: [&str; COLOUR_COUNT]) -> String {
    let named = NAMES.iter().zip(names).map(|(name, colour)| format!("--{name}:{colour};"));
    let curves = curves.iter().enumerate();
    let curves = curves.map(|(number, colour)| format!("--curve{number}:{colour};"));
    named.chain(curves).collect::<String>() + "color-scheme:var(--scheme)"
}

fn style() -> String {
    let (light, dark) = (colours(LIGHT, LIGHT_CURVES), colours(DARK, DARK_CURVES));
    let classes = (0..COLOUR_COUNT).map(|number| format!(".c{number}{{--c:var(--curve{number})}}"));
    format!(
        ":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\
         :root:has(#light:checked){{{light}}}:root:has(#dark:checked){{{dark}}}{}{STYLE}",
        classes.collect::<String>()
    )
}

/// A page with this title, which `body` fills.
pub fn page(title: &str, heading: &str, body: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut html = String::new();
    let written = writeln!(
        html,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{}</style></head>\n<body>\n\
         <fieldset class=\"sides\"><label><input type=\"radio\" name=\"side\" checked> as the \
         system</label><label><input type=\"radio\" name=\"side\" id=\"light\"> light</label>\
         <label><input type=\"radio\" name=\"side\" id=\"dark\"> dark</label></fieldset>\n\
         <h1>{}</h1>",
        escape(title),
        style(),
        escape(heading),
    );
    written
        .and_then(|()| body(&mut html))
        .and_then(|()| writeln!(html, "</body></html>"))
        .expect("writing to a string cannot fail");
    html
}

/// A table; `class` names the class of a row.
pub fn table<'t>(
    html: &mut String,
    table: &'t Table,
    class: impl Fn(&'t [String]) -> &'t str,
) -> fmt::Result {
    let kind = |index: usize| if index < table.left_count { "" } else { " class=\"number\"" };
    write!(html, "<div class=\"wide\"><table><tr>")?;
    for (index, head) in table.head.iter().enumerate() {
        write!(html, "<th{}>{}</th>", kind(index), escape(head))?;
    }
    writeln!(html, "</tr>")?;
    for row in &table.rows {
        write!(html, "<tr class=\"{}\">", escape(class(row)))?;
        for (index, cell) in row.iter().enumerate() {
            write!(html, "<td{}>{}</td>", kind(index), escape(cell))?;
        }
        writeln!(html, "</tr>")?;
    }
    writeln!(html, "</table></div>")
}

/// Lines of text below each other.
pub fn list(html: &mut String, lines: impl IntoIterator<Item = impl AsRef<str>>) -> fmt::Result {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return Ok(());
    }
    writeln!(html, "<ul>")?;
    for line in lines {
        writeln!(html, "<li>{}</li>", escape(line.as_ref()))?;
    }
    writeln!(html, "</ul>")
}

/// Facts with their names.
pub fn facts<'f>(
    html: &mut String,
    facts: impl IntoIterator<Item = (&'f str, String)>,
) -> fmt::Result {
    writeln!(html, "<table class=\"facts\">")?;
    for (name, value) in facts {
        writeln!(html, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(&value))?;
    }
    writeln!(html, "</table>")
}

/// Plots beside each other, under a heading if there is one; nothing if there are none.
pub fn plots(html: &mut String, heading: &str, plots: &[Plot]) -> fmt::Result {
    if plots.is_empty() {
        return Ok(());
    }
    writeln!(html, "{heading}\n<div class=\"plots\">")?;
    plots.iter().try_for_each(|plot| plot.draw(html))?;
    writeln!(html, "</div>")
}
