//! The UCI handwritten digits, part of the program.

use cl_core::{Error, Result};

use crate::{DataSet, Samples};

pub(crate) const NAME: &str = "digits";

/// Every fifth sample of a class is a test sample.
const FOLD: usize = 5;

/// The 1797 digits of 8×8 pixels (Alpaydin & Kaynak 1998, CC BY 4.0), the test part of the UCI set,
/// which is what scikit-learn's `load_digits` holds, too. Values 0 to 16 become `[0, 1]`.
///
/// They come without a split of their own, so this one is fixed here for all time: of each class, in
/// the order of the file, samples 4, 9, 14, … (from 0) are for the test, 355 in all; the other 1442
/// are for training. Both parts keep the order of the file.
pub(crate) fn load() -> Result<DataSet> {
    let digits = smartcore::dataset::digits::load_dataset();
    let (n, features) = (digits.num_samples, digits.num_features);
    if digits.data.len() != n * features || digits.target.len() != n || features != 64 {
        return Err(Error::mismatch(
            NAME,
            "n·64 values and n labels",
            format!("n = {n}, {features} features"),
        ));
    }
    let x = digits.data.iter().map(|value| value / 16.0).collect();
    let y: Vec<u32> = digits.target.iter().map(|&class| class as u32).collect();

    let (mut train, mut test, mut seen) = (Vec::new(), Vec::new(), [0; 10]);
    for (row, &class) in (0..).zip(&y) {
        let seen = seen
            .get_mut(class as usize)
            .ok_or_else(|| Error::mismatch(NAME, "classes 0 to 9", class.to_string()))?;
        let part = if *seen % FOLD == FOLD - 1 { &mut test } else { &mut train };
        part.push(row);
        *seen += 1;
    }
    let all = Samples::from_vecs(x, features, y)?;
    Ok(DataSet {
        name: NAME.into(),
        train: all.gather(&train)?,
        test: all.gather(&test)?,
        classes: 10,
        image: [1, 8, 8],
    })
}
