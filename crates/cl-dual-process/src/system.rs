//! What answers.

use candle_core::{Module, Tensor};
use cl_core::{Error, Result};

/// Something that answers a batch: a network, an ensemble of them, a search, a memory.
///
/// Every [`Module`] of candle is one, and with it every closure `Fn(&Tensor) -> candle_core::Result<Tensor>`; one that returns
/// [`cl_core::Result`] becomes one by [`from_fn`].
pub trait System {
    /// The logits (n, classes) of a batch (n, ..). Log-probabilities are logits too.
    ///
    /// # Errors
    /// The system's own.
    fn answer(&self, x: &Tensor) -> Result<Tensor>;

    /// The same, with what an arbiter may look at beside it, (n, features): hidden units, for a start.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    fn answer_with_features(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        Ok((self.answer(x)?, None))
    }
}

impl<M: Module> System for M {
    fn answer(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.forward(x)?)
    }
}

impl System for Box<dyn System + '_> {
    fn answer(&self, x: &Tensor) -> Result<Tensor> {
        (**self).answer(x)
    }

    fn answer_with_features(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        (**self).answer_with_features(x)
    }
}

impl System for Box<dyn System + Send + '_> {
    fn answer(&self, x: &Tensor) -> Result<Tensor> {
        (**self).answer(x)
    }

    fn answer_with_features(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        (**self).answer_with_features(x)
    }
}

/// A closure with the workspace's errors as a [`System`]; see [`from_fn`].
#[derive(Debug, Clone)]
pub struct FromFn<F>(F);

/// What the closure answers.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_dual_process::{System, from_fn};
///
/// let signs = from_fn(|x: &Tensor| Ok(Tensor::cat(&[x, &x.neg()?], 1)?));
/// let logits = signs.answer(&Tensor::new(&[[2f32], [-3.]], &Device::Cpu)?)?;
/// assert_eq!(logits.argmax(1)?.to_vec1::<u32>()?, [0, 1]);
/// # Ok::<(), cl_core::Error>(())
/// ```
pub fn from_fn<F: Fn(&Tensor) -> Result<Tensor>>(f: F) -> FromFn<F> {
    FromFn(f)
}

impl<F: Fn(&Tensor) -> Result<Tensor>> System for FromFn<F> {
    fn answer(&self, x: &Tensor) -> Result<Tensor> {
        (self.0)(x)
    }
}

/// A system that is only lent, features and all.
#[derive(Debug)]
pub struct ByRef<'a, S: ?Sized>(pub &'a S);

impl<S: System + ?Sized> System for ByRef<'_, S> {
    fn answer(&self, x: &Tensor) -> Result<Tensor> {
        self.0.answer(x)
    }

    fn answer_with_features(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        self.0.answer_with_features(x)
    }
}

/// A network in two pieces, whose hidden units between them an arbiter sees.
#[derive(Debug, Clone)]
pub struct BodyAndHead<B, H> {
    /// Inputs to features (n, features).
    pub body: B,
    /// Features to logits (n, classes).
    pub head: H,
}

impl<B: System, H: System> System for BodyAndHead<B, H> {
    fn answer(&self, x: &Tensor) -> Result<Tensor> {
        self.head.answer(&self.body.answer(x)?)
    }

    fn answer_with_features(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let features = self.body.answer(x)?;
        Ok((self.head.answer(&features)?, Some(features)))
    }
}

/// What System 1 made of a batch: all that an arbiter decides by.
#[derive(Debug, Clone)]
pub struct First {
    /// The batch (n, ..).
    pub x: Tensor,
    /// The answers (n, classes).
    pub logits: Tensor,
    /// What it shows of itself (n, features).
    pub features: Option<Tensor>,
}

impl First {
    /// Asks System 1. Nothing of it stays in a graph.
    ///
    /// # Errors
    /// Its own; an empty batch, an answer with another number of rows.
    pub fn of(system: &(impl System + ?Sized), x: &Tensor) -> Result<Self> {
        let n = rows_of(x)?;
        let (logits, features) = system.answer_with_features(x)?;
        check_answer("System 1", &logits, n, None)?;
        let features = features.map(|features| features.detach());
        if features.as_ref().is_some_and(|features| features.dims().first() != Some(&n)) {
            return Err(Error::mismatch(
                "features of System 1",
                format!("{n} rows"),
                format!("{:?}", features.as_ref().map(|features| features.dims().to_vec())),
            ));
        }
        Ok(Self { x: x.clone(), logits: logits.detach(), features })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.logits.dims().first().copied().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The rows of a batch, of which there is at least one.
pub(crate) fn rows_of(x: &Tensor) -> Result<usize> {
    match x.dims().first() {
        Some(0) | None => Err(Error::invalid("x", format!("{:?} is no batch: it has no rows", x.dims()))),
        Some(&n) => Ok(n),
    }
}

/// An error unless an answer has a row for each of `n`, and as many classes as it should.
pub(crate) fn check_answer(
    who: &'static str,
    logits: &Tensor,
    n: usize,
    classes: Option<usize>,
) -> Result<()> {
    let fits = match *logits.dims() {
        [rows, width] => rows == n && classes.is_none_or(|classes| classes == width),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let expected = match classes {
        Some(classes) => format!("an answer ({n}, {classes}), as System 1 gives it"),
        None => format!("an answer ({n}, classes)"),
    };
    Err(Error::mismatch(who, expected, format!("{:?}", logits.dims())))
}
