//! Memories in a folder: the same as in RAM, and what is left of them after a kill.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor};
use cl_core::Error;
use cl_replay::{
    Draw, Field, Flat, Item, Items, Leading, Prioritized, PrioritizedFlat, PrioritizedItems,
    PrioritizedTrajectories, Sample, Schema, Sequences, Strata, Trajectories, Transitions,
};
use common::state;
use proptest::prelude::*;
use rand::Rng as _;

fn schema() -> Schema {
    Schema::new([
        Field::new("number", DType::I64, []),
        Field::new("wide", DType::F32, [3, 11]),
        Field::new("byte", DType::U8, [5]),
        Field::new("end", DType::U8, []),
        Field::new("nothing", DType::F64, [0]),
    ])
    .unwrap()
}

/// Steps with these numbers, (rows, steps, ...) or (steps, ...); every field says which number it is.
fn batch(numbers: &[i64], leading: &[usize]) -> Vec<(&'static str, Tensor)> {
    let tensor = |width: usize, row: &[usize], dtype: DType, value: &dyn Fn(i64) -> f64| {
        let all: Vec<f64> = numbers.iter().flat_map(|&n| std::iter::repeat_n(value(n), width)).collect();
        let shape = [leading, row].concat();
        Tensor::from_vec(all, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    vec![
        ("number", tensor(1, &[], DType::I64, &|n| n as f64)),
        ("wide", tensor(33, &[3, 11], DType::F32, &|n| (n % 65_521) as f64)),
        ("byte", tensor(5, &[5], DType::U8, &|n| (n % 251) as f64)),
        ("end", tensor(1, &[], DType::U8, &|n| f64::from(n % 7 == 6))),
        ("nothing", tensor(0, &[0], DType::F64, &|_| 0.0)),
    ]
}

fn refs<'b>(batch: &'b [(&'static str, Tensor)]) -> Vec<(&'b str, &'b Tensor)> {
    batch.iter().map(|(name, tensor)| (*name, tensor)).collect()
}

/// The numbers of what was drawn; fails where the fields of a step do not agree on it.
fn numbers(sample: &Sample) -> Vec<i64> {
    let get = |name: &str| sample.get(name).unwrap();
    let numbers = get("number").flatten_all().unwrap().to_vec1::<i64>().unwrap();
    let whole = batch(&numbers, get("number").dims());
    for (name, tensor) in &whole {
        let (is, should) = (get(name), tensor);
        assert_eq!(is.dims(), should.dims());
        let flat =
            |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(flat(is), flat(should), "torn: {name}");
    }
    numbers
}

/// Everything that it holds, by time.
fn held(memory: &Items) -> BTreeMap<u64, i64> {
    if memory.is_empty() {
        return BTreeMap::new();
    }
    let all =
        memory.sample_with(memory.len(), Draw::WithoutReplacement, &mut cl_core::rng(0, "all")).unwrap();
    let times = all.items.iter().map(|item| item.time);
    times.zip(numbers(&all)).collect()
}

fn rng() -> cl_core::Rng {
    cl_core::rng(5, "memory")
}

#[derive(Debug, Clone)]
enum Op {
    Add(usize),
    Flush,
    /// Without a flush: what a kill leaves.
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (1..=9usize).prop_map(Op::Add),
        2 => Just(Op::Flush),
        1 => Just(Op::Reopen)
    ];
    prop::collection::vec(op, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The rule, step by step: what the last flush had, less what was overwritten since, in any life.
    #[test]
    fn what_is_left_is_what_the_rule_says(capacity in 9..24usize, ops in ops()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        let mut memory = Items::create(&path, schema(), capacity, rng()).unwrap();
        // The model: numbers by time, now and at the last flush, and how far the ring was ever written.
        let (mut now, mut flushed) = (BTreeMap::new(), (BTreeMap::new(), 0));
        let (mut written, mut reached, mut number) = (0u64, 0u64, 0i64);
        for op in ops {
            match op {
                Op::Add(n) => {
                    let new: Vec<i64> = (number..number + n as i64).collect();
                    let gone = memory.add(&refs(&batch(&new, &[n]))).unwrap();
                    number += n as i64;
                    for value in new {
                        now.insert(written, value);
                        written += 1;
                    }
                    let before: Vec<u64> = now.keys().copied().collect();
                    reached = reached.max(written);
                    now.retain(|&time, _| time + capacity as u64 >= reached);
                    let expected: Vec<u64> = before.into_iter().filter(|t| !now.contains_key(t)).collect();
                    prop_assert_eq!(gone.iter().map(|item| item.time).collect::<Vec<_>>(), expected);
                }
                Op::Flush => {
                    memory.flush().unwrap();
                    flushed = (now.clone(), written);
                }
                Op::Reopen => {
                    drop(memory);
                    memory = Items::open(&path, &schema()).unwrap();
                    (now, written) = flushed.clone();
                    now.retain(|&time, _| time + capacity as u64 >= reached);
                }
            }
            prop_assert_eq!(memory.len(), now.len());
            prop_assert_eq!(memory.lost(), (written as usize).min(capacity) - now.len());
            prop_assert_eq!(memory.can_sample(), !now.is_empty());
            prop_assert_eq!(&held(&memory), &now);
        }
    }

    /// Several rows, sequences, episodes, priorities: after a loss, what is drawn is what a memory in RAM draws
    /// that holds the steps that are left, and no other.
    #[test]
    fn sequences_and_priorities_after_a_loss(
        rows in 1..3usize, sample in 1..4usize, period in 1..4usize, episodes in any::<bool>(),
        before in 1..60usize, after in 0..20usize, more in 1..30usize,
    ) {
        let length = 12;
        let ends = if episodes { vec!["end".to_owned()] } else { Vec::new() };
        let sizes = Sequences { rows, length, sample, period, ends, ..Default::default() };
        let dir = tempfile::tempdir().unwrap();
        let (uniform, weighted) = (dir.path().join("uniform"), dir.path().join("weighted"));
        let config = Prioritized { strata: Strata::Independent, ..Default::default() };
        let mut a = Trajectories::create(&uniform, schema(), sizes.clone(), rng()).unwrap();
        let mut b = PrioritizedTrajectories::create(&weighted, schema(), sizes.clone(), config, rng()).unwrap();
        // Number of row and time; those of the life that is lost are far off.
        let steps = |times: std::ops::Range<usize>, far: i64| {
            let numbers: Vec<i64> = (0..rows)
                .flat_map(|row| times.clone().map(move |t| (t + row) as i64 + 7 * far))
                .collect();
            batch(&numbers, &[rows, times.len()])
        };
        for t in 0..before {
            a.add(&refs(&steps(t..t + 1, 0))).unwrap();
            b.add(&refs(&steps(t..t + 1, 0))).unwrap();
        }
        a.flush().unwrap();
        b.flush().unwrap();
        for t in before..before + after {
            a.add(&refs(&steps(t..t + 1, 1000))).unwrap();
            b.add(&refs(&steps(t..t + 1, 1000))).unwrap();
        }
        drop((a, b));
        let mut a = Trajectories::open(&uniform, &schema()).unwrap();
        let mut b = PrioritizedTrajectories::open(&weighted, &schema()).unwrap();
        let reached = before + after;
        for written in before..before + more {
            if written > before {
                a.add(&refs(&steps(written - 1..written, 0))).unwrap();
                b.add(&refs(&steps(written - 1..written, 0))).unwrap();
            }
            let oldest = reached.max(written).saturating_sub(length).min(written);
            let whole = |row: usize, start: usize| {
                !episodes || (start..start + sample - 1).all(|t| (t + row) % 7 != 6)
            };
            let expected: Vec<Item> = (0..rows)
                .flat_map(|row| (oldest..written).map(move |start| (row, start)))
                .filter(|&(row, start)| start % period == 0 && start + sample <= written && whole(row, start))
                .map(|(row, start)| Item { row: row as u32, time: start as u64 })
                .collect();
            prop_assert_eq!((a.len(), b.len()), (expected.len(), expected.len()));
            let stored = written - oldest;
            prop_assert_eq!((a.stored(), b.stored()), (stored, stored));
            prop_assert_eq!((a.can_sample(), b.can_sample()), (!expected.is_empty(), !expected.is_empty()));
            prop_assert!((b.total() - expected.len() as f64).abs() < 1e-6);
            if expected.is_empty() {
                continue;
            }
            let mut all = a.sample_with(expected.len(), Draw::WithoutReplacement, &mut rng()).unwrap();
            let right = |items: &[Item]| -> Vec<i64> {
                let first = |item: &Item| item.time as i64 + i64::from(item.row);
                items.iter().flat_map(|item| first(item)..first(item) + sample as i64).collect()
            };
            prop_assert_eq!(numbers(&all), right(&all.items));
            all.items.sort_unstable();
            prop_assert_eq!(&all.items, &expected);
            let drawn = b.sample_with(40, 0.4, &mut rng()).unwrap();
            prop_assert!(drawn.items.iter().all(|item| expected.contains(item)));
            let drawn = Sample { fields: drawn.fields, items: drawn.items };
            prop_assert_eq!(numbers(&drawn), right(&drawn.items));
        }
    }
}

/// Every kind of memory, in RAM and in a folder that is opened again after each round: bit for bit the same.
#[test]
fn a_folder_changes_no_number() {
    /// Adds, draws and sets priorities; `$add` takes the memory and its numbers.
    macro_rules! compare {
        ($memory:ty, $schema:expr, ($($size:expr),*), $round:expr) => {{
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("deep").join("memory");
            let mut ram = <$memory>::new($schema, $($size,)* rng()).unwrap();
            drop(<$memory>::create(&path, $schema, $($size,)* rng()).unwrap());
            for round in 0..12i64 {
                let mut mapped = <$memory>::open(&path, &$schema).unwrap();
                let round_of: &dyn Fn(&mut $memory, i64) = &$round;
                round_of(&mut ram, round);
                round_of(&mut mapped, round);
                assert_eq!(mapped.lost(), 0);
                assert_eq!(state(&ram), state(&mapped), "{}, round {round}", stringify!($memory));
                mapped.flush().unwrap();
                mapped.flush().unwrap();
                drop(mapped);
                assert_eq!(state(&ram), state(&<$memory>::open(&path, &$schema).unwrap()));
            }
            // The head alone is no snapshot of the memory.
            assert!(<$memory>::load(path.join("head")).is_err());
            assert!(ram.flush().unwrap_err().to_string().contains("not in a folder"));
        }};
    }
    let config = Prioritized::default();
    let one = |round: i64| batch(&[3 * round, 3 * round + 1, 3 * round + 2], &[3]);
    let two = |round: i64| batch(&[3 * round, 3 * round + 1, 7 * round, 7 * round + 1], &[2, 2]);
    let ends = vec!["end".to_owned()];
    let sizes = Sequences { rows: 2, length: 9, sample: 3, ends: ends.clone(), ..Default::default() };
    let pairs = Transitions { capacity: 20, rows: 2, ends, ..Default::default() };
    compare!(Items, schema(), (10), |memory, round| {
        memory.add(&refs(&one(round))).unwrap();
        memory.sample(5, Draw::WithReplacement).unwrap();
    });
    compare!(PrioritizedItems, schema(), (10, config), |memory, round| {
        memory.add(&refs(&one(round))).unwrap();
        let sample = memory.sample(5, 0.4).unwrap();
        memory.set_priorities(&sample.items, &[0.5, 0.0, 3.0, 1.0, round as f32]).unwrap();
    });
    compare!(Trajectories, schema(), (sizes.clone()), |memory, round| {
        memory.add(&refs(&two(round))).unwrap();
        if memory.can_sample() {
            memory.sample(5, Draw::WithReplacement).unwrap();
        }
    });
    compare!(PrioritizedTrajectories, schema(), (sizes.clone(), config), |memory, round| {
        memory.add(&refs(&two(round))).unwrap();
        if memory.can_sample() {
            let sample = memory.sample(3, 0.4).unwrap();
            memory.set_priorities(&sample.items, &[0.5, 3.0, round as f32 + 1.0]).unwrap();
        }
    });
    compare!(Flat, schema(), (pairs.clone()), |memory, round| {
        memory.add(Leading::RowsSteps, &refs(&two(round))).unwrap();
        memory.sample(5, Draw::WithReplacement).unwrap();
    });
    compare!(PrioritizedFlat, schema(), (pairs.clone(), config), |memory, round| {
        memory.add(Leading::RowsSteps, &refs(&two(round))).unwrap();
        memory.sample(5, 1.0).unwrap();
    });
}

// --- Processes that are killed ---

const FOLDER: &str = "CL_REPLAY_TEST_FOLDER";

/// A test of this file that is no test but the child of one.
fn child(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]).env(FOLDER, folder);
    command
}

const KILLED_CAPACITY: usize = 500;
const KILLED_BATCH: usize = 7;
const FLUSH_EVERY: u64 = 20;

#[test]
#[ignore = "the child of a test"]
fn child_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let mut memory = Items::open(folder, &schema()).unwrap();
    // Numbers are times, with the life in front: a step of another life is told from its like.
    let number = |name: &str| std::env::var(name).unwrap().parse::<i64>().unwrap();
    let (mut time, life, begun) = (number("WRITTEN"), number("LIFE"), Instant::now());
    // Not for ever, should the parent be gone.
    while begun.elapsed() < Duration::from_secs(60) {
        for _ in 0..FLUSH_EVERY {
            let new: Vec<i64> = (time..time + KILLED_BATCH as i64).map(|t| (life << 32) + t).collect();
            memory.add(&refs(&batch(&new, &[KILLED_BATCH]))).unwrap();
            time += KILLED_BATCH as i64;
            println!("\nadded {time}");
        }
        memory.flush().unwrap();
        println!("\nflushed {time}");
    }
}

/// SIGKILL in the middle of adds and flushes, many times over on one memory: everything of the last flush that was
/// not overwritten is there, and nothing else; no row is torn.
#[test]
fn a_kill_loses_what_the_rule_says_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    drop(Items::create(&path, schema(), KILLED_CAPACITY, rng()).unwrap());
    let mut delays = cl_core::rng(3, "delays");
    // By time: the number that the last flush has there.
    let mut on_disk = BTreeMap::<u64, i64>::new();
    let (mut written, mut reached, mut losses, mut news) = (0u64, 0u64, 0, 0);
    for life in 0..30i64 {
        let mut child = child("child_that_is_killed", &path)
            .env("WRITTEN", written.to_string())
            .env("LIFE", life.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            out.read_to_string(&mut log).map(|_| log)
        });
        std::thread::sleep(Duration::from_micros(delays.random_range(20_000..120_000)));
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let log = log.join().unwrap().unwrap();
        let last = |what: &str| {
            let found = log.lines().rev().find_map(|line| line.strip_prefix(what));
            found.map(|time| time.trim().parse::<u64>().unwrap())
        };

        let memory = Items::open(&path, &schema()).unwrap();
        let (added, flushed) = (last("added ").unwrap_or(written), last("flushed ").unwrap_or(written));
        let held = held(&memory);
        // The flush that the child was told of, or one more that it was killed before it could say so.
        let (now, one_more) = (memory.written(), flushed + FLUSH_EVERY * KILLED_BATCH as u64);
        assert!(now == flushed || now == one_more, "{now}: neither {flushed} nor {one_more}");
        on_disk.extend((written..one_more).map(|time| (time, (life << 32) + time as i64)));
        news += now - written;
        written = now;
        on_disk.retain(|&time, _| time < written);
        for (time, number) in &held {
            assert_eq!(on_disk.get(time), Some(number), "time {time} is not what was flushed");
        }
        // What had to go is what the last add that is known of overwrote, or one more that was under way.
        let oldest = held.keys().next().copied().unwrap_or(written);
        let bounds = [added, added + KILLED_BATCH as u64]
            .map(|reach| reach.max(reached).saturating_sub(KILLED_CAPACITY as u64).min(written));
        assert!((bounds[0]..=bounds[1]).contains(&oldest), "{oldest} is not in {bounds:?}");
        assert_eq!(held.len() as u64, written - oldest);
        reached = reached.max(oldest + KILLED_CAPACITY as u64).max(added);
        losses += memory.lost();
    }
    println!("{losses} steps lost, {news} kept");
    // Or nothing was tested.
    assert!(losses > 0 && news > 0 && written > 2 * KILLED_CAPACITY as u64, "{losses} {news} {written}");
}

/// After a start of the machine the note in the mapping is not believed, but that on the disk.
#[test]
fn another_boot_costs_a_part_of_the_ring() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let schema = Schema::new([Field::new("number", DType::I64, [])]).unwrap();
    let mut memory = Items::create(&path, schema.clone(), 80_000, rng()).unwrap();
    let add = |memory: &mut Items, from: i64, n: i64| {
        memory.add(&[("number", &Tensor::arange(from, from + n, &Device::Cpu).unwrap())]).unwrap();
    };
    let right = |memory: &Items| {
        let all = memory.sample_with(memory.len(), Draw::WithoutReplacement, &mut rng()).unwrap();
        let numbers = all.get("number").unwrap().to_vec1::<i64>().unwrap();
        assert!(all.items.iter().zip(&numbers).all(|(item, &number)| item.time as i64 == number));
        let oldest = numbers.iter().min().copied().unwrap();
        oldest..oldest + numbers.len() as i64
    };
    let reboot = || {
        let mut bytes = fs::read(path.join("reach")).unwrap();
        // The order in which pages went to the disk: the note of how far is an old one.
        bytes[8..16].fill(0);
        bytes[24] ^= 1;
        fs::write(path.join("reach"), bytes).unwrap();
    };
    // Nothing is overwritten yet: nothing is lost.
    add(&mut memory, 0, 50_000);
    memory.flush().unwrap();
    add(&mut memory, -1, 30_000);
    drop(memory);
    reboot();
    let mut memory = Items::open(&path, &schema).unwrap();
    assert_eq!((right(&memory), memory.lost()), (0..50_000, 0));
    // One step too far: that, and a sixteenth.
    add(&mut memory, 50_000, 30_000);
    memory.flush().unwrap();
    add(&mut memory, -1, 1);
    drop(memory);
    let mut memory = Items::open(&path, &schema).unwrap();
    assert_eq!((right(&memory), memory.lost()), (1..80_000, 1));
    add(&mut memory, -1, 1);
    drop(memory);
    reboot();
    let mut memory = Items::open(&path, &schema).unwrap();
    assert_eq!((right(&memory), memory.lost()), (5_001..80_000, 5_001));
    // It is of this boot now, and goes on.
    add(&mut memory, 80_000, 5_001);
    memory.flush().unwrap();
    drop(memory);
    let memory = Items::open(&path, &schema).unwrap();
    assert_eq!((right(&memory), memory.lost()), (5_001..85_001, 0));
}

// --- What is refused ---

fn small() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let mut memory = Items::create(&path, schema(), 10, rng()).unwrap();
    memory.add(&refs(&batch(&[1, 2, 3], &[3]))).unwrap();
    memory.flush().unwrap();
    (dir, path)
}

#[test]
fn only_one_has_it_open() {
    let (_dir, path) = small();
    let memory = Items::open(&path, &schema()).unwrap();
    for error in
        [Items::open(&path, &schema()).unwrap_err(), Items::create(&path, schema(), 10, rng()).unwrap_err()]
    {
        assert!(error.to_string().contains("open already"), "{error}");
    }
    drop(memory);
    Items::open(&path, &schema()).unwrap();
}

#[test]
fn a_folder_that_is_not_what_it_should_be() {
    let (dir, path) = small();
    let says = |error: Error, what: &str| assert!(error.to_string().contains(what), "{error}");
    says(Items::create(&path, schema(), 10, rng()).unwrap_err(), "there is a memory in");
    says(Items::open(dir.path().join("none"), &schema()).unwrap_err(), "there is no memory in");
    assert!(!dir.path().join("none").exists());
    // A create that was killed has no head; it can be made again.
    let half = dir.path().join("half");
    drop(Items::create(&half, schema(), 10, rng()).unwrap());
    fs::remove_file(half.join("head")).unwrap();
    fs::write(half.join(".head.x.tmp"), "").unwrap();
    says(Items::open(&half, &schema()).unwrap_err(), "never completed");
    drop(Items::create(&half, schema(), 20, rng()).unwrap());
    assert_eq!(Items::open(&half, &schema()).unwrap().capacity(), 20);
    assert!(!half.join(".head.x.tmp").exists());

    let other = Schema::new([Field::new("number", DType::F32, [])]).unwrap();
    let error = Items::open(&path, &other).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    says(Flat::open(&path, &schema()).unwrap_err(), "cl-replay/items/head");
    assert!(matches!(Items::create(path.join("head"), schema(), 10, rng()), Err(Error::Io { .. })));
}

#[test]
fn damage_is_found_and_named() {
    let (_dir, path) = small();
    let damage = |file: &str, change: &dyn Fn(&mut Vec<u8>), what: &str| {
        let whole = fs::read(path.join(file)).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(path.join(file), bytes).unwrap();
        let error = Items::open(&path, &schema()).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(file) && text.contains(what), "{text}");
        fs::write(path.join(file), whole).unwrap();
    };
    let head = fs::read(path.join("head")).unwrap().len();
    for at in (0..head).step_by(3) {
        damage("head", &|bytes| bytes.truncate(at), "truncated");
        damage("head", &|bytes| bytes[at] ^= 1 << (at % 8), "");
    }
    damage("1.rows", &|bytes| bytes.truncate(1000), "has 1000 bytes where the head needs 1320");
    damage("2.rows", &|bytes| bytes.push(0), "has 51 bytes where the head needs 50");
    damage("reach", &|bytes| bytes.truncate(8), "has 8 bytes");
    damage("reach", &|bytes| bytes[0] ^= 1, "byte order");
    damage("reach", &|bytes| bytes[8] = 2, "altered");
    damage("reach", &|bytes| bytes[9] = 2, "altered");
    fs::rename(path.join("3.rows"), path.join("gone")).unwrap();
    let error = Items::open(&path, &schema()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("3.rows"), "{error}");
    fs::rename(path.join("gone"), path.join("3.rows")).unwrap();
    assert_eq!(held(&Items::open(&path, &schema()).unwrap()).into_values().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
#[ignore = "the child of a test"]
fn child_with_little_disk() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let error = Items::create(folder, schema(), 100_000, rng()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("1.rows") && text.contains("13200000 bytes could not be set aside"), "{text}");
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
    Items::create(folder, schema(), 10, rng()).unwrap();
}

/// A limit on the size of files stands for a disk that is full: the same write fails.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_says_so_when_the_memory_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let child = child("child_with_little_disk", &dir.path().join("memory"));
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\""]).arg(child.get_program());
    limited.args(child.get_args()).env(FOLDER, dir.path().join("memory"));
    let out = limited.output().unwrap();
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(String::from_utf8_lossy(&out.stdout).contains("1 passed"));
}
