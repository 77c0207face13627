//! A report without accuracies: how much something costs against the size of a problem, and which of a
//! paper's claims hold. In the same three renderings as a [`Report`](super::Report).

use std::fmt::Write;
use std::path::Path;

use cl_core::{Error, Result};

use super::svg::{Axis, Series};
use super::view::{Column, Grid, Line};
use super::{Written, html, markdown, replace, text};

/// What it is made of; cells are text already.
#[derive(Debug)]
pub struct Study {
    pub(crate) title: &'static str,
    /// The suite's name on the command line.
    pub(crate) suite: &'static str,
    /// The papers.
    pub(crate) source: &'static str,
    pub(crate) claims: Vec<Claim>,
    pub(crate) sections: Vec<Section>,
    pub(crate) protocol: Vec<(String, String)>,
    /// Remarks, a paragraph each.
    pub(crate) notes: Vec<String>,
}

/// Something a paper says, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where it stands.
    pub source: String,
    /// What it says.
    pub text: String,
    /// What is asked of our numbers.
    pub asked: String,
    /// Our numbers.
    pub found: String,
    /// Whether they are as asked; None if runs are missing.
    pub holds: Option<bool>,
}

/// A table, and what is seen of its numbers.
#[derive(Debug)]
pub(crate) struct Section {
    pub heading: &'static str,
    pub grid: Grid,
    pub chart: Option<Chart>,
    pub pictures: Vec<Picture>,
}

/// Curves above a table, in the HTML page only.
#[derive(Debug)]
pub(crate) struct Chart {
    pub series: Vec<Series>,
    /// x and y.
    pub axes: [Axis; 2],
    pub caption: &'static str,
}

/// A drawing below them, likewise.
#[derive(Debug)]
pub(crate) struct Picture {
    pub caption: String,
    pub svg: String,
}

impl Study {
    /// The tables, for the terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.grids(|grid| {
            text::grid(&mut out, grid);
            out.push('\n');
        });
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "{}: {}", self.suite, self.headline());
        out
    }

    /// All but the charts, as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "# {}\n", markdown::escape(self.title));
        let [suite, source] = [self.suite, self.source].map(markdown::escape);
        let _ = writeln!(out, "Suite {suite}, compared with {source}.\n");
        let _ = writeln!(out, "{}\n", markdown::escape(&self.headline()));
        self.grids(|grid| markdown::grid(&mut out, grid));
        let _ = writeln!(out, "## Protocol\n");
        for (name, value) in &self.protocol {
            let _ = writeln!(out, "- {}: {}", markdown::escape(name), markdown::escape(value));
        }
        let _ = writeln!(out, "\n## Notes\n");
        for note in &self.notes {
            let _ = writeln!(out, "- {}", markdown::escape(note));
        }
        out
    }

    /// What is claimed, and whether it was found.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// How many claims hold.
    pub(super) fn headline(&self) -> String {
        let count = |holds| self.claims.iter().filter(|claim| claim.holds == holds).count();
        let counts = [
            (count(Some(true)), "hold"),
            (count(Some(false)), "not reproduced"),
            (count(None), "open: runs are missing"),
        ];
        let said = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
        format!("Claims: {}", said.collect::<Vec<_>>().join(", "))
    }

    fn grids(&self, each: impl FnMut(&Grid)) {
        self.sections.iter().map(|section| &section.grid).chain([&self.claims_grid()]).for_each(each);
    }

    pub(super) fn claims_grid(&self) -> Grid {
        let lines = self.claims.iter().map(|claim| {
            let (status, verdict) = match claim.holds {
                Some(true) => ("ok", "holds"),
                Some(false) => ("missed", "not reproduced"),
                None => ("open", "open"),
            };
            let Claim { text, source, asked, found, .. } = claim;
            Line { status, cells: [text, source, asked, found, verdict].map(str::to_owned).into() }
        });
        Grid {
            caption: "What is claimed, and what was found".into(),
            lines: lines.collect(),
            columns: ["claim", "stands in", "asked", "found", "verdict"].map(Column::words).into(),
        }
    }

    /// The claims as one small Markdown table, for a README.
    pub fn summary(&self) -> String {
        let mut out = String::from("| claimed | asked | found |\n|---|---|---|\n");
        for Claim { text, source, asked, found, holds } in &self.claims {
            let verdict = match holds {
                Some(true) => "",
                Some(false) => " (not reproduced)",
                None => " (open)",
            };
            let [text, source, asked, found] =
                [text, source, asked, found].map(|cell| markdown::escape(cell));
            let _ = writeln!(out, "| {text} ({source}) | {asked} | {found}{verdict} |");
        }
        out
    }

    /// All of it, as one HTML page that needs nothing else.
    ///
    /// # Errors
    ///
    /// A template that is wrong.
    pub fn html(&self) -> Result<String> {
        html::study(self)
    }

    /// Writes `report.md` and `report.html` into the folder, each whole or not at all.
    ///
    /// # Errors
    ///
    /// A folder that cannot be written.
    pub fn write(&self, dir: &Path) -> Result<Written> {
        let written = Written { markdown: dir.join("report.md"), html: dir.join("report.html") };
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        replace(&written.markdown, &self.markdown())?;
        replace(&written.html, &self.html()?)?;
        Ok(written)
    }
}
