//! Runs of a toy suite: resuming, what is asked, what the report shows.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

static GO: AtomicBool = AtomicBool::new(false);

/// A row that learns at once: its error is its seed.
fn learned(seed: u64, stop: &AtomicBool) -> Result<Learned> {
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    let mark = |step| Mark { step, loss: 1.0 / step as f64, error: 50.0 / step as f64 };
    Ok(Learned {
        steps: 100,
        not_finite: u64::from(seed == 7),
        curve: vec![mark(50), mark(100)],
        measured: [("error", seed as f64), ("blind", 45.0)].map(|(name, x)| (name.to_owned(), x)).into(),
        watched: vec![Watched {
            what: "a sequence".into(),
            weights: vec![("written".into(), vec![vec![0, 100]])],
        }],
    })
}

static TOY: Suite = Suite {
    name: "toy",
    title: "Toy",
    source: "nothing",
    seeds: 2,
    rows: &[
        Row { name: "a", protocol: || Ok(serde_json::json!({"lr": 1})), learn: learned },
        Row { name: "b", protocol: || Ok(serde_json::json!({"lr": 2})), learn: learned },
    ],
    measures: &[
        Measure { name: "error", asked: Some(Asked::AtMost(1.5)), of: &["a"] },
        Measure { name: "blind", asked: Some(Asked::AtLeast(40.0)), of: &[] },
    ],
    notes: &["A remark."],
};

fn options(out: &std::path::Path, seeds: u64) -> Options {
    Options { seeds, out: out.into(), rows: Vec::new() }
}

fn go(options: &Options) -> Done {
    run(&TOY, options, &GO, &mut |_| {}).unwrap()
}

#[test]
fn an_interrupted_bench_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let first = go(&options(folder.path(), 1));
    assert_eq!((first.made, first.found, first.interrupted), (2, 0, false));
    let stopped = AtomicBool::new(true);
    let none = run(&TOY, &options(folder.path(), 3), &stopped, &mut |_| {}).unwrap();
    assert_eq!((none.made, none.found, none.interrupted), (0, 2, true));
    let rest = go(&options(folder.path(), 3));
    assert_eq!((rest.made, rest.found, rest.interrupted), (4, 2, false));
    // What is read back is what was written.
    let (runs, torn) = Lines::<Run>::read(folder.path().join("results.jsonl")).unwrap();
    assert!(torn.is_none() && runs.len() == 6);
    assert_eq!(runs[0].learned, learned(0, &GO).unwrap());
    let one = Options { rows: vec!["b".into()], ..options(folder.path(), 4) };
    assert_eq!(go(&one).made, 1);
    let unknown = Options { rows: vec!["c".into()], ..one };
    assert!(run(&TOY, &unknown, &GO, &mut |_| {}).err().unwrap().to_string().contains("there are a, b"));
}

#[test]
fn what_is_asked_is_asked_of_every_run() {
    let folder = tempfile::tempdir().unwrap();
    let holds = |seeds| -> Vec<_> {
        let claims = go(&options(folder.path(), seeds)).findings.claims();
        claims.into_iter().map(|claim| (claim.text, claim.holds)).collect()
    };
    // Seeds 0 and 1 keep below 1.5; the error of row b is not asked for.
    let two = holds(2);
    assert_eq!(two.len(), 5);
    assert!(two.iter().all(|(_, holds)| *holds == Some(true)), "{two:?}");
    let three = holds(3);
    assert_eq!(three[0], ("a: error".into(), Some(false)));
    assert_eq!(three.iter().filter(|(_, holds)| *holds == Some(false)).count(), 1);
    let eight = holds(8);
    assert_eq!(eight[2], ("a: steps with a number that is not finite".into(), Some(false)));

    // With runs still to come, what holds so far is open, and what is missed is missed.
    let (runs, _) = Lines::<Run>::read(folder.path().join("results.jsonl")).unwrap();
    let so_far = |keep: &dyn Fn(&Run) -> bool| {
        let runs: Vec<Run> = runs.iter().filter(|run| keep(run)).cloned().collect();
        Findings::of(&TOY, 3, &runs).unwrap().claims()[0].holds
    };
    assert_eq!(so_far(&|run| run.seed < 2), None);
    assert_eq!(so_far(&|run| run.seed == 2), Some(false));
}

#[test]
fn runs_of_another_protocol_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    go(&options(folder.path(), 2));
    let (mut runs, _) = Lines::<Run>::read(folder.path().join("results.jsonl")).unwrap();
    runs.iter_mut().for_each(|run| run.config = Config::new(serde_json::json!({"lr": 3})));
    assert!(Findings::of(&TOY, 2, &runs).unwrap().claims().iter().all(|claim| claim.holds.is_none()));
    let mut lacking = Lines::<Run>::read(folder.path().join("results.jsonl")).unwrap().0;
    lacking[0].learned.measured.clear();
    assert!(Findings::of(&TOY, 2, &lacking).err().unwrap().to_string().contains("`error` was not measured"));
}

#[test]
fn the_report_has_tables_curves_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let findings = go(&options(folder.path(), 2)).findings;
    let written = findings.write(folder.path()).unwrap();
    let [markdown, html] =
        [written.markdown, written.html].map(|path| std::fs::read_to_string(path).unwrap());
    assert!(
        markdown.contains("| a | 2 | 0.50 (0.00 to 1.00) | 45.00 (45.00 to 45.00) | 100 |"),
        "{markdown}"
    );
    assert!(markdown.contains("A remark.") && markdown.contains("Claims: 5 hold"));
    assert!(html.contains("steps of training") && html.contains("a, seed 0: a sequence"));
    // A curve for each row, wide and narrow; a cell of weights for each row.
    assert_eq!(html.matches(r#"class="curve s"#).count(), 4);
    assert_eq!(html.matches(r##"fill="#08306b""##).count(), 2);
    assert!(findings.summary().contains("| b | 2 |"));
}

/// The suites' own runs, made short: everything they ask for is measured, and equal seeds are equal runs.
#[test]
fn runs_are_decided_by_their_seed() {
    for (name, short) in
        [("dnc-copy", copy::short as fn(u64, &AtomicBool) -> Result<Learned>), ("dnc-recall", recall::short)]
    {
        let suite = suite(name).unwrap();
        let runs = [0, 0, 1].map(|seed| short(seed, &GO).unwrap());
        assert!(suite.measures.iter().all(|m| runs[0].measured.contains_key(m.name)));
        assert_eq!(runs[0], runs[1]);
        assert_ne!(runs[0].measured, runs[2].measured);
        assert_eq!(runs[0].not_finite, 0);
        assert!(!runs[0].watched.is_empty() && !runs[0].curve.is_empty());
        assert!(matches!(short(0, &AtomicBool::new(true)), Err(Error::Interrupted)));
    }
}

#[test]
fn babi_is_learned_a_little_from_few_steps() {
    if std::env::var_os("CL_DATA_DIR").is_none_or(|dir| !std::path::Path::new(&dir).join("babi").exists()) {
        println!("skipped: no babi in CL_DATA_DIR");
        return;
    }
    let learned = babi::short(1, 0, &GO).unwrap();
    assert!(babi::SUITE.measures.iter().all(|m| learned.measured.contains_key(m.name)));
    assert_eq!(learned, babi::short(1, 0, &GO).unwrap());
}

/// Every suite, row and measure has a name of its own, and what is asked is asked of rows that exist.
#[test]
fn names_are_names() {
    for suite in SUITES {
        let rows: Vec<&str> = suite.rows.iter().map(|row| row.name).collect();
        for measure in suite.measures {
            assert!(measure.of.iter().all(|row| rows.contains(row)));
            assert_eq!(suite.measures.iter().filter(|m| m.name == measure.name).count(), 1);
        }
        for row in suite.rows {
            assert_eq!(rows.iter().filter(|name| **name == row.name).count(), 1);
            assert!((row.protocol)().unwrap().is_object());
        }
    }
}
