//! Semantic memory: what many experiences have in common.

use cl_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// One prototype.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prototype {
    /// The mean of what it was made of.
    pub center: Vec<f32>,
    /// What they are all said to be.
    pub label: u32,
    /// How many there were.
    pub count: u64,
}

/// Prototypes that are extracted from episodes in sleep. The rule of their number:
///
/// * a pattern within `radius` of the nearest prototype of its label joins it, and moves it to the mean of all that joined;
/// * otherwise it is a prototype of its own;
/// * [`settle`](Self::settle), at the end of a sleep, merges any two of one label that are within `merge` of one another into their mean,
///   weighted by their counts, the closest first; and while there are more than `most`, the closest two of any label that has
///   several.
///
/// Distances are Euclidean. What comes in another order gives other prototypes, but never more than `most` after a sleep,
/// as long as no more labels were seen.
///
/// ```
/// use cl_sleep::Prototypes;
///
/// let mut semantic = Prototypes::new(1.0, 1.5, 100)?;
/// for x in [[0.0, 0.0], [0.5, 0.0], [9.0, 9.0]] {
///     semantic.learn(&x, 7)?;
/// }
/// assert_eq!(semantic.all().len(), 2);
/// assert_eq!((semantic.all()[0].center.as_slice(), semantic.all()[0].count), (&[0.25, 0.0][..], 2));
/// assert_eq!(semantic.nearest(&[8.0, 8.0])?.map(|(prototype, _)| prototype.label), Some(7));
/// # Ok::<(), cl_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prototypes {
    radius: f64,
    merge: f64,
    most: usize,
    all: Vec<Prototype>,
}

impl Prototypes {
    /// None yet; see the type for what the numbers mean.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a distance below 0 or not finite, or room for none.
    pub fn new(radius: f64, merge: f64, most: usize) -> Result<Self> {
        if let Some(bad) = [radius, merge].into_iter().find(|d| !(*d >= 0.0 && d.is_finite())) {
            return Err(Error::invalid("radius", format!("{bad} is not a distance")));
        }
        if most == 0 {
            return Err(Error::invalid("prototypes", "there must be room for one at least"));
        }
        Ok(Self { radius, merge, most, all: Vec::new() })
    }

    /// Takes in a pattern of this label; returns the number of the prototype that it joined or became.
    ///
    /// # Errors
    /// [`Error::Mismatch`] on another length than before; [`Error::Invalid`] on a pattern that is empty or not finite.
    pub fn learn(&mut self, pattern: &[f32], label: u32) -> Result<usize> {
        self.check(pattern)?;
        let own = self.all.iter().enumerate().filter(|(_, prototype)| prototype.label == label);
        let nearest =
            own.map(|(at, p)| (distance(&p.center, pattern), at)).min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((distance, at)) = nearest
            && distance <= self.radius
        {
            let prototype = &mut self.all[at];
            prototype.count += 1;
            let share = 1.0 / prototype.count as f64;
            mix(&mut prototype.center, pattern, share);
            return Ok(at);
        }
        self.all.push(Prototype { center: pattern.to_vec(), label, count: 1 });
        Ok(self.all.len() - 1)
    }

    /// Merges what is alike, and what there is no room for; returns how many are left.
    pub fn settle(&mut self) -> usize {
        while let Some((distance, a, b)) = self.closest()
            && (distance <= self.merge || self.all.len() > self.most)
        {
            let gone = self.all.remove(b);
            let kept = &mut self.all[a];
            kept.count += gone.count;
            let share = gone.count as f64 / kept.count as f64;
            mix(&mut kept.center, &gone.center, share);
        }
        self.all.len()
    }

    /// The closest two of one label, the first of them before the second.
    fn closest(&self) -> Option<(f64, usize, usize)> {
        let mut closest: Option<(f64, usize, usize)> = None;
        for (a, first) in self.all.iter().enumerate() {
            for (b, second) in self.all.iter().enumerate().skip(a + 1) {
                if first.label == second.label {
                    let distance = distance(&first.center, &second.center);
                    if closest.is_none_or(|(least, ..)| distance < least) {
                        closest = Some((distance, a, b));
                    }
                }
            }
        }
        closest
    }

    /// The prototype nearest to a pattern, and its distance; none where there is none.
    ///
    /// # Errors
    /// As [`learn`](Self::learn).
    pub fn nearest(&self, pattern: &[f32]) -> Result<Option<(&Prototype, f64)>> {
        self.check(pattern)?;
        let all = self.all.iter().map(|prototype| (prototype, distance(&prototype.center, pattern)));
        Ok(all.min_by(|a, b| a.1.total_cmp(&b.1)))
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> &[Prototype] {
        &self.all
    }

    fn check(&self, pattern: &[f32]) -> Result<()> {
        if let Some(first) = self.all.first()
            && first.center.len() != pattern.len()
        {
            let (expected, got) = (format!("{} numbers", first.center.len()), pattern.len().to_string());
            return Err(Error::mismatch("pattern", expected, got));
        }
        match pattern.iter().find(|x| !x.is_finite()) {
            Some(x) => Err(Error::invalid("pattern", format!("{x} is not finite"))),
            None if pattern.is_empty() => Err(Error::invalid("pattern", "it has no numbers")),
            None => Ok(()),
        }
    }
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// center ← (1−share)·center + share·other.
fn mix(center: &mut [f32], other: &[f32], share: f64) {
    for (center, other) in center.iter_mut().zip(other) {
        *center = (f64::from(*center) + share * (f64::from(*other) - f64::from(*center))) as f32;
    }
}
