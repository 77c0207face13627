//! Progressive networks: the equation, that old columns never change, and what they cost.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use cl_core::init::Init;
use cl_core::{Error, Params, Result, Rng, snapshot};
use cl_isolate::{AdapterConfig, Column, Lateral, MlpColumn, Progressive};
use cl_nn::{Optimizer, OptimizerConfig};

const CPU: Device = Device::Cpu;

fn normal(shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    Init::Normal(1.0).var(shape, dtype, &CPU, &mut cl_core::rng(seed, "data")).unwrap().as_detached_tensor()
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Fits the column of the last task to its targets; gives the last loss.
fn train<C: Column>(net: &Progressive<C>, optimizer: &mut Optimizer, x: &Tensor, steps: usize) -> f32 {
    let task = net.tasks() - 1;
    let y = (x.flatten_from(1).unwrap().narrow(1, task, 2).unwrap() * 3.0).unwrap().sin().unwrap();
    let params = net.params().unwrap();
    let mut last = 0.0;
    for _ in 0..steps {
        let loss = (net.forward(x, task).unwrap() - &y).unwrap().sqr().unwrap().mean_all().unwrap();
        optimizer.backward_step(&params, &loss).unwrap();
        last = loss.to_scalar().unwrap();
    }
    last
}

fn mlp(widths: &[usize], dtype: DType, rng: &mut Rng) -> MlpColumn {
    MlpColumn::new(widths, dtype, &CPU, rng).unwrap()
}

#[test]
fn old_tasks_stay_to_the_last_bit() {
    for config in [
        OptimizerConfig::Sgd { lr: 0.05, momentum: 0.9, weight_decay: 1e-3 },
        OptimizerConfig::adam(0.01),
        OptimizerConfig::adamw(0.01, 0.1),
    ] {
        let mut rng = cl_core::rng(0, "weights");
        let mut net = Progressive::new(AdapterConfig { width: Some(3), ..Default::default() }).unwrap();
        let mut optimizer = Optimizer::new(config).unwrap();
        let x = normal(&[16, 5], DType::F32, 1);
        let mut learned = Vec::new();
        for task in 0..4 {
            // Columns need not be of one size.
            let column = mlp(&[5, 12 + task, 9 + 2 * task, 2], DType::F32, &mut rng);
            assert_eq!(net.add(column, &mut rng).unwrap(), task);
            let before = train(&net, &mut optimizer, &x, 1);
            let after = train(&net, &mut optimizer, &x, 100);
            assert!(after < before / 2.0, "{config:?}: task {task} learns: {before} {after}");
            learned.push(bits(&net.forward(&x, task).unwrap()));
            for (old, outputs) in learned.iter().enumerate() {
                assert_eq!(&bits(&net.forward(&x, old).unwrap()), outputs, "task {old} after {task}");
            }
        }
    }
}

/// Equation 2 with candle's own operations, for the third of three columns.
#[test]
fn forward_is_the_equation() {
    let mut rng = cl_core::rng(3, "weights");
    let mut net = Progressive::new(AdapterConfig::default()).unwrap();
    for widths in [[4, 5, 6, 2], [4, 3, 7, 1], [4, 6, 4, 3]] {
        let column = mlp(&widths, DType::F64, &mut rng);
        net.add(column, &mut rng).unwrap();
    }
    let x = normal(&[8, 4], DType::F64, 2);
    let get =
        |task: usize, name: String| net.params_of(task).unwrap().get(&name).unwrap().var.as_detached_tensor();
    let affine = |task: usize, layer: usize, h: &Tensor| -> Result<Tensor> {
        let w = get(task, format!("columns.{task}.layers.{layer}.weight"));
        Ok(h.matmul(&w.t()?)?.broadcast_add(&get(task, format!("columns.{task}.layers.{layer}.bias")))?)
    };
    let lateral = |task: usize, layer: usize, h: &[&Tensor]| -> Result<Tensor> {
        let part = |name: &str| get(task, format!("adapters.{task}.{layer}.{name}"));
        let alpha = part("alpha").to_vec1::<f64>()?;
        let scaled: Vec<Tensor> = h.iter().zip(alpha).map(|(h, a)| (*h * a).unwrap()).collect();
        let joined = Tensor::cat(&scaled, 1)?;
        let reduced = joined.matmul(&part("project").t()?)?.broadcast_add(&part("bias"))?.relu()?;
        Ok(reduced.matmul(&part("expand").t()?)?)
    };
    let expected = || -> Result<Tensor> {
        let h1: Vec<Tensor> = (0..3).map(|k| Ok(affine(k, 0, &x)?.relu()?)).collect::<Result<_>>()?;
        let a = affine(0, 1, &h1[0])?.relu()?;
        let b = (affine(1, 1, &h1[1])? + lateral(1, 1, &[&h1[0]])?)?.relu()?;
        let c = (affine(2, 1, &h1[2])? + lateral(2, 1, &[&h1[0], &h1[1]])?)?.relu()?;
        Ok((affine(2, 2, &c)? + lateral(2, 2, &[&a, &b])?)?)
    };
    for (found, expected) in values(&net.forward(&x, 2).unwrap()).iter().zip(values(&expected().unwrap())) {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
}

/// Uⱼ hʲ + cⱼ of every earlier column, into every layer: the code of Chaudhry et al. 2019, a matrix a column.
#[test]
fn linear_laterals_are_a_layer_for_each_earlier_column() {
    let mut rng = cl_core::rng(3, "weights");
    let mut net = Progressive::new(AdapterConfig { lateral: Lateral::Linear, ..Default::default() }).unwrap();
    for widths in [[4, 5, 2], [4, 3, 1], [4, 6, 3]] {
        let column = mlp(&widths, DType::F64, &mut rng);
        net.add(column, &mut rng).unwrap();
    }
    let x = normal(&[8, 4], DType::F64, 2);
    let layer = |task: usize, i: usize, inputs: &[&Tensor]| -> Tensor {
        let params = net.params_of(task).unwrap();
        let get = |name: String| params.get(&name).unwrap().var.as_detached_tensor();
        let linear =
            |h: &Tensor, w: &Tensor, b: &Tensor| h.matmul(&w.t().unwrap()).unwrap().broadcast_add(b).unwrap();
        let [w, b] = ["weight", "bias"].map(|name| get(format!("columns.{task}.layers.{i}.{name}")));
        let mut sum = linear(inputs[task], &w, &b);
        let mut from = 0;
        for (j, h) in inputs[..task].iter().enumerate() {
            let [u, c] = ["weight", "bias"].map(|name| get(format!("adapters.{task}.{i}.{name}")));
            let n = h.dim(1).unwrap();
            let part = linear(h, &u.narrow(1, from, n).unwrap(), &c.get(j).unwrap());
            (sum, from) = ((sum + part).unwrap(), from + n);
        }
        sum
    };
    let hidden: Vec<Tensor> = (0..3).map(|k| layer(k, 0, &[&x, &x, &x]).relu().unwrap()).collect();
    for task in 0..3 {
        let expected = layer(task, 1, &hidden.iter().collect::<Vec<_>>());
        for (found, expected) in values(&net.forward(&x, task).unwrap()).iter().zip(values(&expected)) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }
    let memory = net.memory().unwrap();
    assert_eq!(memory[2].adapter_weights, (6 * (4 + 4) + 2 * 6) + (3 * (5 + 3) + 2 * 3));
    let bytes = snapshot::to_bytes(Progressive::<MlpColumn>::KIND, &net).unwrap();
    let back: Progressive<MlpColumn> = snapshot::from_bytes(&bytes, Progressive::<MlpColumn>::KIND).unwrap();
    assert_eq!(values(&back.forward(&x, 2).unwrap()), values(&net.forward(&x, 2).unwrap()));
}

/// The gradients of column and adapters against central differences; none for what is frozen.
#[test]
fn gradients() {
    const STEP: f64 = 1e-5;
    let mut rng = cl_core::rng(5, "weights");
    let mut net =
        Progressive::new(AdapterConfig { width: Some(3), alpha: 1.0, ..Default::default() }).unwrap();
    for _ in 0..3 {
        let column = mlp(&[4, 5, 4, 2], DType::F64, &mut rng);
        net.add(column, &mut rng).unwrap();
    }
    let x = normal(&[6, 4], DType::F64, 4);
    let loss = |task| net.forward(&x, task).unwrap().sqr().unwrap().sum_all().unwrap();
    let params = net.params().unwrap();
    let grads = loss(2).backward().unwrap();
    for (param, gradient) in params.iter().zip(params.gradients(&grads).unwrap()) {
        let (start, gradient) = (values(&param.var), values(&gradient));
        for i in 0..start.len() {
            let at = |step: f64| {
                let mut moved = start.clone();
                moved[i] += step;
                param.var.set(&Tensor::from_vec(moved, param.var.shape(), &CPU).unwrap()).unwrap();
                loss(2).to_scalar::<f64>().unwrap()
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            at(0.0);
            let error = (gradient[i] - difference).abs();
            assert!(
                error < 1e-7 * difference.abs().max(1.0),
                "{} {i}: {} {difference}",
                param.name,
                gradient[i]
            );
        }
    }
    for old in 0..2 {
        for param in net.params_of(old).unwrap().iter() {
            assert!(grads.get(&param.var).is_none(), "{}", param.name);
            assert!(loss(old).backward().unwrap().get(&param.var).is_none(), "{}", param.name);
        }
    }
}

#[test]
fn memory_is_counted() {
    let mut rng = cl_core::rng(0, "weights");
    let mut net = Progressive::new(AdapterConfig { width: Some(3), ..Default::default() }).unwrap();
    for _ in 0..3 {
        let column = mlp(&[4, 5, 6, 2], DType::F64, &mut rng);
        net.add(column, &mut rng).unwrap();
    }
    let memory = net.memory().unwrap();
    let column = 4 * 5 + 5 + 5 * 6 + 6 + 6 * 2 + 2;
    for (k, memory) in memory.iter().enumerate() {
        // α, V and c, U of the second and the third layer.
        let adapters = if k == 0 { 0 } else { (k + 3 * 5 * k + 3 + 6 * 3) + (k + 3 * 6 * k + 3 + 2 * 3) };
        assert_eq!((memory.weights, memory.adapter_weights), (column, adapters));
        assert_eq!((memory.bytes, memory.adapter_bytes), (8 * column, 8 * adapters));
        assert_eq!(net.params_of(k).unwrap().numel(), column + adapters);
    }
}

#[test]
fn restored_it_goes_on_bit_for_bit() {
    let mut rng = cl_core::rng(0, "weights");
    let mut net = Progressive::new(AdapterConfig::default()).unwrap();
    let mut optimizer = Optimizer::new(OptimizerConfig::adam(0.01)).unwrap();
    let x = normal(&[16, 5], DType::F32, 1);
    for _ in 0..2 {
        let column = mlp(&[5, 8, 2], DType::F32, &mut rng);
        net.add(column, &mut rng).unwrap();
        train(&net, &mut optimizer, &x, 10);
    }
    let kind = Progressive::<MlpColumn>::KIND;
    let bytes = snapshot::to_bytes(kind, &net).unwrap();
    let restored: Progressive<MlpColumn> = snapshot::from_bytes(&bytes, kind).unwrap();
    assert_eq!(snapshot::to_bytes(kind, &restored).unwrap(), bytes);

    let outputs = [net, restored].map(|mut net| {
        let (mut rng, mut optimizer) = (rng.clone(), optimizer.copy().unwrap());
        train(&net, &mut optimizer, &x, 5);
        let column = mlp(&[5, 8, 2], DType::F32, &mut rng);
        net.add(column, &mut rng).unwrap();
        train(&net, &mut optimizer, &x, 5);
        (0..3).map(|task| bits(&net.forward(&x, task).unwrap())).collect::<Vec<_>>()
    });
    assert_eq!(outputs[0], outputs[1]);

    for length in (0..bytes.len()).step_by(7) {
        assert!(snapshot::from_bytes::<Progressive<MlpColumn>>(&bytes[..length], kind).is_err());
    }
    for at in (0..bytes.len()).step_by(5) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(snapshot::from_bytes::<Progressive<MlpColumn>>(&bytes, kind).is_err(), "byte {at}");
    }
}

#[test]
fn contradictory_states_are_refused() {
    let mut rng = cl_core::rng(0, "weights");
    let mut net = Progressive::new(AdapterConfig::default()).unwrap();
    for _ in 0..2 {
        let column = mlp(&[5, 8, 2], DType::F32, &mut rng);
        net.add(column, &mut rng).unwrap();
    }
    let good = serde_json::to_value(&net).unwrap();
    serde_json::from_value::<Progressive<MlpColumn>>(good.clone()).unwrap();
    let scalar = serde_json::json!({"shape": [], "dtype": "f32", "bytes": [0, 0, 0, 0]});
    for (path, value) in [
        ("/config/width", serde_json::json!(0)),
        ("/config/alpha", serde_json::json!(-1.0)),
        ("/config/lateral", serde_json::json!("linear")),
        ("/columns", serde_json::json!([])),
        ("/adapters", serde_json::json!([])),
        ("/adapters/0", good["adapters"][1].clone()),
        ("/adapters/1", serde_json::json!([])),
        ("/adapters/1/0/adapter/alpha", scalar.clone()),
        ("/adapters/1/0/adapter/project", scalar.clone()),
        ("/adapters/1/0/adapter/expand/shape", serde_json::json!([8, 2])),
        ("/columns/0/weights", serde_json::json!([])),
        ("/columns/0/weights/1", scalar.clone()),
        ("/columns/0/weights/0/shape", serde_json::json!([5, 8])),
        ("/columns/0/biases/0", scalar),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value.clone();
        assert!(serde_json::from_value::<Progressive<MlpColumn>>(bad).is_err(), "{path} = {value}");
    }
}

#[test]
fn wrong_calls_are_errors() {
    let mut rng = cl_core::rng(0, "weights");
    let contains = |error: Error, text: &str| assert!(error.to_string().contains(text), "{error}");
    contains(
        Progressive::<MlpColumn>::new(AdapterConfig { width: Some(0), ..Default::default() }).unwrap_err(),
        "at least 1",
    );
    contains(
        Progressive::<MlpColumn>::new(AdapterConfig { alpha: f64::NAN, ..Default::default() }).unwrap_err(),
        "alpha",
    );
    contains(MlpColumn::new(&[5], DType::F32, &CPU, &mut rng).unwrap_err(), "two or more");
    contains(MlpColumn::new(&[5, 0], DType::F32, &CPU, &mut rng).unwrap_err(), "two or more");

    let mut net = Progressive::new(AdapterConfig::default()).unwrap();
    let x = normal(&[2, 5], DType::F32, 1);
    contains(net.params().unwrap_err(), "call add");
    contains(net.forward(&x, 0).unwrap_err(), "task 0 has no column: there are 0");
    contains(net.forward(&x, usize::MAX).unwrap_err(), "has no column");
    let column = mlp(&[5, 4, 2], DType::F32, &mut rng);
    net.add(column, &mut rng).unwrap();
    for widths in [&[5, 4, 4, 2][..], &[6, 4, 2]] {
        let column = mlp(widths, DType::F32, &mut rng);
        contains(net.add(column, &mut rng).unwrap_err(), "expected 2 layers on 5 inputs");
    }
    assert_eq!(net.tasks(), 1);
    contains(net.forward(&x, 1).unwrap_err(), "task 1 has no column");
    contains(net.params_of(1).unwrap_err(), "task 1 has no column");
}

/// A column of one's own: two convolutions, pooling, and a linear layer.
struct Conv {
    weights: [Var; 3],
    stride: usize,
}

impl Conv {
    fn new(stride: usize, rng: &mut Rng) -> Self {
        let mut var = |shape: &[usize]| Init::FanIn.var(shape, DType::F32, &CPU, rng).unwrap();
        let pixels = if stride == 1 { 9 } else { 1 };
        Self { weights: [var(&[3, 1, 3, 3]), var(&[4, 3, 3, 3]), var(&[2, 4 * pixels])], stride }
    }
}

impl Column for Conv {
    fn layers(&self) -> usize {
        3
    }
    fn inputs(&self, layer: usize) -> usize {
        self.weights[layer].dims()[1]
    }
    fn outputs(&self, layer: usize) -> usize {
        self.weights[layer].dims()[0]
    }
    fn affine(&self, layer: usize, h: &Tensor) -> Result<Tensor> {
        Ok(match layer {
            0 => h.conv2d(&self.weights[0], 1, 1, 1, 1)?,
            1 => h.conv2d(&self.weights[1], 1, self.stride, 1, 1)?,
            _ => h.matmul(&self.weights[2].t()?)?,
        })
    }
    fn activate(&self, layer: usize, a: &Tensor) -> Result<Tensor> {
        Ok(match layer {
            0 => a.relu()?,
            1 => a.relu()?.avg_pool2d(2)?.flatten_from(1)?,
            _ => a.clone(),
        })
    }
    fn params(&self) -> Result<Params> {
        let mut params = Params::new();
        for (i, weight) in self.weights.iter().enumerate() {
            params.push(i.to_string(), weight.clone())?;
        }
        Ok(params)
    }
}

#[test]
fn a_column_of_ones_own() {
    let mut rng = cl_core::rng(0, "weights");
    let mut net = Progressive::new(AdapterConfig::default()).unwrap();
    let x = normal(&[4, 1, 6, 6], DType::F32, 1);
    let mut optimizer = Optimizer::new(OptimizerConfig::adam(0.01)).unwrap();
    let mut learned = Vec::new();
    for task in 0..3 {
        let column = Conv::new(1, &mut rng);
        net.add(column, &mut rng).unwrap();
        let before = train(&net, &mut optimizer, &x, 1);
        assert!(train(&net, &mut optimizer, &x, 60) < before / 2.0);
        learned.push(bits(&net.forward(&x, task).unwrap()));
    }
    for (task, outputs) in learned.iter().enumerate() {
        assert_eq!(&bits(&net.forward(&x, task).unwrap()), outputs);
    }

    // A stride is for the column to align.
    let mut net = Progressive::new(AdapterConfig::default()).unwrap();
    for _ in 0..2 {
        let column = Conv::new(2, &mut rng);
        net.add(column, &mut rng).unwrap();
    }
    let error = net.forward(&x, 1).unwrap_err();
    assert!(error.to_string().contains("write Column::align"), "{error}");

    // A column whose variables an earlier one has would be trained under it.
    let column = Conv { weights: net.columns()[0].weights.clone(), stride: 2 };
    assert!(net.add(column, &mut rng).unwrap_err().to_string().contains("variable of another column"));
}
