//! Payloads as strangers fill them, through each codec's decoder and on to the other side.

use trunkline_media_node::audio::concealment::{Concealer, MAX_BLEND};
use trunkline_media_node::audio::format::{Format, Rate};
use trunkline_media_node::audio::transcode::Transcoder;
use trunkline_media_node::audio::{g711, g722};
use trunkline_media_node::media::Codec;

const FORMATS: [Format; 6] = [
    Format::PCMU,
    Format::PCMA,
    Format::Linear(Rate::Hz8000),
    Format::Linear(Rate::Hz16000),
    Format::Linear(Rate::Hz24000),
    Format::Linear(Rate::Hz48000),
];

/// Every byte is a sample of either law, and comes back as itself or as the other zero.
pub(crate) fn g711(data: &[u8]) {
    for law in [g711::Law::Mu, g711::Law::A] {
        let mut samples = vec![0; data.len()];
        assert_eq!(g711::decode(law, data, &mut samples), data.len());
        let mut coded = vec![0; data.len()];
        assert_eq!(g711::encode(law, &samples, &mut coded), data.len());
        assert!(coded.iter().zip(data).all(|(new, old)| new == old || *old == 0x7f));
    }
}

/// The law, then rows of a length and so many bytes of it. What is remembered comes back as long as it
/// was, at most its beginning changed; a gap of any length ends in silence.
pub(crate) fn concealment(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else { return };
    let law = if first & 1 == 0 { g711::Law::Mu } else { g711::Law::A };
    let mut concealer = Concealer::new(law);
    while let Some((len, later)) = rest.split_first() {
        let (good, later) = later.split_at(later.len().min(usize::from(*len)));
        let mut heard = good.to_vec();
        let blended = concealer.blend(&mut heard);
        assert!(blended <= MAX_BLEND && heard[blended..] == good[blended..]);
        concealer.remember(&heard);
        assert!(!concealer.is_concealing());
        let mut made = vec![0; usize::from(*len) * 4];
        concealer.conceal(&mut made);
        if let Some(beyond_60_ms) = made.get(480..) {
            assert!(beyond_60_ms.iter().all(|code| *code == law.silence_byte()));
        }
        rest = later;
    }
}

/// Every byte is two samples, whatever came before; and what they are can be coded again.
pub(crate) fn g722(data: &[u8]) {
    let mut samples = vec![0; data.len() * 2];
    assert_eq!(g722::Decoder::default().decode(data, &mut samples), samples.len());
    let mut coded = vec![0; data.len()];
    assert_eq!(g722::Encoder::default().encode(&samples, &mut coded), data.len());
    // The same bytes as sound.
    let loud: Vec<i16> =
        data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    assert_eq!(g722::Encoder::default().encode(&loud, &mut coded), loud.len() / 2);
}

/// Rows of a length and so many bytes: the packets of one stream, in a build with Opus.
pub(crate) fn opus(data: &[u8]) {
    #[cfg(feature = "opus")]
    {
        use trunkline_media_node::audio::opus::{Decoder, duration_ms};
        let mut decoder = Decoder::new(Rate::Hz16000);
        let mut rest = data;
        while let Some((len, later)) = rest.split_first() {
            let (packet, later) = later.split_at(later.len().min(usize::from(*len)));
            if let Some(ms) = duration_ms(packet) {
                assert!(decoder.decode_previous(packet, ms).len() <= ms * 16);
                assert!(decoder.decode(packet).len() <= ms * 16);
            }
            assert!(decoder.decode(packet).len() <= 120 * 16);
            rest = later;
        }
    }
    #[cfg(not(feature = "opus"))]
    let _ = data;
}

/// The first byte picks the codec, the second what the agent writes, the third the length of
/// packets. As much comes out as went in, both ways.
pub(crate) fn transcode(data: &[u8]) {
    let [codec, format, len, payload @ ..] = data else { return };
    let codec = Codec::ALL[usize::from(*codec) % Codec::ALL.len()];
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    let mut to_agent = Transcoder::to_agent(codec, format);
    let mut to_carrier = Transcoder::to_carrier(format, codec);
    for packet in payload.chunks(usize::from(*len) + 1) {
        let mut heard = Vec::new();
        to_agent.recover(20, packet, |bytes| assert!(bytes.len() <= 20 * 96));
        to_agent.transcode(packet, |bytes| heard.extend_from_slice(bytes));
        let mut out = [0; 480];
        let sent = to_carrier.frame(20 * format.bytes_per_ms(), &mut out, |frame| {
            frame.iter_mut().zip(packet.iter().cycle()).for_each(|(to, from)| *to = *from);
        });
        // Packets of Opus say themselves how long they are.
        if codec.static_payload_type().is_some() {
            assert_eq!(heard.len(), packet.len() * format.bytes_per_ms() / 8);
            assert_eq!(sent, 160);
        }
        assert!(sent <= out.len());
    }
}
