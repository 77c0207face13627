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
struct Burn;

impl Case for Burn {
    fn run(&mut self, steps: usize) -> Result<usize> {
        let sum = (0..steps as u64 * 20_000).fold(0_u64, |sum, i| std::hint::black_box(sum ^ i));
        std::hint::black_box(sum);
        Ok(steps * 10)
    }
}

struct Fails;

impl Case for Fails {
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

const fn entry(name: &'static str) -> Entry {
    Entry::new(name, || Ok(Box::new(Burn)))
}

const HEADING: Heading = Heading { name: "speed", title: "Speed", unit: Unit::SamplesPerSecond };

const COMPARISONS: &[Comparison] = &[
    aim("a", "good", "a", 1e-9),
    aim("a", "bad", "a", 1e9),
    shown("b", "good", "b"),
    shown("b", "bad", "b"),
    shown("b", "absent", "b"),
];

static CONTEST: Contest =
    Contest { heading: HEADING, cases: &[entry("a"), entry("b")], comparisons: COMPARISONS, peers: &[] };

fn run_all(contest: &'static Contest, options: &Options, peers: Peers, stop: &dyn Fn() -> bool) -> Report {
    let all: Vec<&Entry> = contest.cases.iter().collect();
    play(contest, options, &all, peers, stop, &mut |_| ()).unwrap()
}

fn pairs(report: &Report) -> Vec<(&str, &str)> {
    report.ratios.iter().map(|ratio| (ratio.case.as_str(), ratio.peer.as_str())).collect()
}

#[test]
fn without_peers_there_are_our_numbers() {
    let report = run_all(&CONTEST, &SHORT, Peers::none(), &|| false);
    let names: Vec<&str> = report.rates.iter().map(|rate| rate.case.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(report.rates.iter().all(|rate| rate.rounds.len() == 3));
    assert!(report.stands() && report.ratios.is_empty());
}

#[test]
fn ratios_with_verdicts() {
    let report = run_all(&CONTEST, &SHORT, peers([("good", ""), ("bad", "")]), &|| false);
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
    let report = run_all(&CONTEST, &SHORT, peers([("good", ""), ("bad", dies_on_a)]), &|| false);
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
    let report = run_all(&CONTEST, &SHORT, Peers::started_by(starters), &|| false);
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
    static FAILING: Contest = Contest {
        heading: HEADING,
        cases: &[
            Entry::new("fails", || Ok(Box::new(Fails))),
            Entry::new("never", || Err(Error::invalid("set-up", "impossible"))),
            entry("b"),
        ],
        comparisons: COMPARISONS,
        peers: &[],
    };
    let report = run_all(&FAILING, &SHORT, peers([("good", ""), ("bad", "")]), &|| false);
    assert_eq!(pairs(&report), [("b", "good"), ("b", "bad")]);
    let failure = |case: &str, why: &str| Failure { case: case.into(), by: "engram".into(), why: why.into() };
    assert_eq!(report.failures, [failure("fails", "batch: empty"), failure("never", "set-up: impossible")]);
}

#[test]
fn a_stop_keeps_what_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { out: Some(folder.path().join("deep/out")), ..SHORT };
    // Ours: one question for the calibration, three for the rounds, then the next case.
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) >= 6;
    let report = run_all(&CONTEST, &options, Peers::none(), &stop);
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
    let report = run_all(&CONTEST, &SHORT, peers([("good", ""), ("bad", "echo no json")]), &|| false);
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
    let all: Vec<&Entry> = CONTEST.cases.iter().collect();
    let error = play(&CONTEST, &options, &all, Peers::none(), &|| false, &mut |_| ()).unwrap_err();
    assert!(error.to_string().starts_with(&*file.join("out").to_string_lossy()), "{error}");
}

#[test]
fn cases_are_chosen_by_name() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    fn make() -> Result<Box<dyn Case>> {
        MADE.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Burn))
    }
    static COUNTED: Contest = Contest {
        heading: HEADING,
        cases: &[Entry::new("a", make), Entry::new("b", make)],
        comparisons: &[],
        peers: &[],
    };
    let options = Options { cases: vec!["b".into()], ..SHORT };
    let report = run(&COUNTED, &options, &|| false, &mut |_| ()).unwrap();
    assert_eq!((report.rates.len(), report.rates[0].case.as_str()), (1, "b"));
    assert_eq!(MADE.load(Ordering::Relaxed), 1, "the other is not even set up");

    let options = Options { cases: vec!["mlp-12".into()], ..SHORT };
    let error = run(&COUNTED, &options, &|| false, &mut |_| ()).unwrap_err().to_string();
    assert_eq!(error, r#"case "mlp-12": there are a, b"#);

    let options = Options { rounds: 0, ..SHORT };
    assert!(run(&COUNTED, &options, &|| false, &mut |_| ()).is_err());
    assert_eq!(MADE.load(Ordering::Relaxed), 1);
}

#[test]
fn ours_runs_on_one_thread() {
    struct Threads;
    impl Case for Threads {
        fn run(&mut self, steps: usize) -> Result<usize> {
            assert_eq!(rayon::current_num_threads(), 1);
            Burn.run(steps)
        }
    }
    static THREADS: Contest = Contest {
        heading: HEADING,
        cases: &[Entry::new("threads", || Ok(Box::new(Threads)))],
        comparisons: &[],
        peers: &[],
    };
    let report = run(&THREADS, &SHORT, &|| false, &mut |_| ()).unwrap();
    assert!(report.failures.is_empty());
    assert_eq!(report.rates.len(), 1);
}

/// The aim of a race is against the fastest peer of this run, and a case of ours can be beside another.
#[test]
fn races_and_our_own_cases() {
    static RACE: Contest = Contest {
        heading: HEADING,
        cases: &[entry("a"), entry("b")],
        comparisons: &[
            if_fastest("a", "good", 1e-9),
            if_fastest("a", "bad", 1e-9),
            if_fastest("a", "dies", 1e-9),
            // Would be the fastest, but is only shown.
            shown("a", "quick", "a"),
            aim("b", ENGRAM, "a", 0.2),
        ],
        peers: &[],
    };
    // A step of the second takes a fifth of the time, one of the last less still.
    let faster = |by: &'static str| {
        move || {
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!(
                r#"echo '{{"peer":"fake","versions":{{}},"cases":["a"]}}'
                   while read -r line; do
                     steps=${{line##*:}}; steps=${{steps%\}}}}
                     echo "{{\"case\":\"a\",\"samples\":$((steps*{by})),\"cpu_seconds\":${{steps}}e-3,\"wall_seconds\":${{steps}}e-3}}"
                   done"#
            ));
            command
        }
    };
    let starters: BTreeMap<&'static str, Box<dyn Fn() -> Command>> = BTreeMap::from([
        ("good", peer("")),
        ("bad", Box::new(faster("25")) as Box<dyn Fn() -> Command>),
        ("quick", Box::new(faster("500"))),
        ("dies", peer("exit 1")),
    ]);
    let report = run_all(&RACE, &SHORT, Peers::started_by(starters), &|| false);
    assert_eq!(pairs(&report), [("a", "good"), ("a", "bad"), ("a", "quick"), ("b", "engram")]);
    let judged: Vec<_> =
        report.ratios.iter().map(|ratio| (ratio.fastest, ratio.aim, ratio.verdict)).collect();
    let none = (false, None, None);
    let met = Some(Verdict::Met);
    assert_eq!(judged, [none, (true, Some(1e-9), met), none, (false, Some(0.2), met)]);
    // The same work on both sides, whatever else the machine does.
    assert!((0.2..5.0).contains(&report.ratios[3].ratio.median), "{:?}", report.ratios[3].ratio);
    assert_eq!(report.failures.len(), 1);
    assert!(report.machine.peers["bad"].matmul_gflops.is_none());
}

/// Whatever is named exists: cases of ours, peers, and at most one kind of aim for each row.
#[test]
fn the_contests_are_consistent() {
    for contest in [&TRAINING, &DNC, &REPLAY] {
        let case = |name: &str| contest.cases.iter().any(|entry| entry.name == name);
        for c in contest.comparisons {
            assert!(case(c.case), "{c:?}");
            let known = contest.peers.iter().any(|peer| peer.name == c.peer);
            assert!(known || (c.peer == ENGRAM && case(c.peer_case)), "{c:?}");
        }
        for entry in contest.cases {
            assert_eq!(contest.cases.iter().filter(|other| other.name == entry.name).count(), 1);
            assert!(contest.comparisons.iter().any(|c| c.case == entry.name), "{}", entry.name);
        }
        let scripts = PeerOptions::default().scripts;
        for peer in contest.peers {
            assert!(scripts.join(format!("cases_{}.py", peer.worker)).is_file(), "{}", peer.name);
            assert!(scripts.join(peer.environment.requirements).is_file(), "{}", peer.name);
        }
    }
}

/// An environment that is not there costs its own peers; without any there is nothing to compare with.
#[test]
fn an_environment_that_cannot_be_had() {
    const fn environment(requirements: &'static str, variable: &'static str) -> Environment {
        Environment { requirements, cache: "", variable, each: false }
    }
    // `CARGO_MANIFEST_DIR` names a folder that is no environment.
    static HERE: Environment = environment("requirements.txt", "NOT_SET");
    static ABSENT: Environment = environment("requirements-reverb.txt", "CARGO_MANIFEST_DIR");
    static LIST: [Peer; 2] = [
        Peer { name: "here", worker: "pytorch", environment: &HERE, avx512_stub: false },
        Peer { name: "absent", worker: "reverb", environment: &ABSENT, avx512_stub: false },
    ];
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("python"), "").unwrap();
    let options = PeerOptions { venv: Some(folder.path().into()), ..PeerOptions::default() };
    let mut peers = Peers::prepare(&LIST, &options, &mut |_| ()).unwrap();
    assert!(peers.has("here") && peers.has("absent"));
    let why = peers.run("absent", "draw", 1).unwrap_err().to_string();
    assert!(why.contains("requirements-reverb.txt") && why.contains("CARGO_MANIFEST_DIR"), "{why}");
    let error = Peers::prepare(&LIST[1..], &PeerOptions::default(), &mut |_| ()).err().unwrap();
    assert!(error.to_string().contains("CARGO_MANIFEST_DIR"), "{error}");
}

/// With real peers, where there is an environment: every case of every comparison can be run.
fn real_peers_know_all_cases(contest: &Contest) {
    let there = |peer: &Peer| {
        let given = peer.environment.given().is_some();
        if !given {
            println!("skipped: {} names no environment with {}", peer.environment.variable, peer.name);
        }
        given
    };
    for peer in contest.peers.iter().filter(|peer| there(peer)) {
        let alone = std::slice::from_ref(peer);
        let mut peers =
            Peers::prepare(alone, &PeerOptions::default(), &mut |line| println!("{line}")).unwrap();
        // The one with the stub is left out, with a message, where it is no use.
        if !peers.has(peer.name) {
            continue;
        }
        for Comparison { peer_case, .. } in contest.comparisons.iter().filter(|c| c.peer == peer.name) {
            let measured = peers.run(peer.name, peer_case, 1).unwrap();
            assert!(measured.samples > 0, "{}, {peer_case}", peer.name);
        }
    }
}

#[test]
fn the_real_peers_know_all_training_steps() {
    real_peers_know_all_cases(&TRAINING);
}

#[test]
fn the_real_peers_know_all_buffer_operations() {
    real_peers_know_all_cases(&REPLAY);
}

#[test]
fn the_real_peer_knows_the_step_of_a_dnc() {
    real_peers_know_all_cases(&DNC);
}
