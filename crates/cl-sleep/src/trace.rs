//! What is known of an experience beside its content.

use serde::{Deserialize, Serialize};

/// What is known of an experience beside its content: what priorities are made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Its number in the stream, from 0: its name, and when it came.
    pub id: u64,
    /// How much it mattered when it came, in [0, 1]: the tag that emotion or reward leaves.
    pub salience: f32,
    /// How much it is worth, at least 0; 1 where nobody says.
    pub importance: f32,
    /// The error of prediction when it was last learnt, at least 0. One that nobody has measured yet has the largest that
    /// is known, so that it is looked at once.
    pub surprise: f32,
    /// What learning something else would do to it, at least 0; see [`interference`](crate::interference). As
    /// [`surprise`](Self::surprise) where nobody has measured it.
    pub interference: f32,
    /// How often it was replayed.
    pub replays: u32,
    /// What is left of it in the fast memory: 1 when it comes, less where [`Fading`](crate::Fading) is asked for.
    pub strength: f32,
}

/// What is said of experiences when they come, one number for each; whatever is not said has its default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tags<'a> {
    /// See [`Trace::salience`]; 0.
    pub salience: Option<&'a [f32]>,
    /// See [`Trace::importance`]; 1.
    pub importance: Option<&'a [f32]>,
    /// See [`Trace::surprise`].
    pub surprise: Option<&'a [f32]>,
    /// See [`Trace::interference`].
    pub interference: Option<&'a [f32]>,
}
