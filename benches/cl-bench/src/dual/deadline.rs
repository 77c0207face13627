//! Requests of one image with a deadline.
//!
//! A request is late if its answer comes after the deadline. System 1 itself may be (at its 99th percentile, one request in a hundred
//! is), and the operating system may take the processor away: neither is for the two systems to mend. What is left is missed: an
//! answer that was there in time and was not given in time.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use candle_core::Tensor;
use cl_core::Result;
use cl_data::DataSet;
use cl_dual_process::{Always, Anytime, Arbiter, ByRef, Never, System, Why};

use super::nets::{self, Cnn, Fast};
use super::Protocol;
use crate::clock;
use crate::experiment::Measured;

/// Deadlines, in 99th percentiles of System 1.
pub const DEADLINES: [f64; 4] = [1.0, 2.0, 5.0, 20.0];

/// With a System 2 that works: deadlines in medians of both systems together, and requests for each.
pub const PATIENCE: [f64; 3] = [0.5, 1.5, 4.0];
const WORKING: usize = 2000;

/// Requests before anything is measured, and those whose 99th percentile is taken.
const WARM_UP: usize = 500;
const ALONE: usize = 20_000;

pub fn measure(data: &DataSet, protocol: &Protocol, seed: u64) -> Result<Measured> {
    // How long an answer takes does not depend on what was learned.
    let (fast, slow) = nets::untrained(data, seed)?;
    let rows: Vec<Tensor> = (0..data.test.len().min(1000))
        .map(|row| Ok(data.test.x.narrow(0, row, 1)?))
        .collect::<Result<_>>()?;
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut add = |name: &str, value: f64| values.entry(name.to_owned()).or_default().push(value);

    let alone = |until: Duration, requests: usize| {
        requests_of(&fast, stalled(), Never, &rows, until, requests).map(|(tally, _)| tally)
    };
    let ages = Duration::from_secs(3600);
    alone(ages, WARM_UP)?;
    let first = alone(ages, ALONE.min(protocol.requests))?;
    let (median, p99) = (first.quantile(0.5), first.quantile(0.99));
    add("first_alone", median);
    add("first_alone", p99);
    for times in DEADLINES {
        let until = Duration::from_secs_f64(times * p99);
        add("hits_alone", alone(until, protocol.requests)?.hits());
        // Every request would be sent on, and never comes back.
        let (tally, why) = requests_of(&fast, stalled(), Always, &rows, until, protocol.requests)?;
        add("deadline", until.as_secs_f64());
        add("hits", tally.hits());
        add("late", tally.late as f64);
        add("late_first", tally.late_first as f64);
        add("late_preempted", tally.late_preempted as f64);
        add("missed", tally.missed as f64);
        add("p50", tally.quantile(0.5));
        add("p99", tally.quantile(0.99));
        add("from_second", why as f64);
    }

    let took = Instant::now();
    for row in rows.iter().cycle().take(WARM_UP) {
        slow.answer(row)?;
    }
    let both = median + took.elapsed().as_secs_f64() / WARM_UP as f64;
    add("both", both);
    for times in PATIENCE {
        let until = Duration::from_secs_f64(times * both);
        let (_, slow) = nets::untrained(data, seed)?;
        let (tally, why) =
            requests_of(&fast, slow, Always, &rows, until, WORKING.min(protocol.requests))?;
        add("working_hits", tally.hits());
        add("working_second", why as f64 / tally.took.len() as f64);
    }
    Ok(Measured { values, ..Measured::default() })
}

/// A System 2 that never answers: its thread waits until nobody waits for it any more.
struct Stalled(Mutex<Receiver<()>>);

/// What holds it: dropped, System 2 fails, and its thread ends.
struct Hold(#[expect(dead_code, reason = "it is there to be dropped")] std::sync::mpsc::Sender<()>);

fn stalled() -> (Stalled, Hold) {
    let (hold, wait) = channel();
    (Stalled(Mutex::new(wait)), Hold(hold))
}

impl System for Stalled {
    fn answer(&self, _: &Tensor) -> Result<Tensor> {
        let wait = self.0.lock().map_err(|_| cl_core::Error::Interrupted)?;
        let _ = wait.recv();
        Err(cl_core::Error::Interrupted)
    }
}

/// A System 2, and what has to be held while it is used.
trait Second {
    type System: System + Send + 'static;
    type Hold;
    fn parts(self) -> (Self::System, Self::Hold);
}

impl Second for (Stalled, Hold) {
    type System = Stalled;
    type Hold = Hold;
    fn parts(self) -> (Stalled, Hold) {
        self
    }
}

impl Second for Cnn {
    type System = Self;
    type Hold = ();
    fn parts(self) -> (Self, ()) {
        (self, ())
    }
}

/// System 1, which says when its answer was there.
struct Clocked<'a> {
    system: &'a Fast,
    done: &'a Cell<Instant>,
}

impl System for Clocked<'_> {
    fn answer(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.answer_with_features(x)?.0)
    }

    fn answer_with_features(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let answer = self.system.answer_with_features(x);
        self.done.set(Instant::now());
        answer
    }
}

/// How requests ended.
#[derive(Default)]
struct Tally {
    /// Seconds, sorted.
    took: Vec<f64>,
    late: usize,
    late_first: usize,
    late_preempted: usize,
    missed: usize,
}

impl Tally {
    fn quantile(&self, q: f64) -> f64 {
        self.took[((self.took.len() - 1) as f64 * q).ceil() as usize]
    }

    fn hits(&self) -> f64 {
        1.0 - self.late as f64 / self.took.len() as f64
    }
}

/// So many requests, one after the other, and how many of the answers are System 2's.
fn requests_of<S: Second>(
    fast: &Fast,
    slow: S,
    arbiter: impl Arbiter,
    rows: &[Tensor],
    until: Duration,
    requests: usize,
) -> Result<(Tally, usize)> {
    let (slow, _hold) = slow.parts();
    let done = Cell::new(Instant::now());
    let clocked = Clocked { system: fast, done: &done };
    let mut anytime = Anytime::new(ByRef(&clocked), slow, arbiter)?;
    let (mut tally, mut second) = (Tally::default(), 0);
    for row in rows.iter().cycle().take(requests) {
        let (switches, start) = (clock::involuntary_switches(), Instant::now());
        let answer = anytime.answer(row, start + until)?;
        let took = start.elapsed();
        second += usize::from(answer.why == Why::InTime);
        tally.took.push(took.as_secs_f64());
        if took > until {
            tally.late += 1;
            if done.get() - start > until {
                tally.late_first += 1;
            } else if clock::involuntary_switches() > switches {
                tally.late_preempted += 1;
            } else {
                tally.missed += 1;
            }
        }
    }
    tally.took.sort_by(f64::total_cmp);
    Ok((tally, second))
}
