//! From answers to a leaf, or to the question that decides.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write};

use cl_core::{Error, Result};

use super::evidence::{Measured, Tables};
use super::{Leaf, Tree};

/// What is known of somebody's case. Made by [`Tree::answers`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers(pub(super) BTreeMap<String, String>);

/// Where the answers lead.
#[derive(Debug, Clone)]
pub enum Walk {
    /// All that matters is answered.
    Advice(Advice),
    /// It depends on what was not said.
    Open(Open),
}

/// What is recommended. Displayed, it is the text for the terminal.
#[derive(Debug, Clone)]
pub struct Advice {
    /// The case in a sentence or two.
    pub say: String,
    /// In the order of recommendation.
    pub methods: Vec<Advised>,
    /// Questions that were answered and do not matter in this case.
    pub unused: Vec<String>,
}

/// A method that is recommended.
#[derive(Debug, Clone)]
pub struct Advised {
    /// Its name in the registry.
    pub name: String,
    /// Why it stands here.
    pub because: String,
    /// What it keeps of the past.
    pub keeps: String,
    /// Usual ranges of its coefficients; empty if it has none.
    pub ranges: String,
    /// The rows of our tables that show what it is worth.
    pub measured: Vec<Measured>,
}

/// A question that decides, and what it decides between. Displayed, it is the text for the terminal.
#[derive(Debug, Clone)]
pub struct Open {
    /// The name of the question.
    pub question: String,
    /// Its text.
    pub ask: String,
    /// What to answer with.
    pub choices: String,
    /// What is left of the tree.
    pub tree: String,
}

impl Tree {
    /// Answers by the name of their question. Where the tree asks for a number, so does this.
    ///
    /// # Errors
    /// A question or an answer that there is not; what there is, is in the message.
    pub fn answers<'a>(&self, given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Answers> {
        let read = |(name, answer)| {
            let answer = self.question(name)?.read(name, answer)?;
            Ok((name.to_owned(), answer.clone()))
        };
        Ok(Answers(given.into_iter().map(read).collect::<Result<_>>()?))
    }

    /// Goes as far as the answers lead.
    ///
    /// # Errors
    /// A tree that names rows which are not in the committed results.
    pub fn walk(&self, answers: &Answers) -> Result<Walk> {
        let leaves = self.reach(&self.start, answers);
        if let (Some(name), 1) = (leaves.first(), leaves.len()) {
            return Ok(Walk::Advice(self.advice(&self.leaf[*name], answers)?));
        }
        let name = self.decides(answers);
        let question = self.question(name)?;
        Ok(Walk::Open(Open {
            question: name.to_owned(),
            ask: question.ask.clone(),
            choices: question.choices(),
            tree: self.text(answers),
        }))
    }

    /// Asks what decides until nothing is left open. What is not an answer is said, and asked again.
    ///
    /// # Errors
    /// The input ends before that; reading or writing fails.
    pub fn interview(
        &self,
        mut answers: Answers,
        input: &mut dyn BufRead,
        output: &mut dyn Write,
    ) -> Result<Answers> {
        while self.reach(&self.start, &answers).len() > 1 {
            let name = self.decides(&answers);
            let question = self.question(name)?;
            let mut line = String::new();
            let asked = write!(output, "{} [{}] ", question.ask, question.choices())
                .and_then(|()| output.flush())
                .and_then(|()| input.read_line(&mut line));
            if asked.map_err(Error::io("terminal"))? == 0 {
                return Err(Error::invalid(name, "the input ended before this was answered"));
            }
            match question.read(name, &line) {
                Ok(answer) => drop(answers.0.insert(name.to_owned(), answer.clone())),
                Err(error) => writeln!(output, "{error}").map_err(Error::io("terminal"))?,
            }
        }
        Ok(answers)
    }

    /// The leaves that can still be reached.
    fn reach<'t>(&'t self, at: &'t str, answers: &Answers) -> BTreeSet<&'t str> {
        let at = self.follow(at, answers);
        match self.branch.get(at) {
            None => BTreeSet::from([at]),
            Some(branch) => branch.then.values().flat_map(|next| self.reach(next, answers)).collect(),
        }
    }

    /// On from here while the answer is known.
    pub(super) fn follow<'t>(&'t self, mut at: &'t str, answers: &Answers) -> &'t str {
        while let Some(branch) = self.branch.get(at) {
            match answers.0.get(&branch.ask).and_then(|answer| branch.then.get(answer)) {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }

    /// The first open question whose answers lead to different leaves. There is one, as more than one can be reached.
    fn decides<'t>(&'t self, answers: &Answers) -> &'t str {
        let (mut at, mut asked) = (self.start.as_str(), "");
        while let Some(branch) = self.branch.get(self.follow(at, answers)) {
            asked = &branch.ask;
            let mut next = branch.then.values();
            let Some(first) = next.next() else { break };
            let ends = self.reach(first, answers);
            if next.any(|other| self.reach(other, answers) != ends) {
                break;
            }
            at = first;
        }
        asked
    }

    fn advice(&self, leaf: &Leaf, answers: &Answers) -> Result<Advice> {
        let mut tables = Tables::default();
        let mut methods = Vec::new();
        for entry in &leaf.advice {
            let method = self.method(&entry.method)?;
            let mut measured = Vec::new();
            for (suite, scenarios) in &entry.measured {
                for (scenario, rows) in scenarios {
                    for row in rows {
                        measured.push(tables.row(suite, scenario, row)?);
                    }
                }
            }
            methods.push(Advised {
                name: entry.method.clone(),
                because: entry.because.clone(),
                keeps: method.keeps.clone(),
                ranges: method.ranges(),
                measured,
            });
        }
        Ok(Advice { say: leaf.say.clone(), methods, unused: self.unused(answers) })
    }

    /// The answers that no branch on the way has asked for.
    fn unused(&self, answers: &Answers) -> Vec<String> {
        let without = |name: &&String| {
            let mut fewer = answers.clone();
            fewer.0.remove(*name);
            self.reach(&self.start, &fewer).len() == 1
        };
        answers.0.keys().filter(without).cloned().collect()
    }
}
