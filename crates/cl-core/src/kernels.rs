//! The CUDA kernels of the operations, as text. They are compiled by NVRTC on the machine that they run on; that they compile
//! can be seen on any machine, which is why the list is here without the feature `cuda` too.

/// The kernels of one operation.
#[derive(Debug, Clone, Copy)]
pub struct Kernels {
    /// Of the operation.
    pub name: &'static str,
    /// What stands in its `kernel.cu`.
    text: &'static str,
    /// What the text may be compiled for: one of each kind, where it depends on types and sizes; [`Kernels::source`] takes them.
    pub variants: &'static [&'static str],
}

/// What stands before each of them.
const PRELUDE: &str = include_str!("ops/cuda/prelude.cuh");

/// What NVRTC is called with, beside the architecture. Products and sums are not contracted, as on the CPU: what goes element
/// by element gives the same bits there and here.
pub const OPTIONS: &[&str] = &["--fmad=false", "--std=c++17"];

impl Kernels {
    /// Kernels that stand behind the prelude.
    pub(crate) const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, variants: &[""] }
    }

    /// The whole source, for NVRTC, with these definitions before it: NAME=VALUE with spaces between.
    pub fn source(&self, definitions: &str) -> String {
        let mut source = String::new();
        for (name, value) in definitions.split_whitespace().filter_map(|one| one.split_once('=')) {
            source.push_str(&format!("#define {name} {value}\n"));
        }
        source + &format!("{PRELUDE}\n#line 1 \"{}/kernel.cu\"\n{}", self.name, self.text)
    }
}

/// `CONSTANT "name"`, and the files of operations that stand before its kernels: NVRTC has no include path.
macro_rules! all {
    ($($constant:ident $name:literal $(after $($shared:literal)+)?),*; $($more:ident),*) => {
        $(pub(crate) const $constant: Kernels = Kernels::new($name, concat!(
            $($("#line 1 \"", $shared, "\"\n", include_str!(concat!("ops/", $shared)), "\n",)+
              "#line 1 \"", $name, "/kernel.cu\"\n",)?
            include_str!(concat!("ops/", $name, "/kernel.cu")),
        ));)*

        /// All there are.
        pub const ALL: &[Kernels] = &[$($constant,)* $($more),*];
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
    SUM_TREE "sum_tree";
    RETRIEVE, RETRIEVE_PLAIN, RETRIEVE_PARTS
);

macro_rules! retrieve {
    ($name:literal, $file:literal, $variants:expr) => {
        Kernels {
            name: $name,
            text: concat!(
                include_str!("ops/retrieve/common.cuh"),
                include_str!(concat!("ops/retrieve/", $file))
            ),
            variants: $variants,
        }
    };
}
pub(crate) const RETRIEVE: Kernels = retrieve!(
    "retrieve",
    "kernel.cu",
    &[
        "KIND=0 D=128 V=128 MT=2 WM=4 WN=1 BN=32 STAGES=2 HELD=0 MASK=0 FORWARD=1 KEYS=0 NEED1=0 NEED2=0",
        "KIND=1 D=64 V=64 MT=2 WM=4 WN=1 BN=64 STAGES=2 HELD=1 MASK=1 FORWARD=1 KEYS=0 NEED1=0 NEED2=0",
        "KIND=1 D=80 V=48 MT=1 WM=1 WN=4 BN=64 STAGES=2 HELD=0 MASK=0 FORWARD=1 KEYS=0 NEED1=0 NEED2=0",
        "KIND=1 D=128 V=128 MT=1 WM=4 WN=1 BN=32 STAGES=2 HELD=0 MASK=0 FORWARD=0 KEYS=1 NEED1=1 NEED2=1",
        "KIND=1 D=64 V=0 MT=1 WM=4 WN=1 BN=64 STAGES=2 HELD=0 MASK=0 FORWARD=1 KEYS=0 NEED1=0 NEED2=0",
        "KIND=2 D=64 V=64 MT=2 WM=4 WN=1 BN=32 STAGES=2 HELD=0 MASK=0 FORWARD=1 KEYS=0 NEED1=0 NEED2=0",
        "KIND=1 D=128 V=128 MT=2 WM=4 WN=1 BN=32 STAGES=2 HELD=0 MASK=0 FORWARD=0 KEYS=0 NEED1=1 NEED2=0",
        "KIND=2 D=64 V=128 MT=1 WM=4 WN=1 BN=16 STAGES=2 HELD=0 MASK=1 FORWARD=0 KEYS=1 NEED1=1 NEED2=1",
        "KIND=2 D=256 V=256 MT=1 WM=4 WN=1 BN=16 STAGES=2 HELD=0 MASK=0 FORWARD=0 KEYS=1 NEED1=0 NEED2=1"
    ]
);
pub(crate) const RETRIEVE_PLAIN: Kernels = retrieve!(
    "retrieve_plain",
    "plain.cu",
    &[
        "KIND=3 FORWARD=1 KEYS=0 NEED1=0 NEED2=0",
        "KIND=0 FORWARD=0 KEYS=0 NEED1=1 NEED2=0",
        "KIND=1 FORWARD=0 KEYS=1 NEED1=1 NEED2=0",
        "KIND=2 FORWARD=0 KEYS=1 NEED1=0 NEED2=1"
    ]
);
pub(crate) const RETRIEVE_PARTS: Kernels =
    retrieve!("retrieve_parts", "parts.cu", &["KIND=0", "KIND=1", "KIND=2", "KIND=3"]);
