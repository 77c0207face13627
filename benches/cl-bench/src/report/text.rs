//! The comparison, for the terminal.

use std::fmt::Write;

use super::view::{Grid, View};

pub fn render(view: &View<'_>) -> String {
    let mut out = String::new();
    for section in &view.sections {
        grid(&mut out, &section.comparison);
        out.push('\n');
    }
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(out, "{}: {}", view.report.suite, view.headline);
    out
}

pub fn grid(out: &mut String, grid: &Grid) {
    let width = |s: &str| s.chars().count();
    let widths: Vec<usize> = (0..grid.columns.len())
        .map(|c| {
            let cells = grid.lines.iter().map(|line| width(&line.cells[c]));
            cells.chain([width(&grid.columns[c].name)]).max().unwrap_or(0)
        })
        .collect();
    let mut row = |cells: Vec<&str>| {
        let mut text = String::new();
        for ((cell, column), width) in cells.into_iter().zip(&grid.columns).zip(&widths) {
            let _ = if column.numeric {
                write!(text, "{cell:>width$}  ")
            } else {
                write!(text, "{cell:<width$}  ")
            };
        }
        let _ = writeln!(out, "{}", text.trim_end());
    };
    row(vec![&grid.caption]);
    row(grid.columns.iter().map(|c| c.name.as_str()).collect());
    let rules: Vec<String> = widths.iter().map(|&w| "─".repeat(w)).collect();
    row(rules.iter().map(String::as_str).collect());
    for line in &grid.lines {
        row(line.cells.iter().map(String::as_str).collect());
    }
}
