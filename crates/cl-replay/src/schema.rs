//! What an experience consists of: named fields, each with a dtype and a shape.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::column::row_bytes;

/// One field of an experience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The type of its elements; they are stored as that (bytes stay bytes).
    pub dtype: DType,
    /// The shape of one value; empty for a scalar.
    pub shape: Vec<usize>,
}

impl Field {
    /// A field.
    pub fn new(name: impl Into<String>, dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), dtype, shape: shape.into() }
    }
}

/// The fields of an experience, fixed when a memory is made.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use cl_replay::{Field, Schema};
///
/// # fn main() -> cl_core::Result<()> {
/// let schema = Schema::new([
///     Field::new("frame", DType::U8, [84, 84]),
///     Field::new("action", DType::U32, []),
///     Field::new("reward", DType::F32, []),
/// ])?;
/// assert_eq!(schema.bytes(), 84 * 84 + 4 + 4);
///
/// // The same from an example of one step.
/// let example = Tensor::zeros((84, 84), DType::U8, &Device::Cpu)?;
/// assert_eq!(Schema::of(&[("frame", &example)])?.fields()[0], schema.fields()[0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Saved>", into = "Vec<Saved>")]
pub struct Schema {
    /// Shared with every sample.
    fields: Arc<[Field]>,
}

impl Schema {
    /// # Errors
    /// [`Error::Invalid`] without a field, with two of one name, with a dtype that cannot be stored, or with
    /// more bytes than can be addressed.
    pub fn new(fields: impl Into<Vec<Field>>) -> Result<Self> {
        let fields = fields.into();
        if fields.is_empty() {
            return Err(Error::invalid("schema", "it has no field"));
        }
        let mut bytes = 0usize;
        for (i, field) in fields.iter().enumerate() {
            bytes = bytes.saturating_add(row_bytes(field.dtype, &field.shape)?);
            if isize::try_from(bytes).is_err() {
                let why = format!("with {:?} it is more than can be addressed", field.name);
                return Err(Error::invalid("schema", why));
            }
            if fields[..i].iter().any(|other| other.name == field.name) {
                return Err(Error::invalid("schema", format!("two fields are named {:?}", field.name)));
            }
        }
        Ok(Self { fields: fields.into() })
    }

    /// From an example of one step, without leading dimensions.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(example: &[(&str, &Tensor)]) -> Result<Self> {
        let field = |(name, tensor): &(&str, &Tensor)| Field::new(*name, tensor.dtype(), tensor.dims());
        Self::new(example.iter().map(field).collect::<Vec<_>>())
    }

    /// The fields, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Bytes of one experience.
    pub fn bytes(&self) -> usize {
        self.fields.iter().map(|field| row_bytes(field.dtype, &field.shape).unwrap_or(0)).sum()
    }

    /// The place of a field.
    ///
    /// # Errors
    /// [`Error::Invalid`], which lists those there are.
    pub fn position(&self, name: &str) -> Result<usize> {
        self.fields.iter().position(|field| field.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.fields.iter().map(|field| field.name.as_str()).collect();
            Error::invalid("field", format!("there is none named {name:?}; there are {}", names.join(", ")))
        })
    }

    /// The tensors of a batch in the order of the fields, and their leading dimensions, of which there are
    /// `N`. Every axis of every field is checked.
    pub(crate) fn batch<'t, const N: usize>(
        &self,
        batch: &[(&str, &'t Tensor)],
    ) -> Result<(Vec<&'t Tensor>, [usize; N])> {
        self.batch_on(&Device::Cpu, batch)
    }

    /// The same of a batch that is on this device.
    pub(crate) fn batch_on<'t, const N: usize>(
        &self,
        device: &Device,
        batch: &[(&str, &'t Tensor)],
    ) -> Result<(Vec<&'t Tensor>, [usize; N])> {
        let mut tensors = Vec::with_capacity(self.fields.len());
        let mut leading = None;
        for (i, field) in self.fields.iter().enumerate() {
            // Mostly they come in order.
            let named = batch.get(i).filter(|(name, _)| *name == field.name);
            let named = named.or_else(|| batch.iter().find(|(name, _)| *name == field.name));
            let &(_, tensor) = named
                .ok_or_else(|| Error::invalid("batch", format!("the field {:?} is missing", field.name)))?;
            let dims = tensor.dims();
            let first = dims.get(..N).and_then(|dims| <[usize; N]>::try_from(dims).ok());
            let expected = leading.or(first);
            if first != expected || dims.get(N..) != Some(&field.shape[..]) || tensor.dtype() != field.dtype {
                return Err(wrong_field(field, leading.map(|l: [usize; N]| l.to_vec()), N, tensor));
            }
            if !tensor.device().same_device(device) {
                let expected = match device {
                    Device::Cpu => format!("{:?} on the CPU", field.name),
                    other => format!("{:?} on {:?}", field.name, other.location()),
                };
                let got = format!("on {:?}", tensor.device().location());
                return Err(Error::mismatch("field", expected, got));
            }
            leading = expected;
            tensors.push(tensor);
        }
        if batch.len() != self.fields.len() {
            let unknown = batch.iter().find(|(name, _)| self.position(name).is_err());
            return Err(match unknown {
                Some((name, _)) => Error::invalid("batch", format!("there is no field {name:?}")),
                None => Error::invalid("batch", "a field is there twice"),
            });
        }
        Ok((tensors, leading.unwrap_or([0; N])))
    }
}

#[cold]
fn wrong_field(field: &Field, leading: Option<Vec<usize>>, n: usize, got: &Tensor) -> Error {
    let leading = match leading {
        Some(dims) => dims.iter().map(ToString::to_string).collect(),
        None => ["rows", "steps"][2 - n.min(2)..].iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    let shape = leading.into_iter().chain(field.shape.iter().map(ToString::to_string));
    let shape = shape.collect::<Vec<_>>().join(", ");
    let expected = format!("{:?} as {} [{shape}]", field.name, field.dtype.as_str());
    let got = format!("{} {:?}", got.dtype().as_str(), got.dims());
    Error::mismatch("field", expected, got)
}

/// The serde form.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Field")]
struct Saved {
    name: String,
    dtype: String,
    shape: Vec<usize>,
}

impl From<Schema> for Vec<Saved> {
    fn from(schema: Schema) -> Self {
        let saved = |field: &Field| Saved {
            name: field.name.clone(),
            dtype: field.dtype.as_str().to_owned(),
            shape: field.shape.clone(),
        };
        schema.fields.iter().map(saved).collect()
    }
}

impl TryFrom<Vec<Saved>> for Schema {
    type Error = Error;
    fn try_from(saved: Vec<Saved>) -> Result<Self> {
        let field = |Saved { name, dtype, shape }: Saved| {
            let known =
                dtype.parse().map_err(|_| Error::invalid("dtype", format!("{dtype:?} is unknown")))?;
            Ok(Field { name, dtype: known, shape })
        };
        Self::new(saved.into_iter().map(field).collect::<Result<Vec<_>>>()?)
    }
}

/// Tensors by the names of their fields.
#[derive(Debug, Clone)]
pub struct Fields {
    pub(crate) schema: Schema,
    pub(crate) tensors: Vec<Tensor>,
}

impl Fields {
    /// The tensor of a field.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no such field.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        Ok(&self.tensors[self.schema.position(name)?])
    }

    /// All of them, in the order of the schema.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.schema.fields.iter().map(|field| field.name.as_str()).zip(&self.tensors)
    }

    /// The same fields, each tensor changed.
    pub(crate) fn map(&self, change: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Self> {
        let tensors = self.tensors.iter().map(change).collect::<Result<_, _>>()?;
        Ok(Self { schema: self.schema.clone(), tensors })
    }
}
