//! Copies that go past the caches.

/// A column of so many bytes does not fit the caches: what is written into it is not read again soon.
pub(crate) const FAR: usize = 32 << 20;
/// A copy of so many bytes is worth it: the borders of a shorter one weigh more.
pub(crate) const LONG: usize = 4 << 10;

/// Copies `from` to `to`, which are equally long, without reading `to` into the caches first: two thirds of the
/// traffic, and what was in the caches stays there.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{__m128i, _mm_sfence, _mm_stream_si128};
        let (head, pieces, tail) = bytemuck::pod_align_to_mut::<u8, __m128i>(to);
        let (first, rest) = from.split_at(head.len());
        let (middle, last) = rest.split_at(rest.len() - tail.len());
        head.copy_from_slice(first);
        tail.copy_from_slice(last);
        for (to, from) in pieces.iter_mut().zip(middle.as_chunks().0) {
            // SAFETY: SSE2 is part of x86_64. The address is aligned and exclusively ours, and the fence below
            // comes before anybody else's access.
            #[allow(unsafe_code)]
            unsafe {
                _mm_stream_si128(to, bytemuck::cast::<[u8; 16], _>(*from));
            }
        }
        // SAFETY: SSE is part of x86_64.
        #[allow(unsafe_code)]
        unsafe {
            _mm_sfence();
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    to.copy_from_slice(from);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{DType, Device, Tensor};

    use crate::column::Column;

    /// Rows of 12 bytes, so that batches begin anywhere in a line; the column is far, the batch long.
    #[test]
    fn rows_of_a_large_column() {
        let (capacity, n) = (super::FAR / 12 + 1, super::LONG / 12 + 1);
        let mut column = Column::host(DType::F32, &[3], capacity).unwrap();
        let batch = Tensor::arange(0f32, 3.0 * n as f32, &Device::Cpu).unwrap().reshape((n, 3)).unwrap();
        for slot in [0, 1, 7, capacity / 2 + 3, capacity - n] {
            column.write(slot, &batch, 0, n).unwrap();
            let slots: Vec<u32> = (slot..slot + n).map(|slot| slot as u32).collect();
            let read = column.gather(&slots).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(read, batch.to_vec2::<f32>().unwrap(), "slot {slot}");
        }
    }

    #[test]
    fn every_length_and_offset() {
        let from: Vec<u8> = (0..200).collect();
        for start in 0..20 {
            for length in (0..40).chain([100, 177]) {
                let mut to = [255; 200];
                super::copy(&mut to[start..start + length], &from[3..3 + length]);
                assert_eq!(to[start..start + length], from[3..3 + length]);
                assert!(to[..start].iter().chain(&to[start + length..]).all(|&byte| byte == 255));
            }
        }
    }
}
