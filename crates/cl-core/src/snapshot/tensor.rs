//! candle's tensors in serde: `#[serde(with = "cl_core::snapshot::tensor")]` on a field.
//!
//! Works for `Tensor`, `Var`, and `Option`, `Vec` and `BTreeMap<String, _>` of them. Shape, dtype and every
//! bit are kept, the payload of NaNs included; the strides, the graph and the device are not: a restored
//! tensor is contiguous, a leaf, and on the CPU, or where [`on`] puts it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var, WithDType};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _, ser::Error as _,
};

use crate::{Error, Result};

/// For serde's `with`.
///
/// # Errors
/// The serializer's own, and a dtype that [`TensorData`] does not know.
pub fn serialize<T: Saved, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.to_data().map_err(S::Error::custom)?.serialize(serializer)
}

/// For serde's `with`.
///
/// # Errors
/// The deserializer's own, and values that do not fit their shape.
pub fn deserialize<'de, T: Saved, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::from_data(T::Data::deserialize(deserializer)?).map_err(D::Error::custom)
}

thread_local! {
    /// Where restored tensors are put.
    static PLACE: RefCell<Device> = const { RefCell::new(Device::Cpu) };
}

/// What `restore` gives, with the tensors that it restores on `device`: serde tells those who restore a tensor nothing of where
/// it should be.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use cl_core::snapshot::{self, Kind, tensor};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Weights(#[serde(with = "cl_core::snapshot::tensor")] Tensor);
///
/// const KIND: Kind = Kind::new("example/weights", 1);
/// let saved = snapshot::to_bytes(KIND, &Weights(Tensor::new(&[1f32, 2.], &Device::Cpu)?))?;
/// let device = cl_core::device("cpu")?; // or "cuda"
/// let Weights(restored) = tensor::on(&device, || snapshot::from_bytes(&saved, KIND))?;
/// assert!(restored.device().same_device(&device));
/// # Ok::<(), cl_core::Error>(())
/// ```
pub fn on<R>(device: &Device, restore: impl FnOnce() -> R) -> R {
    /// Puts back what was there before, after a panic too.
    struct Before(Device);
    impl Drop for Before {
        fn drop(&mut self) {
            PLACE.set(std::mem::replace(&mut self.0, Device::Cpu));
        }
    }
    let _before = Before(PLACE.replace(device.clone()));
    restore()
}

/// A tensor, or a collection of tensors, that serde can have in the form of [`TensorData`].
pub trait Saved: Sized {
    /// Its serde form.
    type Data: Serialize + DeserializeOwned;
    /// To the serde form.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a dtype that [`TensorData`] does not know.
    fn to_data(&self) -> Result<Self::Data>;
    /// Back from it.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the values do not fit their shape.
    fn from_data(data: Self::Data) -> Result<Self>;
}

impl Saved for Tensor {
    type Data = TensorData;
    fn to_data(&self) -> Result<TensorData> {
        TensorData::new(self)
    }
    fn from_data(data: TensorData) -> Result<Self> {
        Ok(data.to_tensor()?.to_device(&PLACE.with_borrow(Device::clone))?)
    }
}

impl Saved for Var {
    type Data = TensorData;
    fn to_data(&self) -> Result<TensorData> {
        TensorData::new(self)
    }
    fn from_data(data: TensorData) -> Result<Self> {
        Ok(Self::from_tensor(&Tensor::from_data(data)?)?)
    }
}

impl<T: Saved> Saved for Option<T> {
    type Data = Option<T::Data>;
    fn to_data(&self) -> Result<Self::Data> {
        self.as_ref().map(T::to_data).transpose()
    }
    fn from_data(data: Self::Data) -> Result<Self> {
        data.map(T::from_data).transpose()
    }
}

impl<T: Saved> Saved for Vec<T> {
    type Data = Vec<T::Data>;
    fn to_data(&self) -> Result<Self::Data> {
        self.iter().map(T::to_data).collect()
    }
    fn from_data(data: Self::Data) -> Result<Self> {
        data.into_iter().map(T::from_data).collect()
    }
}

impl<T: Saved> Saved for BTreeMap<String, T> {
    type Data = BTreeMap<String, T::Data>;
    fn to_data(&self) -> Result<Self::Data> {
        self.iter().map(|(name, tensor)| Ok((name.clone(), tensor.to_data()?))).collect()
    }
    fn from_data(data: Self::Data) -> Result<Self> {
        data.into_iter().map(|(name, data)| Ok((name, T::from_data(data)?))).collect()
    }
}

/// A tensor as plain data: f16, bf16, f32, f64, u8, u32, i16, i32 or i64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorData {
    /// The dimensions; none for a scalar.
    pub shape: Vec<usize>,
    /// candle's name of the dtype, such as `f32`.
    pub dtype: String,
    /// The values in row-major order, little-endian.
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
}

/// Runs `$body` with `$T` standing for the element type of `$dtype`.
macro_rules! with_element {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F16 => {
                type $T = half::f16;
                $body
            }
            DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            DType::U8 => {
                type $T = u8;
                $body
            }
            DType::U32 => {
                type $T = u32;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            other => Err(Error::invalid(
                "dtype of a saved tensor",
                format!(
                    "{} is not supported; convert to f16, bf16, f32, f64, u8, u32, i16, i32 or i64",
                    other.as_str()
                ),
            )),
        }
    };
}

impl TensorData {
    /// The data of `tensor`, whatever its strides and its device.
    ///
    /// # Errors
    /// [`Error::Invalid`] on another dtype.
    pub fn new(tensor: &Tensor) -> Result<Self> {
        let values = tensor.flatten_all()?;
        let bytes = with_element!(tensor.dtype(), T => {
            Ok(values.to_vec1::<T>()?.iter().flat_map(|v| v.to_le_bytes()).collect())
        })?;
        Ok(Self { shape: tensor.dims().to_vec(), dtype: tensor.dtype().as_str().to_owned(), bytes })
    }

    /// The tensor, on the CPU.
    ///
    /// # Errors
    /// [`Error::Invalid`] on another dtype, on dimensions whose product (zeros left out) is no `usize`, or where the
    /// number of bytes is not what shape and dtype need.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let dtype: DType = self.dtype.parse().map_err(|_| {
            Error::invalid("dtype of a saved tensor", format!("`{}` is none of candle's", self.dtype))
        })?;
        // candle multiplies up the strides: also where a dimension of 0 leaves no values.
        if self.shape.iter().filter(|&&dim| dim > 0).try_fold(1usize, |n, &dim| n.checked_mul(dim)).is_none()
        {
            let why = format!(
                "there are no tensors of shape {:?}: the product of its dimensions is too large",
                self.shape
            );
            return Err(Error::invalid("shape of a saved tensor", why));
        }
        with_element!(dtype, T => {
            const SIZE: usize = size_of::<T>();
            let needed = self.shape.iter().try_fold(SIZE, |n, &dim| n.checked_mul(dim));
            if needed != Some(self.bytes.len()) {
                return Err(Error::invalid(
                    "values of a saved tensor",
                    format!("{} bytes do not make a {} tensor of shape {:?}", self.bytes.len(), self.dtype, self.shape),
                ));
            }
            let (values, _) = self.bytes.as_chunks::<SIZE>();
            debug_assert_eq!(T::DTYPE, dtype);
            let values: Vec<T> = values.iter().map(|&v| T::from_le_bytes(v)).collect();
            Ok(Tensor::from_vec(values, self.shape.as_slice(), &Device::Cpu)?)
        })
    }
}

/// A vector of bytes as one block: serde's own takes them one at a time.
mod bytes {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> de::Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            // Formats without bytes, such as JSON.
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
                std::iter::from_fn(|| seq.next_element().transpose()).collect()
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
