//! The error type that every library crate of the workspace returns.

use std::path::{Path, PathBuf};

/// The result of every fallible function of the workspace's libraries.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and what to do about it.
///
/// Messages are lower-case fragments, so that they read well behind a `context: `.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// candle refused an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),

    /// An argument outside of what the function accepts.
    #[error("{what}: {why}")]
    Invalid {
        /// The argument, by the name the caller knows it by.
        what: String,
        /// What is wrong with it and what would be right.
        why: String,
    },

    /// Two things that should fit together do not.
    #[error("{op}: expected {expected}, got {got}")]
    Mismatch {
        /// The operation that compared them.
        op: &'static str,
        /// What it needs.
        expected: String,
        /// What it was given.
        got: String,
    },

    /// Parameters that the loss does not reach. candle drops such gradients without a word; here it
    /// is an error unless the parameter is declared frozen.
    #[error(
        "no gradient reaches {}: some layer on the way has no backward (candle's LayerNorm, RmsNorm and \
         softmax_last_dim have none), or the loss does not use it; freeze it if that is intended",
        .parameters.join(", ")
    )]
    NoGradient {
        /// Their names.
        parameters: Vec<String>,
    },

    /// The operating system refused a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },

    /// A file that can be read but is not what it should be: truncated, altered, foreign or newer.
    #[error("{}: {why}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },

    /// Something that is not on this machine and could not be had.
    #[error("{what} is not available: {why}")]
    Unavailable {
        /// What is missing.
        what: String,
        /// Where it was looked for and what to do.
        why: String,
    },

    /// The caller asked to stop; what was finished before is kept.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// An argument outside of what the function accepts.
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), why: why.into() }
    }

    /// Two things that should fit together do not.
    pub fn mismatch(op: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Mismatch { op, expected: expected.into(), got: got.into() }
    }

    /// A file that is not what it should be.
    pub fn format(path: impl AsRef<Path>, why: impl Into<String>) -> Self {
        Self::Format { path: path.as_ref().to_owned(), why: why.into() }
    }

    /// For `map_err`: names the file that the operating system refused.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().to_owned(), source }
    }
}
