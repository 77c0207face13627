//! A memory whose rows and priorities are on a device.

mod store;

use std::path::Path;

use candle_core::{Device, Tensor};
use cl_core::{
    Error, Result, Rng,
    snapshot::{
        self, Kind,
        tensor::{self, TensorData},
    },
    sum_tree::{Counts, Fill, Overwritten, Philox, PriorityTree, leaf},
};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};

use crate::{Fields, NewItems, Prioritized, Schema};
use store::Store;

/// What a [`DeviceReplay`] is made of.
#[derive(Debug, Clone)]
pub struct DeviceReplayBuilder {
    schema: Schema,
    capacity: usize,
    config: Prioritized,
    device_bytes: Option<usize>,
}

impl DeviceReplayBuilder {
    /// How priorities become probabilities, and probabilities weights; the default is that of [`Prioritized`].
    pub fn prioritized(mut self, config: Prioritized) -> Self {
        self.config = config;
        self
    }

    /// The most bytes that it may take on the device, rows and priorities together. Rows beyond it are kept on the host: a sample
    /// then waits for the device to learn which it needs, and brings them over. Drawn are the same.
    pub fn device_bytes(mut self, most: usize) -> Self {
        self.device_bytes = Some(most);
        self
    }

    /// An empty memory on this device; all its randomness comes from `rng`. It takes all of its memory at once.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a capacity of 0 or of 2³² − 1 and more, an α outside [0, 1], a fixed priority of new items that is
    /// none, or `device_bytes` that the priorities alone exceed; candle's own, where the device has not that much.
    pub fn build(self, device: &Device, mut rng: Rng) -> Result<DeviceReplay> {
        let Self { schema, capacity, config, device_bytes } = self;
        if !(0.0..=1.0).contains(&config.alpha) {
            return Err(Error::invalid("alpha", format!("{} is not between 0 and 1", config.alpha)));
        }
        config.new_items.check()?;
        Ok(DeviceReplay {
            tree: PriorityTree::new(capacity, device)?,
            store: Store::new(schema, capacity, device_bytes, device)?,
            config,
            device_bytes,
            written: 0,
            philox: Philox::new(rng.next_u64()),
        })
    }
}

/// Which items were drawn, on the device: their slots, and when.
#[derive(Debug, Clone)]
pub struct DeviceItems {
    /// The slot of each: u32 (n). [`NOTHING`](cl_core::sum_tree::NOTHING) where there was no priority above 0.
    pub slots: Tensor,
    /// How many rows had been added by then: what is in a slot that was written since is another item.
    pub written: u64,
}

/// What was drawn, on the device of the memory.
#[derive(Debug, Clone)]
pub struct DeviceSample {
    /// Every field as (n, ...).
    pub fields: Fields,
    /// Which they are; [`DeviceReplay::update_priorities`] takes them.
    pub items: DeviceItems,
    /// With which probability each was drawn: f32 (n).
    pub probabilities: Tensor,
    /// Importance weights (N · P)^−β by the rule of [`Weights`](crate::Weights): f32 (n).
    pub weights: Tensor,
}

impl DeviceSample {
    /// The tensor of a field.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no such field.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.fields.get(name)
    }
}

/// The newest `capacity` items, drawn with the probability pᵅ / Σ pᵅ, wholly on one device: neither a batch that comes in, nor one
/// that goes out, nor a priority visits the host, and nothing waits for the device. On the CPU it gives the same numbers, to the
/// last bit, as on a GPU.
///
/// ```
/// use candle_core::{DType, Tensor};
/// use cl_replay::{DeviceReplay, Field, Schema};
///
/// # fn main() -> cl_core::Result<()> {
/// let device = cl_core::device("cpu")?; // or "cuda"
/// let schema = Schema::new([Field::new("obs", DType::F32, [4]), Field::new("reward", DType::F32, [])])?;
/// let mut memory = DeviceReplay::builder(schema, 100_000).build(&device, cl_core::rng(0, "memory"))?;
/// let (obs, reward) =
///     (Tensor::zeros((32, 4), DType::F32, &device)?, Tensor::ones(32, DType::F32, &device)?);
/// memory.add(&[("obs", &obs), ("reward", &reward)])?;
///
/// let sample = memory.sample(8, 0.4)?; // β = 0.4
/// assert_eq!((sample.get("obs")?.dims(), sample.weights.dims()), (&[8, 4][..], &[8][..]));
/// let delta = Tensor::ones(8, DType::F32, &device)?; // of the learner
/// memory.update_priorities(&sample.items, &(delta.abs()? + 1e-6)?)?;
/// assert_eq!(memory.check()?.refused, 0); // now and then: this waits
/// # Ok(())
/// # }
/// ```
///
/// Since nothing waits, what is wrong with a priority cannot be an error: one that is negative, infinite or not a number is left
/// out, and one that comes too late, for an item that was overwritten, too. Both are counted on the device, and
/// [`check`](Self::check) reads the counts. Where all priorities are 0 there is nothing to draw: rows and weights are zeros then.
///
/// | memory | |
/// |---|---|
/// | on the device | a row of each field, and 8½ bytes of priority, a slot |
/// | launches on a GPU | three a sample, one and those of the sum tree an addition |
#[derive(Debug, Deserialize)]
#[serde(try_from = "Saved<PriorityTree>")]
pub struct DeviceReplay {
    config: Prioritized,
    device_bytes: Option<usize>,
    /// Rows ever added.
    written: u64,
    philox: Philox,
    tree: PriorityTree,
    store: Store,
}

impl DeviceReplay {
    /// The kind and version of its snapshots.
    pub const KIND: Kind = Kind::new("cl-replay/device-replay", 1);

    /// For rows of these fields, the newest `capacity` of them.
    pub fn builder(schema: Schema, capacity: usize) -> DeviceReplayBuilder {
        DeviceReplayBuilder { schema, capacity, config: Prioritized::default(), device_bytes: None }
    }

    /// Adds the items of a batch in order, with the priority of new items: every field as (n, ...) on the device of the memory, 1
    /// to `capacity` of them. The oldest go first.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where a field differs in any axis, in dtype or in device, [`Error::Invalid`] where one is missing or
    /// unknown, or there are more items than the memory holds; it is then unchanged.
    pub fn add(&mut self, batch: &[(&str, &Tensor)]) -> Result<()> {
        let (tensors, [n]) = self.store.schema().batch_on::<1>(self.tree.device(), batch)?;
        let capacity = self.capacity();
        if n == 0 || n > capacity {
            let why = format!("{n} items at once: 1 to {capacity} can be added");
            return Err(Error::invalid("batch", why));
        }
        let start = (self.written % capacity as u64) as usize;
        self.store.write(start, &tensors, n)?;
        let with = match self.config.new_items {
            NewItems::LargestEver => Fill::LargestEver,
            NewItems::LargestNow => Fill::LargestNow,
            NewItems::Fixed(priority) => Fill::Leaf(leaf(priority, self.config.alpha)),
        };
        let first = n.min(capacity - start);
        self.tree.fill(start, first, with)?;
        self.tree.fill(0, n - first, with)?;
        self.written += n as u64;
        Ok(())
    }

    /// `n` items with the importance weights of this β (0: none, 1: full correction), on the device.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the memory is empty, or on a β that is negative or not finite; nothing is changed then.
    pub fn sample(&mut self, n: usize, beta: f64) -> Result<DeviceSample> {
        if !(beta.is_finite() && beta >= 0.0) {
            return Err(Error::invalid("beta", format!("{beta} is not a number from 0 on")));
        }
        if self.is_empty() {
            return Err(Error::invalid("sample", "the memory is empty; add items first"));
        }
        let mut philox = self.philox;
        let drawn = self.tree.draw(n, self.config.strata, &mut philox)?;
        let weights = self.tree.weights(&drawn, self.len(), beta, self.config.weights)?;
        let fields = self.gather(&drawn.indices)?;
        self.philox = philox;
        let items = DeviceItems { slots: drawn.indices, written: self.written };
        Ok(DeviceSample { fields, items, probabilities: drawn.probabilities, weights })
    }

    /// Copies of the rows in these slots, u32 (n) on the device: every field as (n, ...). Zeros for a slot that there is not.
    ///
    /// # Errors
    /// [`Error::Mismatch`] on indices of another kind.
    pub fn gather(&self, slots: &Tensor) -> Result<Fields> {
        Ok(Fields { schema: self.store.schema().clone(), tensors: self.store.gather(slots)? })
    }

    /// Sets priorities p, f32 or f64 (n) on the device: the items are then drawn in proportion to pᵅ, and never where p = 0 (also
    /// with α = 0). Of several priorities of one item the last one stays. Those that cannot be, and those for items that were
    /// overwritten or are none yet, are left out and counted: see [`check`](Self::check).
    ///
    /// # Errors
    /// [`Error::Mismatch`] where there are not as many priorities as items, or they are not on the device; [`Error::Invalid`]
    /// where the items are of a memory that more was added to.
    pub fn update_priorities(&mut self, items: &DeviceItems, priorities: &Tensor) -> Result<()> {
        let Some(since) = self.written.checked_sub(items.written) else {
            let why = format!(
                "they were drawn when {} rows had been added, this memory has had {}: they are of another one",
                items.written, self.written
            );
            return Err(Error::invalid("items", why));
        };
        let capacity = self.capacity() as u64;
        // What was written since, and, until all was once, what has not been yet.
        let count = if self.written < capacity { capacity - items.written } else { since.min(capacity) };
        let overwritten = Overwritten { first: (items.written % capacity) as usize, count: count as usize };
        self.tree.update(&items.slots, priorities, self.config.alpha, overwritten)
    }

    /// What was left out so far: priorities that were `refused`, or came `late`, slots that were `outside`, samples that were
    /// `undrawn` since all priorities were 0. Waits for the device: for every thousandth step, not for every one.
    ///
    /// # Errors
    /// candle's own.
    pub fn check(&self) -> Result<Counts> {
        self.tree.counts()
    }

    /// Items that it holds; those of priority 0 are among them.
    pub fn len(&self) -> usize {
        self.written.min(self.capacity() as u64) as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Whether the next addition overwrites the oldest.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// Items that it can hold.
    pub fn capacity(&self) -> usize {
        self.store.capacity()
    }

    /// How many of its slots, the first ones, are on the device: all, unless [`device_bytes`](DeviceReplayBuilder::device_bytes)
    /// says less.
    pub fn on_device(&self) -> usize {
        self.store.near_rows()
    }

    /// Items that were ever added; number i is in slot i mod `capacity`.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Where it is.
    pub fn device(&self) -> &Device {
        self.tree.device()
    }

    /// The pᵅ of every slot: f32 (capacity), a copy on the device.
    ///
    /// # Errors
    /// candle's own.
    pub fn leaves(&self) -> Result<Tensor> {
        self.tree.leaves()
    }

    /// The sum of all pᵅ. Waits for the device.
    ///
    /// # Errors
    /// candle's own.
    pub fn total(&self) -> Result<f64> {
        self.tree.total()
    }

    /// The largest pᵅ that was ever set, from 1. Waits for the device.
    ///
    /// # Errors
    /// candle's own.
    pub fn largest_ever(&self) -> Result<f32> {
        self.tree.largest_ever()
    }

    /// Writes everything to a file, priorities and generator too; see [`snapshot::save`]. A device makes no difference to it.
    ///
    /// # Errors
    /// As there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        snapshot::save(path, Self::KIND, self)
    }

    /// Restores what [`save`](Self::save) wrote, on this device; it continues as the saved one would have.
    ///
    /// # Errors
    /// As [`snapshot::load`].
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        tensor::on(device, || snapshot::load(path, Self::KIND))
    }
}

/// The serde form: of the rows only those that were written.
#[derive(Serialize, Deserialize)]
#[serde(rename = "DeviceReplay")]
struct Saved<T> {
    schema: Schema,
    capacity: usize,
    config: Prioritized,
    device_bytes: Option<usize>,
    written: u64,
    philox: Philox,
    tree: T,
    fields: Vec<TensorData>,
}

impl Serialize for DeviceReplay {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Saved {
            schema: self.store.schema().clone(),
            capacity: self.capacity(),
            config: self.config,
            device_bytes: self.device_bytes,
            written: self.written,
            philox: self.philox,
            tree: &self.tree,
            fields: self.store.data(self.len()).map_err(serde::ser::Error::custom)?,
        }
        .serialize(serializer)
    }
}

impl TryFrom<Saved<PriorityTree>> for DeviceReplay {
    type Error = Error;

    fn try_from(saved: Saved<PriorityTree>) -> Result<Self> {
        let Saved { schema, capacity, config, device_bytes, written, philox, tree, fields } = saved;
        let device = tree.device().clone();
        if tree.capacity() != capacity {
            let got = tree.capacity().to_string();
            return Err(Error::mismatch("saved priorities", format!("those of {capacity} rows"), got));
        }
        let rows = usize::try_from(written).unwrap_or(usize::MAX).min(capacity);
        let priorities = tree.leaves()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        if priorities[rows..].iter().any(|leaf| *leaf != 0.0) || written > u64::MAX / 2 {
            let why = format!("{written} rows were written, and one that was not has a priority");
            return Err(Error::invalid("saved priorities", why));
        }
        let builder = DeviceReplayBuilder { schema, capacity, config, device_bytes };
        // Of the generator only the key would come from here, which is known.
        let mut memory = builder.build(&device, cl_core::rng(0, "restored"))?;
        (memory.tree, memory.philox, memory.written) = (tree, philox, written);
        if memory.is_empty() {
            return Ok(memory);
        }
        let rows: Vec<Tensor> = fields.iter().map(TensorData::to_tensor).collect::<Result<_>>()?;
        let names = memory.store.schema().fields().iter().map(|field| field.name.as_str());
        let batch: Vec<(&str, &Tensor)> = names.zip(&rows).collect();
        let (tensors, [n]) = memory.store.schema().batch::<1>(&batch)?;
        if n != memory.len() {
            let expected = format!("{} rows", memory.len());
            return Err(Error::mismatch("saved rows", expected, n.to_string()));
        }
        memory.store.write(0, &tensors, n)?;
        Ok(memory)
    }
}
