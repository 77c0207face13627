//! An opcode and its modifiers.

use crate::execute::float::Rounding;

/// `add.rn.f32`, in its parts.
#[derive(Debug, Clone)]
pub struct Opcode<'a> {
    /// What stands between the dots.
    pub parts: Vec<&'a str>,
}

impl<'a> Opcode<'a> {
    /// Splits it.
    pub fn new(text: &'a str) -> Self {
        Self { parts: text.split('.').collect() }
    }

    /// The first part.
    pub fn base(&self) -> &'a str {
        self.parts[0]
    }

    /// The last part, mostly a type.
    pub fn last(&self) -> &'a str {
        self.parts[self.parts.len() - 1]
    }

    /// What stands between base and type.
    pub fn modifiers(&self) -> &[&'a str] {
        if self.parts.len() > 2 { &self.parts[1..self.parts.len() - 1] } else { &[] }
    }

    /// Whether this part is there.
    pub fn has(&self, part: &str) -> bool {
        self.parts[1..].contains(&part)
    }

    /// Whether there are no modifiers but these.
    pub fn only(&self, known: &[&str]) -> bool {
        self.modifiers().iter().all(|modifier| known.contains(modifier))
    }

    /// The rounding; the nearest where none is said.
    pub fn rounding(&self) -> Rounding {
        self.modifiers().iter().find_map(|modifier| Rounding::of(modifier)).unwrap_or(Rounding::Nearest)
    }
}
