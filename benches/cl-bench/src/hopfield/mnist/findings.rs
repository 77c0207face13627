//! Tables, curves and pictures, and what is claimed of them.

use cl_core::Result;

use super::{BETA, Hidden, Model, Part, Protocol, pictures};
use crate::experiment::{Experiment, Run};
use crate::report::study::{Chart, Claim, Picture, Section, Study};
use crate::report::svg::{Axis, Point, Series};
use crate::report::view::{Column, Grid, Line};
use crate::speed::Spread;

/// The part of a digit's pixels that may be wrong.
const ALLOWED: f64 = 0.01;

/// The runs, by what they measured.
struct Found<'a> {
    protocol: &'a Protocol,
    runs: &'a [&'a Run<Part>],
}

pub fn study(protocol: &Protocol, runs: &[&Run<Part>]) -> Result<Study> {
    let found = Found { protocol, runs };
    let mut sections = vec![found.models(Hidden::Lower), found.models(Hidden::Scattered)];
    sections.push(found.betas());
    sections.extend(Hidden::ALL.into_iter().filter_map(|hidden| found.pictures(hidden)));
    Ok(Study {
        title: "Digits completed by associative memories",
        suite: Protocol::NAME,
        source: "what theory says of these memories; no numbers are published for this task",
        claims: found.claims(),
        sections,
        protocol: found.protocol_lines(),
        notes: NOTES.iter().map(|&note| note.into()).collect(),
    })
}

const NOTES: &[&str] = &[
    "A digit is completed where at most a hundredth of its pixels is off by more than half of what lies between white and black, \
     from the digit that was stored.",
    "`best fit` is the stored digit with the fewest differing bits among those visible. It is the control: it completes what can be told \
     from the visible pixels, and no memory could be expected to do more.",
    "`nearest to the cue` is the same for networks of ±1 units, whose cue has blank pixels where ink is hidden: that is nearer to digits \
     of little ink.",
    "The networks of ±1 units have ink as +1 and what is hidden as blank; the continuous one has what is hidden as the mean digit, which \
     says nothing once the mean is taken away. No pixel is held: what is visible may change too.",
    "The pseudo-inverse stores digits that do not depend on one another; with more of them than that there is no such memory.",
];

impl Found<'_> {
    /// Of each seed the part of the digits that are completed. None where a seed could not store them.
    fn completed(&self, model: Model, hidden: Hidden, stored: usize) -> Option<Vec<f64>> {
        let part = Part::Completed { model, hidden, stored };
        let right = |run: &&&Run<Part>| {
            let wrong = run.values("wrong").ok()?;
            Some(wrong.iter().filter(|&&wrong| wrong <= ALLOWED).count() as f64 / wrong.len() as f64)
        };
        let runs = self.runs.iter().filter(|run| run.part == part);
        let all: Vec<f64> = runs.map(|run| right(&run)).collect::<Option<_>>()?;
        (!all.is_empty()).then_some(all)
    }

    fn mean(&self, model: Model, hidden: Hidden, stored: usize) -> Option<f64> {
        let all = self.completed(model, hidden, stored)?;
        Some(all.iter().sum::<f64>() / all.len() as f64)
    }

    /// The largest number of digits of which half are completed; 0 where that is so of none.
    fn held(&self, model: Model, hidden: Hidden) -> Option<usize> {
        let parts = self.protocol.stored.iter().map(|&m| Some((m, self.mean(model, hidden, m)?)));
        let parts: Vec<(usize, f64)> = parts.collect::<Option<_>>()?;
        Some(parts.into_iter().filter(|(_, part)| *part >= 0.5).map(|(m, _)| m).max().unwrap_or(0))
    }

    fn cell(&self, model: Model, hidden: Hidden, stored: usize) -> String {
        let part = Part::Completed { model, hidden, stored };
        match self.mean(model, hidden, stored) {
            Some(part) => format!("{:.0}", 100.0 * part),
            None if self.runs.iter().any(|run| run.part == part) => "none".into(),
            None => "not run".into(),
        }
    }

    fn point(&self, x: f64, model: Model, hidden: Hidden, stored: usize) -> Option<Point> {
        let Spread { median, min, max, .. } = Spread::of(&self.completed(model, hidden, stored)?)?;
        Some(Point { x, low: 100.0 * min, median: 100.0 * median, high: 100.0 * max })
    }

    fn models(&self, hidden: Hidden) -> Section {
        let Protocol { models, stored, .. } = self.protocol;
        let columns = [Column::words("memory")]
            .into_iter()
            .chain(stored.iter().map(|m| Column::numbers(format!("{m} stored"))));
        let lines = models.iter().map(|&model| {
            let cells = stored.iter().map(|&m| self.cell(model, hidden, m));
            Line::open([model.to_string()].into_iter().chain(cells))
        });
        let series = models.iter().map(|&model| Series {
            name: model.to_string(),
            points: stored.iter().filter_map(|&m| self.point(m as f64, model, hidden, m)).collect(),
            theory: false,
        });
        let (heading, caption) = match hidden {
            Hidden::Lower => ("Lower half hidden", "Lower half hidden: digits that are completed, %"),
            Hidden::Scattered => (
                "Half of the pixels hidden",
                "Half of the pixels hidden, here and there: digits that are completed, %",
            ),
        };
        Section {
            heading,
            grid: Grid { caption: caption.into(), columns: columns.collect(), lines: lines.collect() },
            chart: Some(Chart {
                series: series.collect(),
                axes: [Axis::log("digits stored"), Axis::linear("completed, %")],
                caption: "Medians over seeds, and a band from the smallest to the largest. A curve ends where no such memory can be \
                          made.",
            }),
            pictures: Vec::new(),
        }
    }

    fn betas(&self) -> Section {
        let Protocol { betas, stored, .. } = self.protocol;
        let columns = [Column::numbers("β")]
            .into_iter()
            .chain(stored.iter().map(|m| Column::numbers(format!("{m} stored"))));
        let cell = |beta, m| self.cell(Model::Continuous(beta), Hidden::Lower, m);
        let lines = betas.iter().map(|&beta| {
            Line::open([beta.to_string()].into_iter().chain(stored.iter().map(|&m| cell(beta, m))))
        });
        let series = stored.iter().map(|&m| Series {
            name: format!("{m} stored"),
            points: betas
                .iter()
                .filter_map(|&b| self.point(b, Model::Continuous(b), Hidden::Lower, m))
                .collect(),
            theory: false,
        });
        Section {
            heading: "Continuous, by β",
            grid: Grid {
                caption: "Continuous, lower half hidden: digits that are completed, %, by β".into(),
                columns: columns.collect(),
                lines: lines.collect(),
            },
            chart: Some(Chart {
                series: series.collect(),
                axes: [Axis::log("β, patterns of length 1"), Axis::linear("completed, %")],
                caption: "Medians over seeds, and a band from the smallest to the largest.",
            }),
            pictures: Vec::new(),
        }
    }

    /// None where they are not there.
    fn pictures(&self, hidden: Hidden) -> Option<Section> {
        let part = Part::Pictures { hidden, stored: self.protocol.most() };
        let run = self.runs.iter().find(|run| run.part == part && !run.pictures.is_empty())?;
        let shown = [
            ("stored", "stored"),
            ("cue", "cue"),
            ("β = 300", "continuous"),
            ("β = 10", "continuous-soft"),
            ("Hebb", "hebb"),
        ];
        let picture = |(name, key)| Some((name, run.pictures.get(key)?.as_str()));
        let rows: Vec<(&str, &str)> = shown.into_iter().filter_map(picture).collect();
        let wrong = pictures::MODELS.map(|(name, _)| run.values(name).unwrap_or_default());
        let digits = wrong.iter().map(|wrong| wrong.len()).min().unwrap_or(0);
        let lines = (0..digits).map(|digit| {
            let parts = wrong.iter().map(|wrong| format!("{:.1}", 100.0 * wrong[digit]));
            Line::open([digit.to_string()].into_iter().chain(parts))
        });
        let columns =
            ["digit".to_owned()].into_iter().chain(pictures::MODELS.map(|(_, model)| model.to_string()));
        let pixels = run.pictures.get("stored")?.len() / digits.max(1);
        let (heading, hides) = match hidden {
            Hidden::Lower => ("Pictures: lower half hidden", "the lower half"),
            Hidden::Scattered => {
                ("Pictures: half of the pixels hidden", "half of the pixels, here and there,")
            }
        };
        Some(Section {
            heading,
            grid: Grid {
                caption: format!("{heading}, pixels that are wrong, %"),
                columns: columns.map(Column::numbers).collect(),
                lines: lines.collect(),
            },
            chart: None,
            pictures: vec![Picture {
                svg: pictures::svg(&rows, pixels.isqrt()),
                caption: format!(
                    "The first digit of each class of {} that are stored; {hides} hidden (blue); what the continuous network makes \
                     of it with a large β and with a small one, which gives means, and the classical one with Hebb's rule.",
                    self.protocol.most()
                ),
            }],
        })
    }

    fn claims(&self) -> Vec<Claim> {
        let most = self.protocol.most();
        let lower = |model| self.mean(model, Hidden::Lower, most);
        let percent = |part: f64| format!("{:.0} %", 100.0 * part);
        let mut claims = Vec::new();
        let mut claim = |source: &str, text: String, asked: &str, found: Option<(String, bool)>| {
            let (found, holds) = match found {
                Some((found, holds)) => (found, Some(holds)),
                None => ("runs are missing".into(), None),
            };
            claims.push(Claim { source: source.into(), text, asked: asked.into(), found, holds });
        };
        for hidden in Hidden::ALL {
            let pair =
                self.mean(Model::Continuous(BETA), hidden, most).zip(self.mean(Model::BestFit, hidden, most));
            let name = if hidden == Hidden::Lower { "the lower half" } else { "half of the pixels" };
            claim(
                "Ramsauer et al. 2021, theorem 3",
                format!(
                    "continuous, β = {BETA}: of {most} stored digits those are completed that can be told apart, {name} hidden"
                ),
                "not more than 5 points below the best fit to what is visible, and 90 % or more",
                pair.map(|(ours, best)| {
                    (
                        format!("{}, best fit {}", percent(ours), percent(best)),
                        ours >= best - 0.05 && ours >= 0.9,
                    )
                }),
            );
        }
        claim(
            "Ramsauer et al. 2021, section 3: metastable states",
            format!("continuous, β = 1: a mean of the {most} digits is found, not one of them"),
            "none is completed",
            lower(Model::Continuous(1.0)).map(|part| (percent(part), part == 0.0)),
        );
        claim(
            "Amit, Gutfreund & Sompolinsky 1987: correlated patterns",
            "classical, Hebb's rule: patterns that are alike are lost far below 0.138 N = 108".into(),
            "10 % or fewer of 30 are completed",
            self.mean(Model::Hebb, Hidden::Lower, 30).map(|part| (percent(part), part <= 0.1)),
        );
        let degrees = [Model::Hebb, Model::Rectified(3), Model::Rectified(20), Model::Exponential];
        let held: Option<Vec<usize>> =
            degrees.into_iter().map(|model| self.held(model, Hidden::Lower)).collect();
        claim(
            "Krotov & Hopfield 2016",
            "dense: the higher the degree, the more is held (Hebb, 3, 20, exponential)".into(),
            "of how many digits half are completed: never fewer with a higher degree, and more with the highest than with the lowest",
            held.map(|held| {
                let holds = held.is_sorted() && held.first() < held.last();
                (held.iter().map(usize::to_string).collect::<Vec<_>>().join(", "), holds)
            }),
        );
        let pair = lower(Model::Exponential).zip(lower(Model::NearestCue));
        claim(
            "Demircigil et al. 2017",
            format!("exponential: of {most} digits the one nearest to the cue is found"),
            "within 5 points of the nearest to the cue",
            pair.map(|(ours, nearest)| {
                (format!("{}, nearest {}", percent(ours), percent(nearest)), (ours - nearest).abs() <= 0.05)
            }),
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
            ("digits", format!("of the training set of {}, drawn without replacement; {} of them completed", p.data, p.completed)),
            ("±1 units", "ink darker than half; units in random order until nothing changes, or 50 sweeps".into()),
            (
                "continuous",
                "keys: digits less their mean, at length 1; values: the digits; updated until no state moves by more than 10⁻⁴"
                    .into(),
            ),
            ("version", versions.join(", ")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
