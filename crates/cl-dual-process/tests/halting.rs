//! When a row has had enough passes.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;

use candle_core::{DType, Device, Tensor};
use cl_core::Result;
use cl_dual_process::{Halt, Halting, Pass, System};

/// Row r of pass k has the probabilities that the table says, and so for halting.
fn table<'a>(
    p: &'a [Vec<[f64; 2]>],
    halt: &'a [Vec<f64>],
) -> impl Fn(&Tensor, Option<&Tensor>, usize) -> Result<Pass> + 'a {
    move |x, _, k| {
        let rows = x.flatten_all()?.to_vec1::<f64>()?;
        let logits: Vec<f64> = rows.iter().flat_map(|&row| p[row as usize][k].map(f64::ln)).collect();
        let halt = rows.iter().map(|&row| halt.get(row as usize).map_or(0.0, |row| row[k])).collect();
        let logits = Tensor::from_vec(logits, (rows.len(), 2), &Device::Cpu)?;
        Ok(Pass { logits, state: None, halt: Some(halt) })
    }
}

fn batch(n: usize) -> Tensor {
    Tensor::arange(0.0, n as f64, &Device::Cpu).unwrap().reshape((n, 1)).unwrap()
}

fn probabilities(logits: &Tensor) -> Vec<Vec<f64>> {
    logits.exp().unwrap().to_vec2().unwrap()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a}, {b}");
}

/// By hand: the passes' weights are their halting probabilities, that of the last what is left.
#[test]
fn act_weighs_passes_by_their_halting_probabilities() {
    let p = vec![vec![[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], vec![[0.6, 0.4], [0.1, 0.9], [0.3, 0.7]]];
    let halt = vec![vec![0.3, 0.75, 0.5], vec![0.1, 0.1, 0.1]];
    let halting = Halting::new(table(&p, &halt), Halt::Act { epsilon: 0.01 }, 3).unwrap();
    let halted = halting.run(&batch(2)).unwrap();
    assert_eq!(halted.passes, [2, 3], "0.3 + 0.75 is enough; 0.3 is not, and there are no more passes");
    let found = probabilities(&halted.logits);
    close(found[0][0], 0.3 * 0.9 + 0.7 * 0.5);
    close(found[1][0], 0.1 * 0.6 + 0.1 * 0.1 + 0.8 * 0.3);
    assert_eq!(
        halting.answer(&batch(2)).unwrap().to_vec2::<f64>().unwrap(),
        halted.logits.to_vec2::<f64>().unwrap()
    );
}

#[test]
fn agreement_is_on_end() {
    let (a, b) = ([0.9, 0.1], [0.2, 0.8]);
    let p = vec![vec![a, a, b, b], vec![a, b, b, a], vec![a, b, a, b]];
    let halted =
        Halting::new(table(&p, &[]), Halt::Agreement { passes: 2 }, 4).unwrap().run(&batch(3)).unwrap();
    assert_eq!(halted.passes, [2, 3, 4]);
    let found = probabilities(&halted.logits);
    [0.9, 0.2, 0.2].iter().zip(&found).for_each(|(&p, row)| close(row[0], p));
}

#[test]
fn confidence_is_that_of_the_mean() {
    let p = vec![vec![[0.95, 0.05], [0.1, 0.9]], vec![[0.7, 0.3], [0.98, 0.02]]];
    let halted =
        Halting::new(table(&p, &[]), Halt::Confident { bound: 0.9 }, 2).unwrap().run(&batch(2)).unwrap();
    assert_eq!(halted.passes, [1, 2]);
    close(probabilities(&halted.logits)[1][0], 0.84);
}

/// Rows that have enough are not in later passes, and each row's state goes with it.
#[test]
fn states_stay_with_their_rows() {
    let seen = RefCell::new(Vec::new());
    let pass = |x: &Tensor, state: Option<&Tensor>, _: usize| {
        let state = match state {
            Some(state) => (state + 1.0)?,
            None => (x * 100.0)?,
        };
        seen.borrow_mut().push(state.flatten_all()?.to_vec1::<f64>()?);
        let halt = x.flatten_all()?.to_vec1::<f64>()?.iter().map(|row| 1.0 / (1.0 + row)).collect();
        Ok(Pass {
            logits: Tensor::zeros((x.dim(0)?, 2), DType::F32, &Device::Cpu)?,
            state: Some(state),
            halt: Some(halt),
        })
    };
    let halted = Halting::new(pass, Halt::Act { epsilon: 1e-9 }, 10).unwrap().run(&batch(3)).unwrap();
    assert_eq!(halted.passes, [1, 2, 3]);
    assert_eq!(*seen.borrow(), [vec![0.0, 100.0, 200.0], vec![101.0, 201.0], vec![202.0]]);
}

#[test]
fn what_cannot_be_is_refused() {
    let p = vec![vec![[0.5, 0.5]; 2]];
    let says = |halt, at_most, halting: &[Vec<f64>], what: &str| {
        let result =
            Halting::new(table(&p, halting), halt, at_most).and_then(|halting| halting.run(&batch(1)));
        let error = result.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    says(Halt::Confident { bound: 0.5 }, 0, &[], "one or more");
    says(Halt::Confident { bound: f64::NAN }, 2, &[], "NaN");
    says(Halt::Agreement { passes: 1 }, 2, &[], "at least 2");
    says(Halt::Act { epsilon: -0.1 }, 2, &[], "-0.1");
    says(Halt::Act { epsilon: 0.1 }, 2, &[vec![1.5, 0.0]], "1.5");
    let none = |x: &Tensor, _: Option<&Tensor>, _: usize| {
        Ok(Pass { logits: Tensor::zeros((x.dim(0)?, 2), DType::F32, &Device::Cpu)?, state: None, halt: None })
    };
    let error = Halting::new(none, Halt::Act { epsilon: 0.1 }, 2).unwrap().run(&batch(1)).unwrap_err();
    assert!(error.to_string().contains("gave none"), "{error}");
    assert!(
        Halting::new(none, Halt::Confident { bound: 0.9 }, 2)
            .unwrap()
            .run(&batch(1).narrow(0, 0, 0).unwrap())
            .is_err()
    );
}
