//! The bAbI tasks (Weston et al. 2015): short stories with questions.
//!
//! A file is plain text, a sentence a line: `ID text.`, or `ID question?<TAB>answer<TAB>IDs of supporting facts`. IDs begin at 1 with
//! each story. The supporting facts are kept apart from what is asked, so that they cannot leak into an input.
//!
//! Files are looked for in `$CL_DATA_DIR/babi/en` (1000 questions a task) and `en-10k` (10 000), and are what
//! `datasets/babi.toml` says or refused. Nothing is downloaded.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use cl_core::{Error, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::Locations;

/// A story, sentence by sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Statements and questions in their order; a question may be asked in the middle.
    pub sentences: Vec<Sentence>,
}

/// A line of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The words in lower case, without the mark at the end.
    pub words: Vec<String>,
    /// What is to be answered, if it is a question.
    pub question: Option<Question>,
}

/// What is known of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The answer, in lower case: one word, or several where the file lists them with commas.
    pub answer: Vec<String>,
    /// The lines, from 1 on, that the answer follows from. Not for the one who is asked.
    pub supporting: Vec<usize>,
}

/// How many questions there are to learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// 1000.
    En,
    /// 10 000.
    #[serde(rename = "en-10k")]
    En10k,
}

impl Size {
    fn folder(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::En10k => "en-10k",
        }
    }
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Babi {
    /// The stories to learn from.
    pub train: Vec<Story>,
    /// The stories to be tested with: 1000 questions, the same for both sizes.
    pub test: Vec<Story>,
}

/// Task 1 to 20 from `$CL_DATA_DIR`.
///
/// # Errors
/// [`Error::Invalid`] for another number; [`Error::Unavailable`] if the files are not there; [`Error::Format`] for a file that is not
/// the one it should be.
pub fn load(task: usize, size: Size) -> Result<Babi> {
    load_from(Locations::from_env().data_dir.as_deref(), task, size)
}

/// The same from the folder that holds `babi`.
///
/// # Errors
/// As [`load`].
pub fn load_from(data_dir: Option<&Path>, task: usize, size: Size) -> Result<Babi> {
    let train = match size {
        Size::En => Part::Train,
        Size::En10k => Part::Train10k,
    };
    Ok(Babi {
        train: stories(data_dir, task, size, train)?,
        test: stories(data_dir, task, size, Part::Test)?,
    })
}

fn stories(data_dir: Option<&Path>, task: usize, size: Size, part: Part) -> Result<Vec<Story>> {
    if !(1..=20).contains(&task) {
        return Err(Error::invalid("bAbI task", format!("{task} is not one of 1 to 20")));
    }
    let Some(file) = manifest().files.iter().find(|file| file.task == task && file.part == part) else {
        let (what, why) = (format!("bAbI task {task} with 10 000 questions"), "no copy of it is known");
        return Err(Error::Unavailable { what, why: why.into() });
    };
    let missing = |why: String| Error::Unavailable {
        what: format!("bAbI, {}", file.name),
        why: format!("{why}; it is to be had from {}", manifest().sources.join(" and ")),
    };
    let Some(data_dir) = data_dir else { return Err(missing("CL_DATA_DIR is not set".into())) };
    let path = data_dir.join("babi").join(size.folder()).join(&file.name);
    let content = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(missing(format!("there is no {}", path.display())));
        }
        other => other.map_err(Error::io(&path))?,
    };
    if content.len() as u64 != file.bytes {
        let why = format!("{} bytes, where {} are right", content.len(), file.bytes);
        return Err(Error::format(&path, why));
    }
    let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    if digest != file.sha256 {
        return Err(Error::format(&path, format!("sha256 {digest}, where {} is right", file.sha256)));
    }
    let text = String::from_utf8(content).map_err(|error| Error::format(&path, error.to_string()))?;
    parse(&text).map_err(|why| Error::format(&path, why))
}

/// The stories of a file's text, or what is wrong with it, with the number of the line.
///
/// # Errors
/// A line without an ID, or with one that does not follow; a question without an answer, or with a supporting fact that is not a
/// line before it.
pub fn parse(text: &str) -> Result<Vec<Story>, String> {
    let mut stories: Vec<Story> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = |why: &str| format!("line {number}: {why}");
        let (id, rest) = line.split_once(' ').ok_or_else(|| wrong("no ID and text"))?;
        let id: usize = id.parse().map_err(|_| wrong("it does not begin with an ID"))?;
        if id == 1 {
            stories.push(Story { sentences: Vec::new() });
        }
        let story = stories.last_mut().ok_or_else(|| wrong("the first ID is not 1"))?;
        if id != story.sentences.len() + 1 {
            return Err(wrong(&format!("ID {id} does not follow {}", story.sentences.len())));
        }
        let (text, question) = match rest.split_once('\t') {
            None => (rest, None),
            Some((text, known)) => {
                let (answer, facts) = known.split_once('\t').ok_or_else(|| wrong("no supporting facts"))?;
                let answer: Vec<String> = answer.trim().split(',').map(str::to_lowercase).collect();
                if answer.iter().any(String::is_empty) {
                    return Err(wrong("no answer"));
                }
                let fact = |fact: &str| fact.parse().ok().filter(|fact| (1..id).contains(fact));
                let supporting = facts.split_whitespace().map(fact).collect::<Option<Vec<usize>>>();
                let supporting = supporting.ok_or_else(|| wrong("a supporting fact is not a line before"))?;
                (text, Some(Question { answer, supporting }))
            }
        };
        let words: Vec<String> =
            text.trim().trim_end_matches(['.', '?']).split_whitespace().map(str::to_lowercase).collect();
        if words.is_empty() {
            return Err(wrong("no words"));
        }
        story.sentences.push(Sentence { words, question });
    }
    Ok(stories)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "title")]
    _title: String,
    #[serde(rename = "licence")]
    _licence: String,
    #[serde(rename = "citation")]
    _citation: String,
    sources: Vec<String>,
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    task: usize,
    part: Part,
    name: String,
    bytes: u64,
    sha256: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Part {
    Train,
    #[serde(rename = "train-10k")]
    Train10k,
    Test,
}

fn manifest() -> &'static Manifest {
    static MANIFEST: OnceLock<Manifest> = OnceLock::new();
    MANIFEST.get_or_init(|| {
        toml::from_str(include_str!("../../../datasets/babi.toml")).expect("a test parses the manifest")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_has_every_task() {
        for task in 1..=20 {
            for part in [Part::Train, Part::Train10k, Part::Test] {
                let found =
                    manifest().files.iter().filter(|file| file.task == task && file.part == part).count();
                assert_eq!(found, usize::from((task, part) != (3, Part::Train10k)), "{task}, {part:?}");
            }
        }
    }
}
