//! How much of a suite is run: all of it, or a part for a first look.

use crate::suites::{Setting, Suite};

/// How much of a suite is run. Only [`Paper`](Self::Paper) is compared with the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tier {
    /// One seed, a twentieth of the training, 500 test samples a task: does it run?
    Smoke,
    /// Two seeds, a fifth of the training, 2000 test samples a task: who is ahead?
    Quick,
    /// The protocol by the letter.
    #[default]
    Paper,
}

impl Tier {
    /// All of them, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Smoke, Self::Quick, Self::Paper];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Paper => "paper",
        }
    }

    /// Seeds, the part of the training that is done, test samples of a task.
    fn sizes(self) -> Option<(u64, usize, usize)> {
        match self {
            Self::Smoke => Some((1, 20, 500)),
            Self::Quick => Some((2, 5, 2000)),
            Self::Paper => None,
        }
    }

    /// The suite at this tier: shorter, and without the published numbers, which are of the whole.
    pub fn of(self, mut suite: Suite) -> Suite {
        let Some((seeds, part, test_samples)) = self.sizes() else { return suite };
        let shorten = |setting: &mut Setting| {
            setting.protocol.budget = setting.protocol.budget.part(part);
            setting.test_samples = Some(test_samples);
        };
        shorten(&mut suite.setting);
        suite.seeds = suite.seeds.min(seeds);
        for row in &mut suite.rows {
            row.setting.as_mut().map(shorten);
            row.seeds = row.seeds.map(|own| own.min(seeds));
            for cell in &mut row.cells {
                cell.published = None;
            }
        }
        suite.notes.insert(
            0,
            match self {
                Self::Smoke => {
                    "Tier smoke: one seed, a twentieth of the training, 500 test samples a task. Nothing to compare with the \
                     paper, whose numbers are left out."
                }
                _ => {
                    "Tier quick: two seeds, a fifth of the training, 2000 test samples a task. Nothing to compare with the \
                     paper, whose numbers are left out."
                }
            },
        );
        suite
    }
}

impl std::str::FromStr for Tier {
    type Err = cl_core::Error;

    fn from_str(name: &str) -> cl_core::Result<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name).ok_or_else(|| {
            cl_core::Error::invalid(
                "tier",
                format!("there is none named {name:?}; there are smoke, quick, paper"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::suites::suites;
    use cl_methods::train::Budget;

    #[test]
    fn only_the_paper_is_compared_with_the_paper() {
        for (suite, whole) in suites().into_iter().zip(suites()) {
            let paper = Tier::Paper.of(suite.clone());
            assert_eq!(format!("{paper:?}"), format!("{whole:?}"));
            for tier in [Tier::Smoke, Tier::Quick] {
                let short = tier.of(suite.clone());
                assert!(short.seeds <= 2 && short.notes[0].contains(tier.name()));
                assert_eq!(short.rows.len(), whole.rows.len());
                for (row, of_paper) in short.rows.iter().zip(&whole.rows) {
                    assert!(row.cells.iter().all(|cell| cell.published.is_none()));
                    let setting = |row: &crate::suites::Row, suite: &Suite| {
                        row.setting.clone().unwrap_or_else(|| suite.setting.clone())
                    };
                    let (short, long) = (setting(row, &short), setting(of_paper, &whole));
                    assert_ne!(short.protocol.budget, long.protocol.budget);
                    // Nothing else of the protocol is another.
                    let mut same = short;
                    same.protocol.budget = long.protocol.budget;
                    same.test_samples = None;
                    assert_eq!(same, long);
                }
            }
        }
    }

    #[test]
    fn parts_of_budgets() {
        assert_eq!(Budget::Iterations(2000).part(20), Budget::Iterations(100));
        assert_eq!(Budget::Iterations(3).part(20), Budget::Iterations(1));
        assert_eq!(Budget::Epochs(4).part(5), Budget::Part { epochs: 4, of: 5 });
    }

    #[test]
    fn names() {
        for tier in Tier::ALL {
            assert_eq!(tier.name().parse::<Tier>().unwrap(), tier);
        }
        assert!("Paper".parse::<Tier>().unwrap_err().to_string().contains("smoke, quick, paper"));
    }
}
