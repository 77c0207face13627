//! Returns over several steps, and stacks of frames.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor};
use cl_replay::{
    Draw, Field, Item, Items, NStep, Next, Prioritized, PrioritizedTrajectories, Queue, Schema, Sequences,
    Trajectories,
};
use proptest::prelude::*;

/// Steps of one row: the observation is the time, the reward a number of it.
fn filled(flags: &[(bool, bool)], sample: usize, stored_next: bool) -> Trajectories {
    let mut fields = vec![
        Field::new("obs", DType::F32, []),
        Field::new("reward", DType::F32, []),
        Field::new("terminated", DType::U8, []),
        Field::new("truncated", DType::U8, []),
    ];
    if stored_next {
        fields.push(Field::new("next_obs", DType::F32, []));
    }
    let sizes = Sequences { length: flags.len().max(sample), sample, ..Default::default() };
    let mut memory =
        Trajectories::new(Schema::new(fields).unwrap(), sizes, cl_core::rng(0, "memory")).unwrap();
    for (t, &(terminated, truncated)) in flags.iter().enumerate() {
        let number = |value: f32| Tensor::new(&[[value]], &Device::Cpu).unwrap();
        let flag = |value: bool| Tensor::new(&[[u8::from(value)]], &Device::Cpu).unwrap();
        let (obs, reward, next) = (number(t as f32), number(reward(t) as f32), number(t as f32 + 0.5));
        let (terminated, truncated) = (flag(terminated), flag(truncated));
        let mut batch =
            vec![("obs", &obs), ("reward", &reward), ("terminated", &terminated), ("truncated", &truncated)];
        if stored_next {
            batch.push(("next_obs", &next));
        }
        memory.add(&batch).unwrap();
    }
    memory
}

fn reward(t: usize) -> f64 {
    (t * t % 7) as f64 - 2.0
}

proptest! {
    /// T8: against a walk along the steps, which stops at termination and truncation.
    #[test]
    fn returns_stop_where_the_episode_stops(
        flags in prop::collection::vec((prop::bool::weighted(0.2), prop::bool::weighted(0.2)), 6..20),
        n in 1..5usize,
        stored in any::<bool>(),
    ) {
        let gamma = 0.9;
        // Sequences as short as they may be.
        let mut memory = filled(&flags, if stored { n } else { n + 1 }, stored);
        let sample = memory.sample(memory.len(), Draw::WithoutReplacement).unwrap();
        let next = if stored { Next::Stored("next_obs".into()) } else { Next::Following };
        let rule = NStep { n, gamma, truncated: Some("truncated".into()), next, ..Default::default() };
        let returns = rule.of(&sample.fields).unwrap();
        let (values, discounts) =
            (returns.returns.to_vec1::<f32>().unwrap(), returns.discounts.to_vec1::<f32>().unwrap());
        let field = if stored { "next_obs" } else { "obs" };
        let nexts = returns.next.get(field).unwrap().to_vec1::<f32>().unwrap();
        let firsts = returns.first.get("obs").unwrap().to_vec1::<f32>().unwrap();
        for (i, item) in sample.items.iter().enumerate() {
            let start = item.time as usize;
            let (mut sum, mut power, mut t) = (0.0, 1.0, start);
            let (discount, goes_on_from) = loop {
                let (terminated, truncated) = flags[t];
                if truncated && !terminated && !stored {
                    // The successor was never stored: the last observation of the episode stands for it.
                    break (power, t as f32);
                }
                sum += power * reward(t);
                power *= gamma;
                if terminated {
                    break (0.0, f32::NAN);
                }
                if truncated || t + 1 == start + n {
                    break (power, if stored { t as f32 + 0.5 } else { t as f32 + 1.0 });
                }
                t += 1;
            };
            prop_assert_eq!(firsts[i], start as f32);
            prop_assert!((f64::from(values[i]) - sum).abs() < 1e-5, "{} {}", values[i], sum);
            prop_assert!((f64::from(discounts[i]) - discount).abs() < 1e-6);
            if discount > 0.0 {
                prop_assert_eq!(nexts[i], goes_on_from);
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let mut memory = filled(&[(false, false); 6], 3, false);
    let fields = memory.sample(2, Draw::WithReplacement).unwrap().fields;
    let error = |rule: NStep| rule.of(&fields).unwrap_err().to_string();
    let fine = NStep { n: 2, ..Default::default() };
    assert!(fine.of(&fields).is_ok());
    assert!(error(NStep { n: 3, ..fine.clone() }).contains("4 are needed"));
    assert!(error(NStep { n: 0, ..fine.clone() }).contains("at least 1"));
    for gamma in [f64::NAN, -0.1, 1.1] {
        assert!(error(NStep { gamma, ..fine.clone() }).contains(&gamma.to_string()));
    }
    for gamma in [0.0, 1.0] {
        assert!(NStep { gamma, ..fine.clone() }.of(&fields).is_ok());
    }
    assert!(error(NStep { reward: "rewards".into(), ..fine.clone() }).contains("\"rewards\""));
    assert!(error(NStep { next: Next::Stored("next".into()), ..fine }).contains("\"next\""));
}

#[test]
fn a_reward_is_one_number_a_step() {
    for shape in [&[][..], &[3, 2]] {
        let fields = ["reward", "terminated"].map(|name| Field::new(name, DType::F32, shape));
        let mut memory = Items::new(Schema::new(fields).unwrap(), 1, cl_core::rng(0, "memory")).unwrap();
        let item = Tensor::zeros([&[1], shape].concat(), DType::F32, &Device::Cpu).unwrap();
        memory.add(&[("reward", &item), ("terminated", &item)]).unwrap();
        let fields = memory.sample(1, Draw::WithReplacement).unwrap().fields;
        let error = NStep::default().of(&fields).unwrap_err().to_string();
        assert!(error.contains("one number a step") && error.contains("\"reward\""), "{error}");
    }
}

/// Eight steps of one row, rewarded by 1: the third one terminates an episode, the sixth one truncates it.
fn flagged(sizes: Sequences) -> Trajectories {
    let fields = [
        Field::new("reward", DType::F32, []),
        Field::new("terminated", DType::F64, []),
        Field::new("truncated", DType::I64, []),
        Field::new("t", DType::U32, []),
    ];
    let mut memory =
        Trajectories::new(Schema::new(fields).unwrap(), sizes, cl_core::rng(0, "memory")).unwrap();
    let reward = Tensor::ones((1, 8), DType::F32, &Device::Cpu).unwrap();
    let terminated = Tensor::new(&[[0f64, 0.0, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    let truncated = Tensor::new(&[[0i64, 0, 0, 0, 0, -7, 0, 0]], &Device::Cpu).unwrap();
    let t = Tensor::new(&[[0u32, 1, 2, 3, 4, 5, 6, 7]], &Device::Cpu).unwrap();
    memory
        .add(&[("reward", &reward), ("terminated", &terminated), ("truncated", &truncated), ("t", &t)])
        .unwrap();
    memory
}

/// Whatever its sign and dtype; and a field that is not named is none.
#[test]
fn returns_stop_at_any_flag_but_zero() {
    let mut memory = flagged(Sequences { length: 8, sample: 4, ..Default::default() });
    let fields = memory.sample(memory.len(), Draw::WithoutReplacement).unwrap().fields;
    let all = |truncated| {
        let rule = NStep { n: 3, gamma: 1.0, truncated, ..Default::default() };
        let returns = rule.of(&fields).unwrap();
        let first = returns.first.get("t").unwrap().to_vec1::<u32>().unwrap();
        let discounts = returns.discounts.to_vec1::<f32>().unwrap();
        let mut all: Vec<(u32, usize, f32)> =
            first.into_iter().zip(returns.steps).zip(discounts).map(|((t, k), d)| (t, k, d)).collect();
        all.sort_by_key(|&(t, ..)| t);
        all
    };
    let cut = [(0, 3, 0.0), (1, 2, 0.0), (2, 1, 0.0), (3, 2, 1.0), (4, 1, 1.0)];
    assert_eq!(all(Some("truncated".into())), cut);
    let uncut = [(0, 3, 0.0), (1, 2, 0.0), (2, 1, 0.0), (3, 3, 1.0), (4, 3, 1.0)];
    assert_eq!(all(None), uncut);
}

/// Also of more frames than there were yet.
#[test]
fn stacks_begin_behind_any_flag_of_any_field_that_ends_an_episode() {
    let ends = ["terminated", "truncated"];
    for ends in [ends, [ends[1], ends[0]]] {
        let ends = ends.map(String::from).to_vec();
        let memory = flagged(Sequences { length: 8, ends, ..Default::default() });
        let items: Vec<Item> = (0..8).map(|time| Item { row: 0, time }).collect();
        assert_eq!(
            memory.stack(&items, "t", 5).unwrap().to_vec2::<u32>().unwrap(),
            [
                [0, 0, 0, 0, 0],
                [0, 0, 0, 0, 1],
                [0, 0, 0, 1, 2],
                [3, 3, 3, 3, 3],
                [3, 3, 3, 3, 4],
                [3, 3, 3, 4, 5],
                [6, 6, 6, 6, 6],
                [6, 6, 6, 6, 7],
            ]
        );
    }
}

/// Frames are stored once; a stack never shows another episode, nor what was overwritten.
#[test]
fn stacks_begin_with_the_episode_and_with_the_memory() {
    let schema =
        Schema::new([Field::new("frame", DType::U8, [2]), Field::new("done", DType::U8, [])]).unwrap();
    let sizes = Sequences { rows: 2, length: 6, ends: vec!["done".into()], ..Default::default() };
    let rng = || cl_core::rng(0, "memory");
    let mut uniform = Trajectories::new(schema.clone(), sizes.clone(), rng()).unwrap();
    let mut prioritized = PrioritizedTrajectories::new(schema, sizes, Prioritized::default(), rng()).unwrap();
    for t in 0..9u8 {
        // Row 0 ends an episode at time 5, row 1 never.
        let frame = Tensor::new(&[[[t, 0]], [[t, 1]]], &Device::Cpu).unwrap();
        let done = Tensor::new(&[[u8::from(t == 5)], [0]], &Device::Cpu).unwrap();
        uniform.add(&[("frame", &frame), ("done", &done)]).unwrap();
        prioritized.add(&[("frame", &frame), ("done", &done)]).unwrap();
    }
    // Held: 3 to 8.
    let items: Vec<Item> =
        [(0, 8), (0, 6), (0, 5), (1, 6), (1, 3)].map(|(row, time)| Item { row, time }).to_vec();
    let stacks = uniform.stack(&items, "frame", 3).unwrap();
    assert_eq!((stacks.dtype(), stacks.dims()), (DType::U8, &[5, 3, 2][..]));
    let stacks = stacks.to_vec3::<u8>().unwrap();
    let times: Vec<Vec<u8>> =
        stacks.iter().map(|stack| stack.iter().map(|frame| frame[0]).collect()).collect();
    assert_eq!(times, [[6, 7, 8], [6, 6, 6], [3, 4, 5], [4, 5, 6], [3, 3, 3]]);
    assert!(stacks.iter().zip(&items).all(|(stack, item)| stack.iter().all(|f| u32::from(f[1]) == item.row)));
    let same = prioritized.stack(&items, "frame", 3).unwrap().to_vec3::<u8>().unwrap();
    assert_eq!(same, stacks);
    for (row, time) in [(0, 2), (0, 9), (2, 5)] {
        let error = uniform.stack(&[Item { row, time }], "frame", 3).unwrap_err().to_string();
        assert!(error.contains("is not held"), "{error}");
    }
    assert!(uniform.stack(&items, "frames", 3).is_err() && uniform.stack(&items, "frame", 0).is_err());
    let error = uniform.stack(&items, "frame", usize::MAX).unwrap_err().to_string();
    assert!(error.contains("as many as a row holds"), "{error}");
}

#[test]
fn more_steps_than_there_can_be_are_too_many() {
    let schema = Schema::new(["reward", "terminated"].map(|name| Field::new(name, DType::F32, []))).unwrap();
    let mut memory = Queue::new(schema, 1, 4, 4).unwrap();
    let steps = Tensor::zeros((1, 4), DType::F32, &Device::Cpu).unwrap();
    memory.add(&[("reward", &steps), ("terminated", &steps)]).unwrap();
    let n_step = NStep { n: usize::MAX, ..NStep::default() };
    let error = n_step.of(&memory.take().unwrap()).unwrap_err().to_string();
    assert!(error.contains("4 steps: 18446744073709551615 are needed"), "{error}");
}
