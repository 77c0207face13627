//! Requests of one image with a deadline.
//!
//! A request is late if its answer comes after the deadline. System 1 itself may be: at its 99th percentile one request in a hundred
//! is, and a machine that does something else for a while makes others. That is counted with System 1 alone. A request is missed
//! if it is late and System 2 had been asked: then the wait for it was too long.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use candle_core::Tensor;
use cl_core::{Error, Result};
use cl_data::DataSet;
use cl_dual_process::{Always, Anytime, Arbiter, ByRef, Never, System, Why};

use super::Protocol;
use super::nets::{self, Fast};
use crate::experiment::Measured;

/// Deadlines with a System 2 that stalls for ever: in 99th percentiles of System 1, and in seconds.
pub const IN_P99: [f64; 2] = [1.0, 10.0];
pub const SECONDS: [f64; 2] = [10e-3, 50e-3];

/// Deadlines with one that stalls at every request, for [`STALL`], and comes back.
pub const RETURNING: [f64; 2] = [10e-3, 20e-3];
pub const STALL: Duration = Duration::from_millis(30);

/// Deadlines with one that works, and requests for each.
pub const WORKING: [f64; 2] = [10e-3, 20e-3];

/// Waits end so long before a deadline: the machine may be busy with other things.
pub const MARGIN: Duration = Duration::from_millis(5);
const WORKING_REQUESTS: usize = 2000;

/// Requests before anything is measured, and those whose 99th percentile is taken.
const WARM_UP: usize = 500;
const ALONE: usize = 20_000;

pub fn measure(data: &DataSet, protocol: &Protocol, seed: u64) -> Result<Measured> {
    // How long an answer takes does not depend on what was learned.
    let (fast, slow) = nets::untrained(data, seed)?;
    let rows: Vec<Tensor> = (0..data.test.len().min(1000))
        .map(|row| Ok(data.test.x.narrow(0, row, 1)?))
        .collect::<Result<_>>()?;
    let requests = protocol.requests;
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut add = |name: &str, value: f64| values.entry(name.to_owned()).or_default().push(value);

    let alone = |until: f64, requests: usize| {
        let (system, _hold) = stalled();
        tally(&mut timely(Anytime::new(ByRef(&fast), system, Never)?), &rows, until, requests)
    };
    alone(1.0, WARM_UP)?;
    let first = alone(1.0, ALONE.min(requests))?;
    let p99 = first.quantile(0.99);
    add("first", first.quantile(0.5));
    add("first", p99);
    for until in IN_P99.map(|times| times * p99).into_iter().chain(SECONDS.map(|until| until.max(p99))) {
        let control = alone(until, requests)?;
        add("late_alone", control.late as f64);
        // Every request would be sent on, and never comes back.
        let (system, _hold) = stalled();
        let tally = tally(&mut timely(Anytime::new(ByRef(&fast), system, Always)?), &rows, until, requests)?;
        add("until", until);
        tally.add("forever", &mut add);
    }
    for until in RETURNING {
        let stalls = cl_dual_process::from_fn(|x: &Tensor| {
            sleep(STALL);
            Ok(Tensor::zeros((x.dim(0)?, 10), x.dtype(), x.device())?)
        });
        let mut anytime = timely(Anytime::new(ByRef(&fast), stalls, Always)?);
        tally(&mut anytime, &rows, until, requests)?.add("returning", &mut add);
    }

    let took = Instant::now();
    for row in rows.iter().cycle().take(WARM_UP) {
        slow.answer(row)?;
    }
    add("second", took.elapsed().as_secs_f64() / WARM_UP as f64);
    let mut anytime = timely(Anytime::new(ByRef(&fast), slow, Always)?);
    for until in WORKING {
        tally(&mut anytime, &rows, until, WORKING_REQUESTS.min(requests))?.add("working", &mut add);
    }
    Ok(Measured { values, ..Measured::default() })
}

fn timely<S: System, A: Arbiter>(anytime: Anytime<S, A>) -> Anytime<S, A> {
    anytime.with_margin(MARGIN)
}

/// A System 2 that never answers: its thread waits until nobody holds it any more.
struct Stalled(Mutex<Receiver<()>>);

fn stalled() -> (Stalled, Sender<()>) {
    let (hold, wait) = channel();
    (Stalled(Mutex::new(wait)), hold)
}

impl System for Stalled {
    fn answer(&self, _: &Tensor) -> Result<Tensor> {
        let wait = self.0.lock().map_err(|_| Error::Interrupted)?;
        let _ = wait.recv();
        Err(Error::Interrupted)
    }
}

/// How requests ended.
#[derive(Default)]
struct Tally {
    /// Seconds, sorted.
    took: Vec<f64>,
    /// With System 2's answer; asked of System 2 at all.
    second: usize,
    asked: usize,
    late: usize,
    missed: usize,
}

impl Tally {
    fn quantile(&self, q: f64) -> f64 {
        self.took[((self.took.len() - 1) as f64 * q).ceil() as usize]
    }

    fn add(&self, mode: &str, add: &mut impl FnMut(&str, f64)) {
        let counts =
            [("second", self.second), ("asked", self.asked), ("late", self.late), ("missed", self.missed)];
        for (name, count) in counts {
            add(&format!("{mode}.{name}"), count as f64);
        }
        add(&format!("{mode}.p50"), self.quantile(0.5));
        add(&format!("{mode}.p99"), self.quantile(0.99));
    }
}

/// So many requests, one after the other.
fn tally(
    anytime: &mut Anytime<ByRef<'_, Fast>, impl Arbiter>,
    rows: &[Tensor],
    until: f64,
    requests: usize,
) -> Result<Tally> {
    let (until, mut tally) = (Duration::from_secs_f64(until), Tally::default());
    for row in rows.iter().cycle().take(requests) {
        let start = Instant::now();
        let answer = anytime.answer(row, start + until)?;
        let took = start.elapsed();
        let (late, asked) =
            (took > until, !matches!(answer.why, Why::NotDeferred | Why::Behind | Why::NoTime));
        tally.took.push(took.as_secs_f64());
        tally.second += usize::from(answer.why == Why::InTime);
        tally.asked += usize::from(asked);
        tally.late += usize::from(late);
        tally.missed += usize::from(late && asked);
    }
    tally.took.sort_by(f64::total_cmp);
    Ok(tally)
}
