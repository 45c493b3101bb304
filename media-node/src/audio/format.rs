//! How samples are written on either side of a call.

use super::g711::{self, Law};

/// The sampling rates that codecs and agents use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rate {
    Hz8000,
    Hz16000,
    Hz24000,
    Hz48000,
}

impl Rate {
    pub const ALL: [Self; 4] = [Self::Hz8000, Self::Hz16000, Self::Hz24000, Self::Hz48000];

    pub fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8000,
            Self::Hz16000 => 16_000,
            Self::Hz24000 => 24_000,
            Self::Hz48000 => 48_000,
        }
    }

    pub fn samples_per_ms(self) -> usize {
        match self {
            Self::Hz8000 => 8,
            Self::Hz16000 => 16,
            Self::Hz24000 => 24,
            Self::Hz48000 => 48,
        }
    }
}

/// How an agent's audio is written: mono, as many bytes for each sample, so that any length of it
/// can be kept, cut and filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// G.711 at 8 kHz.
    G711(Law),
    /// 16 bits a sample, the low byte first.
    Linear(Rate),
}

impl Format {
    pub const PCMU: Self = Self::G711(Law::Mu);
    pub const PCMA: Self = Self::G711(Law::A);

    /// `None` when it is not G.711.
    pub fn law(self) -> Option<Law> {
        match self {
            Self::G711(law) => Some(law),
            Self::Linear(_) => None,
        }
    }

    pub fn rate(self) -> Rate {
        match self {
            Self::G711(_) => Rate::Hz8000,
            Self::Linear(rate) => rate,
        }
    }

    pub fn bytes_per_sample(self) -> usize {
        match self {
            Self::G711(_) => 1,
            Self::Linear(_) => 2,
        }
    }

    /// A multiple of eight.
    pub fn bytes_per_ms(self) -> usize {
        self.rate().samples_per_ms() * self.bytes_per_sample()
    }

    /// The byte of which silence is made.
    pub fn silence_byte(self) -> u8 {
        match self {
            Self::G711(law) => law.silence_byte(),
            Self::Linear(_) => 0,
        }
    }

    /// Lets audio, as it is written, grow evenly quieter from its first sample to behind its last.
    pub fn fade_out(self, audio: &mut [u8]) {
        let count = (audio.len() / self.bytes_per_sample()) as i32;
        let faded = |sample: i16, n: i32| (i32::from(sample) * (count - n) / (count + 1)) as i16;
        match self {
            Self::G711(law) => {
                for (n, code) in (0..).zip(audio) {
                    *code = g711::from_linear(law, faded(g711::to_linear(law, *code), n));
                }
            }
            Self::Linear(_) => {
                for (n, pair) in (0..).zip(audio.as_chunks_mut::<2>().0) {
                    *pair = faded(i16::from_le_bytes(*pair), n).to_le_bytes();
                }
            }
        }
    }

    /// Whether one sample, as it is written, is so near to zero that nobody hears it: the lowest
    /// steps of either law.
    pub fn is_silent(self, sample: &[u8]) -> bool {
        let linear = match (self, sample) {
            (Self::G711(law), [code]) => g711::to_linear(law, *code),
            (Self::Linear(_), [low, high]) => i16::from_le_bytes([*low, *high]),
            _ => return false,
        };
        linear.unsigned_abs() <= 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fades_out_ends_in_silence() {
        let mut coded = [g711::from_linear(Law::A, 8000); 80];
        Format::PCMA.fade_out(&mut coded);
        let samples = coded.map(|code| g711::to_linear(Law::A, code));
        assert!(samples.is_sorted_by(|a, b| a >= b) && samples[0] > 7000 && samples[79] < 150);
        let mut linear = [0, 0x20, 0, 0x20, 0, 0x20, 7];
        Format::Linear(Rate::Hz48000).fade_out(&mut linear);
        assert_eq!(linear, [0, 0x18, 0, 0x10, 0, 0x08, 7]);
    }

    #[test]
    fn silence_is_silent_and_speech_is_not() {
        for format in [Format::PCMU, Format::PCMA, Format::Linear(Rate::Hz24000)] {
            let width = format.bytes_per_sample();
            assert!(format.is_silent(&[format.silence_byte(); 2][..width]), "{format:?}");
            assert_eq!(format.bytes_per_ms() % 8, 0);
        }
        assert!(!Format::PCMU.is_silent(&[0x80]) && !Format::PCMA.is_silent(&[0xaa]));
        let linear = Format::Linear(Rate::Hz8000);
        assert!(linear.is_silent(&(-24_i16).to_le_bytes()));
        assert!(!linear.is_silent(&i16::MIN.to_le_bytes()) && !linear.is_silent(&[0]));
    }
}
