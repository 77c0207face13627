//! How good an order of deferral is: deferral curves, their area between chance and an oracle, AUROC, risk and coverage.
//!
//! Scores are higher where a row is rather deferred. Rows of equal score have no order: every number here is the mean over all
//! orders of theirs, so that it does not depend on how rows happen to lie.

use cl_core::{Error, Result};

use crate::confidence::check_scores;

/// The accuracy of a cascade against the share of rows that System 2 answers.
#[derive(Debug, Clone, PartialEq)]
pub struct DeferralCurve {
    /// With 0, 1, .. n rows deferred.
    accuracy: Vec<f64>,
}

impl DeferralCurve {
    /// Of rows that are deferred in descending order of `scores`, and of which each system has some right.
    ///
    /// ```
    /// use cl_dual_process::DeferralCurve;
    ///
    /// let curve = DeferralCurve::of(&[0.1, 0.9, 0.4, 0.2], &[true, false, true, false], &[true, true, true, true])?;
    /// assert_eq!((curve.at(0.0)?, curve.at(0.25)?, curve.at(1.0)?), (0.5, 0.75, 1.0));
    /// # Ok::<(), cl_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Mismatch`] for lists of different lengths, [`Error::Invalid`] for empty ones and scores that are not finite.
    pub fn of(scores: &[f64], first: &[bool], second: &[bool]) -> Result<Self> {
        check_pair(first, second)?;
        check_scores(scores, first.len())?;
        let gain = |row: usize| f64::from(i8::from(second[row]) - i8::from(first[row]));
        let n = first.len() as f64;
        let mut right = count(first);
        let mut accuracy = vec![right / n];
        for tied in blocks(scores) {
            // Each of them is as likely to be next as the others.
            let gain = tied.iter().map(|&row| gain(row)).sum::<f64>();
            for k in 1..=tied.len() {
                accuracy.push((right + gain * k as f64 / tied.len() as f64) / n);
            }
            right += gain;
        }
        Ok(Self { accuracy })
    }

    /// The best there is: first the rows that System 2 has right and System 1 wrong, last those that it has wrong and System 1
    /// right.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn oracle(first: &[bool], second: &[bool]) -> Result<Self> {
        check_pair(first, second)?;
        let gains = first.iter().zip(second).map(|(&a, &b)| f64::from(i8::from(b) - i8::from(a)));
        Self::of(&gains.collect::<Vec<_>>(), first, second)
    }

    /// Rows in any order: a straight line.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn random(first: &[bool], second: &[bool]) -> Result<Self> {
        Self::of(&vec![0.0; first.len()], first, second)
    }

    /// The accuracy where this share of rows is deferred, linear between whole rows.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a share that is not between 0 and 1.
    pub fn at(&self, share: f64) -> Result<f64> {
        check_share("share", share)?;
        let at = share * (self.accuracy.len() - 1) as f64;
        let (below, above) = (self.accuracy[at.floor() as usize], self.accuracy[at.ceil() as usize]);
        Ok(below + (above - below) * at.fract())
    }

    /// The mean accuracy over all shares from 0 to 1.
    pub fn area(&self) -> f64 {
        let sum = self.accuracy.windows(2).map(|pair| 0.5 * (pair[0] + pair[1])).sum::<f64>();
        sum / (self.accuracy.len() - 1) as f64
    }

    /// The same where what decides costs as much as this share of System 2's answers, which it has to do without: the mean of
    /// acc(c − overhead), System 1's accuracy where nothing is left.
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn area_at_cost(&self, overhead: f64) -> Result<f64> {
        check_share("overhead", overhead)?;
        let n = self.accuracy.len() - 1;
        // Whole rows and the part of one that is cut off at the end; in between the curve is linear.
        let (kept, last) = ((1.0 - overhead) * n as f64, self.at(1.0 - overhead)?);
        let whole = kept.floor() as usize;
        let mut sum: f64 = self.accuracy[..=whole].windows(2).map(|pair| 0.5 * (pair[0] + pair[1])).sum();
        sum += kept.fract() * 0.5 * (self.accuracy[whole] + last);
        Ok(sum / n as f64 + overhead * self.accuracy[0])
    }

    /// The least share of deferred rows that gives this accuracy; None where none does.
    pub fn least_share(&self, accuracy: f64) -> Option<f64> {
        let row = self.accuracy.iter().position(|&reached| reached >= accuracy)?;
        Some(row as f64 / (self.accuracy.len() - 1) as f64)
    }
}

/// A = (area − random) / (oracle − random): 0 for chance, 1 for an oracle, below 0 for worse than chance.
///
/// # Errors
/// As [`DeferralCurve::of`]; where System 2 adds as much in one row as in any other, no order is better than another.
pub fn normalised_area(scores: &[f64], first: &[bool], second: &[bool]) -> Result<f64> {
    normalised_area_at_cost(scores, first, second, 0.0)
}

/// The same with what deciding costs, as [`DeferralCurve::area_at_cost`] counts it; the oracle and chance pay nothing.
///
/// # Errors
/// As [`normalised_area`], and for an overhead that is no share.
pub fn normalised_area_at_cost(
    scores: &[f64],
    first: &[bool],
    second: &[bool],
    overhead: f64,
) -> Result<f64> {
    let area = DeferralCurve::of(scores, first, second)?.area_at_cost(overhead)?;
    let random = DeferralCurve::random(first, second)?.area();
    let oracle = DeferralCurve::oracle(first, second)?.area();
    if oracle - random < 1e-12 {
        let why =
            "System 2 adds as much in one row as in any other: no order of deferral is better than another";
        return Err(Error::invalid("systems", why));
    }
    Ok((area - random) / (oracle - random))
}

/// The chance that a positive row has a higher score than a negative one, ties counted half (Mann & Whitney 1947).
///
/// Positive are the rows that should be deferred: those that System 1 has wrong, or those that System 2 has right beside.
///
/// # Errors
/// As [`DeferralCurve::of`]; rows of one kind only.
pub fn auroc(scores: &[f64], positive: &[bool]) -> Result<f64> {
    check_scores(scores, positive.len())?;
    let positives = count(positive);
    let negatives = positive.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        let kind = if positives == 0.0 { "negative" } else { "positive" };
        return Err(Error::invalid("rows", format!("all of them are {kind}: there are no pairs to compare")));
    }
    let (mut above, mut pairs) = (0.0, 0.0);
    for tied in blocks(scores) {
        let here = tied.iter().filter(|&&row| positive[row]).count() as f64;
        let others = tied.len() as f64 - here;
        // Each negative row lies below the positives that came before, and level with those here.
        pairs += others * (above + 0.5 * here);
        above += here;
    }
    Ok(pairs / (positives * negatives))
}

/// Selective prediction: the risk among the rows that are answered, where the most doubtful are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct RiskCoverage {
    /// With the 1, 2, .. n least doubtful rows answered.
    risk: Vec<f64>,
    /// Their mean for the best order.
    best: f64,
}

impl RiskCoverage {
    /// Of rows of which some are right, the lowest `scores` (of doubt) answered first.
    ///
    /// # Errors
    /// As [`DeferralCurve::of`].
    pub fn of(scores: &[f64], right: &[bool]) -> Result<Self> {
        check_scores(scores, right.len())?;
        if right.is_empty() {
            return Err(Error::invalid("rows", "there are none"));
        }
        let (mut wrong, mut risk) = (0.0, Vec::with_capacity(right.len()));
        let mut groups = blocks(scores);
        groups.reverse();
        for tied in groups {
            let here = tied.iter().filter(|&&row| !right[row]).count() as f64;
            for k in 1..=tied.len() {
                let among = wrong + here * k as f64 / tied.len() as f64;
                risk.push(among / (risk.len() + 1) as f64);
            }
            wrong += here;
        }
        // All that are right first: the k-th of those that are wrong is answered with `rights + k` others.
        let rights = count(right) as usize;
        let best = (1..=right.len() - rights).map(|k| k as f64 / (rights + k) as f64).sum::<f64>();
        Ok(Self { risk, best: best / right.len() as f64 })
    }

    /// The risk at this coverage, above 0, and up to 1: of the least doubtful ⌈coverage · n⌉ rows.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another coverage.
    pub fn at(&self, coverage: f64) -> Result<f64> {
        check_share("coverage", coverage)?;
        let rows = (coverage * self.risk.len() as f64 - 1e-9).ceil() as usize;
        Ok(self.risk[rows.clamp(1, self.risk.len()) - 1])
    }

    /// AURC: the mean risk over all coverages (Geifman, Uziel & El-Yaniv 2019). The lower, the better.
    pub fn aurc(&self) -> f64 {
        self.risk.iter().sum::<f64>() / self.risk.len() as f64
    }

    /// E-AURC: what of it is above the best order of the same rows. That paper takes r + (1 − r) ln(1 − r) for the best, r the
    /// error rate, which is its limit for many rows; here it is counted.
    pub fn excess(&self) -> f64 {
        self.aurc() - self.best
    }
}

/// Row numbers, those of equal score together, the highest first.
fn blocks(scores: &[f64]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    // By value: −0 and 0 are one score.
    order.chunk_by(|&a, &b| scores[a] == scores[b]).map(<[usize]>::to_vec).collect()
}

pub(crate) fn count(which: &[bool]) -> f64 {
    which.iter().filter(|&&yes| yes).count() as f64
}

pub(crate) fn check_pair(first: &[bool], second: &[bool]) -> Result<()> {
    if first.len() != second.len() {
        return Err(Error::mismatch(
            "systems",
            format!("an answer of System 2 for each of {} rows", first.len()),
            second.len().to_string(),
        ));
    }
    if first.is_empty() {
        return Err(Error::invalid("rows", "there are none"));
    }
    Ok(())
}

pub(crate) fn check_share(what: &str, share: f64) -> Result<()> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(Error::invalid(what, format!("{share} is not between 0 and 1")))
}
