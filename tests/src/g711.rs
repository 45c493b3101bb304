//! G.711 by the formulas of ITU-T G.711, as a peer of its own would have it.

/// One µ-law code as 16-bit linear.
pub fn decode_ulaw(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((i16::from(code & 0x0f) << 3) + 0x84) << ((code & 0x70) >> 4);
    if code & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

/// 16-bit linear as the nearest µ-law code.
pub fn encode_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (i32::from(sample).abs().min(32_635)) + 0x84;
    // The highest set bit of a magnitude of 0x84..=0x7fff is 7..=14.
    let exponent = (31 - magnitude.leading_zeros() as i32 - 7).clamp(0, 7);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_but_negative_zero_survives_the_way_through_linear() {
        for code in (0..=255).filter(|&code| code != 0x7f) {
            assert_eq!(encode_ulaw(decode_ulaw(code)), code);
        }
        assert_eq!((decode_ulaw(0xff), decode_ulaw(0x00), decode_ulaw(0x80)), (0, -32124, 32124));
    }
}
