// The backward pass of one sequence, by one block: `backward.rs`, phase by phase.

// A content weighting as it was found.
template <typename T> struct Content {
    const T *rows, *weights, *cosines, *norms, *keys, *strengths;
};

// With g (heads, n) the gradient of the weights, which is used up: sets the gradients of keys (heads, width) and strengths (heads),
// these before their non-linearity at `xi`, and adds that of the rows.
template <typename T>
__device__ void content_backward(u32 n, u32 width, u32 heads, const Content<T> &found, T *g, T *g_keys, T *g_strengths, const T *xi,
                                 T *g_rows, T *shrink, void *shared) {
    const T *rows = found.rows, *norms = found.norms, *keys = found.keys;
    // What the rows' own norms take off their gradients.
    each(n, [=](u32 i) { shrink[i] = 0; });
    for (u32 head = 0; head < heads; head++) {
        const T *weights = found.weights + (u64)head * n, *cosines = found.cosines + (u64)head * n, *key = keys + head * width;
        T *of_head = g + (u64)head * n, *g_key = g_keys + head * width, strength = found.strengths[head];
        T length_sq = dot(width, key, key) + (T)EPSILON, length = sqrt(length_sq);
        T inner = dot(n, of_head, weights);
        T of_strength = total<T>(n, [=](u32 i) {
            of_head[i] = weights[i] * (of_head[i] - inner);
            return of_head[i] * cosines[i];
        });
        each(n, [=](u32 i) {
            T of_cosine = strength * of_head[i];
            shrink[i] += of_cosine * cosines[i] / (norms[i] * norms[i]);
            of_head[i] = of_cosine / (norms[i] * length);
        });
        // Σ gᵢ cosᵢ / |k|² of the key's own norm.
        T of_norm = -strength * of_strength / length_sq;
        each(width, [=](u32 j) { g_key[j] = of_norm * key[j]; });
        if (threadIdx.x == 0) g_strengths[head] = of_strength * sigmoid(xi[head]);
    }
    transposed_times(n, width, heads, rows, g, (T *)shared,
                     [=](u32 head, u32 j, T sum) { g_keys[head * width + j] += sum; });
    each_of(n, width, [=](u32 i, u32 j) {
        u64 ij = (u64)i * width + j;
        T sum = g_rows[ij];
        for (u32 head = 0; head < heads; head++) sum += g[(u64)head * n + i] * keys[head * width + j];
        g_rows[ij] = sum - shrink[i] * rows[ij];
    });
}

// The gradient `g` of the state after the step becomes that of the state before it; `gxi` is that of ξ. `asked` is room for ξ,
// `room` for 5 · (heads + 1) rows of slots; see `sort` for `shared`.
template <typename T>
__device__ void backward(const Layout &at, const T *xi, const T *old, const T *new_, const T *trace, const u32 *order,
                         const T *g_reads, T *g, T *gxi, T *asked, T *room, void *shared) {
    u32 n = at.slots, width = at.width, heads = at.heads;
    u64 all = (u64)heads * n;
    decode(at, xi, asked);
    T *read = room, *back = read + all, *content = back + all, *ahead = content + all, *old_read = ahead + all;
    T *g_write = old_read + all, *shrink = g_write + n, *g_free = shrink + n, *other = g_free + n, *g_usage = other + n;
    const T *old_write = old + at.write, *old_reads = old + at.reads;
    const T *contents = new_, *write = new_ + at.write, *new_read = new_ + at.reads;
    T *g_contents = g, *g_old_write = g + at.write, *g_old_read = g + at.reads, *g_old_usage = g + at.usage;
    T *g_precedence = g + at.precedence, *g_links = g + at.links;
    each(n, [=](u32 i) { g_write[i] = g_old_write[i]; });

    // r = Mᵀwʳ.
    times(n, width, heads, contents, g_reads, [=](u32 head, u32 i, T sum) {
        u64 hi = (u64)head * n + i;
        read[hi] = g_old_read[hi] + sum;
        old_read[hi] = 0;
    });
    each_of(n, width, [=](u32 i, u32 j) {
        T sum = 0;
        for (u32 head = 0; head < heads; head++) sum += new_read[(u64)head * n + i] * g_reads[head * width + j];
        g_contents[(u64)i * width + j] += sum;
    });

    // wʳ of the three modes.
    if (at.has_links) {
        for (u32 head = 0; head < heads; head++) {
            const T *mode = asked + at.modes + 3 * head, *of_head = read + (u64)head * n;
            u64 from = (u64)head * n;
            const T *ways[3] = {trace + at.ways[0] + from, trace + at.of_read[0] + from, trace + at.ways[1] + from};
            T *g_ways[3] = {back + from, content + from, ahead + from}, g_mode[3], inner = 0;
            u32 places[3] = {at.of_back, at.of_content, at.of_ahead};
#pragma unroll
            for (int way = 0; way < 3; way++) {
                g_mode[way] = dot(n, of_head, ways[way]);
                T pi = mode[places[way]], *g_way = g_ways[way];
                inner += pi * g_mode[way];
                each(n, [=](u32 i) { g_way[i] = pi * of_head[i]; });
            }
            if (threadIdx.x == 0)
                for (int way = 0; way < 3; way++)
                    gxi[at.modes + 3 * head + places[way]] = mode[places[way]] * (g_mode[way] - inner);
        }
    } else {
        each_of(heads, n, [=](u32 head, u32 i) { content[(u64)head * n + i] = read[(u64)head * n + i]; });
    }

    // C(M, kʳ, βʳ).
    Content<T> of_reads = {contents,          trace + at.of_read[0], trace + at.of_read[1], trace + at.of_read[2],
                           asked + at.read_keys, asked + at.read_strengths};
    content_backward(n, width, heads, of_reads, content, gxi + at.read_keys, gxi + at.read_strengths, xi + at.read_strengths,
                     g_contents, shrink, shared);

    // The links both ways, their making, and the precedence.
    if (at.has_links) {
        const T *links = new_ + at.links, *old_links = old + at.links, *old_precedence = old + at.precedence;
        T kept = 1 - total<T>(n, [=](u32 i) { return write[i]; }), of_sum = dot(n, g_precedence, old_precedence);
        each(n, [=](u32 i) {
            g_write[i] += g_precedence[i] - of_sum;
            g_precedence[i] *= kept;
        });
        times(n, n, heads, links, back, [=](u32 head, u32 i, T sum) { old_read[(u64)head * n + i] += sum; });
        transposed_times(n, n, heads, links, ahead, (T *)shared,
                         [=](u32 head, u32 j, T sum) { old_read[(u64)head * n + j] += sum; });
        over_rows<1, T>(
            n, n,
            [=](u32 i, u32 j, T *sum) {
                u64 ij = (u64)i * n + j;
                T gradient = g_links[ij];
                for (u32 head = 0; head < heads; head++) {
                    const T *before = old_reads + (u64)head * n;
                    gradient += ahead[(u64)head * n + i] * before[j] + before[i] * back[(u64)head * n + j];
                }
                if (i == j) gradient = 0;
                g_links[ij] = gradient;
                *sum += gradient * old_precedence[j] - gradient * old_links[ij];
            },
            [=](u32 i, const T *sum) { g_write[i] += *sum; });
        over_columns<2, T>(
            n, n, (T *)shared,
            [=](u32 i, u32 j, T *sums) {
                u64 ij = (u64)i * n + j;
                T gradient = g_links[ij];
                sums[0] += gradient * old_links[ij];
                sums[1] += write[i] * gradient;
                g_links[ij] = gradient * (1 - write[i] - write[j]);
            },
            [=](u32 j, const T *sums) {
                g_write[j] -= sums[0];
                g_precedence[j] += sums[1];
            });
    }

    // Erase and write.
    const T *erase = asked + at.erase, *add = asked + at.add;
    T *g_erase = gxi + at.erase, *g_add = gxi + at.add;
    over_rows<1, T>(
        n, width,
        [=](u32 i, u32 j, T *sum) {
            u64 ij = (u64)i * width + j;
            *sum += g_contents[ij] * (add[j] - old[ij] * erase[j]);
        },
        [=](u32 i, const T *sum) { g_write[i] += *sum; });
    over_columns<2, T>(
        n, width, (T *)shared,
        [=](u32 i, u32 j, T *sums) {
            u64 ij = (u64)i * width + j;
            T gradient = g_contents[ij];
            sums[0] += write[i] * gradient * old[ij];
            sums[1] += write[i] * gradient;
            g_contents[ij] = gradient * (1 - write[i] * erase[j]);
        },
        [=](u32 j, const T *sums) {
            g_erase[j] = -sums[0];
            g_add[j] = sums[1];
        });

    // w = g_w (g_a a + (1 − g_a) C(M⁻, k, β)).
    {
        T gate = asked[at.write_gate], of_gate;
        const T *weights = trace + at.of_write[0], *free = trace + at.allocation;
        if (at.has_allocation) {
            T of_free = asked[at.allocation_gate], with_free = dot(n, g_write, free), with_content = dot(n, g_write, weights);
            of_gate = of_free * with_free + (1 - of_free) * with_content;
            if (threadIdx.x == 0) gxi[at.allocation_gate] = gate * (with_free - with_content) * of_free * (1 - of_free);
            each(n, [=](u32 i) {
                g_free[i] = gate * of_free * g_write[i];
                other[i] = gate * (1 - of_free) * g_write[i];
            });
        } else {
            of_gate = dot(n, g_write, weights);
            each(n, [=](u32 i) { other[i] = gate * g_write[i]; });
        }
        if (threadIdx.x == 0) gxi[at.write_gate] = of_gate * gate * (1 - gate);
        Content<T> of_write = {old,     weights, trace + at.of_write[1], trace + at.of_write[2], asked + at.write_key,
                               asked + at.write_strength};
        content_backward(n, width, 1, of_write, other, gxi + at.write_key, gxi + at.write_strength, xi + at.write_strength,
                         g_contents, shrink, shared);
    }

    // Allocation and usage.
    if (at.has_allocation) {
        const T *usage = new_ + at.usage, *old_usage = old + at.usage, *gates = asked + at.free;
        allocate_backward(usage, order, g_free, g_usage, n);
        each(n, [=](u32 i) { g_usage[i] += g_old_usage[i]; });
        auto kept = [=](u32 i, u32 left_out) {
            T kept = 1;
            for (u32 head = 0; head < heads; head++)
                if (head != left_out) kept *= 1 - gates[head] * old_reads[(u64)head * n + i];
            return kept;
        };
        for (u32 head = 0; head < heads; head++) {
            T gate = gates[head];
            const T *of_head = old_reads + (u64)head * n;
            T *g_of_head = old_read + (u64)head * n;
            T sum = total<T>(n, [=](u32 i) {
                T u = old_usage[i], w = old_write[i];
                // Not by division, which has no value where all is freed.
                T of_one = g_usage[i] * (u + w - u * w) * kept(i, head);
                g_of_head[i] -= of_one * gate;
                return of_one * of_head[i];
            });
            if (threadIdx.x == 0) gxi[at.free + head] = -sum * gate * (1 - gate);
        }
        bool stopped = at.stop_usage_gradient;
        each(n, [=](u32 i) {
            T of_one = g_usage[i] * kept(i, heads);
            g_old_usage[i] = of_one * (1 - old_write[i]);
            g_old_write[i] = stopped ? 0 : of_one * (1 - old_usage[i]);
        });
    } else {
        each(n, [=](u32 i) { g_old_write[i] = 0; });
    }
    each_of(heads, n, [=](u32 head, u32 i) { g_old_read[(u64)head * n + i] = old_read[(u64)head * n + i]; });

    // Behind the remaining non-linearities.
    each(width, [=](u32 j) { g_erase[j] *= erase[j] * (1 - erase[j]); });
    if (at.has_tanh) {
        auto squashed = [=](u32 from, u32 count) {
            each(count, [=](u32 j) { gxi[from + j] *= 1 - asked[from + j] * asked[from + j]; });
        };
        squashed(at.read_keys, heads * width);
        squashed(at.write_key, width);
        squashed(at.add, width);
    }
}
