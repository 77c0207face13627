//! The results file: what is kept, what is refused, what is said.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cl_bench::results::{self, Config, Record, Results};
use serde_json::json;

fn run(seed: u64) -> Record {
    Record {
        suite: "split-digits".into(),
        scenario: "class".into(),
        method: "Online EWC".into(),
        seed,
        config: Config::new(json!({"lambda": 1e9, "optimizer": {"name": "Adam", "lr": 0.001}})),
        // Sums and quotients that have no short decimal form.
        r: vec![vec![0.9, 0.1 + 0.2], vec![1.0 / 3.0, 0.8]],
        baseline: vec![0.1, f64::MIN_POSITIVE],
        metrics: BTreeMap::from([("acc".into(), 17.0 / 30.0), ("bwt_gem_paper".into(), -0.0)]),
        bits: Some(vec![vec![0.25, -1.5]]),
        stability: Some(3.5),
        device: Some("a GPU".to_owned()),
        train_seconds: std::f64::consts::PI,
        cpu_seconds: 1.0,
        samples_per_cpu_second: 12_345.678_901_234_5,
        peak_rss_bytes: u64::MAX,
        version: "0.1.0".into(),
    }
}

fn three(dir: &Path) -> PathBuf {
    let (mut results, torn) = Results::open(dir).unwrap();
    assert_eq!(torn, None);
    for seed in 1..=3 {
        results.append(&run(seed)).unwrap();
    }
    results.path().to_owned()
}

#[test]
fn what_was_appended_is_read_back_bit_by_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(&dir.path().join("not/there/yet"));
    let (records, torn) = results::read(&path).unwrap();
    assert_eq!(torn, None);
    assert_eq!(records, [run(1), run(2), run(3)]);
    assert_eq!(records[0].metrics["bwt_gem_paper"].to_bits(), (-0.0f64).to_bits());
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3);
    insta::assert_snapshot!(text.lines().next().unwrap());
}

#[test]
fn random_floats_round_trip() {
    // Half of all doubles are misread by one unit in the last place by a parser that is merely fast.
    let dir = tempfile::tempdir().unwrap();
    let (mut results, _) = Results::open(dir.path()).unwrap();
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for seed in 0..200 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let accuracy = (bits >> 11) as f64 / (1u64 << 53) as f64;
        results
            .append(&Record {
                r: vec![vec![accuracy, 1.0 - accuracy]; 2],
                cpu_seconds: accuracy * 1e-7,
                ..run(seed)
            })
            .unwrap();
    }
    assert_eq!(results::read(results.path()).unwrap().0, results.records());
}

#[test]
fn a_run_is_known_by_suite_scenario_method_seed_and_configuration() {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path());
    let (results, _) = Results::open(dir.path()).unwrap();
    let stored = run(2);
    assert!(results.contains(&stored.key()));
    assert_eq!(results.get(&stored.key()), Some(&stored));
    let others = [
        Record { suite: "split-mnist".into(), ..run(2) },
        Record { scenario: "task".into(), ..run(2) },
        Record { method: "EWC".into(), ..run(2) },
        Record { seed: 4, ..run(2) },
        Record { config: Config::new(json!({"lambda": 1e8})), ..run(2) },
    ];
    for other in others {
        assert!(!results.contains(&other.key()), "{:?}", other.key());
    }
    // Its measurements do not make it another run.
    assert!(results.contains(&Record { cpu_seconds: 9.0, version: "0.2.0".into(), ..run(2) }.key()));
}

#[test]
fn the_hash_of_a_configuration_ignores_order_and_nothing_else() {
    let hash = |text: &str| Config::new(serde_json::from_str(text).unwrap()).hash;
    let this = hash(r#"{"a": 1, "b": {"c": [1, 2], "d": 0.5}}"#);
    assert_eq!(this, hash(r#"{"b": {"d": 0.5, "c": [1, 2]}, "a": 1}"#));
    assert_ne!(this, hash(r#"{"b": {"d": 0.5, "c": [2, 1]}, "a": 1}"#));
    assert_ne!(this, hash(r#"{"b": {"d": 0.25, "c": [1, 2]}, "a": 1}"#));
    // SHA-256 of {"a":1,"b":{"c":[1,2],"d":0.5}}. Fixed for ever: stored results are found by it.
    assert_eq!(this, "189d8cc67e07406d");
}

#[test]
fn cut_anywhere_the_whole_lines_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..whole.len()).filter(|&i| whole[i] == b'\n').collect();
    // Every place near the end of a line, and some of the others.
    let near = |cut: usize| ends.iter().any(|end| cut.abs_diff(*end) < 3);
    for cut in (0..=whole.len()).filter(|&cut| cut < 12 || cut % 29 == 0 || near(cut)) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        // A line that lacks nothing but its newline is whole.
        let kept = ends.iter().filter(|&&end| cut >= end).count();
        let lines = ends.iter().filter(|&&end| cut > end).count();
        let start = if lines == 0 { 0 } else { ends[lines - 1] + 1 };
        let is_torn = kept == lines && cut > start;

        let (records, torn) = results::read(&path).unwrap();
        assert_eq!((records.len(), torn.is_some()), (kept, is_torn), "cut at {cut}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), cut as u64, "reading changes nothing");

        let (mut results, torn) = Results::open(dir.path()).unwrap();
        assert_eq!((results.records().len(), torn.is_some()), (kept, is_torn), "cut at {cut}");
        let whole_lines = kept as u64 * (ends[0] + 1) as u64;
        assert_eq!(std::fs::metadata(&path).unwrap().len(), whole_lines, "cut at {cut}");
        if let Some(torn) = torn {
            assert_eq!((torn.line, torn.bytes), (lines + 1, cut - start));
            let said = torn.to_string();
            assert!(said.contains("results.jsonl") && said.contains("torn"), "{said}");
        }
        results.append(&run(99)).unwrap();
        drop(results);
        let (records, torn) = results::read(&path).unwrap();
        assert_eq!((records.len(), torn), (kept + 1, None), "cut at {cut}");
    }
}

#[test]
fn zeros_after_a_power_cut_are_a_torn_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([0; 512]);
    std::fs::write(&path, bytes).unwrap();
    let (results, torn) = Results::open(dir.path()).unwrap();
    assert_eq!((results.records().len(), torn.unwrap().bytes), (3, 512));
}

/// Opens a file that must be refused, and checks that it was left alone.
fn refused(contents: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(results::FILE_NAME);
    std::fs::write(&path, contents).unwrap();
    let error = Results::open(dir.path()).unwrap_err().to_string();
    assert_eq!(results::read(&path).unwrap_err().to_string(), error);
    assert_eq!(std::fs::read(&path).unwrap(), contents, "{error}");
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    error
}

#[test]
fn a_malformed_line_is_named_and_nothing_is_changed() {
    let line = |record: &Record| serde_json::to_string(record).unwrap() + "\n";
    let two = line(&run(1)) + &line(&run(2));
    let middle = two.replacen("\"seed\":2", "\"seed\":two", 1) + &line(&run(3));
    assert!(refused(middle.as_bytes()).contains("line 2 is not a result of this program (expected"));
    // Ended by a newline, so no write was interrupted: somebody changed it.
    let last = line(&run(1)) + "{\"suite\":\"split\n";
    assert!(refused(last.as_bytes()).contains("line 2"));
    let null = two.replacen("[0.9,", "[null,", 1);
    assert!(refused(null.as_bytes()).contains("line 1"));
    let percent = two.replacen("[0.9,", "[90.0,", 1);
    assert!(refused(percent.as_bytes()).contains("not percent"));
    let missing = two.replacen("\"version\":\"0.1.0\"", "\"v\":1", 1);
    assert!(refused(missing.as_bytes()).contains("missing field `version`"));
    assert!(refused((two.clone() + &line(&run(1))).as_bytes()).contains("lines 1 and 3 are the same run"));
    assert!(refused((two + "\n").as_bytes()).contains("mend or remove that line"));
}

#[test]
fn a_foreign_file_is_refused_and_kept() {
    for foreign in
        [&b"my notes"[..], b"my notes\n", b"\x7fELF\x02\x01", b"\xff\xfe\x00", b"{\"a\": 1}", b"[]\n", b"\n"]
    {
        assert!(refused(foreign).contains("line 1 is not a result of this program"));
    }
}

#[test]
fn a_folder_or_a_device_in_its_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(results::FILE_NAME)).unwrap();
    assert!(Results::open(dir.path()).unwrap_err().to_string().contains("not a regular file"));
    #[cfg(unix)]
    {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join(results::FILE_NAME)).unwrap();
        assert!(Results::open(dir.path()).unwrap_err().to_string().contains("not a regular file"));
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(Results::open(&file).unwrap_err().to_string().contains("file"));
    assert!(results::read(dir.path().join("nothing")).unwrap_err().to_string().contains("nothing"));
}

#[test]
fn two_writers_are_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _) = Results::open(dir.path()).unwrap();
    first.append(&run(1)).unwrap();
    let error = Results::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("another process is writing to it") && error.contains("results.jsonl"), "{error}");
    assert_eq!(results::read(first.path()).unwrap().0.len(), 1, "reading needs no lock");
    drop(first);
    assert_eq!(Results::open(dir.path()).unwrap().0.records().len(), 1);
}

#[test]
fn a_record_that_could_not_be_read_again_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut results, _) = Results::open(dir.path()).unwrap();
    let bad = [
        (Record { r: vec![vec![0.9]], ..run(1) }, "expected 2"),
        (Record { r: vec![vec![0.9, f64::NAN], vec![0.1, 0.1]], ..run(1) }, "NaN"),
        (Record { cpu_seconds: f64::INFINITY, ..run(1) }, "cpu_seconds"),
        (Record { metrics: BTreeMap::from([("lost".into(), f64::NAN)]), ..run(1) }, "lost"),
    ];
    for (record, said) in bad {
        let error = results.append(&record).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    results.append(&run(1)).unwrap();
    assert!(results.append(&run(1)).unwrap_err().to_string().contains("stored already"));
    assert_eq!(results::read(results.path()).unwrap().0, [run(1)]);
}
