// What stands around the streaming kernels of `retrieve`. Defined before: KIND.

// Of each query, a warp each: `shift`, L in units of log 2 or +∞ where no key is seen, and `less`, D − h with D = grad·out. `h` is
// the gradient of L, or 0.
extern "C" __global__ void retrieve_prepare(Problem p, u64 h) {
    const u64 rows = (u64)p.batch * p.n, warps = (u64)gridDim.x * (THREADS / 32);
    const int lane = threadIdx.x % 32;
    for (u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32; row < rows; row += warps) {
        const T *out = (const T *)p.out + row * p.width, *grad = (const T *)p.grad + row * p.width;
        A sum = 0;
        for (u32 column = lane; column < p.width; column += 32) sum = fused(widen(out[column]), widen(grad[column]), sum);
        for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (lane > 0) continue;
        A log = ((const A *)p.log)[row];
        ((A *)p.shift)[row] = log == NOTHING ? -NOTHING : log * LOG2E;
        ((A *)p.less)[row] = sum - (h ? ((const A *)h)[row] : A(0));
    }
}

// The sum over the groups of a block's threads, of as many as `lanes` each, for the first group. Always in the same order.
__device__ A over_groups(A x, u32 lanes, A *room) {
    __syncthreads();
    room[threadIdx.x] = x;
    __syncthreads();
    if (threadIdx.x >= lanes) return x;
    for (u32 other = threadIdx.x + lanes; other < blockDim.x / lanes * lanes; other += lanes) x += room[other];
    return x;
}

// Result and L of a query, a block each, from those of the parts that the keys were cut into: Σₛ 2^(Lₛ − L) resultₛ.
extern "C" __global__ void __launch_bounds__(1024) retrieve_combine(Problem p, u32 slots) {
    __shared__ A room[1024], top_of[32];
    __shared__ A log;
    const u64 all = (u64)p.batch * p.n, row = blockIdx.x;
    const A *logs = (const A *)p.partial_more + row;
    A top = NOTHING;
    for (u32 slot = threadIdx.x; slot < slots; slot += blockDim.x) top = larger(top, logs[slot * all]);
    for (int step = 16; step > 0; step /= 2) top = larger(top, __shfl_xor_sync(0xffffffffu, top, step));
    if (threadIdx.x % 32 == 0) top_of[threadIdx.x / 32] = top;
    __syncthreads();
    for (u32 warp = 0; warp < blockDim.x / 32; warp++) top = larger(top, top_of[warp]);
    A under = top == NOTHING ? A(0) : top, sum = 0;
    for (u32 slot = threadIdx.x; slot < slots; slot += blockDim.x) sum += power(logs[slot * all] - under);
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    __syncthreads();
    if (threadIdx.x % 32 == 0) top_of[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        sum = 0;
        for (u32 warp = 0; warp < blockDim.x / 32; warp++) sum += top_of[warp];
        log = sum == 0 ? NOTHING : under + log2(sum);
        ((A *)p.log)[row] = log * LN2;
    }
    __syncthreads();
    under = log == NOTHING ? A(0) : log;
    const u32 lanes = min(p.width, blockDim.x), groups = lanes == 0 ? 0 : blockDim.x / lanes;
    for (u32 from = 0; from < p.width; from += lanes) {
        u32 column = from + threadIdx.x % lanes, group = threadIdx.x / lanes;
        A part = 0;
        if (column < p.width && group < groups) {
            const A *parts = (const A *)p.partial + row * p.width + column;
#pragma unroll 8
            for (u32 slot = group; slot < slots; slot += groups)
                part = fused(power(logs[slot * all] - under), parts[slot * all * p.width], part);
        }
        part = over_groups(part, lanes, room);
        if (group == 0 && column < p.width) narrow((T *)p.out + row * p.width + column, part);
    }
}

// to (n) ← Σ of the slots (slots, n), in their order.
extern "C" __global__ void retrieve_sum(u64 slots_at, u64 to, u64 n, u32 slots) {
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += (u64)gridDim.x * THREADS) {
        A sum = 0;
#pragma unroll 8
        for (u32 slot = 0; slot < slots; slot++) sum += ((const A *)slots_at)[slot * n + i];
        narrow((T *)to + i, sum);
    }
}
