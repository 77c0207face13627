//! The report, rendered from made-up records.
//!
//! With `CL_REPORT_DIR` set, `pages_to_look_at` leaves its pages there.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use cl_bench::published::{ErrorKind, Provenance, Published, Verdict};
use cl_bench::report::{Report, Row, Table};
use cl_bench::results::{Config, Record};
use serde_json::json;

/// A run whose accuracies fall by `loss` with each later task, and a little by seed.
fn run(method: &str, scenario: &str, seed: u64, tasks: usize, loss: f64) -> Record {
    let noise = (seed as f64 * 12.9898 + loss * 7.0).sin() * 0.01;
    let accuracy = |i: usize, j: usize| match i.checked_sub(j) {
        None => 0.1 + 0.02 * ((i * 3 + j) % 5) as f64,
        Some(age) => ((0.985 + noise) * (1.0 - loss).powi(age as i32)).clamp(0.0, 1.0),
    };
    let rows: Vec<Vec<f64>> = (0..tasks).map(|i| (0..tasks).map(|j| accuracy(i, j)).collect()).collect();
    Record {
        suite: "split-mnist".into(),
        scenario: scenario.into(),
        method: method.into(),
        seed,
        config: Config::new(json!({ "method": method })),
        r: if method == "Joint" { vec![vec![0.98 + noise; tasks]] } else { rows },
        baseline: vec![0.1; tasks],
        metrics: BTreeMap::new(),
        device: None,
        train_seconds: 12.5 + seed as f64,
        cpu_seconds: 11.0 + seed as f64,
        samples_per_cpu_second: 100_000.0,
        bits: None,
        stability: None,
        peak_rss_bytes: 300 << 20,
        version: "0.1.0".into(),
    }
}

fn published(mean: f64, error: f64, provenance: Provenance) -> Option<Published> {
    Some(Published { mean, error: Some(error), kind: ErrorKind::Sem, n: Some(20), provenance, rerun: None })
}

fn row(method: &str, seeds: std::ops::RangeInclusive<u64>, loss: f64, published: Option<Published>) -> Row {
    let records = seeds.map(|seed| run(method, "class", seed, 3, loss)).collect();
    Row { method: method.into(), records, published }
}

/// Every verdict once.
fn small() -> Report {
    let ewc = Published {
        kind: ErrorKind::Std,
        n: None,
        error: None,
        ..published(20.64, 0.0, Provenance::Repo).unwrap()
    };
    Report {
        title: "Split MNIST".into(),
        suite: "split-mnist".into(),
        source: "van de Ven et al. 2022, Table 2".into(),
        protocol: vec![("network".into(), "784-400-400-10".into()), ("batch".into(), "128".into())],
        tables: vec![Table {
            scenario: "class".into(),
            rows: vec![
                row("None", 1..=4, 0.7, published(45.6, 0.02, Provenance::Quoted)),
                row("Joint", 1..=3, 0.0, published(98.17, 0.04, Provenance::Quoted)),
                row("EWC", 2..=4, 0.5, Some(ewc)),
                row("SI", 1..=2, 0.6, published(21.2, 0.57, Provenance::Unverified)),
                row("ER", 1..=1, 0.05, published(88.79, 0.2, Provenance::Quoted)),
                row("L2", 1..=2, 0.65, None),
                Row {
                    method: "LwF".into(),
                    records: vec![],
                    published: published(21.89, 0.32, Provenance::Quoted),
                },
            ],
        }],
        notes: vec!["Numbers are *made up*.".into()],
    }
}

/// As large as a suite gets: three scenarios of five tasks, and one of twenty.
fn large() -> Report {
    let methods = [
        ("None", 0.7),
        ("Joint", 0.0),
        ("L2", 0.5),
        ("EWC", 0.4),
        ("Online EWC", 0.42),
        ("SI", 0.38),
        ("LwF", 0.3),
        ("ER", 0.03),
        ("A-GEM", 0.1),
    ];
    let table = |scenario: &str, tasks: usize, ease: f64| Table {
        scenario: scenario.into(),
        rows: methods
            .iter()
            .map(|(method, loss)| {
                let records: Vec<_> =
                    (1..=10).map(|s| run(method, scenario, s, tasks, loss * ease)).collect();
                let published = published(90.0 * (1.0 - loss * ease), 0.4, Provenance::Quoted);
                Row { method: (*method).into(), records, published: published.filter(|_| *method != "L2") }
            })
            .collect(),
    };
    Report {
        tables: vec![
            table("task", 5, 0.02),
            table("domain", 5, 0.3),
            table("class", 5, 1.0),
            table("online", 20, 0.1),
        ],
        protocol: vec![
            ("network".into(), "multilayer perceptron 784-400-400-10, ReLU, no dropout".into()),
            ("optimiser".into(), "Adam, learning rate 0.001, β = (0.9, 0.999), kept between tasks".into()),
            ("budget".into(), "2000 iterations per task, batches of 128".into()),
        ],
        ..small()
    }
}

/// The page without its style sheet and drawings.
fn structure(html: &str) -> String {
    let mut out = html.to_owned();
    for (open, close) in [("<style>", "</style>"), ("<svg", "</svg>")] {
        while let Some(start) = out.find(open) {
            let end = start + out[start..].find(close).unwrap() + close.len();
            out.replace_range(start..end, &format!("({})", open.trim_matches(['<', '>'])));
        }
    }
    out
}

/// Whether every element is closed, in order.
fn assert_balanced(html: &str) {
    const VOID: [&str; 5] = ["!doctype", "meta", "br", "wbr", "link"];
    let mut open = Vec::new();
    for tag in html.split('<').skip(1) {
        let inner = tag.split('>').next().unwrap();
        let name = inner.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap().to_lowercase();
        if inner.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name.as_str()), "…<{inner}>");
        } else if !inner.ends_with('/') && !VOID.contains(&name.as_str()) {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn text_table() {
    insta::assert_snapshot!(small().text_table().unwrap());
}

#[test]
fn markdown() {
    insta::assert_snapshot!(small().markdown().unwrap());
}

#[test]
fn html() {
    let html = small().html().unwrap();
    assert_balanced(&html);
    insta::assert_snapshot!(structure(&html));
}

#[test]
fn verdicts_are_in_order() {
    let verdicts = small().verdicts().unwrap();
    let said: Vec<_> = verdicts.iter().map(|(_, method, v)| (method.as_str(), v.to_string())).collect();
    let want = [
        ("None", "reproduced"),
        ("Joint", "reproduced"),
        ("EWC", "off by +36.3"),
        ("SI", "no verified number"),
        ("ER", "too few seeds"),
        ("L2", "nothing published"),
    ];
    assert_eq!(said, want.map(|(m, v)| (m, v.to_string())));
    assert!(verdicts.iter().all(|(scenario, ..)| scenario == "class"));
    assert_eq!(verdicts.iter().filter(|(.., v)| v.is_missed()).count(), 1);
    assert!(matches!(verdicts[2].2, Verdict::Off { tolerance, .. } if tolerance >= 1.0));
}

#[test]
fn the_page_needs_no_network() {
    let html = large().html().unwrap();
    for needs in ["src=", "href=", "url(", "@import", "<script", "<link", "<img"] {
        assert!(!html.contains(needs), "{needs}");
    }
    // The only addresses are names of name spaces.
    assert_eq!(html.matches("http").count(), html.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    assert_balanced(&html);
}

#[test]
fn the_scenario_is_in_every_table_header() {
    let html = large().html().unwrap();
    let captions: Vec<_> =
        html.split("<caption><span>").skip(1).map(|c| c.split("</span>").next().unwrap()).collect();
    assert_eq!(captions.len(), 4 * 6);
    assert!(captions.iter().all(|c| c.contains("scenario")), "{captions:?}");
}

#[test]
fn everything_is_escaped() {
    let evil = "<script>alert('x')</script> & \"q\" | `c` {{ 7*7 }}";
    let mut report = small();
    report.title = evil.into();
    report.suite = evil.into();
    report.source = evil.into();
    report.protocol = vec![(evil.into(), evil.into())];
    report.notes = vec![evil.into()];
    report.tables[0].scenario = evil.into();
    for row in &mut report.tables[0].rows {
        row.method = evil.into();
        for record in &mut row.records {
            record.scenario = evil.into();
            record.method = evil.into();
            record.version = evil.into();
            record.config.hash = evil.into();
        }
    }
    let html = report.html().unwrap();
    assert!(!html.contains("<script") && !html.contains("&quot;q\""));
    assert!(html.contains("{{ 7*7 }}"), "a value is not a template");
    assert_balanced(&html);
    let markdown = report.markdown().unwrap();
    assert!(!markdown.replace("\\<", "").contains('<'));
    // No cell adds a column to its table.
    for table in markdown.split("\n\n").filter(|block| block.starts_with("| ")) {
        let columns: Vec<_> =
            table.lines().map(|line| line.replace("\\|", "").matches('|').count()).collect();
        assert!(columns.iter().all(|c| *c == columns[0]), "{columns:?}: {table}");
    }
}

#[test]
fn records_that_do_not_belong_together_are_refused() {
    let with = |change: fn(&mut Report)| {
        let mut report = small();
        change(&mut report);
        report.text_table().unwrap_err().to_string()
    };
    let said = with(|r| r.tables[0].rows[0].records[1].scenario = "task".into());
    assert!(said.contains("None in the class scenario: a record of the task scenario"), "{said}");
    let said = with(|r| r.tables[0].rows[0].records[1].config = Config::new(json!(2)));
    assert!(said.contains("two configurations"), "{said}");
    let said = with(|r| r.tables[0].rows[0].records[1].seed = 1);
    assert!(said.contains("seed 1 occurs twice"), "{said}");
    let said = with(|r| r.tables[0].rows[0].records[1] = run("None", "class", 9, 4, 0.5));
    assert!(said.contains("got 4 rows of 4 tasks"), "{said}");
    let said = with(|r| r.tables[0].rows[0].records[1].baseline[0] = 2.0);
    assert!(said.contains("R[0, 1]"), "{said}");
}

#[test]
fn nothing_run_is_still_a_report() {
    let mut report = small();
    report.tables[0].rows.iter_mut().for_each(|row| row.records.clear());
    assert!(report.text_table().unwrap().contains("7 not run"));
    assert_balanced(&report.html().unwrap());
    report.tables.clear();
    assert!(report.markdown().unwrap().contains("nothing was run"));
    assert_balanced(&report.html().unwrap());
}

#[test]
fn both_files_are_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("a/b");
    let written = small().write(&out).unwrap();
    assert_eq!(std::fs::read_to_string(&written.markdown).unwrap(), small().markdown().unwrap());
    assert_eq!(std::fs::read_to_string(&written.html).unwrap(), small().html().unwrap());
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2, "nothing else is left");
    std::fs::remove_file(&written.html).unwrap();
    std::fs::create_dir(&written.html).unwrap();
    assert!(small().write(&out).unwrap_err().to_string().contains("report.html"));
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn pages_to_look_at() {
    let Some(dir) = std::env::var_os("CL_REPORT_DIR") else {
        println!("skipped: CL_REPORT_DIR is not set");
        return;
    };
    let dir = std::path::PathBuf::from(dir);
    large().write(dir.join("large")).unwrap();
    small().write(dir.join("small")).unwrap();
}
