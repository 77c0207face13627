#![allow(clippy::unwrap_used)]

use candle_core::{D, DType, Device, Module, Tensor, Var};
use cl_core::{Error, Result, Rng, rng};
use proptest::{prelude::*, test_runner::RngSeed};
use rand::Rng as _;

use super::{Conv2d, Conv2dConfig, MaxPool2d, conv2d, conv2d_relu, geometry::Geometry, max_pool2d};

/// The same cases each time: a failure is news, not weather.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Default::default() }
}

fn random(rng: &mut Rng, shape: &[usize], dtype: DType) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn variable(rng: &mut Rng, shape: &[usize]) -> Var {
    Var::from_tensor(&random(rng, shape, DType::F64)).unwrap()
}

/// The largest difference, relative to the largest element if that is above one.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    if a.elem_count() == 0 {
        return 0.0;
    }
    let largest = |t: Tensor| t.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F64)?.to_scalar::<f64>();
    largest((a - b).unwrap()).unwrap() / largest(b.clone()).unwrap().max(1.0)
}

/// A scalar that weighs each element differently.
fn weigh(t: &Tensor) -> candle_core::Result<Tensor> {
    (t * random(&mut rng(9, "weigh"), t.dims(), t.dtype()))?.sum_all()
}

/// Compares the gradient of every variable with central differences.
fn check_gradients(variables: &[&Var], f: impl Fn() -> Result<Tensor>) {
    const STEP: f64 = 1e-6;
    let value = || weigh(&f().unwrap()).unwrap().to_scalar::<f64>().unwrap();
    let gradients = weigh(&f().unwrap()).unwrap().backward().unwrap();
    for (number, variable) in variables.iter().enumerate() {
        let analytic = gradients.get(variable).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let at = variable.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let set = |values: &[f64]| {
            variable.set(&Tensor::from_slice(values, variable.shape(), &Device::Cpu).unwrap()).unwrap();
        };
        for (i, &analytic) in analytic.iter().enumerate() {
            let [above, below] = [STEP, -STEP].map(|step| {
                let mut moved = at.clone();
                moved[i] += step;
                set(&moved);
                value()
            });
            let numeric = (above - below) / (2.0 * STEP);
            assert!(
                (analytic - numeric).abs() < 1e-7,
                "variable {number}, element {i}: {analytic} for {numeric}"
            );
        }
        set(&at);
    }
}

/// Sizes of a convolution, the kernel within the padded image.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    n: usize,
    c: usize,
    o: usize,
    hw: [usize; 2],
    khw: [usize; 2],
    config: Conv2dConfig,
}

impl Sizes {
    fn x(&self) -> [usize; 4] {
        [self.n, self.c, self.hw[0], self.hw[1]]
    }

    fn weight(&self) -> [usize; 4] {
        [self.o, self.c, self.khw[0], self.khw[1]]
    }
}

fn sizes(largest: usize) -> impl Strategy<Value = Sizes> {
    let image = [1..=largest, 1..=largest];
    (1..4usize, 1..6usize, 1..10usize, image, [1..4usize, 1..4usize], 1..4usize, 0..3usize).prop_filter_map(
        "the kernel is larger than the image",
        |(n, c, o, hw, khw, stride, padding)| {
            let fits = (0..2).all(|i| khw[i] <= hw[i] + 2 * padding);
            fits.then_some(Sizes { n, c, o, hw, khw, config: Conv2dConfig { stride, padding } })
        },
    )
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn conv2d_is_candles(s in sizes(12), seed: u64, double: bool) {
        let (dtype, tolerance) = if double { (DType::F64, 1e-13) } else { (DType::F32, 2e-6) };
        let mut rng = rng(seed, "conv2d");
        let (x, weight) = (random(&mut rng, &s.x(), dtype), random(&mut rng, &s.weight(), dtype));
        let bias = random(&mut rng, &[s.o], dtype);
        let candle = x.conv2d(&weight, s.config.padding, s.config.stride, 1, 1).unwrap();
        prop_assert!(difference(&conv2d(&x, &weight, None, s.config).unwrap(), &candle) < tolerance);
        let candle = candle.broadcast_add(&bias.reshape((1, s.o, 1, 1)).unwrap()).unwrap();
        prop_assert!(difference(&conv2d(&x, &weight, Some(&bias), s.config).unwrap(), &candle) < tolerance);
    }

    /// With stride 1, where candle's backward is right.
    #[test]
    fn conv2d_has_candles_gradients(mut s in sizes(8), seed: u64) {
        s.config.stride = 1;
        let mut rng = rng(seed, "conv2d");
        let (x, weight) = (variable(&mut rng, &s.x()), variable(&mut rng, &s.weight()));
        let ours = weigh(&conv2d(&x, &weight, None, s.config).unwrap()).unwrap().backward().unwrap();
        let candle = x.conv2d(&weight, s.config.padding, 1, 1, 1).unwrap();
        let candle = weigh(&candle).unwrap().backward().unwrap();
        for variable in [&x, &weight] {
            prop_assert!(difference(ours.get(variable).unwrap(), candle.get(variable).unwrap()) < 1e-13);
        }
    }

    #[test]
    fn conv2d_relu_is_its_composition(
        s in sizes(10), seed: u64, pool in proptest::option::of((1..4usize, 1..4usize)),
    ) {
        let mut rng = rng(seed, "conv2d_relu");
        let (x, weight) = (variable(&mut rng, &s.x()), variable(&mut rng, &s.weight()));
        let bias = variable(&mut rng, &[s.o]);
        let wide = conv2d(&x, &weight, Some(&bias), s.config).unwrap();
        let (_, _, h, w) = wide.dims4().unwrap();
        let pool = pool.map(|(kernel, stride)| MaxPool2d { kernel: kernel.min(h).min(w), stride });
        let ours = conv2d_relu(&x, &weight, Some(&bias), s.config, pool).unwrap();
        let mut composed = wide.relu().unwrap();
        if let Some(pool) = pool {
            composed = pool.forward(&composed).unwrap();
        }
        prop_assert!(difference(&ours, &composed) < 1e-13);
        let [ours, composed] = [ours, composed].map(|result| weigh(&result).unwrap().backward().unwrap());
        for variable in [&x, &weight, &bias] {
            prop_assert!(difference(ours.get(variable).unwrap(), composed.get(variable).unwrap()) < 1e-13);
        }
    }

    #[test]
    fn max_pool2d_is_candles(
        s in sizes(12), kernel in 1..4usize, stride in 1..4usize, seed: u64, double: bool,
    ) {
        let kernel = kernel.min(s.hw[0]).min(s.hw[1]);
        let dtype = if double { DType::F64 } else { DType::F32 };
        let x = random(&mut rng(seed, "max_pool2d"), &s.x(), dtype);
        let candle = x.max_pool2d_with_stride(kernel, stride).unwrap();
        prop_assert_eq!(difference(&max_pool2d(&x, kernel, stride).unwrap(), &candle), 0.0);
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn conv2d_gradients(s in sizes(7), seed: u64) {
        let mut rng = rng(seed, "gradients");
        let (x, weight) = (variable(&mut rng, &s.x()), variable(&mut rng, &s.weight()));
        let bias = variable(&mut rng, &[s.o]);
        check_gradients(&[&x, &weight, &bias], || conv2d(&x, &weight, Some(&bias), s.config));
    }

    #[test]
    fn conv2d_relu_gradients(s in sizes(7), seed: u64, kernel in 1..4usize, stride in 1..4usize) {
        let mut rng = rng(seed, "gradients");
        let (x, weight) = (variable(&mut rng, &s.x()), variable(&mut rng, &s.weight()));
        let bias = variable(&mut rng, &[s.o]);
        let result = conv2d_relu(&x, &weight, Some(&bias), s.config, None).unwrap();
        let (_, _, h, w) = result.dims4().unwrap();
        let pool = MaxPool2d { kernel: kernel.min(h).min(w), stride };
        for pool in [None, Some(pool)] {
            check_gradients(&[&x, &weight, &bias], || conv2d_relu(&x, &weight, Some(&bias), s.config, pool));
        }
    }

    #[test]
    fn max_pool2d_gradients(s in sizes(9), seed: u64, kernel in 1..4usize, stride in 1..4usize) {
        let kernel = kernel.min(s.hw[0]).min(s.hw[1]);
        let x = variable(&mut rng(seed, "gradients"), &s.x());
        check_gradients(&[&x], || max_pool2d(&x, kernel, stride));
    }
}

/// What candle gets wrong and these operations are here for. When this fails, candle has mended it.
#[test]
fn candles_pooling_gradient_is_still_too_small() {
    for k in [2usize, 3] {
        let x = variable(&mut rng(0, "candle"), &[1, 1, k, k]);
        let sum = |result: Tensor| {
            let gradients = result.sum_all().unwrap().backward().unwrap();
            gradients.get(&x).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
        };
        assert_eq!(sum(max_pool2d(&x, k, k).unwrap()), 1.0);
        let candle = sum(x.max_pool2d(k).unwrap());
        assert!((candle - 1.0 / (k * k) as f64).abs() < 1e-12, "candle's gradient is now {candle}");
    }
}

/// As above: stride 2 on an image that is not square, and pooling with kernel ≠ stride.
#[test]
fn candles_backward_still_fails() {
    let mut rng = rng(0, "candle");
    let (x, weight) = (variable(&mut rng, &[1, 1, 8, 9]), variable(&mut rng, &[1, 1, 3, 3]));
    assert!(x.conv2d(&weight, 0, 2, 1, 1).unwrap().sum_all().unwrap().backward().is_err());
    assert!(x.max_pool2d_with_stride(3, 2).unwrap().sum_all().unwrap().backward().is_err());
}

/// Sizes at which an image is worked on in several pieces, and a chunk in several blocks of images.
#[test]
fn large_images_and_large_batches() {
    let cases = [
        Sizes {
            n: 2,
            c: 24,
            o: 8,
            hw: [40, 50],
            khw: [3, 3],
            config: Conv2dConfig { stride: 1, padding: 1 },
        },
        Sizes { n: 40, c: 16, o: 8, hw: [20, 18], khw: [3, 3], config: Conv2dConfig::default() },
        Sizes { n: 300, c: 2, o: 5, hw: [9, 7], khw: [2, 3], config: Conv2dConfig { stride: 1, padding: 1 } },
    ];
    let geometries = cases.map(|s| Geometry::new(&s.x(), &s.weight(), s.config).unwrap());
    assert!(geometries[0].rows::<f64>(1) < geometries[0].oh);
    assert!(geometries[1].block::<f64>() * 2 <= geometries[1].chunk::<f64>());
    let block = geometries[2].block::<f64>();
    assert!(block > 1 && block < 300 && 300 % block != 0);

    for s in cases {
        let mut rng = rng(0, "large");
        let (x, weight) = (variable(&mut rng, &s.x()), variable(&mut rng, &s.weight()));
        let ours = conv2d(&x, &weight, None, s.config).unwrap();
        let candle = x.conv2d(&weight, s.config.padding, s.config.stride, 1, 1).unwrap();
        assert!(difference(&ours, &candle) < 1e-12);
        let [ours_by, candle_by] = [&ours, &candle].map(|t| weigh(t).unwrap().backward().unwrap());
        for variable in [&x, &weight] {
            assert!(difference(ours_by.get(variable).unwrap(), candle_by.get(variable).unwrap()) < 1e-12);
        }
        let pool = MaxPool2d { kernel: 3, stride: 2 };
        let fused = conv2d_relu(&x, &weight, None, s.config, Some(pool)).unwrap();
        let composed = pool.forward(&candle.relu().unwrap()).unwrap();
        assert!(difference(&fused, &composed) < 1e-12);
        let [fused, composed] = [fused, composed].map(|t| weigh(&t).unwrap().backward().unwrap());
        for variable in [&x, &weight] {
            assert!(difference(fused.get(variable).unwrap(), composed.get(variable).unwrap()) < 1e-12);
        }
    }
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let mut rng = rng(0, "threads");
    let (x, weight) =
        (random(&mut rng, &[37, 8, 17, 15], DType::F32), random(&mut rng, &[12, 8, 3, 3], DType::F32));
    let bias = random(&mut rng, &[12], DType::F32);
    let [x, weight, bias] = [x, weight, bias].map(|t| Var::from_tensor(&t).unwrap());
    let config = Conv2dConfig { stride: 1, padding: 1 };
    let geometry = Geometry::new(x.dims(), weight.dims(), config).unwrap();
    assert!(geometry.chunk::<f32>() * 4 < 37, "too few chunks to test anything");

    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            assert_eq!(geometry.parallel(), threads > 1);
            let mut bits = Vec::new();
            for pool in [None, Some(MaxPool2d { kernel: 3, stride: 2 })] {
                let result = conv2d_relu(&x, &weight, Some(&bias), config, pool).unwrap();
                let gradients = weigh(&result).unwrap().backward().unwrap();
                bits.push(result);
                bits.extend([&x, &weight, &bias].map(|v| gradients.get(v).unwrap().clone()));
            }
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            bits.iter().flat_map(flat).map(f32::to_bits).collect::<Vec<u32>>()
        })
    };
    let one = on(1);
    for threads in [2, 3, 7] {
        assert!(on(threads) == one, "{threads} threads");
    }
}

#[test]
fn any_strides_in_memory() {
    let mut rng = rng(0, "strided");
    let config = Conv2dConfig { stride: 2, padding: 1 };
    let pool = Some(MaxPool2d { kernel: 2, stride: 1 });
    let wide = variable(&mut rng, &[9, 3, 4, 8]);
    let weight = variable(&mut rng, &[3, 2, 3, 5]);
    let bias = variable(&mut rng, &[10]);
    // Channels and width exchanged, then a part; two axes of the weight exchanged; a part of the bias.
    let xs = wide.transpose(1, 3).unwrap().narrow(1, 2, 2).unwrap().narrow(0, 1, 7).unwrap();
    let ks = weight.transpose(0, 3).unwrap();
    let part = bias.narrow(0, 3, 5).unwrap();
    assert!(!xs.is_contiguous() && !ks.is_contiguous());

    let strided = conv2d_relu(&xs, &ks, Some(&part), config, pool).unwrap();
    let plain = conv2d_relu(
        &xs.force_contiguous().unwrap(),
        &ks.force_contiguous().unwrap(),
        Some(&part.force_contiguous().unwrap()),
        config,
        pool,
    )
    .unwrap();
    assert_eq!(difference(&strided, &plain), 0.0);
    // An upstream gradient with its axes exchanged, too.
    let [strided, plain] = [strided, plain].map(|result| {
        weigh(&result.transpose(1, 2).unwrap().transpose(0, 3).unwrap()).unwrap().backward().unwrap()
    });
    for variable in [&wide, &weight, &bias] {
        assert_eq!(difference(strided.get(variable).unwrap(), plain.get(variable).unwrap()), 0.0);
    }

    let turned = wide.transpose(2, 3).unwrap();
    let ours = max_pool2d(&turned, 3, 2).unwrap();
    let plain = max_pool2d(&turned.force_contiguous().unwrap(), 3, 2).unwrap();
    assert_eq!(difference(&ours, &plain), 0.0);
    check_gradients(&[&wide], || max_pool2d(&wide.transpose(2, 3)?, 3, 2));
    // One image, seen as four: zero strides.
    let image = variable(&mut rng, &[1, 3, 5, 5]);
    let kernel = variable(&mut rng, &[2, 3, 2, 2]);
    check_gradients(&[&image, &kernel], || {
        conv2d(&image.broadcast_as((4, 3, 5, 5))?, &kernel, None, Conv2dConfig::default())
    });
}

#[test]
fn a_batch_of_none() {
    let mut rng = rng(0, "empty");
    let (x, weight) = (variable(&mut rng, &[0, 2, 6, 7]), variable(&mut rng, &[3, 2, 3, 3]));
    let bias = variable(&mut rng, &[3]);
    for (pool, shape) in [(None, [0, 3, 4, 5]), (Some(MaxPool2d::new(2)), [0, 3, 2, 2])] {
        let result = conv2d_relu(&x, &weight, Some(&bias), Conv2dConfig::default(), pool).unwrap();
        assert_eq!(result.dims(), shape);
        let gradients = result.sum_all().unwrap().backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().dims(), x.dims());
        for variable in [&weight, &bias] {
            let gradient = gradients.get(variable).unwrap();
            assert_eq!(gradient.dims(), variable.dims());
            assert_eq!(difference(gradient, &variable.zeros_like().unwrap()), 0.0);
        }
    }
    assert_eq!(max_pool2d(&x, 2, 2).unwrap().dims(), [0, 2, 3, 3]);
    let gradients = max_pool2d(&x, 2, 2).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(gradients.get(&x).unwrap().dims(), x.dims());
}

#[test]
fn gradients_go_where_they_are_wanted() {
    let mut rng = rng(0, "wanted");
    let config = Conv2dConfig::default();
    let (x, weight) = (variable(&mut rng, &[2, 1, 4, 4]), variable(&mut rng, &[2, 1, 3, 3]));
    // Data gets none.
    let data = x.as_detached_tensor();
    let gradients = conv2d(&data, &weight, None, config).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(&data).is_none() && gradients.get(&weight).is_some());
    // A frozen weight gets none; the variable behind what is computed does.
    let frozen = weight.as_detached_tensor();
    let computed = (x.as_tensor() * 3.0).unwrap();
    let gradients = conv2d(&computed, &frozen, None, config).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(&frozen).is_none());
    let direct = conv2d(&x, &frozen, None, config).unwrap().sum_all().unwrap().backward().unwrap();
    let three_times = (direct.get(&x).unwrap() * 3.0).unwrap();
    assert!(difference(gradients.get(&x).unwrap(), &three_times) < 1e-14);
    // Two layers with the same weight: both shares arrive.
    let square = variable(&mut rng, &[1, 1, 3, 3]);
    check_gradients(&[&x, &square], || {
        let config = Conv2dConfig { stride: 1, padding: 1 };
        conv2d(&conv2d_relu(&x, &square, None, config, None)?, &square, None, config)
    });
}

#[test]
fn ties_zeros_and_what_is_not_a_number() {
    let pooled = |values: &[f64; 4]| {
        let x = Var::from_slice(values, (1, 1, 2, 2), &Device::Cpu).unwrap();
        let result = max_pool2d(&x, 2, 2).unwrap();
        let gradients = result.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        (result.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0], gradient)
    };
    assert_eq!(pooled(&[1., 2., 2., 2.]), (2., vec![0., 1., 0., 0.]));
    assert_eq!(pooled(&[f64::NEG_INFINITY; 4]).1, [1., 0., 0., 0.]);
    let (result, gradient) = pooled(&[1., f64::NAN, 3., 2.]);
    assert!(result.is_nan());
    assert_eq!(gradient, [0., 1., 0., 0.]);

    // The fused operation likewise, and no gradient at zero.
    let kernel = Tensor::ones((1, 1, 1, 1), DType::F64, &Device::Cpu).unwrap();
    let fused = |values: &[f64; 4], pool| {
        let x = Var::from_slice(values, (1, 1, 2, 2), &Device::Cpu).unwrap();
        let result = conv2d_relu(&x, &kernel, None, Conv2dConfig::default(), pool).unwrap();
        let gradients = result.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        (result.flatten_all().unwrap().to_vec1::<f64>().unwrap(), gradient)
    };
    let two = Some(MaxPool2d::new(2));
    assert_eq!(fused(&[1., 2., 2., 2.], two), (vec![2.], vec![0., 1., 0., 0.]));
    assert_eq!(fused(&[0., 0., -1., 0.], two), (vec![0.], vec![0.; 4]));
    assert!(fused(&[1., f64::NAN, 3., 2.], two).0[0].is_nan());
    assert_eq!(fused(&[0., 2., -1., 3.], None), (vec![0., 2., 0., 3.], vec![0., 1., 0., 1.]));
}

#[test]
fn bad_input_is_an_error_that_says_so() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let config = |stride, padding| Conv2dConfig { stride, padding };
    let plain = config(1, 0);
    let (x, weight) = (zeros(&[2, 3, 5, 6]), zeros(&[4, 3, 3, 3]));
    let says = |result: Result<Tensor>, part: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. } | Error::Mismatch { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    };
    says(conv2d(&zeros(&[3, 5, 6]), &weight, None, plain), "(n, c, h, w)");
    says(conv2d(&x, &zeros(&[4, 27]), None, plain), "(o, c, kh, kw)");
    says(conv2d(&x, &zeros(&[4, 2, 3, 3]), None, plain), "2 channels");
    says(conv2d(&x, &zeros(&[4, 3, 6, 3]), None, plain), "kernel of 6");
    says(conv2d(&x, &zeros(&[4, 3, 3, 0]), None, plain), "empty");
    says(conv2d(&x, &zeros(&[0, 3, 3, 3]), None, plain), "empty");
    says(conv2d(&zeros(&[2, 3, 0, 6]), &weight, None, config(1, 2)), "without pixels");
    says(conv2d(&x, &weight, None, config(0, 0)), "stride");
    says(conv2d(&x, &weight, None, config(1, usize::MAX)), "pad");
    says(conv2d(&x, &weight, Some(&zeros(&[3])), plain), "[4]");
    says(conv2d(&x, &weight.to_dtype(DType::F64).unwrap(), None, plain), "F64");
    says(conv2d(&x.to_dtype(DType::U32).unwrap(), &weight, None, plain), "U32");
    let pool = |kernel, stride| Some(MaxPool2d { kernel, stride });
    says(conv2d_relu(&x, &weight, None, plain, pool(4, 1)), "kernel of 4");
    says(conv2d_relu(&x, &weight, None, plain, pool(2, 0)), "stride");
    says(max_pool2d(&x, 0, 1), "kernel");
    says(max_pool2d(&x, 2, 0), "stride");
    says(max_pool2d(&x, 6, 1), "kernel of 6");
    says(max_pool2d(&zeros(&[5, 5]), 2, 2), "(n, c, h, w)");
    says(max_pool2d(&x.to_dtype(DType::I64).unwrap(), 2, 2), "I64");
    assert!(Conv2d::new(0, 1, 3, plain, &mut rng(0, "layer")).is_err());
    let layer = Conv2d::new(2, 1, 3, plain, &mut rng(0, "layer")).unwrap();
    assert!(layer.forward(&x).unwrap_err().to_string().contains("2 channels"));
    assert!(MaxPool2d::new(9).forward(&x).unwrap_err().to_string().contains("kernel of 9"));
}

#[test]
fn layers() {
    let config = Conv2dConfig { stride: 1, padding: 1 };
    let layer = |seed| Conv2d::new(4, 64, 3, config, &mut rng(seed, "layer")).unwrap();
    let (a, b, c) = (layer(1), layer(1), layer(2));
    assert_eq!(a.weight.dims(), [64, 4, 3, 3]);
    assert_eq!(difference(&a.weight, &b.weight), 0.0);
    assert!(difference(&a.weight, &c.weight) > 0.1);
    let bound = 1.0 / 36f64.sqrt();
    for variable in [&a.weight, &a.bias] {
        let largest = variable.abs().unwrap().flatten_all().unwrap().max(D::Minus1).unwrap();
        let largest = f64::from(largest.to_scalar::<f32>().unwrap());
        assert!(largest <= bound && largest > 0.9 * bound, "{largest} of {bound}");
    }
    let x = random(&mut rng(0, "x"), &[2, 4, 6, 6], DType::F32);
    let pool = MaxPool2d::new(2);
    let composed = pool.forward(&a.forward(&x).unwrap().relu().unwrap()).unwrap();
    assert!(difference(&a.forward_relu(&x, Some(pool)).unwrap(), &composed) < 1e-6);
}
