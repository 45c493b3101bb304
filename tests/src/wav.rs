//! WAV files: 16-bit linear and G.711 µ-law in, 16-bit linear out, mono.

use std::fs;
use std::io;
use std::path::Path;

use crate::g711;

/// Mono sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Wav {
    pub sample_rate_hz: u32,
    pub samples: Vec<i16>,
}

impl Wav {
    pub fn new(sample_rate_hz: u32, samples: Vec<i16>) -> Self {
        Self { sample_rate_hz, samples }
    }

    pub fn read(path: &Path) -> io::Result<Self> {
        Self::parse(&fs::read(path)?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a WAV file we read"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if bytes.get(..4)? != b"RIFF" || bytes.get(8..12)? != b"WAVE" {
            return None;
        }
        let (mut at, mut format) = (12, None);
        loop {
            let (name, length) = (bytes.get(at..at + 4)?, u32_at(at + 4)? as usize);
            let body = at + 8;
            match name {
                b"fmt " => format = Some((u16_at(body)?, u16_at(body + 2)?, u32_at(body + 4)?)),
                b"data" => {
                    let (coding, channels, rate) = format?;
                    // A writer that was killed leaves a length of 0 or more than there is.
                    let end = if length == 0 { bytes.len() } else { body + length };
                    let data = bytes.get(body..end.min(bytes.len()))?;
                    let samples: Vec<i16> = match coding {
                        1 | 0xfffe => data
                            .chunks_exact(2)
                            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
                            .collect(),
                        7 => data.iter().map(|&code| g711::decode_ulaw(code)).collect(),
                        _ => return None,
                    };
                    let samples = samples.into_iter().step_by(usize::from(channels)).collect();
                    return Some(Self { sample_rate_hz: rate, samples });
                }
                _ => {}
            }
            at = body + length + length % 2;
        }
    }

    /// Writes 16-bit linear.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let length = (self.samples.len() * 2) as u32;
        let mut bytes = Vec::with_capacity(44 + self.samples.len() * 2);
        bytes.extend_from_slice(b"RIFF");
        bytes.extend_from_slice(&(36 + length).to_le_bytes());
        bytes.extend_from_slice(b"WAVEfmt ");
        bytes.extend_from_slice(&16_u32.to_le_bytes());
        bytes.extend_from_slice(&1_u16.to_le_bytes());
        bytes.extend_from_slice(&1_u16.to_le_bytes());
        bytes.extend_from_slice(&self.sample_rate_hz.to_le_bytes());
        bytes.extend_from_slice(&(self.sample_rate_hz * 2).to_le_bytes());
        bytes.extend_from_slice(&2_u16.to_le_bytes());
        bytes.extend_from_slice(&16_u16.to_le_bytes());
        bytes.extend_from_slice(b"data");
        bytes.extend_from_slice(&length.to_le_bytes());
        for sample in &self.samples {
            bytes.extend_from_slice(&sample.to_le_bytes());
        }
        fs::write(path, bytes)
    }

    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.sample_rate_hz)
    }

    pub fn to_ulaw(&self) -> Vec<u8> {
        self.samples.iter().map(|&sample| g711::encode_ulaw(sample)).collect()
    }

    /// The same sound at another rate, by linear interpolation after averaging: good enough for speech.
    #[must_use]
    pub fn at_rate(&self, sample_rate_hz: u32) -> Self {
        if sample_rate_hz == self.sample_rate_hz {
            return self.clone();
        }
        let step = f64::from(self.sample_rate_hz) / f64::from(sample_rate_hz);
        let width = step.ceil().max(1.0) as usize;
        let length = (self.samples.len() as f64 / step) as usize;
        let samples = (0..length)
            .map(|n| {
                let at = (n as f64 * step) as usize;
                let window = &self.samples[at..(at + width).min(self.samples.len())];
                let sum: i64 = window.iter().map(|&sample| i64::from(sample)).sum();
                (sum / window.len().max(1) as i64) as i16
            })
            .collect();
        Self { sample_rate_hz, samples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let wav = Wav::new(8000, vec![0, 1, -1, i16::MAX, i16::MIN]);
        wav.write(file.path()).unwrap();
        assert_eq!(Wav::read(file.path()).unwrap(), wav);
    }
}
