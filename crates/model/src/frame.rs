//! The frame around everything of this crate that is kept: what it is, its version, its checksum.
//!
//! ```text
//! magic 4 bytes | version u8 | body | crc32c u32 of all before it
//! ```
//!
//! Numbers are little-endian. The weights of a [`crate::Linear`] are too many for one checksum at the
//! end: they have a frame of their own, in [`crate::linear`].

/// Kept bytes that cannot be taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The bytes end before what they announce.
    #[error("the state is cut off: it ends before what it announces")]
    Truncated,
    /// The bytes are something else.
    #[error("these bytes are not {0}")]
    Magic(&'static str),
    /// Another build wrote them.
    #[error("version {0} of this state is not known to this build")]
    Version(u8),
    /// A checksum does not match: the bytes were damaged.
    #[error("the checksum does not match at byte {0}: the state is damaged")]
    Checksum(usize),
    /// A field holds what cannot be.
    #[error("{0} of the state is out of its range")]
    Field(&'static str),
    /// Changes of a table of another size or other rates.
    #[error("these changes belong to a model with other options")]
    OtherModel,
}

/// What a frame holds.
#[derive(Clone, Copy)]
pub(crate) struct Label {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u8,
    pub(crate) name: &'static str,
}

/// Appends a frame around what `body` appends.
pub(crate) fn seal(out: &mut Vec<u8>, label: Label, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&label.magic);
    out.push(label.version);
    body(out);
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Opens a frame: the reader stands before its body.
pub(crate) fn open(bytes: &[u8], label: Label) -> Result<Reader<'_>, StateError> {
    let mut reader = Reader { bytes };
    label.check(&mut reader)?;
    let end = bytes.len().checked_sub(4).filter(|&end| end >= 5).ok_or(StateError::Truncated)?;
    let checksum = u32::from_le_bytes(Reader { bytes: &bytes[end..] }.take()?);
    if crc32c::crc32c(&bytes[..end]) != checksum {
        return Err(StateError::Checksum(end));
    }
    Ok(Reader { bytes: &bytes[5..end] })
}

impl Label {
    /// Reads magic and version.
    pub(crate) fn check(self, reader: &mut Reader<'_>) -> Result<(), StateError> {
        if reader.take::<4>()? != self.magic {
            return Err(StateError::Magic(self.name));
        }
        match reader.take::<1>()? {
            [version] if version == self.version => Ok(()),
            [version] => Err(StateError::Version(version)),
        }
    }
}

/// Reads numbers from the front.
pub(crate) struct Reader<'a> {
    pub(crate) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(StateError::Truncated)?;
        self.bytes = tail;
        Ok(*head)
    }

    pub(crate) fn slice(&mut self, length: usize) -> Result<&'a [u8], StateError> {
        let (head, tail) = self.bytes.split_at_checked(length).ok_or(StateError::Truncated)?;
        self.bytes = tail;
        Ok(head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, StateError> {
        self.take().map(u32::from_le_bytes)
    }

    /// A finite number; `field` is named where it is not.
    pub(crate) fn f32(&mut self, field: &'static str) -> Result<f32, StateError> {
        let number = f32::from_le_bytes(self.take()?);
        if number.is_finite() { Ok(number) } else { Err(StateError::Field(field)) }
    }

    /// A number of any kind but NaN; `field` is named where it is NaN.
    pub(crate) fn f64(&mut self, field: &'static str) -> Result<f64, StateError> {
        let number = f64::from_le_bytes(self.take()?);
        if number.is_nan() { Err(StateError::Field(field)) } else { Ok(number) }
    }

    /// Everything was read.
    pub(crate) fn end(self) -> Result<(), StateError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(StateError::Field("length")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label { magic: *b"TEST", version: 3, name: "a test" };

    fn sealed() -> Vec<u8> {
        let mut bytes = Vec::new();
        seal(&mut bytes, LABEL, |out| out.extend_from_slice(&7.5f32.to_le_bytes()));
        bytes
    }

    #[test]
    fn a_frame_opens() {
        let bytes = sealed();
        let mut reader = open(&bytes, LABEL).expect("a frame");
        assert_eq!(reader.f32("number"), Ok(7.5));
        assert_eq!(reader.u32(), Err(StateError::Truncated));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn damage_is_named() {
        let bytes = sealed();
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 16;
            let error = open(&damaged, LABEL).err().expect("damage is seen");
            match place {
                0..4 => assert_eq!(error, StateError::Magic("a test")),
                4 => assert_eq!(error, StateError::Version(3 ^ 16)),
                _ => assert_eq!(error, StateError::Checksum(bytes.len() - 4)),
            }
            assert!(open(&bytes[..place], LABEL).is_err());
        }
    }
}
