//! The table of priorities and streams, and what is claimed of it.

use std::collections::BTreeMap;

use cl_core::Result;

use super::{Of, Part, Policy, Protocol};
use crate::experiment::{Experiment, Run};
use crate::paired::Mean;
use crate::report::study::{Claim, Section, Study};
use crate::report::view::{Column, Grid, Line};

const NOTES: &[&str] = &[
    "± is the half width of a 95 % interval over seeds, by Student's t. Differences are between runs of one seed: the same stream, the same \
     weights at first, as many replays.",
    "No numbers are published for these streams. The scales of the priorities are the same on all of them, and were chosen with other \
     seeds.",
    "“tagged”: lists of images whose labels are random, so that nothing but memory can tell them; a fifth of what came is kept, a random \
     half of each list is tagged. What is asked for is what was tagged in the lists before the last.",
    "“exceptions”: digits, a tenth of which have a wrong label; everything is kept. Asked for are test images and the exceptions, with equal weight.",
    "“changing”: every day another assignment of labels to digits; half of the labels are random, and said to be worth a tenth. Twice a day is \
     kept. Asked for is the last assignment, on test images.",
    "“overwriting”: upper halves of the digits 0 to 4, then lower halves of 0 to 2, then lower halves of 3 and 4, as ten classes; everything is kept, and \
     sleep is short. Asked for are the first two, on test images.",
    "What a night changes is measured on what was trained on: all that came so far, or where the world changes what came today. There uniform \
     replay brings back what is true no more.",
    "“crowded”: lists as in “tagged”, gone through once and all kept; the first had five nights, the last one. Asked for are all of them.",
];

struct Found<'a> {
    runs: &'a [&'a Run<Part>],
}

pub fn study(protocol: &Protocol, runs: &[&Run<Part>]) -> Result<Study> {
    let found = Found { runs };
    Ok(Study {
        title: "Priorities of consolidation",
        suite: Protocol::NAME,
        source: "uniform replay, as many replays and a memory of the same size",
        claims: found.claims()?,
        sections: vec![found.scores()?, found.tags()?, found.nights()?],
        protocol: protocol_lines(protocol),
        notes: NOTES.iter().map(|&note| note.into()).collect(),
    })
}

fn protocol_lines(protocol: &Protocol) -> Vec<(String, String)> {
    let Protocol {
        data,
        hidden,
        lr,
        batch,
        gain,
        surprise,
        recency,
        interference,
        replay_count,
        sizes,
        first_seed,
    } = protocol;
    let line = |name: &str, value: String| (name.to_owned(), value);
    vec![
        line("data", data.clone()),
        line("network", format!("one hidden layer of {hidden}, SGD at {lr}, batches of {batch}")),
        line("salience", format!("1 + {gain} · tag, in what is kept and in what is replayed")),
        line("surprise", format!("(loss + {})^{}", surprise.floor, surprise.exponent)),
        line("recency × importance", format!("2^(−age/{}) · importance", recency.half_life)),
        line(
            "interference",
            format!("(rise of the loss + {})^{}", interference.floor, interference.exponent),
        ),
        line("replay count", format!("(1 + replays)^−{}", replay_count.exponent)),
        line(
            "streams",
            format!(
                "{} lists of {}, days of {}, exams of up to {}",
                sizes.lists, sizes.list, sizes.day, sizes.exam
            ),
        ),
        line("seeds", format!("from {first_seed} on")),
        line("version", env!("CARGO_PKG_VERSION").into()),
    ]
}

impl Found<'_> {
    /// A number of each seed: the mean of what a run has under this name.
    fn by_seed(&self, stream: Of, policy: Policy, name: &str) -> Result<BTreeMap<u64, f64>> {
        let runs = self.runs.iter().filter(|run| run.part == Part { stream, policy });
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        runs.map(|run| Ok((run.seed, mean(run.values(name)?)))).collect()
    }

    fn values(&self, stream: Of, policy: Policy, name: &str) -> Result<Vec<f64>> {
        Ok(self.by_seed(stream, policy, name)?.into_values().collect())
    }

    /// By how much a policy is better than uniform replay.
    fn gain(&self, stream: Of, policy: Policy) -> Result<Option<Mean>> {
        let of = |policy| self.by_seed(stream, policy, "score");
        let (a, b) = pairs(&of(Policy::Uniform)?, &of(policy)?);
        Ok(Mean::of_differences(&a, &b))
    }

    fn scores(&self) -> Result<Section> {
        let mut lines = Vec::new();
        for policy in Policy::ALL {
            let mut cells = vec![policy.name().to_owned()];
            let mut worse = Vec::new();
            for stream in Of::ALL {
                let mean = Mean::of(&self.values(stream, policy, "score")?);
                let gain = self.gain(stream, policy)?;
                cells.push(match (policy, mean, gain) {
                    (Policy::Uniform, Some(mean), _) => mean.text(100.0, 1, false),
                    (_, Some(_), Some(gain)) => gain.text(100.0, 1, true),
                    _ => "not run".into(),
                });
                if let Some(Mean { mean, half: Some(half) }) = gain
                    && mean + half < 0.0
                {
                    worse.push(stream.name());
                }
            }
            cells.push(if worse.is_empty() { "–".into() } else { worse.join(", ") });
            lines.push(Line::open(cells));
        }
        let columns = Of::ALL.map(|stream| Column::numbers(stream.name()));
        let columns = [Column::words("priority")]
            .into_iter()
            .chain(columns)
            .chain([Column::words("worse than uniform on")]);
        Ok(Section {
            heading: "Priorities and streams",
            grid: Grid {
                caption: "What is asked for at the end: right, % with uniform replay, and points more with a priority".into(),
                columns: columns.collect(),
                lines,
            },
            chart: None,
            pictures: Vec::new(),
        })
    }

    /// What tags do on the stream that has them.
    fn tags(&self) -> Result<Section> {
        let mut lines = Vec::new();
        for policy in [Policy::Uniform, Policy::Salience] {
            let of = |name| self.values(Of::Tagged, policy, name);
            let (tagged, untagged) = (of("tagged")?, of("untagged")?);
            let text = |mean: Option<Mean>, signed| {
                mean.map_or("not run".into(), |mean| mean.text(100.0, 1, signed))
            };
            lines.push(Line::open([
                policy.name().to_owned(),
                text(Mean::of(&tagged), false),
                text(Mean::of(&untagged), false),
                text(Mean::of_differences(&untagged, &tagged), true),
            ]));
        }
        let columns = ["tagged", "untagged", "difference"].map(Column::numbers);
        Ok(Section {
            heading: "Tagged and untagged",
            grid: Grid {
                caption: "Tagged and untagged images of the lists before the last: right at the end, %"
                    .into(),
                columns: [Column::words("priority")].into_iter().chain(columns).collect(),
                lines,
            },
            chart: None,
            pictures: Vec::new(),
        })
    }

    /// By how much a night changes what is known of what was seen: the mean over nights.
    fn night(&self, stream: Of, policy: Policy) -> Result<Option<Mean>> {
        let of = |name| self.by_seed(stream, policy, name);
        let (before, after) = pairs(&of("before")?, &of("after")?);
        Ok(Mean::of_differences(&before, &after))
    }

    fn nights(&self) -> Result<Section> {
        let mut lines = Vec::new();
        for policy in Policy::ALL {
            let mut cells = vec![policy.name().to_owned()];
            for stream in Of::ALL {
                cells.push(
                    self.night(stream, policy)?.map_or("not run".into(), |mean| mean.text(100.0, 1, true)),
                );
            }
            lines.push(Line::open(cells));
        }
        let columns = Of::ALL.map(|stream| Column::numbers(stream.name()));
        Ok(Section {
            heading: "What a night changes",
            grid: Grid {
                caption: "What a night changes: points of accuracy on all that came so far and is still true, mean over nights".into(),
                columns: [Column::words("priority")].into_iter().chain(columns).collect(),
                lines,
            },
            chart: None,
            pictures: Vec::new(),
        })
    }

    fn claims(&self) -> Result<Vec<Claim>> {
        let mut claims = Vec::new();
        for stream in Of::ALL {
            let gain = self.gain(stream, stream.made_for())?;
            claims.push(Claim {
                source: "aim".into(),
                text: match stream.made_for() {
                    Policy::Salience => {
                        "salience, in what is kept and in what is replayed, beats uniform on “tagged”".into()
                    }
                    policy => format!("{} beats uniform replay on “{}”", policy.name(), stream.name()),
                },
                asked: "a 95 % interval above 0 points".into(),
                found: found(gain),
                holds: gain.and_then(|gain| gain.half.map(|half| gain.mean > half)),
            });
        }
        let of = |name| self.values(Of::Tagged, Policy::Salience, name);
        let (tagged, untagged) = (of("tagged")?, of("untagged")?);
        let difference = Mean::of_differences(&untagged, &tagged);
        let p = sign_test(&untagged, &tagged);
        claims.push(Claim {
            source: "aim".into(),
            text: "what was tagged is retained better than what was not".into(),
            asked: "p < 0.01, by a one-sided sign test over seeds".into(),
            found: match p {
                Some(p) => format!("{}, p = {p:.1e}", found(difference)),
                None => "not run".into(),
            },
            holds: p.map(|p| p < 0.01 && difference.is_some_and(|d| d.mean > 0.0)),
        });
        let still: Vec<Part> = Of::ALL
            .into_iter()
            .filter(|stream| *stream != Of::Changing)
            .flat_map(|stream| Policy::ALL.map(|policy| Part { stream, policy }))
            .collect();
        claims
            .push(self.costs_nothing("a night does not cost what is known, while that stays true", &still)?);
        let changing = Part { stream: Of::Changing, policy: Policy::RecencyAndImportance };
        claims.push(self.costs_nothing(
            "nor does it where the world changes, if recency × importance says what to replay",
            &[changing],
        )?);
        Ok(claims)
    }

    /// That no night of these is for the worse, in the mean over nights and seeds.
    fn costs_nothing(&self, text: &str, parts: &[Part]) -> Result<Claim> {
        let mut all = Vec::new();
        for &Part { stream, policy } in parts {
            all.push(self.night(stream, policy)?.map(|mean| (mean, policy, stream)));
        }
        let worst = all.into_iter().collect::<Option<Vec<_>>>();
        let worst = worst.and_then(|all| all.into_iter().min_by(|a, b| lowest(a.0).total_cmp(&lowest(b.0))));
        let say = |(mean, policy, stream): (Mean, Policy, Of)| {
            format!("at worst {}: {}, {}", mean.text(100.0, 1, true), policy.name(), stream.name())
        };
        Ok(Claim {
            source: "aim".into(),
            text: text.into(),
            asked:
                "on what was seen, the mean over nights: the lower end of the interval at most 1 point less"
                    .into(),
            found: worst.map_or("not run".into(), say),
            holds: worst.map(|(mean, ..)| lowest(mean) >= -0.01),
        })
    }
}

/// The lower end of the interval.
fn lowest(mean: Mean) -> f64 {
    mean.mean - mean.half.unwrap_or(f64::INFINITY)
}

/// The numbers of the seeds that both have.
fn pairs(a: &BTreeMap<u64, f64>, b: &BTreeMap<u64, f64>) -> (Vec<f64>, Vec<f64>) {
    a.iter().filter_map(|(seed, a)| Some((*a, *b.get(seed)?))).unzip()
}

fn found(difference: Option<Mean>) -> String {
    difference.map_or("not run".into(), |mean| format!("{} points", mean.text(100.0, 1, true)))
}

/// The probability that as many pairs or more have b > a if either is as likely; equal pairs are left out.
fn sign_test(a: &[f64], b: &[f64]) -> Option<f64> {
    let more = a.iter().zip(b).filter(|(a, b)| b > a).count();
    let less = a.iter().zip(b).filter(|(a, b)| b < a).count();
    let n = more + less;
    if n == 0 || a.len() != b.len() {
        return None;
    }
    // Σ C(n, k) / 2ⁿ from k = more on.
    let (mut term, mut sum) = (0.5f64.powi(n as i32), 0.0);
    for k in 0..=n {
        if k >= more {
            sum += term;
        }
        term *= (n - k) as f64 / (k + 1) as f64;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::sign_test;

    #[test]
    fn the_sign_test_is_the_binomial_tail() {
        assert_eq!(sign_test(&[0.0; 3], &[1.0; 3]), Some(0.125));
        assert_eq!(sign_test(&[0.0, 0.0, 1.0], &[1.0, 1.0, 0.0]), Some(0.5));
        assert_eq!(sign_test(&[0.0, 5.0], &[1.0, 5.0]), Some(0.5));
        assert_eq!(sign_test(&[1.0], &[1.0]), None);
    }
}
