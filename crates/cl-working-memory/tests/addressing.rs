//! Each equation alone: its gradient, its bounds, what it refuses.
#![allow(clippy::unwrap_used)]

use candle_core::{D, DType, Device, Tensor, Var};
use cl_working_memory::addressing::*;
use cl_working_memory::interface::Interface;
use proptest::prelude::*;

mod common;
use common::{assert_close, assert_gradients, elements, kinds, normal, unit};

fn v(shape: &[usize], seed: u64) -> Var {
    normal(shape, DType::F64, seed)
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let (m, k, beta) = (v(&[2, 4, 3], 1), v(&[2, 2, 3], 2), unit(&[2, 2], 3));
    assert_gradients(&[&m, &k], || cosine(&m, &k).unwrap());
    assert_gradients(&[&m, &k, &beta], || content(&m, &k, &beta).unwrap());
    let (free, w) = (unit(&[2, 3], 4), unit(&[2, 3, 5], 5));
    assert_gradients(&[&free, &w], || retention(&free, &w).unwrap());
    let (u, written, kept) = (unit(&[2, 5], 6), unit(&[2, 5], 7), unit(&[2, 5], 8));
    assert_gradients(&[&u, &written, &kept], || usage(&u, &written, &kept).unwrap());
    assert_gradients(&[&u], || allocation(&u).unwrap());
    let (c, ga, gw) = (unit(&[2, 5], 9), unit(&[2], 10), unit(&[2], 11));
    assert_gradients(&[&c, &u, &ga, &gw], || write_weights(&c, Some((&u, &ga)), &gw).unwrap());
    assert_gradients(&[&c, &gw], || write_weights(&c, None, &gw).unwrap());
    let (contents, erase, add) = (v(&[2, 5, 3], 12), unit(&[2, 3], 13), v(&[2, 3], 14));
    assert_gradients(&[&contents, &c, &erase, &add], || write(&contents, &c, &erase, &add).unwrap());
    let (p, l, r) = (unit(&[2, 5], 15), v(&[2, 5, 5], 16), unit(&[2, 2, 5], 17));
    assert_gradients(&[&p, &c], || precedence(&p, &c).unwrap());
    assert_gradients(&[&l, &c, &p], || links(&l, &c, &p).unwrap());
    assert_gradients(&[&l, &r], || forward(&l, &r).unwrap());
    assert_gradients(&[&l, &r], || backward(&l, &r).unwrap());
    let (pi, b, f) = (unit(&[2, 2, 3], 18), unit(&[2, 2, 5], 19), unit(&[2, 2, 5], 20));
    assert_gradients(&[&pi, &b, &r, &f], || read_weights(&pi, &b, &r, &f).unwrap());
    assert_gradients(&[&contents, &r], || read(&contents, &r).unwrap());
}

#[test]
fn gradients_of_the_interface_are_those_of_finite_differences() {
    for access in kinds(3, 2) {
        let xi = v(&[2, access.interface()], 1);
        assert_gradients(&[&xi], || {
            let i = Interface::new(&access, &xi).unwrap();
            let mut parts = vec![
                i.read_keys,
                i.read_strengths,
                i.write_key,
                i.write_strength,
                i.erase,
                i.write,
                i.write_gate,
            ];
            parts.extend(i.allocation.into_iter().flat_map(|(free, gate)| [free, gate]));
            parts.extend(i.modes);
            let flat: Vec<Tensor> = parts.iter().map(|part| part.flatten_all().unwrap()).collect();
            Tensor::cat(&flat, 0).unwrap()
        });
    }
}

/// Copied by hand from the equations.
#[test]
fn small_cases_by_hand() {
    let t = |values: &[f64]| Tensor::new(values, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    // Half freed by one head, a quarter by another.
    let read = Tensor::new(&[[[1.0f64, 0.0], [0.5, 0.5]]], &Device::Cpu).unwrap();
    let kept = retention(&t(&[0.5, 0.5]), &read).unwrap();
    assert_close(&kept, &t(&[0.375, 0.75]), 1e-15);
    assert_close(&usage(&t(&[0.5, 0.0]), &t(&[0.5, 1.0]), &kept).unwrap(), &t(&[0.28125, 0.75]), 1e-15);
    assert_close(&precedence(&t(&[0.5, 0.5]), &t(&[0.25, 0.25])).unwrap(), &t(&[0.5, 0.5]), 1e-15);
    // Slot 1 was written after slot 0: forward from 0 leads to 1, backward from 1 to 0.
    let l =
        links(&Tensor::zeros((1, 2, 2), DType::F64, &Device::Cpu).unwrap(), &t(&[0.0, 1.0]), &t(&[1.0, 0.0]));
    let l = l.unwrap();
    let at = |first: f64, second: f64| t(&[first, second]).unsqueeze(0).unwrap();
    assert_close(&forward(&l, &at(1.0, 0.0)).unwrap(), &at(0.0, 1.0), 1e-15);
    assert_close(&backward(&l, &at(0.0, 1.0)).unwrap(), &at(1.0, 0.0), 1e-15);
}

/// The paper's strength is at least 1, that of the two repositories may be less.
#[test]
fn oneplus_is_one_more_than_softplus_and_the_orders_of_modes_are_permutations() {
    let all = kinds(3, 2);
    let xi = v(&[2, all[0].interface()], 1);
    let of = |k: usize| Interface::new(&all[k], &xi).unwrap();
    assert_close(&of(0).read_strengths, &(of(1).read_strengths + 1.0).unwrap(), 1e-12);
    assert!(elements(&of(0).read_strengths).iter().all(|b| *b >= 1.0));
    let (paper, others) = (of(0).modes.unwrap(), of(2).modes.unwrap());
    let mode = |modes: &Tensor, k: usize| modes.narrow(2, k, 1).unwrap();
    for (ours, theirs) in [(0, 0), (1, 2), (2, 1)] {
        assert_close(&mode(&paper, ours), &mode(&others, theirs), 1e-15);
    }
    // Thousands do not overflow.
    let loud = Interface::new(&all[0], &(xi.as_tensor() * 1e4).unwrap()).unwrap();
    assert!(elements(&loud.read_strengths).iter().all(|b| b.is_finite()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn weightings_sum_to_at_most_one_and_usage_stays_within(seed in 0u64..1_000_000, loud in 0.0f64..50.0) {
        let (b, r, n, w) = (2, 2, 6, 3);
        let scaled = |shape: &[usize], s: u64| (v(shape, seed ^ s).as_tensor() * loud).unwrap();
        let beta = (unit(&[b, r], seed).as_tensor() * loud).unwrap();
        let c = content(&scaled(&[b, n, w], 1), &scaled(&[b, r, w], 2), &beta).unwrap();
        prop_assert!(elements(&c.sum(D::Minus1).unwrap()).iter().all(|s| (s - 1.0).abs() < 1e-9));
        prop_assert!(elements(&cosine(&scaled(&[b, n, w], 1), &scaled(&[b, r, w], 2)).unwrap())
            .iter().all(|c| c.abs() <= 1.0));
        let one = c.get_on_dim(1, 0).unwrap();
        let u = usage(&unit(&[b, n], seed ^ 3), &one, &retention(&unit(&[b, r], seed ^ 4), &c).unwrap()).unwrap();
        prop_assert!(elements(&u).iter().all(|u| (0.0..=1.0).contains(u)));
        let a = allocation(&u).unwrap();
        prop_assert!(elements(&a.sum(1).unwrap()).iter().all(|s| *s <= 1.0 + 1e-12));
        let (ga, gw) = (unit(&[b], seed ^ 5), unit(&[b], seed ^ 6));
        let write = write_weights(&one, Some((&a, &ga)), &gw).unwrap();
        prop_assert!(elements(&write.sum(1).unwrap()).iter().all(|s| *s <= 1.0 + 1e-12));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let t = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let says = |found: cl_core::Result<Tensor>, what: &str| {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    says(cosine(&t(&[2, 4]), &t(&[2, 1, 3])), "contents: expected (b, n, w)");
    says(cosine(&t(&[2, 4, 3]), &t(&[2, 1, 2])), "keys: expected (2, r, 3)");
    says(content(&t(&[2, 4, 3]), &t(&[2, 1, 3]), &t(&[2, 2])), "strengths");
    says(retention(&t(&[2, 2]), &t(&[2, 3, 4])), "free gates");
    says(usage(&t(&[2, 4]), &t(&[2, 3]), &t(&[2, 4])), "write weights");
    says(usage(&t(&[2, 4]), &t(&[2, 4]), &t(&[2, 3])), "retention");
    says(write_weights(&t(&[2, 4]), None, &t(&[1])), "write gate");
    says(write_weights(&t(&[2, 4]), Some((&t(&[2, 3]), &t(&[2]))), &t(&[2])), "allocation weighting");
    says(write_weights(&t(&[2, 4]), Some((&t(&[2, 4]), &t(&[3]))), &t(&[2])), "allocation gate");
    says(write(&t(&[2, 4, 3]), &t(&[2, 3]), &t(&[2, 3]), &t(&[2, 3])), "write weights");
    says(write(&t(&[2, 4, 3]), &t(&[2, 4]), &t(&[2, 4]), &t(&[2, 3])), "erase vector");
    says(write(&t(&[2, 4, 3]), &t(&[2, 4]), &t(&[2, 3]), &t(&[2, 4])), "write vector");
    says(precedence(&t(&[2, 4]), &t(&[2, 3])), "write weights");
    says(forward(&t(&[2, 4, 3]), &t(&[2, 1, 4])), "links");
    says(backward(&t(&[2, 4, 4]), &t(&[2, 4])), "read weights");
    says(read_weights(&t(&[2, 1, 2]), &t(&[2, 1, 4]), &t(&[2, 1, 4]), &t(&[2, 1, 4])), "read modes");
    says(read_weights(&t(&[2, 1, 3]), &t(&[2, 1, 3]), &t(&[2, 1, 4]), &t(&[2, 1, 4])), "backward weighting");
    says(read(&t(&[2, 4, 3]), &t(&[2, 1, 3])), "read weights");
    let access = kinds(3, 2)[0];
    let error = Interface::new(&access, &t(&[2, 5])).unwrap_err().to_string();
    assert_eq!(error, format!("interface: expected (b, {}), got [2, 5]", access.interface()));
}
