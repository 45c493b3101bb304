//! Long runs with seeds: an unkind network, an agent that says anything at any time.

use proptest::prelude::*;

use super::*;
use crate::random::Random;

/// A packet leaves at most a frame ahead of its turn and, when nobody serves the clock in time, less
/// than a frame after it; so no two of them can be further apart than two frames, ever.
fn assert_no_drift(sent: &[Sent]) {
    let Some(first) = sent.first() else { return };
    for packet in sent {
        let samples = packet.header.timestamp.wrapping_sub(first.header.timestamp);
        let rtp = Duration::from_micros(u64::from(samples) * 125);
        let wall = packet.at - first.at;
        assert!(rtp.abs_diff(wall) <= ms(40), "RTP time {rtp:?} at wall time {wall:?}");
    }
    for pair in sent.windows(2) {
        let step = pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp);
        assert!(step > 0 && step % 160 == 0, "a step of {step} samples");
        assert_eq!(pair[1].header.sequence_number, pair[0].header.sequence_number.next());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Speak(usize),
    Mark,
    Clear,
    Wait(u64),
    Oversleep(u64),
    Hold(bool),
    Caller,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_usize..5000).prop_map(Step::Speak),
        2 => (1_usize..400).prop_map(Step::Speak),
        1 => Just(Step::Mark),
        1 => Just(Step::Clear),
        6 => (0_u64..70_000).prop_map(Step::Wait),
        1 => (0_u64..3_000_000).prop_map(Step::Wait),
        1 => (0_u64..150_000).prop_map(Step::Oversleep),
        1 => any::<bool>().prop_map(Step::Hold),
        2 => Just(Step::Caller),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rtp_time_never_drifts_from_wall_time_whatever_the_agent_does(
        steps in steps(),
        idle in 0..3,
    ) {
        let idle_audio =
            [IdleAudio::ComfortNoise, IdleAudio::Silence, IdleAudio::None][idle as usize];
        let mut call = Call::planned(|plan| plan.idle_audio = idle_audio).bring_up();
        let (mut marks, mut n) = (0, 0);
        for step in steps {
            match step {
                Step::Speak(len) => call.agent_speaks(&speech(len)),
                Step::Mark => {
                    marks += 1;
                    call.agent_marks(&marks.to_string());
                }
                Step::Clear => call.agent_clears(),
                Step::Wait(us) => call.run(Duration::from_micros(us)),
                Step::Oversleep(us) => {
                    call.now += Duration::from_micros(us);
                    call.step(|media, now, sink| media.handle_timeout(now, sink));
                    prop_assert!(call.media.poll_timeout().is_none_or(|at| at > call.now));
                }
                Step::Hold(held) => call.command(Command::Direction(
                    if held { Direction::RecvOnly } else { Direction::SendRecv },
                )),
                Step::Caller => {
                    call.caller_speaks(n, &[1; FRAME]);
                    n = n.wrapping_add(1);
                }
            }
        }
        call.command(Command::Direction(Direction::SendRecv));
        call.run(secs(20));
        assert_no_drift(&call.take_sent());
        // Every mark was answered, once and in order.
        let told = call.take_told();
        let answered: Vec<_> = told.iter().filter(|text| text.starts_with("mark")).cloned().collect();
        let expected: Vec<_> = (1..=marks).map(|n| format!("mark {n}")).collect();
        prop_assert_eq!(answered, expected);
        let report = call.report();
        prop_assert_eq!(report.marks, marks);
    }

    #[test]
    fn the_agents_stream_has_no_holes_on_an_unkind_network(
        seed in any::<u64>(),
        loss_percent in 0_u64..20,
        jitter_ms in 0_u64..200,
    ) {
        let heard = through(seed, loss_percent, jitter_ms, 500);
        for pair in heard.windows(2) {
            prop_assert_eq!(pair[1].1, pair[0].1 + 20);
        }
        // Within a second of the ten that passed: what jitter shifts, silence pays back.
        let length = heard.last().map_or(0, |(_, time, _)| *time);
        prop_assert!((9_500..=10_700).contains(&length), "{}", length);
        // Speech is never heard twice nor out of order.
        let numbers: Vec<u16> = heard
            .iter()
            // Behind what a gap's end may be blended with, and not what was made up.
            .filter(|(_, _, audio)| audio[MAX_BLEND..][..2] == [0x11, 0x12])
            .map(|(_, _, audio)| u16::from_be_bytes([audio[FRAME - 2], audio[FRAME - 1]]))
            .collect();
        prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        if jitter_ms <= 20 {
            // One frame of reordering is put right, so only what was lost is missing.
            let lost = 500 - numbers.len() as u64;
            prop_assert!(lost <= 500 * loss_percent / 100 + 40, "{} of 500 lost", lost);
        }
    }
}

/// `count` packets of a caller through loss, jitter and duplication; what the agent heard.
fn through(
    seed: u64,
    loss_percent: u64,
    jitter_ms: u64,
    count: u16,
) -> Vec<(Instant, u64, Vec<u8>)> {
    let mut random = Seeded::new(seed);
    let random: &mut dyn Random = &mut random;
    let mut call = Call::up();
    let mut wire = Vec::new();
    for n in 0..count {
        if random.u64() % 100 < loss_percent {
            continue;
        }
        let copies = if random.u64() % 50 == 0 { 2 } else { 1 };
        for _ in 0..copies {
            let delay_us = random.u64() % (jitter_ms * 1000 + 1);
            let at = call.start + ms(20) * u32::from(n) + Duration::from_micros(delay_us);
            wire.push((at, n));
        }
    }
    wire.sort();
    for (at, n) in wire {
        call.run(at - call.now);
        let mut audio = [0x11; FRAME];
        audio[MAX_BLEND + 1] = 0x12;
        audio[FRAME - 2..].copy_from_slice(&n.to_be_bytes());
        call.caller_speaks(n, &audio);
    }
    let end = call.start + ms(20) * u32::from(count) + ms(500);
    call.run(end - call.now);
    call.take_heard()
}

#[test]
fn an_hour_of_conversation_neither_drifts_nor_grows() {
    let mut random = Seeded::new(3);
    let random: &mut dyn Random = &mut random;
    let budget = Arc::new(PlayoutBudget::new(1 << 24));
    let shared = budget.clone();
    let mut call = Call::planned(|plan| plan.playout_budget = shared).bring_up();
    let mut first: Option<Sent> = None;
    let mut n = 0;
    while call.now < call.start + secs(3600) {
        // The agent answers with up to four seconds of speech in chunks of odd lengths.
        for _ in 0..random.u64() % 20 {
            call.agent_speaks(&speech(1 + (random.u64() % 1600) as usize));
        }
        for _ in 0..random.u64() % 300 {
            call.caller_speaks(n, &[1; FRAME]);
            n = n.wrapping_add(1);
            call.run(ms(20));
        }
        call.run(Duration::from_micros(random.u64() % 20_000));
        let sent = call.take_sent();
        let first = &*first.get_or_insert_with(|| sent[0].clone());
        if let Some(last) = sent.last() {
            let samples = last.header.timestamp.wrapping_sub(first.header.timestamp);
            let rtp = Duration::from_micros(u64::from(samples) * 125);
            let wall = last.at - first.at;
            // A frame ahead of its turn at most, or half a one behind it when one was waited for.
            assert!(rtp.abs_diff(wall) <= ms(30), "{rtp:?} {wall:?}");
        }
        call.seen.agent.clear();
        call.seen.rtcp.clear();
    }
    call.run(secs(60));
    assert_eq!(budget.free_bytes(), 1 << 24);
    assert_eq!(call.report().skipped_frames, 0);
}

#[test]
fn for_an_hour_a_carrier_whose_clock_runs_wrong_neither_starves_nor_piles_up() {
    for drift_ppm in [-200_i64, 200] {
        let mut call = Call::up();
        let frame = Duration::from_nanos((20_000_000 + 20 * drift_ppm) as u64);
        for n in 0..180_000_u32 {
            call.carrier_sends(at(CARRIER), &header(n as u16, n * 160), &[0x11; FRAME]);
            // What came is passed on in the same instant, in the last minute as in the first.
            let heard = call.take_heard();
            let [(at, elapsed, audio)] = &heard[..] else { panic!("{n}: {}", heard.len()) };
            assert_eq!((*at, *elapsed), (call.now, u64::from(n) * 20));
            assert!(is_speech(audio));
            call.run(frame);
            call.seen.rtp.clear();
            call.seen.rtcp.clear();
        }
        assert_eq!((call.report().filled_ms, call.report().lost), (0, 0));
    }
}

#[test]
fn half_an_hour_of_losses_in_bursts_and_of_jitter_leaves_no_delay_behind() {
    for (seed, jitter_ms) in [(1, 20), (2, 80), (3, 200)] {
        let mut random = Seeded::new(seed);
        let random: &mut dyn Random = &mut random;
        let mut call = Call::up();
        let (mut lost, mut bursting) = (0, false);
        let mut wire = Vec::new();
        for n in 0..90_000_u32 {
            // Gilbert: bursts of four on average, a fifth of the time.
            bursting = random.u64() % 100 < if bursting { 75 } else { 6 };
            // The last seconds are calm: what is late then would have been late for ever.
            if bursting && n < 89_000 {
                lost += 1;
                continue;
            }
            let most = if n < 89_000 { jitter_ms * 1000 } else { 0 };
            let delay = Duration::from_micros(random.u64() % (most + 1));
            wire.push((call.start + ms(20) * n + delay, n));
        }
        wire.sort();
        assert!((15_000..20_000).contains(&lost), "{lost}");
        let mut last = 0;
        for (comes, n) in wire {
            call.run(comes - call.now);
            call.carrier_sends(at(CARRIER), &header(n as u16, n * 160), &[0x11; FRAME]);
            for (_, elapsed, _) in call.take_heard() {
                assert_eq!(elapsed, last, "{n}");
                last += 20;
            }
            call.seen.rtp.clear();
            call.seen.rtcp.clear();
        }
        let real = (call.now - call.start).as_millis() as u64;
        assert!(last.abs_diff(real) <= 300 + jitter_ms, "{last} ms heard in {real} ms");
        assert_eq!(call.report().lost, lost, "of 90,000");
        assert!(call.report().mos.unwrap() < 3.0);
    }
}
