//! What can go wrong in a kernel, a copy or a text of PTX, and what the driver's caller is told of it.

use std::fmt;

/// The kinds that CUDA has a code for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bad arguments of a call.
    InvalidValue,
    /// PTX that cannot be read, or has what the emulator does not know.
    InvalidPtx,
    /// Something of this name is not there.
    NotFound,
    /// Outside of what is allocated, freed, not yet written, or raced for.
    IllegalAddress,
    /// An address that is no multiple of the access's size.
    MisalignedAddress,
    /// A barrier that not all reach, a trap.
    LaunchFailed,
    /// `assert` in a kernel.
    Assert,
    /// Not done by the emulator.
    NotSupported,
    /// No memory.
    OutOfMemory,
}

impl Kind {
    /// `CUresult`.
    pub fn code(self) -> u32 {
        match self {
            Self::InvalidValue => 1,
            Self::OutOfMemory => 2,
            Self::InvalidPtx => 218,
            Self::NotFound => 500,
            Self::IllegalAddress => 700,
            Self::Assert => 710,
            Self::MisalignedAddress => 716,
            Self::LaunchFailed => 719,
            Self::NotSupported => 801,
        }
    }
}

/// An error with its whole text.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Its kind.
    pub kind: Kind,
    /// What was wrong, where, and with which address or name.
    pub text: String,
}

/// A result of the emulator.
pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// An error of this kind.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// PTX that cannot be read.
    pub fn ptx(line: u32, text: impl fmt::Display) -> Self {
        Self::new(Kind::InvalidPtx, format!("line {line} of the PTX: {text}"))
    }

    /// The same, with what it happened in before it.
    #[must_use]
    pub fn within(self, place: impl fmt::Display) -> Self {
        Self { text: format!("{place}: {}", self.text), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
