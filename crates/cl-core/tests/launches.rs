//! What a GPU is asked to do, call by call: how many launches an operation is, and that nothing is read back. Only an emulated GPU
//! (benches/gpu/emulated.sh) keeps a record.
#![allow(clippy::unwrap_used)]

mod recorded;

use candle_core::{DType, Device, Tensor, Var};
use cl_core::{Activation, AdamStep, Quadratic, SgdStep, TensorOps, Units};
use recorded::{gpu, start, take};

fn recorded<R>(f: impl FnOnce() -> R) -> (R, Vec<String>) {
    start();
    let result = f();
    (result, take())
}

/// The parameters of a network of 784-400-400-10.
fn parameters(gpu: &Device) -> Vec<Var> {
    let widths = [784, 400, 400, 10];
    let sizes = widths.windows(2).flat_map(|pair| [pair[0] * pair[1], pair[1]]);
    sizes.map(|n| Var::ones(n, DType::F32, gpu).unwrap()).collect()
}

/// Each operation on all parameters is one launch; a penalty in the graph is one forward, one backward.
#[test]
fn operations_on_all_parameters() {
    let Some((gpu, _alone)) = gpu() else { return };
    let lists: [Vec<Var>; 4] = std::array::from_fn(|_| parameters(&gpu));
    let [theta, grad, sums, before] =
        lists.each_ref().map(|vars| vars.iter().map(Var::as_tensor).collect::<Vec<_>>());
    let moments: Vec<Tensor> = theta.iter().map(|t| Tensor::stack(&[t, t], 0).unwrap()).collect();
    let moments: Vec<&Tensor> = moments.iter().collect();
    let bowls: Vec<Quadratic> = sums
        .iter()
        .zip(&before)
        .map(|(f, a)| Quadratic { importance: f.detach(), anchor: a.detach() })
        .collect();
    let bowls: Vec<&[Quadratic]> = bowls.iter().map(std::slice::from_ref).collect();
    let sgd = SgdStep { lr: 0.1, momentum: 0.9, weight_decay: 0.0 };
    let adam =
        AdamStep { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false, t: 1 };
    Tensor::quadratic_penalty_all(&theta, &bowls).unwrap(); // the first makes room that stays
    let mut all = Vec::new();
    let mut run = |name: &str, f: &dyn Fn()| {
        let ((), did) = recorded(f);
        all.push(format!("{name}: {}", did.join("; ")));
    };
    run("sgd_step", &|| Tensor::sgd_step_all(&theta, &grad, Some(&sums), sgd).unwrap());
    run("adam_step", &|| Tensor::adam_step_all(&theta, &grad, &moments, adam).unwrap());
    run("accumulate_sq", &|| Tensor::accumulate_sq_all(&sums, &grad, 0.9, 0.1).unwrap());
    run("path_integral", &|| Tensor::path_integral_all(&sums, &grad, &theta, &before).unwrap());
    run("add_penalty_gradient", &|| Tensor::add_penalty_gradient_all(&grad, &theta, &bowls, 1.0).unwrap());
    let (penalty, did) = recorded(|| Tensor::quadratic_penalty_all(&theta, &bowls).unwrap());
    all.push(format!("quadratic_penalty: {}", did.join("; ")));
    let (_, did) = recorded(|| penalty.backward().unwrap());
    all.push(format!("its gradient: {}", did.join("; ")));
    insta::assert_snapshot!(all.join("\n"));
}

/// Two layers and a loss, forward and backward.
#[test]
fn a_network() {
    let Some((gpu, _alone)) = gpu() else { return };
    let var = |shape: (usize, usize)| Var::ones(shape, DType::F32, &gpu).unwrap();
    let (w, b) = (var((400, 784)), Var::zeros(400, DType::F32, &gpu).unwrap());
    let (v, c) = (var((10, 400)), Var::zeros(10, DType::F32, &gpu).unwrap());
    let x = Tensor::ones((128, 784), DType::F32, &gpu).unwrap();
    let y = Tensor::zeros(128, DType::U32, &gpu).unwrap();
    let forward = || {
        let h = x.linear(&w, Some(&b), Activation::Relu).unwrap();
        h.linear(&v, Some(&c), Activation::Identity).unwrap().cross_entropy(&y, Units::All, None).unwrap()
    };
    forward(); // the first makes room that stays
    let (loss, forward) = recorded(forward);
    let (_, backward) = recorded(|| loss.backward().unwrap());
    insta::assert_snapshot!(format!("forward:\n{}\nbackward:\n{}", forward.join("\n"), backward.join("\n")));
}
