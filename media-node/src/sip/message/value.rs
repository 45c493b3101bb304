//! The value of a header field as bytes.

use std::fmt;

use bytes::Bytes;

/// One field value: no CR, no LF, no white space at its ends. Any other byte may be in it.
///
/// Whatever becomes a value is cleaned of line ends (each becomes a space), so nothing a peer said
/// can begin a header of its own in what we write.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HeaderValue(Bytes);

impl HeaderValue {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For the parser, which has cut at line ends already.
    pub(super) fn of_line(value: Bytes) -> Self {
        debug_assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n')));
        Self(value)
    }

    fn clean(bytes: Bytes) -> Self {
        let trimmed = super::scan::trim(&bytes);
        if trimmed.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            let spaced = trimmed
                .iter()
                .map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte })
                .collect::<Vec<_>>();
            return Self(Bytes::copy_from_slice(super::scan::trim(&spaced)));
        }
        let trimmed = bytes.slice_ref(trimmed);
        Self(trimmed)
    }
}

/// Values may hold numbers, credentials and keys; only their length is shown.
impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

impl AsRef<[u8]> for HeaderValue {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for HeaderValue {
    fn from(bytes: Bytes) -> Self {
        Self::clean(bytes)
    }
}

impl From<Vec<u8>> for HeaderValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self::clean(bytes.into())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::clean(text.into())
    }
}

impl From<&String> for HeaderValue {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<&[u8]> for HeaderValue {
    fn from(bytes: &[u8]) -> Self {
        Self::clean(Bytes::copy_from_slice(bytes))
    }
}

impl From<u32> for HeaderValue {
    fn from(number: u32) -> Self {
        Self(number.to_string().into())
    }
}
