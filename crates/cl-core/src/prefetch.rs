//! A hint to the processor.

/// Asks the processor to bring `items[index]` near, because it is read soon; reads nothing and changes
/// nothing. Worth it where many independent reads of a large table follow one another, as in a gather of rows.
///
/// An index outside the slice, and a processor without such an instruction, make it nothing.
#[inline(always)]
pub fn prefetch<T>(items: &[T], index: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if let Some(item) = items.get(index) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86_64. The instruction accesses no memory that the program could observe,
        // and the address is one of a live slice.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (items, index);
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_index_is_fine() {
        for index in [0, 2, 3, usize::MAX] {
            super::prefetch(&[1u8, 2, 3], index);
            super::prefetch::<u64>(&[], index);
            super::prefetch(&[(), ()], index);
        }
    }
}
