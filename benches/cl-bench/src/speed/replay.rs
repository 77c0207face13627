//! What a replay buffer does, beside the libraries of reinforcement learning.
//!
//! | case | one step |
//! |---|---|
//! | `draw` | 256 items by priority: indices and weights, without the rows |
//! | `draw-gather` | the same with their rows, as one tensor |
//! | `update` | new priorities for 256 items, raised to α |
//! | `add-256` | 256 rows, one tensor |
//! | `add-1` | one row |
//! | `uniform-gather` | 256 rows, each item equally likely |
//! | `uniform-add-256` | 256 rows, one tensor, into a memory without priorities |
//! | `…-16m` | the same with 2^24 items, beside itself with 2^20; needs 7 GiB of memory |
//!
//! 2^20 items (unless said otherwise) with one row of 84 f32 each, α 0.6, β 0.4. Every row is written and
//! every priority set before anything is timed; an update has indices and priorities that it has not had
//! before. A sample is a transition: 256 to a step, 1 in `add-1`.
//!
//! What a peer lacks is left out: Tianshou and Reverb add one by one, Reverb has no draw without rows.
//! Stable-Baselines3 has no priorities: its adds of many rows are ranked in `uniform-add-256`, those of one row,
//! which have less to do, in `add-1` all the same. cpprb's
//! `draw` is from rows of one number. Of Tianshou's two updates, `update` is that of its buffer and
//! `update-tree` that of the tree within, which is shown. Reverb holds 2^17 items, fewer than the others,
//! so it is shown, not ranked.

use candle_core::{DType, Device, Tensor};
use cl_core::{Result, Rng};
use cl_replay::{Draw, Field, Item, Items, Prioritized, PrioritizedItems, Schema};
use rand::Rng as _;

use super::{
    Case, Comparison, Contest, ENGRAM, Entry, Environment, Heading, Peer, Unit, aim, if_fastest, shown,
};

const FLASHBAX: &str = "flashbax";
const TORCHRL: &str = "torchrl";
const CPPRB: &str = "cpprb";
const SB3: &str = "sb3";
const TIANSHOU: &str = "tianshou";
const REVERB: &str = "reverb";

static LIBRARIES: Environment = Environment {
    requirements: "requirements-replay.txt",
    cache: "replay",
    variable: "ENGRAM_REPLAY_PEERS_VENV",
    each: true,
};
static REVERBS_OWN: Environment = Environment {
    requirements: "requirements-reverb.txt",
    cache: "reverb",
    variable: "ENGRAM_REVERB_VENV",
    each: false,
};

const fn library(name: &'static str) -> Peer {
    Peer { name, worker: name, environment: &LIBRARIES, avx512_stub: false }
}

/// `cargo xtask bench replay-speed`.
pub static REPLAY: Contest = Contest {
    heading: Heading { name: "replay-speed", title: "Replay buffers", unit: Unit::Nanoseconds },
    cases: CASES,
    comparisons: COMPARISONS,
    peers: &[
        library(FLASHBAX),
        library(TORCHRL),
        library(CPPRB),
        library(SB3),
        library(TIANSHOU),
        Peer { name: REVERB, worker: REVERB, environment: &REVERBS_OWN, avx512_stub: false },
    ],
};

const DRAW: f64 = 4.5;
const UPDATE: f64 = 4.0;
const ADD_256: f64 = 3.0;
const ADD_1: f64 = 20.0;
const UNIFORM: f64 = 4.0;
/// Sixteen times the items may cost two and a half times as much.
const GROWTH: f64 = 0.4;

const COMPARISONS: &[Comparison] = &[
    if_fastest("draw", FLASHBAX, DRAW),
    if_fastest("draw", TORCHRL, DRAW),
    if_fastest("draw", CPPRB, DRAW),
    if_fastest("draw", TIANSHOU, DRAW),
    if_fastest("draw-gather", FLASHBAX, DRAW),
    if_fastest("draw-gather", TORCHRL, DRAW),
    if_fastest("draw-gather", CPPRB, DRAW),
    if_fastest("draw-gather", TIANSHOU, DRAW),
    shown("draw-gather", REVERB, "draw-gather"),
    if_fastest("update", FLASHBAX, UPDATE),
    if_fastest("update", TORCHRL, UPDATE),
    if_fastest("update", CPPRB, UPDATE),
    if_fastest("update", TIANSHOU, UPDATE),
    shown("update", TIANSHOU, "update-tree"),
    shown("update", REVERB, "update"),
    if_fastest("add-256", FLASHBAX, ADD_256),
    if_fastest("add-256", TORCHRL, ADD_256),
    if_fastest("add-256", CPPRB, ADD_256),
    shown("add-256", SB3, "uniform-add-256"),
    if_fastest("uniform-add-256", FLASHBAX, ADD_256),
    if_fastest("uniform-add-256", TORCHRL, ADD_256),
    if_fastest("uniform-add-256", CPPRB, ADD_256),
    if_fastest("uniform-add-256", SB3, ADD_256),
    if_fastest("add-1", FLASHBAX, ADD_1),
    if_fastest("add-1", TORCHRL, ADD_1),
    if_fastest("add-1", CPPRB, ADD_1),
    if_fastest("add-1", SB3, ADD_1),
    if_fastest("add-1", TIANSHOU, ADD_1),
    shown("add-1", REVERB, "add-1"),
    if_fastest("uniform-gather", FLASHBAX, UNIFORM),
    if_fastest("uniform-gather", TORCHRL, UNIFORM),
    if_fastest("uniform-gather", CPPRB, UNIFORM),
    if_fastest("uniform-gather", SB3, UNIFORM),
    if_fastest("uniform-gather", TIANSHOU, UNIFORM),
    shown("uniform-gather", REVERB, "uniform-gather"),
    aim("draw-16m", ENGRAM, "draw", GROWTH),
    aim("draw-gather-16m", ENGRAM, "draw-gather", GROWTH),
    aim("update-16m", ENGRAM, "update", GROWTH),
    aim("add-256-16m", ENGRAM, "add-256", GROWTH),
    aim("add-1-16m", ENGRAM, "add-1", GROWTH),
    aim("uniform-gather-16m", ENGRAM, "uniform-gather", GROWTH),
    aim("uniform-add-256-16m", ENGRAM, "uniform-add-256", GROWTH),
];

const CASES: &[Entry] = &[
    Entry::new("draw", || prioritized(Column::Draw, MANY)),
    Entry::new("draw-gather", || prioritized(Column::DrawGather, MANY)),
    Entry::new("update", || prioritized(Column::Update, MANY)),
    Entry::new("add-256", || prioritized(Column::Add256, MANY)),
    Entry::new("add-1", || prioritized(Column::Add1, MANY)),
    Entry::new("uniform-gather", || uniform(Uniform::Gather, MANY)),
    Entry::new("uniform-add-256", || uniform(Uniform::Add256, MANY)),
    Entry::new("draw-16m", || prioritized(Column::Draw, VERY_MANY)),
    Entry::new("draw-gather-16m", || prioritized(Column::DrawGather, VERY_MANY)),
    Entry::new("update-16m", || prioritized(Column::Update, VERY_MANY)),
    Entry::new("add-256-16m", || prioritized(Column::Add256, VERY_MANY)),
    Entry::new("add-1-16m", || prioritized(Column::Add1, VERY_MANY)),
    Entry::new("uniform-gather-16m", || uniform(Uniform::Gather, VERY_MANY)),
    Entry::new("uniform-add-256-16m", || uniform(Uniform::Add256, VERY_MANY)),
];

const MANY: usize = 1 << 20;
const VERY_MANY: usize = 1 << 24;

const BATCH: usize = 256;
const FEATURES: usize = 84;
const BETA: f64 = 0.4;
const FIELD: &str = "obs";

/// What is done by priority.
#[derive(Debug, Clone, Copy)]
enum Column {
    Draw,
    DrawGather,
    Update,
    Add256,
    Add1,
}

/// A column with so many items.
fn prioritized(column: Column, capacity: usize) -> Result<Box<dyn Case>> {
    let mut rng = cl_core::rng(0, "replay-speed");
    let mut blocks = rows(64, BATCH, &mut rng)?;
    let mut memory =
        PrioritizedItems::new(schema()?, capacity, Prioritized::default(), cl_core::rng(0, "memory"))?;
    for _ in 0..capacity / BATCH {
        memory.add(&[(FIELD, blocks.next())])?;
    }
    let item = |time: usize| Item { row: 0, time: time as u64 };
    for start in (0..capacity).step_by(BATCH) {
        let items: Vec<Item> = (start..start + BATCH).map(item).collect();
        memory.set_priorities(&items, &priorities(&mut rng))?;
    }
    match column {
        Column::Draw => repeated(BATCH, move || memory.draw(BATCH, BETA).map(drop)),
        Column::DrawGather => repeated(BATCH, move || memory.sample(BATCH, BETA).map(drop)),
        Column::Update => {
            // So many batches of items that most of the tree is met between two turns of one, and never
            // twice with the same priorities: the two numbers have no common factor.
            let mut batch =
                |_| -> Vec<Item> { (0..BATCH).map(|_| item(rng.random_range(0..capacity))).collect() };
            let mut items = Cycle::new((0..4_093).map(&mut batch).collect());
            let mut values = Cycle::new((0..1_021).map(|_| priorities(&mut rng)).collect());
            repeated(BATCH, move || memory.set_priorities(items.next(), values.next()).map(drop))
        }
        Column::Add256 => repeated(BATCH, move || memory.add(&[(FIELD, blocks.next())])),
        Column::Add1 => {
            let mut singles = rows(1_024, 1, &mut rng)?;
            repeated(1, move || memory.add(&[(FIELD, singles.next())]))
        }
    }
}

/// What is done without priorities.
#[derive(Debug, Clone, Copy)]
enum Uniform {
    Gather,
    Add256,
}

/// The same of a memory without priorities.
fn uniform(column: Uniform, capacity: usize) -> Result<Box<dyn Case>> {
    let mut blocks = rows(64, BATCH, &mut cl_core::rng(0, "replay-speed"))?;
    let mut memory = Items::new(schema()?, capacity, cl_core::rng(0, "memory"))?;
    for _ in 0..capacity / BATCH {
        memory.add(&[(FIELD, blocks.next())])?;
    }
    match column {
        Uniform::Gather => repeated(BATCH, move || memory.sample(BATCH, Draw::WithReplacement).map(drop)),
        Uniform::Add256 => repeated(BATCH, move || memory.add(&[(FIELD, blocks.next())]).map(drop)),
    }
}

fn schema() -> Result<Schema> {
    Schema::new([Field::new(FIELD, DType::F32, [FEATURES])])
}

/// `count` tensors (n, 84) to add.
fn rows(count: usize, n: usize, rng: &mut Rng) -> Result<Cycle<Tensor>> {
    let tensor = |_| {
        let values: Vec<f32> = (0..n * FEATURES).map(|_| rng.random()).collect();
        Ok(Tensor::from_vec(values, (n, FEATURES), &Device::Cpu)?)
    };
    Ok(Cycle::new((0..count).map(tensor).collect::<Result<_>>()?))
}

/// In (0, 1].
fn priorities(rng: &mut Rng) -> Vec<f32> {
    (0..BATCH).map(|_| 1.0 - rng.random::<f32>()).collect()
}

/// One after the other, over and over.
struct Cycle<T> {
    all: Vec<T>,
    next: usize,
}

impl<T> Cycle<T> {
    fn new(all: Vec<T>) -> Self {
        Self { all, next: 0 }
    }

    fn next(&mut self) -> &T {
        let at = self.next;
        self.next = (at + 1) % self.all.len();
        &self.all[at]
    }
}

/// One call, again and again.
struct Repeated<F> {
    transitions: usize,
    call: F,
}

fn repeated(transitions: usize, call: impl FnMut() -> Result<()> + 'static) -> Result<Box<dyn Case>> {
    Ok(Box::new(Repeated { transitions, call }))
}

impl<F: FnMut() -> Result<()>> Case for Repeated<F> {
    fn run(&mut self, steps: usize) -> Result<usize> {
        for _ in 0..steps {
            (self.call)()?;
        }
        Ok(steps * self.transitions)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_column_runs() {
        let capacity = 1 << 10;
        for of in [Column::Draw, Column::DrawGather, Column::Update, Column::Add256] {
            assert_eq!(prioritized(of, capacity).unwrap().run(9).unwrap(), 9 * BATCH, "{of:?}");
        }
        assert_eq!(prioritized(Column::Add1, capacity).unwrap().run(9).unwrap(), 9);
        for of in [Uniform::Gather, Uniform::Add256] {
            assert_eq!(uniform(of, capacity).unwrap().run(9).unwrap(), 9 * BATCH, "{of:?}");
        }
    }
}
