//! Permuted MNIST of Aljundi et al. 2019.

use cl_data::Scenario;

use super::gss_disjoint::{RAND, greedy, row, setting, subset};
use super::{Kind, Suite};

pub(super) fn suite() -> Suite {
    let domain = Scenario::Domain;
    Suite {
        name: "gss-permuted",
        title: "Permuted MNIST after Aljundi et al.",
        source: "Aljundi, Lin, Goujaud & Bengio, Gradient based sample selection for online continual learning, NeurIPS \
                 2019, permuted MNIST, 300 samples kept: mean ± deviation over 3 runs",
        setting: setting(Kind::Permuted, 10),
        first_seed: 1,
        seeds: 10,
        rows: vec![
            row(("Rand", "GSS-IQP"), domain, subset(300, "random"), (72.54, 0.4)),
            row(("GSS-IQP", "GSS-IQP"), domain, subset(300, "iqp"), (77.3, 0.5)),
            row(("GSS-greedy", "GSS-greedy"), domain, greedy(300), (77.3, 0.5)),
        ],
        notes: vec![
            "The authors leave the first task unpermuted and draw the other permutations once; here all are drawn, by each run's \
             seed. To a network of fully connected layers no permutation is easier than another.",
            RAND,
        ],
    }
}
