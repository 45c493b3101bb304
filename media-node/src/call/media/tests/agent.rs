//! The agent's speech on its way to the caller.

use super::*;
use crate::audio::g711::Law;

#[test]
fn the_opening_is_written_before_the_agent_counts_as_ready() {
    let mut call = Call::new();
    call.open();
    assert_eq!(call.take_told(), ["connected", "start"]);
    assert_eq!(call.take_events(), [Event::AgentReady]);
    call.open();
    assert!(call.take_told().is_empty() && call.take_events().is_empty());
}

#[test]
fn speech_before_the_ack_is_held_and_plays_from_its_first_sample() {
    let mut call = Call::new();
    call.open();
    call.agent_speaks(&speech(480));
    call.run(secs(3));
    call.command(Command::Answered);
    call.run(ms(200));
    assert!(call.take_sent().is_empty());
    call.command(Command::Established);
    call.run(ms(50));
    let sent = call.take_sent();
    let heard: Vec<u8> = sent.iter().flat_map(|sent| sent.payload.clone()).collect();
    assert_eq!(heard[..480], speech(480));
    assert_eq!(sent[0].at, call.start + ms(3200));
    assert_eq!(call.report().first_audio_delay_ms, Some(200));
}

#[test]
fn marks_wait_with_the_speech_before_the_ack_even_with_nothing_in_front() {
    let mut call = Call::new();
    call.open();
    call.agent_marks("early");
    call.agent_speaks(&speech(160));
    call.agent_marks("spoken");
    call.run(secs(1));
    call.take_told();
    call.command(Command::Answered);
    call.run(ms(100));
    assert!(call.take_told().is_empty());
    call.command(Command::Established);
    assert_eq!(call.take_told(), ["mark early", "mark spoken"]);
}

#[test]
fn the_first_frame_of_speech_leaves_at_once_with_the_marker_and_sets_the_phase() {
    let mut call = Call::up();
    call.run(ms(507));
    call.take_sent();
    call.take_events();
    let begin = call.now;
    call.agent_speaks(&speech(4 * FRAME));
    call.run(ms(75));
    let sent = call.take_sent();
    assert_eq!(call.take_events(), [Event::FirstAudioFromAgent]);
    for (n, packet) in sent[..4].iter().enumerate() {
        assert_eq!(packet.at, begin + ms(20 * n as u64));
        assert_eq!(packet.header.marker, n == 0);
        assert!(is_speech(&packet.payload));
    }
}

#[test]
fn sequence_numbers_and_timestamps_go_on_through_silence_and_speech() {
    let mut call = Call::up();
    for round in 0..20 {
        call.agent_speaks(&speech(160 * (round % 5)));
        call.run(ms(37 * round as u64));
    }
    let sent = call.take_sent();
    for pair in sent.windows(2) {
        let [one, next] = pair else { unreachable!() };
        assert_eq!(next.header.sequence_number, one.header.sequence_number.next());
        assert_eq!(next.header.timestamp, one.header.timestamp.wrapping_add(160));
        assert!(next.at - one.at <= ms(40));
    }
}

#[test]
fn the_lead_is_given_back_by_one_longer_gap() {
    let mut call = Call::up();
    call.run(ms(1000));
    let idle = call.take_sent();
    let turn = idle.last().unwrap().at;
    call.now = turn;
    call.run(ms(6)); // 14 ms before the next turn
    call.agent_speaks(&speech(3 * FRAME));
    call.run(ms(200));
    let gaps: Vec<_> = call.take_sent().windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert_eq!(gaps[..4], [ms(20), ms(20), ms(34), ms(20)]);
}

#[test]
fn a_burst_is_paced() {
    let mut call = Call::up();
    call.run(ms(100));
    call.take_sent();
    call.agent_speaks(&speech(8000));
    call.run(secs(1));
    let sent = call.take_sent();
    let spoken: Vec<_> = sent.iter().filter(|sent| is_speech(&sent.payload)).collect();
    assert_eq!(spoken.len(), 50);
    assert!(spoken.windows(2).all(|pair| pair[1].at - pair[0].at == ms(20)));
    let heard: Vec<u8> = spoken.iter().flat_map(|sent| sent.payload.clone()).collect();
    assert_eq!(heard, speech(8000));
}

#[test]
fn the_last_short_frame_is_filled_up_with_silence() {
    let mut call = Call::up();
    call.agent_speaks(&speech(200));
    call.run(ms(60));
    let sent = call.take_sent();
    let last = sent.iter().rfind(|sent| is_speech(&sent.payload)).unwrap();
    assert_eq!(last.payload[..40], speech(200)[160..]);
    assert!(last.payload[40..].iter().all(|byte| *byte == 0xff));
}

#[test]
fn crumbs_wait_for_the_next_turn_so_that_they_make_a_whole_frame() {
    let mut call = Call::up();
    call.run(secs(1));
    call.now = call.take_sent().last().unwrap().at;
    call.run(ms(1));
    for _ in 0..2 {
        call.agent_speaks(&speech(80));
        call.run(ms(5));
    }
    let sent = call.take_sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].payload, [speech(80), speech(80)].concat());
    // And a lonely crumb leaves at the turn.
    call.agent_speaks(&speech(10));
    call.run(ms(40));
    assert!(call.take_sent().iter().any(|sent| sent.payload[..10] == speech(10)));
}

#[test]
fn speech_that_continues_before_anything_else_left_needs_no_marker() {
    let mut call = Call::up();
    call.run(secs(1));
    call.now = call.take_sent().last().unwrap().at;
    call.run(ms(4)); // a lead of 16 ms
    call.agent_speaks(&speech(FRAME));
    call.run(ms(23)); // dry since 3 ms
    call.agent_speaks(&speech(FRAME));
    call.run(ms(3));
    let sent = call.take_sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].at - sent[0].at, ms(23));
    assert!(sent[0].header.marker && !sent[1].header.marker);
}

#[test]
fn one_late_frame_does_not_delay_all_that_follow() {
    let mut call = Call::up();
    call.run(secs(1));
    call.take_sent();
    let begin = call.now;
    let arrivals: Vec<_> = (0..400_u32)
        .map(|n| begin + ms(20) * n + if n == 30 { ms(9) } else { Duration::ZERO })
        .collect();
    for arrival in &arrivals {
        call.run(*arrival - call.now);
        call.agent_speaks(&speech(FRAME));
    }
    call.run(ms(30));
    let sent = call.take_sent();
    let left: Vec<_> = sent.iter().filter(|sent| is_speech(&sent.payload)).collect();
    assert_eq!(left.len(), 400);
    let waited: Vec<_> =
        left.iter().zip(&arrivals).map(|(sent, arrival)| sent.at - *arrival).collect();
    assert!(waited.iter().all(|waited| waited.is_zero()), "{waited:?}");
    assert!(left.iter().all(|sent| !sent.header.marker || sent.at == begin));
}

#[test]
fn what_most_frames_wait_without_need_is_taken_back_bit_by_bit() {
    let mut call = Call::up();
    call.run(secs(1));
    call.take_sent();
    let begin = call.now;
    // The first frame comes late, and sets the clock.
    let late = |n| if n == 0 { ms(8) } else { Duration::ZERO };
    for n in 0..400_u32 {
        call.run(begin + ms(20) * n + late(n) - call.now);
        call.agent_speaks(&speech(FRAME));
    }
    call.run(ms(30));
    let sent = call.take_sent();
    let left: Vec<_> = sent.iter().filter(|sent| is_speech(&sent.payload)).collect();
    let waited: Vec<_> =
        (0_u32..).zip(&left).map(|(n, sent)| sent.at - begin - ms(20) * n).collect();
    assert!(waited[1..30].iter().all(|waited| *waited == ms(8)), "{waited:?}");
    assert!(waited[50..].iter().all(|waited| waited.is_zero()), "{waited:?}");
    let gaps = left.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(gaps.into_iter().all(|gap| (ms(19)..=ms(20)).contains(&gap)));
}

#[test]
fn an_agent_that_jitters_is_heard_evenly_after_a_while() {
    let mut random = Seeded::new(11);
    let random: &mut dyn Random = &mut random;
    let mut call = Call::up();
    call.run(secs(1));
    call.take_sent();
    let begin = call.now;
    for n in 0..1000_u32 {
        let jitter = Duration::from_micros(random.u64() % 6000);
        call.run(begin + ms(20) * n + jitter - call.now);
        call.agent_speaks(&speech(FRAME));
    }
    call.run(ms(30));
    let sent = call.take_sent();
    let left: Vec<_> = sent.iter().filter(|sent| is_speech(&sent.payload)).collect();
    assert_eq!(left.len(), 1000);
    let gaps = left.windows(2).skip(300).map(|pair| pair[1].at - pair[0].at);
    assert!(gaps.clone().all(|gap| gap <= ms(22)), "{:?}", gaps.max());
    let waited = (0_u32..).zip(&left).skip(300).map(|(n, sent)| sent.at - begin - ms(20) * n);
    assert!(waited.clone().all(|waited| waited <= ms(7)), "{:?}", waited.max());
}

#[test]
fn an_idle_line_carries_noise_or_silence_every_20_ms_or_nothing() {
    for (idle_audio, expected) in
        [(IdleAudio::ComfortNoise, 250), (IdleAudio::Silence, 250), (IdleAudio::None, 0)]
    {
        let mut call = Call::planned(|plan| plan.idle_audio = idle_audio).bring_up();
        call.run(secs(5));
        let sent = call.take_sent();
        assert_eq!(sent.len(), expected);
        assert!(sent.windows(2).all(|pair| pair[1].at - pair[0].at == ms(20)));
        assert!(sent.iter().all(|sent| !sent.header.marker));
        let still = sent.iter().all(|sent| sent.payload == [0xff; FRAME]);
        assert_eq!(still, idle_audio != IdleAudio::ComfortNoise);
    }
}

#[test]
fn without_idle_audio_the_clock_sleeps_and_speech_still_has_the_right_time() {
    let mut call = Call::planned(|plan| plan.idle_audio = IdleAudio::None).bring_up();
    call.agent_speaks(&speech(FRAME));
    call.run(ms(3333));
    call.agent_speaks(&speech(FRAME));
    call.run(ms(100));
    let sent = call.take_sent();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|sent| sent.header.marker));
    assert_eq!(sent[1].at - sent[0].at, ms(3333));
    let samples = sent[1].header.timestamp.wrapping_sub(sent[0].header.timestamp);
    assert!((3333 * 8_u32).abs_diff(samples) <= 160, "{samples}");
    call.agent_speaks(&[1, 2, 3]);
    call.run(ms(20));
    assert_eq!(call.take_sent().len(), 1, "a crumb leaves within a frame");
}

#[test]
fn idle_clocks_of_many_calls_are_spread() {
    let mut tenths = [0; 10];
    for n in 0..1000 {
        let id = format!("0-01JDC{n:020}");
        tenths[(phase(&id, ms(20)).as_micros() / 2000) as usize] += 1;
    }
    assert!(tenths.iter().all(|count| (60..=150).contains(count)), "{tenths:?}");
}

#[test]
fn clear_takes_effect_within_a_frame_and_answers_every_mark() {
    let mut call = Call::up();
    call.agent_speaks(&speech(80_000));
    call.agent_marks("one");
    call.agent_speaks(&speech(80_000));
    call.agent_marks("two");
    call.run(secs(2));
    call.take_sent();
    call.take_told();
    call.agent_clears();
    assert_eq!(call.take_told(), ["mark one", "mark two"]);
    call.run(secs(1));
    let sent = call.take_sent();
    // The word that was being spoken fades within 10 ms.
    let fading = &sent[0].payload;
    assert!(is_speech(fading) && fading[FRAME / 2..].iter().all(|code| *code == 0xff));
    assert!(sent[1..].iter().all(|sent| !is_speech(&sent.payload)));
    let report = call.report();
    assert_eq!((report.clears, report.marks), (1, 2));
    assert_eq!(report.agent_audio_ms, 20_000);
    assert_eq!(report.played_ms + report.cleared_ms, 20_000);
}

#[test]
fn clear_before_the_ack_forgets_the_greeting_and_answers_its_marks() {
    let mut call = Call::new();
    call.open();
    call.agent_speaks(&speech(1600));
    call.agent_marks("greeting");
    call.take_told();
    call.agent_clears();
    assert_eq!(call.take_told(), ["mark greeting"]);
    call.command(Command::Answered);
    call.command(Command::Established);
    call.run(secs(1));
    assert!(call.take_sent().iter().all(|sent| !is_speech(&sent.payload)));
}

#[test]
fn speech_after_a_clear_begins_at_once() {
    let mut call = Call::up();
    call.agent_speaks(&speech(80_000));
    call.run(ms(1003));
    call.agent_clears();
    call.run(ms(91));
    call.take_sent();
    let begin = call.now;
    call.agent_speaks(&[0x55; FRAME]);
    let sent = call.take_sent();
    assert_eq!((sent[0].at, sent[0].payload[0], sent[0].header.marker), (begin, 0x55, true));
}

#[test]
fn marks_are_answered_in_order_when_their_audio_was_sent() {
    let mut call = Call::up();
    call.run(ms(10));
    call.take_told();
    let begin = call.now;
    call.agent_marks("before"); // nothing in front of it: at once
    call.agent_speaks(&speech(FRAME * 2));
    call.agent_marks("a");
    call.agent_speaks(&speech(FRAME));
    call.agent_marks("b");
    call.agent_marks("c");
    call.run(ms(100));
    let marks: Vec<_> = call
        .seen
        .take_told()
        .iter()
        .filter(|(_, message)| message["event"] == "mark")
        .map(|(at, message)| (brief(message), *at - begin))
        .collect();
    let expected = [("before", 0), ("a", 20), ("b", 40), ("c", 40)];
    assert_eq!(marks, expected.map(|(name, at)| (format!("mark {name}"), ms(at))));
}

#[test]
fn an_hour_at_once_is_bounded_and_clear_is_still_obeyed_within_a_frame() {
    let budget = Arc::new(PlayoutBudget::new(16 << 20));
    let shared = budget.clone();
    let mut call = Call::planned(|plan| plan.playout_budget = shared).bring_up();
    for _ in 0..60 {
        call.agent_speaks(&speech(8000 * 60));
    }
    let held = (16 << 20) - budget.free_bytes();
    assert!((600 * 8000..601 * 8000).contains(&held), "{held}");
    let report = call.report();
    assert_eq!(report.agent_audio_ms, 3_600_000);
    assert!((2_999_900..3_000_001).contains(&report.dropped_ms), "{}", report.dropped_ms);
    call.run(secs(1));
    call.agent_clears();
    call.take_sent();
    call.run(ms(100));
    // What fades is the rest of one frame.
    assert!(call.take_sent()[1..].iter().all(|sent| !is_speech(&sent.payload)));
    assert_eq!(budget.free_bytes(), 16 << 20);
}

#[test]
fn the_pods_budget_is_shared_and_comes_back_when_a_call_ends() {
    let budget = Arc::new(PlayoutBudget::new(80_000));
    let calls = [(); 3].map(|()| {
        let shared = budget.clone();
        let mut call = Call::planned(|plan| plan.playout_budget = shared).bring_up();
        call.agent_speaks(&speech(32_000));
        call
    });
    let dropped: u64 = calls.iter().map(|call| call.report().dropped_ms).sum();
    assert!((1900..2600).contains(&dropped), "{dropped}");
    for mut call in calls {
        call.command(Command::Stop);
    }
    assert_eq!(budget.free_bytes(), 80_000);
}

#[test]
fn a_late_wake_up_skips_frames_and_never_sends_a_burst() {
    let mut call = Call::up();
    call.agent_speaks(&speech(16_000));
    call.run(ms(100));
    let before = call.take_sent();
    call.now += ms(105); // nobody served the clock
    call.step(|media, now, sink| media.handle_timeout(now, sink));
    call.run(ms(100));
    let after = call.take_sent();
    let gap = after[0].at - before.last().unwrap().at;
    assert!(after.windows(2).all(|pair| pair[1].at - pair[0].at >= ms(1)));
    assert!(after[1..].windows(2).all(|pair| pair[1].at - pair[0].at == ms(20)));
    let skipped = call.report().skipped_frames;
    assert_eq!(skipped, gap.as_millis() as u64 / 20 - 1);
    // Time went on, words did not get lost.
    let step = after[0].header.timestamp.wrapping_sub(before.last().unwrap().header.timestamp);
    assert_eq!(u64::from(step), 160 * (skipped + 1));
    let spoken = before.iter().chain(&after).filter(|sent| is_speech(&sent.payload));
    let heard: Vec<u8> = spoken.flat_map(|sent| sent.payload.clone()).collect();
    assert_eq!(heard, speech(16_000)[..heard.len()]);
}

/// The delay of each frame that the caller heard of an agent in real time, by what the frame says; the
/// clock is not served for `stall` after frame 100.
fn delays_around_a_stall(stall: Duration, agent_first: bool) -> (Vec<(u32, Duration)>, Report) {
    let mut call = Call::up();
    call.run(secs(1));
    call.take_sent();
    let begin = call.now;
    let arrives = |n: u32| begin + ms(20) * n;
    let frame = |n: u32| [(n % 250) as u8 + 1; FRAME];
    let stalled = arrives(100) + ms(5);
    for n in 0..400_u32 {
        if (stalled..stalled + stall).contains(&arrives(n)) {
            continue; // it waits in the socket
        }
        if call.now < stalled && arrives(n) >= stalled + stall {
            call.run(stalled - call.now);
            call.now = stalled + stall;
            let serve = |call: &mut Call| {
                call.step(|media, now, sink| media.handle_timeout(now, sink));
            };
            if !agent_first {
                serve(&mut call);
            }
            let waiting = (0..n).filter(|it| (stalled..stalled + stall).contains(&arrives(*it)));
            waiting.for_each(|it| call.agent_speaks(&frame(it)));
            serve(&mut call);
        }
        call.run(arrives(n) - call.now);
        call.agent_speaks(&frame(n));
    }
    call.run(ms(500));
    let sent = call.take_sent();
    let gaps = sent.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(gaps.clone().all(|gap| gap > Duration::ZERO), "never a burst");
    let mut next = 0;
    let mut heard = Vec::new();
    for packet in sent.iter().filter(|sent| is_speech(&sent.payload)) {
        while frame(next)[0] != packet.payload[0] {
            next += 1;
        }
        heard.push((next, packet.at - arrives(next)));
        next += 1;
    }
    (heard, call.report())
}

#[test]
fn after_a_stall_an_agent_in_real_time_is_in_time_again() {
    for (stall, agent_first) in [(30, true), (110, true), (110, false), (400, false), (900, true)] {
        let (heard, report) = delays_around_a_stall(ms(stall), agent_first);
        let late: Vec<_> = heard.iter().filter(|(_, delay)| *delay > ms(20)).collect();
        let last = late.last().map_or(100, |(n, _)| *n);
        assert!(last < 100 + 3 * 50 + stall as u32 / 20, "late until {last}: {late:?}");
        let lost = 400 - heard.len() as u64;
        assert_eq!(lost, report.left_out_ms / 20);
        assert!(lost <= report.skipped_frames + 1, "{lost} of {}", report.skipped_frames);
    }
}

#[test]
fn without_a_stall_nothing_is_left_out() {
    let (heard, report) = delays_around_a_stall(ms(0), true);
    assert_eq!((heard.len(), report.left_out_ms), (400, 0));
}

#[test]
fn an_agent_silent_for_75_seconds_keeps_its_cadence_and_its_call() {
    let mut call = Call::up();
    for n in 0..3750_u16 {
        call.caller_speaks(n, &[0x33; FRAME]);
        call.run(ms(20));
    }
    let sent = call.take_sent();
    assert!((3749..=3751).contains(&sent.len()));
    assert!(sent.windows(2).all(|pair| pair[1].at - pair[0].at == ms(20)));
    assert!(!call.take_events().contains(&Event::CarrierInactive));
}

#[test]
fn packets_have_the_length_that_was_agreed_on() {
    for packet_ms in [10, 20, 30, 40, 60] {
        let mut call = Call::planned(|plan| plan.packet_time = ms(packet_ms)).bring_up();
        call.agent_speaks(&speech(4800));
        call.run(ms(590));
        let sent = call.take_sent();
        assert!(sent.iter().all(|sent| sent.payload.len() == packet_ms as usize * 8));
        assert!(sent.windows(2).all(|pair| pair[1].at - pair[0].at == ms(packet_ms)));
        let heard: Vec<u8> = sent.iter().flat_map(|sent| sent.payload.clone()).collect();
        assert_eq!(heard[..4000], speech(4800)[..4000]);
    }
}

#[test]
fn an_a_law_carrier_hears_a_mu_law_agent() {
    let mut call = Call::planned(|plan| (plan.codec, plan.payload_type) = (Codec::Pcma, 8));
    call.open();
    call.agent_speaks(&speech(200));
    call.command(Command::Answered);
    call.command(Command::Established);
    call.run(ms(30));
    let sent = call.take_sent();
    assert!(sent.iter().all(|sent| sent.header.payload_type == 8));
    let mut expected = speech(200);
    expected.resize(2 * FRAME, 0xff);
    crate::audio::g711::transcode(Law::Mu, Law::A, &mut expected);
    assert_eq!([&sent[0].payload[..], &sent[1].payload[..]].concat(), expected);
    assert_eq!(sent[1].payload[FRAME - 1], 0xd5);
}

#[test]
fn a_hold_stops_sending_and_time_goes_on() {
    let mut call = Call::up();
    call.agent_speaks(&speech(80_000));
    call.run(secs(1));
    let before = call.take_sent();
    for direction in [Direction::RecvOnly, Direction::Inactive] {
        call.command(Command::Direction(direction));
        call.run(secs(2));
        assert!(call.take_sent().is_empty());
    }
    call.agent_marks("late");
    call.command(Command::Direction(Direction::SendRecv));
    call.run(secs(1));
    let after = call.take_sent();
    let (one, next) = (before.last().unwrap(), &after[0]);
    assert_eq!(next.header.sequence_number, one.header.sequence_number.next());
    let samples = next.header.timestamp.wrapping_sub(one.header.timestamp);
    let passed = (next.at - one.at).as_millis() as u32 * 8;
    assert!(samples.abs_diff(passed) <= 160);
    assert!(next.header.marker);
    // What was said meanwhile, nobody heard: five seconds later the speech is five seconds on.
    assert!(call.report().played_ms < 2100);
}

#[test]
fn a_call_that_begins_on_hold_keeps_the_greeting() {
    let mut call = Call::planned(|plan| plan.direction = Direction::Inactive).bring_up();
    call.agent_speaks(&speech(320));
    call.run(secs(5));
    assert!(call.take_sent().is_empty());
    call.command(Command::Direction(Direction::SendRecv));
    let sent = call.take_sent();
    assert_eq!(sent[0].payload, speech(320)[..FRAME]);
}

#[test]
fn behind_a_load_balancer_the_carrier_sends_first() {
    let planned = || {
        let mut call = Call::planned(|plan| plan.behind_load_balancer = true);
        call.open();
        call.agent_speaks(&speech(480));
        call.command(Command::Answered);
        call.command(Command::Established);
        call
    };
    let mut call = planned();
    call.run(ms(300));
    assert!(call.take_sent().is_empty());
    call.caller_speaks(0, &[1; FRAME]);
    assert_eq!(call.take_sent()[0].payload, speech(480)[..FRAME]);
    assert!(!call.report().sent_before_heard);

    let mut call = planned();
    call.run(ms(1100));
    let sent = call.take_sent();
    assert_eq!(sent[0].at, call.start + secs(1));
    assert_eq!(sent[0].payload, speech(480)[..FRAME]);
    assert!(call.report().sent_before_heard);
}

#[test]
fn behind_a_load_balancer_neither_comfort_noise_nor_a_report_leaves_before_the_carrier_was_heard() {
    let planned = || {
        let mut call = Call::planned(|plan| {
            plan.behind_load_balancer = true;
            plan.idle_audio = IdleAudio::ComfortNoise;
        });
        call.open();
        call.command(Command::Answered);
        call.command(Command::Established);
        call
    };
    let mut call = planned();
    call.run(ms(500));
    assert!(call.take_sent().is_empty());
    call.caller_speaks(0, &[1; FRAME]);
    call.run(ms(100));
    assert_eq!(call.take_sent().len(), 5);
    // RTCP has an address of its own, from which nothing has come.
    call.command(Command::Stop);
    assert!(call.seen.rtcp.is_empty());

    // One who sends nothing hears all the same, a second later.
    let mut call = planned();
    call.run(ms(1100));
    assert_eq!(call.take_sent().len(), 5);
    call.command(Command::Stop);
    assert_eq!(call.seen.rtcp.len(), 1);
}

#[test]
fn behind_a_load_balancer_a_carrier_that_moves_is_waited_for_anew() {
    let mut call = Call::planned(|plan| plan.behind_load_balancer = true).bring_up();
    call.agent_speaks(&speech(40 * FRAME));
    call.caller_speaks(0, &[1; FRAME]);
    call.run(ms(90));
    let before = call.take_sent();
    assert_eq!(before.len(), 5);
    let moved = Command::Retarget { rtp: at("203.0.113.9:32000"), rtcp: at("203.0.113.9:32001") };
    call.command(moved);
    call.agent_marks("end");
    call.run(ms(700));
    assert!(call.take_sent().is_empty() && call.take_told() == ["connected", "start"]);

    call.carrier_sends(at("203.0.113.9:32000"), &header(1, 160), &[1; FRAME]);
    call.run(ms(720));
    let after = call.take_sent();
    assert!(after.iter().all(|sent| sent.to == at("203.0.113.9:32000")));
    let all = before.iter().chain(&after).filter(|sent| is_speech(&sent.payload));
    let heard: Vec<u8> = all.flat_map(|sent| sent.payload.clone()).collect();
    assert_eq!(heard, speech(40 * FRAME), "no word is lost by the move");
    assert_eq!(call.take_told(), ["mark end"]);
    // RTP time is wall time all along.
    let (one, next) = (before.last().unwrap(), &after[0]);
    let samples = next.header.timestamp.wrapping_sub(one.header.timestamp);
    assert!(samples.abs_diff((next.at - one.at).as_millis() as u32 * 8) <= 160);
}

#[test]
fn pauses_of_the_agent_are_counted_from_two_seconds_on() {
    let mut call = Call::up();
    for pause in [500, 2500, 4000] {
        call.agent_speaks(&speech(FRAME));
        call.run(ms(pause));
    }
    call.agent_speaks(&speech(FRAME));
    let report = call.report();
    assert_eq!(report.silences, 2);
    assert!((3950..4000).contains(&report.longest_silence_ms), "{}", report.longest_silence_ms);
}

#[test]
fn what_an_agent_says_wrong_is_counted_and_the_call_goes_on() {
    let mut call = Call::up();
    call.step(|media, now, sink| media.handle_agent_message(now, b"{\"event\":", sink));
    call.agent_says(&json!({"event": "dance"}));
    call.agent_says(&json!({"event": "media", "media": {"payload": "%%%%"}}));
    let sid = "MZ00000000000000000000000000000000";
    let payload = STANDARD.encode(speech(FRAME));
    call.agent_says(&json!({"event": "media", "streamSid": sid, "media": {"payload": payload}}));
    let report = call.report();
    assert_eq!(report.agent_messages_malformed, 2);
    assert_eq!(report.agent_messages_unknown, 1);
    assert_eq!(report.agent_messages_foreign, 1);
    assert!(call.take_sent().iter().any(|sent| sent.payload == speech(FRAME)));
}
