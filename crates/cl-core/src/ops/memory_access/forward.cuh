// The forward pass of one sequence, by one block: `forward.rs`, phase by phase.

template <typename T> __device__ T sigmoid(T x) { return 1 / (1 + exp(-x)); }

template <typename T> __device__ T squash(T x) {
    T s = sigmoid(x + x);
    return s + s - 1;
}

// ln(1 + eˣ), however large x is.
template <typename T> __device__ T softplus(T x) { return (T)(log1p(exp(-fabs((double)x))) + (x < 0 ? 0 : (double)x)); }

// y ← f(x) of `count` elements from `from` on.
template <typename T, typename F> __device__ void part(const T *x, T *y, u32 from, u32 count, F f) {
    for (u32 i = from + threadIdx.x; i < from + count; i += BLOCK) y[i] = f(x[i]);
}

// ξ behind its non-linearities, in the same places.
template <typename T> __device__ void decode(const Layout &at, const T *xi, T *asked) {
    bool tanh = at.has_tanh, oneplus = at.oneplus;
    auto key = [=](T x) { return tanh ? squash(x) : x; };
    auto strength = [=](T x) { return oneplus ? 1 + softplus(x) : softplus(x); };
    auto gate = [](T x) { return sigmoid(x); };
    part(xi, asked, at.read_keys, at.heads * at.width, key);
    part(xi, asked, at.read_strengths, at.heads, strength);
    part(xi, asked, at.write_key, at.width, key);
    part(xi, asked, at.write_strength, 1, strength);
    part(xi, asked, at.erase, at.width, gate);
    part(xi, asked, at.add, at.width, key);
    if (at.has_allocation) {
        part(xi, asked, at.free, at.heads, gate);
        part(xi, asked, at.allocation_gate, 1, gate);
    }
    part(xi, asked, at.write_gate, 1, gate);
    if (at.has_links)
        for (u32 head = threadIdx.x; head < at.heads; head += BLOCK) {
            const T *x = xi + at.modes + 3 * head;
            T top = -INFINITE, e[3], sum = 0;
            for (int k = 0; k < 3; k++) top = x[k] > top ? x[k] : top;
            for (int k = 0; k < 3; k++) sum += e[k] = exp(x[k] - top);
            for (int k = 0; k < 3; k++) asked[at.modes + 3 * head + k] = e[k] / sum;
        }
    __syncthreads();
}

template <typename T> __device__ void softmax(u32 n, T *x) {
    T top = largest(n, x);
    T sum = total<T>(n, [=](u32 i) { return x[i] = exp(x[i] - top); });
    each(n, [=](u32 i) { x[i] /= sum; });
}

// √(|Mᵢ|² + ε) of each row.
template <typename T> __device__ void lengths(u32 n, u32 width, const T *rows, T *lengths) {
    over_rows<1, T>(
        n, width,
        [=](u32 i, u32 j, T *sum) {
            T x = rows[(u64)i * width + j];
            *sum += x * x;
        },
        [=](u32 i, const T *sum) { lengths[i] = sqrt(*sum + (T)EPSILON); });
}

// Cosines of rows and keys, and their softmax, for each head.
template <typename T>
__device__ void content(u32 n, u32 width, u32 heads, const T *rows, const T *norms, const T *keys, const T *strengths, T *cosines,
                        T *weights) {
    times(n, width, heads, rows, keys, [=](u32 head, u32 i, T sum) { cosines[(u64)head * n + i] = sum; });
    for (u32 head = 0; head < heads; head++) {
        const T *key = keys + head * width;
        T length = sqrt(dot(width, key, key) + (T)EPSILON), strength = strengths[head];
        T *cosine = cosines + (u64)head * n, *weight = weights + (u64)head * n;
        each(n, [=](u32 i) {
            cosine[i] /= norms[i] * length;
            weight[i] = strength * cosine[i];
        });
        softmax(n, weight);
    }
}

// `xi`, `old`: ξ and the state of this sequence. `new_`, `reads`, `trace` and `order` are written, `asked` is room for ξ,
// `entries` for sorting; see `sort` for `shared`.
template <typename T>
__device__ void forward(const Layout &at, const T *xi, const T *old, T *new_, T *reads, T *trace, u32 *order, T *asked,
                        Entry<T> *entries, void *shared) {
    u32 n = at.slots, width = at.width, heads = at.heads;
    decode(at, xi, asked);
    const T *old_write = old + at.write, *old_reads = old + at.reads;
    T *contents = new_, *write = new_ + at.write, *read = new_ + at.reads;

    // Usage, and what is free.
    if (at.has_allocation) {
        const T *gates = asked + at.free, *old_usage = old + at.usage;
        T *usage = new_ + at.usage;
        each(n, [=](u32 i) {
            T u = old_usage[i], w = old_write[i], kept = 1;
            for (u32 head = 0; head < heads; head++) kept *= 1 - gates[head] * old_reads[(u64)head * n + i];
            usage[i] = (u + w - u * w) * kept;
        });
        order_of(usage, n, order, shared, entries);
        allocate(usage, order, trace + at.allocation, n);
    }

    // Where to write: by content, or what is free.
    {
        T *weights = trace + at.of_write[0], *cosines = trace + at.of_write[1], *norms = trace + at.of_write[2];
        lengths(n, width, old, norms);
        content(n, width, 1, old, norms, asked + at.write_key, asked + at.write_strength, cosines, weights);
        T gate = asked[at.write_gate];
        if (at.has_allocation) {
            const T *free = trace + at.allocation;
            T of_free = asked[at.allocation_gate];
            each(n, [=](u32 i) { write[i] = gate * (of_free * free[i] + (1 - of_free) * weights[i]); });
        } else {
            each(n, [=](u32 i) { write[i] = gate * weights[i]; });
        }
    }

    // Erase and write.
    const T *erase = asked + at.erase, *add = asked + at.add;
    each_of(n, width, [=](u32 i, u32 j) {
        u64 ij = (u64)i * width + j;
        contents[ij] = old[ij] * (1 - write[i] * erase[j]) + write[i] * add[j];
    });

    // Where to read: by content,
    T *weights = trace + at.of_read[0], *cosines = trace + at.of_read[1], *norms = trace + at.of_read[2];
    lengths(n, width, contents, norms);
    content(n, width, heads, contents, norms, asked + at.read_keys, asked + at.read_strengths, cosines, weights);
    // or along the order of writing, both ways.
    if (at.has_links) {
        const T *old_precedence = old + at.precedence, *old_links = old + at.links;
        T *precedence = new_ + at.precedence, *links = new_ + at.links;
        T *back = trace + at.ways[0], *ahead = trace + at.ways[1];
        each_of(n, n, [=](u32 i, u32 j) {
            u64 ij = (u64)i * n + j;
            links[ij] = i == j ? (T)0 : (1 - write[i] - write[j]) * old_links[ij] + write[i] * old_precedence[j];
        });
        times(n, n, heads, links, old_reads, [=](u32 head, u32 i, T sum) { ahead[(u64)head * n + i] = sum; });
        transposed_times(n, n, heads, links, old_reads, (T *)shared,
                         [=](u32 head, u32 j, T sum) { back[(u64)head * n + j] = sum; });
        T kept = 1 - total<T>(n, [=](u32 i) { return write[i]; });
        each(n, [=](u32 i) { precedence[i] = kept * old_precedence[i] + write[i]; });
        const T *modes = asked + at.modes;
        u32 of_back = at.of_back, of_content = at.of_content, of_ahead = at.of_ahead;
        each_of(heads, n, [=](u32 head, u32 i) {
            const T *mode = modes + 3 * head;
            u64 hi = (u64)head * n + i;
            read[hi] = mode[of_back] * back[hi] + mode[of_content] * weights[hi] + mode[of_ahead] * ahead[hi];
        });
    } else {
        each_of(heads, n, [=](u32 head, u32 i) { read[(u64)head * n + i] = weights[(u64)head * n + i]; });
    }

    // Read.
    transposed_times(n, width, heads, contents, read, (T *)shared,
                     [=](u32 head, u32 j, T sum) { reads[head * width + j] = sum; });
}
