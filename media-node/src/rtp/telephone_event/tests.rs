use proptest::prelude::*;

use super::*;
use crate::media::Digit;
use crate::rtp::Ssrc;

const SSRC: Ssrc = Ssrc(7);
/// The clock in Hz and the ticks of 20 ms.
const CLOCKS: [(u32, u16); 3] = [(8000, 160), (16000, 320), (48000, 960)];

fn digit(c: char) -> Digit {
    Digit::new(c).unwrap()
}

fn all(mut sender: Sender) -> Vec<Outgoing> {
    let mut packets = Vec::new();
    loop {
        let before = packets.len();
        packets.extend(sender.turn());
        if packets.len() == before {
            return packets;
        }
    }
}

/// The packets of each digit, one after the other with a gap of 40 ms.
fn packets(digits: &str, step: u16, ticks: u32) -> Vec<Vec<Outgoing>> {
    let mut timestamp = 0xffff_f000_u32;
    let mut sent = Vec::new();
    for c in digits.chars() {
        sent.push(all(Sender::new(digit(c), timestamp, step, ticks)));
        timestamp =
            timestamp.wrapping_add(ticks.next_multiple_of(step.into()) + 2 * u32::from(step));
    }
    sent
}

fn hear(receiver: &mut Receiver, packet: &Outgoing) -> Option<Heard> {
    receiver.feed(SSRC, packet.timestamp, packet.marker, &packet.payload)
}

fn detect<'a>(packets: impl IntoIterator<Item = &'a Outgoing>) -> String {
    let mut receiver = Receiver::new();
    let heard = packets.into_iter().filter_map(|packet| hear(&mut receiver, packet));
    heard.filter(|heard| heard.begins).map(|heard| heard.digit.as_char()).collect()
}

fn event(code: u8, end: bool, duration: u16) -> [u8; 4] {
    Event { code, end, volume: 10, duration }.write()
}

fn told(packet: &Outgoing) -> (u16, bool) {
    let event = Event::parse(&packet.payload).unwrap();
    (event.duration, event.end)
}

#[test]
fn an_event_reads_as_it_was_written() {
    // RFC 4733 §2.3: event 5, E, volume 10, duration 1600.
    let bytes = [5, 0x8a, 0x06, 0x40];
    let event = Event { code: 5, end: true, volume: 10, duration: 1600 };
    assert_eq!(Event::parse(&bytes), Ok(event));
    assert_eq!(event.write(), bytes);
    for len in 0..4 {
        assert!(Event::parse(&bytes[..len]).is_err());
    }
}

#[test]
fn the_end_of_a_digit_is_told_three_times() {
    let packets = all(Sender::new(digit('7'), 5000, 160, 800));
    let durations: Vec<_> = packets.iter().map(told).collect();
    assert_eq!(durations[..4], [(160, false), (320, false), (480, false), (640, false)]);
    assert_eq!(durations[4..], [(800, true), (800, true), (800, true)]);
    assert!(packets[0].marker && !packets[1..].iter().any(|packet| packet.marker));
    assert!(packets.iter().all(|packet| packet.timestamp == 5000));
}

#[test]
fn the_shortest_digit_is_three_ends() {
    for (_, step) in CLOCKS {
        for ticks in [0, 1, u32::from(step)] {
            let packets = all(Sender::new(digit('1'), 0, step, ticks));
            assert_eq!(packets.iter().map(told).collect::<Vec<_>>(), [(step, true); 3]);
        }
    }
}

#[test]
fn a_long_digit_is_told_in_segments_without_an_end_between_them() {
    let packets = all(Sender::new(digit('5'), 100, 160, 160 * 1000));
    let of = |timestamp: u32| -> Vec<_> {
        packets.iter().filter(|it| it.timestamp == timestamp).map(told).collect()
    };
    let (first, second, third) = (of(100), of(100 + 0xffff), of(100 + 2 * 0xffff));
    assert_eq!(packets.len(), first.len() + second.len() + third.len());
    assert_eq!(first.len(), 409 + 3);
    assert_eq!(first[408..], [(65440, false), (0xffff, false), (0xffff, false), (0xffff, false)]);
    assert_eq!(second[0], (65, false), "cumulative, from where the segment starts");
    assert_eq!(second[second.len() - 3..], [(0xffff, false); 3]);
    let whole = 160_000 - 2 * 0xffff;
    assert_eq!(third[third.len() - 3..], [(whole as u16, true); 3]);
    assert_eq!(packets.iter().filter(|packet| packet.marker).count(), 1);
}

#[test]
fn the_length_and_the_volume_of_a_digit_are_known_at_its_end() {
    for (rate, step) in CLOCKS {
        for ms in [10_u32, 40, 100, 1000, 9000, 30_000] {
            let ticks = (rate / 1000 * ms).next_multiple_of(step.into());
            let mut receiver = Receiver::new();
            let packets = all(Sender::new(digit('#'), 77, step, ticks));
            let heard: Vec<_> = packets.iter().filter_map(|it| hear(&mut receiver, it)).collect();
            assert_eq!(heard.iter().filter(|heard| heard.begins).count(), 1, "{ms} ms at {rate}");
            let last = heard.last().unwrap();
            assert_eq!(
                (last.duration, last.ended, last.volume),
                (ticks, true, 10),
                "{ms} at {rate}"
            );
        }
    }
}

#[test]
fn the_same_digit_twice_is_two_digits() {
    assert_eq!(detect(packets("1155", 160, 800).iter().flatten()), "1155");
}

#[test]
fn an_event_of_which_only_the_end_came_counts() {
    let sent = packets("1#", 160, 800);
    assert_eq!(detect(sent.iter().filter_map(|packets| packets.last())), "1#");
}

#[test]
fn a_digit_whose_ends_are_lost_is_over_with_the_next() {
    let sent = packets("1122", 160, 800);
    // Neither ends nor, after the first digit, the packet with the marker.
    let kept = sent.iter().flat_map(|packets| &packets[1..4]);
    assert_eq!(detect(kept), "1122");
}

#[test]
fn another_source_with_the_same_timestamp_is_another_digit() {
    let mut receiver = Receiver::new();
    let payload = event(4, false, 160);
    for (ssrc, begins) in [(1, true), (1, false), (2, true), (2, false)] {
        let heard = receiver.feed(Ssrc(ssrc), 9000, false, &payload).unwrap();
        assert_eq!(heard.begins, begins);
    }
    // What is late of the first says nothing.
    assert_eq!(receiver.feed(Ssrc(1), 9000, false, &event(4, true, 800)), None);
}

#[test]
fn a_key_held_for_half_a_minute_is_one_digit_though_a_segment_is_lost() {
    for lost in 0..4 {
        let mut receiver = Receiver::new();
        let mut digits = 0;
        for segment in (0..4u32).filter(|segment| *segment != lost) {
            for duration in (160..u16::MAX).step_by(160).chain([u16::MAX]) {
                let timestamp = 1000 + segment * u32::from(u16::MAX);
                let payload = event(3, false, duration);
                let marker = duration == 160 && segment == 0;
                let heard = receiver.feed(SSRC, timestamp, marker, &payload);
                digits += usize::from(heard.is_some_and(|heard| heard.begins));
            }
        }
        assert_eq!(digits, 1, "without segment {lost}");
    }
}

#[test]
fn a_sender_whose_segments_are_shorter_says_one_digit() {
    let mut receiver = Receiver::new();
    let mut begins = 0;
    for segment in 0..3u32 {
        for duration in (160..=65_440u16).step_by(160) {
            let payload = event(3, false, duration);
            let heard = receiver.feed(SSRC, 1000 + segment * 65_440, false, &payload).unwrap();
            begins += usize::from(heard.begins);
            assert_eq!(heard.duration, segment * 65_440 + u32::from(duration));
        }
    }
    assert_eq!(begins, 1);
}

#[test]
fn a_packet_of_an_earlier_segment_that_comes_late_is_no_digit() {
    let mut receiver = Receiver::new();
    assert!(receiver.feed(SSRC, 1000 + 0xffff, false, &event(3, false, 160)).unwrap().begins);
    assert_eq!(receiver.feed(SSRC, 1000, true, &event(3, false, 320)), None);
}

#[test]
fn a_sender_that_moves_the_timestamp_says_one_digit() {
    let mut receiver = Receiver::new();
    let mut begins = 0;
    for i in 0..10u16 {
        let payload = event(9, i > 7, (i + 1) * 160);
        let heard = receiver.feed(SSRC, 8000 + u32::from(i) * 160, i == 0, &payload).unwrap();
        begins += usize::from(heard.begins);
        assert_eq!(heard.duration, (u32::from(i) + 1) * 160);
    }
    assert_eq!(begins, 1);
}

#[test]
fn flash_and_tones_are_no_digits() {
    let mut receiver = Receiver::new();
    for code in 16..=255 {
        assert_eq!(receiver.feed(SSRC, code.into(), true, &event(code, false, 160)), None);
    }
    assert_eq!(receiver.feed(SSRC, 1, true, &[]), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is lost, repeated or swapped with its neighbours: a digit of which one packet
    /// comes is heard, and heard once.
    #[test]
    fn every_digit_is_heard_exactly_once(
        digits in "[0-9A-D*#]{1,20}",
        clock in 0usize..3,
        ms in prop_oneof![10_u32..200, 200_u32..4000],
        seed in any::<u64>(),
        loss_percent in 0u64..95,
    ) {
        let (rate, step) = CLOCKS[clock];
        let mut dice = seed | 1;
        let mut roll = || {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            dice >> 33
        };
        let sent = packets(&digits, step, rate / 1000 * ms);
        let mut arrived: Vec<(u64, usize, Outgoing)> = Vec::new();
        let mut at = 0;
        for (index, packets) in sent.iter().enumerate() {
            for packet in packets {
                at += 1;
                if roll() % 100 >= loss_percent {
                    for _ in 0..1 + roll() % 2 {
                        arrived.push((at + roll() % 4, index, *packet));
                    }
                }
            }
        }
        arrived.sort_by_key(|(at, ..)| *at);
        let mut expected: Vec<char> = digits
            .chars()
            .enumerate()
            .filter(|(index, _)| arrived.iter().any(|(_, of, _)| of == index))
            .map(|(_, c)| c)
            .collect();
        let mut heard: Vec<char> = detect(arrived.iter().map(|(.., packet)| packet)).chars().collect();
        // Swapped with the neighbour's, first packets may change the order of two digits.
        expected.sort_unstable();
        heard.sort_unstable();
        prop_assert_eq!(heard, expected);
    }
}
