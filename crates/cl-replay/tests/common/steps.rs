//! Steps that say where they come from, and the plain rule for which sequences there are.

use candle_core::{DType, Device, Tensor};
use cl_replay::{Field, Fields, Item, Schema, Sequences};

/// `at`: row and time of a step; `half`: time + ½; `done`: whether it ends an episode.
pub fn schema() -> Schema {
    Schema::new([
        Field::new("at", DType::I64, [2]),
        Field::new("half", DType::F32, []),
        Field::new("done", DType::U8, []),
    ])
    .unwrap()
}

/// The fields of the steps of these times, (rows, steps, ...).
pub struct Steps(Tensor, Tensor, Tensor);

impl Steps {
    pub fn new(rows: usize, times: std::ops::Range<u64>, done: impl Fn(usize, u64) -> bool) -> Self {
        let n = (times.end - times.start) as usize;
        let all: Vec<(usize, u64)> = (0..rows).flat_map(|row| times.clone().map(move |t| (row, t))).collect();
        let at: Vec<i64> = all.iter().flat_map(|&(row, time)| [row as i64, time as i64]).collect();
        let half: Vec<f32> = all.iter().map(|&(_, time)| time as f32 + 0.5).collect();
        let done: Vec<u8> = all.iter().map(|&(row, time)| 3 * u8::from(done(row, time))).collect();
        Self(
            Tensor::from_vec(at, (rows, n, 2), &Device::Cpu).unwrap(),
            Tensor::from_vec(half, (rows, n), &Device::Cpu).unwrap(),
            Tensor::from_vec(done, (rows, n), &Device::Cpu).unwrap(),
        )
    }

    /// Of one row, without the leading dimension.
    pub fn items(times: std::ops::Range<u64>) -> Self {
        let Self(at, half, done) = Self::new(1, times, |_, _| false);
        Self(at.squeeze(0).unwrap(), half.squeeze(0).unwrap(), done.squeeze(0).unwrap())
    }

    pub fn batch(&self) -> [(&str, &Tensor); 3] {
        [("at", &self.0), ("half", &self.1), ("done", &self.2)]
    }
}

/// Fails where a sequence is not that of its item: `length` steps of one row, one after the other.
pub fn assert_contiguous(fields: &Fields, items: &[Item], length: usize) {
    let at = fields.get("at").unwrap().to_vec3::<i64>().unwrap();
    let half = fields.get("half").unwrap().to_vec2::<f32>().unwrap();
    assert_eq!((at.len(), half.len()), (items.len(), items.len()));
    for ((sequence, half), item) in at.into_iter().zip(half).zip(items) {
        assert_eq!(half.len(), length);
        let expected: Vec<Vec<i64>> =
            (0..length as i64).map(|i| vec![i64::from(item.row), item.time as i64 + i]).collect();
        assert_eq!(sequence, expected, "{item:?}");
        assert!(half.iter().zip(&expected).all(|(&half, at)| half == at[1] as f32 + 0.5));
    }
}

/// Fails where an item is not that of its fields.
pub fn assert_items(fields: &Fields, items: &[Item]) {
    let at = fields.get("at").unwrap().to_vec2::<i64>().unwrap();
    assert!(at.iter().map(|at| at[1]).eq(items.iter().map(|item| item.time as i64)), "{at:?}, {items:?}");
    assert!(items.iter().all(|item| item.row == 0));
}

/// The times at which a sequence begins that is complete and held after `written` steps: one by one.
pub fn starts(sizes: &Sequences, written: u64) -> Vec<u64> {
    let (length, sample, period) = (sizes.length as u64, sizes.sample as u64, sizes.period as u64);
    (0..written)
        .filter(|time| time % period == 0 && time + sample <= written && time + length >= written)
        .collect()
}

/// The same for every row, sorted.
pub fn all_items(sizes: &Sequences, written: u64) -> Vec<Item> {
    let of = |row| starts(sizes, written).into_iter().map(move |time| Item { row, time });
    (0..sizes.rows as u32).flat_map(of).collect()
}

pub fn sorted(mut items: Vec<Item>) -> Vec<Item> {
    items.sort();
    items
}
