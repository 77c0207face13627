//! The CUDA kernels of the operations, as text. They are compiled by NVRTC on the machine that they run on; that they compile
//! can be seen on any machine, which is why the list is here without the feature `cuda` too.

/// The kernels of one operation.
#[derive(Debug, Clone, Copy)]
pub struct Kernels {
    /// Of the operation.
    pub name: &'static str,
    /// What stands in its `kernel.cu`.
    text: &'static str,
}

/// What stands before each of them.
const PRELUDE: &str = include_str!("ops/cuda/prelude.cuh");

/// What NVRTC is called with, beside the architecture. Products and sums are not contracted, as on the CPU: what goes element
/// by element gives the same bits there and here.
pub const OPTIONS: &[&str] = &["--fmad=false", "--std=c++17"];

impl Kernels {
    /// Kernels that stand behind the prelude.
    pub(crate) const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text }
    }

    /// The whole source, for NVRTC.
    pub fn source(&self) -> String {
        format!("{PRELUDE}\n#line 1 \"{}/kernel.cu\"\n{}", self.name, self.text)
    }
}

macro_rules! all {
    ($($constant:ident $name:literal),*) => {
        $(pub(crate) const $constant: Kernels =
            Kernels::new($name, include_str!(concat!("ops/", $name, "/kernel.cu")));)*

        /// All there are.
        pub const ALL: &[Kernels] = &[$($constant),*];
    };
}
all!(
    ACCUMULATE_SQ "accumulate_sq",
    ADAM_STEP "adam_step",
    CROSS_ENTROPY "cross_entropy",
    LINEAR "linear",
    LOSS_SCALE "loss_scale",
    PATH_INTEGRAL "path_integral",
    PROJECT "project",
    QUADRATIC_PENALTY "quadratic_penalty",
    SGD_STEP "sgd_step"
);
