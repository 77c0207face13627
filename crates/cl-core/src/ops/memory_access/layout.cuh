// Where everything lies: `layout.rs` says it, and this is what the kernels are told.

struct Layout {
    // Of the state of a sequence, behind its contents (slots, width); then its length.
    u64 write, reads, usage, precedence, links, state;
    // Of what the backward pass needs again: the allocation; weights, cosines and norms of the write key, and of the read keys; the
    // backward and the forward weightings; then its length.
    u64 allocation, of_write[3], of_read[3], ways[2], trace;
    u32 slots, width, heads;
    // The parts of ξ; then its length.
    u32 read_keys, read_strengths, write_key, write_strength, erase, add, free, allocation_gate, write_gate, modes, interface;
    // Where backward, content and forward are among the modes of a head.
    u32 of_back, of_content, of_ahead;
    // What kind of memory it is.
    u32 has_allocation, has_links, has_tanh, oneplus, stop_usage_gradient;
};

// ε under the roots of norms.
#define EPSILON 1e-6
