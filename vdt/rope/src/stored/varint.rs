//! LEB128 varints and a cursor that checks every bound.

/// What is wrong, and at which byte of the cursor's input.
pub(super) type Syntax = (usize, &'static str);

/// Most bytes of a varint of 64 bits.
pub(super) const VARINT_BYTES_MAX: usize = 10;

/// Appends `value`, low seven bits first.
#[inline]
pub(super) fn push(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of `value` as a varint, 1 to 10.
pub(super) fn len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Maps small numbers of either sign to small numbers.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads fields front to back.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Syntax> {
        let end = self
            .at
            .checked_add(length)
            .filter(|&end| end <= self.bytes.len());
        let end = end.ok_or((self.at, "a field ends past the end"))?;
        let field = &self.bytes[self.at..end];
        self.at = end;
        Ok(field)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Syntax> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, Syntax> {
        let mut field = [0; 4];
        field.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(field))
    }

    pub(super) fn varint(&mut self) -> Result<u64, Syntax> {
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

    /// A varint that counts things of at least one byte each, all of which are still to come.
    pub(super) fn count(&mut self) -> Result<usize, Syntax> {
        let start = self.at;
        let count = self.varint()?;
        usize::try_from(count)
            .ok()
            .filter(|&count| count <= self.remaining())
            .ok_or((start, "a count over the bytes that follow"))
    }

    pub(super) fn text(&mut self, length: usize) -> Result<&'a str, Syntax> {
        let start = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| (start, "a text that is not UTF-8"))
    }
}
