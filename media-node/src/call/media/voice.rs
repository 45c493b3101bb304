//! What the caller hears: the agent's speech, or what stands for its silence, in the carrier's codec.

use std::time::Duration;

use super::IdleAudio;
use super::playout::Playout;
use crate::audio::comfort_noise::{ComfortNoise, DEFAULT_LEVEL};
use crate::audio::format::{Format, Rate};
use crate::audio::g711;
use crate::audio::transcode::Transcoder;
use crate::media::Codec;

/// The longest payload we send: a frame of 60 ms of G.711 or G.722. Opus needs less.
pub(super) const MAX_PAYLOAD_BYTES: usize = 480;

pub(super) struct Voice {
    codec: Codec,
    /// How the agent's audio is written.
    format: Format,
    frame: Duration,
    transcoder: Transcoder,
    noise: ComfortNoise,
    seed: u64,
}

impl Voice {
    pub(super) fn new(format: Format, codec: Codec, frame: Duration, seed: u64) -> Self {
        Self {
            codec,
            format,
            frame,
            transcoder: Transcoder::to_carrier(format, codec),
            noise: ComfortNoise::new(idle_format(codec, format), DEFAULT_LEVEL, seed),
            seed,
        }
    }

    /// Another agent, who may write its audio in another way. The carrier's codec goes on where it
    /// was when it does not.
    pub(super) fn change_format(&mut self, format: Format) {
        if format != self.format {
            *self = Self::new(format, self.codec, self.frame, self.seed);
        }
    }

    /// How loud comfort noise is, in -dBov.
    pub(super) fn set_noise_level(&mut self, level: u8) {
        self.noise.set_level(level);
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// So much of the agent's audio, in bytes.
    pub(super) fn bytes(&self, span: Duration) -> usize {
        let ms = usize::try_from(span.as_millis()).unwrap_or(usize::MAX);
        ms.saturating_mul(self.format.bytes_per_ms())
    }

    /// One frame of the agent's audio, in bytes.
    pub(super) fn frame_bytes(&self) -> usize {
        self.bytes(self.frame)
    }

    /// So many bytes of the agent's audio, in samples of 8 kHz: what is counted for the record.
    pub(super) fn samples(&self, bytes: usize) -> u64 {
        (bytes * 8 / self.format.bytes_per_ms()) as u64
    }

    /// Writes the next frame of speech to `payload`, filled up with silence when it is the last and
    /// short. Returns how many bytes the agent had said of it, and how long the payload is.
    pub(super) fn speech(&mut self, playout: &mut Playout, payload: &mut [u8]) -> (usize, usize) {
        let (mut spoken, silence) = (0, self.format.silence_byte());
        let len = self.transcoder.frame(self.frame_bytes(), payload, |frame| {
            spoken = playout.pop(frame);
            frame[spoken..].fill(silence);
        });
        (spoken, len)
    }

    /// The sampling rate of [`Self::tone`].
    pub(super) fn tone_rate(&self) -> Rate {
        idle_format(self.codec, self.format).rate()
    }

    /// How many samples of that rate a frame has.
    pub(super) fn tone_samples(&self) -> usize {
        self.frame.as_millis() as usize * self.tone_rate().samples_per_ms()
    }

    /// Writes one frame of our own sound to `payload`, and returns how long it is.
    pub(super) fn tone(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        if let Some(law) = self.codec.law() {
            return g711::encode(law, samples, payload);
        }
        let format = self.format;
        self.transcoder.frame(samples.len() * format.bytes_per_sample(), payload, |frame| {
            match format {
                Format::G711(law) => {
                    g711::encode(law, samples, frame);
                }
                Format::Linear(_) => {
                    for (pair, sample) in frame.chunks_exact_mut(2).zip(samples) {
                        pair.copy_from_slice(&sample.to_le_bytes());
                    }
                }
            }
        })
    }

    /// Writes one frame of idle audio to `payload`, and returns how long it is.
    pub(super) fn idle(&mut self, idle_audio: IdleAudio, payload: &mut [u8]) -> usize {
        let format = idle_format(self.codec, self.format);
        let len = self.frame.as_millis() as usize * format.bytes_per_ms();
        let noise = &mut self.noise;
        let mut fill = |frame: &mut [u8]| match idle_audio {
            IdleAudio::ComfortNoise => noise.fill(frame),
            IdleAudio::Silence | IdleAudio::None => frame.fill(format.silence_byte()),
        };
        if self.codec.law().is_none() {
            // Through the encoder, whose state the carrier's decoder follows.
            return self.transcoder.frame(len, payload, fill);
        }
        fill(&mut payload[..len]);
        len
    }
}

/// G.711 is filled in place; for other codecs idle audio is what an agent might have said.
fn idle_format(codec: Codec, format: Format) -> Format {
    codec.law().map_or(format, Format::G711)
}
