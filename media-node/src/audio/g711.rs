//! G.711 (ITU-T, November 1988): both laws against 16-bit linear samples and against each other,
//! by tables that the compiler fills.
//!
//! A linear sample here is the Recommendation's uniform value moved up to 16 bits: µ-law's 14 bits
//! by two, A-law's 13 by three. Between two decision values the ITU's reference software (G.191)
//! decides, so a negative sample on a decision value goes to the smaller magnitude.

use crate::media::Codec;

/// Which of the two laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Law {
    Mu,
    A,
}

impl Law {
    /// The code nearest to zero.
    pub const fn silence_byte(self) -> u8 {
        match self {
            Self::Mu => 0xff,
            Self::A => 0xd5,
        }
    }
}

impl Codec {
    /// `None` when the codec is not G.711.
    pub fn law(self) -> Option<Law> {
        match self {
            Self::Pcmu => Some(Law::Mu),
            Self::Pcma => Some(Law::A),
            _ => None,
        }
    }
}

/// The 16-bit value of one byte.
pub fn to_linear(law: Law, code: u8) -> i16 {
    match law {
        Law::Mu => ulaw_to_linear(code),
        Law::A => alaw_to_linear(code),
    }
}

pub fn from_linear(law: Law, sample: i16) -> u8 {
    match law {
        Law::Mu => linear_to_ulaw(sample),
        Law::A => linear_to_alaw(sample),
    }
}

/// The 16-bit value of one µ-law byte: ±32,124 at most.
pub fn ulaw_to_linear(code: u8) -> i16 {
    ULAW_TO_LINEAR[usize::from(code)]
}

/// The 16-bit value of one A-law byte: ±32,256 at most, never zero.
pub fn alaw_to_linear(code: u8) -> i16 {
    ALAW_TO_LINEAR[usize::from(code)]
}

pub fn linear_to_ulaw(sample: i16) -> u8 {
    LINEAR_TO_ULAW[usize::from(sample.cast_unsigned() >> 2)]
}

pub fn linear_to_alaw(sample: i16) -> u8 {
    LINEAR_TO_ALAW[usize::from(sample.cast_unsigned() >> 4)]
}

/// Decodes as many samples as fit both, and says how many: one byte a sample, 8 kHz mono
/// (RFC 3551 §4.5.14). Never fails: every byte is a sample.
pub fn decode(law: Law, coded: &[u8], samples: &mut [i16]) -> usize {
    let table = match law {
        Law::Mu => &ULAW_TO_LINEAR,
        Law::A => &ALAW_TO_LINEAR,
    };
    for (sample, code) in samples.iter_mut().zip(coded) {
        *sample = table[usize::from(*code)];
    }
    samples.len().min(coded.len())
}

/// Encodes as many samples as fit both, and says how many.
pub fn encode(law: Law, samples: &[i16], coded: &mut [u8]) -> usize {
    let pairs = coded.iter_mut().zip(samples);
    match law {
        Law::Mu => pairs.for_each(|(code, sample)| *code = linear_to_ulaw(*sample)),
        Law::A => pairs.for_each(|(code, sample)| *code = linear_to_alaw(*sample)),
    }
    samples.len().min(coded.len())
}

/// Turns one law into the other in place, by the Recommendation's own conversion (Tables 3 and 4),
/// which loses less than going through linear would; nothing happens when they are the same.
pub fn transcode(from: Law, to: Law, coded: &mut [u8]) {
    let table = match (from, to) {
        (Law::Mu, Law::A) => &ULAW_TO_ALAW,
        (Law::A, Law::Mu) => &ALAW_TO_ULAW,
        (Law::Mu, Law::Mu) | (Law::A, Law::A) => return,
    };
    for code in coded {
        *code = table[usize::from(*code)];
    }
}

/// µ-law sends its bits inverted, so that silence is all ones.
const ULAW_MASK: u8 = 0xff;
/// A-law sends every other bit inverted.
const ALAW_MASK: u8 = 0x55;
/// What µ-law adds to a magnitude so that each segment starts at a power of two, in 14 bits.
const BIAS: u16 = 33;

static ULAW_TO_LINEAR: [i16; 256] = ulaw_values();
static ALAW_TO_LINEAR: [i16; 256] = alaw_values();

const fn ulaw_values() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = code as u8 ^ ULAW_MASK;
        let (segment, step) = (bits >> 4 & 7, (bits & 15) as u16);
        let magnitude = (((step << 1) + BIAS) << segment) - BIAS;
        table[code] = signed(bits & 0x80 != 0, magnitude << 2);
        code += 1;
    }
    table
}

const fn alaw_values() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = code as u8 ^ ALAW_MASK;
        let (segment, step) = (bits >> 4 & 7, (bits & 15) as u16);
        let magnitude = match segment {
            0 => (step << 1) + 1,
            _ => ((step << 1) + 33) << (segment - 1),
        };
        // In A-law a set sign bit means positive.
        table[code] = signed(bits & 0x80 == 0, magnitude << 3);
        code += 1;
    }
    table
}

/// Indexed by the upper 14 bits of a sample.
static LINEAR_TO_ULAW: [u8; 1 << 14] = {
    let mut table = [0; 1 << 14];
    let mut index = 0;
    while index < 1 << 14 {
        let negative = index >= 1 << 13;
        // One's complement, as G.191: -1 is as far from zero as 0.
        let magnitude = if negative { (1 << 14) - 1 - index } else { index } as u16;
        let biased = if magnitude + BIAS > 0x1fff { 0x1fff } else { magnitude + BIAS };
        // The leading one is bit 5 in segment 0 and bit 12 in segment 7.
        let segment = 10 - biased.leading_zeros() as u16;
        let step = biased >> (segment + 1) & 15;
        let sign = if negative { 0x80 } else { 0 };
        table[index] = (sign | (segment as u8) << 4 | step as u8) ^ ULAW_MASK;
        index += 1;
    }
    table
};

/// Indexed by the upper 12 bits of a sample: A-law's finest decision values are 16 apart.
static LINEAR_TO_ALAW: [u8; 1 << 12] = {
    let mut table = [0; 1 << 12];
    let mut index = 0;
    while index < 1 << 12 {
        let negative = index >= 1 << 11;
        let magnitude = if negative { (1 << 12) - 1 - index } else { index } as u16;
        // Segments 0 and 1 have the same step; from there on each doubles it.
        let segment = if magnitude < 16 { 0 } else { 12 - magnitude.leading_zeros() as u16 };
        let step = (if segment < 2 { magnitude } else { magnitude >> (segment - 1) }) & 15;
        let sign = if negative { 0 } else { 0x80 };
        table[index] = (sign | (segment as u8) << 4 | step as u8) ^ ALAW_MASK;
        index += 1;
    }
    table
};

/// The square of what each code stands for.
pub(super) const fn squares(law: Law) -> [u32; 256] {
    let table = match law {
        Law::Mu => ulaw_values(),
        Law::A => alaw_values(),
    };
    let mut squares = [0; 256];
    let mut code = 0;
    while code < 256 {
        let magnitude = table[code].unsigned_abs() as u32;
        squares[code] = magnitude * magnitude;
        code += 1;
    }
    squares
}

const fn signed(negative: bool, magnitude: u16) -> i16 {
    if negative { -(magnitude as i16) } else { magnitude as i16 }
}

static ULAW_TO_ALAW: [u8; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = code as u8 ^ ULAW_MASK;
        let sign = if bits & 0x80 == 0 { 0x80 } else { 0 };
        let value = ULAW_VALUE_TO_ALAW[(bits & 0x7f) as usize] - 1;
        table[code] = (sign | value) ^ ALAW_MASK;
        code += 1;
    }
    table
};

static ALAW_TO_ULAW: [u8; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = code as u8 ^ ALAW_MASK;
        let sign = if bits & 0x80 == 0 { 0x80 } else { 0 };
        table[code] = (sign | ALAW_VALUE_TO_ULAW[(bits & 0x7f) as usize]) ^ ULAW_MASK;
        code += 1;
    }
    table
};

/// Table 3/G.711: for each µ-law decoder output value number (from 0) the A-law one (from 1).
#[rustfmt::skip]
const ULAW_VALUE_TO_ALAW: [u8; 128] = [
    1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8,
    9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
    25, 27, 29, 31, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44,
    46, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
    64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79,
    80, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96,
    97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112,
    113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128,
];

/// Table 4/G.711: for each A-law decoder output value number (from 1) the µ-law one (from 0).
#[rustfmt::skip]
const ALAW_VALUE_TO_ULAW: [u8; 128] = [
    1, 3, 5, 7, 9, 11, 13, 15, 16, 17, 18, 19, 20, 21, 22, 23,
    24, 25, 26, 27, 28, 29, 30, 31, 32, 32, 33, 33, 34, 34, 35, 35,
    36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 48, 49, 49,
    50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 64,
    65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80,
    80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95,
    96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111,
    112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The decoder formulas as G.191's g711.c and countless others write them, in 16 bits.
    fn reference_ulaw(code: u8) -> i32 {
        let code = !code;
        let t = ((i32::from(code & 15) << 3) + 0x84) << (code >> 4 & 7);
        if code & 0x80 != 0 { 0x84 - t } else { t - 0x84 }
    }

    fn reference_alaw(code: u8) -> i32 {
        let code = code ^ 0x55;
        let t = i32::from(code & 15) << 4;
        let t = match code >> 4 & 7 {
            0 => t + 8,
            segment => (t + 0x108) << (segment - 1),
        };
        if code & 0x80 != 0 { t } else { -t }
    }

    #[test]
    fn every_byte_decodes_as_the_reference_formula() {
        for code in 0..=255 {
            assert_eq!(i32::from(ulaw_to_linear(code)), reference_ulaw(code), "µ-law {code:#x}");
            assert_eq!(i32::from(alaw_to_linear(code)), reference_alaw(code), "A-law {code:#x}");
        }
        assert_eq!([0x00, 0x7f, 0x80, 0xff].map(ulaw_to_linear), [-32124, 0, 32124, 0]);
        assert_eq!([0x2a, 0x55, 0xaa, 0xd5].map(alaw_to_linear), [-32256, -8, 32256, 8]);
    }

    #[test]
    fn every_decoded_byte_encodes_to_itself() {
        for code in 0..=255 {
            assert_eq!(linear_to_alaw(alaw_to_linear(code)), code);
            // µ-law has two zeros, and linear only one.
            let expected = if code == 0x7f { 0xff } else { code };
            assert_eq!(linear_to_ulaw(ulaw_to_linear(code)), expected);
        }
    }

    #[test]
    fn every_sample_encodes_between_its_decision_values() {
        // Tables 1a and 2a: each interval's ends, in 16 bits. Inside a segment they lie halfway
        // between decoded values, at its edge where the finer step ends.
        let ulaw: Vec<i32> = (0..8)
            .flat_map(|segment| (0..16).map(move |step| (4 * ((step * 2 + 32) << segment)) - 132))
            .chain([i32::MAX])
            .collect();
        let alaw: Vec<i32> = (0..16)
            .map(|step| step * 16)
            .chain((1..8).flat_map(|s| (0..16).map(move |step| (step + 16) << (s + 3))))
            .chain([i32::MAX])
            .collect();
        for sample in i16::MIN..=i16::MAX {
            let magnitude = if sample < 0 { i32::from(!sample) } else { i32::from(sample) };
            let value = usize::from(linear_to_ulaw(sample) ^ 0xff);
            assert_eq!(value & 0x80 != 0, sample < 0, "{sample}");
            assert!(
                (ulaw[value & 0x7f]..ulaw[(value & 0x7f) + 1]).contains(&magnitude),
                "{sample}"
            );
            let value = usize::from(linear_to_alaw(sample) ^ 0x55);
            assert_eq!(value & 0x80 == 0, sample < 0, "{sample}");
            assert!(
                (alaw[value & 0x7f]..alaw[(value & 0x7f) + 1]).contains(&magnitude),
                "{sample}"
            );
        }
    }

    #[test]
    fn no_sample_is_further_from_its_code_than_half_a_step() {
        for sample in i16::MIN..=i16::MAX {
            let clipped = i32::from(sample).clamp(-32635, 32635);
            let error = (i32::from(ulaw_to_linear(linear_to_ulaw(sample))) - clipped).abs();
            // A step is 8 at the bottom and doubles each time biased magnitude does.
            let step = 1 << ((clipped.unsigned_abs() + 132).ilog2() - 4);
            assert!(error <= step / 2, "µ-law {sample}: {error}");
            let error =
                (i32::from(alaw_to_linear(linear_to_alaw(sample))) - i32::from(sample)).abs();
            let step = 1 << (i32::from(sample).unsigned_abs().max(256).ilog2() - 4);
            assert!(error <= step / 2, "A-law {sample}: {error}");
        }
    }

    #[test]
    fn one_law_becomes_the_other_with_the_nearest_value_or_its_neighbour() {
        for code in 0..=255u8 {
            let mut converted = [code];
            transcode(Law::Mu, Law::A, &mut converted);
            check(i32::from(ulaw_to_linear(code)), converted[0], code & 0x80, alaw_to_linear);
            let mut converted = [code];
            transcode(Law::A, Law::Mu, &mut converted);
            check(i32::from(alaw_to_linear(code)), converted[0], code & 0x80, ulaw_to_linear);
        }

        fn check(value: i32, converted: u8, sign: u8, decode: fn(u8) -> i16) {
            assert_eq!(converted & 0x80, sign, "the sign is kept");
            let mut same_sign: Vec<i32> =
                (0..=127).map(|code| i32::from(decode(sign | code))).collect();
            same_sign.sort_unstable();
            let nearest = (0..128).min_by_key(|i| (same_sign[*i] - value).abs()).unwrap();
            let chosen = same_sign.binary_search(&i32::from(decode(converted))).unwrap();
            assert!(chosen.abs_diff(nearest) <= 1, "{value} became {}", same_sign[chosen]);
        }
    }

    #[test]
    fn conversion_there_and_back_settles() {
        for code in 0..=255 {
            let mut once = [code];
            transcode(Law::Mu, Law::A, &mut once);
            transcode(Law::A, Law::Mu, &mut once);
            let mut twice = once;
            transcode(Law::Mu, Law::A, &mut twice);
            transcode(Law::A, Law::Mu, &mut twice);
            assert_eq!(once, twice);
        }
    }

    #[test]
    fn the_shorter_of_two_buffers_decides() {
        let mut samples = [0; 4];
        assert_eq!(decode(Law::Mu, &[0x80; 2], &mut samples), 2);
        assert_eq!(samples, [32124, 32124, 0, 0]);
        let mut coded = [0; 3];
        assert_eq!(encode(Law::A, &samples, &mut coded), 3);
        assert_eq!(coded, [0xaa, 0xaa, 0xd5]);
    }
}
