//! A kernel, ready to run: its instructions with registers as numbers and jumps as indices.

use crate::execute::lanes::{Compare, Four, One, Three, Two};
use crate::ptx::module::Space;

/// A register of the register file.
pub type Reg = u16;

/// The register that holds what is always the same for a thread of a block.
#[derive(Debug, Clone, Copy)]
pub struct Special;

impl Special {
    /// Names in the order of their registers, from register 0.
    pub const NAMES: [&'static str; 27] = [
        "%tid.x",
        "%tid.y",
        "%tid.z",
        "%ntid.x",
        "%ntid.y",
        "%ntid.z",
        "%ctaid.x",
        "%ctaid.y",
        "%ctaid.z",
        "%nctaid.x",
        "%nctaid.y",
        "%nctaid.z",
        "%laneid",
        "%warpid",
        "%nwarpid",
        "%lanemask_eq",
        "%lanemask_le",
        "%lanemask_lt",
        "%lanemask_ge",
        "%lanemask_gt",
        "%dynamic_smem_size",
        "%total_smem_size",
        "%smid",
        "%nsmid",
        "%clock",
        "%clock64",
        "%gridid",
    ];

    /// The register of a name.
    pub fn register(name: &str) -> Option<Reg> {
        Self::NAMES.iter().position(|known| *known == name).map(|at| at as Reg)
    }
}

/// The predicate that always holds.
pub const TRUE: Reg = 0;
/// The predicate that never holds.
pub const FALSE: Reg = 1;

/// How two predicates are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logic {
    /// Both.
    And,
    /// One or both.
    Or,
    /// One of them.
    Xor,
}

/// An operation of an atomic access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Atomic {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    Compare,
    Increment,
    Decrement,
}

/// The type that an atomic access works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Number {
    U16,
    U32,
    S32,
    U64,
    S64,
    F16,
    Bf16,
    F16x2,
    Bf16x2,
    F32,
    F64,
}

impl Number {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::S32 | Self::F16x2 | Self::Bf16x2 | Self::F32 => 4,
            Self::U64 | Self::S64 | Self::F64 => 8,
        }
    }
}

/// A predicate as an operand, maybe negated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Its register.
    pub register: Reg,
    /// It is negated.
    pub negated: bool,
}

/// An address: a register and a constant, in a space.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// Which memory.
    pub space: Space,
    /// The register that holds its first part.
    pub base: Reg,
    /// What is added.
    pub offset: i64,
}

/// How the lanes of a shuffle choose whom they read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// What is asked of all threads of a warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Vote {
    Any,
    All,
    Uniform,
    Ballot,
}

/// How a warp's values are reduced by `redux`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reduction {
    Add,
    MinU,
    MaxU,
    MinS,
    MaxS,
    And,
    Or,
    Xor,
}

/// How the predicates of a block are reduced at a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtBarrier {
    /// Only wait.
    Wait,
    /// Do not wait.
    Arrive,
    /// How many hold: into a register.
    Count(Reg, Condition),
    /// Whether all hold: into a predicate.
    All(Reg, Condition),
    /// Whether any holds: into a predicate.
    Any(Reg, Condition),
}

/// The shape and types of an `mma.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mma {
    /// m16n8k8 and m16n8k16 of f16, summed in f32.
    F16 {
        /// Eight or sixteen.
        k: usize,
        /// The sums are f16 too.
        half_sums: bool,
    },
    /// The same of bf16, summed in f32.
    Bf16 {
        /// Eight or sixteen.
        k: usize,
    },
    /// m16n8k4 and m16n8k8 of tf32.
    Tf32 {
        /// Four or eight.
        k: usize,
    },
    /// m8n8k4 of f64.
    F64,
}

/// An instruction.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Op {
    /// Nothing: fences, hints.
    Nothing,
    One(One, Reg, Reg),
    Two(Two, Reg, Reg, Reg),
    Three(Three, Reg, Reg, Reg, Reg),
    Four(Four, Reg, [Reg; 4]),
    /// Two predicates from a comparison and, combined, a third.
    Compare {
        holds: Compare,
        p: Reg,
        q: Reg,
        a: Reg,
        b: Reg,
        with: Option<(Logic, Condition)>,
    },
    Select {
        d: Reg,
        a: Reg,
        b: Reg,
        by: Condition,
    },
    Predicate {
        logic: Logic,
        p: Reg,
        a: Condition,
        b: Condition,
    },
    /// Sums with a carry: what is added is multiplied or not.
    Carry {
        function: Carry,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
        reads: bool,
        writes: bool,
    },
    Pack {
        d: Reg,
        from: Box<[Reg]>,
        width: u32,
    },
    Unpack {
        to: Box<[Option<Reg>]>,
        a: Reg,
        width: u32,
    },
    Jump(u32),
    JumpTable {
        table: Box<[u32]>,
        index: Reg,
    },
    Exit,
    Trap,
    /// What cannot be done, if it is reached.
    Unknown(Box<str>),
    Assert {
        message: Address,
        file: Address,
        line: Address,
        function: Address,
    },
    Load {
        at: Address,
        size: u8,
        signed: bool,
        to: Box<[Option<Reg>]>,
    },
    Store {
        at: Address,
        size: u8,
        from: Box<[Reg]>,
    },
    Atomic {
        at: Address,
        what: Atomic,
        number: Number,
        d: Option<Reg>,
        a: Reg,
        b: Reg,
    },
    Barrier {
        id: Reg,
        count: Option<Reg>,
        what: AtBarrier,
    },
    WarpBarrier {
        members: Reg,
    },
    Shuffle {
        how: Shuffle,
        d: Reg,
        p: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
        members: Reg,
    },
    Vote {
        how: Vote,
        d: Reg,
        by: Condition,
        members: Reg,
    },
    Match {
        all: Option<Reg>,
        wide: bool,
        d: Reg,
        a: Reg,
        members: Reg,
    },
    Reduce {
        how: Reduction,
        d: Reg,
        a: Reg,
        members: Reg,
    },
    ActiveMask {
        d: Reg,
    },
    Copy {
        to: Address,
        from: Address,
        size: u8,
        read: Option<Reg>,
    },
    CopyCommit,
    /// Until at most so many groups are under way; none for `wait_all`, which counts those that are not committed too.
    CopyWait {
        left: Option<u32>,
    },
    LoadMatrix {
        at: Address,
        to: Box<[Reg]>,
        transposed: bool,
    },
    StoreMatrix {
        at: Address,
        from: Box<[Reg]>,
        transposed: bool,
    },
    Mma {
        shape: Mma,
        d: Box<[Reg]>,
        a: Box<[Reg]>,
        b: Box<[Reg]>,
        c: Box<[Reg]>,
    },
}

/// A sum with a carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Carry {
    Add32,
    Sub32,
    MadLow32,
    MadHigh32,
    Add64,
    Sub64,
    MadLow64,
    MadHigh64,
}

/// Where an instruction stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Line of the PTX.
    pub line: u32,
    /// File and line of the source by `.loc`; 0 for none.
    pub source: (u32, u32),
}

/// A kernel.
#[derive(Debug)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its instructions.
    pub ops: Vec<Op>,
    /// Their guards: where the condition does not hold, nothing is done.
    pub guards: Vec<Condition>,
    /// Where they stand.
    pub places: Vec<Place>,
    /// How many registers.
    pub rows: usize,
    /// How many predicates.
    pub predicates: usize,
    /// Registers that hold literals and addresses.
    pub constants: Vec<(Reg, u64)>,
    /// Bytes of a thread's own memory.
    pub local: usize,
    /// Bytes of shared memory whose size is known; the rest begins there.
    pub shared: usize,
    /// Offset and size of each parameter.
    pub parameters: Vec<(usize, usize)>,
    /// Bytes of all parameters.
    pub parameter_bytes: usize,
    /// The smallest access to shared memory, in bytes.
    pub granule: usize,
    /// Largest block.
    pub max_threads: Option<u32>,
}
