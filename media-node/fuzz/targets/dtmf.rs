//! Keys from strangers: bodies of SIP INFO, and any sound at all.

#![allow(clippy::unwrap_used, reason = "a target that fails must panic")]

use trunkline_media_node::audio::dtmf::Detector;
use trunkline_media_node::call::info::{Signal, parse};

/// A body is read or refused; spaces, case and the ends of lines change nothing.
pub(crate) fn info(data: &[u8]) {
    let read = parse(data);
    if let Ok(Signal::Key(digit)) = read {
        let c = digit.as_char();
        assert_eq!(parse(format!("Signal={c}\r\nDuration=1\r\n").as_bytes()), read);
        assert_eq!(parse(c.to_string().as_bytes()), read);
    }
    if data.len() < 500 {
        assert_eq!(parse(&[b"\r\n", data, b"\r\n"].concat()), read);
        assert_eq!(parse(&data.to_ascii_uppercase()), read);
    }
}

/// Bytes as samples, in pieces as the first byte says: the same keys whatever the pieces, and never
/// more than there is time for.
pub(crate) fn detector(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else { return };
    let samples: Vec<i16> =
        data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    let heard = |piece: usize| {
        let mut detector = Detector::new();
        let mut keys = Vec::new();
        samples.chunks(piece).for_each(|piece| detector.feed(piece, |digit| keys.push(digit)));
        keys
    };
    let keys = heard(usize::from(*piece) + 1);
    assert_eq!(keys, heard(160));
    assert!(keys.len() <= samples.len() / 160);
}
