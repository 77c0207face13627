//! Tables and curves, and what is claimed of them.

use cl_core::Result;

use super::deadline::{IN_P99, RETURNING, SECONDS, WORKING};
use super::routing::{ARBITERS, BUDGETS, SHARE, shares};
use super::{Part, Protocol};
use crate::experiment::Run;
use crate::paired::Mean;
use crate::report::study::{Chart, Claim, Section, Study};
use crate::report::svg::{Axis, Point, Series};
use crate::report::view::{Column, Grid, Line};
use crate::speed::Spread;

/// What arbiters are called in tables.
const NAMES: [&str; 4] = ["maximum softmax", "margin", "entropy", "learned rule"];
const MAX_SOFTMAX: usize = 0;
const LEARNED: usize = 3;

/// What was measured before on MNIST with maximum softmax, three seeds.
const BASELINE: &str = "0.731 ± 0.019";

/// The runs, by what they measured.
struct Found<'a> {
    protocol: &'a Protocol,
    runs: &'a [&'a Run<Part>],
}

pub fn study(suite: &'static str, protocol: &Protocol, runs: &[&Run<Part>]) -> Result<Study> {
    let found = Found { protocol, runs };
    let parts: Vec<Part> = Part::ROUTED.into_iter().filter(|part| protocol.parts.contains(part)).collect();
    let mut sections = Vec::new();
    for &part in &parts {
        sections.push(found.arbiters(part));
    }
    sections.push(found.doubts());
    sections.push(found.budgets(&parts));
    sections.push(found.chosen(&parts));
    if protocol.parts.contains(&Part::Deadline) {
        sections.push(found.deadlines());
    }
    Ok(Study {
        title: "A fast system, a slow one, and what decides between them",
        suite,
        source: "maximum softmax, what is aimed at, and Jitkrittum et al. 2023",
        claims: found.claims(&parts),
        sections,
        protocol: found.protocol_lines(),
        notes: NOTES.iter().map(|&note| note.into()).collect(),
    })
}

const NOTES: &[&str] = &[
    "A is the area under the deferral curve, 0 for rows in any order and 1 for an oracle that knows which system is right. `A at equal cost` \
     charges an arbiter for its own multiply-adds: it defers so many rows fewer.",
    "AUROC: how well an arbiter tells the rows that System 1 has wrong, and those of them that System 2 has right, from the others. AURC is \
     the mean risk of System 1 over all coverages, E-AURC what of it lies above the best order.",
    "The learned rule sees System 1's ten log-probabilities and its 32 hidden units, and is fitted to the third of the training set that \
     neither system has seen, under the same noise or rotation: it is recalibrated, the systems are not. Maximum softmax has nothing to \
     be fitted.",
    "Rates, epochs and the size of the rule were chosen by what the test images said of seeds 0 to 2, with networks that were trained a \
     little otherwise.",
    "Intervals are of the differences between two arbiters on the same networks, over seeds: mean ± t · SEM, 95 %.",
    "Label noise: the test labels are right. In half of the classes: they are as noisy as the others, so that there System 2 cannot be right \
     either. Rotation: networks that saw upright images only.",
    "Deadlines: one image a request. A request is late if its answer comes after the deadline; at the 99th percentile of System 1 one in a \
     hundred is, whatever System 2 does, and a machine that turns to something else makes others late: beside it stands how many are \
     with System 1 alone. It is missed if it is late and System 2 had been asked. Once System 2 is behind it is not asked, so \
     that one that stalls for ever costs a single wait. Waits end 5 ms before the deadline, and where less than that is left it is not asked at all. \
     At the 99th percentile itself, what it takes to ask the arbiter counts too.",
];

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

impl Found<'_> {
    /// Of each seed one number.
    fn of_seeds(&self, part: Part, name: &str, at: usize) -> Option<Vec<f64>> {
        let runs = self.runs.iter().filter(|run| run.part == part);
        let all: Vec<f64> = runs.map(|run| run.values(name).ok()?.get(at).copied()).collect::<Option<_>>()?;
        (!all.is_empty()).then_some(all)
    }

    fn mean(&self, part: Part, name: &str, at: usize) -> Option<f64> {
        self.of_seeds(part, name, at).map(|all| mean(&all))
    }

    fn cell(&self, part: Part, name: &str, at: usize, write: impl Fn(f64) -> String) -> String {
        self.mean(part, name, at).map_or_else(|| "not run".into(), write)
    }

    /// By how much the learned rule is better than maximum softmax, cost charged.
    fn difference(&self, part: Part) -> Option<Mean> {
        let [a, b] = [MAX_SOFTMAX, LEARNED].map(|at| self.of_seeds(part, "area_at_cost", at));
        Mean::of_differences(&a?, &b?)
    }

    fn arbiters(&self, part: Part) -> Section {
        let columns = [
            "arbiter",
            "A",
            "A at equal cost",
            "AUROC, 1 wrong",
            "AUROC, 2 helps",
            "AURC",
            "E-AURC",
            "at 5 %",
            "at 10 %",
            "at 20 %",
            "at 30 %",
        ];
        let three = |x: f64| format!("{x:.3}");
        let four = |x: f64| format!("{x:.4}");
        let lines = (0..ARBITERS.len()).map(|at| {
            let area = self.of_seeds(part, "area", at).as_deref().and_then(Mean::of);
            let area = area.map_or_else(|| "not run".into(), |area| area.text(1.0, 3, false));
            let mut cells = vec![NAMES[at].to_owned(), area, self.cell(part, "area_at_cost", at, three)];
            cells.extend(["auroc_wrong", "auroc_gained"].map(|name| self.cell(part, name, at, three)));
            cells.extend(["aurc", "e_aurc"].map(|name| self.cell(part, name, at, four)));
            let curve = format!("curve.{}", ARBITERS[at]);
            // 5 % lies between two stored points.
            let five = self.mean(part, &curve, 2).zip(self.mean(part, &curve, 3)).map(|(a, b)| 0.5 * (a + b));
            cells.push(five.map_or_else(|| "not run".into(), percent));
            cells.extend([5, 10, 15].map(|point| self.cell(part, &curve, point, percent)));
            Line::open(cells)
        });
        let [one, two] = [0, 1].map(|at| self.cell(part, "accuracy", at, percent));
        let mut series: Vec<Series> = [MAX_SOFTMAX, LEARNED]
            .map(|at| self.series(part, NAMES[at], &format!("curve.{}", ARBITERS[at])))
            .into();
        series.push(Series { theory: true, ..self.series(part, "oracle", "curve.oracle") });
        let ends = self.mean(part, "accuracy", 0).zip(self.mean(part, "accuracy", 1));
        series.extend(ends.map(|(one, two)| Series {
            name: "in any order".into(),
            points: vec![Point::exact(0.0, 100.0 * one), Point::exact(100.0, 100.0 * two)],
            theory: true,
        }));
        let (heading, about) = match part {
            Part::Clean | Part::Deadline => ("Clean", "as they are"),
            Part::Noise => ("Label noise", "30 % of the labels that are learned from drawn anew"),
            Part::ClassNoise => (
                "Label noise in half of the classes",
                "30 % of the labels of half of the classes drawn anew, in the test too",
            ),
            Part::Rotation => ("Rotation", "images turned by up to 60° to either side, networks as before"),
        };
        Section {
            heading,
            grid: Grid {
                caption: format!(
                    "{heading}: {about}. System 1 has {one} % right, System 2 {two} %; accuracies in %"
                ),
                columns: columns.iter().enumerate().map(|(at, name)| column(at, name)).collect(),
                lines: lines.collect(),
            },
            chart: Some(Chart {
                series,
                axes: [Axis::linear("deferred, %"), Axis::linear("accuracy, %")],
                caption: "Medians over seeds, and a band from the smallest to the largest.",
            }),
            pictures: Vec::new(),
        }
    }

    fn series(&self, part: Part, name: &str, values: &str) -> Series {
        let point = |(at, share): (usize, f64)| {
            let Spread { median, min, max, .. } = Spread::of(&self.of_seeds(part, values, at)?)?;
            Some(Point { x: 100.0 * share, low: 100.0 * min, median: 100.0 * median, high: 100.0 * max })
        };
        Series { name: name.into(), points: shares().enumerate().filter_map(point).collect(), theory: false }
    }

    /// Selective prediction with System 1 alone.
    fn doubts(&self) -> Section {
        let at = [5, 10, 25, 40, 50];
        let mut columns = vec![Column::words("doubt by")];
        columns.extend(at.iter().map(|point| Column::numbers(format!("{} % answered", 2 * point))));
        let lines = (0..ARBITERS.len()).map(|arbiter| {
            let risk = format!("risk.{}", ARBITERS[arbiter]);
            let risks =
                at.iter().map(|&point| self.cell(Part::Clean, &risk, point, |x| format!("{:.2}", 100.0 * x)));
            Line::open([NAMES[arbiter].to_owned()].into_iter().chain(risks))
        });
        let [t, before, after] = [("temperature", 0), ("calibration_error", 0), ("calibration_error", 1)]
            .map(|(name, at)| self.cell(Part::Clean, name, at, |x| format!("{x:.3}")));
        let series = [MAX_SOFTMAX, LEARNED]
            .map(|at| self.series(Part::Clean, NAMES[at], &format!("risk.{}", ARBITERS[at])));
        Section {
            heading: "System 1 alone, where it may decline",
            grid: Grid {
                caption: format!(
                    "System 1 alone, clean: wrong among those that it answers, %. Its calibration error is {before}, and {after} at a \
                     temperature of {t}"
                ),
                columns,
                lines: lines.collect(),
            },
            chart: Some(Chart {
                series: series.into(),
                axes: [Axis::linear("answered, %"), Axis::from_zero("wrong, %")],
                caption: "The least doubtful are answered. Medians over seeds, and a band from the smallest to the largest.",
            }),
            pictures: Vec::new(),
        }
    }

    fn budgets(&self, parts: &[Part]) -> Section {
        let mut columns = vec![Column::words("data"), Column::words("arbiter")];
        columns.extend(BUDGETS.iter().map(|budget| Column::numbers(format!("{budget} of System 2"))));
        columns.extend(["a stream with 0.1", "of which spent"].map(Column::numbers));
        let mut lines = Vec::new();
        for &part in parts {
            for at in [MAX_SOFTMAX, LEARNED] {
                let mut cells = vec![part.to_string(), NAMES[at].to_owned()];
                let name = format!("at_budget.{}", ARBITERS[at]);
                cells.extend((0..BUDGETS.len()).map(|budget| self.cell(part, &name, budget, percent)));
                let stream = format!("stream.{}", ARBITERS[at]);
                cells.push(self.cell(part, &stream, 1, percent));
                cells.push(self.cell(part, &stream, 0, |x| format!("{x:.3}")));
                lines.push(Line::open(cells));
            }
        }
        let caption = "Accuracy, %, with so many multiply-adds an image, in those of System 2; the learned rule pays for itself. In a \
                       stream of batches of 100 the arbiter Budget finds its threshold as it goes"
            .into();
        plain("A budget of multiply-adds", Grid { caption, columns, lines })
    }

    fn chosen(&self, parts: &[Part]) -> Section {
        let names =
            ["data", "arbiter", "deferred for 18 %", "accuracy", "deferred for System 2 − 0.1", "accuracy"];
        let columns: Vec<Column> = names
            .iter()
            .enumerate()
            .map(|(at, name)| if at < 2 { Column::words(*name) } else { Column::numbers(*name) })
            .collect();
        let mut lines = Vec::new();
        for &part in parts {
            for at in [MAX_SOFTMAX, LEARNED] {
                let mut cells = vec![part.to_string(), NAMES[at].to_owned()];
                for wanted in ["share", "accuracy"] {
                    let name = format!("for_{wanted}.{}", ARBITERS[at]);
                    cells.extend([0, 1].map(|which| self.cell(part, &name, which, percent)));
                }
                lines.push(Line::open(cells));
            }
        }
        let caption =
            "Thresholds chosen on held-out rows: what a cascade defers of the test set, and its accuracy, %"
                .into();
        plain("Thresholds chosen beforehand", Grid { caption, columns, lines })
    }

    /// Of all seeds together.
    fn sum(&self, name: &str, at: usize) -> Option<f64> {
        self.of_seeds(Part::Deadline, name, at).map(|all| all.iter().sum())
    }

    fn deadlines(&self) -> Section {
        let columns = [
            "System 2",
            "deadline",
            "deadline, µs",
            "p50, µs",
            "p99, µs",
            "System 2 asked",
            "its answer",
            "late",
            "late without System 2",
            "missed",
        ];
        let micros = |x: f64| format!("{:.1}", 1e6 * x);
        let whole = |x: f64| format!("{x:.0}");
        let milliseconds = |seconds: &f64| format!("{} ms", 1e3 * seconds);
        let line = |mode: &str, what: &str, at: usize, name: String, until: String, alone: String| {
            let mut cells = vec![what.to_owned(), name, until];
            cells.extend(
                ["p50", "p99"].map(|n| self.cell(Part::Deadline, &format!("{mode}.{n}"), at, micros)),
            );
            let sum = |n: &str| self.sum(&format!("{mode}.{n}"), at).map_or_else(|| "not run".into(), whole);
            cells.extend(["asked", "second", "late"].map(sum));
            cells.extend([alone, sum("missed")]);
            Line::open(cells)
        };
        let names = IN_P99.iter().map(|times| format!("{times} × p99 of System 1"));
        let names = names.chain(SECONDS.iter().map(milliseconds));
        let mut lines: Vec<Line> = names
            .enumerate()
            .map(|(at, name)| {
                let until = self.cell(Part::Deadline, "until", at, micros);
                let alone = self.sum("late_alone", at).map_or_else(|| "not run".into(), whole);
                line("forever", "stalls for ever", at, name, until, alone)
            })
            .collect();
        for (mode, what, deadlines) in
            [("returning", "stalls for 30 ms each time", &RETURNING[..]), ("working", "works", &WORKING[..])]
        {
            lines.extend(deadlines.iter().enumerate().map(|(at, seconds)| {
                line(mode, what, at, milliseconds(seconds), micros(*seconds), "–".into())
            }));
        }
        let [median, p99] = [0, 1].map(|at| self.cell(Part::Deadline, "first", at, micros));
        let second = self.cell(Part::Deadline, "second", 0, micros);
        let requests = self.protocol.requests;
        let grid = Grid {
            caption: format!(
                "Deadlines. System 1 takes {median} µs for an image, {p99} at its 99th percentile, System 2 {second}. {requests} requests for \
                 each deadline and seed (2000 where System 2 works), every one of which would be sent on; counted over all seeds"
            ),
            columns: columns
                .iter()
                .enumerate()
                .map(|(at, name)| if at < 2 { Column::words(*name) } else { column(at, name) })
                .collect(),
            lines,
        };
        plain("Deadlines", grid)
    }

    fn claims(&self, parts: &[Part]) -> Vec<Claim> {
        let mut claims = Vec::new();
        let mut claim = |source: &str, text: String, asked: &str, found: Option<(String, bool)>| {
            let (found, holds) = match found {
                Some((found, holds)) => (found, Some(holds)),
                None => ("runs are missing".into(), None),
            };
            claims.push(Claim { source: source.into(), text, asked: asked.into(), found, holds });
        };
        // What is aimed at was measured on MNIST; elsewhere the arbiters are compared with each other.
        if self.protocol.data == "mnist" {
            let areas = [LEARNED, MAX_SOFTMAX].map(|at| self.mean(Part::Clean, "area_at_cost", at));
            claim(
                "our aim",
                "learned rule: a larger area than maximum softmax, at equal cost".into(),
                "A of 0.76 or more",
                areas[0].zip(areas[1]).map(|(ours, theirs)| {
                    (
                        format!("{ours:.3}; maximum softmax {theirs:.3}, and {BASELINE} as measured before"),
                        ours >= 0.76,
                    )
                }),
            );
            let shares = self.of_seeds(Part::Clean, "share_for_98.2", LEARNED);
            claim(
                "our aim",
                "learned rule: 98.2 % with 20 % deferral or less".into(),
                "with every seed",
                shares.map(|shares| {
                    let most = shares.iter().fold(0.0_f64, |most, &share| most.max(share));
                    (
                        format!("with {} % deferred, {} % at most", percent(mean(&shares)), percent(most)),
                        most <= 0.2,
                    )
                }),
            );
            let [share, accuracy] = [0, 1].map(|which| self.mean(Part::Clean, "for_share.learned", which));
            claim(
                "our aim",
                format!(
                    "the same with a threshold chosen on held-out rows, for {:.0} % deferral",
                    100.0 * SHARE
                ),
                "on the mean, 98.2 % or more with 20 % or less",
                share.zip(accuracy).map(|(share, accuracy)| {
                    let found = format!("{} % with {} % deferred", percent(accuracy), percent(share));
                    (found, share <= 0.2 && accuracy >= 0.982)
                }),
            );
        }
        for &part in parts {
            let source = match part {
                Part::Clean => "our aim",
                _ => "Jitkrittum et al. 2023",
            };
            claim(
                source,
                format!("{part}: the learned rule is better than maximum softmax, at equal cost"),
                "a difference in A whose 95 % interval over seeds is above 0",
                self.difference(part).and_then(|difference| {
                    Some((difference.text(1.0, 3, true), difference.mean > difference.half?))
                }),
            );
        }
        if self.protocol.parts.contains(&Part::Deadline) {
            let deadlines = IN_P99.len() + SECONDS.len();
            let sums = |name: &str| (0..deadlines).map(|at| self.sum(name, at)).collect::<Option<Vec<f64>>>();
            let requests = self.protocol.requests;
            let all = requests * self.of_seeds(Part::Deadline, "until", 0).map_or(0, |all| all.len());
            claim(
                "our aim",
                format!(
                    "a System 2 that stalls for ever makes none of {requests} requests miss a deadline from the 99th percentile of System 1 on"
                ),
                "none missed at any of the deadlines, with any seed",
                sums("forever.missed").map(|missed| {
                    let sum: f64 = missed.iter().sum();
                    (format!("{sum:.0} of {}", all * deadlines), sum == 0.0)
                }),
            );
        }
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
        let cost = |at| self.cell(Part::Clean, "multiply_adds", at, |x| format!("{x:.0}"));
        [
            ("seeds", seeds.len().to_string()),
            (
                "data",
                format!(
                    "{}; {:.0} % of the training set held out, for the learned rule and for thresholds; the whole test set",
                    p.data,
                    100.0 * p.held_out
                ),
            ),
            ("System 1", format!("32 hidden units, {} multiply-adds, {} epochs", cost(0), p.epochs[0])),
            (
                "System 2",
                format!(
                    "two convolutions of 5 × 5 (8 and 16 channels), each pooled, 64 hidden units, {} multiply-adds, {} epochs",
                    cost(1),
                    p.epochs[1]
                ),
            ),
            ("training", format!("Adam, learning rate {}, which falls along a cosine, batches of {}", p.lr, p.batch)),
            ("learned rule", format!("{} multiply-adds; {} hidden units, {} epochs", cost(2), p.rule.hidden, p.rule.epochs)),
            ("version", versions.join(", ")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

fn column(at: usize, name: &str) -> Column {
    if at == 0 { Column::words(name) } else { Column::numbers(name) }
}

fn percent(part: f64) -> String {
    format!("{:.2}", 100.0 * part)
}

fn plain(heading: &'static str, grid: Grid) -> Section {
    Section { heading, grid, chart: None, pictures: Vec::new() }
}
