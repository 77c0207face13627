//! Output units in heads of their own.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Module, Tensor};
use cl_core::{TensorOps, Units};
use cl_nn::{Mlp, Optimizer, OptimizerConfig, PerSample};

const WIDTHS: [usize; 4] = [5, 7, 4, 6];

fn net(heads: usize) -> Mlp {
    Mlp::with_heads(&WIDTHS, heads, DType::F64, &Device::Cpu, &mut cl_core::rng(0, "weights")).unwrap()
}

/// The network of one output layer with the weights of one of three heads.
fn joined(apart: &Mlp) -> Mlp {
    let one = net(1);
    one.params()
        .set_flat(&{
            let values = apart.params().values().unwrap();
            let (hidden, heads) = values.split_at(4);
            let part = |k: usize| {
                let parts: Vec<_> = heads.iter().skip(k).step_by(2).collect();
                Tensor::cat(&parts, 0).unwrap().flatten_all().unwrap()
            };
            let hidden = hidden.iter().map(|t| t.flatten_all().unwrap());
            Tensor::cat(&hidden.chain([part(0), part(1)]).collect::<Vec<_>>(), 0).unwrap()
        })
        .unwrap();
    one
}

fn data() -> (Tensor, Tensor) {
    let x = cl_core::init::Init::Normal(1.0).var((8, 5), DType::F64, &Device::Cpu, &mut cl_core::rng(1, "x"));
    (x.unwrap().as_detached_tensor(), Tensor::new(&[0u32, 1, 2, 3, 3, 1, 0, 2], &Device::Cpu).unwrap())
}

fn numbers(tensors: &[Tensor]) -> Vec<f64> {
    tensors.iter().flat_map(|t| t.flatten_all().unwrap().to_vec1::<f64>().unwrap()).collect()
}

fn sorted(tensors: &[Tensor]) -> Vec<f64> {
    let mut numbers = numbers(tensors);
    numbers.sort_by(f64::total_cmp);
    numbers
}

#[test]
fn names_and_sizes() {
    let apart = net(3);
    let names: Vec<_> = apart.params().names().collect();
    assert_eq!(
        names[4..],
        [
            "heads.0.weight",
            "heads.0.bias",
            "heads.1.weight",
            "heads.1.bias",
            "heads.2.weight",
            "heads.2.bias"
        ]
    );
    assert_eq!(apart.outputs(), 6);
    assert_eq!(net(1).params().names().last(), Some("layers.2.bias"));
    assert_eq!(apart.params().numel(), net(1).params().numel());
}

#[test]
fn are_the_blocks_of_one_layer() {
    let apart = net(3);
    let one = joined(&apart);
    let (x, y) = data();
    assert_eq!(numbers(&[apart.forward(&x).unwrap()]), numbers(&[one.forward(&x).unwrap()]));
    assert_eq!(numbers(&[apart.predict(&x).unwrap()]), numbers(&[one.predict(&x).unwrap()]));
    let gradients = |net: &Mlp| {
        let loss = net.forward(&x).unwrap().cross_entropy(&y, Units::Block(2), None).unwrap();
        net.params().gradients(&loss.backward().unwrap()).unwrap()
    };
    assert_eq!(sorted(&gradients(&apart)), sorted(&gradients(&one)));
    // Nobody asked for the third head.
    assert!(numbers(&gradients(&apart)[8..]).iter().all(|&g| g == 0.0));
}

#[test]
fn square_their_gradients_by_sample() {
    let apart = net(3);
    let one = joined(&apart);
    let (x, _) = data();
    let squares = |net: &Mlp| {
        let sums: Vec<_> = net.params().trainable().map(|p| p.var.zeros_like().unwrap()).collect();
        let mut losses = |logits: &Tensor| Ok(Tensor::stack(&[logits, &logits.tanh()?], 1)?);
        net.add_squared_gradients(&x, &mut losses, &sums).unwrap();
        sums
    };
    assert_eq!(sorted(&squares(&apart)), sorted(&squares(&one)));
}

#[test]
fn copies_keep_their_heads() {
    let apart = net(3);
    let copy = apart.copy().unwrap();
    assert_eq!(copy.params().names().collect::<Vec<_>>(), apart.params().names().collect::<Vec<_>>());
    assert_eq!(numbers(&copy.params().values().unwrap()), numbers(&apart.params().values().unwrap()));
}

/// A head that comes later takes Adam's first step when its first gradient comes: of the size of the
/// learning rate, not three times that.
#[test]
fn a_later_head_begins_with_its_task() {
    let apart = net(3);
    let (x, _) = data();
    let mut adam = Optimizer::new(OptimizerConfig::adam(0.001)).unwrap();
    let mut step = |target: u32| {
        let y = Tensor::full(target, 8, &Device::Cpu).unwrap();
        let before = apart.params().values().unwrap();
        let loss = apart.forward(&x).unwrap().cross_entropy(&y, Units::Block(2), None).unwrap();
        adam.backward_step(apart.params(), &loss).unwrap();
        let after = apart.params().values().unwrap();
        let way = |i: usize| {
            (&after[i] - &before[i]).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap()
        };
        (way(5), way(9)) // the biases of the first and of the last head
    };
    for _ in 0..200 {
        assert_eq!(step(0).1, 0.0);
    }
    let (first, last) = step(4);
    assert!((last - 0.001).abs() < 1e-6, "{last}");
    assert!(first < 0.001, "the first head drifts on: {first}");
}

#[test]
fn heads_share_equally() {
    let new = |heads| Mlp::with_heads(&WIDTHS, heads, DType::F32, &Device::Cpu, &mut cl_core::rng(0, "w"));
    assert!(new(4).unwrap_err().to_string().contains("6 output units cannot be shared equally by 4 heads"));
    assert!(new(0).is_err());
}
