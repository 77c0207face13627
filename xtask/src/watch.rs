//! What the terminal shows while a suite runs: a bar per run, or a line per run where there is no terminal.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cl_bench::results::Record;
use cl_bench::runner::{Finding, Watch};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

pub struct Terminal {
    bars: MultiProgress,
    runs: Mutex<HashMap<String, ProgressBar>>,
    is_terminal: bool,
}

impl Terminal {
    pub fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { bars: MultiProgress::new(), runs: Mutex::default(), is_terminal }
    }

    fn say(&self, text: &str) {
        if self.is_terminal {
            // Best effort: a terminal that went away must not end a run.
            self.bars.println(text).ok();
        } else {
            eprintln!("{text}");
        }
    }
}

impl Watch for Terminal {
    fn begin(&self, run: &str, number: usize, of: usize) {
        if !self.is_terminal {
            return;
        }
        let bar = self.bars.add(ProgressBar::new(1));
        let style = ProgressStyle::with_template("{prefix:>9} {msg:<34} {bar:24} {percent:>3} % {eta}")
            .expect("the template is well formed");
        bar.set_style(style);
        bar.set_prefix(format!("{number}/{of}"));
        bar.set_message(run.to_owned());
        bar.enable_steady_tick(Duration::from_millis(500));
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(run.to_owned(), bar);
    }

    fn step(&self, run: &str, done: usize, total: usize) {
        if let Some(bar) = self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(run) {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    }

    fn end(&self, run: &str, record: &Record) {
        if let Some(bar) = self.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(run) {
            bar.finish_and_clear();
        }
        let acc = record.metrics.get("acc").copied().unwrap_or(f64::NAN);
        self.say(&format!("{run:<40} accuracy {:6.2} %   {:6.1} s", 100.0 * acc, record.train_seconds));
    }

    fn found(&self, _run: &str, findings: &[Finding]) {
        for finding in findings {
            self.say(&format!("    {finding}"));
        }
    }

    fn warn(&self, text: &str) {
        self.say(&format!("warning: {text}"));
    }
}
