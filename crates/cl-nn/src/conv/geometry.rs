//! The sizes of a convolution, checked, and how its work is cut up.

use cl_core::{Error, Result};

use super::Conv2dConfig;

/// Bytes of column buffer that stay in a second-level cache beside what is read and written.
const COLUMN_BYTES: usize = 384 << 10;

/// Chunks that an operation is divided into at most: enough to keep many cores busy, few enough that
/// one weight gradient for each is nothing beside the batch.
const CHUNKS: usize = 16;

/// Multiplications below which threads cost more than they bring.
const PARALLEL_FROM: usize = 1 << 22;

/// Sizes of a convolution. `h`, `w` are the image's, `oh`, `ow` the result's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub n: usize,
    pub c: usize,
    pub h: usize,
    pub w: usize,
    pub o: usize,
    pub kh: usize,
    pub kw: usize,
    pub stride: usize,
    pub padding: usize,
    pub oh: usize,
    pub ow: usize,
}

impl Geometry {
    /// Of images `x` (n, c, h, w) under kernels `weight` (o, c, kh, kw).
    pub(super) fn new(x: &[usize], weight: &[usize], config: Conv2dConfig) -> Result<Self> {
        let &[n, c, h, w] = x else {
            return Err(Error::mismatch("conv2d", "images of shape (n, c, h, w)", format!("{x:?}")));
        };
        let &[o, wc, kh, kw] = weight else {
            return Err(Error::mismatch("conv2d", "a weight of shape (o, c, kh, kw)", format!("{weight:?}")));
        };
        if c * h * w == 0 {
            return Err(Error::invalid("x", format!("has images without pixels: shape {x:?}")));
        }
        if weight.contains(&0) {
            return Err(Error::invalid("weight", format!("is empty: shape {weight:?}")));
        }
        if c != wc {
            return Err(Error::mismatch(
                "conv2d",
                format!("images of {wc} channels, as the weight {weight:?} has"),
                format!("{c} channels, shape {x:?}"),
            ));
        }
        let Conv2dConfig { stride, padding } = config;
        let (oh, ow) =
            (positions("conv2d", h, padding, kh, stride)?, positions("conv2d", w, padding, kw, stride)?);
        Ok(Self { n, c, h, w, o, kh, kw, stride, padding, oh, ow })
    }

    /// Width of the image with its padding.
    pub(super) fn padded_w(&self) -> usize {
        self.w + 2 * self.padding
    }

    /// Elements of one padded image.
    pub(super) fn padded_image(&self) -> usize {
        (self.h + 2 * self.padding) * self.padded_w() * self.c
    }

    /// Elements of one image.
    pub(super) fn image(&self) -> usize {
        self.c * self.h * self.w
    }

    /// Positions of the kernel in one image.
    pub(super) fn positions(&self) -> usize {
        self.oh * self.ow
    }

    /// Elements under the kernel: the inner size of the products.
    pub(super) fn patch(&self) -> usize {
        self.kh * self.kw * self.c
    }

    /// Images that are worked on at once, such that their columns fit in the cache; at least one.
    pub(super) fn block<T>(&self) -> usize {
        let columns = self.positions() * self.patch() * size_of::<T>();
        (COLUMN_BYTES / columns.max(1)).clamp(1, self.n.max(1))
    }

    /// Rows of the result that are worked on at once within a block of `images`; at least one.
    pub(super) fn rows<T>(&self, images: usize) -> usize {
        let columns = self.ow * self.patch() * size_of::<T>();
        (COLUMN_BYTES / columns.max(1)).clamp(1, (images * self.oh).max(1))
    }

    /// Images of a chunk, the unit of parallel work: whole blocks. It depends on the sizes alone,
    /// never on the number of threads, and so do the sums over chunks.
    pub(super) fn chunk<T>(&self) -> usize {
        let block = self.block::<T>();
        block * self.n.div_ceil(block * CHUNKS).max(1)
    }

    /// Whether threads pay.
    pub(super) fn parallel(&self) -> bool {
        let work = self.n * self.positions() * self.patch() * self.o;
        work >= PARALLEL_FROM && rayon::current_num_threads() > 1
    }
}

/// Positions of a window of `kernel` pixels over `size` pixels.
pub(super) fn positions(
    op: &'static str,
    size: usize,
    padding: usize,
    kernel: usize,
    stride: usize,
) -> Result<usize> {
    if stride == 0 {
        return Err(Error::invalid("stride", format!("{op} needs a stride of at least 1, got 0")));
    }
    if kernel == 0 {
        return Err(Error::invalid("kernel", format!("{op} needs a kernel of at least 1 pixel, got 0")));
    }
    let padded = padding.checked_mul(2).and_then(|p| p.checked_add(size)).ok_or_else(|| {
        Error::invalid("padding", format!("{op} cannot pad {size} pixels by {padding} on each side"))
    })?;
    if kernel > padded {
        return Err(Error::mismatch(
            op,
            format!("a kernel within the image's {size} pixels and {padding} of padding on each side"),
            format!("a kernel of {kernel} pixels"),
        ));
    }
    Ok((padded - kernel) / stride + 1)
}
