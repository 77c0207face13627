//! The report as a table, for a terminal and as Markdown.

use super::{Rate, Ratio, Report, Spread, Unit, Verdict};

/// For a terminal: the machine, the table, what went wrong.
pub fn text(report: &Report) -> String {
    let mut text = report.machine.lines().join("\n") + "\n\n" + &unit(report) + "\n\n";
    for table in tables(report) {
        text += &table.aligned();
        text.push('\n');
    }
    text + &remarks(report).into_iter().map(|remark| remark + "\n").collect::<String>()
}

/// The same with Markdown's tables and lists.
pub fn markdown(report: &Report) -> String {
    let (title, unit) = (report.heading.title, unit(report));
    let mut text = format!("# {title}\n\n{unit}\n\n{}", list(&report.machine.lines()));
    for table in tables(report) {
        text += &format!("\n{}", table.markdown());
    }
    let remarks = list(&remarks(report));
    if remarks.is_empty() { text } else { format!("{text}\n{remarks}") }
}

fn list(lines: &[String]) -> String {
    lines.iter().map(|line| format!("- {}\n", line.replace('\n', "\n  "))).collect()
}

fn unit(report: &Report) -> String {
    let (unit, ratio) = match report.heading.unit {
        Unit::SamplesPerSecond => ("Samples per CPU second", "A ratio is"),
        Unit::Nanoseconds => {
            ("Nanoseconds of CPU time a transition", "A ratio says how many times faster engram is:")
        }
    };
    let race = if report.ratios.iter().any(|ratio| ratio.fastest) {
        " An aim that is marked so is against the fastest peer of its case in this run."
    } else {
        ""
    };
    format!(
        "{unit}, one thread; medians of the rounds. {ratio} the median of the rounds' ratios [smallest to \
         largest].{race}"
    )
}

struct Table {
    header: &'static [&'static str],
    /// Columns before this one are words, the others numbers.
    words: usize,
    rows: Vec<Vec<String>>,
}

fn tables(report: &Report) -> Vec<Table> {
    // Without ratios to our name, the speeds themselves.
    let compared = |rate: &&Rate| report.ratios.iter().any(|ratio| ratio.case == rate.case);
    let alone: Vec<&Rate> = report.rates.iter().filter(|rate| !compared(rate)).collect();
    let rates = Table {
        header: &["case", "engram", "from", "to"],
        words: 1,
        rows: alone.into_iter().map(|rate| rate_row(rate, report.heading.unit)).collect(),
    };
    let ratios = Table {
        header: &["case", "peer", "engram", "peer's", "ratio", "spread", "aim", ""],
        words: 2,
        rows: report.ratios.iter().map(|ratio| ratio_row(ratio, report.heading.unit)).collect(),
    };
    [ratios, rates].into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn rate_row(rate: &Rate, unit: Unit) -> Vec<String> {
    let Spread { median, min, max, .. } = rate.samples_per_cpu_second;
    // From the smallest number to the greatest, in either unit.
    let (from, to) = if unit == Unit::Nanoseconds { (max, min) } else { (min, max) };
    vec![rate.case.clone(), unit.of(median), unit.of(from), unit.of(to)]
}

impl Unit {
    /// A rate of samples per CPU second in this unit.
    fn of(self, rate: f64) -> String {
        match self {
            Self::SamplesPerSecond => thousands(rate),
            Self::Nanoseconds if rate > 1e7 => format!("{:.1}", 1e9 / rate),
            Self::Nanoseconds => thousands(1e9 / rate),
        }
    }
}

fn ratio_row(row: &Ratio, unit: Unit) -> Vec<String> {
    let peer =
        if row.case == row.peer_case { row.peer.clone() } else { format!("{}, {}", row.peer, row.peer_case) };
    let Spread { median, min, max, .. } = row.ratio;
    vec![
        row.case.clone(),
        peer,
        unit.of(row.ours_median),
        unit.of(row.theirs_median),
        multiple(median),
        format!("[{} to {}]", multiple(min), multiple(max)),
        row.aim.map_or(String::new(), |aim| {
            if row.fastest { format!("fastest: ≥ {aim}") } else { format!("≥ {aim}") }
        }),
        match row.verdict {
            Some(Verdict::Met) => "met".into(),
            Some(Verdict::Missed) => "MISSED".into(),
            None => String::new(),
        },
    ]
}

fn remarks(report: &Report) -> Vec<String> {
    let failures = report.failures.iter().map(|failure| format!("failed: {}", failure.why));
    let notes = report.notes.iter().map(|note| format!("note: {note}"));
    let end =
        report.interrupted.then(|| "interrupted: the cases above are complete, the others missing".into());
    failures.chain(notes).chain(end).collect()
}

/// Rounded towards zero, so that a ratio that misses its aim does not look as if it met it.
fn multiple(ratio: f64) -> String {
    let digits = if ratio < 10.0 { 2 } else { 1 };
    let unit = 10_f64.powi(digits);
    format!("{:.*}×", digits as usize, (ratio * unit).floor() / unit)
}

/// `63400.4` as `63 400`.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

impl Table {
    fn aligned(&self) -> String {
        let header = self.header.iter().map(ToString::to_string).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&header).chain(&self.rows).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let cell = |(column, text): (usize, &String)| {
            let width = widths[column];
            if column < self.words { format!("{text:<width$}") } else { format!("{text:>width$}") }
        };
        lines
            .iter()
            .map(|line| {
                line.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
            })
            .collect()
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let header: Vec<String> = self.header.iter().map(ToString::to_string).collect();
        let rule: String =
            (0..self.header.len()).map(|column| if column < self.words { "|---" } else { "|---:" }).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}{rule}|\n{rows}", line(&header))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{
        Aim, Comparison, Failure, Hello, Machine, REPLAY, TRAINING, if_fastest,
        training::{AVALANCHE, PYTORCH, PYTORCH_AVX512},
    };
    use super::*;

    fn comparison(peer: &str, peer_case: &str) -> Comparison {
        let same = |c: &&Comparison| c.peer == peer && c.peer_case == peer_case;
        *TRAINING.comparisons.iter().find(same).expect("the tests name comparisons that exist")
    }

    fn judged(comparisons: &[(Comparison, &[f64])], ours: &[f64]) -> Vec<Ratio> {
        let ratio = |(c, theirs): &(Comparison, &[f64])| Ratio::new(c, ours, theirs).map(|r| (c.aim, r));
        Ratio::judged(comparisons.iter().filter_map(ratio).collect())
    }

    fn report() -> Report {
        let hello = |peer: &str, gflops| Hello {
            peer: peer.into(),
            versions: BTreeMap::from([("torch".into(), "2.15.0".into()), ("python".into(), "3.11.7".into())]),
            matmul_gflops: Some(gflops),
            cases: vec!["mlp-128".into()],
        };
        let mut report = Report::new(
            TRAINING.heading,
            Machine {
                cpu: "AMD EPYC".into(),
                cpus: 2,
                system: "linux x86_64".into(),
                rustc: "rustc 1.95.0".into(),
                engram: "0.1.0".into(),
                peers: [(PYTORCH, 101.0), (PYTORCH_AVX512, 220.4)]
                    .map(|(n, g)| (n.into(), hello(n, g)))
                    .into(),
            },
        );
        let ours = [63_400.0, 61_000.0, 64_000.0];
        for (peer, case, theirs) in [
            (PYTORCH, "mlp-128", [36_200.0, 36_000.0, 36_300.0]),
            (PYTORCH_AVX512, "mlp-128", [75_000.0, 74_000.0, 76_000.0]),
            (AVALANCHE, "er-10", [1_505.0, 1_500.0, 1_600.0]),
            (PYTORCH, "fisher-factored", [14_000.0, 14_100.0, 13_900.0]),
        ] {
            report.ratios.extend(judged(&[(comparison(peer, case), &theirs)], &ours));
        }
        report.rates.extend(Rate::new("mlp-128", &ours));
        report.rates.extend(Rate::new("new-case", &[950.0, 1_234_567.0, 1_000.4]));
        report.failures.push(Failure {
            case: "cnn-64".into(),
            by: PYTORCH.into(),
            why: "cnn-64 of peer pytorch is not available: it ended; the end of its stderr:\n  Killed".into(),
        });
        report
    }

    #[test]
    fn for_a_terminal() {
        insta::assert_snapshot!(text(&report()));
    }

    #[test]
    fn as_markdown() {
        let mut report = report();
        report.interrupted = true;
        insta::assert_snapshot!(markdown(&report));
    }

    /// Times instead of speeds, and an aim against whoever is fastest.
    #[test]
    fn a_race_in_nanoseconds() {
        let mut report = report();
        report.heading = REPLAY.heading;
        let slow = if_fastest("draw", "slow", 4.5);
        let shown = Comparison { aim: Aim::None, ..if_fastest("draw", "unranked", 4.5) };
        let rows: [(Comparison, &[f64]); 3] =
            [(slow, &[4e6, 4e6]), (if_fastest("draw", "fast", 4.5), &[1e7, 1.25e7]), (shown, &[1e9, 1e9])];
        report.ratios = judged(&rows, &[4e7, 5e7]);
        report.rates.extend(Rate::new("add-1", &[1e7, 5e6, 2e7]));
        insta::assert_snapshot!(markdown(&report));
    }

    #[test]
    fn a_near_miss_does_not_look_like_a_hit() {
        assert_eq!(multiple(1.7499), "1.74×");
        assert_eq!(multiple(1.75), "1.75×");
        assert_eq!(multiple(49.99), "49.9×");
        let verdict = |ours| judged(&[(comparison(PYTORCH, "mlp-128"), &[1.0])], &[ours])[0].verdict;
        assert_eq!(verdict(1.7499), Some(Verdict::Missed));
        assert_eq!(verdict(1.75), Some(Verdict::Met));
    }

    #[test]
    fn thousands_are_grouped() {
        let shown = [0.4, 999.0, 1_000.0, 63_400.4, 1_234_567.0].map(thousands);
        assert_eq!(shown, ["0", "999", "1 000", "63 400", "1 234 567"]);
    }
}
