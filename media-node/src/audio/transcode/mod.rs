//! From how one side of a call writes its sound to how the other side reads it.
//!
//! Where both agree the very bytes pass; between the laws of G.711 a table changes each; everything
//! else is decoded, brought to the other rate and encoded, with state that lives as long as the
//! call. All buffers are made at set-up.
#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use super::format::{Format, Rate};
use super::g711::{self, Law};
use super::g722;
#[cfg(feature = "opus")]
use super::opus;
use super::resample::Resampler;
use crate::media::Codec;

/// The longest frame that is transcoded at a time, in milliseconds.
const MAX_FRAME_MS: usize = 60;
/// How much is decoded at a time.
const PIECE_MS: usize = 20;
const MAX_PIECE_SAMPLES: usize = PIECE_MS * 48;

/// One direction of one call.
pub struct Transcoder(Way);

enum Way {
    Untouched,
    Laws { from: Law, to: Law },
    Linear(Box<Pipeline>),
}

impl Transcoder {
    /// From the carrier to the agent.
    pub fn to_agent(from: Codec, to: Format) -> Self {
        let decoder = Decoder::of_codec(from, to.rate());
        Self::new(from.law(), to.law(), || Pipeline::new(decoder, Encoder::of_format(to)))
    }

    /// From the agent to the carrier.
    pub fn to_carrier(from: Format, to: Codec) -> Self {
        let encoder = Encoder::of_codec(to, from.rate());
        Self::new(from.law(), to.law(), || Pipeline::new(Decoder::of_format(from), encoder))
    }

    fn new(from: Option<Law>, to: Option<Law>, pipeline: impl FnOnce() -> Pipeline) -> Self {
        Self(match (from, to) {
            (Some(from), Some(to)) if from == to => Way::Untouched,
            (Some(from), Some(to)) => Way::Laws { from, to },
            _ => Way::Linear(Box::new(pipeline())),
        })
    }

    /// Transcodes one payload of any length, and gives what it becomes, in as many pieces as it
    /// takes. Nothing when it cannot be decoded.
    pub fn transcode(&mut self, payload: &[u8], mut give: impl FnMut(&[u8])) {
        match &mut self.0 {
            Way::Untouched => give(payload),
            Way::Laws { from, to } => {
                let mut piece = [0; PIECE_MS * 8];
                for coded in payload.chunks(piece.len()) {
                    let Some(piece) = piece.get_mut(..coded.len()) else { return };
                    piece.copy_from_slice(coded);
                    g711::transcode(*from, *to, piece);
                    give(piece);
                }
            }
            Way::Linear(pipeline) => pipeline.transcode(payload, &mut give),
        }
    }

    /// What the payload `next` tells of the one before it, which did not come and was `missing_ms` long.
    /// Nothing with codecs whose payloads tell only of themselves.
    pub fn recover(&mut self, missing_ms: usize, next: &[u8], mut give: impl FnMut(&[u8])) {
        if let Way::Linear(pipeline) = &mut self.0 {
            pipeline.recover(missing_ms, next, &mut give);
        }
    }

    /// Has `fill` write a frame of `len_bytes`, 60 ms at most, leaves in `out` what it becomes, and
    /// returns the length of that.
    pub fn frame(
        &mut self,
        len_bytes: usize,
        out: &mut [u8],
        fill: impl FnOnce(&mut [u8]),
    ) -> usize {
        match &mut self.0 {
            Way::Untouched => {
                let frame = out.get_mut(..len_bytes).unwrap_or_default();
                fill(frame);
                frame.len()
            }
            Way::Laws { from, to } => {
                let frame = out.get_mut(..len_bytes).unwrap_or_default();
                fill(frame);
                g711::transcode(*from, *to, frame);
                frame.len()
            }
            Way::Linear(pipeline) => pipeline.frame(len_bytes, out, fill),
        }
    }
}

struct Pipeline {
    steps: Steps,
    /// A frame as it is filled, before it is decoded.
    frame: [u8; MAX_FRAME_MS * 96],
    decoder: Decoder,
}

impl Pipeline {
    fn new(decoder: Decoder, encoder: Encoder) -> Self {
        let steps = Steps {
            resampler: Resampler::new(decoder.rate(), encoder.rate()),
            encoder,
            resampled: [0; MAX_PIECE_SAMPLES],
            coded: [0; MAX_PIECE_SAMPLES * 2],
        };
        Self { steps, frame: [0; MAX_FRAME_MS * 96], decoder }
    }

    fn transcode(&mut self, payload: &[u8], give: &mut impl FnMut(&[u8])) {
        let steps = &mut self.steps;
        self.decoder.decode(payload, |samples| steps.take(samples, give));
    }

    #[cfg(feature = "opus")]
    fn recover(&mut self, missing_ms: usize, next: &[u8], give: &mut impl FnMut(&[u8])) {
        // Only the packet just before is told of, and a longer hole is no single packet.
        if let Decoder::Opus(decoder, rate) = &mut self.decoder
            && opus::duration_ms(next) == Some(missing_ms)
        {
            let samples = decoder.decode_previous(next, missing_ms);
            let steps = &mut self.steps;
            samples
                .chunks(PIECE_MS * rate.samples_per_ms())
                .for_each(|samples| steps.take(samples, give));
        }
    }

    #[cfg(not(feature = "opus"))]
    fn recover(&mut self, _missing_ms: usize, _next: &[u8], _give: &mut impl FnMut(&[u8])) {}

    fn frame(&mut self, len: usize, out: &mut [u8], fill: impl FnOnce(&mut [u8])) -> usize {
        let frame = self.frame.get_mut(..len).unwrap_or_default();
        fill(frame);
        let steps = &mut self.steps;
        let mut done = 0;
        self.decoder.decode(frame, |samples| {
            steps.take(samples, &mut |coded: &[u8]| {
                if let Some(room) = out.get_mut(done..done + coded.len()) {
                    room.copy_from_slice(coded);
                    done += coded.len();
                }
            });
        });
        done
    }
}

/// What happens to samples once they are decoded.
struct Steps {
    resampler: Option<Resampler>,
    encoder: Encoder,
    resampled: [i16; MAX_PIECE_SAMPLES],
    coded: [u8; MAX_PIECE_SAMPLES * 2],
}

impl Steps {
    /// At most [`PIECE_MS`] of samples.
    fn take(&mut self, samples: &[i16], give: &mut impl FnMut(&[u8])) {
        let samples = match &mut self.resampler {
            Some(resampler) => {
                let len = resampler.process(samples, &mut self.resampled);
                self.resampled.get(..len).unwrap_or_default()
            }
            None => samples,
        };
        let len = self.encoder.encode(samples, &mut self.coded);
        match self.coded.get(..len) {
            Some(coded) if len > 0 => give(coded),
            _ => {}
        }
    }
}

enum Decoder {
    G711(Law),
    Linear(Rate),
    G722(Box<g722::Decoder>),
    #[cfg(feature = "opus")]
    Opus(opus::Decoder, Rate),
}

impl Decoder {
    /// `near`: the rate of the other side, for a codec that has any.
    #[cfg_attr(not(feature = "opus"), expect(unused_variables, reason = "only Opus has any"))]
    fn of_codec(codec: Codec, near: Rate) -> Self {
        match codec {
            Codec::Pcmu => Self::G711(Law::Mu),
            Codec::Pcma => Self::G711(Law::A),
            Codec::G722 => Self::G722(Box::default()),
            #[cfg(feature = "opus")]
            Codec::Opus => Self::Opus(opus::Decoder::new(near), near),
        }
    }

    fn of_format(format: Format) -> Self {
        match format {
            Format::G711(law) => Self::G711(law),
            Format::Linear(rate) => Self::Linear(rate),
        }
    }

    fn rate(&self) -> Rate {
        match self {
            Self::G711(_) => Rate::Hz8000,
            Self::G722(_) => Rate::Hz16000,
            Self::Linear(rate) => *rate,
            #[cfg(feature = "opus")]
            Self::Opus(_, rate) => *rate,
        }
    }

    /// Takes the samples of `payload` to `take`, at most [`PIECE_MS`] at a time.
    fn decode(&mut self, payload: &[u8], mut take: impl FnMut(&[i16])) {
        let mut samples = [0; MAX_PIECE_SAMPLES];
        let piece_samples = PIECE_MS * self.rate().samples_per_ms();
        match self {
            Self::G711(law) => {
                for coded in payload.chunks(piece_samples) {
                    let len = g711::decode(*law, coded, &mut samples);
                    take(samples.get(..len).unwrap_or_default());
                }
            }
            Self::Linear(_) => {
                for coded in payload.chunks(piece_samples * 2) {
                    let pairs = coded.chunks_exact(2);
                    let len = pairs.len();
                    for (sample, pair) in samples.iter_mut().zip(pairs) {
                        *sample = pair.try_into().map_or(0, i16::from_le_bytes);
                    }
                    take(samples.get(..len).unwrap_or_default());
                }
            }
            Self::G722(decoder) => {
                for coded in payload.chunks(piece_samples / 2) {
                    let len = decoder.decode(coded, &mut samples);
                    take(samples.get(..len).unwrap_or_default());
                }
            }
            #[cfg(feature = "opus")]
            Self::Opus(decoder, _) => {
                decoder.decode(payload).chunks(piece_samples).for_each(take);
            }
        }
    }
}

enum Encoder {
    G711(Law),
    Linear(Rate),
    G722(Box<g722::Encoder>),
    #[cfg(feature = "opus")]
    Opus(opus::Encoder, Rate),
}

impl Encoder {
    /// `near`: the rate of the other side, for a codec that takes any.
    #[cfg_attr(not(feature = "opus"), expect(unused_variables, reason = "only Opus takes any"))]
    fn of_codec(codec: Codec, near: Rate) -> Self {
        match codec {
            Codec::Pcmu => Self::G711(Law::Mu),
            Codec::Pcma => Self::G711(Law::A),
            Codec::G722 => Self::G722(Box::default()),
            #[cfg(feature = "opus")]
            Codec::Opus => Self::Opus(opus::Encoder::new(near), near),
        }
    }

    fn of_format(format: Format) -> Self {
        match format {
            Format::G711(law) => Self::G711(law),
            Format::Linear(rate) => Self::Linear(rate),
        }
    }

    fn rate(&self) -> Rate {
        match self {
            Self::G711(_) => Rate::Hz8000,
            Self::G722(_) => Rate::Hz16000,
            Self::Linear(rate) => *rate,
            #[cfg(feature = "opus")]
            Self::Opus(_, rate) => *rate,
        }
    }

    fn encode(&mut self, samples: &[i16], coded: &mut [u8]) -> usize {
        match self {
            Self::G711(law) => g711::encode(*law, samples, coded),
            Self::Linear(_) => {
                for (pair, sample) in coded.chunks_exact_mut(2).zip(samples) {
                    pair.copy_from_slice(&sample.to_le_bytes());
                }
                samples.len().min(coded.len() / 2) * 2
            }
            Self::G722(encoder) => encoder.encode(samples, coded),
            #[cfg(feature = "opus")]
            Self::Opus(encoder, _) => encoder.encode(samples, coded),
        }
    }
}

#[cfg(test)]
mod tests;
