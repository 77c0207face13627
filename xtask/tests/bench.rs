//! The program as its user meets it: wrong flags, a kill in the middle, ctrl-C, files that are not right.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn xtask(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn bench(out: &Path, args: &[&str]) -> Command {
    let mut command = xtask(&["bench", "split-digits", "--method", "None", "--method", "ER"]);
    command.args(args).arg("--out").arg(out);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refused(args: &[&str]) -> String {
    let output = xtask(args).output().unwrap();
    assert!(!output.status.success(), "{args:?}");
    let text = stderr(&output);
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[test]
fn wrong_flags_say_what_would_be_right() {
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().to_str().unwrap();
    assert!(
        refused(&["bench", "split-mnits"]).contains("there are split-digits, split-mnist, split-mnist-hsu")
    );
    assert!(refused(&["bench", "--method", "EWK", "--out", dir]).contains("it has None, Joint, L2, EWC"));
    assert!(refused(&["bench", "--scenario", "tusk"]).contains("task, domain, class"));
    for flag in ["--seeds", "--jobs"] {
        assert!(refused(&["bench", flag, "0"]).contains("0 is not in 1.."));
        assert!(refused(&["bench", flag, "-3"]).contains("unexpected argument"));
        assert!(refused(&["bench", flag, "many"]).contains("invalid digit"));
    }
    assert!(refused(&["bench", "--peers"]).contains("bench speed"));
    assert!(refused(&["bench", "speed", "--seeds", "3"]).contains("no other flag"));
    assert!(refused(&["bench", "hopfield-mnist", "--jobs", "3"]).contains("hopfield-mnist takes --seeds"));
    assert!(refused(&["bench", "replay-speed", "--jobs", "3"]).contains("replay-speed takes"));
    assert!(refused(&["bench", "dnc-copy", "--device", "cuda"]).contains("no other flag such as --device"));
    assert!(refused(&["bench", "--device", "gpu", "--out", dir]).contains("cpu, cuda and cuda:N"));
    assert!(refused(&["bench", "gpu-speed", "--out", dir]).contains("--device cuda"));
    if cfg!(not(feature = "cuda")) {
        assert!(refused(&["bench", "--device", "cuda", "--out", dir]).contains("--features cuda"));
    }
    assert!(refused(&["bench", "speed", "--case", "mpl", "--out", dir]).contains("mlp-128"));
    assert!(refused(&["bench", "replay-speed", "--case", "mlp-128", "--out", dir]).contains("draw-gather"));
    assert!(refused(&["bench", "dnc-copy", "--tier", "quick"]).contains("dnc-copy takes --method"));
    assert!(refused(&["bench", "dnc-copy", "--method", "LSTM", "--out", dir]).contains("there are DNC"));
    assert!(refused(&["compare", dir, dir]).contains("results.jsonl"));
    assert!(refused(&["data", "verify", "mnits"]).contains("mnist"));
}

#[test]
fn the_list_names_every_suite() {
    let output = xtask(&["bench", "--list"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for name in [
        "split-digits",
        "dnc-copy",
        "dnc-recall",
        "babi",
        "dnc-speed",
        "split-mnist",
        "split-mnist-hsu",
        "A-GEM",
        "Naive rehearsal-C",
        "speed",
        "replay-speed",
        "per-cliffwalk",
        "hopfield-capacity",
        "hopfield-mnist",
        "src-sleep",
        "motion-online",
        "sleep-priorities",
        "dual-mnist",
        "dual-fashion",
    ] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
}

/// Everything of a results file that does not depend on the clock.
fn numbers(out: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(out.join("results.jsonl")).unwrap();
    let mut numbers: Vec<String> = text
        .lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            ["scenario", "method", "seed", "config", "baseline", "r", "metrics"]
                .map(|field| record[field].to_string())
                .join(" ")
        })
        .collect();
    numbers.sort();
    numbers
}

fn wait_for_lines(out: &Path, lines: usize, child: &mut Child) {
    let start = Instant::now();
    let count = || std::fs::read_to_string(out.join("results.jsonl")).map_or(0, |text| text.lines().count());
    while count() < lines {
        assert!(start.elapsed() < Duration::from_secs(120), "no {lines} results after two minutes");
        assert!(child.try_wait().unwrap().is_none(), "it ended before {lines} results");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The reports of a suite: to be run once, killed, interrupted, and gone on with.
#[test]
#[cfg(unix)]
fn killed_or_interrupted_it_goes_on_and_gives_the_same_numbers() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let args = ["--seeds", "2", "--jobs", "2"];
    let whole = bench(dirs[0].path(), &args).output().unwrap();
    assert!(whole.status.success(), "{}", stderr(&whole));
    assert!(dirs[0].path().join("report.html").exists() && dirs[0].path().join("report.md").exists());

    let mut child = bench(dirs[1].path(), &args).spawn().unwrap();
    wait_for_lines(dirs[1].path(), 3, &mut child);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();

    let mut child = bench(dirs[2].path(), &args).spawn().unwrap();
    wait_for_lines(dirs[2].path(), 3, &mut child);
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("the same command goes on from here"));
    assert!(dirs[2].path().join("report.md").exists());

    for dir in &dirs[1..] {
        assert!(numbers(dir.path()).len() < 12);
        let output = bench(dir.path(), &["--seeds", "2", "--jobs", "1"]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(numbers(dir.path()), numbers(dirs[0].path()));
    }

    // Once more: nothing is left to do. And from the beginning: the same again.
    let again = bench(dirs[1].path(), &args).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).contains("0 runs made in"));
    let fresh = bench(dirs[1].path(), &["--seeds", "2", "--fresh"]).output().unwrap();
    assert!(String::from_utf8_lossy(&fresh.stdout).contains("12 runs made in"), "{}", stderr(&fresh));
    assert_eq!(numbers(dirs[1].path()), numbers(dirs[0].path()));
}

#[test]
fn results_files_that_are_not_right() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("results.jsonl");
    let args = ["--seeds", "1", "--scenario", "domain"];
    assert!(bench(dir.path(), &args).output().unwrap().status.success());
    let good = std::fs::read(&file).unwrap();
    let before = numbers(dir.path());

    // Torn in the middle of the last line: cut off, said, made again.
    std::fs::write(&file, &good[..good.len() - 40]).unwrap();
    let output = bench(dir.path(), &args).output().unwrap();
    assert!(output.status.success());
    assert!(stderr(&output).contains("warning"), "{}", stderr(&output));
    assert_eq!(numbers(dir.path()), before);

    // Altered in the middle: refused, and left alone; also by --fresh.
    let mut altered = good.clone();
    altered[30] = b'{';
    std::fs::write(&file, &altered).unwrap();
    for flags in [vec![], vec!["--fresh"]] {
        let output = bench(dir.path(), &[args.as_slice(), &flags].concat()).output().unwrap();
        assert!(!output.status.success());
        assert!(stderr(&output).contains("results.jsonl"), "{}", stderr(&output));
        assert_eq!(std::fs::read(&file).unwrap(), altered);
    }
}

/// A disk without room, as Linux plays it.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join("results.jsonl")).unwrap();
    let output = bench(dir.path(), &["--seeds", "1"]).output().unwrap();
    assert!(!output.status.success());
    let text = stderr(&output);
    assert!(text.contains("results.jsonl") && !text.contains("panicked"), "{text}");
}

#[test]
fn a_folder_that_cannot_be_made() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = bench(&file.path().join("out"), &["--seeds", "1"]).output().unwrap();
    assert!(!output.status.success());
    assert!(stderr(&output).starts_with("error: "), "{}", stderr(&output));
}

/// The suite of questions says where its stories are to be had.
#[test]
fn stories_that_are_not_there() {
    let empty = tempfile::tempdir().unwrap();
    let mut command = xtask(&["bench", "babi", "--seeds", "1", "--out"]);
    let output = command.arg(empty.path().join("out")).env("CL_DATA_DIR", empty.path()).output().unwrap();
    assert!(!output.status.success());
    let text = stderr(&output);
    assert!(text.contains("qa1_single-supporting-fact_train.txt") && text.contains("github.com"), "{text}");
}

/// No data and no network: one message that says what is missing, where it was looked for, what to do.
#[test]
fn data_that_is_not_there() {
    let empty = tempfile::tempdir().unwrap();
    let mut command = xtask(&["bench", "split-mnist", "--seeds", "1", "--method", "None", "--out"]);
    command.arg(empty.path().join("out"));
    command.env("CL_DATA_DIR", empty.path()).env("XDG_CACHE_HOME", empty.path());
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env(proxy, "http://127.0.0.1:9"); // nobody answers there
    }
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let text = stderr(&output);
    for part in ["train-images-idx3-ubyte.gz", "CL_DATA_DIR", "cargo xtask data fetch"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_missed_number_fails_a_check_and_only_a_check() {
    let dir = tempfile::tempdir().unwrap();
    let output = bench(dir.path(), &["--seeds", "1", "--check"]).output().unwrap();
    assert!(output.status.success(), "nothing is published for digits: {}", stderr(&output));
}
