//! Who owns each weight of a layer, packed into bits.

use cl_core::{Error, Result};

/// The number of a weight's owner: 0 for nobody, t + 1 for task t.
pub(crate) type Id = u16;

/// One [`Id`] a weight, each in as many bits as the largest needs; none lies across two words.
///
/// With T tasks that is ⌈log₂(T + 1)⌉ bits a weight. A mask of one bit for each task and weight, the other
/// way to write it down, is T bits: the same for one and two tasks, more from the third on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owners {
    len: usize,
    width: u32,
    words: Vec<u64>,
}

/// The bits that numbers up to `most` need, at least one.
pub(crate) fn width(most: Id) -> u32 {
    (Id::BITS - most.leading_zeros()).max(1)
}

impl Owners {
    /// Packs numbers of at most `most`.
    pub fn pack(ids: &[Id], most: Id) -> Self {
        let width = width(most);
        let word = |ids: &[Id]| {
            (0..).step_by(width as usize).zip(ids).fold(0, |word, (at, &id)| word | u64::from(id) << at)
        };
        let words = ids.chunks((u64::BITS / width) as usize).map(word).collect();
        Self { len: ids.len(), width, words }
    }

    /// `len` numbers of at most `most` from the words that hold them.
    ///
    /// # Errors
    /// Words that [`pack`](Self::pack) does not make.
    pub fn from_words(len: usize, most: Id, words: Vec<u64>) -> Result<Self> {
        let width = width(most);
        let why = |why: String| Error::invalid("owners of the weights", why);
        if words.len() != len.div_ceil((u64::BITS / width) as usize) {
            return Err(why(format!("{} words do not hold {len} numbers of {width} bits", words.len())));
        }
        let owners = Self { len, width, words };
        let ids = owners.ids();
        if let Some(id) = ids.iter().find(|&&id| id > most) {
            return Err(why(format!("{id} is more than {most}, the number of tasks")));
        }
        if Self::pack(&ids, most) != owners {
            return Err(why("there are bits that belong to no weight".into()));
        }
        Ok(owners)
    }

    /// All numbers, in row-major order of the weights.
    pub fn ids(&self) -> Vec<Id> {
        let (per_word, mask) = (u64::BITS / self.width, (1u64 << self.width) - 1);
        let of_word = |&word: &u64| (0..per_word).map(move |i| (word >> (i * self.width) & mask) as Id);
        self.words.iter().flat_map(of_word).take(self.len).collect()
    }

    /// The words that hold them.
    pub fn words(&self) -> &[u64] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn widths() {
        for (most, bits) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (Id::MAX, 16)] {
            assert_eq!(width(most), bits, "{most}");
        }
    }

    #[test]
    fn bytes_are_those_of_the_bits() {
        // 64 weights: 64 bits with one task, 128 with up to three, four words of 21 numbers with up to seven.
        for (most, words) in [(1, 1), (3, 2), (7, 4), (15, 4)] {
            assert_eq!(Owners::pack(&[1; 64], most).words().len(), words, "{most}");
        }
    }

    proptest! {
        #[test]
        fn come_back(most in 0..200u16, draws in prop::collection::vec(any::<u16>(), 0..200)) {
            let ids: Vec<Id> = draws.iter().map(|id| id % (most + 1)).collect();
            let owners = Owners::pack(&ids, most);
            prop_assert_eq!(owners.ids(), ids.clone());
            let again = Owners::from_words(ids.len(), most, owners.words().to_vec()).unwrap();
            prop_assert_eq!(again, owners);
        }

        /// Every word that is read is a word that could have been written.
        #[test]
        fn strange_words_are_refused(
            len in 0..70usize,
            most in 0..9u16,
            words in prop::collection::vec(any::<u64>(), 0..5),
        ) {
            if let Ok(owners) = Owners::from_words(len, most, words.clone()) {
                prop_assert_eq!(&Owners::pack(&owners.ids(), most), &owners);
                prop_assert_eq!(owners.words(), &words[..]);
                prop_assert!(owners.ids().iter().all(|&id| id <= most));
            }
        }
    }
}
