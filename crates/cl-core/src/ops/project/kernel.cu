// g ← g − (gᵀr / (rᵀr + ε)) r where gᵀr < 0, over lists of tensors: one launch for both products, one for the step, which reads
// them where they are.

template <typename T>
__device__ void dots(const Table<2> &table, double *found, u32 add, double *partial, u32 *ticket) {
    double gr = 0, rr = 0;
    stream<T, 2, 0>(table, [&](T *x) {
        gr += (double)x[0] * x[1];
        rr += (double)x[1] * x[1];
    });
    gr = block_sum(gr);
    rr = block_sum(rr);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = gr;
        partial[gridDim.x + blockIdx.x] = rr;
    }
    if (last_block(ticket, gridDim.x)) {
        gr = sum_of_blocks(partial, gridDim.x);
        rr = sum_of_blocks(partial + gridDim.x, gridDim.x);
        if (threadIdx.x == 0) {
            found[0] = gr + (add ? found[0] : 0);
            found[1] = rr + (add ? found[1] : 0);
        }
    }
}

template <typename T> __device__ void project(const Table<2> &table, const double *found, double eps) {
    double gr = found[0], rr = found[1] + eps;
    if (!(gr < 0 && rr > 0)) return;
    T factor = gr / rr;
    stream<T, 2, 1>(table, [=](T *x) { x[0] -= factor * x[1]; });
}

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        dots_##NAME(const __grid_constant__ Table<2> table, double *found, u32 add, double *partial, u32 *ticket) {            \
        dots<T>(table, found, add, partial, ticket);                                                                           \
    }                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        project_##NAME(const __grid_constant__ Table<2> table, const double *found, double eps) {                              \
        project<T>(table, found, eps);                                                                                         \
    }
FOR_FLOATS(KERNEL)
