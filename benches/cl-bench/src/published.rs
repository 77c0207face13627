//! Published numbers, how far each can be trusted, and whether ours agree with them.

use std::fmt;

use cl_metrics::Summary;
use serde::{Deserialize, Serialize};

/// Differences up to this many points count as agreement, however small the errors: what is left
/// between two implementations of one protocol.
const LEAST_TOLERANCE: f64 = 1.0;

/// A number that a paper prints, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// The mean.
    pub mean: f64,
    /// What stands after the ±, if it is known.
    pub error: Option<f64>,
    /// What that error is.
    pub kind: ErrorKind,
    /// Over how many seeds.
    pub n: Option<u32>,
    /// Where the number was read.
    pub provenance: Provenance,
    /// What the authors' own code gives today, where it was run to find out why ours differs.
    pub rerun: Option<Rerun>,
}

/// What the authors' own code gave when it was run again, with the arguments that they name: in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rerun {
    /// The mean.
    pub mean: f64,
    /// The standard deviation over runs.
    pub std: f64,
    /// How many runs there were.
    pub n: u32,
}

/// What a paper prints after the ±.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// Standard error of the mean.
    Sem,
    /// Standard deviation over seeds.
    Std,
}

/// Where a published number was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provenance {
    /// In the authors' repository.
    Repo,
    /// Quoted from the paper by somebody else.
    Quoted,
    /// From memory: shown, never compared with.
    Unverified,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sem => "SEM",
            Self::Std => "std",
        })
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repo => "repository",
            Self::Quoted => "quoted",
            Self::Unverified => "unverified",
        })
    }
}

impl Published {
    /// The standard error of the published mean. `None` where the paper prints no error, or a standard
    /// deviation over an unknown number of seeds.
    pub fn sem(&self) -> Option<f64> {
        match (self.kind, self.error?, self.n) {
            (ErrorKind::Sem, error, _) => Some(error),
            (ErrorKind::Std, error, Some(n)) if n > 0 => Some(error / f64::from(n).sqrt()),
            (ErrorKind::Std, ..) => None,
        }
    }

    /// How far two means may lie apart, in points: twice the error of their difference, and at least
    /// one. A number from a single run is as far from its mean as one of ours is. Any other unknown error counts as
    /// none, which is the stricter reading. `None` with one run of ours.
    pub fn tolerance(&self, ours: &Summary) -> Option<f64> {
        let one_run = ours.std.filter(|_| self.n == Some(1) && self.error.is_none());
        let theirs = self.sem().or(one_run).unwrap_or(0.0);
        Some(tolerance(ours.sem?, theirs))
    }
}

/// What two means with these errors may differ by.
fn tolerance(ours: f64, theirs: f64) -> f64 {
    LEAST_TOLERANCE.max(2.0 * ours.hypot(theirs))
}

impl Rerun {
    /// Of the runs that were made; `None` of less than two.
    pub fn of(runs: &[f64]) -> Option<Self> {
        let all = Summary::of(runs).ok()?;
        Some(Self { mean: all.mean, std: all.std?, n: runs.len() as u32 })
    }

    /// Whether ours, with this error of the mean, agrees with it.
    fn agrees(&self, ours: f64, error: f64) -> bool {
        let theirs = self.std / f64::from(self.n.max(1)).sqrt();
        (ours - self.mean).abs() <= tolerance(error, theirs) + ROUNDING
    }
}

/// Whether our number agrees with the published one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Within the tolerance.
    Reproduced,
    /// Outside of it.
    Off {
        /// Ours minus published, in points.
        by: f64,
        /// What would have been accepted.
        tolerance: f64,
    },
    /// Outside of it, and within that of what the authors' own code gives when it is run again.
    AsTheirCode {
        /// Ours minus published, in points.
        by: f64,
    },
    /// The published number is not verified, so it decides nothing.
    NotVerified,
    /// There is no published number.
    NothingPublished,
    /// One seed has no error, and decides nothing.
    TooFewSeeds,
}

impl Verdict {
    /// Whether a verified number is missed, by another cause than that the authors' own code misses it likewise: what fails a
    /// check.
    pub fn is_missed(&self) -> bool {
        matches!(self, Self::Off { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reproduced => f.write_str("reproduced"),
            Self::Off { by, .. } => write!(f, "off by {by:+.1}"),
            Self::AsTheirCode { by } => write!(f, "off by {by:+.1}, as their code is"),
            Self::NotVerified => f.write_str("no verified number"),
            Self::NothingPublished => f.write_str("nothing published"),
            Self::TooFewSeeds => f.write_str("too few seeds"),
        }
    }
}

/// Printed decimals are not exact in binary: 98.6 − 97.6 is a little more than 1.
const ROUNDING: f64 = 1e-9;

/// Compares our mean over seeds, in percent, with the published one, and where it differs with what the authors' code gives.
pub fn verdict(ours: &Summary, published: Option<&Published>) -> Verdict {
    let Some(published) = published else { return Verdict::NothingPublished };
    if published.provenance == Provenance::Unverified {
        return Verdict::NotVerified;
    }
    let Some(tolerance) = published.tolerance(ours) else { return Verdict::TooFewSeeds };
    let by = ours.mean - published.mean;
    let as_their_code = published.rerun.zip(ours.sem).is_some_and(|(code, sem)| code.agrees(ours.mean, sem));
    match by.abs() <= tolerance + ROUNDING {
        true => Verdict::Reproduced,
        false if as_their_code => Verdict::AsTheirCode { by },
        false => Verdict::Off { by, tolerance },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ours(mean: f64, sem: f64) -> Summary {
        Summary { n: 10, mean, std: Some(sem * 10f64.sqrt()), sem: Some(sem) }
    }

    fn published(error: Option<f64>, kind: ErrorKind, n: Option<u32>) -> Published {
        Published { mean: 97.6, error, kind, n, provenance: Provenance::Quoted, rerun: None }
    }

    #[test]
    fn a_standard_deviation_becomes_an_error_of_the_mean() {
        assert_eq!(published(Some(2.0), ErrorKind::Sem, None).sem(), Some(2.0));
        assert_eq!(published(Some(2.0), ErrorKind::Std, Some(16)).sem(), Some(0.5));
        assert_eq!(published(Some(2.0), ErrorKind::Std, None).sem(), None);
        assert_eq!(published(Some(2.0), ErrorKind::Std, Some(0)).sem(), None);
        assert_eq!(published(None, ErrorKind::Sem, Some(16)).sem(), None);
    }

    #[test]
    fn one_point_is_always_allowed_and_not_more() {
        let theirs = published(Some(0.1), ErrorKind::Sem, Some(20));
        for mean in [98.6, 96.6, 97.6] {
            assert_eq!(verdict(&ours(mean, 0.1), Some(&theirs)), Verdict::Reproduced, "{mean}");
        }
        let Verdict::Off { by, tolerance } = verdict(&ours(98.601, 0.1), Some(&theirs)) else { panic!() };
        assert!((by - 1.001).abs() < 1e-9);
        assert_eq!(tolerance, 1.0);
        assert!(verdict(&ours(96.599, 0.1), Some(&theirs)).is_missed());
    }

    #[test]
    fn both_errors_widen_the_tolerance() {
        // 2·√(0.6² + 0.8²) = 2, the published error given as a deviation over 25 seeds.
        let theirs = published(Some(4.0), ErrorKind::Std, Some(25));
        assert_eq!(verdict(&ours(99.6, 0.6), Some(&theirs)), Verdict::Reproduced);
        assert_eq!(verdict(&ours(95.6, 0.6), Some(&theirs)), Verdict::Reproduced);
        assert!(verdict(&ours(99.61, 0.6), Some(&theirs)).is_missed());
        assert!(verdict(&ours(95.59, 0.6), Some(&theirs)).is_missed());
        // Without the published error only ours is left: 2·0.6.
        let theirs = published(None, ErrorKind::Sem, None);
        assert_eq!(verdict(&ours(98.8, 0.6), Some(&theirs)), Verdict::Reproduced);
        assert!(verdict(&ours(98.81, 0.6), Some(&theirs)).is_missed());
    }

    #[test]
    fn a_single_published_run_is_as_uncertain_as_one_of_ours() {
        // 2·√(0.6² + 0.8²) = 2, with a deviation of 0.8 between our runs.
        let ours = |mean| Summary { std: Some(0.8), ..ours(mean, 0.6) };
        let theirs = Published { n: Some(1), ..published(None, ErrorKind::Std, None) };
        assert_eq!(verdict(&ours(99.6), Some(&theirs)), Verdict::Reproduced);
        assert!(verdict(&ours(99.61), Some(&theirs)).is_missed());
        let many = Published { n: Some(2), ..theirs };
        assert!(verdict(&ours(99.6), Some(&many)).is_missed());
    }

    /// A published number that the authors' code does not give either is no miss, and agreement with the paper comes first.
    #[test]
    fn what_their_code_gives_explains_a_difference() {
        // Theirs again: 90 ± 0.8 of the mean, so that 2·√(0.6² + 0.8²) = 2 are allowed.
        let again = Some(Rerun { mean: 90.0, std: 1.6, n: 4 });
        let theirs = Published { rerun: again, ..published(None, ErrorKind::Sem, None) };
        for mean in [88.0, 90.0, 92.0] {
            let said = verdict(&ours(mean, 0.6), Some(&theirs));
            assert!(matches!(said, Verdict::AsTheirCode { by } if (by - (mean - 97.6)).abs() < 1e-9));
            assert!(!said.is_missed() && said.to_string().ends_with(", as their code is"), "{said}");
        }
        for mean in [87.9, 92.1, 95.0] {
            assert!(verdict(&ours(mean, 0.6), Some(&theirs)).is_missed(), "{mean}");
        }
        assert_eq!(verdict(&ours(97.0, 0.6), Some(&theirs)), Verdict::Reproduced);
        let unverified = Published { provenance: Provenance::Unverified, ..theirs };
        assert_eq!(verdict(&ours(90.0, 0.6), Some(&unverified)), Verdict::NotVerified);
    }

    #[test]
    fn what_cannot_be_compared_says_so_and_misses_nothing() {
        let theirs = published(Some(0.1), ErrorKind::Sem, Some(20));
        let one_seed = Summary::of(&[50.0]).unwrap();
        let unverified = Published { provenance: Provenance::Unverified, ..theirs };
        let verdicts = [
            (verdict(&one_seed, Some(&theirs)), Verdict::TooFewSeeds, "too few seeds"),
            (verdict(&ours(50.0, 0.1), Some(&unverified)), Verdict::NotVerified, "no verified number"),
            (verdict(&one_seed, Some(&unverified)), Verdict::NotVerified, "no verified number"),
            (verdict(&ours(50.0, 0.1), None), Verdict::NothingPublished, "nothing published"),
        ];
        for (got, want, text) in verdicts {
            assert_eq!(got, want);
            assert_eq!(got.to_string(), text);
            assert!(!got.is_missed());
        }
    }

    #[test]
    fn the_text_gives_sign_and_size() {
        let theirs = Published { provenance: Provenance::Repo, ..published(None, ErrorKind::Std, None) };
        assert_eq!(verdict(&ours(99.3, 0.1), Some(&theirs)).to_string(), "off by +1.7");
        assert_eq!(verdict(&ours(90.0, 0.1), Some(&theirs)).to_string(), "off by -7.6");
        assert_eq!(verdict(&ours(97.0, 0.1), Some(&theirs)).to_string(), "reproduced");
    }
}
