//! Little-endian fields in and out of byte strings, bounds checked.
//!
//! [`Fields`] reads from the front and answers `None` when the bytes run out; writers push onto a
//! `Vec`. Everything that the repository stores outside TigerBeetle's own bytes goes through here.

/// Reads fields from the front of a slice.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Fields of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Fields { rest: bytes }
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Sixteen bytes.
    pub fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// `N` bytes that the format reserves: `None` unless all are zero, so that no bit of an object
    /// goes unchecked.
    pub fn zeros<const N: usize>(&mut self) -> Option<()> {
        self.array::<N>().filter(|bytes| bytes.iter().all(|byte| *byte == 0)).map(|_| ())
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// `Some` only if all has been read.
    pub fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order_and_end() {
        let bytes: Vec<u8> = (1..=34).collect();
        let mut fields = Fields::new(&bytes);
        assert_eq!(fields.u8(), Some(1));
        assert_eq!(fields.u16(), Some(0x0302));
        assert_eq!(fields.u32(), Some(0x0706_0504));
        assert_eq!(fields.u64(), Some(0x0f0e_0d0c_0b0a_0908));
        assert_eq!(fields.u128(), Some(0x1f1e_1d1c_1b1a_1918_1716_1514_1312_1110));
        assert_eq!(fields.end(), None);
        assert_eq!(fields.rest(), &[32, 33, 34]);
        assert_eq!(fields.take(4), None);
        assert_eq!(fields.array::<4>(), None);
        assert_eq!(fields.take(3), Some(&[32, 33, 34][..]));
        assert_eq!(fields.end(), Some(()));
        assert_eq!(fields.u8(), None);
    }

    #[test]
    fn reserved_bytes_must_be_zero() {
        assert_eq!(Fields::new(&[0, 0]).zeros::<2>(), Some(()));
        assert_eq!(Fields::new(&[0, 1]).zeros::<2>(), None);
        assert_eq!(Fields::new(&[0]).zeros::<2>(), None);
    }
}
