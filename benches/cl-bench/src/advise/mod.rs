//! Which method for whom: a tree of questions whose leaves recommend methods, in order, with the rows of our
//! own tables that speak for them.
//!
//! The tree is data, `tree.toml`; a new method is a few lines there. [`Tree::parse`] refuses one that does not
//! hold together, and the numbers are taken from the committed runs, so that neither can drift.
//!
//! ```
//! use cl_bench::advise::{Tree, Walk};
//!
//! let tree = Tree::standard()?;
//! let answers = tree.answers([("labels", "no"), ("new-classes", "no"), ("memory", "200")])?;
//! let Walk::Advice(advice) = tree.walk(&answers)? else { panic!("all that matters is answered") };
//! assert_eq!(advice.methods[0].name, "DER++");
//! println!("{advice}");
//! # Ok::<(), cl_core::Error>(())
//! ```

mod evidence;
mod show;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use cl_core::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

pub use evidence::Measured;
pub use walk::{Advice, Advised, Answers, Open, Walk};

/// Questions, and what is recommended at the end of each way through them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// The branch that everyone begins at.
    start: String,
    question: BTreeMap<String, Question>,
    branch: BTreeMap<String, Branch>,
    leaf: BTreeMap<String, Leaf>,
    method: BTreeMap<String, Method>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    ask: String,
    answers: Vec<String>,
    /// The answer is a number: the largest of each answer but the last.
    #[serde(default)]
    up_to: Vec<u64>,
    /// The least number that makes sense.
    #[serde(default)]
    least: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Branch {
    ask: String,
    /// From an answer to a branch or a leaf.
    then: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaf {
    say: String,
    /// In the order of recommendation.
    advice: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    method: String,
    because: String,
    /// Rows of committed tables, by suite and scenario.
    #[serde(default)]
    measured: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Method {
    keeps: String,
    /// The ends of the range of each coefficient, or the values there are.
    #[serde(default, rename = "try")]
    ranges: BTreeMap<String, Vec<Value>>,
    #[serde(default)]
    hint: String,
}

impl Tree {
    /// The tree of this crate.
    ///
    /// # Errors
    /// None, unless its file was changed: see [`Tree::parse`].
    pub fn standard() -> Result<Self> {
        Self::parse(include_str!("tree.toml"))
    }

    /// A tree of your own, in TOML; `src/advise/tree.toml` shows how it is written.
    ///
    /// # Errors
    /// What is not such a tree: an answer that leads nowhere, a question that comes twice on one way, something that
    /// cannot be reached, a method that is not described.
    pub fn parse(text: &str) -> Result<Self> {
        let tree: Self = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        tree.check()?;
        Ok(tree)
    }

    /// The questions by name, each with its text.
    pub fn questions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.question.iter().map(|(name, question)| (name.as_str(), question.ask.as_str()))
    }

    /// The names of the methods that are recommended somewhere.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.method.keys().map(String::as_str)
    }

    fn check(&self) -> Result<()> {
        for (name, question) in &self.question {
            let numbers = question.up_to.len();
            let rising = question.up_to.is_sorted_by(|a, b| a < b);
            if question.answers.len() < 2 || numbers > 0 && numbers + 1 != question.answers.len() || !rising {
                let why = "needs two answers at least, and `up_to` rising for all but the last, or for none";
                return Err(wrong(format!("question {name}: it {why}")));
            }
        }
        for (name, branch) in &self.branch {
            let question = self.question(&branch.ask)?;
            let covered: BTreeSet<_> = branch.then.keys().collect();
            if covered != question.answers.iter().collect() {
                let why = format!(
                    "it covers {covered:?}, the answers to {} are {:?}",
                    branch.ask, question.answers
                );
                return Err(wrong(format!("branch {name}: {why}")));
            }
            if self.leaf.contains_key(name) {
                return Err(wrong(format!("{name} is a branch and a leaf")));
            }
        }
        for (name, leaf) in &self.leaf {
            if leaf.advice.is_empty() {
                return Err(wrong(format!("leaf {name}: it recommends nothing")));
            }
            for entry in &leaf.advice {
                self.method(&entry.method)?;
            }
        }
        let mut seen = BTreeSet::new();
        self.visit(&self.start, &mut Vec::new(), &mut seen)?;
        let asked = self.branch.values().map(|branch| &branch.ask).collect();
        let advised = self.leaf.values().flat_map(|leaf| &leaf.advice).map(|entry| &entry.method).collect();
        let all = [
            ("branch", self.branch.keys().collect::<BTreeSet<_>>(), &seen),
            ("leaf", self.leaf.keys().collect(), &seen),
            ("question", self.question.keys().collect(), &asked),
            ("method", self.method.keys().collect(), &advised),
        ];
        for (kind, names, reached) in all {
            if let Some(name) = names.difference(reached).next() {
                return Err(wrong(format!("{kind} {name}: nothing leads to it")));
            }
        }
        Ok(())
    }

    /// Everything that can be reached from here; no question comes twice on one way, so that every way ends.
    fn visit<'t>(
        &'t self,
        at: &'t String,
        asked: &mut Vec<&'t str>,
        seen: &mut BTreeSet<&'t String>,
    ) -> Result<()> {
        seen.insert(at);
        let Some(branch) = self.branch.get(at) else {
            let why = || wrong(format!("{at}: there is no branch and no leaf of this name"));
            return self.leaf.get(at).map(drop).ok_or_else(why);
        };
        if asked.contains(&branch.ask.as_str()) {
            return Err(wrong(format!("branch {at}: {} was asked before on this way", branch.ask)));
        }
        asked.push(&branch.ask);
        branch.then.values().try_for_each(|next| self.visit(next, asked, seen))?;
        asked.pop();
        Ok(())
    }

    fn question(&self, name: &str) -> Result<&Question> {
        self.question.get(name).ok_or_else(|| {
            let names = self.question.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Error::invalid("question", format!("there is none named {name:?}; there are {names}"))
        })
    }

    fn method(&self, name: &str) -> Result<&Method> {
        self.method
            .get(name)
            .ok_or_else(|| wrong(format!("method {name}: it is recommended and not described")))
    }
}

impl Question {
    /// The answer of the tree that was meant.
    fn read(&self, name: &str, given: &str) -> Result<&String> {
        let wrong = |why: String| Error::invalid(name, why);
        let given = given.trim();
        if self.up_to.is_empty() {
            let is = |answer: &&String| answer.eq_ignore_ascii_case(given);
            let found = self.answers.iter().find(is);
            return found
                .ok_or_else(|| wrong(format!("{given:?} is not one of {}", self.answers.join(", "))));
        }
        let number = given.parse::<u64>().ok().filter(|&number| number >= self.least);
        let number =
            number.ok_or_else(|| wrong(format!("{given:?} is not a whole number from {} on", self.least)))?;
        Ok(&self.answers[self.up_to.iter().filter(|&&up_to| number > up_to).count()])
    }

    /// What to answer with.
    fn choices(&self) -> String {
        if self.up_to.is_empty() {
            self.answers.join(", ")
        } else {
            format!("a number from {} on", self.least)
        }
    }

    /// An answer for people: a number's range beside its name.
    fn label(&self, answer: &str) -> String {
        let at = self.answers.iter().position(|a| a == answer).unwrap_or_default();
        let from = if at == 0 { self.least } else { self.up_to.get(at - 1).map_or(0, |below| below + 1) };
        match self.up_to.get(at) {
            _ if self.up_to.is_empty() => answer.to_owned(),
            Some(&to) if to == from => format!("{answer} ({to})"),
            Some(to) => format!("{answer} ({from} to {to})"),
            None => format!("{answer} ({from} or more)"),
        }
    }
}

fn wrong(why: String) -> Error {
    Error::invalid("tree of advice", why)
}
