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

/// `CONSTANT "name"`, and the files of operations that stand before its kernels: NVRTC has no include path.
macro_rules! all {
    ($($constant:ident $name:literal $(after $($shared:literal)+)?),*) => {
        $(pub(crate) const $constant: Kernels = Kernels::new($name, concat!(
            $($("#line 1 \"", $shared, "\"\n", include_str!(concat!("ops/", $shared)), "\n",)+
              "#line 1 \"", $name, "/kernel.cu\"\n",)?
            include_str!(concat!("ops/", $name, "/kernel.cu")),
        ));)*

        /// All there are.
        pub const ALL: &[Kernels] = &[$($constant),*];
    };
}
all!(
    ACCUMULATE_SQ "accumulate_sq",
    ADAM_STEP "adam_step",
    ALLOCATION "allocation" after "cuda/sort.cuh" "allocation/allocate.cuh",
    BEST_PAIRS "best_pairs" after "cuda/sort.cuh",
    CROSS_ENTROPY "cross_entropy",
    LINEAR "linear",
    LINK "link",
    LSTM_CELL "lstm_cell",
    MEMORY_ACCESS "memory_access" after "cuda/sort.cuh" "allocation/allocate.cuh" "memory_access/layout.cuh"
        "memory_access/block.cuh" "memory_access/forward.cuh" "memory_access/backward.cuh",
    LOSS_SCALE "loss_scale",
    PATH_INTEGRAL "path_integral",
    PROJECT "project",
    QUADRATIC_PENALTY "quadratic_penalty",
    RING "ring",
    SGD_STEP "sgd_step",
    SUM_TREE "sum_tree"
);
