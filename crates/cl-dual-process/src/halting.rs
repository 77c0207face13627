//! Several passes, as many as a row needs.

use candle_core::Tensor;
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::cascade::take;
use crate::rows::{Rows, argmax, log_softmax};
use crate::system::{System, check_answer, rows_of};

/// What one more pass over some rows gives.
#[derive(Debug, Clone)]
pub struct Pass {
    /// (rows, classes)
    pub logits: Tensor,
    /// What the next pass over these rows begins with, (rows, ..).
    pub state: Option<Tensor>,
    /// For [`Halt::Act`] the probability of each row to halt here.
    pub halt: Option<Vec<f64>>,
}

/// When a row has had enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Halt {
    /// Where its halting probabilities add up to 1 − ε or more; the answer is the mean of the passes' probabilities weighted
    /// by them, the last one by what is left of 1 (Graves 2016).
    Act {
        /// Graves takes 0.01: then a single pass can be enough.
        epsilon: f64,
    },
    /// Where as many passes on end chose the same class; the answer is the last one.
    Agreement {
        /// At least 2.
        passes: usize,
    },
    /// Where the largest of the mean probabilities of all passes reaches this; the answer is that mean. With passes that are members of
    /// an ensemble, it stops where the rest could hardly change the answer.
    Confident {
        /// Between 0 and 1.
        bound: f64,
    },
}

/// A system that looks at a row again until it has had enough. Rows that have are left out of later passes.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_dual_process::{Halt, Halting, Pass};
///
/// // Passes add up evidence, which is strong in the first row and weak in the second.
/// let passes = |x: &Tensor, state: Option<&Tensor>, _pass: usize| {
///     let sum = match state {
///         Some(sum) => (sum + x)?,
///         None => x.clone(),
///     };
///     Ok(Pass { logits: Tensor::cat(&[&sum, &sum.neg()?], 1)?, state: Some(sum), halt: None })
/// };
/// let system = Halting::new(passes, Halt::Confident { bound: 0.9 }, 10)?;
/// let answered = system.run(&Tensor::new(&[[3f32], [-0.5]], &Device::Cpu)?)?;
/// assert_eq!(answered.passes, [1, 5]);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Halting<F> {
    pass: F,
    halt: Halt,
    at_most: usize,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Halted {
    /// Log-probabilities (n, classes), f64 on the CPU.
    pub logits: Tensor,
    /// How many passes each row took.
    pub passes: Vec<usize>,
}

/// What is kept of a row between passes.
#[derive(Clone)]
struct Row {
    /// Weighted sum of probabilities.
    sum: Vec<f64>,
    /// Sum of halting probabilities so far.
    halted: f64,
    /// Class of the last pass, and how often on end.
    last: (usize, usize),
}

impl<F> Halting<F>
where
    F: Fn(&Tensor, Option<&Tensor>, usize) -> Result<Pass>,
{
    /// `pass(x, state, k)` is the pass number k, from 0, over the rows `x` that go on, with the state that the one before left of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no passes, and bounds out of their ranges.
    pub fn new(pass: F, halt: Halt, at_most: usize) -> Result<Self> {
        if at_most == 0 {
            return Err(Error::invalid("passes", "at most 0: a row takes one or more"));
        }
        match halt {
            Halt::Act { epsilon: bound } | Halt::Confident { bound } if !(0.0..=1.0).contains(&bound) => {
                Err(Error::invalid("bound", format!("{bound} is not between 0 and 1")))
            }
            Halt::Agreement { passes: passes @ 0..2 } => {
                Err(Error::invalid("agreement", format!("of {passes} passes: at least 2 can agree")))
            }
            _ => Ok(Self { pass, halt, at_most }),
        }
    }

    /// Answers a batch (n, ..).
    ///
    /// # Errors
    /// Those of the passes; answers of another shape; halting probabilities that are missing or none.
    pub fn run(&self, x: &Tensor) -> Result<Halted> {
        let n = rows_of(x)?;
        let mut rows = vec![Row { sum: Vec::new(), halted: 0.0, last: (0, 0) }; n];
        let mut passes = vec![0; n];
        let mut going: Vec<usize> = (0..n).collect();
        let (mut input, mut state) = (x.clone(), None::<Tensor>);
        let mut classes = None;
        for k in 0..self.at_most {
            let Pass { logits, state: next, halt } = (self.pass)(&input, state.as_ref(), k)?;
            check_answer("pass", &logits, going.len(), classes)?;
            let answers = Rows::logits("logits of a pass", &logits)?;
            classes = Some(answers.width());
            let halt = self.chances(halt, going.len())?;
            let mut on = Vec::new();
            for (at, (answer, p)) in answers.iter().zip(halt).enumerate() {
                passes[going[at]] = k + 1;
                if !self.enough(&mut rows[going[at]], answer, p, k + 1) {
                    on.push(at);
                }
            }
            if on.is_empty() {
                break;
            }
            input = take(&input, &on)?;
            state = next.map(|next| take(&next.detach(), &on)).transpose()?;
            going = on.into_iter().map(|at| going[at]).collect();
        }
        let classes = classes.unwrap_or(1);
        let values = rows.into_iter().flat_map(|row| {
            let all: f64 = row.sum.iter().sum();
            row.sum.into_iter().map(move |p| (p / all).max(f64::MIN_POSITIVE).ln())
        });
        let logits = Tensor::from_vec(values.collect::<Vec<f64>>(), (n, classes), &candle_core::Device::Cpu)?;
        Ok(Halted { logits, passes })
    }

    fn chances(&self, halt: Option<Vec<f64>>, rows: usize) -> Result<Vec<f64>> {
        if !matches!(self.halt, Halt::Act { .. }) {
            return Ok(vec![0.0; rows]);
        }
        let halt = halt.ok_or_else(|| {
            Error::invalid("halting probabilities", "a pass gave none, and Halt::Act needs them")
        })?;
        if halt.len() != rows {
            let expected = format!("one for each of {rows} rows");
            return Err(Error::mismatch("halting probabilities", expected, halt.len().to_string()));
        }
        match halt.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            Some(p) => Err(Error::invalid("halting probability", format!("{p} is not between 0 and 1"))),
            None => Ok(halt),
        }
    }

    /// Takes in a pass, the `k`-th from 1, and says whether it was the last.
    fn enough(&self, row: &mut Row, answer: &[f64], p: f64, k: usize) -> bool {
        let probabilities: Vec<f64> = log_softmax(answer, 1.0).map(f64::exp).collect();
        let add = |sum: &mut Vec<f64>, weight: f64| {
            sum.resize(probabilities.len(), 0.0);
            sum.iter_mut().zip(&probabilities).for_each(|(sum, q)| *sum += weight * q);
        };
        match self.halt {
            Halt::Act { epsilon } => {
                let last = k == self.at_most || row.halted + p >= 1.0 - epsilon;
                add(&mut row.sum, if last { 1.0 - row.halted } else { p });
                row.halted += p;
                last
            }
            Halt::Agreement { passes } => {
                let class = argmax(answer);
                let run = if row.last == (class, row.last.1) { row.last.1 + 1 } else { 1 };
                row.last = (class, run);
                row.sum = probabilities;
                run >= passes
            }
            Halt::Confident { bound } => {
                add(&mut row.sum, 1.0);
                row.sum.iter().fold(0.0_f64, |most, &sum| most.max(sum / k as f64)) >= bound
            }
        }
    }
}

impl<F> System for Halting<F>
where
    F: Fn(&Tensor, Option<&Tensor>, usize) -> Result<Pass>,
{
    fn answer(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.run(x)?.logits)
    }
}
