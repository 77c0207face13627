//! The forward loop of one sequence.

use super::layout::{Parts, Sizes};
use super::{EPSILON, MemoryAccess, Strength};
use crate::ops::allocation::cpu as allocation;
use crate::ops::cpu::{Real, axpy, dot, sigmoid, tanh, total};

/// The results of a step over a batch, and the room that it needs.
pub(super) struct Step<T> {
    access: MemoryAccess,
    parts: Parts,
    pub(super) sizes: Sizes,
    /// (batch, heads·width)
    pub(super) reads: Vec<T>,
    /// (batch, [`Sizes::state`])
    pub(super) new: Vec<T>,
    /// (batch, [`Sizes::trace`])
    pub(super) trace: Vec<T>,
    /// The slots of each sequence in ascending order of usage (batch, slots); empty without allocation.
    pub(super) orders: Vec<u32>,
    /// ξ behind its non-linearities.
    asked: Vec<T>,
    order: Vec<u32>,
}

impl<T: Real> Step<T> {
    pub(super) fn new(access: &MemoryAccess, sizes: Sizes) -> Self {
        let parts = Parts::of(access);
        let zeros = |size: usize| vec![T::zero(); size];
        Self {
            access: *access,
            sizes,
            reads: zeros(sizes.batch * sizes.heads * sizes.width),
            new: Vec::with_capacity(sizes.batch * sizes.state()),
            trace: Vec::with_capacity(sizes.batch * sizes.trace()),
            orders: Vec::with_capacity(sizes.batch * sizes.slots),
            asked: zeros(parts.end),
            order: Vec::with_capacity(sizes.slots),
            parts,
        }
    }

    /// The step of sequence `b`, after that of the one before.
    #[inline(always)]
    pub(super) fn sequence(&mut self, b: usize, interface: &[T], old: &[T]) {
        let Self { access, parts, sizes, reads, new, trace, orders, asked, order } = self;
        // Made zero right before it is written, it is in the cache: all of it at once is not.
        new.resize((b + 1) * sizes.state(), T::zero());
        trace.resize((b + 1) * sizes.trace(), T::zero());
        let (n, width, heads) = (sizes.slots, sizes.width, sizes.heads);
        let (cells, traced) = (sizes.cells(), sizes.traced());
        decode(access, parts, &interface[b * parts.end..][..parts.end], asked);
        let old = &old[b * sizes.state()..][..sizes.state()];
        let (old_contents, old_write, old_reads) =
            (&old[cells.contents.clone()], &old[cells.write.clone()], &old[cells.reads.clone()]);
        let new = &mut new[b * sizes.state()..][..sizes.state()];
        let (contents, new) = new.split_at_mut(cells.contents.len());
        let (write, new) = new.split_at_mut(cells.write.len());
        let (read, new) = new.split_at_mut(cells.reads.len());
        let (usage, new) = new.split_at_mut(cells.usage.len());
        let (precedence, links) = new.split_at_mut(cells.precedence.len());
        let trace = &mut trace[b * sizes.trace()..][..sizes.trace()];
        let (free, trace) = trace.split_at_mut(traced.allocation.len());
        let (write_content, trace) = trace.split_at_mut(3 * n);
        let (read_content, ways) = trace.split_at_mut((2 * heads + 1) * n);

        // Usage, and what is free.
        if sizes.allocation {
            for (i, usage) in usage.iter_mut().enumerate() {
                let (u, w) = (old[cells.usage.start + i], old_write[i]);
                let mut kept = T::one();
                for (head, &gate) in asked[parts.free.clone()].iter().enumerate() {
                    kept *= T::one() - gate * old_reads[head * n + i];
                }
                *usage = (u + w - u * w) * kept;
            }
            allocation::order(usage, order);
            allocation::forward(usage, order, free);
            orders.extend_from_slice(order);
        }

        // Where to write: by content, or what is free.
        let (weights, rest) = write_content.split_at_mut(n);
        let (cosines, norms) = rest.split_at_mut(n);
        lengths(old_contents, width, norms);
        let key = &asked[parts.write_key.clone()];
        content(old_contents, norms, key, asked[parts.write_strength], cosines, weights);
        let gate = asked[parts.write_gate];
        if sizes.allocation {
            let of_free = asked[parts.allocation_gate];
            for ((write, &free), &content) in write.iter_mut().zip(free.iter()).zip(weights.iter()) {
                *write = gate * (of_free * free + (T::one() - of_free) * content);
            }
        } else {
            write.iter_mut().zip(weights.iter()).for_each(|(write, &content)| *write = gate * content);
        }

        // Erase and write.
        let (erase, add) = (&asked[parts.erase.clone()], &asked[parts.write.clone()]);
        rewritten(contents, old_contents, write, erase, add);

        // Where to read: by content,
        let (weights, rest) = read_content.split_at_mut(heads * n);
        let (cosines, norms) = rest.split_at_mut(heads * n);
        lengths(contents, width, norms);
        for head in 0..heads {
            let (key, strength) = (
                &asked[parts.read_keys.clone()][head * width..][..width],
                asked[parts.read_strengths.start + head],
            );
            let at = head * n..(head + 1) * n;
            content(contents, norms, key, strength, &mut cosines[at.clone()], &mut weights[at]);
        }
        // or along the order of writing. One pass over the links makes them anew and follows them both ways.
        if sizes.link {
            let old_precedence = &old[cells.precedence.clone()];
            let (back, ahead) = ways.split_at_mut(heads * n);
            let old_links = &old[cells.links.clone()];
            for (i, (row, old)) in links.chunks_exact_mut(n).zip(old_links.chunks_exact(n)).enumerate() {
                linked(row, old, write, old_precedence, i);
                for head in 0..heads {
                    let before = &old_reads[head * n..][..n];
                    ahead[head * n + i] = dot(row, before);
                    axpy(&mut back[head * n..][..n], before[i], row);
                }
            }
            let kept = T::one() - total(write);
            for ((p, &old), &w) in precedence.iter_mut().zip(old_precedence).zip(write.iter()) {
                *p = kept * old + w;
            }
            let [of_back, of_content, of_ahead] = access.modes.places();
            for head in 0..heads {
                let mode = &asked[parts.modes.start + 3 * head..][..3];
                let (m_back, m_content, m_ahead) = (mode[of_back], mode[of_content], mode[of_ahead]);
                let at = head * n..(head + 1) * n;
                let found = back[at.clone()].iter().zip(&weights[at.clone()]).zip(&ahead[at.clone()]);
                for (read, ((&back, &content), &ahead)) in read[at].iter_mut().zip(found) {
                    *read = m_back * back + m_content * content + m_ahead * ahead;
                }
            }
        } else {
            read.copy_from_slice(weights);
        }

        // Read.
        let reads = &mut reads[b * heads * width..][..heads * width];
        for (i, row) in contents.chunks_exact(width).enumerate() {
            for (head, reads) in reads.chunks_exact_mut(width).enumerate() {
                axpy(reads, read[head * n + i], row);
            }
        }
    }
}

/// M = M⁻∘(1 − w eᵀ) + w vᵀ.
#[inline(always)]
pub(super) fn rewritten<T: Real>(contents: &mut [T], old: &[T], write: &[T], erase: &[T], add: &[T]) {
    let rows = contents.chunks_exact_mut(erase.len()).zip(old.chunks_exact(erase.len()));
    for ((row, old), &w) in rows.zip(write) {
        for (((row, &old), &erase), &add) in row.iter_mut().zip(old).zip(erase).zip(add) {
            *row = old * (T::one() - w * erase) + w * add;
        }
    }
}

/// Row i of L′ᵢⱼ = (1 − wᵢ − wⱼ) Lᵢⱼ + wᵢ pⱼ, L′ᵢᵢ = 0.
#[inline(always)]
pub(super) fn linked<T: Real>(row: &mut [T], old: &[T], write: &[T], precedence: &[T], i: usize) {
    let (w, kept) = (write[i], T::one() - write[i]);
    for (((row, &old), &other), &p) in row.iter_mut().zip(old).zip(write).zip(precedence) {
        *row = (kept - other) * old + w * p;
    }
    row[i] = T::zero();
}

/// ξ behind its non-linearities, in the same places.
#[inline(always)]
pub(super) fn decode<T: Real>(access: &MemoryAccess, parts: &Parts, xi: &[T], asked: &mut [T]) {
    asked.copy_from_slice(xi);
    let each = |asked: &mut [T], f: fn(T) -> T| asked.iter_mut().for_each(|x| *x = f(*x));
    if access.tanh {
        for part in [&parts.read_keys, &parts.write_key, &parts.write] {
            asked[part.clone()].iter_mut().for_each(|x| *x = tanh(*x));
        }
    }
    let strength = match access.strength {
        Strength::Oneplus => oneplus::<T>,
        Strength::Softplus => softplus::<T>,
    };
    each(&mut asked[parts.read_strengths.clone()], strength);
    each(&mut asked[parts.write_strength..][..1], strength);
    asked[parts.erase.clone()].iter_mut().for_each(|x| *x = sigmoid(*x));
    each(&mut asked[parts.free.clone()], sigmoid);
    if access.allocation {
        each(&mut asked[parts.allocation_gate..][..1], sigmoid);
    }
    each(&mut asked[parts.write_gate..][..1], sigmoid);
    asked[parts.modes.clone()].chunks_exact_mut(3).for_each(softmax);
}

/// ln(1 + eˣ), however large x is.
fn softplus<T: Real>(x: T) -> T {
    let x = x.to_f64();
    T::from_f64((-x.abs()).exp().ln_1p() + if x < 0.0 { 0.0 } else { x })
}

fn oneplus<T: Real>(x: T) -> T {
    T::one() + softplus(x)
}

#[inline(always)]
fn softmax<T: Real>(x: &mut [T]) {
    let top = x.iter().fold(T::from_f64(f64::NEG_INFINITY), |top, &x| if x > top { x } else { top });
    x.iter_mut().for_each(|x| *x = (*x - top).fast_exp());
    let sum = total(x);
    x.iter_mut().for_each(|x| *x /= sum);
}

/// √(|Mᵢ|² + ε) of each row.
#[inline(always)]
fn lengths<T: Real>(rows: &[T], width: usize, lengths: &mut [T]) {
    for (length, row) in lengths.iter_mut().zip(rows.chunks_exact(width)) {
        *length = (dot(row, row) + T::from_f64(EPSILON)).sqrt();
    }
}

/// Cosines, and their softmax.
#[inline(always)]
fn content<T: Real>(rows: &[T], norms: &[T], key: &[T], strength: T, cosines: &mut [T], weights: &mut [T]) {
    let length = (dot(key, key) + T::from_f64(EPSILON)).sqrt();
    for ((cosine, row), &norm) in cosines.iter_mut().zip(rows.chunks_exact(key.len())).zip(norms) {
        *cosine = dot(row, key) / (norm * length);
    }
    weights.iter_mut().zip(cosines.iter()).for_each(|(weight, &cosine)| *weight = strength * cosine);
    softmax(weights);
}
