//! The tree and what it says, as text.

use std::fmt::{self, Display, Formatter, Write};

use cl_metrics::Summary;
use serde_json::Value;

use super::{Advice, Answers, Method, Open, Tree};
use crate::report::text;
use crate::report::view::{Column, Grid, Line};

/// Lines of prose are broken here.
const WIDTH: usize = 100;

impl Display for Tree {
    /// All questions, and the methods at the end of each way.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&Answers::default()))
    }
}

impl Tree {
    /// What the answers leave of the tree.
    pub(super) fn text(&self, answers: &Answers) -> String {
        let mut out = String::new();
        self.node(&mut out, &self.start, answers, "");
        out
    }

    fn node(&self, out: &mut String, at: &str, answers: &Answers, margin: &str) {
        let at = self.follow(at, answers);
        if let Some(leaf) = self.leaf.get(at) {
            let methods: Vec<_> = leaf.advice.iter().map(|entry| entry.method.as_str()).collect();
            return out.push_str(&format!("{}\n", methods.join(", ")));
        }
        let (Some(branch), Some(question)) =
            (self.branch.get(at), self.branch.get(at).and_then(|branch| self.question.get(&branch.ask)))
        else {
            return; // a tree without it is refused
        };
        out.push_str(&format!("{} --{}\n", question.ask, branch.ask));
        for (n, answer) in question.answers.iter().enumerate() {
            let last = n + 1 == question.answers.len();
            let (turn, down) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
            out.push_str(&format!("{margin}{turn}{}: ", question.label(answer)));
            self.node(out, &branch.then[answer], answers, &format!("{margin}{down}"));
        }
    }
}

impl Method {
    /// "c 0.1 to 50000, xi 0.1".
    pub(super) fn ranges(&self) -> String {
        let number = |value: &Value| match value.as_f64() {
            Some(number) if number.abs() >= 1e5 => format!("{number:e}"),
            Some(number) => number.to_string(),
            None => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        };
        let range = |(name, values): (&String, &Vec<Value>)| {
            let between = if values.iter().all(Value::is_number) { " to " } else { " or " };
            format!("{name} {}", values.iter().map(number).collect::<Vec<_>>().join(between))
        };
        let ranges = self.ranges.iter().map(range).collect::<Vec<_>>().join(", ");
        if self.hint.is_empty() { ranges } else { format!("{ranges}. {}", self.hint) }
    }
}

impl Display for Open {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "It depends on --{} ({}), which is not said:\n\n{}",
            self.question, self.choices, self.tree
        )
    }
}

impl Display for Advice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        prose(f, "", &self.say)?;
        for (n, method) in self.methods.iter().enumerate() {
            writeln!(f, "\n{}. {}", n + 1, method.name)?;
            prose(f, "   ", &method.because)?;
            writeln!(f, "   keeps: {}", method.keeps)?;
            if !method.ranges.is_empty() {
                prose(f, "   ", &format!("try: {}", method.ranges))?;
            }
        }
        let mut grid = String::new();
        text::grid(&mut grid, &self.grid());
        write!(f, "\n{grid}")?;
        if !self.unused.is_empty() {
            writeln!(f, "\nThis does not depend on: {}", self.unused.join(", "))?;
        }
        Ok(())
    }
}

impl Advice {
    fn grid(&self) -> Grid {
        let column = |(name, numeric): (&str, _)| Column { name: name.to_owned(), numeric };
        let columns = [
            ("method", false),
            ("suite", false),
            ("row", false),
            ("scenario", false),
            ("accuracy", true),
            ("seeds", true),
            ("None", true),
            ("Joint", true),
            ("speed", true),
        ];
        let mean = |of: &Option<Summary>| of.map_or_else(|| "–".to_owned(), |of| format!("{:.2}", of.mean));
        let rows =
            self.methods.iter().flat_map(|method| method.measured.iter().map(move |row| (method, row)));
        let line = |(method, row): (&super::Advised, &super::Measured)| Line {
            status: "open",
            cells: vec![
                method.name.clone(),
                row.suite.clone(),
                row.row.clone(),
                row.scenario.clone(),
                row.ours.sem.map_or(mean(&Some(row.ours)), |sem| format!("{:.2} ± {sem:.2}", row.ours.mean)),
                row.ours.n.to_string(),
                mean(&row.lower),
                mean(&row.upper),
                row.speed.map_or_else(|| "–".to_owned(), |speed| format!("{speed:.2}")),
            ],
        };
        Grid {
            caption: "Measured: accuracy in % ± SEM; None and Joint of the same table; speed in samples per CPU second, \
                      None = 1"
                .to_owned(),
            columns: columns.map(column).into(),
            lines: rows.map(line).collect(),
        }
    }
}

/// Text in lines that are not too long.
fn prose(f: &mut Formatter<'_>, margin: &str, text: &str) -> fmt::Result {
    let mut line = margin.to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(f, "{line}")?;
            line.truncate(margin.len());
        }
        if line.len() > margin.len() {
            line.push(' ');
        }
        line.write_str(word)?;
    }
    writeln!(f, "{line}")
}
