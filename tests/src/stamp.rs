//! Times written into a frame of PCMU, in codes that survive decoding and encoding again.
//!
//! A stamped frame begins with a marker of four codes, then holds three times of eight codes each: when
//! the caller sent it, when the agent received it, when the agent sent it back; microseconds of the
//! monotonic clock, which both processes read. An agent that only echoes leaves the last two empty.
//!
//! ```text
//! | marker 4 | caller sent 8 | agent received 8 | agent sent 8 | filler … |
//! ```

/// Codes outside both the digits (0x80..=0xbf) and the filler (0x20..=0x5f).
const MARKER: [u8; 4] = [0xc5, 0xd2, 0xca, 0xd9];
const DIGITS: usize = 8;

/// Which time of the three.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    CallerSent = 0,
    AgentReceived = 1,
    AgentSent = 2,
}

/// Fills `frame` (at least 28 bytes) with a marker, this time, and a filler.
pub fn write(frame: &mut [u8], caller_sent_us: u64, turn: u32) {
    for (at, code) in frame.iter_mut().enumerate() {
        *code = 0x20 + (((at * 7) as u32 + turn) & 0x3f) as u8;
    }
    frame[..MARKER.len()].copy_from_slice(&MARKER);
    set(frame, Field::CallerSent, caller_sent_us);
    set(frame, Field::AgentReceived, 0);
    set(frame, Field::AgentSent, 0);
}

/// Where stamps begin in `payload`.
pub fn positions(payload: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let whole = MARKER.len() + 3 * DIGITS;
    (0..(payload.len() + 1).saturating_sub(whole)).filter(|&at| payload[at..].starts_with(&MARKER))
}

/// Writes one time into a stamp that begins at the start of `frame`.
pub fn set(frame: &mut [u8], field: Field, us: u64) {
    let at = MARKER.len() + field as usize * DIGITS;
    for (place, code) in frame[at..at + DIGITS].iter_mut().enumerate() {
        *code = 0x80 | ((us >> (6 * place)) & 0x3f) as u8;
    }
}

/// Reads one time of a stamp that begins at the start of `frame`; `None` when it was never set or is damaged.
pub fn get(frame: &[u8], field: Field) -> Option<u64> {
    let at = MARKER.len() + field as usize * DIGITS;
    let mut us = 0;
    for (place, &code) in frame.get(at..at + DIGITS)?.iter().enumerate() {
        if code & 0xc0 != 0x80 {
            return None;
        }
        us |= u64::from(code & 0x3f) << (6 * place);
    }
    (us != 0).then_some(us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::g711::{decode_ulaw, encode_ulaw};

    #[test]
    fn a_stamp_survives_linear_and_a_shift() {
        let mut frame = [0; 160];
        write(&mut frame, 123_456_789_012, 41);
        let linear: Vec<i16> = frame.iter().map(|&code| decode_ulaw(code)).collect();
        let mut back = vec![0xff; 55];
        back.extend(linear.iter().map(|&sample| encode_ulaw(sample)));
        assert_eq!(positions(&back).collect::<Vec<_>>(), [55]);
        assert_eq!(get(&back[55..], Field::CallerSent), Some(123_456_789_012));
        assert_eq!(get(&back[55..], Field::AgentSent), None);
    }
}
