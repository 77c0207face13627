//! The layers: against the whole matrix of scores, what masks hide, and gradients for every parameter.
#![allow(clippy::unwrap_used)]

use candle_core::{D, DType, Device, Tensor, Var};
use cl_core::Params;
use cl_core::init::Init;
use cl_hopfield::layers::{Beta, Config, Hopfield, Lookup, Pooling};

const SMALL: Config = Config {
    state: 5,
    stored: 4,
    outputs: 3,
    heads: 2,
    width: 6,
    beta: Beta::InverseRoot,
    steps: 1,
    normalise: true,
};

fn normal(dims: &[usize], seed: u64) -> Tensor {
    let rng = &mut cl_core::rng(seed, "test");
    Init::Normal(1.0).var(dims, DType::F64, &Device::Cpu, rng).unwrap().as_detached_tensor()
}

fn layer(config: Config) -> Hopfield {
    Hopfield::new(config, DType::F64, &Device::Cpu, &mut cl_core::rng(0, "weights")).unwrap()
}

#[track_caller]
fn assert_close(found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims());
    let off = (found - expected).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
    assert!(off.to_scalar::<f64>().unwrap() < 1e-10, "{off}");
}

fn var(params: &Params, name: &str) -> Var {
    params.get(name).unwrap_or_else(|| panic!("no {name}")).var.clone()
}

/// Written down once more, head by head, from the parameters.
fn by_hand(
    params: &Params,
    config: Config,
    states: &Tensor,
    stored: &Tensor,
    mask: Option<&Tensor>,
) -> Tensor {
    let norm = |x: &Tensor, name: &str| match config.normalise {
        false => x.clone(),
        true => {
            let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1).unwrap()).unwrap();
            let var_ = centred.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
            let x = centred.broadcast_div(&(var_ + 1e-5).unwrap().sqrt().unwrap()).unwrap();
            let gain = var(params, &format!("{name}.gain"));
            x.broadcast_mul(&gain).unwrap().broadcast_add(&var(params, &format!("{name}.shift"))).unwrap()
        }
    };
    let linear = |x: &Tensor, name: &str| {
        let w = var(params, &format!("{name}.weight")).t().unwrap();
        x.broadcast_matmul(&w).unwrap().broadcast_add(&var(params, &format!("{name}.bias"))).unwrap()
    };
    let (r, y) = (norm(states, "state_norm"), norm(stored, "stored_norm"));
    let (q, k, v) = (linear(&r, "query"), linear(&y, "key"), linear(&y, "value"));
    let mut heads = Vec::new();
    for head in 0..config.heads {
        let of = |x: &Tensor| x.narrow(D::Minus1, head * config.width, config.width).unwrap();
        let beta = match config.beta {
            Beta::InverseRoot => 1.0 / (config.width as f64).sqrt(),
            Beta::Fixed(beta) => beta,
            Beta::Learned(_) => {
                let log = var(params, "log_beta").get(head).unwrap().flatten_all().unwrap();
                log.to_vec1::<f64>().unwrap()[0].exp()
            }
        };
        let (mut state, k, v) = (of(&q), of(&k), of(&v));
        for step in 1..=config.steps {
            let mut scores =
                (state.matmul(&k.transpose(1, 2).unwrap().contiguous().unwrap()).unwrap() * beta).unwrap();
            if let Some(mask) = mask {
                scores = scores.broadcast_add(mask).unwrap();
            }
            let e = scores.broadcast_sub(&scores.max_keepdim(2).unwrap()).unwrap().exp().unwrap();
            let p = e.broadcast_div(&e.sum_keepdim(2).unwrap()).unwrap();
            state = p
                .matmul(&if step == config.steps { v.contiguous() } else { k.contiguous() }.unwrap())
                .unwrap();
        }
        heads.push(state);
    }
    linear(&Tensor::cat(&heads, D::Minus1).unwrap(), "out")
}

fn configs() -> Vec<Config> {
    vec![
        SMALL,
        Config { normalise: false, ..SMALL },
        Config { steps: 3, ..SMALL },
        Config { beta: Beta::Fixed(2.0), heads: 1, ..SMALL },
        Config { beta: Beta::Learned(0.7), steps: 2, ..SMALL },
    ]
}

#[test]
fn is_what_the_equations_say() {
    let (states, stored) = (normal(&[2, 3, 5], 1), normal(&[2, 9, 4], 2));
    let hidden: Vec<f64> = (0..18).map(|i| if i % 4 == 1 { f64::NEG_INFINITY } else { 0.0 }).collect();
    let mask = Tensor::from_vec(hidden, (2, 1, 9), &Device::Cpu).unwrap();
    for config in configs() {
        let layer = layer(config);
        let params = layer.params().unwrap();
        for mask in [None, Some(&mask)] {
            let expected = by_hand(&params, config, &states, &stored, mask);
            assert_close(&layer.forward(&states, &stored, mask).unwrap(), &expected);
        }
        // Patterns that all sets share, projected once.
        let shared = normal(&[9, 4], 3);
        let each = shared.unsqueeze(0).unwrap().broadcast_as((2, 9, 4)).unwrap().contiguous().unwrap();
        let one = mask.get(0).unwrap();
        assert_close(
            &layer.forward_shared(&states, &shared, None).unwrap(),
            &by_hand(&params, config, &states, &each, None),
        );
        for mask in [one.squeeze(0).unwrap(), one.broadcast_as((3, 9)).unwrap()] {
            assert_close(
                &layer.forward_shared(&states, &shared, Some(&mask)).unwrap(),
                &by_hand(&params, config, &states, &each, Some(&one)),
            );
        }
    }
}

/// The order of what is stored does not matter, and what a mask hides might as well not be there.
#[test]
fn sets_have_no_order() {
    let pooling = Pooling::new(2, SMALL, DType::F64, &Device::Cpu, &mut cl_core::rng(0, "weights")).unwrap();
    let stored = normal(&[3, 8, 4], 1);
    let found = pooling.forward(&stored, None).unwrap();
    assert_eq!(found.dims(), [3, 2, 3]);
    let order = Tensor::new(&[5u32, 0, 7, 2, 1, 3, 6, 4], &Device::Cpu).unwrap();
    assert_close(&pooling.forward(&stored.index_select(&order, 1).unwrap(), None).unwrap(), &found);
    let filled = Tensor::cat(&[&stored, &normal(&[3, 2, 4], 2)], 1).unwrap();
    let hidden: Vec<f64> = (0..10).map(|i| if i < 8 { 0.0 } else { f64::NEG_INFINITY }).collect();
    let mask = Tensor::from_vec(hidden, (1, 1, 10), &Device::Cpu).unwrap();
    assert_close(&pooling.forward(&filled, Some(&mask)).unwrap(), &found);
}

/// Every parameter of every layer, against central differences.
#[test]
fn gradients_reach_every_parameter() {
    let rng = || cl_core::rng(0, "weights");
    let (states, stored) = (normal(&[2, 3, 5], 1), normal(&[2, 7, 4], 2));
    for config in configs() {
        let hopfield = layer(config);
        let pooling = Pooling::new(2, config, DType::F64, &Device::Cpu, &mut rng()).unwrap();
        let lookup = Lookup::new(6, config, DType::F64, &Device::Cpu, &mut rng()).unwrap();
        let sum = |found: Tensor| found.sqr().unwrap().sum_all().unwrap();
        let cases: [(Params, Box<dyn Fn() -> Tensor>); 3] = [
            (hopfield.params().unwrap(), Box::new(|| sum(hopfield.forward(&states, &stored, None).unwrap()))),
            (pooling.params().unwrap(), Box::new(|| sum(pooling.forward(&stored, None).unwrap()))),
            (lookup.params().unwrap(), Box::new(|| sum(lookup.forward(&states).unwrap()))),
        ];
        for (params, loss) in &cases {
            let grads = loss().backward().unwrap();
            for (param, gradient) in params.iter().zip(params.gradients(&grads).unwrap()) {
                let values: Vec<f64> = param.var.flatten_all().unwrap().to_vec1().unwrap();
                let found: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
                // A few of each are enough.
                for i in (0..values.len()).step_by(values.len().div_ceil(4)) {
                    let at = |step: f64| {
                        let mut moved = values.clone();
                        moved[i] += step;
                        let moved = Tensor::from_vec(moved, param.var.shape(), &Device::Cpu).unwrap();
                        param.var.set(&moved).unwrap();
                        loss().to_scalar::<f64>().unwrap()
                    };
                    let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                    at(0.0);
                    let off = (found[i] - difference).abs();
                    assert!(off < 1e-6 * difference.abs().max(1.0), "{}: {off}", param.name);
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let rng = || cl_core::rng(0, "weights");
    let new = |config| Hopfield::new(config, DType::F32, &Device::Cpu, &mut rng());
    for (config, says) in [
        (Config { heads: 0, ..SMALL }, "heads"),
        (Config { steps: 0, ..SMALL }, "steps"),
        (Config { beta: Beta::Fixed(0.0), ..SMALL }, "beta"),
        (Config { beta: Beta::Learned(f64::NAN), ..SMALL }, "beta"),
    ] {
        assert!(new(config).unwrap_err().to_string().contains(says), "{says}");
    }
    assert!(Pooling::new(0, SMALL, DType::F32, &Device::Cpu, &mut rng()).is_err());
    assert!(Lookup::new(0, SMALL, DType::F32, &Device::Cpu, &mut rng()).is_err());
    let layer = layer(SMALL);
    for (states, stored) in [
        (normal(&[2, 3, 4], 1), normal(&[2, 7, 4], 1)),
        (normal(&[2, 3, 5], 1), normal(&[2, 7, 5], 1)),
        (normal(&[2, 3, 5], 1), normal(&[3, 7, 4], 1)),
        (normal(&[3, 5], 1), normal(&[7, 4], 1)),
    ] {
        assert!(layer.forward(&states, &stored, None).is_err());
    }
}
