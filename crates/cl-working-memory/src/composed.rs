//! A step of the memory from the functions of [`addressing`], its state in the graph: slower than [`MemoryAccess::step`], which
//! is tested against it, but its contents can be part of a loss, and its gradients can be differentiated again.

use candle_core::{DType, Device, Tensor};
use cl_core::Result;

use crate::MemoryAccess;
use crate::addressing::{self, allocation, content, retention, usage};
use crate::interface::Interface;

/// What the memory holds, tensors of the graph: b sequences, n slots of width w, r heads.
#[derive(Debug, Clone)]
pub struct Cells {
    /// M (b, n, w).
    pub contents: Tensor,
    /// (b, n), of no meaning without allocation.
    pub usage: Tensor,
    /// (b, n)
    pub write: Tensor,
    /// (b, r, n)
    pub read: Tensor,
    /// (b, n) and (b, n, n); None without links.
    pub linkage: Option<(Tensor, Tensor)>,
}

impl Cells {
    /// All zero.
    ///
    /// # Errors
    /// candle's own.
    pub fn zeros(
        access: &MemoryAccess,
        slots: usize,
        batch: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let zeros = |dims: &[usize]| Tensor::zeros([&[batch], dims].concat(), dtype, device);
        let linkage = match access.link {
            true => Some((zeros(&[slots])?, zeros(&[slots, slots])?)),
            false => None,
        };
        Ok(Self {
            contents: zeros(&[slots, access.width])?,
            usage: zeros(&[slots])?,
            write: zeros(&[slots])?,
            read: zeros(&[access.heads, slots])?,
            linkage,
        })
    }
}

/// One step: what is read (b, r·w), and the cells after.
///
/// # Errors
/// [`Error::Mismatch`](cl_core::Error::Mismatch) for other shapes.
pub fn step(access: &MemoryAccess, xi: &Tensor, cells: &Cells) -> Result<(Tensor, Cells)> {
    let asked = Interface::new(access, xi)?;
    let mut used = cells.usage.clone();
    let of_key = content(&cells.contents, &asked.write_key, &asked.write_strength)?.squeeze(1)?;
    let write = match &asked.allocation {
        Some((free, gate)) => {
            let before = if access.stop_usage_gradient { cells.write.detach() } else { cells.write.clone() };
            used = usage(&cells.usage, &before, &retention(free, &cells.read)?)?;
            addressing::write_weights(&of_key, Some((&allocation(&used)?, gate)), &asked.write_gate)?
        }
        None => addressing::write_weights(&of_key, None, &asked.write_gate)?,
    };
    let contents = addressing::write(&cells.contents, &write, &asked.erase, &asked.write)?;
    let by_content = content(&contents, &asked.read_keys, &asked.read_strengths)?;
    let (read, linkage) = match (&cells.linkage, &asked.modes) {
        (Some((precedence, links)), Some(modes)) => {
            let links = addressing::links(links, &write, precedence)?;
            let precedence = addressing::precedence(precedence, &write)?;
            let backward = addressing::backward(&links, &cells.read)?;
            let forward = addressing::forward(&links, &cells.read)?;
            let read = addressing::read_weights(modes, &backward, &by_content, &forward)?;
            (read, Some((precedence, links)))
        }
        _ => (by_content, None),
    };
    let reads = addressing::read(&contents, &read)?.flatten_from(1)?;
    Ok((reads, Cells { contents, usage: used, write, read, linkage }))
}
