//! One column of a storage: rows of one shape and dtype, on the CPU or on a device.

use candle_core::{CpuStorage, DType, Device, Shape, Storage, Tensor, WithDType};
use cl_core::{Error, Result, prefetch};

use crate::stream;

/// How many cache lines ahead memory is asked for: hides the latency of reads that no cache answers.
const AHEAD: usize = 128;
/// The rest of a long row the processor fetches by itself.
const MOST_LINES: usize = 8;
const LINE_BYTES: usize = 64;

/// A fixed number of rows.
#[derive(Debug)]
pub(crate) struct Column {
    dtype: DType,
    /// Of one row.
    shape: Vec<usize>,
    /// Elements of one row.
    width: usize,
    data: Data,
}

#[derive(Debug)]
enum Data {
    /// In own memory, as plain bits: candle's own gather starts from zeros and does not look ahead.
    Host(Vec<u64>),
    /// In a file; or in memory, where that is large.
    Mapped(memmap2::MmapMut),
    /// (capacity, row...)
    Device(Tensor),
}

/// What can be stored: plain bits, of which candle knows where a tensor keeps them.
pub(crate) trait Element: WithDType + bytemuck::Pod {
    fn of(storage: &CpuStorage) -> Option<&[Self]>;
}

macro_rules! element {
    ($($t:ty: $variant:ident),*) => {
        $(impl Element for $t {
            #[inline(always)]
            fn of(storage: &CpuStorage) -> Option<&[Self]> {
                match storage {
                    CpuStorage::$variant(elements) => Some(elements),
                    _ => None,
                }
            }
        })*
    };
}
element!(u8: U8, u32: U32, i16: I16, i32: I32, i64: I64, half::f16: F16, half::bf16: BF16, f32: F32, f64: F64);

/// Runs `$body` with `$T` standing for the element type of `$dtype`.
macro_rules! for_element {
    ($dtype:expr, $T:ident => $body:expr) => {{
        macro_rules! arm {
            ($t:ty) => {{
                type $T = $t;
                $body
            }};
        }
        match $dtype {
            DType::U8 => arm!(u8),
            DType::U32 => arm!(u32),
            DType::I16 => arm!(i16),
            DType::I32 => arm!(i32),
            DType::I64 => arm!(i64),
            DType::F16 => arm!(half::f16),
            DType::BF16 => arm!(half::bf16),
            DType::F32 => arm!(f32),
            DType::F64 => arm!(f64),
            other => Err(unsupported(other)),
        }
    }};
}

fn unsupported(dtype: DType) -> Error {
    let why =
        format!("{} cannot be stored; u8, u32, i16, i32, i64, f16, bf16, f32 and f64 can", dtype.as_str());
    Error::invalid("dtype", why)
}

/// Bytes from which on a column asks for huge pages.
const LARGE: usize = 4 << 20;

/// Zeros, on huge pages where the system gives them: rows are read all over the place, and with small pages
/// most of them would have to be looked up in the page table first.
fn pages(bytes: usize) -> std::io::Result<memmap2::MmapMut> {
    let map = memmap2::MmapMut::map_anon(bytes)?;
    // A hint; without it there are small pages.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Ok(map)
}

/// Bytes of a row.
///
/// # Errors
/// [`Error::Invalid`] on a dtype that cannot be stored, or more than can be addressed.
pub(crate) fn row_bytes(dtype: DType, shape: &[usize]) -> Result<usize> {
    let size: usize = for_element!(dtype, T => Ok::<_, Error>(size_of::<T>()))?;
    let bytes = shape.iter().try_fold(size, |bytes, &n| bytes.checked_mul(n));
    bytes
        .filter(|&bytes| isize::try_from(bytes).is_ok())
        .ok_or_else(|| Error::invalid("shape", format!("{shape:?} is more than can be addressed")))
}

impl Column {
    /// Zeros on the CPU. Memory is taken as rows are written.
    pub(crate) fn host(dtype: DType, shape: &[usize], capacity: usize) -> Result<Self> {
        let bytes = row_bytes(dtype, shape)?.checked_mul(capacity);
        let too_many = |why: &str| {
            Error::invalid("capacity", format!("{capacity} rows of {shape:?} are more than {why}"))
        };
        let bytes = bytes.filter(|&bytes| bytes < isize::MAX as usize);
        let data = match bytes.ok_or_else(|| too_many("can be addressed"))? {
            small if small < LARGE => Data::Host(vec![0; small.div_ceil(8)]),
            large => Data::Mapped(pages(large).map_err(|e| too_many(&format!("there is memory for: {e}")))?),
        };
        Ok(Self::new(dtype, shape, data))
    }

    /// What stands in a file, of `capacity · row_bytes` bytes at least.
    pub(crate) fn mapped(dtype: DType, shape: &[usize], map: memmap2::MmapMut) -> Self {
        Self::new(dtype, shape, Data::Mapped(map))
    }

    /// For the rows of `example` (n, row...), where that is.
    pub(crate) fn like(example: &Tensor, capacity: usize) -> Result<Self> {
        let (dtype, shape) = (example.dtype(), &example.dims()[1..]);
        let column = Self::host(dtype, shape, capacity)?;
        if example.device().is_cpu() { Ok(column) } else { column.to_device(example.device(), capacity) }
    }

    fn new(dtype: DType, shape: &[usize], data: Data) -> Self {
        Self { dtype, shape: shape.to_vec(), width: shape.iter().product(), data }
    }

    /// Whether the rows of a batch (n, row...) are of its kind.
    #[inline]
    pub(crate) fn fits(&self, batch: &Tensor) -> bool {
        let on_my_device = match &self.data {
            Data::Device(tensor) => batch.device().same_device(tensor.device()),
            _ => batch.device().is_cpu(),
        };
        batch.dtype() == self.dtype && batch.dims().get(1..) == Some(&self.shape[..]) && on_my_device
    }

    /// All rows, where they are on a device.
    pub(crate) fn on_device(&self) -> Option<&Tensor> {
        if let Data::Device(tensor) = &self.data { Some(tensor) } else { None }
    }

    /// What a row is, in words.
    pub(crate) fn row_type(&self) -> String {
        let location = match &self.data {
            Data::Device(tensor) => tensor.device().location(),
            _ => Device::Cpu.location(),
        };
        row_type(self.dtype, &self.shape, location)
    }

    /// Writes `n` rows of a contiguous batch, from row `row` on, into the slots from `slot` on.
    pub(crate) fn write(&mut self, slot: usize, batch: &Tensor, row: usize, n: usize) -> Result<()> {
        let width = self.width;
        let far = self.bytes() >= stream::FAR;
        if let Data::Device(tensor) = &self.data {
            if width > 0 {
                tensor.slice_set(&batch.narrow(0, row, n)?, 0, slot)?;
            }
            return Ok(());
        }
        let (storage, layout) = batch.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            return Err(Error::mismatch("batch", "the CPU", format!("{:?}", batch.device().location())));
        };
        for_element!(self.dtype, T => {
            let from = T::of(storage).zip(layout.contiguous_offsets());
            let from = from.and_then(|(all, (start, _))| all.get(start + row * width..start + (row + n) * width));
            let to = self.elements_mut::<T>().get_mut(slot * width..(slot + n) * width);
            let (Some(from), Some(to)) = (from, to) else {
                return Err(Error::invalid("write", format!("{n} rows from {row} on do not fit slot {slot}")));
            };
            if far && size_of_val(from) >= stream::LONG {
                stream::copy(bytemuck::cast_slice_mut(to), bytemuck::cast_slice(from));
            } else {
                to.copy_from_slice(from);
            }
            Ok(())
        })
    }

    /// Copies of the rows in `slots`, as (slots, row...).
    pub(crate) fn gather(&self, slots: &[u32]) -> Result<Tensor> {
        if let Data::Device(tensor) = &self.data {
            let slots = Tensor::from_slice(slots, slots.len(), tensor.device())?;
            return Ok(tensor.index_select(&slots, 0)?);
        }
        let width = self.width;
        for_element!(self.dtype, T => {
            let rows = self.elements::<T>();
            let line = LINE_BYTES / size_of::<T>();
            let announce = |slot: &u32| {
                let start = *slot as usize * width;
                for at in (start..start + width).step_by(line).take(MOST_LINES) {
                    prefetch(rows, at);
                }
            };
            // In rows, of which a short one is a line.
            let ahead = AHEAD / width.div_ceil(line).clamp(2, MOST_LINES * 2);
            slots.iter().take(ahead).for_each(announce);
            let mut out = Vec::<T>::with_capacity(slots.len() * width);
            for (i, &slot) in slots.iter().enumerate() {
                slots.get(i + ahead).into_iter().for_each(announce);
                let start = slot as usize * width;
                let row = rows.get(start..start + width);
                out.extend_from_slice(row.ok_or_else(|| Error::invalid("slot", format!("there is no {slot}")))?);
            }
            Ok(Tensor::from_vec(out, self.dims(slots.len()), &Device::Cpu)?)
        })
    }

    /// A copy of `n` rows from `slot` on, as (n, row...).
    pub(crate) fn copy(&self, slot: usize, n: usize) -> Result<Tensor> {
        if let Data::Device(tensor) = &self.data {
            // Not `copy`, which clones the whole storage behind a view.
            return Ok(tensor.narrow(0, slot, n)?.force_contiguous()?);
        }
        for_element!(self.dtype, T => {
            let rows = self.elements::<T>().get(slot * self.width..(slot + n) * self.width);
            let rows = rows.ok_or_else(|| Error::invalid("rows", format!("there are no {n} from {slot} on")))?;
            Ok(Tensor::from_slice(rows, self.dims(n), &Device::Cpu)?)
        })
    }

    /// Row by row, as f64: for readers of rewards and flags, of one element a row.
    pub(crate) fn scalars(&self, slots: impl Iterator<Item = usize>) -> Result<Vec<f64>> {
        if self.width != 1 || matches!(self.data, Data::Device(_)) {
            let why = format!("one number a row on the CPU is needed, not {}", self.row_type());
            return Err(Error::invalid("field", why));
        }
        for_element!(self.dtype, T => {
            let rows = self.elements::<T>();
            let out: Option<Vec<f64>> = slots.map(|slot| rows.get(slot).map(|&v| v.to_f64())).collect();
            out.ok_or_else(|| Error::invalid("slot", "there is none such"))
        })
    }

    /// The same, on `device`.
    pub(crate) fn to_device(&self, device: &Device, capacity: usize) -> Result<Self> {
        let data = match (&self.data, device.is_cpu()) {
            (Data::Device(tensor), false) => Data::Device(tensor.to_device(device)?),
            (Data::Device(tensor), true) => {
                let mut host = Self::host(self.dtype, &self.shape, capacity)?;
                host.write(0, &tensor.to_device(device)?, 0, capacity)?;
                host.data
            }
            (_, false) => Data::Device(self.copy(0, capacity)?.to_device(device)?),
            (Data::Host(words), true) => Data::Host(words.clone()),
            (Data::Mapped(_), true) => {
                let mut host = Self::host(self.dtype, &self.shape, capacity)?;
                host.write(0, &self.copy(0, capacity)?, 0, capacity)?;
                host.data
            }
        };
        Ok(Self::new(self.dtype, &self.shape, data))
    }

    /// Writes what is in a file to the disk.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        if let Data::Mapped(map) = &self.data { map.flush() } else { Ok(()) }
    }

    /// Whether it is there already.
    pub(crate) fn is_on(&self, device: &Device) -> bool {
        match &self.data {
            Data::Device(tensor) => tensor.device().same_device(device),
            _ => device.is_cpu(),
        }
    }

    fn dims(&self, n: usize) -> Shape {
        let mut dims = Vec::with_capacity(1 + self.shape.len());
        dims.push(n);
        dims.extend(&self.shape);
        Shape::from(dims)
    }

    /// That it takes here.
    fn bytes(&self) -> usize {
        match &self.data {
            Data::Host(words) => size_of_val(&words[..]),
            Data::Mapped(map) => map.len(),
            Data::Device(_) => 0,
        }
    }

    #[inline(always)]
    fn elements<T: Element>(&self) -> &[T] {
        match &self.data {
            Data::Host(words) => bytemuck::try_cast_slice(words).unwrap_or_default(),
            Data::Mapped(map) => bytemuck::try_cast_slice(map).unwrap_or_default(),
            Data::Device(_) => &[],
        }
    }

    #[inline(always)]
    fn elements_mut<T: Element>(&mut self) -> &mut [T] {
        match &mut self.data {
            Data::Host(words) => bytemuck::try_cast_slice_mut(words).unwrap_or_default(),
            Data::Mapped(map) => bytemuck::try_cast_slice_mut(map).unwrap_or_default(),
            Data::Device(_) => &mut [],
        }
    }
}

/// What has to stay equal from batch to batch, in words.
pub(crate) fn row_type(dtype: DType, shape: &[usize], location: candle_core::DeviceLocation) -> String {
    format!("{} {shape:?} on {location:?}", dtype.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn more_rows_than_there_can_be_memory_are_an_error() {
        let error = Column::host(DType::F32, &[1 << 20], 1 << 31).unwrap_err().to_string();
        assert!(error.contains("2147483648 rows of [1048576] are more than there is memory for"), "{error}");
        let error = Column::host(DType::F32, &[1 << 20], 1 << 45).unwrap_err().to_string();
        assert!(error.contains("more than can be addressed"), "{error}");
    }
}
