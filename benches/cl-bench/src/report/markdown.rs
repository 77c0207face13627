//! All tables, as Markdown.

use std::fmt::Write;

use super::view::{Grid, View};

pub fn render(view: &View<'_>) -> String {
    // Writing to a String cannot fail, here and below.
    let mut out = String::new();
    let report = view.report;
    let _ = writeln!(out, "# {}\n", escape(&report.title));
    let _ = writeln!(out, "Suite {}, compared with {}.\n", escape(&report.suite), escape(&report.source));
    let _ = writeln!(out, "Verdicts: {}.\n", escape(&view.headline));
    for section in &view.sections {
        let _ = writeln!(out, "## {} scenario\n", escape(&section.scenario));
        grid(&mut out, &section.comparison);
        for metrics in &section.metrics {
            grid(&mut out, metrics);
        }
        grid(&mut out, &section.cost);
    }
    let _ = writeln!(out, "## Protocol\n");
    for (name, value) in &report.protocol {
        let _ = writeln!(out, "- {}: {}", escape(name), escape(value));
    }
    if !report.notes.is_empty() {
        let _ = writeln!(out, "\n## Notes\n");
        for note in &report.notes {
            let _ = writeln!(out, "- {}", escape(note));
        }
    }
    let _ = writeln!(out, "\n## Metrics\n");
    for metric in cl_metrics::METRICS {
        let _ = writeln!(out, "- `{}`: {} ({})", metric.name, escape(metric.formula), escape(metric.source));
    }
    out
}

pub fn grid(out: &mut String, grid: &Grid) {
    let _ = writeln!(out, "**{}**\n", escape(&grid.caption));
    let mut row = |cells: Vec<String>| {
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    };
    row(grid.columns.iter().map(|c| escape(&c.name)).collect());
    row(grid.columns.iter().map(|c| if c.numeric { "---:" } else { "---" }.into()).collect());
    for line in &grid.lines {
        row(line.cells.iter().map(|cell| escape(cell)).collect());
    }
    out.push('\n');
}

/// Text that means nothing to Markdown, on one line.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&' | '$' => {
                out.extend(['\\', c]);
            }
            '\n' | '\r' => out.push(' '),
            _ => out.push(c),
        }
    }
    out
}
