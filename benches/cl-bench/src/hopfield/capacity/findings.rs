//! Tables, curves, and which of the papers' claims the runs bear out.

use cl_core::Result;

use super::{Allowed, Cue, Part, Protocol, theory};
use crate::experiment::{Experiment, Run};
use crate::line::slope;
use crate::report::study::{Chart, Claim, Section, Study};
use crate::report::svg::{Axis, Point, Series};
use crate::report::view::{Column, Grid, Line};
use crate::speed::Spread;

/// The runs, by what they measured.
struct Found<'a> {
    protocol: &'a Protocol,
    runs: &'a [&'a Run<Part>],
}

pub fn study(protocol: &Protocol, runs: &[&Run<Part>]) -> Result<Study> {
    let found = Found { protocol, runs };
    for run in runs {
        let names: &[&str] = match run.part {
            Part::Overlap { .. } => &["overlap"],
            Part::Capacity { .. } => &["capacity"],
            Part::Exponential { .. } => &["wrong", "nearest"],
            Part::Continuous { .. } => &["error", "bound"],
        };
        names.iter().try_for_each(|name| run.values(name).map(drop))?;
    }
    Ok(Study {
        title: "What associative memories hold",
        suite: Protocol::NAME,
        source: SOURCE,
        claims: found.claims(),
        sections: vec![
            found.classical(),
            found.polynomial(Allowed::Hundredth),
            found.polynomial(Allowed::None),
            found.exponential(),
            found.sharpness(),
            found.numbers(),
        ],
        protocol: found.protocol_lines(),
        notes: NOTES.iter().map(|&note| note.into()).collect(),
    })
}

const SOURCE: &str = "Amit, Gutfreund & Sompolinsky 1985 (classical), Krotov & Hopfield 2016, arXiv 1606.01164 (polynomial), \
                      Demircigil et al. 2017, arXiv 1702.01929 (exponential), Ramsauer et al. 2021, arXiv 2008.02217 (continuous)";

const NOTES: &[&str] = &[
    "Patterns are drawn at random, anew for each seed and each row. A memory is started from a stored pattern, or from a cue made of \
     one; an overlap is the mean of sᵢxᵢ, 1 where nothing is wrong.",
    "The overlaps of theory are for infinitely many units: with finitely many, the fall at 0.138 is spread out, the less the more units \
     there are.",
    "A polynomial capacity is the number of patterns up to which one update of all units, each from the pattern as it was stored, turns \
     no more bits than are allowed; found by doubling and halving, within a thirtieth. Without wrong bits means fewer than one in ten \
     patterns.",
    "Theory's capacity without wrong bits has ln N below Nᵃ⁻¹, so that over a finite range its own slope is less than a − 1: it stands \
     beside ours.",
    "A pattern that differs from another in one bit cannot be told from it by that bit: the two energies are the same but for what all \
     other patterns add. Among 2^(N/2) random patterns a part of about N/2^(N/2) has such a neighbour, 2 % at N = 20 and 0.2 % at 28: \
     the theorem is about large N.",
    "That flipped bits come right is promised for e^(αN) patterns and fewer, α < 0.184 with a tenth flipped, as N grows; among 2^(N/2) \
     it is not.",
    "Cues of the continuous network have noise of a tenth of the pattern's length, so that an error of 0.1 is no retrieval at all; and \
     what is near 1 is the mean of all patterns. With one and the same set of directions the relative error depends on β and R by βR² \
     alone.",
];

impl Found<'_> {
    /// All numbers of a part, seed by seed.
    fn seeds(&self, part: &Part, name: &str) -> Vec<&[f64]> {
        self.runs.iter().filter(|run| run.part == *part).filter_map(|run| run.values(name).ok()).collect()
    }

    /// Over all of them.
    fn mean(&self, part: &Part, name: &str) -> Option<f64> {
        let all = self.seeds(part, name).concat();
        (!all.is_empty()).then(|| mean(&all))
    }

    /// The means of the seeds.
    fn spread(&self, part: &Part, name: &str) -> Option<Spread> {
        Spread::of(&self.seeds(part, name).into_iter().map(mean).collect::<Vec<_>>())
    }

    fn point(&self, x: f64, part: &Part, name: &str) -> Option<Point> {
        let Spread { median, min, max, .. } = self.spread(part, name)?;
        Some(Point { x, low: min, median, high: max })
    }

    fn classical(&self) -> Section {
        let Protocol { units, loads, .. } = self.protocol;
        let part = |units, load| Part::Overlap { units, load };
        let names = units.iter().map(|n| format!("N = {n}"));
        let columns = ["load".to_owned()].into_iter().chain(names.clone()).chain(["theory, N → ∞".into()]);
        let lines = loads.iter().map(|&load| {
            let ours = units.iter().map(|&n| match self.mean(&part(n, load), "overlap") {
                Some(overlap) => format!("{overlap:.3}"),
                None => "not run".into(),
            });
            let theory = match theory::overlap(load) {
                0.0 => "lost".into(),
                overlap => format!("{overlap:.3}"),
            };
            let cells = [format!("{load:.2}")].into_iter().chain(ours).chain([theory]);
            Line::open(cells)
        });
        let mut series: Vec<Series> = units
            .iter()
            .zip(names)
            .map(|(&n, name)| {
                let point = |&load: &f64| self.point(load, &part(n, load), "overlap");
                Series { name, points: loads.iter().filter_map(point).collect(), theory: false }
            })
            .collect();
        let (first, last) =
            (loads.iter().copied().fold(1.0, f64::min), loads.iter().copied().fold(0.0, f64::max));
        let steps = (0..=200).map(|k| first + (last - first) * f64::from(k) / 200.0);
        let held =
            steps.map(|load| Point::exact(load, theory::overlap(load))).filter(|point| point.median > 0.0);
        series.push(Series { name: "theory".into(), points: held.collect(), theory: true });
        Section {
            heading: "Classical",
            grid: Grid {
                caption: "Classical: mean overlap of what is recalled with the stored pattern".into(),
                columns: columns.map(Column::numbers).collect(),
                lines: lines.collect(),
            },
            chart: Some(Chart {
                series,
                axes: [Axis::linear("load, patterns for each unit"), Axis::linear("overlap")],
                caption: "Medians over seeds, and a band from the smallest to the largest. The dashed line is the theory for \
                          infinitely many units, which ends at 0.138.",
            }),
            pictures: Vec::new(),
        }
    }

    fn polynomial(&self, allowed: Allowed) -> Section {
        let (heading, caption) = match allowed {
            Allowed::Hundredth => (
                "Polynomial, a hundredth of the bits wrong",
                "Polynomial: patterns with a hundredth of the bits wrong after one update",
            ),
            Allowed::None => {
                ("Polynomial, no bit wrong", "Polynomial: patterns with no bit wrong after one update")
            }
        };
        let mut lines = Vec::new();
        let mut series = Vec::new();
        for (degree, units) in &self.protocol.polynomial {
            let part = |units| Part::Capacity { degree: *degree, units, allowed };
            for &n in units {
                let expected = theory::capacity(*degree, n, allowed);
                let (ours, ratio) = match self.spread(&part(n), "capacity") {
                    Some(Spread { median, .. }) => {
                        (format!("{median:.0}"), format!("{:.2}", median / expected))
                    }
                    None => ("not run".into(), "–".into()),
                };
                lines.push(Line::open([
                    degree.to_string(),
                    n.to_string(),
                    ours,
                    format!("{expected:.0}"),
                    ratio,
                ]));
            }
            let written = |slope: Option<f64>| slope.map_or("–".into(), |slope| format!("{slope:.2}"));
            let ours = written(self.slope(*degree, allowed));
            let theirs = written(theory_slope(*degree, units, allowed));
            lines.push(Line::open([degree.to_string(), "slope".into(), ours, theirs, "–".into()]));
            let point = |&n: &usize| self.point(n as f64, &part(n), "capacity");
            let points = units.iter().filter_map(point).collect();
            series.push(Series { name: format!("degree {degree}"), points, theory: false });
        }
        for (degree, units) in &self.protocol.polynomial {
            let point = |&n: &usize| Point::exact(n as f64, theory::capacity(*degree, n, allowed));
            let points = units.iter().map(point).collect();
            series.push(Series { name: format!("theory, {degree}"), points, theory: true });
        }
        Section {
            heading,
            grid: Grid {
                caption: caption.into(),
                columns: ["degree", "N", "patterns", "theory", "ratio"].map(Column::numbers).into(),
                lines,
            },
            chart: Some(Chart {
                series,
                axes: [Axis::log("units"), Axis::log("patterns that are held")],
                caption: "Medians over seeds, and a band from the smallest to the largest; both axes are logarithmic. The dashed \
                          lines are the theory.",
            }),
            pictures: Vec::new(),
        }
    }

    /// The slope of log K against log N.
    fn slope(&self, degree: u32, allowed: Allowed) -> Option<f64> {
        let units = &self.protocol.polynomial.iter().find(|(other, _)| *other == degree)?.1;
        let point = |&units: &usize| {
            let held = self.spread(&Part::Capacity { degree, units, allowed }, "capacity")?.median;
            Some(((units as f64).ln(), held.ln()))
        };
        slope(units.iter().map(point).collect::<Option<Vec<_>>>()?.into_iter())
    }

    fn exponential(&self) -> Section {
        let cell = |units, cue| {
            let wrong = self.seeds(&Part::Exponential { units, cue }, "wrong").concat();
            if wrong.is_empty() {
                return "not run".into();
            }
            let right = wrong.iter().filter(|&&wrong| wrong == 0.0).count();
            format!("{right} of {}", wrong.len())
        };
        let lines = self.protocol.exponential.iter().map(|&n| {
            let [many, fewer] = [Cue::Whole, Cue::FlippedAmongFewer]
                .map(|cue| theory::exponential_patterns(n, cue).to_string());
            Line::open([
                n.to_string(),
                many,
                cell(n, Cue::Whole),
                theory::flips(n, Cue::Flipped).to_string(),
                cell(n, Cue::Flipped),
                fewer,
                cell(n, Cue::FlippedAmongFewer),
            ])
        });
        let columns =
            ["N", "2^(N/2)", "no bit wrong", "flipped", "no bit wrong", "e^(0.184 N)", "no bit wrong"];
        Section {
            heading: "Exponential",
            grid: Grid {
                caption: "Exponential: patterns without a wrong bit after one sweep, from themselves, and with a tenth of the \
                          bits flipped, among 2^(N/2) and among e^(0.184 N)"
                    .into(),
                columns: columns.map(Column::numbers).into(),
                lines: lines.collect(),
            },
            chart: None,
            pictures: Vec::new(),
        }
    }

    fn sharpness(&self) -> Section {
        let cells = |sharpness: f64| {
            let own = self.protocol.sharp(sharpness).map(|part| self.error(&part));
            [sharpness.to_string()].into_iter().chain(own)
        };
        let series = [0, 1].map(|which| {
            let point = |&x: &f64| self.point(x, &self.protocol.sharp(x)[which], "error");
            let points = self.protocol.sharpness.iter().filter_map(point).collect();
            Series { name: ["β varies", "R varies"][which].into(), points, theory: false }
        });
        let (dimension, patterns) = self.protocol.sharpness_patterns;
        Section {
            heading: "Continuous: β and the length of patterns",
            grid: Grid {
                caption: format!(
                    "Continuous: relative error of one update against βR², {patterns} patterns of dimension {dimension}"
                ),
                columns: ["βR²".into(), format!("β varies, R = √{dimension}"), "R varies, β = 1".into()]
                    .map(Column::numbers)
                    .into(),
                lines: self
                    .protocol
                    .sharpness
                    .iter()
                    .map(|&sharpness| Line::open(cells(sharpness)))
                    .collect(),
            },
            chart: Some(Chart {
                series: series.into(),
                axes: [Axis::log("βR²"), Axis::linear("relative error")],
                caption: "Medians over seeds, and a band from the smallest to the largest. That the curves lie on one another is \
                          what is claimed. Attention on patterns of length 1 is at the left edge, or beyond.",
            }),
            pictures: Vec::new(),
        }
    }

    fn numbers(&self) -> Section {
        let Protocol { dimensions, numbers, .. } = self.protocol;
        let columns =
            ["patterns".to_owned()].into_iter().chain(dimensions.iter().map(|d| format!("d = {d}")));
        let lines = numbers.iter().map(|&m| {
            let ours = dimensions.iter().map(|&d| self.error(&Protocol::among(d, m)));
            Line::open([m.to_string()].into_iter().chain(ours))
        });
        let series = dimensions.iter().map(|&d| {
            let point = |&m: &usize| self.point(m as f64, &Protocol::among(d, m), "error");
            Series {
                name: format!("d = {d}"),
                points: numbers.iter().filter_map(point).collect(),
                theory: false,
            }
        });
        Section {
            heading: "Continuous: dimension and number",
            grid: Grid {
                caption:
                    "Continuous: relative error of one update against the number of patterns, R = √d, β = 1"
                        .into(),
                columns: columns.map(Column::numbers).collect(),
                lines: lines.collect(),
            },
            chart: Some(Chart {
                series: series.collect(),
                axes: [Axis::log("patterns"), Axis::linear("relative error")],
                caption: "Medians over seeds, and a band from the smallest to the largest.",
            }),
            pictures: Vec::new(),
        }
    }

    fn error(&self, part: &Part) -> String {
        self.mean(part, "error").map_or("not run".into(), short)
    }

    fn claims(&self) -> Vec<Claim> {
        let mut claims = Vec::new();
        let mut claim = |source: &str, text: String, asked: String, found: Option<(String, bool)>| {
            let (found, holds) = match found {
                Some((found, holds)) => (found, Some(holds)),
                None => ("runs are missing".into(), None),
            };
            claims.push(Claim { source: source.into(), text, asked, found, holds });
        };

        let amit = "Amit, Gutfreund & Sompolinsky 1985";
        for (load, text, asked, holds) in [
            (
                0.10,
                "classical: held below 0.138 patterns a unit",
                "overlap of 0.99 or more at 0.10, N = 1000",
                f64::ge as fn(&f64, &f64) -> bool,
            ),
            (0.20, "classical: lost above", "overlap of 0.65 or less at 0.20, N = 1000", f64::le),
        ] {
            let limit = if load < 0.138 { 0.99 } else { 0.65 };
            let part = Part::Overlap { units: 1000, load };
            let probes = self.seeds(&part, "overlap").concat().len();
            let found = self.mean(&part, "overlap").filter(|_| probes >= 20);
            let found = found.map(|m| (format!("{m:.3}, over {probes} recalls"), holds(&m, &limit)));
            claim(amit, text.into(), asked.into(), found);
        }
        claim(
            amit,
            "classical: what is held has the overlap of the theory".into(),
            format!(
                "within 0.01 at every load up to 0.12, N = {}",
                self.protocol.units.last().copied().unwrap_or(0)
            ),
            self.as_theory(),
        );
        claim(
            amit,
            "classical: the more units, the sharper the fall".into(),
            "beyond 0.138, at 0.16 and 0.18, the more units, the lower the overlap".into(),
            self.falls_sharper(),
        );

        let krotov = "Krotov & Hopfield 2016";
        for allowed in [Allowed::Hundredth, Allowed::None] {
            for (degree, units) in &self.protocol.polynomial {
                let wrong = if allowed == Allowed::None { "no bit" } else { "a hundredth of the bits" };
                let expected = f64::from(degree - 1);
                let slope = self.slope(*degree, allowed);
                let theirs = theory_slope(*degree, units, allowed).unwrap_or(f64::NAN);
                claim(
                    krotov,
                    format!("degree {degree}: patterns go with {}, {wrong} wrong", power(degree - 1)),
                    format!("a slope within 0.25 of {expected}"),
                    slope.map(|slope| {
                        let found = format!("{slope:.2} (by the formula, over these N, {theirs:.2})");
                        (found, (slope - expected).abs() <= 0.25)
                    }),
                );
            }
        }

        for &units in &self.protocol.exponential {
            claim(
                "Demircigil et al. 2017",
                format!("exponential: 2^(N/2) patterns are held, N = {units}"),
                "no wrong bit but in patterns that differ in a single bit from another one".into(),
                self.held_exponentially(units),
            );
        }

        let ramsauer = "Ramsauer et al. 2021";
        let all: Option<Vec<[f64; 2]>> = self
            .protocol
            .sharpness
            .iter()
            .map(|&x| {
                let [by_beta, by_radius] = self.protocol.sharp(x);
                Some([self.mean(&by_beta, "error")?, self.mean(&by_radius, "error")?])
            })
            .collect();
        let most = all.map(|all| all.iter().map(|[a, b]| (a - b).abs()).fold(0.0, f64::max));
        claim(
            ramsauer,
            "continuous: β and the length R of patterns count as βR²".into(),
            "relative errors that differ by less than 10⁻⁹".into(),
            most.map(|most| (format!("by {}", short(most)), most < 1e-9)),
        );
        let continuous = || self.runs.iter().filter(|run| matches!(run.part, Part::Continuous { .. }));
        let complete = self
            .protocol
            .parts()
            .iter()
            .all(|part| self.mean(part, "error").is_some() || !matches!(part, Part::Continuous { .. }));
        let pairs = continuous()
            .filter_map(|run| Some(run.values("error").ok()?.iter().zip(run.values("bound").ok()?)));
        let pairs: Vec<(f64, f64)> = pairs.flatten().map(|(&error, &bound)| (error, bound)).collect();
        // Rounding of one update in f64.
        let within = pairs.iter().filter(|(error, bound)| *error <= bound + 1e-12).count();
        let tells = pairs.iter().filter(|(_, bound)| *bound < 1.0).count();
        claim(
            &format!("{ramsauer}, theorem 4"),
            "continuous: one update is off by at most 2(m − 1) M exp(−β(Δ − 2rM))".into(),
            "no update is off by more".into(),
            complete.then(|| {
                let found =
                    format!("{within} of {} are within; the bound is below R for {tells}", pairs.len());
                (found, within == pairs.len() && tells > 0)
            }),
        );
        let (most, dimensions) =
            (self.protocol.numbers.iter().copied().max().unwrap_or(0), &self.protocol.dimensions);
        let errors: Option<Vec<f64>> =
            dimensions.iter().map(|&d| self.mean(&Protocol::among(d, most), "error")).collect();
        claim(
            &format!("{ramsauer}, theorem 3"),
            "continuous: the number of patterns grows exponentially with d, with R² in proportion to d"
                .into(),
            format!("among {most} patterns, an error that falls with each d, below 0.001 at the largest"),
            errors.map(|errors| {
                let falls =
                    errors.is_sorted_by(|a, b| a > b) && errors.last().is_some_and(|last| *last < 1e-3);
                (errors.into_iter().map(short).collect::<Vec<_>>().join(", "), falls)
            }),
        );
        claims
    }

    /// How far the overlaps of the largest network are from theory, below the critical load.
    fn as_theory(&self) -> Option<(String, bool)> {
        let units = *self.protocol.units.last()?;
        let below = self.protocol.loads.iter().filter(|&&load| load <= 0.12);
        let off = |&load: &f64| {
            let overlap = self.mean(&Part::Overlap { units, load }, "overlap")?;
            Some((overlap - theory::overlap(load)).abs())
        };
        let most = below.map(off).try_fold(0.0, |most, off| Some(f64::max(most, off?)))?;
        Some((format!("within {most:.3}"), most <= 0.01))
    }

    /// Whether overlaps beyond the critical load fall, as units become more.
    fn falls_sharper(&self) -> Option<(String, bool)> {
        let at = |load: f64| -> Option<Vec<f64>> {
            let overlap = |&units: &usize| self.mean(&Part::Overlap { units, load }, "overlap");
            self.protocol.units.iter().map(overlap).collect()
        };
        let both = [at(0.16)?, at(0.18)?];
        let holds = both.iter().all(|overlaps| overlaps.is_sorted_by(|a, b| a > b));
        let [first, second] =
            both.map(|m| m.iter().map(|m| format!("{m:.3}")).collect::<Vec<_>>().join(", "));
        Some((format!("{first} at 0.16; {second} at 0.18"), holds))
    }

    /// Wrong bits among 2^(N/2) patterns, with and without those that have a neighbour.
    fn held_exponentially(&self, units: usize) -> Option<(String, bool)> {
        let part = Part::Exponential { units, cue: Cue::Whole };
        let [wrong, nearest] = ["wrong", "nearest"].map(|name| self.seeds(&part, name).concat());
        if wrong.is_empty() {
            return None;
        }
        let alone: Vec<f64> = wrong
            .iter()
            .zip(&nearest)
            .filter(|(_, nearest)| **nearest > 1.0)
            .map(|(wrong, _)| *wrong)
            .collect();
        let (bits, of_alone) = (wrong.iter().sum::<f64>(), alone.iter().sum::<f64>());
        let found = format!(
            "{of_alone:.0} in {} patterns; {:.0} in {} more that have such a neighbour",
            alone.len(),
            bits - of_alone,
            wrong.len() - alone.len()
        );
        Some((found, of_alone == 0.0 && !alone.is_empty()))
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
                "classical",
                format!("Hebb's rule; {} patterns of each load recalled from themselves, units in random order, until nothing changes", p.recalled),
            ),
            ("polynomial", format!("{} patterns updated once, all units at once", p.updated)),
            ("exponential", format!("{} patterns, one sweep in turn", p.updated)),
            (
                "continuous",
                format!(
                    "patterns of equal length in random directions, f64; {} cues with noise of {} of the length; one update",
                    p.retrieved, p.noise
                ),
            ),
            ("version", versions.join(", ")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

fn theory_slope(degree: u32, units: &[usize], allowed: Allowed) -> Option<f64> {
    slope(units.iter().map(|&n| ((n as f64).ln(), theory::capacity(degree, n, allowed).ln())))
}

/// N raised to this.
fn power(exponent: u32) -> String {
    match exponent {
        1 => "N".into(),
        2 => "N²".into(),
        3 => "N³".into(),
        more => format!("N^{more}"),
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// An error in few letters. What rounding makes is not told apart: it differs from machine to machine.
fn short(error: f64) -> String {
    match error {
        0.001.. => format!("{error:.3}"),
        1e-12.. => format!("{error:.0e}"),
        _ => "< 1e-12".into(),
    }
}
