//! The letters of RFC 3261 §25.1 and a cursor over them. Nothing here can index out of bounds.

use std::borrow::Cow;

/// What is wrong, and how many bytes into the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    pub(crate) problem: &'static str,
}

impl Fault {
    pub(crate) fn at(offset: usize, problem: &'static str) -> Self {
        Self { offset, problem }
    }

    pub(crate) fn shifted(self, by: usize) -> Self {
        Self { offset: self.offset.saturating_add(by), ..self }
    }
}

const TOKEN: u8 = 1;
const PARAM_VALUE: u8 = 2;
const HOST: u8 = 4;
pub(crate) const URI_USER: u8 = 8;
pub(crate) const URI_PARAM: u8 = 16;
pub(crate) const URI_HEADER: u8 = 32;
pub(crate) const URI_NEVER: u8 = 64;

/// Which classes each byte belongs to.
#[expect(clippy::indexing_slicing, reason = "a constant: out of bounds would not compile")]
const CLASSES: [u8; 256] = {
    const fn add(classes: &mut [u8; 256], letters: &[u8], class: u8) {
        let mut index = 0;
        while index < letters.len() {
            classes[letters[index] as usize] |= class;
            index += 1;
        }
    }
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphanumeric() {
            classes[byte] |= TOKEN | HOST | URI_USER | URI_PARAM | URI_HEADER;
        }
        if byte > b' ' as usize && byte != 0x7f {
            classes[byte] |= PARAM_VALUE;
        }
        if byte <= b' ' as usize || byte == 0x7f {
            classes[byte] |= URI_NEVER;
        }
        byte += 1;
    }
    add(&mut classes, b"-.!%*_+`'~", TOKEN);
    add(&mut classes, b"-._", HOST);
    // unreserved and escaped of RFC 3261 §25.1, then what each part adds.
    add(&mut classes, b"-_.!~*'()%", URI_USER | URI_PARAM | URI_HEADER);
    add(&mut classes, b"&=+$,;?/", URI_USER);
    add(&mut classes, b"[]/:&+$", URI_PARAM);
    add(&mut classes, b"[]/?:+$", URI_HEADER);
    // White space, controls and what ends a URI around it.
    add(&mut classes, b"<>\"", URI_NEVER);
    let mut index = 0;
    while index < b"\",;<>\\".len() {
        classes[b"\",;<>\\"[index] as usize] &= !PARAM_VALUE;
        index += 1;
    }
    classes
};

#[inline]
pub(crate) fn is_class(byte: u8, class: u8) -> bool {
    CLASSES.get(usize::from(byte)).is_some_and(|classes| classes & class != 0)
}

#[inline]
pub(crate) fn is_token(byte: u8) -> bool {
    is_class(byte, TOKEN)
}

/// What may stand in a parameter's value without quotes. The grammar says token or host; peers also
/// send `@ / = ( ) # $ & ^ { | }` and bytes above 127, and all of these are unambiguous here.
#[inline]
pub(crate) fn is_param_value(byte: u8) -> bool {
    is_class(byte, PARAM_VALUE)
}

#[inline]
pub(crate) fn is_host(byte: u8) -> bool {
    is_class(byte, HOST)
}

#[inline]
pub(crate) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `bytes` as text when they are one token or more letters of it, else `None`.
pub(crate) fn token_text(bytes: &[u8]) -> Option<&str> {
    if bytes.is_empty() || !bytes.iter().copied().all(is_token) {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

/// `bytes` as text when all of them are visible ASCII and there is at least one.
pub(crate) fn visible_text(bytes: &[u8]) -> Option<&str> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

/// A parameter's name; the usual ones cost no allocation.
pub(crate) fn param_name(name: &[u8]) -> Cow<'static, str> {
    const USUAL: [&str; 14] = [
        "tag",
        "lr",
        "transport",
        "user",
        "expires",
        "maddr",
        "ttl",
        "method",
        "ob",
        "alias",
        "q",
        "r2",
        "ftag",
        "cause",
    ];
    match USUAL.into_iter().find(|usual| usual.as_bytes() == name) {
        Some(usual) => Cow::Borrowed(usual),
        None => Cow::Owned(ascii(name).to_owned()),
    }
}

/// For bytes already known to be ASCII.
pub(crate) fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("")
}

pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

pub(crate) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let Some((first, rest)) = bytes.split_first() {
        if !is_lws(*first) {
            break;
        }
        bytes = rest;
    }
    bytes
}

pub(crate) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let Some((last, rest)) = bytes.split_last() {
        if !is_lws(*last) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// Digits only, no sign, no overflow. Leading zeros are legal (RFC 4475 §3.1.1.1).
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// The content of a quoted string, quotes off and `\x` resolved; anything else as it is.
pub(crate) fn unquote(raw: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = raw else { return Cow::Borrowed(raw) };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            out.extend(bytes.next());
        } else {
            out.push(byte);
        }
    }
    Cow::Owned(out)
}

/// Writes `content` as a quoted string. CR and LF, which no quoted string may hold, become a space.
pub(crate) fn write_quoted(out: &mut Vec<u8>, content: &[u8]) {
    out.push(b'"');
    for &byte in content {
        match byte {
            b'\r' | b'\n' => out.push(b' '),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=8 | 11..=31 | 127 => out.extend_from_slice(&[b'\\', byte]),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Counts the bytes looked at, so that tests can say that nothing here is quadratic.
pub(crate) mod work {
    #[cfg(test)]
    thread_local!(static COUNT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

    #[inline(always)]
    pub(crate) fn count(_bytes: usize) {
        #[cfg(test)]
        COUNT.set(COUNT.get() + _bytes);
    }

    /// What was counted on this thread since the last call.
    #[cfg(test)]
    pub(crate) fn taken() -> usize {
        COUNT.replace(0)
    }
}

/// A cursor; every step forward is bounded by the input.
#[derive(Clone)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn skip_lws(&mut self) {
        self.take_while(is_lws);
    }

    /// The separator with white space around it: COLON, SLASH, SEMI, EQUAL of the grammar. The
    /// cursor does not move when the separator is not there.
    pub(crate) fn eat_separator(&mut self, byte: u8) -> bool {
        let start = self.at;
        self.skip_lws();
        if self.eat(byte) {
            self.skip_lws();
            true
        } else {
            self.at = start;
            false
        }
    }

    pub(crate) fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().position(|byte| !fits(*byte)).unwrap_or(rest.len());
        work::count(len);
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let rest = self.rest();
        let len = len.min(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    pub(crate) fn token(&mut self) -> Result<&'a [u8], Fault> {
        let at = self.at;
        let token = self.take_while(is_token);
        if token.is_empty() { Err(Fault::at(at, "expected a token")) } else { Ok(token) }
    }

    /// A quoted string with its quotes, the cursor being on the first.
    pub(crate) fn quoted(&mut self) -> Result<&'a [u8], Fault> {
        match quoted_len(self.rest()) {
            Some(len) => Ok(self.take(len)),
            None => Err(self.fault("a quoted string without its end")),
        }
    }

    pub(crate) fn fault(&self, problem: &'static str) -> Fault {
        Fault::at(self.at, problem)
    }

    pub(crate) fn expect_done(&self) -> Result<(), Fault> {
        if self.is_done() { Ok(()) } else { Err(self.fault("something follows the value")) }
    }
}

/// Splits at commas outside quotes and angle brackets. One value without a comma yields itself;
/// white space around each is gone; an empty element is yielded as such, for the caller to judge.
pub(crate) fn split_list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let bytes = rest?;
        match comma(bytes).and_then(|at| bytes.split_at_checked(at)) {
            Some((element, more)) => {
                rest = more.get(1..);
                Some(trim(element))
            }
            None => {
                rest = None;
                Some(trim(bytes))
            }
        }
    })
}

/// Where the first comma outside quotes and angle brackets is. What is opened and never closed
/// reaches to the end.
fn comma(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let found = memchr::memchr3(b',', b'"', b'<', rest);
        work::count(found.unwrap_or(rest.len()) + 1);
        at += found?;
        match bytes.get(at)? {
            b',' => return Some(at),
            b'<' => {
                let len = memchr::memchr(b'>', bytes.get(at..)?);
                work::count(len.unwrap_or(bytes.len() - at));
                at += len? + 1;
            }
            _ => at += quoted_len(bytes.get(at..)?)?,
        }
    }
}

/// The length of a quoted string with its quotes, `bytes` beginning with the first of them; `None`
/// when it does not end, or a line end is in it.
fn quoted_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let rest = bytes.get(at..)?;
        let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\r' | b'\n'));
        work::count(plain.unwrap_or(rest.len()) + 1);
        at += plain?;
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'"', _) => return Some(at + 1),
            (b'\\', Some(escaped)) if !matches!(escaped, b'\r' | b'\n') => at += 2,
            _ => return None,
        }
    }
}
