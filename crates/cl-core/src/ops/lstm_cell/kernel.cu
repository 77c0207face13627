// The gates z (n, 4·width) and cells c (n, width) of an LSTM: h′ and c′, and the gradients of z and c.

template <typename T> __device__ T sigmoid(T x) { return 1 / (1 + exp(-x)); }

// 2σ(2x) − 1, as on the CPU.
template <typename T> __device__ T squash(T x) {
    T s = sigmoid(x + x);
    return s + s - 1;
}

// new (2, n, width): h′ = σ(z_o) tanh(c′), then c′ = σ(z_f) c + σ(z_i) tanh(z_g).
template <typename T> __device__ void forward(const T *z, const T *c, T *new_, u64 n, u32 width) {
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += (u64)gridDim.x * THREADS) {
        const T *gates = z + i / width * 4 * width + i % width;
        T cell = sigmoid(gates[width]) * c[i] + sigmoid(gates[0]) * squash(gates[2 * (u64)width]);
        new_[n + i] = cell;
        new_[i] = sigmoid(gates[3 * (u64)width]) * squash(cell);
    }
}

// g (2, n, width) is the gradient of h′ and c′. That of the cells is left out where there is no room for it.
template <typename T>
__device__ void backward(const T *z, const T *c, const T *new_, const T *g, T *gz, T *gc, u64 n, u32 width) {
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += (u64)gridDim.x * THREADS) {
        u64 at = i / width * 4 * width + i % width;
        T in = sigmoid(z[at]), forget = sigmoid(z[at + width]), out = sigmoid(z[at + 3 * (u64)width]);
        T candidate = squash(z[at + 2 * (u64)width]), squashed = squash(new_[n + i]);
        T of_cell = g[n + i] + g[i] * out * (1 - squashed * squashed);
        gz[at + 3 * (u64)width] = g[i] * squashed * out * (1 - out);
        gz[at] = of_cell * candidate * in * (1 - in);
        gz[at + width] = of_cell * c[i] * forget * (1 - forget);
        gz[at + 2 * (u64)width] = of_cell * in * (1 - candidate * candidate);
        if (gc) gc[i] = of_cell * forget;
    }
}

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        lstm_cell_##NAME(const T *z, const T *c, T *new_, u64 n, u32 width) {                                                  \
        forward<T>(z, c, new_, n, width);                                                                                      \
    }                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        lstm_cell_backward_##NAME(const T *z, const T *c, const T *new_, const T *g, T *gz, T *gc, u64 n, u32 width) {         \
        backward<T>(z, c, new_, g, gz, gc, n, width);                                                                          \
    }
FOR_FLOATS(KERNEL)
