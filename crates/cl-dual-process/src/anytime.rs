//! Answers by a deadline: System 1's at once, System 2's where it comes in time.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use candle_core::Tensor;
use cl_core::{Error, Result};

use crate::arbiter::Arbiter;
use crate::cascade::{deferred_rows, merge, take};
use crate::integrate::Integrate;
use crate::system::{First, System};

/// A [`Cascade`](crate::Cascade) whose System 2 runs on a thread of its own, and whose answers do not wait for it beyond a deadline.
///
/// One request is with System 2 at a time. Where it is not back by the deadline it is given up, and until System 2 comes back nothing
/// else is sent to it: requests in the meantime are answered by System 1 without any waiting. A System 2 that stalls for ever so
/// costs one wait, and one that panics or fails none. What comes back late is dropped and counted.
///
/// The deadline is System 1's too, but nothing here can make it faster: what it takes is the least that a request takes.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use candle_core::{Device, Tensor};
/// use cl_dual_process::{Always, Anytime, Why, from_fn};
///
/// let fast = from_fn(|x: &Tensor| Ok(Tensor::cat(&[x, &x.neg()?], 1)?));
/// let slow = from_fn(|x: &Tensor| {
///     std::thread::sleep(Duration::from_millis(20));
///     Ok(Tensor::cat(&[&x.neg()?, x], 1)?)
/// });
/// let mut anytime = Anytime::new(fast, slow, Always)?;
/// let x = Tensor::new(&[[1f32]], &Device::Cpu)?;
/// let patient = anytime.answer(&x, Instant::now() + Duration::from_secs(60))?;
/// assert_eq!((patient.why, patient.logits.argmax(1)?.to_vec1::<u32>()?), (Why::InTime, vec![1]));
/// let hurried = anytime.answer(&x, Instant::now())?;
/// assert_eq!((hurried.why, hurried.logits.argmax(1)?.to_vec1::<u32>()?), (Why::NoTime, vec![0]));
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Anytime<S1, A> {
    fast: S1,
    arbiter: A,
    integrate: Integrate,
    margin: Duration,
    requests: Option<SyncSender<Tensor>>,
    answers: Receiver<Outcome>,
    /// Since when a request that was given up is with System 2.
    behind: Option<Instant>,
    counts: Counts,
}

/// What System 2 made of a request: an answer, an error, or the message of a panic.
type Outcome = std::result::Result<Result<Tensor>, String>;

/// Why an answer is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The arbiter deferred nothing.
    NotDeferred,
    /// System 2's answer is in it.
    InTime,
    /// There was no time to ask System 2: less was left than the margin.
    NoTime,
    /// System 2 was asked, and was not back in time.
    Late,
    /// System 2 still has a request that was given up, and was not asked.
    Behind,
    /// System 2 failed, with this error or panic, or gave what is no answer. It is asked again next time.
    Failed(String),
    /// The thread of System 2 is gone.
    Gone,
}

/// The best answer that was there in time.
#[derive(Debug, Clone)]
pub struct Timed {
    /// (n, classes)
    pub logits: Tensor,
    /// What the arbiter deferred, whether or not System 2 answered it.
    pub deferred: Vec<usize>,
    /// Whose answer that is, and why.
    pub why: Why,
}

/// How requests ended so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests of which nothing was deferred.
    pub not_deferred: u64,
    /// With System 2's answer.
    pub in_time: u64,
    /// There was no time to ask it.
    pub no_time: u64,
    /// System 2 was asked in vain.
    pub late: u64,
    /// It was not asked, since it was behind, or its thread was gone.
    pub behind: u64,
    /// It failed or panicked.
    pub failed: u64,
    /// Answers that came after they had been given up.
    pub dropped: u64,
}

impl<S1: System, A: Arbiter> Anytime<S1, A> {
    /// Starts System 2's thread. It ends with the request that it is at when this is dropped, which waits for nothing.
    ///
    /// # Errors
    /// An operating system that gives no thread.
    pub fn new(fast: S1, slow: impl System + Send + 'static, arbiter: A) -> Result<Self> {
        let (requests, inbox) = sync_channel::<Tensor>(1);
        let (outbox, answers) = sync_channel::<Outcome>(1);
        let work = move || {
            for x in inbox {
                // A system that panicked is asked again: what it left half done is its own.
                let outcome = catch_unwind(AssertUnwindSafe(|| handed_over(slow.answer(&x)?)));
                if outbox.send(outcome.map_err(|panic| message(&*panic))).is_err() {
                    return;
                }
            }
        };
        let spawned = thread::Builder::new().name("system-2".into()).spawn(work);
        spawned
            .map_err(|e| Error::Unavailable { what: "a thread for System 2".into(), why: e.to_string() })?;
        let margin = Duration::from_millis(1);
        Ok(Self {
            fast,
            arbiter,
            integrate: Integrate::Replace,
            margin,
            requests: Some(requests),
            answers,
            behind: None,
            counts: Counts::default(),
        })
    }

    /// With another integration of the two answers.
    #[must_use]
    pub fn integrating(self, integrate: Integrate) -> Self {
        Self { integrate, ..self }
    }

    /// Waits end so long before the deadline (1 ms if nothing is said), and where less is left, System 2 is not asked: an operating
    /// system wakes a thread late, the later the busier the machine, and the answers have to be put together.
    #[must_use]
    pub fn with_margin(self, margin: Duration) -> Self {
        Self { margin, ..self }
    }

    /// How requests ended so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// For how long System 2 has been with a request that was given up: whether it has stalled is for the caller to say.
    pub fn behind(&mut self) -> Option<Duration> {
        // An answer that was given up may have come by now.
        if self.behind.is_some() && self.answers.try_recv().is_ok() {
            self.behind = None;
            self.counts.dropped += 1;
        }
        self.behind.map(|since| since.elapsed())
    }

    /// Answers a batch (n, ..) by the deadline, as far as System 1 does.
    ///
    /// # Errors
    /// Those of System 1 and the arbiter. A System 2 that fails is none, nor is one whose answer has another shape or is not finite.
    pub fn answer(&mut self, x: &Tensor, deadline: Instant) -> Result<Timed> {
        let first = First::of(&self.fast, x)?;
        let deferred = deferred_rows(&mut self.arbiter, &first)?;
        let (second, mut why) = if deferred.is_empty() {
            (None, Why::NotDeferred)
        } else if self.behind().is_some() {
            (None, Why::Behind)
        } else if self.left(deadline).is_zero() {
            // To ask takes longer than System 1 may: another thread has to be woken.
            (None, Why::NoTime)
        } else {
            self.ask(&take(x, &deferred)?, deadline)
        };
        let merged = second.map(|second| merge(&first, &deferred, &second, self.integrate)).transpose();
        let logits = match merged {
            Ok(merged) => merged.unwrap_or(first.logits),
            Err(error) => {
                why = Why::Failed(error.to_string());
                first.logits
            }
        };
        let count = match why {
            Why::NotDeferred => &mut self.counts.not_deferred,
            Why::InTime => &mut self.counts.in_time,
            Why::NoTime => &mut self.counts.no_time,
            Why::Late => &mut self.counts.late,
            Why::Behind | Why::Gone => &mut self.counts.behind,
            Why::Failed(_) => &mut self.counts.failed,
        };
        *count += 1;
        Ok(Timed { logits, deferred, why })
    }

    /// For how long System 2 can be waited for.
    fn left(&self, deadline: Instant) -> Duration {
        deadline.saturating_duration_since(Instant::now()).saturating_sub(self.margin)
    }

    fn ask(&mut self, x: &Tensor, deadline: Instant) -> (Option<Tensor>, Why) {
        let x = match handed_over(x.clone()) {
            Ok(x) => x,
            Err(error) => return (None, Why::Failed(error.to_string())),
        };
        // The channel has room: what was asked before has come back.
        if self.requests.as_ref().is_none_or(|requests| requests.try_send(x).is_err()) {
            return (None, Why::Gone);
        }
        match self.answers.recv_timeout(self.left(deadline)) {
            Ok(Ok(Ok(second))) => (Some(second), Why::InTime),
            Ok(Ok(Err(error))) => (None, Why::Failed(error.to_string())),
            Ok(Err(panic)) => (None, Why::Failed(format!("System 2 panicked: {panic}"))),
            Err(RecvTimeoutError::Timeout) => {
                self.behind = Some(Instant::now());
                (None, Why::Late)
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.requests = None;
                (None, Why::Gone)
            }
        }
    }
}

/// What another thread may use. Each thread has an order of its own on a GPU, so that what is on its way there has to be waited for.
fn handed_over(x: Tensor) -> Result<Tensor> {
    x.device().synchronize()?;
    Ok(x)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".into())
}
