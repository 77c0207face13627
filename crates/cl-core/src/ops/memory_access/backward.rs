//! The backward loop of one sequence: the equations from the last to the first.

use super::forward::{decode, linked, rewritten};
use super::layout::{Parts, Sizes};
use super::{EPSILON, MemoryAccess};
use crate::ops::allocation::cpu as allocation;
use crate::ops::cpu::{Real, SIDE_BY_SIDE, axpy, dot, sigmoid, total};

/// What the backward pass is given, of the whole batch.
#[derive(Clone, Copy)]
pub(super) struct Given<'a, T> {
    pub(super) xi: &'a [T],
    pub(super) old: &'a [T],
    pub(super) new: &'a [T],
    pub(super) trace: &'a [T],
    pub(super) orders: &'a [u32],
    /// The gradient of what was read.
    pub(super) reads: &'a [T],
}

/// The gradient of ξ over a batch, and the room that it needs.
pub(super) struct Step<T> {
    access: MemoryAccess,
    parts: Parts,
    pub(super) sizes: Sizes,
    /// (batch, ξ)
    pub(super) gxi: Vec<T>,
    asked: Vec<T>,
    /// Gradients of the read weights, and of the backward, content and forward weightings (heads, slots each).
    read: Vec<T>,
    back: Vec<T>,
    content: Vec<T>,
    ahead: Vec<T>,
    /// Of the read weights before.
    old_read: Vec<T>,
    /// Of the write weights, of what a row loses by its norm, of the allocation and of the write key's weights (slots each).
    write: Vec<T>,
    shrink: Vec<T>,
    free: Vec<T>,
    other: Vec<T>,
    usage: Vec<T>,
    /// The contents after the step (slots, width) and a row of its links, made again: that is less work than to fetch them.
    contents: Vec<T>,
    row: Vec<T>,
}

impl<T: Real> Step<T> {
    pub(super) fn new(access: &MemoryAccess, sizes: Sizes) -> Self {
        let parts = Parts::of(access);
        let zeros = |size: usize| vec![T::zero(); size];
        let (n, all) = (sizes.slots, sizes.heads * sizes.slots);
        Self {
            access: *access,
            sizes,
            gxi: zeros(sizes.batch * parts.end),
            asked: zeros(parts.end),
            read: zeros(all),
            back: zeros(all),
            content: zeros(all),
            ahead: zeros(all),
            old_read: zeros(all),
            write: zeros(n),
            shrink: zeros(n),
            free: zeros(n),
            other: zeros(n),
            usage: zeros(n),
            contents: zeros(n * sizes.width),
            row: zeros(n),
            parts,
        }
    }

    /// Of sequence `b`: the gradient of the state after the step, in `g`, becomes that of the state before it.
    #[inline(always)]
    pub(super) fn sequence(&mut self, b: usize, given: Given<'_, T>, g: &mut [T]) {
        let Self { access, parts, sizes, gxi, asked, read, back, content, ahead, .. } = self;
        let Self { old_read, write: g_write, shrink, free: g_free, other, usage: g_usage, .. } = self;
        let Self { contents, row, .. } = self;
        let (n, width, heads) = (sizes.slots, sizes.width, sizes.heads);
        let (cells, traced) = (sizes.cells(), sizes.traced());
        let (state, end) = (sizes.state(), parts.end);
        let xi = &given.xi[b * end..][..end];
        decode(access, parts, xi, asked);
        let gxi = &mut gxi[b * end..][..end];
        let (old, new) = (&given.old[b * state..][..state], &given.new[b * state..][..state]);
        let old_contents = &old[cells.contents.clone()];
        let (write, old_reads) = (&new[cells.write.clone()], &old[cells.reads.clone()]);
        let trace = &given.trace[b * sizes.trace()..][..sizes.trace()];
        let g_reads = &given.reads[b * heads * width..][..heads * width];
        let g = &mut g[b * state..][..state];
        let (g_contents, g) = g.split_at_mut(cells.contents.len());
        let (g_old_write, g) = g.split_at_mut(cells.write.len());
        let (g_old_read, g) = g.split_at_mut(cells.reads.len());
        let (g_old_usage, g) = g.split_at_mut(cells.usage.len());
        let (g_precedence, g_links) = g.split_at_mut(cells.precedence.len());
        let one = T::one();

        let (erase, add) = (&asked[parts.erase.clone()], &asked[parts.write.clone()]);
        rewritten(contents, old_contents, write, erase, add);
        let contents = &contents[..];
        g_write.copy_from_slice(g_old_write);
        read.copy_from_slice(g_old_read);
        old_read.fill(T::zero());

        // r = Mᵀwʳ.
        for (i, (row, g_row)) in
            contents.chunks_exact(width).zip(g_contents.chunks_exact_mut(width)).enumerate()
        {
            for (head, g_read) in g_reads.chunks_exact(width).enumerate() {
                read[head * n + i] += dot(row, g_read);
                axpy(g_row, new[cells.reads.start + head * n + i], g_read);
            }
        }

        // wʳ of the three modes.
        if sizes.link {
            let [of_back, of_content, of_ahead] = access.modes.places();
            for head in 0..heads {
                let at = head * n..(head + 1) * n;
                let read = &read[at.clone()];
                let mode = &asked[parts.modes.start + 3 * head..][..3];
                let g_mode = &mut gxi[parts.modes.start + 3 * head..][..3];
                let ways = [
                    (of_back, &traced.ways[0], &mut *back),
                    (of_content, &traced.read[0], &mut *content),
                    (of_ahead, &traced.ways[1], &mut *ahead),
                ];
                for (place, way, g_way) in ways {
                    g_mode[place] = dot(read, &trace[way.clone()][at.clone()]);
                    let pi = mode[place];
                    g_way[at.clone()].iter_mut().zip(read).for_each(|(g_way, &read)| *g_way = pi * read);
                }
                let inner = dot(mode, g_mode);
                g_mode.iter_mut().zip(mode).for_each(|(g, &pi)| *g = pi * (*g - inner));
            }
        } else {
            content.copy_from_slice(read);
        }

        // C(M, kʳ, βʳ).
        let [weights, cosines, norms] = traced.read.clone().map(|part| &trace[part]);
        shrink.fill(T::zero());
        for head in 0..heads {
            let at = head * n..(head + 1) * n;
            let keys = parts.read_keys.start + head * width..parts.read_keys.start + (head + 1) * width;
            let strength = parts.read_strengths.start + head;
            gxi[strength] = content_backward(
                Content {
                    rows: contents,
                    weights: &weights[at.clone()],
                    cosines: &cosines[at.clone()],
                    norms,
                    key: &asked[keys.clone()],
                    strength: asked[strength],
                },
                &mut content[at],
                &mut gxi[keys],
                g_contents,
                shrink,
            ) * sigmoid(xi[strength]);
        }
        shrunk(contents, shrink, g_contents);

        // The links both ways, their making, and the precedence.
        if sizes.link {
            let old_links = &old[cells.links.clone()];
            let old_precedence = &old[cells.precedence.clone()];
            let kept = one - total(write);
            let of_sum = dot(g_precedence, old_precedence);
            for (g_write, g_precedence) in g_write.iter_mut().zip(g_precedence.iter_mut()) {
                *g_write += *g_precedence - of_sum;
                *g_precedence *= kept;
            }
            other.fill(T::zero());
            for i in 0..n {
                let old_row = &old_links[i * n..][..n];
                linked(row, old_row, write, old_precedence, i);
                let g_row = &mut g_links[i * n..][..n];
                for head in 0..heads {
                    let at = head * n..(head + 1) * n;
                    let (before, g_ahead) = (&old_reads[at.clone()], ahead[at.start + i]);
                    let before_i = before[i];
                    let of_back = along(
                        g_row,
                        row,
                        before,
                        &back[at.clone()],
                        &mut old_read[at.clone()],
                        [g_ahead, before_i],
                    );
                    old_read[at.start + i] += of_back;
                }
                g_row[i] = T::zero();
                g_write[i] += making(g_row, old_row, write, old_precedence, other, g_precedence, write[i]);
            }
            g_write.iter_mut().zip(other.iter()).for_each(|(g, &lost)| *g -= lost);
        }

        // Erase and write.
        let (g_erase, g_add) = gxi[parts.erase.start..parts.write.end].split_at_mut(width);
        let rows = g_contents.chunks_exact_mut(width).zip(old_contents.chunks_exact(width));
        g_erase.fill(T::zero());
        g_add.fill(T::zero());
        for ((g_row, old), (&w, g_w)) in rows.zip(write.iter().zip(g_write.iter_mut())) {
            *g_w += rewriting(g_row, old, erase, add, g_erase, g_add, w);
        }

        // w = g_w (g_a a + (1 − g_a) C(M⁻, k, β)).
        let gate = asked[parts.write_gate];
        let [weights, cosines, norms] = traced.write.clone().map(|part| &trace[part]);
        let free = &trace[traced.allocation.clone()];
        let of_gate;
        if sizes.allocation {
            let of_free = asked[parts.allocation_gate];
            let (with_free, with_content) = (dot(g_write, free), dot(g_write, weights));
            of_gate = of_free * with_free + (one - of_free) * with_content;
            gxi[parts.allocation_gate] = gate * (with_free - with_content) * of_free * (one - of_free);
            for ((g_free, g_content), &g) in g_free.iter_mut().zip(other.iter_mut()).zip(g_write.iter()) {
                *g_free = gate * of_free * g;
                *g_content = gate * (one - of_free) * g;
            }
        } else {
            of_gate = dot(g_write, weights);
            other.iter_mut().zip(g_write.iter()).for_each(|(g_content, &g)| *g_content = gate * g);
        }
        gxi[parts.write_gate] = of_gate * gate * (one - gate);
        shrink.fill(T::zero());
        let key = &asked[parts.write_key.clone()];
        let strength = asked[parts.write_strength];
        let of_content = Content { rows: old_contents, weights, cosines, norms, key, strength };
        gxi[parts.write_strength] =
            content_backward(of_content, other, &mut gxi[parts.write_key.clone()], g_contents, shrink)
                * sigmoid(xi[parts.write_strength]);
        shrunk(old_contents, shrink, g_contents);

        // Allocation and usage.
        if sizes.allocation {
            g_usage.copy_from_slice(g_old_usage);
            let (usage, old_usage) = (&new[cells.usage.clone()], &old[cells.usage.clone()]);
            allocation::backward(usage, &given.orders[b * n..][..n], g_free, g_usage);
            let gates = &asked[parts.free.clone()];
            let g_gates = &mut gxi[parts.free.clone()];
            g_gates.fill(T::zero());
            for i in 0..n {
                let (u, w, g) = (old_usage[i], old[cells.write.start + i], g_usage[i]);
                let before = u + w - u * w;
                let kept = |left_out: usize| {
                    let others = gates.iter().enumerate().filter(|(head, _)| *head != left_out);
                    others.fold(one, |kept, (head, &gate)| kept * (one - gate * old_reads[head * n + i]))
                };
                for (head, g_gate) in g_gates.iter_mut().enumerate() {
                    // Not by division, which has no value where all is freed.
                    let of_one = g * before * kept(head);
                    *g_gate -= of_one * old_reads[head * n + i];
                    old_read[head * n + i] -= of_one * gates[head];
                }
                let kept = g * kept(heads);
                g_old_usage[i] = kept * (one - w);
                g_old_write[i] = if access.stop_usage_gradient { T::zero() } else { kept * (one - u) };
            }
            g_gates.iter_mut().zip(gates).for_each(|(g, &gate)| *g *= gate * (one - gate));
        } else {
            g_old_write.fill(T::zero());
        }
        g_old_read.copy_from_slice(old_read);

        // Behind the remaining non-linearities.
        for (g, &erase) in gxi[parts.erase.clone()].iter_mut().zip(&asked[parts.erase.clone()]) {
            *g *= erase * (one - erase);
        }
        if access.tanh {
            for part in [&parts.read_keys, &parts.write_key, &parts.write] {
                for (g, &y) in gxi[part.clone()].iter_mut().zip(&asked[part.clone()]) {
                    *g *= one - y * y;
                }
            }
        }
    }
}

/// The links of a row followed by a head: the row's gradient and that of the read weights before; gives Σ row·g_back.
#[inline(always)]
fn along<T: Real>(
    g_row: &mut [T],
    row: &[T],
    before: &[T],
    g_back: &[T],
    old_read: &mut [T],
    [g_ahead, before_i]: [T; 2],
) -> T {
    let mut sums = [T::zero(); SIDE_BY_SIDE];
    let (gs, g_rest) = g_row.as_chunks_mut::<SIDE_BY_SIDE>();
    let (rows, row_rest) = row.as_chunks::<SIDE_BY_SIDE>();
    let (befores, before_rest) = before.as_chunks::<SIDE_BY_SIDE>();
    let (backs, back_rest) = g_back.as_chunks::<SIDE_BY_SIDE>();
    let (olds, old_rest) = old_read.as_chunks_mut::<SIDE_BY_SIDE>();
    for ((((g, row), before), back), old) in gs.iter_mut().zip(rows).zip(befores).zip(backs).zip(olds) {
        for k in 0..SIDE_BY_SIDE {
            g[k] += g_ahead * before[k] + before_i * back[k];
            sums[k] += row[k] * back[k];
            old[k] += g_ahead * row[k];
        }
    }
    let mut sum = sums.iter().fold(T::zero(), |sum, &x| sum + x);
    let rest = g_rest.iter_mut().zip(row_rest).zip(before_rest).zip(back_rest).zip(old_rest);
    for ((((g, &row), &before), &back), old) in rest {
        *g += g_ahead * before + before_i * back;
        sum += row * back;
        *old += g_ahead * row;
    }
    sum
}

/// How a row of links was made: its gradient becomes that of the row before, with what each column lost and the gradient of the
/// precedence; gives the gradient of the row's own write weight `w`.
#[inline(always)]
fn making<T: Real>(
    g_row: &mut [T],
    old_row: &[T],
    write: &[T],
    precedence: &[T],
    lost: &mut [T],
    g_precedence: &mut [T],
    w: T,
) -> T {
    let kept = T::one() - w;
    let mut sums = [T::zero(); SIDE_BY_SIDE];
    let (gs, g_rest) = g_row.as_chunks_mut::<SIDE_BY_SIDE>();
    let (olds, old_rest) = old_row.as_chunks::<SIDE_BY_SIDE>();
    let (writes, write_rest) = write.as_chunks::<SIDE_BY_SIDE>();
    let (ps, p_rest) = precedence.as_chunks::<SIDE_BY_SIDE>();
    let (losts, lost_rest) = lost.as_chunks_mut::<SIDE_BY_SIDE>();
    let (gps, gp_rest) = g_precedence.as_chunks_mut::<SIDE_BY_SIDE>();
    let all = gs.iter_mut().zip(olds).zip(writes).zip(ps).zip(losts).zip(gps);
    for (((((g, old), write), p), lost), gp) in all {
        for k in 0..SIDE_BY_SIDE {
            let of_old = g[k] * old[k];
            sums[k] += g[k] * p[k] - of_old;
            lost[k] += of_old;
            gp[k] += w * g[k];
            g[k] *= kept - write[k];
        }
    }
    let mut sum = sums.iter().fold(T::zero(), |sum, &x| sum + x);
    let rest = g_rest.iter_mut().zip(old_rest).zip(write_rest).zip(p_rest).zip(lost_rest).zip(gp_rest);
    for (((((g, &old), &write), &p), lost), gp) in rest {
        let of_old = *g * old;
        sum += *g * p - of_old;
        *lost += of_old;
        *gp += w * *g;
        *g *= kept - write;
    }
    sum
}

/// How a slot was erased and written with weight `w`: its gradient becomes that of what stood there, those of what was erased and
/// added grow; gives that of w.
#[inline(always)]
fn rewriting<T: Real>(
    g_row: &mut [T],
    old_row: &[T],
    erase: &[T],
    add: &[T],
    g_erase: &mut [T],
    g_add: &mut [T],
    w: T,
) -> T {
    let mut sums = [T::zero(); SIDE_BY_SIDE];
    let (gs, g_rest) = g_row.as_chunks_mut::<SIDE_BY_SIDE>();
    let (olds, old_rest) = old_row.as_chunks::<SIDE_BY_SIDE>();
    let (es, e_rest) = erase.as_chunks::<SIDE_BY_SIDE>();
    let (vs, v_rest) = add.as_chunks::<SIDE_BY_SIDE>();
    let (ges, ge_rest) = g_erase.as_chunks_mut::<SIDE_BY_SIDE>();
    let (gvs, gv_rest) = g_add.as_chunks_mut::<SIDE_BY_SIDE>();
    for (((((g, old), e), v), ge), gv) in gs.iter_mut().zip(olds).zip(es).zip(vs).zip(ges).zip(gvs) {
        for k in 0..SIDE_BY_SIDE {
            sums[k] += g[k] * (v[k] - old[k] * e[k]);
            ge[k] -= w * g[k] * old[k];
            gv[k] += w * g[k];
            g[k] *= T::one() - w * e[k];
        }
    }
    let mut sum = sums.iter().fold(T::zero(), |sum, &x| sum + x);
    let rest = g_rest.iter_mut().zip(old_rest).zip(e_rest).zip(v_rest).zip(ge_rest).zip(gv_rest);
    for (((((g, &old), &e), &v), ge), gv) in rest {
        sum += *g * (v - old * e);
        *ge -= w * *g * old;
        *gv += w * *g;
        *g *= T::one() - w * e;
    }
    sum
}

/// A content weighting as it was found.
struct Content<'a, T> {
    rows: &'a [T],
    weights: &'a [T],
    cosines: &'a [T],
    norms: &'a [T],
    key: &'a [T],
    strength: T,
}

/// With `g` the gradient of the weights, which is used up: sets the gradient of the key, adds that of the rows but for
/// `shrink`·row, and gives that of the strength.
#[inline(always)]
fn content_backward<T: Real>(
    Content { rows, weights, cosines, norms, key, strength }: Content<'_, T>,
    g: &mut [T],
    g_key: &mut [T],
    g_rows: &mut [T],
    shrink: &mut [T],
) -> T {
    let width = key.len();
    let length_sq = dot(key, key) + T::from_f64(EPSILON);
    let length = length_sq.sqrt();
    let inner = dot(g, weights);
    g.iter_mut().zip(weights).for_each(|(g, &weight)| *g = weight * (*g - inner));
    let of_strength = dot(g, cosines);
    for ((g, shrink), (&cosine, &norm)) in g.iter_mut().zip(shrink).zip(cosines.iter().zip(norms)) {
        let of_cosine = strength * *g;
        *shrink += of_cosine * cosine / (norm * norm);
        *g = of_cosine / (norm * length);
    }
    // Σ gᵢ cosᵢ / |k|² of the key's own norm.
    let of_norm = T::zero() - strength * of_strength / length_sq;
    g_key.iter_mut().zip(key).for_each(|(g_key, &key)| *g_key = of_norm * key);
    for ((row, g_row), &g) in rows.chunks_exact(width).zip(g_rows.chunks_exact_mut(width)).zip(g.iter()) {
        axpy(g_key, g, row);
        axpy(g_row, g, key);
    }
    of_strength
}

/// What the rows' own norms take off their gradients.
#[inline(always)]
fn shrunk<T: Real>(rows: &[T], shrink: &[T], g_rows: &mut [T]) {
    let width = rows.len() / shrink.len();
    for ((row, g_row), &by) in rows.chunks_exact(width).zip(g_rows.chunks_exact_mut(width)).zip(shrink) {
        axpy(g_row, T::zero() - by, row);
    }
}
