//! The report of a suite: our numbers beside the published ones, on the terminal, as Markdown and as
//! one self-contained HTML page.
//!
//! Everything is computed anew from the R matrices of the records, once, in `view`; the renderings only
//! lay it out, so they cannot disagree.

mod html;
pub(crate) mod markdown;
pub mod study;
mod summary;
pub(crate) mod svg;
pub(crate) mod text;
pub(crate) mod view;

use std::path::{Path, PathBuf};

use cl_core::{Error, Result};

use crate::published::{Published, Verdict};
use crate::results::Record;
use view::View;

/// What a report is made of.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The heading, such as "Split MNIST".
    pub title: String,
    /// The suite's name on the command line.
    pub suite: String,
    /// The paper whose numbers stand beside ours.
    pub source: String,
    /// The resolved protocol: what was held fixed, and to which value.
    pub protocol: Vec<(String, String)>,
    /// One table per scenario.
    pub tables: Vec<Table>,
    /// Remarks, a paragraph each.
    pub notes: Vec<String>,
}

/// The methods of one scenario.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// `task`, `domain` or `class`.
    pub scenario: String,
    /// In the order in which they are shown.
    pub rows: Vec<Row>,
}

/// One method in one scenario.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its name.
    pub method: String,
    /// Its runs, one per seed, all of the same configuration. Empty if it was not run.
    pub records: Vec<Record>,
    /// The number to compare with, if one is published.
    pub published: Option<Published>,
}

/// The files that [`Report::write`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// `report.md`
    pub markdown: PathBuf,
    /// `report.html`
    pub html: PathBuf,
}

impl Report {
    /// The comparison with the published numbers, for the terminal.
    ///
    /// # Errors
    ///
    /// Records that do not belong together: of another scenario, of several configurations, a seed
    /// twice, R matrices of different shapes, or not valid ones. So for all the methods here.
    pub fn text_table(&self) -> Result<String> {
        Ok(text::render(&View::new(self)?))
    }

    /// All tables, as Markdown.
    ///
    /// # Errors
    ///
    /// See [`Report::text_table`].
    pub fn markdown(&self) -> Result<String> {
        Ok(markdown::render(&View::new(self)?))
    }

    /// All tables, the curves and the R matrices, as one HTML page that needs nothing else.
    ///
    /// # Errors
    ///
    /// See [`Report::text_table`].
    pub fn html(&self) -> Result<String> {
        html::render(&View::new(self)?)
    }

    /// One small Markdown table over all scenarios, for a README: ours, and the published number beside it.
    ///
    /// # Errors
    ///
    /// See [`Report::text_table`].
    pub fn summary(&self) -> Result<String> {
        View::new(self)?; // refuses records that do not belong together
        summary::render(self)
    }

    /// The verdict on every method that was run: scenario, method, verdict.
    ///
    /// # Errors
    ///
    /// See [`Report::text_table`].
    pub fn verdicts(&self) -> Result<Vec<(String, String, Verdict)>> {
        Ok(View::new(self)?.verdicts)
    }

    /// Writes `report.md` and `report.html` into the folder, each whole or not at all.
    ///
    /// # Errors
    ///
    /// See [`Report::text_table`]; a folder that cannot be written.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<Written> {
        let dir = dir.as_ref();
        let view = View::new(self)?;
        let written = Written { markdown: dir.join("report.md"), html: dir.join("report.html") };
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        replace(&written.markdown, &markdown::render(&view))?;
        replace(&written.html, &html::render(&view)?)?;
        Ok(written)
    }
}

/// Writes beside the file and renames, so that a reader never sees half a report.
fn replace(path: &Path, contents: &str) -> Result<()> {
    let beside = path.with_added_extension("part");
    let written = std::fs::write(&beside, contents).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|e| {
        // Best effort: the error that matters is the one being reported.
        std::fs::remove_file(&beside).ok();
        Error::io(path)(e)
    })
}
