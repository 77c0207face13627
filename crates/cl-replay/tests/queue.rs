//! The queue, against a list.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::VecDeque;

use candle_core::{DType, Device, Tensor};
use cl_core::snapshot::{self, Kind};
use cl_replay::{Field, Queue, Schema};
use proptest::prelude::*;

fn queue(rows: usize, length: usize, sample: usize) -> Queue {
    let schema = Schema::new([Field::new("t", DType::U32, [])]).unwrap();
    Queue::new(schema, rows, length, sample).unwrap()
}

/// Steps first.. of every row: row · 1000 + time.
fn steps(rows: usize, first: u32, n: usize) -> Tensor {
    let times = (0..rows as u32).flat_map(|row| (first..first + n as u32).map(move |t| 1000 * row + t));
    Tensor::from_vec(times.collect(), (rows, n), &Device::Cpu).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Add(usize),
    Take,
    Restore,
}

proptest! {
    /// Every step comes out once and in order, also at full, at empty, and where sizes do not divide.
    #[test]
    fn each_step_comes_out_once_and_in_order(
        rows in 1..3usize,
        length in 1..9usize,
        sample in 1..9usize,
        walk in prop::collection::vec(prop_oneof![
            3 => (1..10usize).prop_map(Step::Add), 3 => Just(Step::Take), 1 => Just(Step::Restore)], 1..40),
    ) {
        prop_assume!(sample <= length);
        let (mut queue, mut list, mut time) = (queue(rows, length, sample), VecDeque::new(), 0u32);
        for step in walk {
            match step {
                Step::Add(n) => {
                    let fits = n <= length - list.len();
                    prop_assert_eq!(queue.can_add(n), fits);
                    let before = common::state(&queue);
                    let added = queue.add(&[("t", &steps(rows, time, n))]);
                    prop_assert_eq!(added.is_ok(), fits);
                    if fits {
                        list.extend(time..time + n as u32);
                        time += n as u32;
                    } else {
                        prop_assert_eq!(common::state(&queue), before);
                    }
                }
                Step::Take => {
                    let ready = list.len() >= sample;
                    prop_assert_eq!(queue.can_take(), ready);
                    let before = common::state(&queue);
                    match queue.take() {
                        Ok(fields) => {
                            prop_assert!(ready);
                            let expected: Vec<u32> = list.drain(..sample).collect();
                            for (row, got) in fields.get("t").unwrap().to_vec2::<u32>().unwrap().iter().enumerate() {
                                let got: Vec<u32> = got.iter().map(|t| t - 1000 * row as u32).collect();
                                prop_assert_eq!(&got, &expected);
                            }
                        }
                        Err(_) => prop_assert!(!ready && common::state(&queue) == before),
                    }
                }
                Step::Restore => {
                    let kind = Kind::new("test/queue", 1);
                    queue = snapshot::from_bytes(&snapshot::to_bytes(kind, &queue).unwrap(), kind).unwrap();
                }
            }
            prop_assert_eq!((queue.len(), queue.free()), (list.len(), length - list.len()));
            prop_assert_eq!(queue.is_empty(), list.is_empty());
        }
    }
}

/// Flashbax's queue of 8 takes three additions of 3 and then has one step; this one says that it is full.
#[test]
fn a_full_queue_overwrites_nothing() {
    let mut queue = queue(1, 8, 3);
    queue.add(&[("t", &steps(1, 0, 3))]).unwrap();
    queue.add(&[("t", &steps(1, 3, 3))]).unwrap();
    let error = queue.add(&[("t", &steps(1, 6, 3))]).unwrap_err().to_string();
    assert!(error.contains("3 steps do not fit the 2 that are free"), "{error}");
    assert_eq!(queue.take().unwrap().get("t").unwrap().to_vec2::<u32>().unwrap(), [[0, 1, 2]]);
    let error = queue.add(&[("t", &steps(1, 0, 9))]).unwrap_err().to_string();
    assert!(error.contains("1 to 8"), "{error}");
    let schema = Schema::new([Field::new("t", DType::U32, [])]).unwrap();
    assert!(Queue::new(schema.clone(), 1, 4, 5).is_err() && Queue::new(schema, 0, 4, 1).is_err());
}
