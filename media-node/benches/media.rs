//! What one packet costs in each piece of the media path: 12 bytes of header and 20 ms of G.711.
//!
//! `cargo bench --bench media`; a name filters, as in `-- srtp`.

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to say")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use trunkline_media_node::audio::comfort_noise::{ComfortNoise, DEFAULT_LEVEL};
use trunkline_media_node::audio::format::{Format, Rate};
use trunkline_media_node::audio::g711::{self, Law};
use trunkline_media_node::audio::resample::Resampler;
use trunkline_media_node::audio::transcode::Transcoder;
use trunkline_media_node::media::{Codec, CryptoSuite, MasterKey};
use trunkline_media_node::random::Seeded;
use trunkline_media_node::rtp::reorder::Reorder;
use trunkline_media_node::rtp::srtp::{MAX_RTP_OVERHEAD_BYTES, Receiver, Sender};
use trunkline_media_node::rtp::stats::ReceiverStats;
use trunkline_media_node::rtp::telephone_event::{self, Event};
use trunkline_media_node::rtp::{Header, Packet, SequenceNumber, Ssrc};

const PAYLOAD: usize = 160;
const PACKET: usize = 12 + PAYLOAD;
const ROOM: usize = PACKET + MAX_RTP_OVERHEAD_BYTES;

fn header(number: u32) -> Header {
    Header {
        payload_type: 0,
        marker: false,
        sequence_number: SequenceNumber(number as u16),
        timestamp: number.wrapping_mul(PAYLOAD as u32),
        ssrc: Ssrc(0xcafe_babe),
    }
}

fn srtp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("srtp");
    for suite in CryptoSuite::BY_PREFERENCE {
        let master = MasterKey::random(suite, &mut Seeded::new(1));
        let mut sender = Sender::new(&master);
        let mut number = 0;
        let mut buf = [0x55; ROOM];
        group.bench_function(format!("protect/{}", suite.name()), |bencher| {
            bencher.iter(|| {
                header(number).write(&mut buf);
                number += 1;
                sender.protect_rtp(black_box(&mut buf), PACKET).unwrap()
            });
        });
        // One packet after another, as they come: made in batches beforehand, since unprotecting
        // consumes them.
        let mut sender = Sender::new(&master);
        let mut receiver = Receiver::new(&master);
        let mut number = 0;
        group.bench_function(format!("unprotect/{}", suite.name()), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                let mut left = iterations;
                let mut packets = vec![[0x55; ROOM]; 64];
                while left > 0 {
                    let batch = &mut packets[..left.min(64) as usize];
                    let mut len = 0;
                    for packet in batch.iter_mut() {
                        header(number).write(packet);
                        number += 1;
                        len = sender.protect_rtp(packet, PACKET).unwrap();
                    }
                    #[expect(clippy::disallowed_methods, reason = "a bench measures time")]
                    let start = Instant::now();
                    for packet in batch.iter_mut() {
                        receiver.unprotect_rtp(black_box(&mut packet[..len])).unwrap();
                    }
                    spent += start.elapsed();
                    left -= batch.len() as u64;
                }
                spent
            });
        });
        let mut forged = [0x55; ROOM];
        header(7).write(&mut forged);
        let mut receiver = Receiver::new(&master);
        group.bench_function(format!("refuse/{}", suite.name()), |bencher| {
            bencher.iter(|| receiver.unprotect_rtp(black_box(&mut forged)).unwrap_err());
        });
        group.bench_function(format!("new/{}", suite.name()), |bencher| {
            bencher.iter(|| (Sender::new(&master), Receiver::new(&master)));
        });
    }
    group.finish();
}

fn rtp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rtp");
    let mut packet = [0x55; PACKET];
    header(1).write(&mut packet);
    group.bench_function("parse", |bencher| {
        bencher.iter(|| Packet::parse(black_box(&packet)).unwrap().payload.len());
    });
    #[expect(clippy::disallowed_methods, reason = "the start of a virtual clock")]
    let start = Instant::now();
    let mut number = 0;
    let mut reorder = Reorder::new(Duration::from_millis(20));
    group.bench_function("reorder/in_order", |bencher| {
        bencher.iter(|| {
            let now = start + Duration::from_millis(20 * u64::from(number));
            let pushed = reorder.push(now, &header(number), black_box(&packet[12..]));
            number += 1;
            (pushed, reorder.pop_ready(now).is_some())
        });
    });
    let mut reorder = Reorder::new(Duration::from_millis(20));
    let mut number = 0;
    group.bench_function("reorder/swapped_pair", |bencher| {
        bencher.iter(|| {
            let now = start + Duration::from_millis(20 * u64::from(number));
            reorder.push(now, &header(number + 1), black_box(&packet[12..]));
            let mut out = u32::from(reorder.pop_ready(now).is_some());
            reorder.push(now, &header(number), black_box(&packet[12..]));
            out += u32::from(reorder.pop_ready(now).is_some());
            number += 2;
            out
        });
    });
    let mut stats = ReceiverStats::new(8000);
    let mut number = 0;
    group.bench_function("stats", |bencher| {
        bencher.iter(|| {
            number += 1;
            let now = start + Duration::from_millis(20 * u64::from(number));
            stats.record(now, black_box(&header(number)), PAYLOAD)
        });
    });
    let mut receiver = telephone_event::Receiver::new();
    let mut number = 0u32;
    group.bench_function("telephone_event", |bencher| {
        bencher.iter(|| {
            number += 1;
            let event = Event { code: 5, end: false, volume: 10, duration: 160 };
            // Eight packets an event.
            receiver.feed(Ssrc(1), black_box(number / 8 * 2000), false, &event.write())
        });
    });
    group.finish();
}

fn audio(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("g711");
    let mut coded: [u8; PAYLOAD] = std::array::from_fn(|i| (i * 7) as u8);
    let mut samples = [0i16; PAYLOAD];
    for (law, name) in [(Law::Mu, "PCMU"), (Law::A, "PCMA")] {
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| g711::decode(law, black_box(&coded), black_box(&mut samples)));
        });
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter(|| g711::encode(law, black_box(&samples), black_box(&mut coded)));
        });
    }
    group.bench_function("transcode/PCMU_to_PCMA", |bencher| {
        bencher.iter_batched_ref(
            || coded,
            |coded| g711::transcode(Law::Mu, Law::A, black_box(coded)),
            BatchSize::SmallInput,
        );
    });
    let mut noise = ComfortNoise::new(Format::PCMU, DEFAULT_LEVEL, 1);
    group.bench_function("comfort_noise", |bencher| {
        bencher.iter(|| noise.fill(black_box(&mut coded)));
    });
    group.finish();
}

fn resample(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resample");
    for from in Rate::ALL {
        for to in Rate::ALL {
            let Some(mut resampler) = Resampler::new(from, to) else { continue };
            let input: Vec<i16> = (0..from.samples_per_ms() * 20).map(|n| n as i16 * 31).collect();
            let mut output = vec![0; to.samples_per_ms() * 20];
            let name = format!("{}_to_{}", from.samples_per_ms(), to.samples_per_ms());
            group.bench_function(name, |bencher| {
                bencher.iter(|| resampler.process(black_box(&input), black_box(&mut output)));
            });
        }
    }
    group.finish();
}

/// One frame of 20 ms, each way, between each codec of carriers and what agents write.
fn transcode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transcode");
    for format in [Format::PCMU, Format::Linear(Rate::Hz16000), Format::Linear(Rate::Hz24000)] {
        for codec in Codec::ALL {
            let mut noise = ComfortNoise::new(format, 20, 1);
            let mut said = vec![0; format.bytes_per_ms() * 20];
            noise.fill(&mut said);
            let mut frame = [0; 480];
            let mut to_carrier = Transcoder::to_carrier(format, *codec);
            let mut len = 0;
            let name = codec.encoding_name();
            group.bench_function(format!("{format:?}_to_{name}"), |bencher| {
                bencher.iter(|| {
                    len = to_carrier
                        .frame(said.len(), black_box(&mut frame), |f| f.copy_from_slice(&said));
                });
            });
            let mut to_agent = Transcoder::to_agent(*codec, format);
            group.bench_function(format!("{name}_to_{format:?}"), |bencher| {
                bencher.iter(|| {
                    let mut sum = 0;
                    to_agent.transcode(black_box(&frame[..len]), |bytes| sum += bytes.len());
                    sum
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, srtp, rtp, audio, resample, transcode);
criterion_main!(benches);
