//! The loops of `allocation`, of one row of slots.

use crate::ops::cpu::Real;

/// The slots in ascending order of usage.
pub(in crate::ops) fn order<T: Real>(usage: &[T], order: &mut Vec<u32>) {
    order.clear();
    order.extend(0..usage.len() as u32);
    // A total order: `partial_cmp` has none where a usage is no number, and a sort may panic on that.
    let key = |slot: &u32| usage[*slot as usize].to_f64();
    order.sort_unstable_by(|a, b| key(a).total_cmp(&key(b)).then(a.cmp(b)));
}

/// a\[φⱼ\] = (1 − u\[φⱼ\]) ∏_{i<j} u\[φᵢ\].
pub(in crate::ops) fn forward<T: Real>(usage: &[T], order: &[u32], a: &mut [T]) {
    let mut product = T::one();
    for &slot in order {
        let u = usage[slot as usize];
        a[slot as usize] = (T::one() - u) * product;
        product *= u;
    }
}

/// The gradient of the usage is added to `gu`.
pub(in crate::ops) fn backward<T: Real>(usage: &[T], order: &[u32], g: &[T], gu: &mut [T]) {
    // First what stands behind each, from the end, with the product still to come; `after` is Qₖ.
    let mut products = Vec::with_capacity(order.len());
    let mut product = T::one();
    for &slot in order {
        products.push(product);
        product *= usage[slot as usize];
    }
    let mut after = T::zero();
    for (&slot, &product) in order.iter().zip(&products).rev() {
        let (u, g) = (usage[slot as usize], g[slot as usize]);
        gu[slot as usize] += product * (after - g);
        after = g * (T::one() - u) + u * after;
    }
}
