//! What Flashbax does, operation by operation (`fixtures/flashbax.py` says what the file means), against what
//! these memories do. Where they differ on purpose, the difference is what is asserted.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::Tensor;
use cl_core::{Result, rng};
use cl_replay::{
    Draw, Flat, Item, Items, Leading, NewItems, Prioritized, PrioritizedFlat, PrioritizedItems,
    PrioritizedTrajectories, Queue, Sequences, Source, Strata, Trajectories, Transitions, Updated, Weights,
    mix,
};
use common::steps::{Steps, assert_contiguous, assert_items, schema, sorted};
use serde_json::Value;

/// The cases of a kind, as many as the file is known to have.
fn cases(kind: &str, expected: usize) -> Vec<Value> {
    let mut file: Value = serde_json::from_str(include_str!("fixtures/flashbax.json")).unwrap();
    let Value::Array(cases) = file["cases"].take() else { panic!("no cases") };
    let cases: Vec<Value> = cases.into_iter().filter(|case| case["kind"] == kind).collect();
    assert_eq!(cases.len(), expected, "{kind}");
    cases
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no size")) as usize
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn times(value: &Value) -> Vec<u64> {
    list(value).iter().map(|time| time.as_u64().unwrap()).collect()
}

/// None where Flashbax has no item.
fn first_steps(value: &Value) -> Vec<Option<u64>> {
    list(value).iter().map(Value::as_u64).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    list(value).iter().map(|float| float.as_f64().unwrap() as f32).collect()
}

fn config(case: &Value) -> Prioritized {
    Prioritized {
        alpha: case["alpha"].as_f64().unwrap(),
        new_items: NewItems::LargestEver,
        weights: Weights::None,
        strata: Strata::Stratified,
    }
}

fn sizes(case: &Value) -> Sequences {
    Sequences {
        rows: size(&case["rows"]),
        length: size(&case["time"]),
        sample: size(&case["length"]),
        period: size(&case["period"]),
        min_length: size(&case["min"]),
        ends: Vec::new(),
    }
}

fn never(_: usize, _: u64) -> bool {
    false
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-6 * b.abs()
}

#[test]
fn trajectories() {
    let (mut same, mut moved) = (0, 0);
    for case in cases("trajectory", 68) {
        let sizes = sizes(&case);
        let mut memory = Trajectories::new(schema(), sizes.clone(), rng(1, "memory")).unwrap();
        for (i, steps) in times(&case["add"]).into_iter().enumerate() {
            let from = memory.written();
            memory.add(&Steps::new(sizes.rows, from..from + steps, never).batch()).unwrap();
            let (written, length) = (memory.written(), sizes.length as u64);
            assert_eq!(written % length, size(&case["head"][i]) as u64);
            let full = written >= length;
            assert_eq!(full, case["full"][i]);

            let theirs = times(&case["starts"][i]);
            let ours: Vec<u64> = if memory.can_sample() {
                let sample = memory.sample(memory.len(), Draw::WithoutReplacement).unwrap();
                assert_contiguous(&sample.fields, &sample.items, sizes.sample);
                let items = sorted(sample.items);
                let of = |row| items.iter().filter(move |item| item.row == row).map(|item| item.time);
                assert!((1..sizes.rows as u32).all(|row| of(row).eq(of(0))));
                of(0).collect()
            } else {
                assert!(memory.sample(1, Draw::WithReplacement).is_err());
                Vec::new()
            };
            // Before it is full, and with a period of one, there is no difference.
            if !full || sizes.period == 1 {
                assert_eq!((memory.can_sample(), ours), (case["can_sample"][i] == true, theirs), "{case}");
                same += 1;
            } else {
                // Their grid begins at the oldest step; ours at multiples of the period, so that they agree
                // where the oldest is one. Then there may be nothing for us to draw (T6, T16).
                let period = sizes.period as u64;
                let oldest = written - length;
                assert!(theirs.iter().enumerate().all(|(j, &t)| t == oldest + j as u64 * period));
                assert_eq!(case["can_sample"][i], true);
                let first = oldest.div_ceil(period) * period;
                let end = written + 1 - sizes.sample as u64;
                assert!(ours.iter().copied().eq((first..end).step_by(period as usize)), "{ours:?}, {case}");
                assert_eq!(memory.can_sample(), !ours.is_empty());
                if oldest == first {
                    assert_eq!(ours, theirs, "{case}");
                    same += 1;
                } else {
                    moved += 1;
                }
            }
        }
    }
    assert!(same > 300 && moved > 100, "{same}, {moved}");
}

/// What the two prioritized memories are asked here.
trait ByPriority {
    fn add_steps(&mut self, op: &Value, rows: usize);
    fn of(&self, item: Item) -> Result<Option<f32>>;
    fn set(&mut self, items: &[Item], priorities: &[f32]) -> Result<Updated>;
    fn largest(&self) -> f32;
    fn sum(&self) -> f64;
    fn ready(&self) -> bool;
    /// The items of a draw, of which the experience was compared with them.
    fn drawn(&mut self, n: usize) -> Result<Vec<Item>>;
}

impl ByPriority for PrioritizedTrajectories {
    fn add_steps(&mut self, op: &Value, rows: usize) {
        let from = self.written();
        self.add(&Steps::new(rows, from..from + size(&op["add"]) as u64, never).batch()).unwrap();
    }
    fn of(&self, item: Item) -> Result<Option<f32>> {
        self.priority(item)
    }
    fn set(&mut self, items: &[Item], priorities: &[f32]) -> Result<Updated> {
        self.set_priorities(items, priorities)
    }
    fn largest(&self) -> f32 {
        self.largest_ever()
    }
    fn sum(&self) -> f64 {
        self.total()
    }
    fn ready(&self) -> bool {
        self.can_sample()
    }
    fn drawn(&mut self, n: usize) -> Result<Vec<Item>> {
        let sample = self.sample(n, 0.0)?;
        let length = sample.get("half")?.dims()[1];
        assert_contiguous(&sample.fields, &sample.items, length);
        Ok(sample.items)
    }
}

/// With the number of the next item.
struct Numbered(PrioritizedItems, u64);

/// How many items a call of this shape adds, [] a single one.
fn count(shape: &Value) -> u64 {
    times(shape).iter().product()
}

impl ByPriority for Numbered {
    fn add_steps(&mut self, op: &Value, _: usize) {
        add_shaped(&op["add"], self.1, |batch, nested| {
            if nested { self.0.add_sequences(batch).unwrap() } else { self.0.add(batch).unwrap() }
        });
        self.1 += count(&op["add"]);
    }
    fn of(&self, item: Item) -> Result<Option<f32>> {
        self.0.priority(item)
    }
    fn set(&mut self, items: &[Item], priorities: &[f32]) -> Result<Updated> {
        self.0.set_priorities(items, priorities)
    }
    fn largest(&self) -> f32 {
        self.0.largest_ever()
    }
    fn sum(&self) -> f64 {
        self.0.total()
    }
    fn ready(&self) -> bool {
        self.0.can_sample()
    }
    fn drawn(&mut self, n: usize) -> Result<Vec<Item>> {
        let sample = self.0.sample(n, 0.0)?;
        assert_items(&sample.fields, &sample.items);
        Ok(sample.items)
    }
}

/// Calls with the items from `next` on, in a shape of one dimension, or of two.
fn add_shaped(shape: &Value, next: u64, mut add: impl FnMut(&[(&str, &Tensor)], bool)) {
    let steps = Steps::items(next..next + count(shape));
    let dims: Vec<usize> = times(shape).iter().map(|&n| n as usize).collect();
    if dims.len() < 2 {
        return add(&steps.batch(), false);
    }
    let shaped = steps
        .batch()
        .map(|(name, tensor)| (name, tensor.reshape([&dims[..], &tensor.dims()[1..]].concat()).unwrap()));
    add(&shaped.each_ref().map(|(name, tensor)| (*name, tensor)), true);
}

/// The steps of a call of this shape from time `from` on, and how many steps of every row it adds.
struct FlatCall {
    leading: Leading,
    tensors: Vec<(&'static str, Tensor)>,
    steps: u64,
}

impl FlatCall {
    fn new(case: &Value, shape: &Value, from: u64) -> Self {
        let rows = case["add_batch_size"].as_u64().unwrap_or(1);
        let steps = count(shape) / rows;
        let leading = match (case["add_batch_size"].is_null(), case["add_sequences"] == true) {
            (true, false) => Leading::None,
            (true, true) => Leading::Steps,
            (false, false) => Leading::Rows,
            (false, true) => Leading::RowsSteps,
        };
        let dims: Vec<usize> = times(shape).iter().map(|&n| n as usize).collect();
        let shaped = |tensor: &Tensor| tensor.reshape([&dims[..], &tensor.dims()[2..]].concat()).unwrap();
        let all = Steps::new(rows as usize, from..from + steps, never);
        let [(_, at), (_, half), (_, done)] = all.batch();
        let tensors = vec![("at", shaped(at)), ("half", shaped(half)), ("done", shaped(done))];
        Self { leading, tensors, steps }
    }

    fn batch(&self) -> Vec<(&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (*name, tensor)).collect()
    }
}

fn transitions(case: &Value) -> Transitions {
    Transitions {
        capacity: size(&case["max_length"]),
        rows: case["add_batch_size"].as_u64().unwrap_or(1) as usize,
        min_len: size(&case["min_length"]),
        ends: Vec::new(),
    }
}

/// Fails where a transition is not that of its item: two neighbouring steps of its row.
fn assert_transitions(first: &cl_replay::Fields, second: &cl_replay::Fields, items: &[Item]) {
    for (fields, later) in [(first, 0), (second, 1)] {
        let at = fields.get("at").unwrap().to_vec2::<i64>().unwrap();
        let expected = items.iter().map(|item| vec![i64::from(item.row), item.time as i64 + later]);
        assert!(at.into_iter().eq(expected), "{items:?}");
    }
}

/// With its case, and the time of the next step.
struct FlatOf<'c>(PrioritizedFlat, &'c Value, u64);

impl ByPriority for FlatOf<'_> {
    fn add_steps(&mut self, op: &Value, _: usize) {
        let call = FlatCall::new(self.1, &op["add"], self.2);
        self.0.add(call.leading, &call.batch()).unwrap();
        self.2 += call.steps;
    }
    fn of(&self, item: Item) -> Result<Option<f32>> {
        self.0.priority(item)
    }
    fn set(&mut self, items: &[Item], priorities: &[f32]) -> Result<Updated> {
        self.0.set_priorities(items, priorities)
    }
    fn largest(&self) -> f32 {
        self.0.largest_ever()
    }
    fn sum(&self) -> f64 {
        self.0.total()
    }
    fn ready(&self) -> bool {
        self.0.can_sample()
    }
    fn drawn(&mut self, n: usize) -> Result<Vec<Item>> {
        let sample = self.0.sample(n, 0.0)?;
        assert_transitions(&sample.first, &sample.second, &sample.items);
        Ok(sample.items)
    }
}

/// Replays the operations of a case. Items of Flashbax are places; ours are found through the first step that
/// a place has: `row` and `first` of the operation before.
fn replay(case: &Value, memory: &mut impl ByPriority, rows: usize) {
    let per_row = list(&case["ops"][0]["leaves"]).len() / rows;
    let named = |place: usize, first: u64| Item { row: (place / per_row) as u32, time: first };
    let mut before: Vec<Option<u64>> = vec![None; rows * per_row];
    // What was in a place last, though it may be broken by now.
    let mut last = before.clone();
    for op in list(&case["ops"]) {
        let differs = op["differs"].as_str();
        let mut leaves = floats(&op["leaves"]);
        let first = first_steps(&op["first"]);
        if op.get("add").is_some() {
            memory.add_steps(op, rows);
            if differs == Some("truncated") {
                // Theirs loses the fraction of the largest, ours does not.
                let new = (0..leaves.len()).find(|&i| first[i] != before[i]).unwrap();
                assert_eq!(leaves[new], memory.largest().trunc());
                leaves[new] = memory.largest();
            }
        } else {
            let places: Vec<usize> = list(&op["set"]).iter().map(size).collect();
            let priorities = floats(&op["to"]);
            if differs == Some("range") {
                // An index that no item has: theirs changes another leaf, or one that nobody has (T20).
                assert!(places.iter().all(|&place| place >= before.len()));
                let never = Item { row: 0, time: places[0] as u64 };
                let sum = memory.sum();
                assert!(memory.set(&[never], &priorities).is_err());
                assert_eq!((memory.sum(), memory.largest()), (sum, 1.0));
                leaves = vec![1.0; leaves.len()];
            } else {
                let items: Vec<Item> = places.iter().map(|&p| named(p, last[p].unwrap())).collect();
                let updated = memory.set(&items, &priorities).unwrap();
                let late: Vec<usize> = (0..items.len()).filter(|&i| before[places[i]].is_none()).collect();
                // Items that an addition has just broken: theirs comes to life, ours is reported (T5).
                assert_eq!((&updated.late, updated.set), (&late, items.len() - late.len()));
                assert_eq!(!late.is_empty(), differs == Some("stale"), "{op}");
                for &i in &late {
                    assert!(leaves[places[i]] > 0.0);
                    leaves[places[i]] = 0.0;
                }
            }
        }
        for (place, &first) in first.iter().enumerate() {
            last[place] = first.or(last[place]);
            let ours = first.map(|first| memory.of(named(place, first)).unwrap().unwrap());
            assert!(close(ours.unwrap_or(0.0), leaves[place]), "place {place}: {ours:?}, {op}");
        }
        let sum: f64 = leaves.iter().map(|&leaf| f64::from(leaf)).sum();
        assert!((memory.sum() - sum).abs() <= 1e-6 * sum, "{} of {sum}: {op}", memory.sum());
        match differs {
            // Broken items and such as there are not have no say in it (T5, T20).
            Some("stale" | "range") => {}
            // "maximum": both take the 9 that the same call overwrites with 5 (T11). One by one they do too.
            _ => assert!(close(memory.largest(), op["max"].as_f64().unwrap() as f32), "{op}"),
        }
        // Theirs may be ready without an item (T6); the file marks where.
        let ready = op["can_sample"] == true && sum > 0.0;
        assert_eq!(ready != (op["can_sample"] == true), op.get("no_item").is_some(), "{op}");
        assert_eq!(memory.ready(), ready, "{op}");
        match memory.drawn(64) {
            Ok(items) => {
                assert!(ready);
                for item in items {
                    let place = (0..leaves.len()).find(|&p| first[p].is_some_and(|f| named(p, f) == item));
                    assert!(leaves[place.unwrap()] > 0.0);
                }
            }
            Err(_) => assert!(!ready),
        }
        before = first;
    }
}

#[test]
fn prioritized_trajectories() {
    let cases = cases("prioritised_trajectory", 47);
    for case in &cases {
        let sizes = sizes(case);
        let rows = sizes.rows;
        let mut memory =
            PrioritizedTrajectories::new(schema(), sizes, config(case), rng(1, "memory")).unwrap();
        assert_eq!(memory.length(), size(&case["used_time"]));
        replay(case, &mut memory, rows);
    }
    let marks = |mark| {
        let ops = cases.iter().flat_map(|case| list(&case["ops"]));
        ops.filter(|op| op["differs"] == mark || (op.get("no_item").is_some() && mark == "no_item")).count()
    };
    // The differences that the file is about are in it.
    assert_eq!(["truncated", "stale", "maximum"].map(marks), [1, 1, 1]);
    assert!(marks("no_item") > 20);
}

#[test]
fn items() {
    for case in cases("item", 4) {
        let capacity = size(&case["max_length"]);
        let least = size(&case["min_length"]);
        let mut memory = Items::with_min_len(schema(), capacity, least, rng(1, "memory")).unwrap();
        let mut next = 0;
        for (i, shape) in list(&case["add"]).iter().enumerate() {
            let mut gone = Vec::new();
            add_shaped(shape, next, |batch, nested| {
                gone = if nested { memory.add_sequences(batch).unwrap() } else { memory.add(batch).unwrap() };
            });
            next += count(shape);
            let evicted =
                next.saturating_sub(capacity as u64) - (next - count(shape)).saturating_sub(capacity as u64);
            assert_eq!(gone.len() as u64, evicted);
            assert_eq!(memory.can_sample(), case["can_sample"][i]);
            if memory.can_sample() {
                let sample = memory.sample(memory.len(), Draw::WithoutReplacement).unwrap();
                assert_items(&sample.fields, &sample.items);
                let mut theirs: Vec<u64> = first_steps(&case["slots"][i]).into_iter().flatten().collect();
                theirs.sort_unstable();
                assert!(sorted(sample.items).iter().map(|item| item.time).eq(theirs), "{case}");
            } else {
                assert!(memory.sample(1, Draw::WithReplacement).is_err());
            }
        }
    }
}

#[test]
fn prioritized_items() {
    let cases = cases("prioritised_item", 7);
    for case in &cases {
        let (capacity, least) = (size(&case["max_length"]), size(&case["min_length"]));
        let memory =
            PrioritizedItems::with_min_len(schema(), capacity, least, config(case), rng(1, "memory"))
                .unwrap();
        replay(case, &mut Numbered(memory, 0), 1);
    }
    let range = cases.iter().flat_map(|case| list(&case["ops"])).filter(|op| op["differs"] == "range");
    assert_eq!(range.count(), 3);
}

#[test]
fn flat() {
    for case in cases("flat", 12) {
        let sizes = transitions(&case);
        let rows = sizes.rows as u32;
        let mut memory = Flat::new(schema(), sizes, rng(1, "memory")).unwrap();
        let mut from = 0;
        for (i, shape) in list(&case["add"]).iter().enumerate() {
            let call = FlatCall::new(&case, shape, from);
            memory.add(call.leading, &call.batch()).unwrap();
            from += call.steps;
            assert_eq!(memory.can_sample(), case["can_sample"][i], "{case}");
            if memory.can_sample() {
                let sample = memory.sample(memory.len(), Draw::WithoutReplacement).unwrap();
                assert_transitions(&sample.first, &sample.second, &sample.items);
                let items = sorted(sample.items);
                let theirs = times(&case["first"][i]);
                let theirs = (0..rows).flat_map(|row| theirs.iter().map(move |&time| Item { row, time }));
                assert!(theirs.eq(items), "{case}");
            } else {
                assert!(memory.sample(1, Draw::WithReplacement).is_err());
            }
        }
    }
}

#[test]
fn prioritized_flat() {
    for case in cases("prioritised_flat", 12) {
        let sizes = transitions(&case);
        let rows = sizes.rows;
        let memory = PrioritizedFlat::new(schema(), sizes, config(&case), rng(1, "memory")).unwrap();
        replay(&case, &mut FlatOf(memory, &case, 0), rows);
    }
}

#[test]
fn queues() {
    let mut overfull = 0;
    for case in cases("queue", 10) {
        let [rows, length, add, sample] = ["rows", "time", "add", "sample"].map(|name| size(&case[name]));
        let mut queue = Queue::new(schema(), rows, length, sample).unwrap();
        let mut from = 0;
        let mut stricter = 0;
        for (i, op) in list(&case["ops"]).iter().enumerate() {
            let can_take = queue.can_take();
            if queue.can_add(add) != (case["can_add"][i] == true) {
                // Theirs says yes where what was not taken would be overwritten.
                assert!(!queue.can_add(add), "{case}");
                stricter += 1;
            }
            assert_eq!(can_take, case["can_sample"][i] == true, "operation {i}: {case}");
            if op == 1 {
                let steps = Steps::new(rows, from..from + add as u64, never);
                let fits = queue.can_add(add);
                assert_eq!(queue.add(&steps.batch()).is_ok(), fits);
                if !fits {
                    // The last operation of its case: it is done nevertheless, and what was there is lost.
                    assert_eq!(
                        (&case["differs"], i),
                        (&Value::from("overfull"), list(&case["ops"]).len() - 1)
                    );
                    overfull += 1;
                    break;
                }
                from += add as u64;
            } else {
                let first = size(&case["first"][i]) as i64;
                let at = queue.take().unwrap().get("at").unwrap().to_vec3::<i64>().unwrap();
                let expected =
                    |row| (first..first + sample as i64).map(|time| vec![row, time]).collect::<Vec<_>>();
                assert!(at.into_iter().eq((0..rows as i64).map(expected)), "operation {i}: {case}");
            }
        }
        assert_eq!(stricter, 0, "{case}");
    }
    assert_eq!(overfull, 1);
}

/// Their shares are rounded up, first come, first served; ours by the largest remainder, so that none is further than
/// one sample from its proportion. Both draw the whole batch, and nothing for a proportion of zero.
#[test]
fn mixtures() {
    let (mut same, mut nearer) = (0, 0);
    for case in cases("mixer", 10) {
        let n = size(&case["batch"]);
        let proportions: Vec<f64> = list(&case["proportions"]).iter().map(|p| p.as_f64().unwrap()).collect();
        let memory = |at: usize| {
            let mut memory = Items::new(schema(), 4, rng(at as u64, "memory")).unwrap();
            memory.add(&Steps::items(0..4).batch()).unwrap();
            memory
        };
        let mut memories: Vec<Items> = (0..proportions.len()).map(memory).collect();
        let mut sources: Vec<&mut dyn Source> = memories.iter_mut().map(|m| m as &mut dyn Source).collect();
        let mixed = mix(&mut sources, &proportions, n).unwrap();
        assert_eq!(mixed.items.len(), n);
        let shares = |at| mixed.source.iter().filter(|&&source| source == at).count();
        let ours: Vec<usize> = (0..proportions.len()).map(shares).collect();
        let theirs: Vec<usize> = list(&case["shares"]).iter().map(size).collect();
        assert_eq!(theirs.iter().sum::<usize>(), n);
        let off = |shares: &[usize]| {
            let total: f64 = proportions.iter().sum();
            let off = shares
                .iter()
                .zip(&proportions)
                .map(|(&share, p)| (share as f64 - p / total * n as f64).abs());
            off.fold(0.0, f64::max)
        };
        assert!(off(&ours) < 1.0 && off(&ours) <= off(&theirs), "{ours:?}: {case}");
        if ours == theirs {
            same += 1;
        } else {
            nearer += 1;
        }
        assert!(ours.iter().zip(&proportions).all(|(&share, &p)| p > 0.0 || share == 0));
    }
    assert_eq!(same + nearer, 10);
    assert!(same >= 5, "{same}");
}

/// Sizes that are accepted and refused. Two arguments have no counterpart: `max_size`, since there is one way
/// to give the size, and `sample_batch_size`, since every draw has its own.
#[test]
fn constructors() {
    let mut compared = 0;
    for case in cases("construct", 37) {
        let args = &case["args"];
        if args.get("max_size").is_some() {
            continue;
        }
        let of = |name: &str| args.get(name).map(size);
        let config = Prioritized {
            alpha: args.get("priority_exponent").map_or(0.6, |alpha| alpha.as_f64().unwrap()),
            ..Prioritized::default()
        };
        let sequences = || Sequences {
            rows: of("add_batch_size").unwrap(),
            length: of("max_length_time_axis").unwrap(),
            sample: of("sample_sequence_length").unwrap(),
            period: of("period").unwrap(),
            min_length: of("min_length_time_axis").unwrap(),
            ends: Vec::new(),
        };
        let (capacity, least) = (of("max_length"), of("min_length"));
        let rng = rng(1, "memory");
        let ok = match case["of"].as_str().unwrap() {
            "trajectory" => Trajectories::new(schema(), sequences(), rng).is_ok(),
            "prioritised_trajectory" => {
                PrioritizedTrajectories::new(schema(), sequences(), config, rng).is_ok()
            }
            // A batch that is larger than the memory is refused there; draws are with replacement.
            "item" | "prioritised_item" | "flat" | "prioritised_flat"
                if of("sample_batch_size") > capacity =>
            {
                continue;
            }
            "item" => Items::with_min_len(schema(), capacity.unwrap(), least.unwrap(), rng).is_ok(),
            "prioritised_item" => {
                let (capacity, least) = (capacity.unwrap(), least.unwrap());
                PrioritizedItems::with_min_len(schema(), capacity, least, config, rng).is_ok()
            }
            flat @ ("flat" | "prioritised_flat") => {
                let (capacity, min_len) = (capacity.unwrap(), least.unwrap());
                let rows = of("add_batch_size").unwrap_or(1);
                let sizes = Transitions { capacity, rows, min_len, ends: Vec::new() };
                match flat {
                    "flat" => Flat::new(schema(), sizes, rng).is_ok(),
                    _ => PrioritizedFlat::new(schema(), sizes, config, rng).is_ok(),
                }
            }
            "queue" => {
                let [rows, length, sample] =
                    ["add_batch_size", "max_length_time_axis", "sample_sequence_length"]
                        .map(|name| of(name).unwrap());
                // How much is added at a time is up to each addition here.
                Queue::new(schema(), rows, length, sample).is_ok()
            }
            other => panic!("{other}"),
        };
        assert_eq!(ok, case["ok"], "{case}");
        compared += 1;
    }
    assert_eq!(compared, 31);
}
