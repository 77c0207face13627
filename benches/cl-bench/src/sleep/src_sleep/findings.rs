//! What each sleep brings back, and what is claimed of it.

use cl_core::Result;
use cl_metrics::Summary;

use super::{Part, Protocol};
use crate::experiment::{Experiment, Run};
use crate::paired::Mean;
use crate::report::study::{Chart, Claim, Section, Study};
use crate::report::svg::{Axis, Point, Series};
use crate::report::view::{Column, Grid, Line};
use crate::speed::Spread;

const PAPER: &str = "Tadros et al. 2022";
const OURS: &str = "our aim";

const NOTES: &[&str] = &[
    "Accuracy is over all test images, as the authors' `nntest` has it, unless it is said to be of tasks. The paper's mean for MNIST, \
     about 48 %, is quoted second-hand and is no gate here.",
    "± is the half width of a 95 % interval over seeds, by Student's t; what is compared is compared seed by seed.",
    "A sleep is driven by the mean of the images that the network was trained on; the authors take that of all training images of the \
     classes seen. The scales of the layers are theirs: of the largest activations on all training images of the classes seen so far.",
    "The first sleep has nothing to bring back, and costs some of the only task there is.",
    "Held back: the weights go back towards those before the first sleep, by halves, until it costs at most half a point on the first task's \
     training images. That is not the paper's. Leaving the first sleep out, or making it shorter, was tried on the way to it: without it \
     less is there at the end, and a shorter one costs as much.",
];

/// The runs of a part, by what they measured.
struct Found<'a> {
    protocol: &'a Protocol,
    runs: &'a [&'a Run<Part>],
}

/// A run: the accuracy on every task after each phase, before it slept and after.
struct Phases<'a> {
    seed: u64,
    tasks: usize,
    before: &'a [f64],
    after: &'a [f64],
    images: &'a [f64],
}

impl Phases<'_> {
    /// Over all test images, after the last phase.
    fn overall(&self) -> f64 {
        let last = &self.after[self.after.len() - self.tasks..];
        let right: f64 = last.iter().zip(self.images).map(|(accuracy, images)| accuracy * images).sum();
        right / self.images.iter().sum::<f64>()
    }

    /// The mean over some of the tasks, in one of both.
    fn mean(&self, of: &[f64], phase: usize, tasks: std::ops::Range<usize>) -> f64 {
        let n = tasks.len();
        of[phase * self.tasks..][tasks].iter().sum::<f64>() / n as f64
    }
}

pub fn study(protocol: &Protocol, runs: &[&Run<Part>]) -> Result<Study> {
    let found = Found { protocol, runs };
    let (joint, control, sleep) =
        (found.phases(Part::Joint)?, found.phases(Part::Control)?, found.phases(Part::Sleep)?);
    let later = found.phases(Part::HeldBack)?;
    Ok(Study {
        title: "Sleep replay consolidation",
        suite: Protocol::NAME,
        source: PAPER,
        claims: found.claims(&joint, &control, &sleep, &later),
        sections: vec![
            found.overall([
                (Part::Joint, &joint),
                (Part::Control, &control),
                (Part::Sleep, &sleep),
                (Part::HeldBack, &later),
            ]),
            found.sleeps(Part::Sleep, &control, &sleep),
            found.sleeps(Part::HeldBack, &control, &later),
            found.tasks(&control, &sleep),
        ],
        protocol: found.protocol_lines(),
        notes: NOTES.iter().map(|&note| note.into()).collect(),
    })
}

impl Found<'_> {
    /// In the order of their seeds.
    fn phases(&self, part: Part) -> Result<Vec<Phases<'_>>> {
        let mut all = Vec::new();
        for run in self.runs.iter().filter(|run| run.part == part) {
            let (after, images) = (run.values("after")?, run.values("test images")?);
            let before = if part.sleeps() { run.values("before")? } else { after };
            all.push(Phases { seed: run.seed, tasks: images.len(), before, after, images });
        }
        all.sort_by_key(|phases| phases.seed);
        Ok(all)
    }

    fn overall(&self, parts: [(Part, &[Phases<'_>]); 4]) -> Section {
        let lines = parts.map(|(part, runs)| {
            let all: Vec<f64> = runs.iter().map(Phases::overall).collect();
            let cells = match (Summary::of(&all), Spread::of(&all)) {
                (Ok(summary), Some(spread)) => {
                    let std = summary.std.map_or("one seed".into(), |std| format!("{:.1}", 100.0 * std));
                    [percent(summary.mean), std, percent(spread.min), percent(spread.max)]
                }
                _ => ["not run", "", "", ""].map(str::to_owned),
            };
            Line::open([part.to_string()].into_iter().chain(cells))
        });
        let columns = ["mean", "standard deviation", "lowest", "highest"].map(Column::numbers);
        Section {
            heading: "At the end",
            grid: Grid {
                caption: "At the end: accuracy over all test images, %".into(),
                columns: [Column::words("training")].into_iter().chain(columns).collect(),
                lines: lines.into(),
            },
            chart: None,
            pictures: Vec::new(),
        }
    }

    fn sleeps(&self, part: Part, control: &[Phases<'_>], sleep: &[Phases<'_>]) -> Section {
        let phases = self.protocol.tasks;
        let of =
            |runs: &[Phases<'_>], phase: usize, tasks: std::ops::Range<usize>, before: bool| -> Vec<f64> {
                let mean = |run: &Phases<'_>| {
                    run.mean(if before { run.before } else { run.after }, phase, tasks.clone())
                };
                runs.iter().map(mean).collect()
            };
        let cell = |values: &[f64]| Mean::of(values).map_or("–".into(), |mean| percent(mean.mean));
        let lines = (0..phases).map(|phase| {
            let (before, after) =
                (of(sleep, phase, 0..phase + 1, true), of(sleep, phase, 0..phase + 1, false));
            let change = Mean::of_differences(&before, &after);
            let mut cells = vec![(phase + 1).to_string(), cell(&of(control, phase, 0..phase + 1, false))];
            cells.extend([cell(&before), cell(&after)]);
            cells.push(change.map_or("–".into(), |change| change.text(100.0, 1, true)));
            // The earlier tasks, and the one just learned.
            for (tasks, none) in [(0..phase, phase == 0), (phase..phase + 1, false)] {
                for before in [true, false] {
                    cells.push(if none {
                        "–".into()
                    } else {
                        cell(&of(sleep, phase, tasks.clone(), before))
                    });
                }
            }
            Line::open(cells)
        });
        let columns = [
            "sleep",
            "no sleep",
            "before",
            "after",
            "difference",
            "earlier tasks before",
            "earlier tasks after",
            "last task before",
            "last task after",
        ];
        let point = |runs: &[Phases<'_>], phase: usize, before| {
            let Spread { median, min, max, .. } = Spread::of(&of(runs, phase, 0..phase + 1, before))?;
            Some(Point { x: (phase + 1) as f64, low: 100.0 * min, median: 100.0 * median, high: 100.0 * max })
        };
        let series =
            [("no sleep", control, false), ("before sleep", sleep, true), ("after sleep", sleep, false)];
        let series = series.map(|(name, runs, before)| Series {
            name: name.into(),
            points: (0..phases).filter_map(|phase| point(runs, phase, before)).collect(),
            theory: false,
        });
        Section {
            heading: match part {
                Part::HeldBack => "What each sleep brings back, the first held back",
                _ => "What each sleep brings back",
            },
            grid: Grid {
                caption: format!(
                    "{part}, what each sleep brings back: mean accuracy over the tasks seen so far, %"
                ),
                columns: columns.map(Column::numbers).into(),
                lines: lines.collect(),
            },
            chart: Some(Chart {
                series: series.into(),
                axes: [Axis::linear("tasks seen"), Axis::linear("accuracy over them, %")],
                caption: "Medians over seeds, and a band from the smallest to the largest.",
            }),
            pictures: Vec::new(),
        }
    }

    fn tasks(&self, control: &[Phases<'_>], sleep: &[Phases<'_>]) -> Section {
        let tasks = self.protocol.tasks;
        let lines = [(Part::Control, control), (Part::Sleep, sleep)].map(|(part, runs)| {
            let cells = (0..tasks).map(|task| {
                let of: Vec<f64> =
                    runs.iter().map(|run| run.mean(run.after, tasks - 1, task..task + 1)).collect();
                Mean::of(&of).map_or("not run".into(), |mean| mean.text(100.0, 1, false))
            });
            Line::open([part.to_string()].into_iter().chain(cells))
        });
        let columns = (1..=tasks).map(|task| Column::numbers(format!("task {task}")));
        Section {
            heading: "At the end, task by task",
            grid: Grid {
                caption: "At the end, task by task: accuracy, %".into(),
                columns: [Column::words("training")].into_iter().chain(columns).collect(),
                lines: lines.into(),
            },
            chart: None,
            pictures: Vec::new(),
        }
    }

    fn claims(
        &self,
        joint: &[Phases<'_>],
        control: &[Phases<'_>],
        sleep: &[Phases<'_>],
        later: &[Phases<'_>],
    ) -> Vec<Claim> {
        let overall = |runs: &[Phases<'_>]| -> Vec<f64> { runs.iter().map(Phases::overall).collect() };
        let (joint, none, slept) = (overall(joint), overall(control), overall(sleep));
        let mut claims = Vec::new();
        let mut claim = |source: &str, text: &str, asked: &str, found: Option<(String, bool)>| {
            let (found, holds) = match found {
                Some((found, holds)) => (found, Some(holds)),
                None => ("runs are missing".into(), None),
            };
            let (source, text, asked) = (source.into(), text.into(), asked.into());
            claims.push(Claim { source, text, asked, found, holds });
        };
        let text = |mean: Mean| format!("{} %", mean.text(100.0, 1, false));
        claim(
            PAPER,
            "without sleep only the last task is left",
            "a mean of at most 20 %",
            Mean::of(&none).map(|mean| (text(mean), mean.mean <= 0.20)),
        );
        claim(
            PAPER,
            "with sleep after every task much of the earlier ones is there (the paper: about 48 %)",
            "a mean of at least 42 %",
            Mean::of(&slept).map(|mean| (text(mean), mean.mean >= 0.42)),
        );
        let least = |values: &[f64]| values.iter().copied().min_by(f64::total_cmp);
        let gains: Vec<f64> = none.iter().zip(&slept).map(|(none, slept)| slept - none).collect();
        claim(
            PAPER,
            "whatever the seed, sleep is better than none",
            "every seed at least 10 points above its run without",
            least(&gains)
                .filter(|_| none.len() == slept.len())
                .map(|least| (format!("{:.1} points the least", 100.0 * least), least >= 0.10)),
        );
        let tasks = self.protocol.tasks;
        let changes = |runs: &[Phases<'_>]| -> Option<Vec<f64>> {
            let of = |run: &Phases<'_>, phase: usize| {
                run.mean(run.after, phase, 0..phase + 1) - run.mean(run.before, phase, 0..phase + 1)
            };
            let mean = |phase| Mean::of(&runs.iter().map(|run| of(run, phase)).collect::<Vec<_>>());
            (0..tasks).map(|phase| Some(mean(phase)?.mean)).collect()
        };
        let points = |least: f64| format!("{:+.1} points the least", 100.0 * least);
        claim(
            PAPER,
            "each sleep from the second task on brings more back than it takes",
            "the mean accuracy over the tasks seen is higher after each of them than before it",
            changes(sleep)
                .and_then(|changes| least(changes.get(1..)?))
                .map(|least| (points(least), least > 0.0)),
        );
        claim(
            PAPER,
            "no sleep takes anything, the first included",
            "the mean accuracy over the tasks seen is at most 1 point lower after each sleep than before it",
            changes(sleep).and_then(|changes| least(&changes)).map(|least| (points(least), least >= -0.01)),
        );
        let later_at_the_end = overall(later);
        claim(
            OURS,
            "first sleep held back: as much is there at the end",
            "a mean of at least 42 %",
            Mean::of(&later_at_the_end).map(|mean| (text(mean), mean.mean >= 0.42)),
        );
        let gains: Vec<f64> = none.iter().zip(&later_at_the_end).map(|(none, slept)| slept - none).collect();
        claim(
            OURS,
            "first sleep held back: better than none, whatever the seed",
            "every seed at least 10 points above its run without",
            least(&gains)
                .filter(|_| none.len() == later.len())
                .map(|least| (format!("{:.1} points the least", 100.0 * least), least >= 0.10)),
        );
        claim(
            OURS,
            "first sleep held back: no sleep takes anything",
            "the mean accuracy over the tasks seen is at most 1 point lower after each sleep than before it",
            changes(later).and_then(|changes| least(&changes)).map(|least| (points(least), least >= -0.01)),
        );
        let first: Vec<f64> = sleep.iter().map(|run| run.mean(run.after, tasks - 1, 0..1)).collect();
        claim(
            PAPER,
            "the first task is still there at the end",
            "a mean of at least 40 % on it",
            Mean::of(&first).map(|mean| (text(mean), mean.mean >= 0.40)),
        );
        claim(
            PAPER,
            "training on everything at once stays far above",
            "a mean above that with sleep",
            Mean::of(&joint)
                .zip(Mean::of(&slept))
                .map(|(joint, slept)| (text(joint), joint.mean > slept.mean)),
        );
        claims
    }

    fn protocol_lines(&self) -> Vec<(String, String)> {
        let p = self.protocol;
        let mut seeds: Vec<u64> = self.runs.iter().map(|run| run.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let mut versions: Vec<String> = self.runs.iter().map(|run| run.version.clone()).collect();
        versions.sort();
        versions.dedup();
        [
            ("seeds", seeds.len().to_string()),
            (
                "data",
                format!(
                    "{}, {} tasks, the class scenario; the first {} images of each task, or all images at once",
                    p.data, p.tasks, p.images
                ),
            ),
            ("training", serde_json::json!(p.training).to_string()),
            ("method", format!("SRC, {}", p.method)),
            ("version", versions.join(", ")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

fn percent(part: f64) -> String {
    format!("{:.1}", 100.0 * part)
}
