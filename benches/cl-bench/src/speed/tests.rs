//! Whole contests between cases that only burn CPU time and scripts that play the peers.

#![allow(clippy::unwrap_used)]

use std::{
    cell::Cell,
    collections::BTreeMap,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

/// Burns CPU time: a step is some thousand rounds of arithmetic.
struct Burn(&'static str);

impl Case for Burn {
    fn name(&self) -> &str {
        self.0
    }

    fn run(&mut self, steps: usize) -> Result<usize> {
        let sum = (0..steps as u64 * 20_000).fold(0_u64, |sum, i| std::hint::black_box(sum ^ i));
        std::hint::black_box(sum);
        Ok(steps * 10)
    }
}

struct Fails;

impl Case for Fails {
    fn name(&self) -> &str {
        "fails"
    }

    fn run(&mut self, _: usize) -> Result<usize> {
        Err(Error::invalid("batch", "empty"))
    }
}

/// A peer whose steps have 5 samples and take 1 ms each, after `prelude` has seen the request.
fn peer(prelude: &'static str) -> Box<dyn Fn() -> Command> {
    Box::new(move || {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            r#"echo '{{"peer":"fake","versions":{{}},"matmul_gflops":1,"cases":["a","b"]}}'
               while read -r line; do
                 steps=${{line##*:}}; steps=${{steps%\}}}}; case=${{line#*:}}; case=${{case%%,*}}
                 {prelude}
                 echo "{{\"case\":$case,\"samples\":$((steps*5)),\"cpu_seconds\":${{steps}}e-3,\"wall_seconds\":${{steps}}e-3}}"
               done"#
        ));
        command
    })
}

fn peers(list: [(&'static str, &'static str); 2]) -> Peers {
    Peers::started_by(list.map(|(name, prelude)| (name, peer(prelude))).into())
}

const SHORT: Options =
    Options { rounds: 3, turn: Duration::from_millis(4), cases: vec![], peers: None, out: None };

const CONTEST: &[Comparison] = &[
    aim("a", "good", "a", 1e-9),
    aim("a", "bad", "a", 1e9),
    shown("b", "good", "b"),
    shown("b", "bad", "b"),
    shown("b", "absent", "b"),
];

fn cases() -> Vec<Box<dyn Case>> {
    vec![Box::new(Burn("a")), Box::new(Burn("b"))]
}

fn play(options: &Options, cases: Vec<Box<dyn Case>>, peers: Peers, stop: &dyn Fn() -> bool) -> Report {
    contest(options, cases, peers, CONTEST, stop, &mut |_| ()).unwrap()
}

fn pairs(report: &Report) -> Vec<(&str, &str)> {
    report.ratios.iter().map(|ratio| (ratio.case.as_str(), ratio.peer.as_str())).collect()
}

#[test]
fn without_peers_there_are_our_numbers() {
    let report = play(&SHORT, cases(), Peers::none(), &|| false);
    let names: Vec<&str> = report.rates.iter().map(|rate| rate.case.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(report.rates.iter().all(|rate| rate.rounds.len() == 3));
    assert!(report.stands() && report.ratios.is_empty());
}

#[test]
fn ratios_with_verdicts() {
    let report = play(&SHORT, cases(), peers([("good", ""), ("bad", "")]), &|| false);
    assert_eq!(pairs(&report), [("a", "good"), ("a", "bad"), ("b", "good"), ("b", "bad")]);
    let verdicts: Vec<_> = report.ratios.iter().map(|ratio| ratio.verdict).collect();
    assert_eq!(verdicts, [Some(Verdict::Met), Some(Verdict::Missed), None, None]);
    for ratio in &report.ratios {
        // 5 samples a millisecond, whatever the number of steps.
        assert!(ratio.theirs.iter().all(|rate| (rate - 5000.0).abs() < 1e-6), "{:?}", ratio.theirs);
        assert_eq!((ratio.ours.len(), ratio.theirs.len()), (3, 3));
        let by_hand = Spread::of(&ratio.ours).unwrap().median / 5000.0;
        assert!((ratio.ratio.median - by_hand).abs() < 1e-9);
    }
    assert!(!report.stands(), "an aim is missed");
}

#[test]
fn a_peer_that_dies_costs_its_own_rows() {
    let dies_on_a = r#"case $case in '"a"') echo killed by test >&2; exit 9;; esac"#;
    let report = play(&SHORT, cases(), peers([("good", ""), ("bad", dies_on_a)]), &|| false);
    // It is started again for the next case.
    assert_eq!(pairs(&report), [("a", "good"), ("b", "good"), ("b", "bad")]);
    let [failure] = report.failures.as_slice() else { panic!("{:?}", report.failures) };
    assert_eq!((failure.case.as_str(), failure.by.as_str()), ("a", "bad"));
    assert!(
        failure.why.contains("exit status: 9") && failure.why.contains("killed by test"),
        "{}",
        failure.why
    );
    assert_eq!(report.rates.len(), 2);
    assert!(!report.stands());
}

#[test]
fn a_peer_that_cannot_start_is_tried_once() {
    let mut starters = BTreeMap::from([("good", peer(""))]);
    starters.insert("bad", Box::new(|| Command::new("/nonexistent/python")));
    let report = play(&SHORT, cases(), Peers::started_by(starters), &|| false);
    assert_eq!(pairs(&report), [("a", "good"), ("b", "good")]);
    let whys: Vec<&str> = report.failures.iter().map(|failure| failure.why.as_str()).collect();
    assert!(
        whys[0].starts_with("peer bad is not available: /nonexistent/python cannot be started"),
        "{whys:?}"
    );
    assert_eq!(whys[1], "peer bad is not available: it could not be started before");
}

#[test]
fn a_failing_case_of_ours_leaves_the_others() {
    let cases: Vec<Box<dyn Case>> = vec![Box::new(Fails), Box::new(Burn("b"))];
    let report = play(&SHORT, cases, peers([("good", ""), ("bad", "")]), &|| false);
    assert_eq!(pairs(&report), [("b", "good"), ("b", "bad")]);
    let failure = Failure { case: "fails".into(), by: "engram".into(), why: "batch: empty".into() };
    assert_eq!(report.failures, [failure]);
}

#[test]
fn a_stop_keeps_what_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { out: Some(folder.path().join("deep/out")), ..SHORT };
    // Ours: one question for the calibration, three for the rounds, then the next case.
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) >= 6;
    let report = play(&options, cases(), Peers::none(), &stop);
    assert!(report.interrupted && !report.stands());
    assert_eq!(report.rates.len(), 1);

    let lines = std::fs::read_to_string(folder.path().join("deep/out/speed.jsonl")).unwrap();
    let kinds: Vec<String> = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(kinds, ["machine", "rate", "interrupted"]);
    let page = std::fs::read_to_string(folder.path().join("deep/out/speed.md")).unwrap();
    assert!(page.contains("| a |") && page.contains("interrupted"), "{page}");
}

#[test]
fn json_lines_hold_every_round() {
    let report = play(&SHORT, cases(), peers([("good", ""), ("bad", "echo no json")]), &|| false);
    let lines: Vec<serde_json::Value> =
        report.json_lines().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["peers"]["good"]["matmul_gflops"], 1.0);
    let ratio = lines.iter().find(|line| line["kind"] == "ratio").unwrap();
    assert_eq!((ratio["verdict"].as_str(), ratio["theirs"].as_array().unwrap().len()), (Some("met"), 3));
    let failure = lines.iter().find(|line| line["kind"] == "failure").unwrap();
    assert!(failure["why"].as_str().unwrap().contains(r#"it said "no json""#), "{failure}");
}

#[test]
fn an_unwritable_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let options = Options { out: Some(file.join("out")), ..SHORT };
    let error = contest(&options, cases(), Peers::none(), &[], &|| false, &mut |_| ()).unwrap_err();
    assert!(error.to_string().starts_with(&*file.join("out").to_string_lossy()), "{error}");
}

#[test]
fn cases_are_chosen_by_name() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let ours = || {
        MADE.fetch_add(1, Ordering::Relaxed);
        Ok(cases())
    };
    let options = Options { cases: vec!["b".into()], ..SHORT };
    let report = run(&options, ours, &|| false, &mut |_| ()).unwrap();
    assert_eq!((report.rates.len(), report.rates[0].case.as_str()), (1, "b"));

    let options = Options { cases: vec!["mlp-12".into()], ..SHORT };
    let error = run(&options, ours, &|| false, &mut |_| ()).unwrap_err().to_string();
    assert_eq!(error, r#"case "mlp-12": there are a, b"#);
    assert_eq!(MADE.load(Ordering::Relaxed), 2);

    let options = Options { rounds: 0, ..SHORT };
    assert!(run(&options, ours, &|| false, &mut |_| ()).is_err());
}

#[test]
fn ours_runs_on_one_thread() {
    struct Threads;
    impl Case for Threads {
        fn name(&self) -> &str {
            "threads"
        }
        fn run(&mut self, steps: usize) -> Result<usize> {
            assert_eq!(rayon::current_num_threads(), 1);
            Burn("").run(steps)
        }
    }
    let report =
        run(&SHORT, || Ok(vec![Box::new(Threads) as Box<dyn Case>]), &|| false, &mut |_| ()).unwrap();
    assert!(report.failures.is_empty());
    assert_eq!(report.rates.len(), 1);
}

/// With real peers, where there is an environment: every case of every comparison can be run.
#[test]
fn the_real_peers_know_all_cases() {
    let options = PeerOptions::default();
    if options.venv.is_none() {
        println!("skipped: {VENV_VARIABLE} names no environment with the peers");
        return;
    }
    let mut peers = Peers::prepare(&options, &mut |line| println!("{line}")).unwrap();
    for Comparison { peer, peer_case, .. } in COMPARISONS {
        // The one with the stub is left out, with a message, where it is no use.
        if *peer == PYTORCH_AVX512 && !peers.has(peer) {
            continue;
        }
        let measured = peers.run(peer, peer_case, 1).unwrap();
        assert!(measured.samples > 0, "{peer}, {peer_case}");
    }
}
