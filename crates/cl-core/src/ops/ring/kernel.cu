// Rows of several tensors at once, as bits: units of 16, 8, 4, 2 or 1 bytes, whatever divides the rows of a tensor and what it is
// aligned to. A field is a row of blocks.

#define FIELDS 32
#define AHEAD 4

struct Fields {
    u64 from[FIELDS], to[FIELDS];
    u64 units[FIELDS]; // of a row
    u32 width[FIELDS]; // bytes of a unit
};

#define FOR_WIDTHS(FUNCTION, ...)                                                                                              \
    u32 f = blockIdx.y;                                                                                                        \
    switch (fields.width[f]) {                                                                                                 \
    case 16: FUNCTION((const Pack<u32> *)fields.from[f], (Pack<u32> *)fields.to[f], __VA_ARGS__); break;                       \
    case 8: FUNCTION((const u64 *)fields.from[f], (u64 *)fields.to[f], __VA_ARGS__); break;                                    \
    case 4: FUNCTION((const u32 *)fields.from[f], (u32 *)fields.to[f], __VA_ARGS__); break;                                    \
    case 2: FUNCTION((const unsigned short *)fields.from[f], (unsigned short *)fields.to[f], __VA_ARGS__); break;              \
    default: FUNCTION((const unsigned char *)fields.from[f], (unsigned char *)fields.to[f], __VA_ARGS__);                      \
    }

// Several units are on their way before the first is written.
template <typename T>
__device__ void gather(const T *from, T *to, u64 units, const u32 *indices, u64 n, u64 capacity) {
    u64 all = n * units, step = (u64)gridDim.x * THREADS;
    bool small = all >> 32 == 0; // dividing 64 bits takes several times as long
    for (u64 first = (u64)blockIdx.x * THREADS + threadIdx.x; first < all; first += step * AHEAD) {
        T x[AHEAD];
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            u64 i = first + a * step;
            if (i >= all) break;
            u64 row = small ? (u64)((u32)i / (u32)units) : i / units;
            u32 index = indices[row];
            x[a] = index < capacity ? from[index * units + (i - row * units)] : T{};
        }
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            u64 i = first + a * step;
            if (i >= all) break;
            to[i] = x[a];
        }
    }
}

template <typename T> __device__ void put(const T *from, T *to, u64 units, u64 n, u64 start, u64 capacity) {
    u64 all = n * units, end = capacity * units, step = (u64)gridDim.x * THREADS;
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < all; i += step) {
        u64 at = start * units + i;
        to[at < end ? at : at - end] = from[i];
    }
}

// Row rows[i] goes to slot slots[i]; no slot comes twice.
template <typename T> __device__ void place(const T *from, T *to, u64 units, const u32 *slots, const u32 *rows, u64 n) {
    u64 all = n * units, step = (u64)gridDim.x * THREADS;
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < all; i += step) {
        u64 pair = i / units, at = i - pair * units;
        to[slots[pair] * units + at] = from[rows[pair] * units + at];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    ring_gather(const __grid_constant__ Fields fields, const u32 *indices, u64 n, u64 capacity) {
    FOR_WIDTHS(gather, fields.units[f], indices, n, capacity)
}

extern "C" __global__ void __launch_bounds__(THREADS)
    ring_write(const __grid_constant__ Fields fields, u64 n, u64 start, u64 capacity) {
    FOR_WIDTHS(put, fields.units[f], n, start, capacity)
}

// `places` holds n slots, then n rows.
extern "C" __global__ void __launch_bounds__(THREADS)
    ring_place(const __grid_constant__ Fields fields, const u32 *places, u64 n) {
    FOR_WIDTHS(place, fields.units[f], places, places + n, n)
}
