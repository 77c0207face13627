//! PackNet on a network and with optimizers of cl-nn: what is learned stays to the last bit.
#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{DType, Device, Module, Tensor, Var};
use cl_core::init::Init;
use cl_core::{Error, Params, TensorOps, Units, snapshot};
use cl_isolate::PackNet;
use cl_nn::{Mlp, Optimizer, OptimizerConfig};
use proptest::prelude::*;

const TASKS: usize = 4;
const RATIO: f64 = 0.6;

/// Two classes a task, told apart by a random direction.
fn data(task: usize, step: usize) -> (Tensor, Tensor) {
    let normal = |shape: &[usize], seed: u64, name: &str| {
        let mut rng = cl_core::rng(seed, name);
        Init::Normal(1.0).var(shape, DType::F32, &Device::Cpu, &mut rng).unwrap().as_detached_tensor()
    };
    let x = normal(&[16, 6], (1000 * task + step) as u64, "x");
    let direction = normal(&[6, 1], task as u64, "direction");
    let y = x.matmul(&direction).unwrap().squeeze(1).unwrap().gt(0f32).unwrap();
    (x, (y.to_dtype(DType::U32).unwrap() + (2 * task) as f64).unwrap().to_dtype(DType::U32).unwrap())
}

/// A body and a head of two units a task.
fn network() -> Mlp {
    let mut rng = cl_core::rng(0, "weights");
    Mlp::with_heads(&[6, 20, 12, 2 * TASKS], TASKS, DType::F32, &Device::Cpu, &mut rng).unwrap()
}

fn optimizers() -> [OptimizerConfig; 4] {
    [
        OptimizerConfig::sgd(0.1),
        OptimizerConfig::Sgd { lr: 0.1, momentum: 0.9, weight_decay: 1e-2 },
        OptimizerConfig::adam(0.01),
        OptimizerConfig::adamw(0.01, 0.1),
    ]
}

struct Run {
    net: Mlp,
    packnet: PackNet,
    optimizer: Optimizer,
}

impl Run {
    fn new(config: OptimizerConfig) -> Self {
        let net = network();
        let packnet = PackNet::new(net.params(), &["heads"]).unwrap();
        Self { net, packnet, optimizer: Optimizer::new(config).unwrap() }
    }

    fn begin(&mut self, task: usize) {
        self.net.params_mut().freeze("heads", true).unwrap();
        self.net.params_mut().freeze(&format!("heads.{task}"), false).unwrap();
        assert_eq!(self.packnet.begin(self.net.params()).unwrap(), task);
    }

    fn steps(&mut self, task: usize, steps: Range<usize>) {
        steps.for_each(|step| self.step(task, step));
    }

    fn step(&mut self, task: usize, step: usize) {
        let (x, y) = data(task, step);
        let loss = self.net.forward(&x).unwrap().cross_entropy(&y, Units::Block(2), None).unwrap();
        let mut grads = loss.backward().unwrap();
        self.packnet.mask_gradients(&mut grads, self.net.params()).unwrap();
        let gradients = self.net.params().gradients(&grads).unwrap();
        self.optimizer.step(self.net.params(), &gradients).unwrap();
        self.packnet.hold(self.net.params()).unwrap();
    }

    fn learn(&mut self, task: usize) {
        self.begin(task);
        self.steps(task, 0..30);
        self.packnet.prune(self.net.params(), RATIO).unwrap();
        self.steps(task, 30..50);
        self.packnet.finish(self.net.params()).unwrap();
    }

    /// The bits of the outputs of `task`.
    fn outputs(&self, task: usize) -> Vec<u32> {
        let (x, _) = data(task, 999);
        let logits = self.packnet.as_task(self.net.params(), task, || self.net.predict(&x)).unwrap();
        bits(&logits.narrow(1, 2 * task, 2).unwrap())
    }

    fn all_bits(&self) -> Vec<u32> {
        self.net.params().iter().flat_map(|p| bits(p.var.as_tensor())).collect()
    }
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn old_tasks_stay_to_the_last_bit() {
    for config in optimizers() {
        let mut run = Run::new(config);
        let mut learned = Vec::new();
        for task in 0..TASKS {
            run.learn(task);
            learned.push(run.outputs(task));
            for (old, outputs) in learned.iter().enumerate() {
                assert_eq!(&run.outputs(old), outputs, "{config:?}: task {old} after task {task}");
            }
            // While the next is being learned, too.
            if task + 1 < TASKS {
                let mut next = Run {
                    net: run.net.copy().unwrap(),
                    packnet: run.packnet.clone(),
                    optimizer: run.optimizer.copy().unwrap(),
                };
                next.begin(task + 1);
                next.step(task + 1, 0);
                assert_eq!(next.outputs(task), learned[task]);
            }
        }
        // Tasks do learn, and what one has is not what another has.
        assert!(learned.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

/// Later tasks learn with what is left, and are told apart well on data that they have not seen.
#[test]
fn every_task_is_learned() {
    let mut run = Run::new(OptimizerConfig::adam(0.01));
    for task in 0..TASKS {
        run.begin(task);
        run.steps(task, 0..200);
        run.packnet.prune(run.net.params(), RATIO).unwrap();
        run.steps(task, 200..300);
        run.packnet.finish(run.net.params()).unwrap();
    }
    for task in 0..TASKS {
        let mut right = 0.0;
        for step in 500..520 {
            let (x, y) = data(task, step);
            let logits = run.packnet.as_task(run.net.params(), task, || run.net.predict(&x)).unwrap();
            let found = logits.narrow(1, 2 * task, 2).unwrap().argmax(1).unwrap();
            let y =
                (y.to_dtype(DType::F64).unwrap() - (2 * task) as f64).unwrap().to_dtype(DType::U32).unwrap();
            right += found
                .eq(&y)
                .unwrap()
                .to_dtype(DType::F32)
                .unwrap()
                .mean_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap();
        }
        assert!(right / 20.0 > 0.85, "task {task}: {}", right / 20.0);
    }
}

/// With plain SGD, masked gradients alone leave what is owned as it is; released weights stay zero.
#[test]
fn masked_gradients_are_exactly_zero() {
    let mut run = Run::new(OptimizerConfig::sgd(0.1));
    run.learn(0);
    run.begin(1);
    let owned = run.packnet.values(run.net.params(), 0).unwrap();
    let (x, y) = data(1, 0);
    let loss = run.net.forward(&x).unwrap().cross_entropy(&y, Units::Block(2), None).unwrap();
    let mut grads = loss.backward().unwrap();
    let before = run.net.params().gradients(&grads).unwrap();
    run.packnet.mask_gradients(&mut grads, run.net.params()).unwrap();
    for ((param, owned), before) in
        run.net.params().iter().zip(&owned).zip(&before).filter(|((p, _), _)| !p.name.starts_with("heads"))
    {
        let gradient = bits(grads.get(&param.var).unwrap());
        for ((&gradient, &owned), &before) in gradient.iter().zip(&bits(owned)).zip(&bits(before)) {
            let held = owned != 0 || param.var.rank() == 1;
            assert_eq!(gradient, if held { 0 } else { before }, "{}", param.name);
        }
    }
    // Weights of a finished task that were pruned get gradients again: they are free.
    assert!(
        bits(grads.get(&run.net.params().get("layers.0.weight").unwrap().var).unwrap())
            .iter()
            .any(|&g| g != 0)
    );
}

#[test]
fn pruning_and_retraining() {
    let mut run = Run::new(OptimizerConfig::adamw(0.01, 0.1));
    run.begin(0);
    run.steps(0, 0..20);
    let before = run.net.params().get("layers.1.weight").unwrap().var.as_tensor().copy().unwrap();
    let released = run.packnet.prune(run.net.params(), 0.25).unwrap();
    assert_eq!(released, 30 + 60);
    let weights = |run: &Run| -> Vec<f32> {
        run.net.params().get("layers.1.weight").unwrap().var.flatten_all().unwrap().to_vec1().unwrap()
    };
    let (before, pruned) = (before.flatten_all().unwrap().to_vec1::<f32>().unwrap(), weights(&run));
    let of = |zero: bool| {
        before.iter().zip(&pruned).filter(move |(_, p)| (**p == 0.0) == zero).map(|(b, _)| b.abs())
    };
    assert_eq!(of(true).count(), 60);
    assert!(of(true).fold(0.0, f32::max) <= of(false).fold(f32::MAX, f32::min));
    run.steps(0, 0..20);
    for (now, pruned) in weights(&run).iter().zip(&pruned) {
        assert_eq!(*now == 0.0, *pruned == 0.0);
        assert!(*pruned == 0.0 || now != pruned, "what is kept trains on");
    }
    let error = run.packnet.prune(run.net.params(), 0.25).unwrap_err().to_string();
    assert!(error.contains("pruned already"), "{error}");
}

#[test]
fn no_free_weights_is_an_error_that_says_so() {
    let mut run = Run::new(OptimizerConfig::sgd(0.1));
    run.begin(0);
    run.packnet.finish(run.net.params()).unwrap();
    let before = serde_json::to_string(&run.packnet).unwrap();
    let error = run.packnet.begin(run.net.params()).unwrap_err();
    assert!(matches!(&error, Error::Invalid { what, .. } if what == "free weights"));
    assert!(error.to_string().contains("all 360 packed weights belong to the 1 tasks"), "{error}");
    assert_eq!(serde_json::to_string(&run.packnet).unwrap(), before);
}

#[test]
fn wrong_calls_are_errors() {
    let mut run = Run::new(OptimizerConfig::sgd(0.1));
    let params = run.net.params().clone();
    let contains = |error: Error, text: &str| assert!(error.to_string().contains(text), "{error}");
    contains(PackNet::new(&params, &["head"]).unwrap_err(), "nothing is named \"head\"");
    contains(PackNet::new(&params, &["heads", "layers"]).unwrap_err(), "two dimensions");
    contains(run.packnet.hold(&params).unwrap_err(), "call begin");
    contains(run.packnet.prune(&params, 0.5).unwrap_err(), "call begin");
    contains(run.packnet.finish(&params).unwrap_err(), "call begin");
    contains(run.packnet.values(&params, 0).unwrap_err(), "no task 0");
    run.packnet.begin(&params).unwrap();
    contains(run.packnet.begin(&params).unwrap_err(), "call finish");
    for ratio in [1.0, -0.1, f64::NAN] {
        contains(run.packnet.prune(&params, ratio).unwrap_err(), "[0, 1)");
    }
    let other = Mlp::new(&[6, 21, 12, 8], DType::F32, &Device::Cpu, &mut cl_core::rng(0, "")).unwrap();
    contains(run.packnet.hold(other.params()).unwrap_err(), "layers.0.weight, F32 [20, 6], got F32 [21, 6]");
    contains(run.packnet.hold(&Params::new()).unwrap_err(), "no such parameter");

    let weight = &params.get("layers.0.weight").unwrap().var;
    weight.set(&(weight.as_tensor() * f64::NAN).unwrap()).unwrap();
    contains(run.packnet.prune(&params, 0.5).unwrap_err(), "not finite");
}

#[test]
fn parameters_come_back_whatever_happens() {
    let mut run = Run::new(OptimizerConfig::sgd(0.1));
    (0..3).for_each(|task| run.learn(task));
    let (params, before) = (run.net.params(), run.all_bits());
    let spoil = || {
        assert_ne!(run.all_bits(), before, "task 0 is another network");
        params.iter().for_each(|p| p.var.set(&p.var.zeros_like().unwrap()).unwrap());
    };
    let spoiled = run.packnet.as_task(params, 0, || {
        spoil();
        Ok(7)
    });
    assert_eq!(spoiled.unwrap(), 7);
    assert_eq!(run.all_bits(), before);
    let error = run.packnet.as_task(params, 0, || {
        spoil();
        Err::<(), _>(Error::Interrupted)
    });
    assert!(matches!(error, Err(Error::Interrupted)));
    assert_eq!(run.all_bits(), before);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        run.packnet.as_task::<()>(params, 0, || {
            spoil();
            panic!("a bug of the caller")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(run.all_bits(), before);
}

#[test]
fn memory_is_counted() {
    let mut run = Run::new(OptimizerConfig::sgd(0.1));
    let memory = run.packnet.memory();
    assert_eq!((memory.tasks.len(), memory.free, memory.mask_bits), (0, 360, 1));
    run.learn(0);
    run.learn(1);
    run.begin(2);
    let memory = run.packnet.memory();
    // Of 120 and 240 weights: 48 and 96 kept of all, 29 and 58 of the 72 and 144 that were left.
    let tasks: Vec<_> = memory.tasks.iter().map(|t| (t.weights, t.shared, t.bytes)).collect();
    assert_eq!(tasks, [(144, 32, 4 * 176), (87, 0, 4 * 87), (129, 0, 4 * 129)]);
    assert_eq!((memory.free, memory.mask_bits), (0, 2));
    assert_eq!(memory.mask_bytes, 8 * (120usize.div_ceil(32) + 240usize.div_ceil(32)));
    assert_eq!(memory.working_bytes, 5 * (360 + 32));
}

/// At every stage: saved, restored, and on to the same bits.
#[test]
fn restored_it_goes_on_bit_for_bit() {
    for stage in 0..4 {
        let mut run = Run::new(OptimizerConfig::adamw(0.01, 0.1));
        run.learn(0);
        if stage > 0 {
            run.begin(1);
            run.steps(1, 0..5);
        }
        if stage > 1 {
            run.packnet.prune(run.net.params(), RATIO).unwrap();
            run.steps(1, 5..8);
        }
        if stage > 2 {
            run.packnet.finish(run.net.params()).unwrap();
        }
        let bytes = snapshot::to_bytes(PackNet::KIND, &run.packnet).unwrap();
        let mut again = Run {
            net: run.net.copy().unwrap(),
            packnet: snapshot::from_bytes(&bytes, PackNet::KIND).unwrap(),
            optimizer: run.optimizer.copy().unwrap(),
        };
        assert_eq!(snapshot::to_bytes(PackNet::KIND, &again.packnet).unwrap(), bytes);
        for run in [&mut run, &mut again] {
            if stage == 0 {
                run.begin(1);
            }
            if stage < 2 {
                run.step(1, 10);
                run.packnet.prune(run.net.params(), RATIO).unwrap();
            }
            if stage < 3 {
                run.step(1, 11);
                run.packnet.finish(run.net.params()).unwrap();
            }
            run.learn(2);
        }
        assert_eq!(run.all_bits(), again.all_bits(), "stage {stage}");
        assert_eq!(run.outputs(0), again.outputs(0));
        assert_eq!(run.packnet.memory(), again.packnet.memory());
    }
}

#[test]
fn damaged_snapshots_are_errors() {
    let mut run = Run::new(OptimizerConfig::sgd(0.1));
    run.learn(0);
    run.begin(1);
    let bytes = snapshot::to_bytes(PackNet::KIND, &run.packnet).unwrap();
    for length in (0..bytes.len()).step_by(7) {
        assert!(snapshot::from_bytes::<PackNet>(&bytes[..length], PackNet::KIND).is_err());
    }
    for at in (0..bytes.len()).step_by(5) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(snapshot::from_bytes::<PackNet>(&bytes, PackNet::KIND).is_err(), "byte {at}");
    }
}

/// Without a checksum in the way: what is contradictory is refused.
#[test]
fn contradictory_states_are_refused() {
    let mut run = Run::new(OptimizerConfig::sgd(0.1));
    run.learn(0);
    run.begin(1);
    let good = serde_json::to_value(&run.packnet).unwrap();
    serde_json::from_value::<PackNet>(good.clone()).unwrap();
    let huge = u64::MAX;
    for (path, value) in [
        ("/tasks", serde_json::json!(0)),
        ("/tasks", serde_json::json!(huge)),
        ("/tasks", serde_json::json!(65535)),
        ("/layers", serde_json::json!([])),
        ("/layers/0/dims", serde_json::json!([20, 7000])),
        ("/layers/0/dims", serde_json::json!([huge, huge])),
        ("/layers/0/dims", serde_json::json!([120])),
        ("/layers/1/dims", serde_json::json!([huge])),
        ("/layers/0/dtype", serde_json::json!("u8")),
        ("/layers/0/dtype", serde_json::json!("f64")),
        ("/layers/0/name", serde_json::json!("layers.1.weight")),
        ("/layers/0/owners/0", serde_json::json!(huge)),
        ("/layers/0/owners", serde_json::json!([])),
        ("/layers/1/owners", serde_json::json!([1])),
        ("/current/held", serde_json::json!([])),
        ("/current/held/0/shape", serde_json::json!([6, 20])),
        ("/current/held/0/bytes", serde_json::json!([0])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value.clone();
        assert!(serde_json::from_value::<PackNet>(bad).is_err(), "{path} = {value}");
    }

    run.packnet.finish(run.net.params()).unwrap();
    let mut bad = serde_json::to_value(&run.packnet).unwrap();
    *bad.pointer_mut("/layers/1/dims").unwrap() = serde_json::json!([huge]);
    let error = serde_json::from_value::<PackNet>(bad).unwrap_err().to_string();
    assert!(error.contains("larger than can be addressed"), "{error}");
}

/// Equal magnitudes, of either sign, are released in their order; halves round to even.
#[test]
fn ties_are_released_in_order() {
    let var = Var::new(&[[1f32, -1.0, 1.0, -0.5], [2.0, -1.0, 1.0, 0.0]], &Device::Cpu).unwrap();
    let mut params = Params::new();
    params.push("w", var.clone()).unwrap();
    let mut packnet = PackNet::new(&params, &[]).unwrap();
    packnet.begin(&params).unwrap();
    assert_eq!(packnet.prune(&params, 0.5625).unwrap(), 4); // 4.5 of 8
    assert_eq!(var.to_vec2::<f32>().unwrap(), [[0.0, 0.0, 1.0, 0.0], [2.0, -1.0, 1.0, 0.0]]);
}

/// A small state in the middle of its second task, as text.
fn small_state() -> String {
    let mut params = Params::new();
    params.push("w", Var::new(&[[1f32, -2.0], [3.0, 4.0]], &Device::Cpu).unwrap()).unwrap();
    params.push("b", Var::new(&[1f32, 2.0], &Device::Cpu).unwrap()).unwrap();
    let mut packnet = PackNet::new(&params, &[]).unwrap();
    packnet.begin(&params).unwrap();
    packnet.prune(&params, 0.5).unwrap();
    packnet.finish(&params).unwrap();
    packnet.begin(&params).unwrap();
    serde_json::to_string(&packnet).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A digit changed behind the checksum's back: an error, or a state that can be used.
    #[test]
    fn altered_states_never_panic(at in any::<prop::sample::Index>(), digit in prop::char::range('0', '9')) {
        let mut text: Vec<char> = small_state().chars().collect();
        let digits: Vec<usize> = (0..text.len()).filter(|&i| text[i].is_ascii_digit()).collect();
        text[*at.get(&digits)] = digit;
        if let Ok(packnet) = serde_json::from_str::<PackNet>(&text.into_iter().collect::<String>()) {
            packnet.memory();
            prop_assert!(packnet.hold(&Params::new()).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Over tasks of random ratios: counts add up, an owner never changes, in each layer the ratio is kept
    /// within rounding and what is released is the smallest.
    #[test]
    fn masks(
        rows in 1..9usize,
        columns in 1..9usize,
        ratios in prop::collection::vec(0.0..0.99f64, 1..6),
        seed in any::<u64>(),
    ) {
        let mut params = Params::new();
        let mut rng = cl_core::rng(seed, "weights");
        let mut normal = |shape: &[usize]| {
            Init::Normal(1.0).var(shape, DType::F64, &Device::Cpu, &mut rng).unwrap()
        };
        let n = rows * columns + 2 * columns;
        for (name, shape) in [("a", vec![rows, columns]), ("b", vec![2, columns, 1]), ("bias", vec![rows])] {
            params.push(name, normal(&shape)).unwrap();
        }
        let mut packnet = PackNet::new(&params, &[]).unwrap();
        let flat = |values: &[Tensor]| -> Vec<Vec<f64>> {
            values.iter().map(|t| t.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        let mut owned: Vec<Vec<Vec<f64>>> = Vec::new(); // values of each task when it was finished
        for (task, &ratio) in ratios.iter().enumerate() {
            if packnet.begin(&params).is_err() {
                prop_assert_eq!(packnet.memory().free, 0);
                break;
            }
            // Every weight moves, as if no gradient had been masked.
            for param in params.iter() {
                let noise = normal(param.var.dims());
                param.var.set(&(param.var.as_tensor() + noise.as_tensor()).unwrap()).unwrap();
            }
            packnet.hold(&params).unwrap();
            let before = flat(&params.values().unwrap());
            let was = packnet.memory();
            let released = packnet.prune(&params, ratio).unwrap();
            let after = flat(&params.values().unwrap());
            let now = packnet.memory();
            prop_assert_eq!(now.free, released);
            prop_assert_eq!(now.tasks[task].weights + released, was.tasks[task].weights);
            prop_assert_eq!(&now.tasks[..task], &was.tasks[..task]);
            prop_assert_eq!(now.tasks.iter().map(|t| t.weights).sum::<usize>() + now.free, n);

            let nothing = || vec![vec![0.0; rows * columns], vec![0.0; 2 * columns]];
            let earlier = owned.last().cloned().unwrap_or_else(nothing);
            for layer in 0..2 {
                let own = (0..before[layer].len()).filter(|&i| earlier[layer][i] == 0.0);
                let (zero, kept): (Vec<usize>, Vec<usize>) = own.partition(|&i| after[layer][i] == 0.0);
                prop_assert!((zero.len() as f64 - ratio * (zero.len() + kept.len()) as f64).abs() <= 0.5);
                let largest = zero.iter().map(|&i| before[layer][i].abs()).fold(0.0, f64::max);
                prop_assert!(kept.iter().all(|&i| before[layer][i].abs() >= largest));
                prop_assert!(kept.iter().all(|&i| before[layer][i] == after[layer][i]));
                for (i, &earlier) in earlier[layer].iter().enumerate() {
                    prop_assert!(earlier == 0.0 || after[layer][i] == earlier, "an owned weight changed");
                }
            }
            packnet.finish(&params).unwrap();
            owned.push(flat(&packnet.values(&params, task).unwrap()));
            for (old, values) in owned.iter().enumerate() {
                prop_assert_eq!(&flat(&packnet.values(&params, old).unwrap()), values);
            }
        }
    }
}
