//! What is wrong, in plain words.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A loss is NaN or infinite.
    LossNotFinite,
    /// The memory takes more than it may.
    MemoryOverBudget,
    /// Few classes, or few tasks, fill the memory.
    MemoryUnbalanced,
    /// Nearly all of the memory is known by heart while the tasks it stands for are forgotten.
    MemoryTooEasy,
    /// Samples of an old task are stored and not drawn.
    OldDataNeverDrawn,
    /// The priorities are all equal, all 0, not finite, or a few have everything.
    PrioritiesDegenerate,
    /// What the current task wants is against what past tasks want.
    GradientConflict,
    /// The importance of nearly all parameters is 0.
    FisherNearZero,
    /// The importance of many parameters is the same, the largest.
    FisherSaturated,
    /// A consolidation does not change the importance.
    ImportanceNotMoving,
    /// The penalty does not hold the old tasks.
    LambdaTooSmall,
    /// The penalty does not let the new tasks be learned.
    LambdaTooLarge,
    /// A task ends while it is still being learned.
    AdaptationTooSlow,
    /// Old tasks are forgotten, and nothing was seen that works against it.
    ForgettingUnprotected,
    /// Old tasks are forgotten in spite of a memory or a penalty that shows no other fault.
    ForgettingInSpiteOfProtection,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LossNotFinite => "loss not finite",
            Self::MemoryOverBudget => "memory over budget",
            Self::MemoryUnbalanced => "memory unbalanced",
            Self::MemoryTooEasy => "memory too easy",
            Self::OldDataNeverDrawn => "old data never drawn",
            Self::PrioritiesDegenerate => "priorities degenerate",
            Self::GradientConflict => "gradients in conflict",
            Self::FisherNearZero => "Fisher near zero",
            Self::FisherSaturated => "Fisher saturated",
            Self::ImportanceNotMoving => "importance not moving",
            Self::LambdaTooSmall => "λ too small",
            Self::LambdaTooLarge => "λ too large",
            Self::AdaptationTooSlow => "adaptation too slow",
            Self::ForgettingUnprotected => "forgetting, unprotected",
            Self::ForgettingInSpiteOfProtection => "forgetting in spite of protection",
        })
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look; it may be meant.
    Hint,
    /// It costs accuracy, time or memory.
    Warning,
    /// A part does not do what it is there for.
    Fault,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hint => "Hint",
            Self::Warning => "Warning",
            Self::Fault => "Fault",
        })
    }
}

/// One thing that is wrong. Printed, it is a paragraph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in plain words; whole sentences.
    pub what: String,
    /// The numbers that show it, and where they were seen; tasks count from 1.
    pub evidence: String,
    /// What to change, and to what.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, severity, what, evidence, remedy } = self;
        write!(f, "{severity}, {kind}. {what} Seen: {evidence} To do: {remedy}")
    }
}
