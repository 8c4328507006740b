//! LEB128 varints, zigzag, and a cursor that checks every bound: what stored ropes, their annotations and the metadata of
//! Parquet files are written in.

/// What is wrong, and at which byte of the cursor's input.
pub type Syntax = (usize, &'static str);

/// Most bytes of a varint of 64 bits.
pub const VARINT_BYTES_MAX: usize = 10;

/// Gives the bytes of `value` to `put`, low seven bits first.
#[inline]
pub fn encode(mut value: u64, mut put: impl FnMut(u8)) {
    while value >= 0x80 {
        put(value as u8 | 0x80);
        value >>= 7;
    }
    put(value as u8);
}

/// Appends `value`.
#[inline]
pub fn push(out: &mut Vec<u8>, value: u64) {
    encode(value, |byte| out.push(byte));
}

/// Bytes of `value` as a varint, 1 to 10.
pub fn len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Maps small numbers of either sign to small numbers.
#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads fields front to back. An error says what is wrong and where; the cursor is of no use after it.
#[derive(Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Begins at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Reads so many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Syntax> {
        let end = self
            .at
            .checked_add(length)
            .filter(|&end| end <= self.bytes.len());
        let end = end.ok_or((self.at, "a field ends past the end"))?;
        let field = &self.bytes[self.at..end];
        self.at = end;
        Ok(field)
    }

    /// Reads a byte.
    ///
    /// # Errors
    /// As [`Cursor::take`].
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Syntax> {
        Ok(self.take(1)?[0])
    }

    /// Reads four bytes, little-endian.
    ///
    /// # Errors
    /// As [`Cursor::take`].
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Syntax> {
        let mut field = [0; 4];
        field.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(field))
    }

    /// Reads a varint.
    ///
    /// # Errors
    /// As [`Cursor::take`], and when it is over 64 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Syntax> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err((start, "a number over 64 bits"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err((start, "a number over 64 bits"))
    }

    /// Reads a zigzag varint.
    ///
    /// # Errors
    /// As [`Cursor::varint`].
    #[inline]
    pub fn signed(&mut self) -> Result<i64, Syntax> {
        self.varint().map(unzigzag)
    }

    /// Reads a varint that counts things of at least one byte each, all of which are still to come: what memory is set aside
    /// for is bounded by what is there.
    ///
    /// # Errors
    /// As [`Cursor::varint`], and when fewer bytes follow.
    #[inline]
    pub fn count(&mut self) -> Result<usize, Syntax> {
        let start = self.at;
        let count = self.varint()?;
        usize::try_from(count)
            .ok()
            .filter(|&count| count <= self.remaining())
            .ok_or((start, "a count over the bytes that follow"))
    }

    /// Reads a text of so many bytes.
    ///
    /// # Errors
    /// As [`Cursor::take`], and when it is not UTF-8.
    pub fn text(&mut self, length: usize) -> Result<&'a str, Syntax> {
        let start = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| (start, "a text that is not UTF-8"))
    }

    /// Reads a varint and a text of so many bytes.
    ///
    /// # Errors
    /// As [`Cursor::count`] and [`Cursor::text`].
    pub fn counted_text(&mut self) -> Result<&'a str, Syntax> {
        let length = self.count()?;
        self.text(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_their_limits_are_read_and_longer_ones_are_not() {
        for value in [0, 0x7f, 0x80, u64::MAX >> 1, u64::MAX] {
            let mut bytes = Vec::new();
            push(&mut bytes, value);
            assert_eq!(Cursor::new(&bytes).varint(), Ok(value));
        }
        for bytes in [
            [&[0x80; 9][..], &[2]].concat(),
            [&[0xff; 10][..], &[0]].concat(),
            vec![0x80],
            Vec::new(),
        ] {
            assert!(Cursor::new(&bytes).varint().is_err(), "{bytes:?}");
        }
    }
}
