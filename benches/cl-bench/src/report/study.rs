//! A report without accuracies: how much something costs against the size of a problem, and which of a
//! paper's claims hold. In the same three renderings as a [`Report`](super::Report).

use std::fmt::Write;
use std::path::Path;

use cl_core::{Error, Result};

use super::svg::Series;
use super::view::Grid;
use super::{Written, html, markdown, replace, text};

/// What it is made of; cells are text already.
pub(crate) struct Study {
    pub title: &'static str,
    /// The suite's name on the command line.
    pub suite: &'static str,
    /// The paper.
    pub source: &'static str,
    pub headline: String,
    /// What the paper claims: the claim, where it stands, what is asked of our numbers, what was found, the
    /// verdict.
    pub claims: Grid,
    pub sections: Vec<Section>,
    /// The axes of all charts, x and y.
    pub axes: (&'static str, &'static str),
    /// What the charts show.
    pub caption: &'static str,
    pub protocol: Vec<(String, String)>,
    /// Remarks, a paragraph each.
    pub notes: Vec<String>,
}

/// A table, and its numbers as a chart.
pub(crate) struct Section {
    pub heading: &'static str,
    pub grid: Grid,
    pub series: Vec<Series>,
    pub scale: Scale,
    pub pictures: Vec<Picture>,
}

/// The axes of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Both logarithmic.
    LogLog,
    /// Both linear, from 0 on.
    Linear,
}

/// A drawing below the chart.
pub(crate) struct Picture {
    pub caption: String,
    pub svg: String,
}

impl Study {
    /// The tables, for the terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for grid in self.grids() {
            text::grid(&mut out, grid);
            out.push('\n');
        }
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "{}: {}", self.suite, self.headline);
        out
    }

    /// All but the charts, as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "# {}\n", markdown::escape(self.title));
        let [suite, source] = [self.suite, self.source].map(markdown::escape);
        let _ = writeln!(out, "Suite {suite}, compared with {source}.\n");
        let _ = writeln!(out, "{}\n", markdown::escape(&self.headline));
        self.grids().for_each(|grid| markdown::grid(&mut out, grid));
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

    fn grids(&self) -> impl Iterator<Item = &Grid> {
        self.sections.iter().map(|section| &section.grid).chain([&self.claims])
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
