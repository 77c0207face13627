//! `babi`: questions about short stories, each task for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use candle_core::{D, DType, Device, Tensor};
use cl_core::{Error, Result, TensorOps, Units};
use cl_data::babi::{Babi, Size, Story, load};
use cl_working_memory::controller::Controller;
use cl_working_memory::{Config, Dnc, MemoryAccess};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::train::{Training, train};
use super::watch::Watched;
use super::{Asked, Learned, Measure, Row, Suite};

/// A row for each of these tasks.
macro_rules! rows {
    ($($task:literal)*) => {
        &[$(Row {
            name: concat!("task ", $task),
            protocol: || protocol($task),
            learn: |seed, stop| learn(Protocol::of($task), seed, stop),
        }),*]
    };
}

const SOURCE: &str = "the bAbI tasks of Weston et al. 2015, arXiv 1502.05698, with the memory of Graves et al. 2016, Nature 538";

const MEASURES: &[Measure] = &[
    Measure { name: ERROR, asked: Some(Asked::AtMost(2.0)), of: &["task 1"] },
    Measure { name: BLIND, asked: None, of: &[] },
];

const NOTES: &[&str] = &[
    "Each task is learned for itself, from its 10 000 questions; the paper's machine learned all 20 at once, which takes more \
     than two cores and an hour. The numbers cannot be compared.",
    "A sentence is one step, its words' one-hot codes side by side; the paper has a word a step. After a question come steps of \
     silence in which to look something up; the last of them is where the answer is asked for.",
    "The controller remembers nothing itself, and there are no links. In training the stories of a batch are cut behind their \
     first, second, .. or last question, drawn for each batch: what a question needs is learned where little stands before it.",
    "Errors are of questions of the test files. Supporting facts are not used.",
];

/// `cargo xtask bench babi`.
pub static SUITE: Suite = Suite {
    name: "babi",
    title: "bAbI with a memory",
    source: SOURCE,
    seeds: 3,
    rows: rows![1 2 6 15],
    measures: MEASURES,
    notes: NOTES,
};

/// `cargo xtask bench babi-20`: all of them, some of which have stories of more than two hundred sentences.
pub static ALL: Suite = Suite {
    name: "babi-20",
    title: "All of bAbI with a memory",
    source: SOURCE,
    seeds: 3,
    rows: rows![1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20],
    measures: MEASURES,
    notes: NOTES,
};

const ERROR: &str = "test error";
const BLIND: &str = "test error, reads zeroed";

/// What is held fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Protocol {
    task: usize,
    size: Size,
    /// Steps of silence after a question.
    silence: usize,
    slots: usize,
    memory: MemoryAccess,
    controller: Controller,
    training: Training,
}

impl Protocol {
    fn of(task: usize) -> Self {
        Self {
            task,
            size: Size::En10k,
            silence: 1,
            slots: 32,
            memory: MemoryAccess { width: 24, heads: 2, link: false, ..MemoryAccess::default() },
            controller: Controller::FeedForward { units: vec![64] },
            training: Training { steps: 4000, batch: 16, lr: 3e-3, clip: 10.0 },
        }
    }
}

fn protocol(task: usize) -> Result<serde_json::Value> {
    serde_json::to_value(Protocol::of(task)).map_err(|e| Error::invalid("protocol", e.to_string()))
}

/// Words and answers as numbers.
struct Codes {
    words: BTreeMap<String, usize>,
    answers: BTreeMap<String, usize>,
    /// The most words of a sentence.
    longest: usize,
}

/// A story as numbers: for each step the units of the input that are 1, and what is to be answered there.
struct Encoded {
    steps: Vec<Vec<usize>>,
    /// Step and answer.
    asked: Vec<(usize, u32)>,
}

impl Codes {
    /// Of all that a task has. The answers of the test are among those of the training, or cannot be given.
    fn of(babi: &Babi) -> Self {
        let sentences = || babi.train.iter().chain(&babi.test).flat_map(|story| &story.sentences);
        let numbered =
            |all: BTreeSet<String>| all.into_iter().enumerate().map(|(k, word)| (word, k)).collect();
        let words = sentences().flat_map(|sentence| sentence.words.iter().cloned()).collect();
        let answers = sentences().filter_map(|s| s.question.as_ref()).map(|q| q.answer.join(",")).collect();
        let longest = sentences().map(|sentence| sentence.words.len()).max().unwrap_or(0);
        Self { words: numbered(words), answers: numbered(answers), longest }
    }

    /// A unit for each word at each place, one that says that a question was asked.
    fn inputs(&self) -> usize {
        self.longest * self.words.len() + 1
    }

    fn encode(&self, story: &Story, silence: usize) -> Encoded {
        let (mut steps, mut asked) = (Vec::new(), Vec::new());
        for sentence in &story.sentences {
            let places = sentence.words.iter().enumerate();
            let mut units: Vec<usize> =
                places.map(|(place, word)| place * self.words.len() + self.words[word]).collect();
            if let Some(question) = &sentence.question {
                units.push(self.inputs() - 1);
                steps.push(units);
                steps.extend(std::iter::repeat_n(Vec::new(), silence));
                asked.push((steps.len() - 1, self.answers[&question.answer.join(",")] as u32));
            } else {
                steps.push(units);
            }
        }
        Encoded { steps, asked }
    }
}

/// Stories side by side, cut behind so many questions, filled up with silence: (t, b, inputs); and the rows of (t·b) in which
/// something is asked, with answers.
fn batch(stories: &[&Encoded], questions: usize, inputs: usize) -> Result<(Tensor, Tensor, Tensor)> {
    let asked = |story: &Encoded| story.asked.len().min(questions);
    let end = |story: &Encoded| story.asked[..asked(story)].last().map_or(0, |(step, _)| step + 1);
    let (b, t) = (stories.len(), stories.iter().map(|story| end(story)).max().unwrap_or(0));
    let mut x = vec![0f32; t * b * inputs];
    let (mut rows, mut answers) = (Vec::new(), Vec::new());
    for (k, story) in stories.iter().enumerate() {
        for (step, units) in story.steps[..end(story)].iter().enumerate() {
            units.iter().for_each(|unit| x[(step * b + k) * inputs + unit] = 1.0);
        }
        let asked = &story.asked[..asked(story)];
        rows.extend(asked.iter().map(|(step, _)| (step * b + k) as u32));
        answers.extend(asked.iter().map(|(_, answer)| *answer));
    }
    let device = &Device::Cpu;
    Ok((
        Tensor::from_vec(x, (t, b, inputs), device)?,
        Tensor::new(rows.as_slice(), device)?,
        Tensor::new(answers.as_slice(), device)?,
    ))
}

/// The logits where something is asked.
fn answered(outputs: &Tensor, rows: &Tensor) -> Result<Tensor> {
    Ok(outputs.flatten(0, 1)?.index_select(rows, 0)?)
}

/// How many of the answers are wrong.
fn wrong(logits: &Tensor, answers: &Tensor) -> Result<f64> {
    let wrong = logits.argmax(D::Minus1)?.ne(answers)?.to_dtype(DType::F32)?.sum_all()?;
    Ok(f64::from(wrong.to_scalar::<f32>()?))
}

fn learn(protocol: Protocol, seed: u64, stop: &AtomicBool) -> Result<Learned> {
    let Protocol { task, size, silence, slots, memory, controller, training } = protocol;
    let babi = load(task, size)?;
    let codes = Codes::of(&babi);
    let encoded = |stories: &[Story]| -> Vec<Encoded> {
        stories.iter().map(|story| codes.encode(story, silence)).collect()
    };
    let (stories, test) = (encoded(&babi.train), encoded(&babi.test));
    let (inputs, outputs) = (codes.inputs(), codes.answers.len());
    let config = Config { inputs, outputs, slots, memory, controller };
    let dnc = Dnc::new(config, DType::F32, &Device::Cpu, &mut cl_core::rng(seed, "weights"))?;
    let rng = &mut cl_core::rng(seed, "stories");
    let most = stories.iter().map(|story| story.asked.len()).max().unwrap_or(1);
    let (curve, not_finite) = train(&dnc, &training, stop, || {
        let questions = rng.random_range(1..=most);
        let drawn = (0..training.batch).map(|_| &stories[rng.random_range(0..stories.len())]);
        let (x, rows, answers) = batch(&drawn.collect::<Vec<_>>(), questions, inputs)?;
        let (y, _) = dnc.forward(&x, &dnc.state(training.batch)?)?;
        let logits = answered(&y, &rows)?;
        let error = wrong(&logits, &answers)? / answers.elem_count() as f64;
        Ok((logits.cross_entropy(&answers, Units::All, None)?, error))
    })?;

    let mut measured = BTreeMap::new();
    for (name, seeing) in [(ERROR, true), (BLIND, false)] {
        let (mut errors, mut of) = (0.0, 0);
        for some in test.chunks(50) {
            let (x, rows, answers) = batch(&some.iter().collect::<Vec<_>>(), usize::MAX, inputs)?;
            let state = dnc.state(some.len())?;
            let (y, _) = if seeing { dnc.forward(&x, &state)? } else { dnc.forward_blind(&x, &state)? };
            errors += wrong(&answered(&y, &rows)?, &answers)?;
            of += answers.elem_count();
        }
        measured.insert(name.to_owned(), 100.0 * errors / of.max(1) as f64);
    }
    let shown = babi.test.iter().zip(&test).min_by_key(|(_, encoded)| encoded.steps.len());
    let watched = match shown {
        Some((story, encoded)) => {
            let (x, _, _) = batch(&[encoded], usize::MAX, inputs)?;
            let sentences = story.sentences.iter().map(|sentence| sentence.words.join(" "));
            let what = format!(
                "{silence} steps of silence after each question; {}",
                sentences.collect::<Vec<_>>().join(". ")
            );
            vec![Watched::of(what, &dnc, &x, dnc.state(1)?)?]
        }
        None => Vec::new(),
    };
    Ok(Learned { steps: training.steps, not_finite, curve, measured, watched })
}

/// So few steps that little is learned.
#[cfg(test)]
pub(super) fn short(task: usize, seed: u64, stop: &AtomicBool) -> Result<Learned> {
    let mut protocol = Protocol { size: Size::En, ..Protocol::of(task) };
    protocol.training.steps = 4;
    learn(protocol, seed, stop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str =
        "1 Mary went home.\n2 Where is Mary?\thome\t1\n3 John went out.\n4 Where is Mary?\thome\t1\n";

    /// A step for each sentence, silence after questions, the answer in the last of it and nowhere in the input.
    #[test]
    fn a_story_as_steps() {
        let story = cl_data::babi::parse(TEXT).unwrap();
        let codes = Codes::of(&Babi { train: story.clone(), test: Vec::new() });
        // home is john mary out went where
        assert_eq!((codes.words.len(), codes.answers.len(), codes.longest, codes.inputs()), (7, 1, 3, 22));
        let Encoded { steps, asked } = codes.encode(&story[0], 2);
        let (home, went, mary, question) = (0, 5, 3, 21);
        assert_eq!(steps[0], [mary, 7 + went, 14 + home]);
        assert_eq!(steps[1], [6, 7 + 1, 14 + mary, question]);
        assert!(steps[2].is_empty() && steps[3].is_empty() && steps.len() == 8);
        assert_eq!(asked, [(3, 0), (7, 0)]);
        let encoded = Encoded { steps, asked };
        let short = Encoded { steps: vec![vec![2]], asked: vec![(0, 0)] };
        let (x, rows, answers) = batch(&[&encoded, &short], usize::MAX, 22).unwrap();
        assert_eq!((x.dims(), answers.dims()), (&[8, 2, 22][..], &[3][..]));
        assert_eq!(rows.to_vec1::<u32>().unwrap(), [6, 14, 1]);
        assert_eq!(x.sum_all().unwrap().to_scalar::<f32>().unwrap(), (3 + 4 + 3 + 4 + 1) as f32);
        // Cut behind the first question, nothing of what comes after is there.
        let (x, rows, _) = batch(&[&encoded, &short], 1, 22).unwrap();
        assert_eq!((x.dims(), rows.to_vec1::<u32>().unwrap()), (&[4, 2, 22][..], vec![6, 1]));
        assert_eq!(x.sum_all().unwrap().to_scalar::<f32>().unwrap(), (3 + 4 + 1) as f32);
    }
    /// Of every task all stories can be told in steps, and all answers of the test can be given.
    #[test]
    fn all_twenty_tasks_can_be_told() {
        if std::env::var_os("CL_DATA_DIR").is_none_or(|dir| !std::path::Path::new(&dir).join("babi").exists())
        {
            println!("skipped: no babi in CL_DATA_DIR");
            return;
        }
        for row in ALL.rows {
            let task = row.name.strip_prefix("task ").unwrap().parse().unwrap();
            let babi = load(task, Size::En).unwrap();
            let codes = Codes::of(&babi);
            for story in babi.train.iter().chain(&babi.test) {
                let Encoded { steps, asked } = codes.encode(story, 1);
                assert!(
                    !asked.is_empty() && steps.iter().flatten().all(|&unit| unit < codes.inputs()),
                    "{task}"
                );
                assert_eq!(steps.len(), story.sentences.len() + asked.len(), "{task}");
            }
            let (x, rows, answers) =
                batch(&[&codes.encode(&babi.test[0], 1)], usize::MAX, codes.inputs()).unwrap();
            assert_eq!(x.dims()[1..], [1, codes.inputs()]);
            assert_eq!(rows.dims(), answers.dims());
        }
        assert_eq!(ALL.rows.len(), 20);
    }
}
