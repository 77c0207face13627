//! The step in one node is the composition of the equations, forward and backward.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use cl_core::{MemoryAccess, MemoryState};
use cl_working_memory::composed::{Cells, step};

mod common;
use common::{assert_close, kinds, normal};

fn interfaces(access: &MemoryAccess, steps: u64, batch: usize, dtype: DType, loud: f64) -> Vec<Var> {
    let one = |t| (normal(&[batch, access.interface()], dtype, t).as_tensor() * loud).unwrap();
    (0..steps).map(|t| Var::from_tensor(&one(t)).unwrap()).collect()
}

/// Both ways side by side from contents that differ; after each step everything that is held is the same.
fn side_by_side(access: &MemoryAccess, slots: usize, dtype: DType, loud: f64, tolerance: f64) {
    let batch = 2;
    let vars = interfaces(access, 6, batch, dtype, loud);
    // In an empty memory many slots are used alike but for rounding, which decides then what is allocated first.
    let contents = normal(&[batch, slots, access.width], dtype, 50).as_detached_tensor();
    let empty = MemoryState::new(access, slots, batch, dtype, &Device::Cpu).unwrap();
    let mut state = empty.with_contents(&contents).unwrap();
    let zeros = Cells::zeros(access, slots, batch, dtype, &Device::Cpu).unwrap();
    let mut cells = Cells { contents, ..zeros };
    let (mut fused, mut composed) = (Vec::new(), Vec::new());
    for xi in &vars {
        let (found, after) = access.step(xi, &state).unwrap();
        let (expected, then) = step(access, xi, &cells).unwrap();
        (state, cells) = (after, then);
        assert_close(&found, &expected, tolerance);
        assert_close(&state.contents().unwrap(), &cells.contents, tolerance);
        assert_close(&state.write_weights().unwrap(), &cells.write, tolerance);
        assert_close(&state.read_weights().unwrap(), &cells.read, tolerance);
        assert_eq!(state.usage().unwrap().is_some(), access.allocation);
        if let Some(usage) = state.usage().unwrap() {
            assert_close(&usage, &cells.usage, tolerance);
        }
        assert_eq!(state.links().unwrap().is_some(), access.link);
        if let (Some(links), Some(precedence), Some((p, l))) =
            (state.links().unwrap(), state.precedence().unwrap(), &cells.linkage)
        {
            assert_close(&links, l, tolerance);
            assert_close(&precedence, p, tolerance);
        }
        fused.push(found);
        composed.push(expected);
    }
    let loss = |reads: &[Tensor]| {
        let reads = Tensor::stack(reads, 0).unwrap();
        let weigh = normal(reads.dims(), dtype, 60).as_detached_tensor();
        (reads * weigh).unwrap().sum_all().unwrap().backward().unwrap()
    };
    let (fused, composed) = (loss(&fused), loss(&composed));
    for xi in &vars {
        assert_close(fused.get(xi).unwrap(), composed.get(xi).unwrap(), 10.0 * tolerance);
    }
}

#[test]
fn one_node_is_the_composition_in_double_precision() {
    for (width, heads, slots) in [(3, 1, 4), (5, 2, 3), (17, 3, 21), (1, 1, 1), (16, 4, 33)] {
        for access in kinds(width, heads) {
            for loud in [0.3, 1.0, 4.0] {
                side_by_side(&access, slots, DType::F64, loud, 1e-10);
            }
        }
    }
}

#[test]
fn one_node_is_the_composition_in_single_precision() {
    for (width, heads, slots) in [(5, 2, 3), (64, 4, 40)] {
        for access in kinds(width, heads) {
            side_by_side(&access, slots, DType::F32, 1.0, 2e-4);
        }
    }
}

/// Links cost slots² and are optional: without them a state is as small as its contents.
#[test]
fn without_links_a_state_is_small() {
    let bytes = |link| {
        let access = MemoryAccess { link, ..MemoryAccess::default() };
        let state = MemoryState::new(&access, 500, 1, DType::F32, &Device::Cpu).unwrap();
        serde_json::to_vec(&state).unwrap().len()
    };
    assert!(bytes(true) > 10 * bytes(false), "{} against {}", bytes(true), bytes(false));
}
