//! What a method is.

use candle_core::Tensor;
use cl_core::Error;
#[doc(hidden)] // for the macro `saved`
pub use cl_core::{
    Result,
    snapshot::{Kind, from_bytes, to_bytes},
};
use cl_data::{Samples, Stream, Task};

use crate::{Batch, Learner, Vitals};

/// A continual-learning method: what it does with a batch, and around a task. It owns its memory; network,
/// optimizer and scenario are the learner's.
pub trait Method {
    /// The tasks as this method is given them. Only the upper bound that trains on everything at once has
    /// reason to change this.
    fn curriculum(&self, stream: &Stream) -> Result<Vec<Task>> {
        Ok(stream.tasks.clone())
    }

    /// What the batches of a task are drawn from: its training samples, unless memories are mixed in. A run that goes on
    /// in the middle of a task asks for it again, and must be given the same.
    fn data(&self, task: &Task) -> Result<Samples> {
        task.train.all()
    }

    /// Before the first batch of a task.
    fn begin_task(&mut self, _learner: &mut Learner, _task: &Task) -> Result<()> {
        Ok(())
    }

    /// One step.
    fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()>;

    /// The output units (n, units) for inputs (n, features) of a task that is evaluated: the learner's network, unless a
    /// method answers by other means.
    fn predict(&self, learner: &Learner, _task: &Task, x: &Tensor) -> Result<Tensor> {
        learner.net.predict(x)
    }

    /// After the last batch of a task.
    fn end_task(&mut self, _learner: &mut Learner, _task: &Task) -> Result<()> {
        Ok(())
    }

    /// Whether it can learn on a GPU: what it keeps must be there, with the network, or be moved when it is needed.
    fn can_leave_the_cpu(&self) -> bool {
        false
    }

    /// Whether its steps can compute in f16 and bf16: they must go through the learner's [`forward`](Learner::forward),
    /// [`loss`](Learner::loss) or [`gradients_of`](Learner::gradients_of), and [`apply`](Learner::apply).
    fn can_train_in_half(&self) -> bool {
        false
    }

    /// Bytes of weights that each of the tasks so far has to itself, where the method keeps tasks apart; `None` where it
    /// does not. What all tasks share is not counted.
    ///
    /// # Errors
    /// Those of the method's parts.
    fn memory_per_task(&self) -> Result<Option<Vec<usize>>> {
        Ok(None)
    }

    /// What the method tells of itself to an [`Observer`](crate::Observer), before a step: what it has, nothing by default.
    /// Nothing may be drawn for it.
    ///
    /// # Errors
    /// Those of the method's parts.
    fn vitals(&self, _learner: &Learner) -> Result<Vitals> {
        Ok(Vitals::default())
    }

    /// All that the method has become, for a run that goes on later: [`saved!`](crate::saved) writes this function and the
    /// next for a method that is serde.
    ///
    /// # Errors
    /// The method cannot be saved.
    fn save(&self) -> Result<Vec<u8>> {
        Err(cannot())
    }

    /// Becomes what [`save`](Self::save) found, bit for bit.
    ///
    /// # Errors
    /// Bytes that are not such a state; the method is as before then.
    fn restore(&mut self, _state: &[u8]) -> Result<()> {
        Err(cannot())
    }
}

fn cannot() -> Error {
    let why = "it cannot be saved: derive serde's traits for it and put `cl_methods::saved!(\"NAME\", 1);` into its `impl Method`";
    Error::invalid("method", why)
}

/// Inside of `impl Method`: `save` and `restore` of a method that derives serde's `Serialize` and `Deserialize`. The name
/// is one that no other type uses; the version goes up when the fields change.
///
/// ```
/// # use cl_core::Result;
/// # use cl_methods::{Batch, Learner, Method};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Slow {
///     steps: u64,
/// }
///
/// impl Method for Slow {
///     cl_methods::saved!("my-crate/slow", 1);
///
///     fn observe(&mut self, learner: &mut Learner, batch: &Batch) -> Result<()> {
///         self.steps += 1;
///         learner.step(&(learner.loss(batch)? * 0.5)?)
///     }
/// }
///
/// let mut slow = Slow { steps: 7 };
/// let state = slow.save()?;
/// slow.steps = 0;
/// slow.restore(&state)?;
/// assert_eq!(slow.steps, 7);
/// # Ok::<(), cl_core::Error>(())
/// ```
#[macro_export]
macro_rules! saved {
    ($name:literal, $version:literal) => {
        fn save(&self) -> $crate::method::Result<Vec<u8>> {
            const KIND: $crate::method::Kind = $crate::method::Kind::new($name, $version);
            $crate::method::to_bytes(KIND, self)
        }

        fn restore(&mut self, state: &[u8]) -> $crate::method::Result<()> {
            const KIND: $crate::method::Kind = $crate::method::Kind::new($name, $version);
            *self = $crate::method::from_bytes(state, KIND)?;
            Ok(())
        }
    };
}
