//! CUDA's driver on the CPU: `libcuda.so.1`, and what is used of cuBLAS and cuRAND, by interpreting PTX.
//!
//! A program that opens CUDA's libraries when it runs takes this for a device where it stands first in `LD_LIBRARY_PATH`
//! (`benches/gpu/emulated.sh` puts it there). So the tests of kernels run where there is no GPU, and see what a GPU lets pass:
//! accesses outside of what is allocated, races for shared memory, copies that nobody waits for, barriers that not all reach.
//! What it says of speed means nothing; that a GPU agrees is seen on a GPU only.
//!
//! | variable | |
//! |---|---|
//! | `EMULATED_COMPUTE_CAP` | the device's compute capability, such as `80`; default `90` |
//! | `EMULATED_BLOCK_ORDER` | `reverse` or `shuffled:SEED`: the order of blocks, and of the warps of a block |
//! | `EMULATED_CHECK` | a list of `shared` (races for shared memory; the default), `init` (reads of memory that was never written), `none` |
//! | `EMULATED_RECORD` | a file that gets a line for each launch, copy and product |
//!
//! Not there: textures, clusters, tensor memory, `wgmma`, cooperative launches, graphs, calls through pointers, recursion, `printf`.

mod cublas;
mod curand;
mod decode;
mod driver;
pub mod execute;
mod fault;
mod launch;
mod memory;
mod program;
mod ptx;
mod record;

pub use execute::Shape;
pub use fault::{Fault, Kind, Result};
pub use launch::{Checks, Emulator, Order};
