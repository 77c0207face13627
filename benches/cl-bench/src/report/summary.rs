//! One small table over all scenarios: the mean over seeds, its SEM and, in brackets, the number of seeds.

use std::fmt::Write;

use cl_core::Result;
use cl_metrics::Summary;

use super::{Report, Row};
use crate::published::{Provenance, Verdict, verdict};

pub fn render(report: &Report) -> Result<String> {
    let mut out = String::from("|");
    for table in &report.tables {
        // Writing to a String cannot fail, here and below.
        let _ = write!(out, " | {}: ours | published", table.scenario);
    }
    let _ = writeln!(out, " |\n|---|{}", "---:|---:|".repeat(report.tables.len()));
    let mut methods: Vec<&str> = Vec::new();
    for row in report.tables.iter().flat_map(|table| &table.rows) {
        if !methods.contains(&row.method.as_str()) {
            methods.push(&row.method);
        }
    }
    for method in methods {
        let _ = write!(out, "| {method}");
        for table in &report.tables {
            match table.rows.iter().find(|row| row.method == method) {
                Some(row) => out += &cells(row)?,
                None => out += " | – | –",
            }
        }
        out += " |\n";
    }
    Ok(out)
}

fn cells(row: &Row) -> Result<String> {
    let published = match &row.published {
        None => "–".to_owned(),
        Some(p) => {
            let error = p.error.map_or_else(String::new, |error| format!(" ± {error:.2} {}", p.kind));
            let doubt = if p.provenance == Provenance::Unverified { " (unverified)" } else { "" };
            let again = p.rerun.map_or_else(String::new, |again| {
                format!("; their code, run again: {:.2} ± {:.2} std ({})", again.mean, again.std, again.n)
            });
            format!("{:.2}{error}{doubt}{again}", p.mean)
        }
    };
    let accuracies = row
        .records
        .iter()
        .map(|record| Ok(cl_metrics::metric("acc").and_then(|acc| acc.of(&record.r_matrix().ok()?))))
        .collect::<Result<Option<Vec<f64>>>>()?;
    let ours = match accuracies {
        Some(values) if !values.is_empty() => {
            let ours = Summary::of(&values)?.percent();
            let error = ours.sem.map_or_else(String::new, |sem| format!(" ± {sem:.2}"));
            let missed = match verdict(&ours, row.published.as_ref()) {
                said @ (Verdict::Off { .. } | Verdict::AsTheirCode { .. }) => format!(" ({said})"),
                _ => String::new(),
            };
            format!("{:.2}{error} ({}){missed}", ours.mean, ours.n)
        }
        _ => "not run".to_owned(),
    };
    Ok(format!(" | {ours} | {published}"))
}
