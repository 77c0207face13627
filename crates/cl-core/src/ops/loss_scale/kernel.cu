// The scale of a loss and its gradients. The state is S, found, good, skipped.

#define SCALE 0
#define FOUND 1
#define GOOD 2
#define SKIPPED 3

// g ← g/S; what is not finite becomes 0 and sets found. All tensors in one launch; all who write found write the same.
template <typename T> __device__ void unscale(const Table<1> &table, float *state) {
    T inverse = (T)1 / (T)state[SCALE];
    bool all = true;
    stream<T, 1, 1>(table, [&](T *x) {
        T of_loss = x[0] * inverse;
        bool finite = of_loss - of_loss == 0;
        x[0] = finite ? of_loss : (T)0;
        all &= finite;
    });
    if (!all) state[FOUND] = 1;
}

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        unscale_##NAME(const __grid_constant__ Table<1> table, float *state) {                                                 \
        unscale<T>(table, state);                                                                                              \
    }
FOR_FLOATS(KERNEL)

// After a step: S shrinks where it was skipped, and grows after enough that were not. One thread.
extern "C" __global__ void update_scale_f32(float *state, float growth, float backoff, float interval, float least, float most) {
    if (threadIdx.x > 0) return;
    if (state[FOUND] == 0) {
        state[GOOD] += 1;
        if (state[GOOD] >= interval) {
            state[GOOD] = 0;
            state[SCALE] = fminf(growth * state[SCALE], most);
        }
    } else {
        state[FOUND] = 0;
        state[GOOD] = 0;
        state[SKIPPED] += 1;
        state[SCALE] = fmaxf(backoff * state[SCALE], least);
    }
}
