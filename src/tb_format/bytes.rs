//! Little-endian fields of fixed arrays: reads and writes that cannot fail.
//!
//! The offset is a constant of the call and is checked against the array's length at compile time.
//! So no read of a header can be out of bounds at run time, and no reader needs to handle an error
//! that cannot occur.

/// The `LEN` bytes at `OFFSET`.
pub(super) fn array_at<const OFFSET: usize, const LEN: usize, const N: usize>(bytes: &[u8; N]) -> &[u8; LEN] {
    const { assert!(OFFSET + LEN <= N, "a field lies outside of its header") };
    // The assertion above makes both alternatives to `Some` impossible. The zeros are there only so
    // that no panic is compiled in.
    bytes.get(OFFSET..).and_then(<[u8]>::first_chunk).unwrap_or(const { &[0; LEN] })
}

/// The `u128` at `OFFSET`.
pub(super) fn u128_at<const OFFSET: usize, const N: usize>(bytes: &[u8; N]) -> u128 {
    u128::from_le_bytes(*array_at::<OFFSET, 16, N>(bytes))
}

/// The `u64` at `OFFSET`.
pub(super) fn u64_at<const OFFSET: usize, const N: usize>(bytes: &[u8; N]) -> u64 {
    u64::from_le_bytes(*array_at::<OFFSET, 8, N>(bytes))
}

/// The `u32` at `OFFSET`.
pub(super) fn u32_at<const OFFSET: usize, const N: usize>(bytes: &[u8; N]) -> u32 {
    u32::from_le_bytes(*array_at::<OFFSET, 4, N>(bytes))
}

/// The `u16` at `OFFSET`.
pub(super) fn u16_at<const OFFSET: usize, const N: usize>(bytes: &[u8; N]) -> u16 {
    u16::from_le_bytes(*array_at::<OFFSET, 2, N>(bytes))
}

/// The byte at `OFFSET`.
pub(super) fn u8_at<const OFFSET: usize, const N: usize>(bytes: &[u8; N]) -> u8 {
    u8::from_le_bytes(*array_at::<OFFSET, 1, N>(bytes))
}

/// Writes `value` at `OFFSET`.
pub(super) fn put<const OFFSET: usize, const LEN: usize, const N: usize>(bytes: &mut [u8; N], value: [u8; LEN]) {
    const { assert!(OFFSET + LEN <= N, "a field lies outside of its header") };
    for (target, source) in bytes.iter_mut().skip(OFFSET).zip(value) {
        *target = source;
    }
}

/// Whether every byte is zero, as padding and reserved fields are.
pub(super) fn zeroed(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_little_endian_at_the_offset() {
        let bytes: [u8; 20] = std::array::from_fn(|index| index as u8);
        assert_eq!(u8_at::<19, _>(&bytes), 19);
        assert_eq!(u16_at::<2, _>(&bytes), 0x0302);
        assert_eq!(u32_at::<4, _>(&bytes), 0x0706_0504);
        assert_eq!(u64_at::<1, _>(&bytes), 0x0807_0605_0403_0201);
        assert_eq!(u128_at::<4, _>(&bytes), 0x1312_1110_0f0e_0d0c_0b0a_0908_0706_0504);
        assert_eq!(array_at::<18, 2, _>(&bytes), &[18, 19]);
    }

    #[test]
    fn writes_only_the_field() {
        let mut bytes = [0xff; 8];
        put::<2, 4, _>(&mut bytes, 7u32.to_le_bytes());
        assert_eq!(bytes, [0xff, 0xff, 7, 0, 0, 0, 0xff, 0xff]);
    }

    #[test]
    fn tells_zeros_from_anything_else() {
        assert!(zeroed(&[]));
        assert!(zeroed(&[0; 33]));
        assert!(!zeroed(&[0, 0, 1]));
    }
}
