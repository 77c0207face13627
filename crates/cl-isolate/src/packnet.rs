//! PackNet: Mallya & Lazebnik 2018, "PackNet: Adding Multiple Tasks to a Single Network by Iterative
//! Pruning".

use std::collections::HashSet;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use cl_core::snapshot::Kind;
use cl_core::{Error, Param, Params, Result};
use serde::{Deserialize, Serialize};

use crate::owners::{Id, Owners, width};

/// The largest number of tasks, limited by the packed owners.
const MOST_TASKS: usize = Id::MAX as usize;

/// Packs several tasks into one network: each trains the weights that are free, keeps the largest of them and
/// leaves the others, at zero, to the tasks to come.
///
/// For every task, in this order:
///
/// 1. [`begin`](Self::begin): the task gets all free weights.
/// 2. Train. After each backward pass [`mask_gradients`](Self::mask_gradients), after each step
///    [`hold`](Self::hold).
/// 3. [`prune`](Self::prune): of the task's weights the smallest, per layer, become zero and are released.
/// 4. Train on, in the same way, a shorter time: what is kept makes up for what is gone.
/// 5. [`finish`](Self::finish): what is kept belongs to the task for good.
///
/// To evaluate task k, [`as_task`](Self::as_task) takes the weights of later tasks for zero: the network
/// then computes what it did when task k was finished, to the last bit.
///
/// **What is packed.** Of the parameters that are trainable (not frozen) when [`new`](Self::new) is called:
/// those of rank 2 and more are packed, each a layer of its own; those of rank 0 and 1, biases and scales,
/// are *shared*: trained with the first task, then held for good, as published. The others, frozen ones and
/// those under an excluded prefix, are left alone: output heads that belong to a task, for instance. Freeze
/// the head of a finished task, or leave it out of the loss, so that no optimizer moves it.
///
/// **What is kept in memory.** The owner of each packed weight in ⌈log₂(T + 1)⌉ bits, where T tasks have
/// begun: never more than a bit a task. While a task is being learned, also one copy of all managed
/// parameters and a byte for each element. [`memory`](Self::memory) counts.
///
/// Free weights start a later task at zero, as in the authors' code; to start them elsewhere, write into the
/// parameters after `begin` and call `hold`.
///
/// Saved and restored with serde at any point, it goes on bit for bit. The values of the weights are not in
/// it: save the parameters beside it, such as with [`Params::save`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct PackNet {
    layers: Vec<Layer>,
    /// How many are finished.
    tasks: usize,
    current: Option<Current>,
}

/// A parameter that is managed.
#[derive(Debug, Clone)]
struct Layer {
    name: String,
    dims: Vec<usize>,
    dtype: DType,
    /// Of its weights; `None` where it is shared.
    owners: Option<Owners>,
}

/// The task that is being learned.
#[derive(Debug, Clone)]
struct Current {
    pruned: bool,
    /// For each layer, the values of the weights that do not train: those of earlier tasks, and zero where
    /// released. The others are not read.
    held: Vec<Tensor>,
    /// For each layer, 1 (u8) where a weight trains.
    trains: Vec<Tensor>,
}

/// What PackNet's masks and packed weights need; see [`PackNet::memory`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackNetMemory {
    /// Of each task in turn, the one that is being learned last.
    pub tasks: Vec<PackNetTask>,
    /// Packed weights that nobody owns.
    pub free: usize,
    /// Bits that name the owner of a weight.
    pub mask_bits: u32,
    /// Bytes of all owners together, for all tasks.
    pub mask_bytes: usize,
    /// Bytes of the copy and of the masks that are there only while a task is being learned.
    pub working_bytes: usize,
}

/// What one task has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackNetTask {
    /// Packed weights that it owns.
    pub weights: usize,
    /// Elements of the shared parameters: all of them with the first task, 0 with the others.
    pub shared: usize,
    /// Bytes of the values of both, as part of the network.
    pub bytes: usize,
}

impl PackNet {
    /// For [`snapshot`](cl_core::snapshot).
    pub const KIND: Kind = Kind::new("cl-isolate/packnet", 1);

    /// For a network that has learned nothing yet. Parameters whose name is one of `exclude`, or begins
    /// with one of them and a dot, are left alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a prefix that matches nothing, and where there is nothing to pack.
    pub fn new(params: &Params, exclude: &[&str]) -> Result<Self> {
        let under = |name: &str, prefix: &str| {
            name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some(prefix) = exclude.iter().find(|prefix| !params.names().any(|name| under(name, prefix))) {
            let names = params.names().collect::<Vec<_>>().join(", ");
            let why = format!("nothing is named {prefix:?}; there are {names}");
            return Err(Error::invalid("excluded prefix", why));
        }
        let managed = params.trainable().filter(|p| !exclude.iter().any(|prefix| under(&p.name, prefix)));
        let layers = managed.map(|p| Layer {
            name: p.name.clone(),
            dims: p.var.dims().to_vec(),
            dtype: p.var.dtype(),
            owners: (p.var.rank() >= 2).then(|| Owners::pack(&vec![0; p.var.elem_count()], 0)),
        });
        let new = Self { layers: layers.collect(), tasks: 0, current: None };
        if new.weights() == 0 {
            let why = "none of the trainable parameters that are not excluded has two dimensions or more";
            return Err(Error::invalid("packed parameters", why));
        }
        Ok(new)
    }

    /// How many tasks are finished.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Begins the next task, whose number it gives: all free weights are its own until it is pruned.
    ///
    /// # Errors
    /// [`Error::Invalid`] where no weight is free, with what to do about it, and where the last task is not
    /// finished; [`Error::Mismatch`] on parameters of another network.
    pub fn begin(&mut self, params: &Params) -> Result<usize> {
        let vars = self.vars(params)?;
        if self.current.is_some() {
            return Err(Error::invalid("task", format!("task {} is not finished: call finish", self.tasks)));
        }
        if self.tasks == MOST_TASKS {
            return Err(Error::invalid("task", format!("there are {MOST_TASKS}, more cannot be numbered")));
        }
        let mut layers = self.layers.clone();
        let mut free = 0;
        let id = self.id();
        for owners in layers.iter_mut().filter_map(|layer| layer.owners.as_mut()) {
            let mut ids = owners.ids();
            for owner in ids.iter_mut().filter(|owner| **owner == 0) {
                *owner = id;
                free += 1;
            }
            *owners = Owners::pack(&ids, id);
        }
        if free == 0 {
            let why = format!(
                "all {} packed weights belong to the {} tasks learned before; prune those harder, or take a \
                 larger network",
                self.weights(),
                self.tasks
            );
            return Err(Error::invalid("free weights", why));
        }
        let held = vars.iter().map(|var| Ok(var.as_detached_tensor().copy()?)).collect::<Result<_>>()?;
        let trains = trains(&layers, vars.iter().map(|var| var.device()), id)?;
        self.current = Some(Current { pruned: false, held, trains });
        self.layers = layers;
        Ok(self.tasks)
    }

    /// Sets the gradients of all weights that do not train to exactly 0: those of earlier tasks, those
    /// released, and from the second task on those of shared parameters. A gradient that is not in the
    /// store stays out of it.
    ///
    /// With plain SGD that keeps them as they are. Momentum, Adam's moments and weight decay move a weight
    /// without a gradient: for those there is [`hold`](Self::hold).
    ///
    /// # Errors
    /// [`Error::Invalid`] where no task has begun; [`Error::Mismatch`] on parameters of another network.
    /// `grads` is then unchanged.
    pub fn mask_gradients(&self, grads: &mut GradStore, params: &Params) -> Result<()> {
        let current = self.current()?;
        let mut masked = Vec::new();
        for (var, trains) in self.vars(params)?.into_iter().zip(&current.trains) {
            if let Some(gradient) = grads.get(var) {
                let gradient = gradient.detach();
                let trains = trains.to_device(gradient.device())?;
                masked.push((var, trains.where_cond(&gradient, &gradient.zeros_like()?)?));
            }
        }
        for (var, gradient) in masked {
            grads.insert(var, gradient);
        }
        Ok(())
    }

    /// Gives all weights that do not train the values back that they must have, to the last bit: after
    /// every step of an optimizer that moves weights without a gradient.
    ///
    /// # Errors
    /// [`Error::Invalid`] where no task has begun; [`Error::Mismatch`] on parameters of another network.
    pub fn hold(&self, params: &Params) -> Result<()> {
        self.current()?;
        write(self.vars(params)?.into_iter().zip(self.held(params)?))
    }

    /// Releases the smallest weights of the task that is being learned: in each layer round(`ratio`·n) of its
    /// n weights there (halves to even), in the order of |w|, of equals the earlier in row-major order. They
    /// become zero and stay it. Gives the number of weights released. The paper (section 3) has ratios
    /// of 0.5 and 0.75. (The authors' code releases all weights that equal the largest one released; here
    /// the number is exact.)
    ///
    /// # Errors
    /// [`Error::Invalid`] on a ratio outside [0, 1), on a weight that is not finite, where no task has begun
    /// and where it is pruned already; [`Error::Mismatch`] on parameters of another network. Nothing is
    /// changed then.
    pub fn prune(&mut self, params: &Params, ratio: f64) -> Result<usize> {
        if !(0.0..1.0).contains(&ratio) {
            return Err(Error::invalid("ratio of pruned weights", format!("{ratio} is not in [0, 1)")));
        }
        if self.current()?.pruned {
            return Err(Error::invalid("prune", "this task is pruned already: train on, then call finish"));
        }
        let id = self.id();
        let values = self.held(params)?;
        let (mut layers, mut pruned) = (self.layers.clone(), Vec::new());
        let mut released = 0;
        for (layer, value) in layers.iter_mut().zip(&values) {
            let Some(owners) = &mut layer.owners else {
                pruned.push(value.clone());
                continue;
            };
            let weights: Vec<f64> = value.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
            let mut ids = owners.ids();
            let mut own: Vec<usize> = (0..ids.len()).filter(|&i| ids[i] == id).collect();
            if own.iter().any(|&i| !weights[i].is_finite()) {
                let why = format!("{} has weights that are not finite: lower the learning rate", layer.name);
                return Err(Error::invalid("prune", why));
            }
            // A stable sort: equals stay in their order.
            own.sort_by(|&i, &j| weights[i].abs().total_cmp(&weights[j].abs()));
            own.truncate((ratio * own.len() as f64).round_ties_even() as usize);
            released += own.len();
            own.iter().for_each(|&i| ids[i] = 0);
            *owners = Owners::pack(&ids, id);
            pruned.push(layer.keep(value, |owner| owner != 0)?);
        }
        let trains = trains(&layers, pruned.iter().map(Tensor::device), id)?;
        write(self.vars(params)?.into_iter().zip(pruned.iter().cloned()))?;
        self.layers = layers;
        self.current = Some(Current { pruned: true, held: pruned, trains });
        Ok(released)
    }

    /// Ends the task: what it kept is its own for good. Without [`prune`](Self::prune) before it, that
    /// is everything: for a last task.
    ///
    /// # Errors
    /// [`Error::Invalid`] where no task has begun; [`Error::Mismatch`] on parameters of another network.
    pub fn finish(&mut self, params: &Params) -> Result<()> {
        self.hold(params)?;
        self.current = None;
        self.tasks += 1;
        Ok(())
    }

    /// The network of `task`, finished or being learned: one tensor for each of `params`, in order, with zero
    /// for the weights that later tasks own and those that nobody does. Parameters that are not managed
    /// are as they are. All are copies.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a task that has not begun; [`Error::Mismatch`] on parameters of another network.
    pub fn values(&self, params: &Params, task: usize) -> Result<Vec<Tensor>> {
        let begun = self.tasks + usize::from(self.current.is_some());
        if task >= begun {
            return Err(Error::invalid("task", format!("there is no task {task}: {begun} have begun")));
        }
        let held = self.held(params)?;
        let of_task = |owner| (1..=task as Id + 1).contains(&owner);
        let value = |param: &Param| match self.layers.iter().position(|layer| layer.name == param.name) {
            Some(i) => self.layers[i].keep(&held[i], of_task),
            None => Ok(param.var.as_detached_tensor().copy()?),
        };
        params.iter().map(value).collect()
    }

    /// Runs `f` with the parameters of `task`, as [`values`](Self::values) gives them, and puts all
    /// parameters back afterwards: also where `f` fails, or panics. What `f` writes into them is undone.
    /// Nobody else may use the network meanwhile: its variables are the ones that change.
    ///
    /// # Errors
    /// As [`values`](Self::values), and those of `f`.
    pub fn as_task<R>(&self, params: &Params, task: usize, f: impl FnOnce() -> Result<R>) -> Result<R> {
        let values = self.values(params, task)?;
        let saved = params.iter().map(|p| Ok(p.var.as_detached_tensor().copy()?)).collect::<Result<_>>()?;
        let mut before = Before { params, saved };
        write(params.iter().map(|p| &p.var).zip(values))?;
        let result = f();
        before.restore()?;
        result
    }

    /// What each task has, what is free, and what the masks cost.
    pub fn memory(&self) -> PackNetMemory {
        let begun = self.tasks + usize::from(self.current.is_some());
        let mut memory = PackNetMemory {
            tasks: vec![PackNetTask { weights: 0, shared: 0, bytes: 0 }; begun],
            free: 0,
            mask_bits: width(begun as Id),
            mask_bytes: 0,
            working_bytes: 0,
        };
        for layer in &self.layers {
            let size = layer.dtype.size_in_bytes();
            if self.current.is_some() {
                memory.working_bytes += layer.len() * (size + 1);
            }
            let Some(owners) = &layer.owners else {
                if let Some(first) = memory.tasks.first_mut() {
                    first.shared += layer.len();
                    first.bytes += layer.len() * size;
                }
                continue;
            };
            memory.mask_bytes += size_of_val(owners.words());
            for id in owners.ids() {
                match usize::from(id).checked_sub(1) {
                    Some(task) => {
                        memory.tasks[task].weights += 1;
                        memory.tasks[task].bytes += size;
                    }
                    None => memory.free += 1,
                }
            }
        }
        memory
    }

    /// The owner's number of the task that is being learned, or would be next.
    fn id(&self) -> Id {
        self.tasks as Id + 1
    }

    /// How many weights are packed.
    fn weights(&self) -> usize {
        self.layers.iter().filter(|layer| layer.owners.is_some()).map(Layer::len).sum()
    }

    fn current(&self) -> Result<&Current> {
        self.current.as_ref().ok_or_else(|| Error::invalid("task", "none is being learned: call begin"))
    }

    /// The variables of the layers, in order.
    fn vars<'a>(&self, params: &'a Params) -> Result<Vec<&'a Var>> {
        let var = |layer: &Layer| {
            let text = |dtype: DType, dims: &[usize]| format!("{dtype:?} {dims:?}");
            let expected = || format!("{}, {}", layer.name, text(layer.dtype, &layer.dims));
            let Some(param) = params.get(&layer.name) else {
                return Err(Error::mismatch("PackNet", expected(), "no such parameter"));
            };
            if (param.var.dtype(), param.var.dims()) != (layer.dtype, &layer.dims) {
                let got = text(param.var.dtype(), param.var.dims());
                return Err(Error::mismatch("PackNet", expected(), got));
            }
            Ok(&param.var)
        };
        self.layers.iter().map(var).collect()
    }

    /// The values of the layers as they should be: what trains as it is, the rest as it was.
    fn held(&self, params: &Params) -> Result<Vec<Tensor>> {
        let vars = self.vars(params)?;
        let Some(current) = &self.current else {
            return Ok(vars.iter().map(|var| var.as_detached_tensor()).collect());
        };
        let held = vars.iter().zip(current.trains.iter().zip(&current.held)).map(|(var, (trains, held))| {
            let (trains, held) = (trains.to_device(var.device())?, held.to_device(var.device())?);
            Ok(trains.where_cond(&var.as_detached_tensor(), &held)?)
        });
        held.collect()
    }
}

impl Layer {
    fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// 1 (u8) for the weights of the owners that `of` names; for a shared parameter, `shared`.
    fn mask(&self, of: impl Fn(Id) -> bool, shared: bool, device: &Device) -> Result<Tensor> {
        let mask = match &self.owners {
            Some(owners) => owners.ids().into_iter().map(|id| u8::from(of(id))).collect(),
            None => vec![u8::from(shared); self.len()],
        };
        Ok(Tensor::from_vec(mask, self.dims.as_slice(), device)?)
    }

    /// A copy of `value`, zero but for the weights of the owners that `of` names.
    fn keep(&self, value: &Tensor, of: impl Fn(Id) -> bool) -> Result<Tensor> {
        Ok(self.mask(of, true, value.device())?.where_cond(value, &value.zeros_like()?)?)
    }
}

/// Where the weights of the task `id` are; shared parameters are those of the first.
fn trains<'a>(layers: &[Layer], on: impl Iterator<Item = &'a Device>, id: Id) -> Result<Vec<Tensor>> {
    layers.iter().zip(on).map(|(layer, device)| layer.mask(|owner| owner == id, id == 1, device)).collect()
}

fn write<'a>(values: impl Iterator<Item = (&'a Var, Tensor)>) -> Result<()> {
    for (var, value) in values {
        var.set(&value)?;
    }
    Ok(())
}

/// Puts parameters back when it goes, if not before.
struct Before<'a> {
    params: &'a Params,
    saved: Vec<Tensor>,
}

impl Before<'_> {
    fn restore(&mut self) -> Result<()> {
        write(self.params.iter().map(|p| &p.var).zip(std::mem::take(&mut self.saved)))
    }
}

impl Drop for Before<'_> {
    fn drop(&mut self) {
        // Only after a panic is there still something to do, and nobody to tell of an error.
        let _ = self.restore();
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    layers: Vec<SavedLayer>,
    tasks: usize,
    current: Option<SavedCurrent>,
}

#[derive(Serialize, Deserialize)]
struct SavedLayer {
    name: String,
    dims: Vec<usize>,
    dtype: String,
    /// Empty where it is shared.
    owners: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct SavedCurrent {
    pruned: bool,
    #[serde(with = "cl_core::snapshot::tensor")]
    held: Vec<Tensor>,
}

impl From<PackNet> for Saved {
    fn from(packnet: PackNet) -> Self {
        let layers = packnet.layers.into_iter().map(|layer| SavedLayer {
            name: layer.name,
            dims: layer.dims,
            dtype: layer.dtype.as_str().to_owned(),
            owners: layer.owners.map(|owners| owners.words().to_vec()).unwrap_or_default(),
        });
        let current = packnet.current.map(|Current { pruned, held, .. }| SavedCurrent { pruned, held });
        Self { layers: layers.collect(), tasks: packnet.tasks, current }
    }
}

impl TryFrom<Saved> for PackNet {
    type Error = Error;

    fn try_from(Saved { layers, tasks, current }: Saved) -> Result<Self> {
        let begun = tasks.saturating_add(usize::from(current.is_some()));
        if begun > MOST_TASKS {
            return Err(Error::invalid("saved PackNet", format!("{begun} tasks are more than {MOST_TASKS}")));
        }
        let layers = layers.into_iter().map(|saved| saved.layer(begun as Id)).collect::<Result<Vec<_>>>()?;
        // So that no count of bytes overflows.
        let bytes = |layer: &Layer| layer.len().checked_mul(layer.dtype.size_in_bytes() + 1);
        let bytes = layers.iter().try_fold(0usize, |sum, layer| sum.checked_add(bytes(layer)?));
        if bytes.is_none() {
            return Err(Error::invalid("saved PackNet", "its parameters are larger than can be addressed"));
        }
        let names: HashSet<_> = layers.iter().map(|layer| &layer.name).collect();
        if names.len() != layers.len() {
            return Err(Error::invalid("saved PackNet", "two parameters have one name"));
        }
        let mut new = Self { layers, tasks, current: None };
        if new.weights() == 0 {
            return Err(Error::invalid("saved PackNet", "it packs no weights"));
        }
        if let Some(SavedCurrent { pruned, held }) = current {
            let fits = |(layer, held): (&Layer, &Tensor)| {
                (held.dtype(), held.dims()) == (layer.dtype, layer.dims.as_slice())
            };
            if held.len() != new.layers.len() || !new.layers.iter().zip(&held).all(fits) {
                return Err(Error::invalid("saved PackNet", "the values that it holds fit other parameters"));
            }
            let trains = trains(&new.layers, held.iter().map(Tensor::device), new.id())?;
            new.current = Some(Current { pruned, held, trains });
        }
        Ok(new)
    }
}

impl SavedLayer {
    /// With owners of at most `most`.
    fn layer(self, most: Id) -> Result<Layer> {
        let Self { name, dims, dtype, owners } = self;
        let refused = |why: String| Error::invalid("saved PackNet", format!("{name}: {why}"));
        let len = dims.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
        let len = len.ok_or_else(|| refused(format!("there are no tensors of shape {dims:?}")))?;
        let dtype = dtype.parse().ok().filter(DType::is_float);
        let dtype = dtype.ok_or_else(|| refused("its dtype is no floating point".into()))?;
        let owners = match dims.len() {
            0 | 1 if owners.is_empty() => None,
            0 | 1 => return Err(refused("weights of less than two dimensions have no owners".into())),
            _ => Some(Owners::from_words(len, most, owners)?),
        };
        Ok(Layer { name, dims, dtype, owners })
    }
}
