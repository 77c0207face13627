//! A history on disk: nothing that was appended is ever lost, whatever happens in between.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor};
use cl_core::Error;
use cl_replay::{Draw, Field, Fields, History, HistoryReader, Items, Schema};
use proptest::prelude::*;
use rand::Rng as _;

fn schema() -> Schema {
    Schema::new([
        Field::new("obs", DType::F32, [2, 3]),
        Field::new("reward", DType::F64, []),
        Field::new("action", DType::I16, [1]),
        Field::new("nothing", DType::U8, [0]),
    ])
    .unwrap()
}

/// The steps of these times: every field says which it is.
fn steps(times: std::ops::Range<u64>) -> Vec<(&'static str, Tensor)> {
    let n = times.end as usize - times.start as usize;
    let tensor = |width: usize, shape: &[usize], dtype: DType, modulo: u64| {
        let all: Vec<f64> =
            times.clone().flat_map(|t| (0..width).map(move |i| (t % modulo) as f64 + i as f64)).collect();
        Tensor::from_vec(all, [&[n], shape].concat(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    vec![
        ("obs", tensor(6, &[2, 3], DType::F32, 65_521)),
        ("reward", tensor(1, &[], DType::F64, u64::MAX)),
        ("action", tensor(1, &[1], DType::I16, 30_011)),
        ("nothing", tensor(0, &[0], DType::U8, 1)),
    ]
}

fn refs<'b>(batch: &'b [(&'static str, Tensor)]) -> Vec<(&'b str, &'b Tensor)> {
    batch.iter().map(|(name, tensor)| (*name, tensor)).collect()
}

fn append(history: &mut History, n: u64) {
    let first = history.steps().end;
    let times = history.append(&refs(&steps(first..first + n))).unwrap();
    assert_eq!(times, first..first + n);
}

/// Fails where these are not the steps of these times.
fn check(fields: &Fields, times: std::ops::Range<u64>) {
    for (name, right) in steps(times) {
        let is = fields.get(name).unwrap();
        assert_eq!((is.dims(), is.dtype()), (right.dims(), right.dtype()));
        let flat =
            |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(flat(is), flat(&right), "{name}");
    }
}

/// The files of a history, in order.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "steps")).collect();
    files.sort();
    files
}

#[derive(Debug, Clone)]
enum Op {
    Append(u64),
    Reopen,
    Refresh,
    Read(prop::sample::Index, prop::sample::Index),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Every step is there, in every range, for every size of batches and segments, to the writer and to a reader.
    #[test]
    fn every_step_is_there(
        segment in prop_oneof![Just(1u64), 200..5_000u64],
        ops in prop::collection::vec(prop_oneof![
            6 => (1..20u64).prop_map(Op::Append),
            1 => Just(Op::Reopen),
            2 => Just(Op::Refresh),
            3 => (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(a, b)| Op::Read(a, b)),
        ], 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::with_segments(dir.path(), schema(), segment).unwrap();
        let mut reader = HistoryReader::open(dir.path()).unwrap();
        let (mut batches, mut seen) = (vec![0u64], 0);
        for op in ops {
            let end = *batches.last().unwrap();
            match op {
                Op::Append(n) => {
                    append(&mut history, n);
                    batches.push(end + n);
                }
                Op::Reopen => {
                    drop(history);
                    history = History::open(dir.path(), &schema()).unwrap();
                    prop_assert_eq!(history.torn(), 0);
                }
                Op::Refresh => {
                    seen = end;
                    prop_assert_eq!(reader.refresh().unwrap(), 0..end);
                }
                Op::Read(a, b) => {
                    let (a, b) = (a.index(end as usize + 1) as u64, b.index(end as usize + 1) as u64);
                    let (a, b) = (a.min(b), a.max(b));
                    check(&history.read(a..b).unwrap(), a..b);
                    let b = b.min(seen);
                    check(&reader.read(a.min(b)..b).unwrap(), a.min(b)..b);
                    let mut time = a;
                    for batch in history.batches(a) {
                        let (first, fields) = batch.unwrap();
                        let next = *batches.iter().find(|&&end| end > time).unwrap();
                        prop_assert_eq!(first, time);
                        check(&fields, time..next);
                        time = next;
                    }
                    prop_assert_eq!(time, end);
                }
            }
            prop_assert_eq!(history.steps(), 0..*batches.last().unwrap());
            prop_assert_eq!(reader.steps(), 0..seen);
        }
        prop_assert!(segments(dir.path()).len() <= batches.len());
        for file in segments(dir.path()) {
            // Bounded, or of one record.
            let one = fs::metadata(&file).unwrap().len() <= segment || segment == 1 || {
                let bytes = fs::read(&file).unwrap();
                let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                length + 8 == bytes.len() as u64
            };
            prop_assert!(one, "{}", file.display());
        }
    }
}

/// Beside a ring of T steps: a store that takes what is new by the ring's head loses steps where more than T − 1
/// come at once, and all of them where it is T exactly.
#[test]
fn no_size_of_a_batch_loses_anything() {
    const T: u64 = 8;
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::create(dir.path(), schema()).unwrap();
    let mut ring = Items::new(schema(), T as usize, cl_core::rng(0, "ring")).unwrap();
    let mut end = 0;
    for n in [T, T, T - 1, 1, T, T - 1, 2, 3, T, 1, 1, T - 2] {
        let batch = steps(end..end + n);
        ring.add(&refs(&batch)).unwrap();
        history.append(&refs(&batch)).unwrap();
        end += n;
        assert_eq!(history.steps(), 0..end);
    }
    for n in [T + 1, 2 * T, 3 * T + 5] {
        append(&mut history, n);
        end += n;
    }
    drop(history);
    let mut history = History::open(dir.path(), &schema()).unwrap();
    assert_eq!(history.steps(), 0..end);
    check(&history.read(0..end).unwrap(), 0..end);
    // And a ring can be filled from it.
    let mut filled = Items::new(schema(), T as usize, cl_core::rng(0, "ring")).unwrap();
    for batch in history.batches(end - T) {
        let (_, fields) = batch.unwrap();
        filled.add(&fields.iter().collect::<Vec<_>>()).unwrap();
    }
    assert_eq!(filled.sample(8, Draw::WithoutReplacement).unwrap().items.len(), 8);
}

/// The last append, cut off at every byte: what is before it is there, how much is cut is said, and it goes on.
#[test]
fn a_torn_end_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::create(dir.path(), schema()).unwrap();
    append(&mut history, 3);
    append(&mut history, 2);
    let file = segments(dir.path())[0].clone();
    let two = fs::metadata(&file).unwrap().len();
    append(&mut history, 4);
    drop(history);
    let whole = fs::read(&file).unwrap();
    for size in two..whole.len() as u64 {
        fs::write(&file, &whole[..size as usize]).unwrap();
        let mut reader = HistoryReader::open(dir.path()).unwrap();
        check(&reader.read(0..5).unwrap(), 0..5);
        assert_eq!(fs::metadata(&file).unwrap().len(), size, "a reader changes nothing");
        let mut history = History::open(dir.path(), &schema()).unwrap();
        assert_eq!((history.steps(), history.torn()), (0..5, size - two));
        assert_eq!(fs::metadata(&file).unwrap().len(), two);
        append(&mut history, 6);
        check(&history.read(0..11).unwrap(), 0..11);
        assert_eq!(reader.refresh().unwrap(), 0..11);
        drop(history);
        assert_eq!(History::open(dir.path(), &schema()).unwrap().torn(), 0);
    }
    // After a power failure, zeros or what was there before may stand at the end.
    for tail in [vec![0; 100], vec![0xff; 5_000], whole[two as usize + 9..].to_vec()] {
        fs::write(&file, [&whole[..], &tail].concat()).unwrap();
        let history = History::open(dir.path(), &schema()).unwrap();
        assert_eq!((history.steps(), history.torn()), (0..9, tail.len() as u64));
    }
}

/// A flipped bit before the last record is no torn end: nothing may be cut off for it.
#[test]
fn damage_in_the_middle_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::create(dir.path(), schema()).unwrap();
    (0..3).for_each(|_| append(&mut history, 3));
    drop(history);
    let file = segments(dir.path())[0].clone();
    let whole = fs::read(&file).unwrap();
    let third = whole.len() / 3;
    for at in (0..whole.len()).step_by(5) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&file, &bytes).unwrap();
        let opened = History::open(dir.path(), &schema());
        if at < 2 * third {
            let error = opened.unwrap_err();
            assert!(matches!(error, Error::Format { .. }), "{error}");
            let text = error.to_string();
            assert!(
                text.contains(".steps") && text.contains(if at < third { "step 0 " } else { "step 3 " }),
                "{text}"
            );
            assert_eq!(fs::read(&file).unwrap(), bytes, "nothing is cut off");
        } else {
            let history = opened.unwrap();
            assert_eq!((history.steps(), history.torn()), (0..6, third as u64));
        }
    }
}

#[test]
fn segments_that_are_gone_or_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::with_segments(dir.path(), schema(), 1).unwrap();
    (0..5).for_each(|_| append(&mut history, 3));
    drop(history);
    let files = segments(dir.path());
    assert_eq!(files.len(), 5);
    // The oldest may go.
    fs::remove_file(&files[0]).unwrap();
    let mut history = History::open(dir.path(), &schema()).unwrap();
    assert_eq!(history.steps(), 3..15);
    check(&history.read(4..15).unwrap(), 4..15);
    assert_eq!(history.batches(0).next().unwrap().unwrap().0, 3);
    assert!(history.read(2..5).unwrap_err().to_string().contains("3..15"));
    assert!(history.read(4..16).is_err());
    drop(history);
    // One in the middle may not, nor be another, nor be damaged; what is outside of it can be read.
    let third = fs::read(&files[2]).unwrap();
    let (mut flipped, fourth) = (third.clone(), fs::read(&files[3]).unwrap());
    flipped[100] ^= 4;
    // Also while it is open.
    let mut history = History::open(dir.path(), &schema()).unwrap();
    check(&history.read(3..15).unwrap(), 3..15);
    fs::write(&files[2], &fourth).unwrap();
    assert!(matches!(history.read(3..15), Err(Error::Format { .. })));
    drop(history);
    for wrong in [None, Some(&third[..third.len() - 1]), Some(&fourth[..]), Some(&flipped[..]), Some(&[][..])]
    {
        match wrong {
            Some(bytes) => fs::write(&files[2], bytes).unwrap(),
            None => fs::remove_file(&files[2]).unwrap(),
        }
        let mut history = History::open(dir.path(), &schema()).unwrap();
        let error = history.read(3..15).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
        let all: Vec<_> = history.batches(0).collect();
        assert!(all.last().unwrap().is_err() && all.len() < 4);
        check(&history.read(10..15).unwrap(), 10..15);
        if wrong.is_some() {
            check(&history.read(3..6).unwrap(), 3..6);
        }
    }
}

#[test]
fn a_reader_can_wait_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::with_segments(dir.path(), schema(), 1).unwrap();
    let mut reader = HistoryReader::open(dir.path()).unwrap();
    reader.sync().unwrap();
    (0..3).for_each(|_| append(&mut history, 2));
    reader.refresh().unwrap();
    reader.sync().unwrap();
    check(&reader.read(0..6).unwrap(), 0..6);
    let last = segments(dir.path()).pop().unwrap();
    fs::remove_file(&last).unwrap();
    let error = reader.sync().unwrap_err();
    assert!(
        matches!(error, Error::Io { .. }) && error.to_string().contains(last.to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn what_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a").join("b");
    assert!(History::open(&folder, &schema()).unwrap_err().to_string().contains("there is no history"));
    assert!(matches!(HistoryReader::open(&folder), Err(Error::Io { .. })));
    let mut history = History::create(&folder, schema()).unwrap();
    append(&mut history, 3);
    for error in
        [History::open(&folder, &schema()).unwrap_err(), History::create(&folder, schema()).unwrap_err()]
    {
        assert!(error.to_string().contains("open already"), "{error}");
    }
    let good = steps(3..5);
    let mut short = good.clone();
    short[1].1 = Tensor::zeros(1, DType::F64, &Device::Cpu).unwrap();
    let mut other = good.clone();
    other[2].1 = other[2].1.to_dtype(DType::I64).unwrap();
    for bad in [&good[..3], &short, &other, &steps(3..3)] {
        assert!(history.append(&refs(bad)).is_err());
        assert_eq!(history.steps(), 0..3);
    }
    history.append(&refs(&good)).unwrap();
    history.sync().unwrap();
    drop(history);
    assert!(History::create(&folder, schema()).unwrap_err().to_string().contains("there is a history"));
    let wrong = Schema::new([Field::new("obs", DType::F32, [2, 3])]).unwrap();
    assert!(matches!(History::open(&folder, &wrong), Err(Error::Mismatch { .. })));
    let head = fs::read(folder.join("history")).unwrap();
    fs::write(folder.join("history"), &head[..head.len() - 1]).unwrap();
    assert!(matches!(History::open(&folder, &schema()), Err(Error::Format { .. })));
}

// --- Processes that are killed ---

const FOLDER: &str = "CL_REPLAY_TEST_FOLDER";

#[test]
#[ignore = "the child of a test"]
fn child_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let mut history = History::open(folder, &schema()).unwrap();
    println!("\ntorn {}", history.torn());
    let (mut sizes, begun) = (cl_core::rng(history.steps().end, "sizes"), Instant::now());
    // Not for ever, should the parent be gone.
    while begun.elapsed() < Duration::from_secs(60) {
        // Also such as take long to write.
        append(&mut history, if sizes.random_range(0..4) == 0 { 1_000 } else { sizes.random_range(1..20) });
        println!("\nappended {}", history.steps().end);
    }
}

/// SIGKILL in the middle of appends, many times over, while a reader reads: whatever an append has returned for is
/// there, and at most the one append that was under way besides.
#[test]
fn a_kill_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(History::with_segments(dir.path(), schema(), 1 << 20).unwrap());
    let mut reader = HistoryReader::open(dir.path()).unwrap();
    let mut delays = cl_core::rng(4, "delays");
    let (mut end, mut read) = (0, 0);
    for _ in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--ignored", "--nocapture"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            out.read_to_string(&mut log).map(|_| log)
        });
        let (begun, life) = (Instant::now(), Duration::from_micros(delays.random_range(30_000..150_000)));
        while begun.elapsed() < life {
            let there = reader.refresh().unwrap();
            // As fast as it is written it cannot be compared.
            let new = read.max(there.end.saturating_sub(200))..there.end;
            check(&reader.read(new.clone()).unwrap(), new);
            read = there.end;
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let log = log.join().unwrap().unwrap();
        let appended = log.lines().rev().find_map(|line| line.strip_prefix("appended "));
        let appended = appended.map_or(end, |end| end.parse::<u64>().unwrap());
        let mut history = History::open(dir.path(), &schema()).unwrap();
        let there = history.steps();
        assert!(
            there.end >= appended.max(read) && there.end <= appended + 1_000,
            "{there:?} {appended} {read}"
        );
        check(&history.read(end..there.end).unwrap(), end..there.end);
        end = there.end;
    }
    let mut history = History::open(dir.path(), &schema()).unwrap();
    check(&history.read(0..end).unwrap(), 0..end);
    println!("{end} steps, {} segments", segments(dir.path()).len());
    assert!(segments(dir.path()).len() > 3 && read > 0, "or nothing was tested");
}

#[test]
#[ignore = "the child of a test"]
fn child_with_little_disk() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let mut history = History::create(folder, schema()).unwrap();
    append(&mut history, 100);
    let error = history.append(&refs(&steps(100..20_100))).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains(".steps"), "{error}");
    assert_eq!(history.steps(), 0..100);
    append(&mut history, 200);
    check(&history.read(0..300).unwrap(), 0..300);
}

/// A limit on the size of files stands for a disk that is full: the write fails after a part of the record.
#[cfg(target_os = "linux")]
#[test]
fn an_append_to_a_full_disk_leaves_the_history_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let out = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_with_little_disk", "--ignored", "--nocapture"])
        .env(FOLDER, &folder)
        .output()
        .unwrap();
    let log = [out.stdout, out.stderr].map(|out| String::from_utf8_lossy(&out).into_owned()).concat();
    assert!(out.status.success() && log.contains("1 passed"), "{log}");
    let mut history = History::open(&folder, &schema()).unwrap();
    assert_eq!((history.steps(), history.torn()), (0..300, 0));
    check(&history.read(0..300).unwrap(), 0..300);
}
