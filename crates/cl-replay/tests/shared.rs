//! One memory, several threads: no torn reads, and nobody's draws disturb another's.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use candle_core::{DType, Device, Tensor};
use cl_replay::{
    Draw, Field, Item, Items, NewItems, Prioritized, PrioritizedItems, Schema, Sequences, Shared, Strata,
    Trajectories,
};

const BATCH: usize = 8;
const CAPACITY: usize = 10 * BATCH;

fn schema() -> Schema {
    Schema::new([Field::new("batch", DType::I64, []), Field::new("wide", DType::F32, [300])]).unwrap()
}

/// A batch whose rows all say which it is, in every element.
fn batch(number: u32) -> [(&'static str, Tensor); 2] {
    [
        ("batch", Tensor::full(i64::from(number), BATCH, &Device::Cpu).unwrap()),
        ("wide", Tensor::full(number as f32, (BATCH, 300), &Device::Cpu).unwrap()),
    ]
}

fn refs<'b>(batch: &'b [(&'static str, Tensor)]) -> Vec<(&'b str, &'b Tensor)> {
    batch.iter().map(|(name, tensor)| (*name, tensor)).collect()
}

/// Which batches the rows are of; fails where a row is torn.
fn batches(batch: &Tensor, wide: &Tensor) -> Vec<i64> {
    let numbers = batch.to_vec1::<i64>().unwrap();
    for (number, wide) in numbers.iter().zip(wide.to_vec2::<f32>().unwrap()) {
        assert!(wide.iter().all(|&value| value == *number as f32), "torn: a row of {number} has {wide:?}");
    }
    numbers
}

/// One writer and several samplers: every row is whole, and so is every addition.
fn no_torn_reads(memory: Items) {
    const SAMPLERS: u64 = 3;
    const ADDITIONS: u32 = 500;
    const LOOKS: u64 = 200;
    let memory = Shared::new(memory);
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let spawn = |sampler| {
            let (memory, done, looks) = (memory.clone(), &done, &looks);
            scope.spawn(move || {
                let mut rng = cl_core::rng(sampler, "sampler");
                let mut newest = 0;
                while !done.load(Ordering::Relaxed) {
                    let all =
                        |items: &Items| items.sample_with(items.len(), Draw::WithoutReplacement, &mut rng);
                    let all = memory.read(all).unwrap();
                    let mut held = batches(all.get("batch").unwrap(), all.get("wide").unwrap());
                    held.sort_unstable();
                    // Whole batches, one after the other.
                    let last = held[held.len() - 1];
                    let expected: Vec<i64> = (last + 1 - (held.len() / BATCH) as i64..=last)
                        .flat_map(|number| std::iter::repeat_n(number, BATCH))
                        .collect();
                    assert_eq!(held, expected);
                    assert!(last >= newest, "time went back");
                    newest = last;
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let samplers: Vec<_> = (0..SAMPLERS).map(spawn).collect();
        // Until both have happened often, or a sampler has failed.
        for number in 1.. {
            memory.write(|items| items.add(&refs(&batch(number)))).unwrap();
            let enough = number > ADDITIONS && looks.load(Ordering::Relaxed) > LOOKS;
            if enough || samplers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn no_torn_reads_in_ram() {
    let mut memory = Items::new(schema(), CAPACITY, cl_core::rng(0, "memory")).unwrap();
    memory.add(&refs(&batch(0))).unwrap();
    no_torn_reads(memory);
}

#[test]
fn no_torn_reads_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let mut memory =
        Items::create(dir.path().join("memory"), schema(), CAPACITY, cl_core::rng(0, "memory")).unwrap();
    memory.add(&refs(&batch(0))).unwrap();
    no_torn_reads(memory);
}

/// While nobody writes, each draws what it would draw alone; and `sample` draws what `sample_with` draws.
#[test]
fn samplers_do_not_disturb_each_other() {
    let mut items = Items::new(schema(), CAPACITY, cl_core::rng(0, "memory")).unwrap();
    let sizes = Sequences { length: CAPACITY, sample: 3, ..Default::default() };
    let mut trajectories = Trajectories::new(schema(), sizes, cl_core::rng(0, "memory")).unwrap();
    let config = Prioritized { strata: Strata::Independent, ..Default::default() };
    let mut prioritized =
        PrioritizedItems::new(schema(), CAPACITY, config, cl_core::rng(0, "memory")).unwrap();
    for number in 0..15 {
        let batch = batch(number);
        items.add(&refs(&batch)).unwrap();
        prioritized.add(&refs(&batch)).unwrap();
        let row = batch.map(|(name, tensor)| (name, tensor.unsqueeze(0).unwrap()));
        trajectories.add(&refs(&row)).unwrap();
    }
    let memory = Shared::new((items, trajectories, prioritized));
    let draw = |sampler: u64| {
        let mut rng = cl_core::rng(sampler, "sampler");
        let mut drawn = Vec::new();
        for _ in 0..50 {
            let draw = |(items, trajectories, prioritized): &(Items, Trajectories, PrioritizedItems)| {
                let mut all = items.sample_with(9, Draw::WithReplacement, &mut rng)?.items;
                all.extend(trajectories.sample_with(9, Draw::WithoutReplacement, &mut rng)?.items);
                all.extend(prioritized.sample_with(9, 0.4, &mut rng)?.items);
                Ok(all)
            };
            drawn.push(memory.read(draw).unwrap());
        }
        drawn
    };
    let alone: Vec<_> = (0..4).map(draw).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|sampler| scope.spawn(move || draw(sampler))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
    assert_ne!(alone[0], alone[1]);
    // The memory's own generator is one like these.
    let own = |(items, trajectories, prioritized): &mut (Items, Trajectories, PrioritizedItems)| {
        let mut same = [(); 3].map(|()| cl_core::rng(0, "memory"));
        for _ in 0..3 {
            let draw = Draw::WithReplacement;
            assert_eq!(items.sample(5, draw)?.items, items.sample_with(5, draw, &mut same[0])?.items);
            let with = trajectories.sample_with(5, draw, &mut same[1])?.items;
            assert_eq!(trajectories.sample(5, draw)?.items, with);
            let with = prioritized.sample_with(5, 0.4, &mut same[2])?.items;
            assert_eq!(prioritized.sample(5, 0.4)?.items, with);
        }
        Ok(())
    };
    memory.write(own).unwrap();
}

/// Priorities that come late, since another thread added in between, hit nobody.
#[test]
fn late_priorities_hit_nobody() {
    let config = Prioritized { alpha: 1.0, new_items: NewItems::Fixed(0.001), ..Default::default() };
    let mut memory = PrioritizedItems::new(schema(), CAPACITY, config, cl_core::rng(0, "memory")).unwrap();
    memory.add(&refs(&batch(0))).unwrap();
    let memory = Shared::new(memory);
    let (done, late) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for sampler in 0..2 {
            let (memory, done, late) = (memory.clone(), &done, &late);
            scope.spawn(move || {
                let mut rng = cl_core::rng(sampler, "sampler");
                for _ in 0..500 {
                    let drawn = memory.read(|items| items.sample_with(BATCH, 0.4, &mut rng)).unwrap();
                    let numbers = batches(drawn.get("batch").unwrap(), drawn.get("wide").unwrap());
                    // Of every batch its own: a successor would have one that is not its own.
                    let own = |number: i64| 2.0 + number as f32;
                    let priorities: Vec<f32> = numbers.iter().map(|&number| own(number)).collect();
                    std::thread::sleep(std::time::Duration::from_micros(200));
                    let set = |items: &mut PrioritizedItems| {
                        let updated = items.set_priorities(&drawn.items, &priorities)?;
                        for time in items.written() - items.len() as u64..items.written() {
                            let priority = items.priority(Item { row: 0, time })?.unwrap();
                            let own = own(time as i64 / BATCH as i64);
                            assert!(priority == 0.001 || priority == own, "{priority}: not of {time}");
                        }
                        Ok(updated.late.len())
                    };
                    late.fetch_add(memory.write(set).unwrap() as u64, Ordering::Relaxed);
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        for number in 1.. {
            memory.write(|items| items.add(&refs(&batch(number)))).unwrap();
            std::thread::sleep(std::time::Duration::from_micros(20));
            if done.load(Ordering::Relaxed) == 2 {
                break;
            }
        }
    });
    assert!(late.load(Ordering::Relaxed) > 0, "or nothing was tested");
}

#[test]
fn a_panic_while_it_is_changed_is_told() {
    let memory = Shared::new(vec![1]);
    let panics = |memory: Shared<Vec<i32>>, write: bool| {
        std::thread::spawn(move || {
            if write {
                memory.write(|_| -> cl_core::Result<()> { panic!("half way") })
            } else {
                memory.read(|_| -> cl_core::Result<()> { panic!("while looking") })
            }
        })
        .join()
        .unwrap_err()
    };
    panics(memory.clone(), false);
    let push = |list: &mut Vec<i32>| {
        list.push(2);
        Ok(())
    };
    memory.write(push).unwrap();
    assert_eq!(memory.read(|list| Ok(list.clone())).unwrap(), [1, 2]);
    panics(memory.clone(), true);
    assert!(memory.read(|_| Ok(())).unwrap_err().to_string().contains("panicked"));
    assert!(memory.write(|_| Ok(())).unwrap_err().to_string().contains("panicked"));
}
