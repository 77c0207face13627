//! The kernels of `retrieve`: which variant a problem takes, how it is cut into blocks, and what is launched.

use candle_core::backend::{BackendDevice as _, BackendStorage as _};
use candle_core::cuda_backend::CudaStorageSlice as Slice;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUdevice_attribute_enum as OfDevice, CUfunction_attribute_enum as OfFunction,
};
use candle_core::cuda_backend::cudarc::driver::{DevicePtr as _, DeviceRepr, LaunchConfig};
use candle_core::{CudaDevice, CudaStorage, DType, Device, Layout, Result, Tensor};

use super::{Asked, Gradients, Retrieve, Sizes};
use crate::kernels::{Kernels, RETRIEVE, RETRIEVE_PARTS, RETRIEVE_PLAIN};
use crate::ops::cuda::{
    Operand, PushKernelArg as _, THREADS, WrapErr as _, blocks, device_of, grid, variant, with_storage,
};

/// `Problem` of the kernels.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
struct Problem {
    q: u64,
    k: u64,
    v: u64,
    mask: u64,
    out: u64,
    log: u64,
    grad: u64,
    shift: u64,
    less: u64,
    grad_q: u64,
    grad_k: u64,
    grad_v: u64,
    partial: u64,
    partial_more: u64,
    beta: f64,
    batch: u32,
    n: u32,
    m: u32,
    d: u32,
    width: u32,
    period: u32,
    mask_batch: u32,
    mask_row: u32,
    shared_k: u32,
    shared_v: u32,
    splits: u32,
    tiles: u32,
}

// SAFETY: plain numbers, laid out as in C.
unsafe impl DeviceRepr for Problem {}

/// The widest rows that kernel.cu has a variant for.
const WIDEST: usize = 256;
/// Streamed columns whose products may be summed on the tensor cores before they are summed in f32: they cut off what a sum does
/// not hold, half a unit in its last place each time.
const IN_A_ROW: usize = 1 << 16;
/// Numbers that the results of parts may take up.
const ROOM: usize = 1 << 26;
/// Parts that a problem is cut into at most.
const MOST_SPLITS: usize = 1024;
/// What a part costs beside its blocks of columns, in their time: to begin, to write its result and to read it again.
const OF_A_PART: usize = 4;
/// Sizes, and blocks of a launch, that a GPU counts to.
const LARGEST: usize = (1 << 31) - 1;
/// Rows, columns and threads of a block of plain.cu, and columns of its result.
const PLAIN_ROWS: usize = 64;
const PLAIN_COLUMNS: usize = 32;
const PLAIN_THREADS: usize = 128;
const PLAIN_CHUNK: usize = 64;
/// Shared memory that a kernel has without asking for more.
const SHARED_WITHOUT_ASKING: u32 = 48 << 10;

/// Which side has the rows, and what is summed for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Forward,
    /// ∂Q
    OfQueries,
    /// ∂K and ∂V, those that are wanted.
    OfKeys {
        k: bool,
        v: bool,
    },
}

impl Pass {
    /// FORWARD, KEYS, NEED1 and NEED2 of the kernels.
    fn definitions(self) -> String {
        let (forward, keys, one, two) = match self {
            Self::Forward => (1, 0, 0, 0),
            Self::OfQueries => (0, 0, 1, 0),
            Self::OfKeys { k, v } => (0, 1, u32::from(k), u32::from(v)),
        };
        format!("FORWARD={forward} KEYS={keys} NEED1={one} NEED2={two}")
    }
}

/// How kernel.cu cuts a problem: see there.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    mt: usize,
    wm: usize,
    wn: usize,
    columns: usize,
    held: bool,
}

/// Blocks of columns in shared memory at a time: one that is worked on, one on the way.
const STAGES: usize = 2;

impl Tiling {
    /// What keeps everything in registers, for `rows` rows of up to `wide` numbers.
    fn of(half: bool, pass: Pass, wide: usize, rows: usize) -> Self {
        let (mt, columns, held) = match (half, pass, wide) {
            (true, Pass::Forward, ..=64) => (2, 64, true),
            (true, Pass::Forward, ..=128) => (2, 32, false),
            (true, Pass::OfQueries, ..=64) => (2, 64, false),
            (true, Pass::OfQueries, ..=128) => (2, 32, false),
            (true, Pass::OfKeys { .. }, ..=64) => (2, 32, false),
            (true, _, _) => (1, 32, false),
            (false, Pass::Forward, ..=64) => (2, 32, false),
            (false, Pass::Forward | Pass::OfQueries, ..=128) => (1, 32, false),
            (false, Pass::OfKeys { .. }, ..=64) => (1, 32, false),
            (false, _, _) => (1, 16, false),
        };
        match rows {
            // A warp has all rows, and every fourth part of the columns.
            ..=16 => {
                let columns = if half || wide <= 64 { 64 } else { 32 };
                Self { mt: 1, wm: 1, wn: 4, columns, held: false }
            }
            17..=64 => {
                Self { mt: 1, wm: 4, wn: 1, columns: if half && wide <= 128 { 64 } else { columns }, held }
            }
            _ => Self { mt, wm: 4, wn: 1, columns, held },
        }
    }

    fn rows(self) -> usize {
        16 * self.mt * self.wm
    }

    fn definitions(self) -> String {
        let Self { mt, wm, wn, columns, held } = self;
        format!("MT={mt} WM={wm} WN={wn} BN={columns} STAGES={STAGES} HELD={}", u32::from(held))
    }

    /// Bytes of shared memory, with rows of `d` and `v` numbers.
    fn shared(self, half: bool, pass: Pass, d: usize, v: usize) -> usize {
        let size = if half { 2 } else { 4 };
        let row = |columns: usize| if columns == 0 { 0 } else { columns * size + 16 };
        let inner = match pass {
            Pass::Forward => 0,
            Pass::OfQueries | Pass::OfKeys { k: true, .. } => row(v),
            Pass::OfKeys { .. } => 0,
        };
        let numbers = if matches!(pass, Pass::OfKeys { .. }) { 8 } else { 0 };
        self.rows() * (row(d) + inner) + STAGES * self.columns * (row(d) + row(v) + numbers)
    }
}

/// A number of columns that kernel.cu has a variant for.
fn filled(width: usize) -> usize {
    if width <= 128 { width.next_multiple_of(16) } else { width.next_multiple_of(64) }
}

/// A card, as far as it matters.
struct Card {
    multiprocessors: usize,
    /// Bytes that a block may have.
    shared: usize,
    tensor_cores: bool,
}

impl Card {
    fn of(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        let context = stream.context();
        let attribute = |which| context.attribute(which).w().map(|n| n.max(0) as usize);
        Ok(Self {
            multiprocessors: attribute(OfDevice::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1),
            shared: attribute(OfDevice::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            tensor_cores: context.compute_capability().w()?.0 >= 8,
        })
    }
}

/// KIND of the kernels.
fn kind(dtype: DType) -> Result<u32> {
    match dtype {
        DType::F16 => Ok(0),
        DType::BF16 => Ok(1),
        DType::F32 => Ok(2),
        DType::F64 => Ok(3),
        other => Err(candle_core::Error::UnsupportedDTypeForOp(other, "retrieve").bt()),
    }
}

/// What sums, and log-sum-exps, have.
fn sum_type(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Where a contiguous operand begins.
fn address(storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    let Some((from, _)) = layout.contiguous_offsets() else {
        candle_core::bail!("a contiguous operand is needed, call contiguous() first")
    };
    let stream = storage.device.cuda_stream();
    let start = match &storage.slice {
        Slice::F16(slice) => slice.device_ptr(&stream).0,
        Slice::BF16(slice) => slice.device_ptr(&stream).0,
        Slice::F32(slice) => slice.device_ptr(&stream).0,
        Slice::F64(slice) => slice.device_ptr(&stream).0,
        _ => return Err(candle_core::Error::UnsupportedDTypeForOp(storage.dtype(), "retrieve").bt()),
    };
    Ok(start + (from * storage.dtype().size_in_bytes()) as u64)
}

/// The same of a tensor, which must be there until the launch; 0 of an empty one.
fn address_of(tensor: &Tensor) -> Result<u64> {
    if tensor.elem_count() == 0 { Ok(0) } else { with_storage(tensor, address) }
}

/// Room on the device, freed behind what was launched before it goes.
fn empty(shape: impl Into<candle_core::Shape>, dtype: DType, device: &CudaDevice) -> Result<Tensor> {
    // SAFETY: every kernel that is given one writes all of it.
    unsafe { Tensor::empty(shape, dtype, &Device::Cuda(device.clone())) }
}

/// Launches a kernel of a variant with these arguments: what they point to must be as large as the kernel takes it to be.
macro_rules! launch {
    ($device:expr, $kernels:expr, $definitions:expr, $name:expr, $config:expr, $($arg:expr),* $(,)?) => {{
        let function = variant(&$device, $kernels, $definitions, $name)?;
        let config: LaunchConfig = $config;
        if config.shared_mem_bytes > SHARED_WITHOUT_ASKING {
            let which = OfFunction::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(which, config.shared_mem_bytes as i32).w()?;
        }
        let stream = $device.cuda_stream();
        let mut launch = stream.launch_builder(&function);
        $(let argument = $arg; launch.arg(&argument);)*
        // SAFETY: the kernel's parameters are the arguments given here, in number and type, and what they point to has the
        // sizes of the problem, which `sizes()` has checked.
        unsafe { launch.launch(config) }.w().map(|_| ())
    }};
}

/// A problem, and what is the same for all its launches.
struct Plan {
    problem: Problem,
    dtype: DType,
    device: CudaDevice,
    card: Card,
}

impl Plan {
    fn new(
        operation: &Retrieve,
        dtype: DType,
        device: &CudaDevice,
        [q, k, v]: [u64; 3],
        [shared_k, shared_v]: [bool; 2],
    ) -> Result<Self> {
        let Sizes { batch, n, m, d, v: width } = operation.sizes;
        // Queries of all batches with the same keys are those of one.
        let as_one = shared_k && (shared_v || width == 0) && batch * n <= LARGEST;
        let [batches, queries] = if as_one { [1, batch * n] } else { [batch, n] };
        if let Some(size) = [batches, queries, m, d, width].into_iter().find(|size| *size > LARGEST) {
            candle_core::bail!("retrieve: on a GPU sizes go up to {LARGEST}, and this is {size}");
        }
        let (mut mask, mut mask_batch, mut mask_row) = (0, 0, 0);
        if let Some(given) = &operation.mask {
            let (batches, rows, _) = given.dims3()?;
            mask = address_of(given)?;
            mask_batch = if batches == 1 { 0 } else { rows as u32 };
            mask_row = u32::from(rows > 1);
        }
        let problem = Problem {
            q,
            k,
            v,
            mask,
            beta: operation.beta,
            batch: batches as u32,
            n: queries as u32,
            m: m as u32,
            d: d as u32,
            width: width as u32,
            period: n.max(1) as u32,
            mask_batch,
            mask_row,
            shared_k: u32::from(shared_k),
            shared_v: u32::from(shared_v),
            splits: 1,
            ..Problem::default()
        };
        Ok(Self { problem, dtype, device: device.clone(), card: Card::of(device)? })
    }

    /// How kernel.cu cuts it; none where it is for plain.cu.
    fn tiling(&self, pass: Pass) -> Result<Option<(Tiling, Filled)>> {
        let (kind, p) = (kind(self.dtype)?, &self.problem);
        let (d, v) = (filled(p.d.max(1) as usize), filled(p.width as usize));
        let rows = if matches!(pass, Pass::OfKeys { .. }) { p.m } else { p.n };
        let tiling = Tiling::of(kind < 2, pass, d.max(v), rows as usize);
        let filled = Filled { d, v, shared: tiling.shared(kind < 2, pass, d, v) };
        let fits = d.max(v) <= WIDEST && filled.shared <= self.card.shared;
        Ok((kind < 3 && self.card.tensor_cores && fits).then_some((tiling, filled)))
    }

    /// Whether ∂K and ∂V come of one launch: their sums must have room in registers beside one another.
    fn both_of_keys(&self) -> Result<bool> {
        let tiling = self.tiling(Pass::OfKeys { k: true, v: true })?;
        Ok(tiling.is_some_and(|(_, filled)| filled.d.max(filled.v) <= 128))
    }

    /// Streams. Where the streamed side is cut into parts, or `in_parts` says so, what is found of each is returned instead of
    /// being written where the problem says.
    fn stream(&self, pass: Pass, in_parts: bool, problem: Problem) -> Result<Option<Parts>> {
        let kind = kind(self.dtype)?;
        let (d, width, batch) = (problem.d as usize, problem.width as usize, problem.batch as usize);
        let (n, m) = (problem.n as usize, problem.m as usize);
        let (rows, columns) = if matches!(pass, Pass::OfKeys { .. }) { (m, n) } else { (n, m) };
        let launch = match self.tiling(pass)? {
            Some((tiling, Filled { d, v, shared })) => {
                let mask = u32::from(problem.mask != 0);
                let tiles = tiling.definitions();
                Launch {
                    kernels: &RETRIEVE,
                    definitions: format!(
                        "KIND={kind} D={d} V={v} {tiles} MASK={mask} {}",
                        pass.definitions()
                    ),
                    rows: tiling.rows(),
                    columns: tiling.columns,
                    slots: tiling.wn,
                    chunks: 1,
                    threads: 32 * tiling.wm * tiling.wn,
                    shared,
                }
            }
            None => {
                let made = match pass {
                    Pass::Forward | Pass::OfKeys { k: false, .. } => width,
                    Pass::OfQueries | Pass::OfKeys { .. } => d,
                };
                Launch {
                    kernels: &RETRIEVE_PLAIN,
                    definitions: format!("KIND={kind} {}", pass.definitions()),
                    rows: PLAIN_ROWS,
                    columns: PLAIN_COLUMNS,
                    slots: 1,
                    chunks: made.div_ceil(PLAIN_CHUNK).max(1),
                    threads: PLAIN_THREADS,
                    shared: 0,
                }
            }
        };
        let (tiles, row_blocks) = (columns.div_ceil(launch.columns), rows.div_ceil(launch.rows));
        let resident =
            if launch.slots > 1 { 3 } else { 2 }.min(self.card.shared / launch.shared.max(1)).max(1);
        let balanced =
            splits(row_blocks * batch * launch.chunks, tiles, self.card.multiprocessors * resident);
        let in_a_row = if kind < 2 { columns.div_ceil(IN_A_ROW) } else { 1 };
        let of_each = batch * rows * launch.slots * d.max(width).max(1);
        let most = (ROOM / of_each.max(1)).clamp(1, tiles.max(1));
        let of_split = tiles.div_ceil(balanced.max(in_a_row).min(most)).max(1);
        let splits = tiles.div_ceil(of_split).max(1);
        let slots = splits * launch.slots;

        let mut problem = Problem { splits: splits as u32, tiles: of_split as u32, ..problem };
        let mut parts = None;
        if slots > 1 || in_parts {
            let room = |columns: Option<usize>| {
                let numbers = columns.map_or(0, |columns| slots * batch * rows * columns);
                empty(numbers, sum_type(self.dtype), &self.device)
            };
            let (first, second) = match pass {
                Pass::Forward => (room(Some(width))?, room(Some(1))?),
                Pass::OfQueries => (room(Some(d))?, room(None)?),
                Pass::OfKeys { k, v } => (room(k.then_some(d))?, room(v.then_some(width))?),
            };
            (problem.partial, problem.partial_more) = (address_of(&first)?, address_of(&second)?);
            parts = Some(Parts { slots, first, second });
        }
        let blocks = row_blocks * splits * batch * launch.chunks;
        if blocks > LARGEST {
            candle_core::bail!(
                "retrieve: {blocks} blocks are too many for one launch: take fewer queries at a time"
            );
        }
        if blocks > 0 {
            let config = LaunchConfig {
                grid_dim: (blocks as u32, 1, 1),
                block_dim: (launch.threads as u32, 1, 1),
                shared_mem_bytes: launch.shared as u32,
            };
            let name = if pass == Pass::Forward { "retrieve_forward" } else { "retrieve_backward" };
            launch!(self.device, launch.kernels, &launch.definitions, name, config, problem)?;
        }
        Ok(parts)
    }

    /// to (n) ← the sum of the slots of parts.
    fn sum(&self, slots: usize, parts: &Tensor, to: &Tensor) -> Result<()> {
        let n = to.elem_count();
        if n == 0 {
            return Ok(());
        }
        let definitions = format!("KIND={}", kind(self.dtype)?);
        let config = grid(blocks(n, THREADS), 1);
        let (from, to) = (address_of(parts)?, address_of(to)?);
        launch!(
            self.device,
            &RETRIEVE_PARTS,
            &definitions,
            "retrieve_sum",
            config,
            from,
            to,
            n as u64,
            slots as u32
        )
    }
}

/// How wide rows are in shared memory, without what stands between them, and how many bytes there must be of it.
#[derive(Debug, Clone, Copy)]
struct Filled {
    d: usize,
    v: usize,
    shared: usize,
}

/// A launch of a streaming kernel, but for how the streamed side is cut.
struct Launch {
    kernels: &'static Kernels,
    definitions: String,
    /// Of a block.
    rows: usize,
    /// Of a block, at a time.
    columns: usize,
    /// Parts that a block makes of its part.
    slots: usize,
    /// Blocks that share the columns of the result.
    chunks: usize,
    threads: usize,
    shared: usize,
}

/// What was found in the parts of the streamed side.
struct Parts {
    slots: usize,
    /// (slots, rows, columns): results, ∂Q or ∂K.
    first: Tensor,
    /// (slots, rows), log-sum-exps; or (slots, rows, columns), ∂V.
    second: Tensor,
}

/// How many parts to cut `tiles` blocks of columns into, where there are `blocks` of rows and `at_a_time` run at a time: those with
/// which the last multiprocessor is done first. Candidates fill it once, twice and so on.
fn splits(blocks: usize, tiles: usize, at_a_time: usize) -> usize {
    if blocks == 0 || tiles == 0 {
        return 1;
    }
    let time = |splits: usize| {
        let of_each = tiles.div_ceil(splits);
        (blocks * tiles.div_ceil(of_each)).div_ceil(at_a_time) * (of_each + OF_A_PART)
    };
    let most = tiles.min(MOST_SPLITS);
    let candidates = (1..=4).map(|waves| (waves * at_a_time / blocks).clamp(1, most));
    std::iter::once(1).chain(candidates).min_by_key(|&splits| (time(splits), splits)).unwrap_or(1)
}

/// The result or L, and L into the operation.
pub(super) fn forward(
    operation: &Retrieve,
    (q, lq): Operand<'_>,
    (k, lk): Operand<'_>,
    (v, lv): Operand<'_>,
) -> Result<CudaStorage> {
    if let (Asked::Log, Some(log)) = (operation.asked, operation.log.get()) {
        return with_storage(log, CudaStorage::try_clone);
    }
    let Sizes { batch, n, v: width, .. } = operation.sizes;
    let (dtype, device) = (q.dtype(), &q.device);
    let of = |storage: &CudaStorage, layout: &Layout| match layout.shape().elem_count() {
        0 => Ok(0),
        _ => address(storage, layout),
    };
    let operands = [of(q, lq)?, of(k, lk)?, of(v, lv)?];
    let shared = [lk.dims()[0] == 1, lv.dims()[0] == 1];
    let plan = Plan::new(operation, dtype, device, operands, shared)?;
    // SAFETY: the kernel writes all of it.
    let result = unsafe { device.alloc_uninit(&(batch, n, width).into(), dtype)? };
    let log = empty((batch, n), sum_type(dtype), device)?;
    let result_layout = Layout::contiguous((batch, n, width));
    let problem = Problem { out: of(&result, &result_layout)?, log: address_of(&log)?, ..plan.problem };
    if let Some(parts) = plan.stream(Pass::Forward, false, problem)? {
        let problem = Problem {
            partial: address_of(&parts.first)?,
            partial_more: address_of(&parts.second)?,
            ..problem
        };
        let definitions = format!("KIND={}", kind(dtype)?);
        let threads = if parts.slots > 64 { 1024 } else { 256 };
        let rows = problem.batch * problem.n;
        if rows > 0 {
            let config =
                LaunchConfig { grid_dim: (rows, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
            launch!(
                device,
                &RETRIEVE_PARTS,
                &definitions,
                "retrieve_combine",
                config,
                problem,
                parts.slots as u32
            )?;
        }
    }
    let given = match operation.asked {
        Asked::Result => result,
        Asked::Log => with_storage(&log, CudaStorage::try_clone)?,
    };
    // There is one forward pass for each operation.
    let _ = operation.log.set(log);
    Ok(given)
}

/// The gradients of queries, keys and values; those that are not needed are left out.
pub(super) fn backward(
    operation: &Retrieve,
    [q, k, v]: [&Tensor; 3],
    result: &Tensor,
    grad: &Tensor,
    [needs_q, needs_k, needs_v]: [bool; 3],
) -> Result<Gradients> {
    let Sizes { batch, n, v: width, .. } = operation.sizes;
    let (dtype, device) = (q.dtype(), device_of(q)?);
    let (q, k, v, grad) = (q.contiguous()?, k.contiguous()?, v.contiguous()?, grad.contiguous()?);
    let log = operation.known_log()?;
    let operands_shared = [k.dim(0)? == 1, v.dim(0)? == 1];
    let operands = [address_of(&q)?, address_of(&k)?, address_of(&v)?];
    let plan = Plan::new(operation, dtype, &device, operands, operands_shared)?;

    let numbers = || empty((batch, n), sum_type(dtype), &device);
    let (shift, less) = (numbers()?, numbers()?);
    let (grad_of_result, grad_of_log) = match operation.asked {
        Asked::Result => (address_of(&grad)?, 0),
        Asked::Log => (0, address_of(&grad)?),
    };
    let problem = Problem {
        out: if width == 0 { 0 } else { address_of(result)? },
        log: address_of(log)?,
        grad: grad_of_result,
        shift: address_of(&shift)?,
        less: address_of(&less)?,
        ..plan.problem
    };
    if batch * n > 0 {
        let definitions = format!("KIND={}", kind(dtype)?);
        let config = grid(blocks(batch * n, THREADS / 32), 1);
        launch!(device, &RETRIEVE_PARTS, &definitions, "retrieve_prepare", config, problem, grad_of_log)?;
    }

    let gradient =
        |needed: bool, like: &Tensor| needed.then(|| empty(like.shape(), dtype, &device)).transpose();
    let (gq, gk, gv) = (gradient(needs_q, &q)?, gradient(needs_k, &k)?, gradient(needs_v, &v)?);
    let at = |g: &Option<Tensor>| g.as_ref().map_or(Ok(0), address_of);
    let problem = Problem { grad_q: at(&gq)?, grad_k: at(&gk)?, grad_v: at(&gv)?, ..problem };
    if let Some(gq) = &gq
        && let Some(parts) = plan.stream(Pass::OfQueries, false, problem)?
    {
        plan.sum(parts.slots, &parts.first, gq)?;
    }
    let passes = match (needs_k, needs_v && width > 0) {
        (true, true) if plan.both_of_keys()? => vec![Pass::OfKeys { k: true, v: true }],
        (k, v) => {
            let of_k = k.then_some(Pass::OfKeys { k: true, v: false });
            of_k.into_iter().chain(v.then_some(Pass::OfKeys { k: false, v: true })).collect()
        }
    };
    for pass in passes {
        // Of keys that batches share there is a part for each batch.
        let batches = plan.problem.batch as usize;
        let in_parts = batches > 1 && operands_shared.contains(&true);
        let Some(parts) = plan.stream(pass, in_parts, problem)? else { continue };
        let (of_k, of_v) = match pass {
            Pass::OfKeys { k, v } => (k, v),
            Pass::Forward | Pass::OfQueries => (false, false),
        };
        let both =
            [(of_k, &gk, &parts.first, operands_shared[0]), (of_v, &gv, &parts.second, operands_shared[1])];
        for (made, gradient, of_parts, shared) in both {
            if let (true, Some(gradient)) = (made, gradient) {
                plan.sum(if shared { parts.slots * batches } else { parts.slots }, of_parts, gradient)?;
            }
        }
    }
    Ok((gq, gk, gv))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One query over 2²² keys fills the card once; many queries are not cut; what is too short to be worth it is not cut either.
    #[test]
    fn parts_fill_a_card() {
        assert_eq!(splits(1, 65_536, 396), 396);
        assert_eq!(splits(32, 256, 264), 8);
        assert_eq!(splits(264, 1000, 264), 1);
        assert_eq!(splits(5000, 1000, 264), 1);
        assert_eq!(splits(1, 1, 264), 1);
        assert_eq!((splits(0, 10, 264), splits(10, 0, 264)), (1, 1));
    }
}
