//! Tables.

use std::fmt::Write;

/// A table: a head and rows of equal length.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Names of the columns; columns after `left_count` are set to the right.
    pub head: Vec<&'static str>,
    /// How many columns from the first are words, set to the left.
    pub left_count: usize,
    /// The cells.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The table with columns as wide as their widest cell.
    pub fn to_text(&self) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|head| head.len()).collect();
        for row in &self.rows {
            assert_eq!(row.len(), widths.len());
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        let mut text = String::new();
        let head = self.head.iter().map(|head| (*head).to_owned()).collect();
        let rule = widths.iter().map(|&width| "-".repeat(width)).collect();
        for row in [&head, &rule].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (index, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let gap = if index == 0 { "" } else { "  " };
                let written = if index < self.left_count {
                    write!(line, "{gap}{cell:<width$}")
                } else {
                    write!(line, "{gap}{cell:>width$}")
                };
                written.expect("writing to a string cannot fail");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}
