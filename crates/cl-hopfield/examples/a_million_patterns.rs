//! A million patterns, an exact store and an indexed one: how long a query takes, and how much the index finds.
//!
//! `cargo run --release -p cl-hopfield --example a_million_patterns [PATTERNS]`

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use cl_core::init::Init;
use cl_core::{Error, Result};
use cl_hopfield::continuous::Steps;
use cl_hopfield::{IndexedStore, Store};

/// Numbers in a pattern.
const WIDTH: usize = 64;

/// Cues that come together.
const CUES: usize = 256;

/// How sharp the association is.
const BETA: f64 = 1.0;

/// With as many patterns as the first argument says.
///
/// # Errors
/// An argument that is no number.
pub fn main() -> Result<()> {
    let patterns = match std::env::args().nth(1) {
        Some(given) => {
            given.parse().map_err(|_| Error::invalid("PATTERNS", format!("{given} is no number")))?
        }
        None => 1_000_000,
    };
    measure(patterns).map(drop)
}

/// Fills both stores and asks them; returns the recall with 16 cells.
///
/// # Errors
/// candle's own.
pub fn measure(m: usize) -> Result<f64> {
    let rng = &mut cl_core::rng(0, "patterns");
    let mut normal = |rows, sigma| Init::Normal(sigma).var((rows, WIDTH), DType::F32, &Device::Cpu, rng);
    let patterns = normal(m, 1.0)?;
    // A cue is a stored pattern with noise of half its length.
    let cues = (patterns.narrow(0, 0, CUES.min(m))? + normal(CUES.min(m), 0.5)?.as_tensor())?;

    let mut exact = Store::with_room(WIDTH, m)?;
    patterns.to_vec2::<f32>()?.iter().try_for_each(|pattern| exact.insert(pattern).map(drop))?;
    let start = Instant::now();
    let mut store = IndexedStore::new(WIDTH, 0)?;
    let ids = store.insert_all(&patterns)?;
    println!(
        "{m} patterns of {WIDTH} in {} cells, made in {:.1} s",
        store.cells(),
        start.elapsed().as_secs_f64()
    );

    let one = cues.narrow(0, 0, 1)?;
    let whole = |queries: &Tensor| timed(|| exact.retrieve(queries, BETA, Steps::Exactly(1)).map(drop));
    let (single, together) = (whole(&one)?, whole(&cues)? / cues.dim(0)? as f64);
    println!("exact: {single:.2} ms for one cue, {together:.3} ms for each of {CUES}");

    let recall = store.recall(&cues, 1)?;
    for probes in [1, 2, 4, 8, 16, 32, 64].into_iter().filter(|&probes| probes <= recall.len()) {
        let some =
            |queries: &Tensor| timed(|| store.retrieve(queries, BETA, Steps::Exactly(1), probes).map(drop));
        let (one, each) = (some(&one)?, some(&cues)? / cues.dim(0)? as f64);
        println!(
            "{probes:3} cells: recall {:.3}; {one:.2} ms for one cue ({:.0} times faster), {each:.3} ms for each of {CUES} ({:.1})",
            recall[probes - 1],
            single / one,
            together / each
        );
    }

    let start = Instant::now();
    let changed = ids.iter().step_by(m.div_ceil(1000)).copied().collect::<Vec<_>>();
    for &id in &changed {
        let pattern = store.get(id)?;
        store.overwrite(id, &pattern)?;
        store.forget(id)?;
        store.insert(&pattern)?;
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / changed.len() as f64;
    println!("overwriting, forgetting and storing a pattern: {each:.0} µs together");
    Ok(recall[recall.len().min(16) - 1])
}

/// Milliseconds that it takes, the best of five.
fn timed(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}
