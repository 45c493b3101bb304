//! How calls end, what keeps them alive, and what both ends report meanwhile.

use super::*;
use crate::rtp::rtcp;

fn stopped(call: &mut Call) -> Box<Report> {
    match call.take_events().pop() {
        Some(Event::Stopped(report)) => report,
        other => panic!("{other:?} is not the end"),
    }
}

/// The reports among what was sent, by kind, with the time since the call began.
fn reports(call: &Call, sent: &[(Instant, SocketAddr, Vec<u8>)]) -> Vec<(Duration, String)> {
    sent.iter()
        .map(|(at, _, packet)| {
            let kinds = Compound::parse(packet).unwrap().map(|packet| match packet {
                Rtcp::SenderReport { .. } => "SR",
                Rtcp::ReceiverReport { .. } => "RR",
                Rtcp::SourceDescription { .. } => "SDES",
                Rtcp::Goodbye { .. } => "BYE",
                Rtcp::ExtendedReport { .. } | Rtcp::Other { .. } => "?",
            });
            (*at - call.start, kinds.collect::<Vec<_>>().join(" "))
        })
        .collect()
}

fn receiver_report(call: &Call, now: Instant) -> Vec<u8> {
    let block = rtcp::ReportBlock {
        ssrc: call.media.ssrc,
        fraction_lost: 0,
        cumulative_lost: 3,
        extended_highest: 0,
        jitter: 80,
        last_sr: rtcp::NtpTime::from_elapsed(now - call.start - ms(50)).middle(),
        delay_since_last_sr: 0,
    };
    let mut buffer = vec![0; 256];
    let len = rtcp::write_report(&mut buffer, Ssrc(0xca11), None, &[block], "carrier");
    buffer.truncate(len);
    buffer
}

#[test]
fn stop_tells_agent_and_carrier_and_reports_and_then_nothing_more() {
    let mut call = Call::up();
    for n in 0..50 {
        call.caller_speaks(n, &[1; FRAME]);
        call.agent_speaks(&speech(FRAME));
        call.run(ms(20));
    }
    call.take_told();
    call.command(Command::Stop);
    assert_eq!(call.take_told(), ["stop"]);
    assert!(call.seen.agent_closed);
    assert_eq!(reports(&call, &call.seen.rtcp).pop().unwrap().1, "SR SDES BYE");
    let report = stopped(&mut call);
    assert_eq!((report.packets_in, report.bytes_in, report.lost), (50, 50 * 160, 0));
    assert!(report.packets_out >= 50);
    assert!(report.mos.unwrap() > 4.0, "{:?}", report.mos);
    assert_eq!(call.media.poll_timeout(), None);
    call.take_sent();
    call.command(Command::Stop);
    call.caller_speaks(50, &[1; FRAME]);
    call.agent_speaks(&speech(FRAME));
    call.run(secs(10));
    assert!(call.take_sent().is_empty() && call.take_events().is_empty());
}

#[test]
fn a_cancelled_call_sends_stop_to_an_agent_that_was_ready() {
    let mut call = Call::new();
    call.open();
    call.agent_speaks(&speech(800));
    call.command(Command::Stop);
    assert_eq!(call.take_told(), ["connected", "start", "stop"]);
    assert!(call.seen.agent_closed);
    assert!(call.seen.rtp.is_empty() && call.seen.rtcp.is_empty());
}

#[test]
fn a_cancelled_call_gives_up_an_agent_that_was_not_there_yet() {
    let mut call = Call::new();
    call.command(Command::Stop);
    assert!(call.seen.agent_closed && call.seen.agent.is_empty());
    stopped(&mut call);
}

#[test]
fn an_agent_that_cannot_be_reached_is_told_once_and_another_may_take_over() {
    let mut call = Call::new();
    let fail = |call: &mut Call| {
        call.step(|media, now, sink| media.handle_agent_failed(now, AgentFailure::Tls, sink));
    };
    fail(&mut call);
    fail(&mut call);
    assert_eq!(call.take_events(), [Event::AgentFailed { reason: AgentFailure::Tls }]);
    let other = StartInfo { call_id: "other".into(), ..StartInfo::default() };
    call.media.replace_agent(Dialect::TwilioMediaStreams, &other);
    call.open();
    assert_eq!(call.take_told(), ["connected", "start"]);
    call.command(Command::Answered);
    call.caller_speaks(0, &[1; FRAME]);
    assert_eq!(call.take_heard().len(), 1);
}

#[test]
fn an_agent_that_closes_before_the_opening_has_failed() {
    let mut call = Call::new();
    call.agent_closes(Some(1000));
    assert_eq!(call.take_events(), [Event::AgentFailed { reason: AgentFailure::Closed }]);
}

#[test]
fn the_silence_behind_a_farewell_is_not_played() {
    // A bot of the usual kind: two seconds of silence, then the close, all at once.
    let mut call = Call::up();
    call.agent_speaks(&speech(FRAME * 5));
    call.agent_speaks(&[0xff; 16_000]);
    call.take_events();
    call.agent_closes(Some(1000));
    assert!(!call.take_events().contains(&Event::AgentClosed { code: Some(1000) }));
    call.run(ms(120));
    assert_eq!(call.take_events(), [Event::AgentClosed { code: Some(1000) }]);
    let heard = call.take_sent().iter().filter(|sent| is_speech(&sent.payload)).count();
    assert_eq!(heard, 5);
}

#[test]
fn with_nothing_but_silence_queued_the_end_comes_at_once() {
    let mut call = Call::up();
    call.agent_speaks(&speech(FRAME));
    call.agent_speaks(&[0x7f; 16_000]);
    call.run(ms(100));
    call.take_events();
    call.agent_closes(Some(1000));
    assert_eq!(call.take_events(), [Event::AgentClosed { code: Some(1000) }]);
}

#[test]
fn last_words_are_played_for_five_seconds_at_most() {
    let mut call = Call::up();
    call.agent_speaks(&speech(80_000));
    call.agent_closes(Some(1000));
    call.take_events();
    call.run(ms(4990));
    assert!(matches!(call.take_events()[..], [Event::OneWay(_)]), "nothing of the caller came");
    call.run(ms(40));
    assert_eq!(call.take_events(), [Event::AgentClosed { code: Some(1000) }]);
}

#[test]
fn last_words_that_cannot_be_played_are_not_waited_for_forever() {
    let mut call = Call::new();
    call.open();
    call.agent_speaks(&speech(1600));
    call.agent_closes(Some(1000));
    call.take_events();
    call.run(ms(5100));
    assert_eq!(call.take_events(), [Event::AgentClosed { code: Some(1000) }]);
}

#[test]
fn an_agent_that_breaks_off_is_gone_at_once_with_what_it_said() {
    for code in [None, Some(1006), Some(1011)] {
        let mut call = Call::up();
        call.agent_speaks(&speech(80_000));
        call.take_events();
        call.agent_closes(code);
        assert_eq!(call.take_events(), [Event::AgentClosed { code }]);
        call.take_sent();
        call.run(secs(1));
        let sent = call.take_sent();
        assert!((49..=51).contains(&sent.len()), "the line stays alive");
        assert!(sent.iter().all(|sent| !is_speech(&sent.payload)));
    }
}

#[test]
fn losses_that_come_together_are_told_from_those_that_come_alone() {
    let mut call = Call::up();
    for n in 0..200 {
        // One alone; then three with two packets between them.
        if ![50, 100, 102, 103].contains(&n) {
            call.caller_speaks(n, &[1; FRAME]);
        }
        call.run(ms(20));
    }
    let report = call.report();
    assert_eq!((report.lost, report.loss_bursts, report.burst_packets), (4, 1, 4.0));
    assert!((report.burst_loss_rate - 0.75).abs() < 1e-9);
    assert!((report.gap_loss_rate - 1.0 / 196.0).abs() < 1e-9);
    assert!((report.gap_packets - 98.0).abs() < 1e-9);
    let mos = report.mos.unwrap();
    let mut whole = Call::up();
    for n in 0..200 {
        whole.caller_speaks(n, &[1; FRAME]);
        whole.run(ms(20));
    }
    assert!(mos < whole.report().mos.unwrap() - 0.1, "{mos}");
}

#[test]
fn the_carriers_own_score_counts_before_ours_of_its_losses() {
    let mut call = Call::up();
    call.run(secs(2));
    assert_eq!(call.report().remote_mos, None);
    let mut report = receiver_report(&call, call.now);
    call.step(|media, now, sink| {
        media.handle_rtcp(now, at(CARRIER_RTCP), &mut report.clone(), sink);
    });
    // Three packets of a hundred.
    let ours = call.report().remote_mos.unwrap();
    assert!((3.5..4.3).contains(&ours), "{ours}");
    // The same with VoIP metrics behind it (RFC 3611 §4.7): MOS-CQ 2.9, of us and of another.
    for (ssrc, score) in [(call.media.ssrc.0, 29), (7, 10)] {
        report.extend([0x80, 207, 0, 10, 0, 0, 0xca, 0x11, 7, 0, 0, 8]);
        report.extend(ssrc.to_be_bytes());
        report.extend([0; 16]); // rates, durations, delays, levels
        report.extend([60, 127, 31, score]);
        report.extend([0; 8]); // the jitter buffer
    }
    call.step(|media, now, sink| {
        media.handle_rtcp(now, at(CARRIER_RTCP), &mut report, sink);
    });
    assert_eq!(call.report().remote_mos, Some(2.9));
}

#[test]
fn the_carriers_inactivity_counts_its_rtp_and_rtcp_only() {
    let mut call = Call::up();
    for n in 0..100 {
        call.agent_speaks(&speech(FRAME));
        call.caller_speaks(n, &[1; FRAME]);
        call.run(ms(20));
    }
    call.take_events();
    let last = call.now - ms(20);
    for _ in 0..50 {
        call.agent_speaks(&speech(FRAME)); // the agent's talking keeps nobody alive
        call.run(secs(1));
    }
    let report = receiver_report(&call, call.now);
    call.step(|media, now, sink| {
        media.handle_rtcp(now, at(CARRIER_RTCP), &mut report.clone(), sink);
    });
    let again = call.now;
    call.run(secs(59));
    let told = call.take_events();
    let as_expected = matches!(told[..], [Event::Turn(_), Event::OneWay(_)]);
    assert!(as_expected, "{:?} {told:?}", call.now - last);
    call.run(secs(2));
    let (at, event) = call.seen.events.pop().unwrap();
    assert_eq!((at, event), (again + secs(60), Event::CarrierInactive));
    call.run(secs(120));
    assert!(call.take_events().is_empty(), "said once");
}

#[test]
fn strangers_keep_no_call_alive() {
    let mut call = Call::up();
    call.caller_speaks(0, &[1; FRAME]);
    for n in 0..70 {
        call.run(secs(1));
        call.carrier_sends(at("192.0.2.66:30000"), &header(n, 0), &[1; FRAME]);
    }
    assert_eq!(call.take_events().pop(), Some(Event::CarrierInactive));
}

#[test]
fn inactivity_stands_still_while_the_carrier_holds() {
    let mut call = Call::up();
    call.caller_speaks(0, &[1; FRAME]);
    call.run(secs(40));
    call.command(Command::Direction(Direction::RecvOnly));
    call.run(secs(600));
    call.command(Command::Direction(Direction::SendRecv));
    call.take_events();
    call.run(ms(19_900));
    assert!(call.take_events().is_empty());
    call.run(ms(200));
    assert_eq!(call.take_events(), [Event::CarrierInactive]);
}

#[test]
fn inactivity_begins_with_the_answer() {
    let mut call = Call::new();
    call.open();
    call.take_events();
    call.run(secs(300));
    assert!(call.take_events().is_empty());
    call.command(Command::Answered);
    call.run(ms(59_900));
    assert!(call.take_events().is_empty());
    call.run(ms(200));
    assert_eq!(call.take_events(), [Event::CarrierInactive]);
}

#[test]
fn reports_leave_about_every_five_seconds() {
    let mut call = Call::up();
    for n in 0..3000 {
        call.caller_speaks(n, &[1; FRAME]);
        call.run(ms(20));
    }
    let reports = reports(&call, &call.seen.rtcp);
    assert!((9..=20).contains(&reports.len()), "{}", reports.len());
    assert!(reports.iter().all(|(_, kind)| kind == "SR SDES"));
    assert!(reports[0].0 >= ms(1250) && reports[0].0 <= ms(3750));
    for pair in reports.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!((ms(2500)..=ms(7500)).contains(&gap), "{gap:?}");
    }
    assert!(call.seen.rtcp.iter().all(|(_, to, _)| *to == at(CARRIER_RTCP)));
}

#[test]
fn who_sends_nothing_reports_as_a_receiver() {
    let mut call = Call::planned(|plan| plan.idle_audio = IdleAudio::None).bring_up();
    call.caller_speaks(0, &[1; FRAME]);
    call.run(secs(10));
    assert!(reports(&call, &call.seen.rtcp).iter().all(|(_, kind)| kind == "RR SDES"));
}

#[test]
fn with_mux_reports_share_the_road_of_rtp_both_ways() {
    let mut call = Call::planned(|plan| plan.rtcp_mux = true).bring_up();
    call.run(secs(10));
    assert!(call.seen.rtcp.is_empty());
    assert!(
        call.seen.rtp.iter().any(|(_, to, packet)| { rtp_is_rtcp(packet) && *to == at(CARRIER) })
    );
    let now = call.now;
    let report = receiver_report(&call, now);
    call.step(|media, now, sink| media.handle_rtp(now, at(CARRIER), &mut report.clone(), sink));
    let report = call.report();
    assert_eq!(report.remote_lost, Some(3));
    assert_eq!(report.remote_jitter_ms, Some(10.0));
    assert!((report.round_trip_ms.unwrap() - 50.0).abs() < 1.0, "{:?}", report.round_trip_ms);
}

#[test]
fn reports_are_encrypted_where_the_call_is() {
    let suite = CryptoSuite::AesCm128HmacSha1_80;
    let key = |byte| MasterKey::new(suite, &vec![byte; suite.master_len_bytes()]).unwrap();
    let mut call = Call::planned(|plan| plan.crypto = Some((key(1), key(2)))).bring_up();
    call.run(secs(10));
    let (_, receiver) = call.carrier.as_mut().unwrap();
    for (_, _, packet) in &mut call.seen.rtcp {
        let len = receiver.unprotect_rtcp(packet).unwrap();
        assert!(Compound::parse(&packet[..len]).is_ok());
    }
    assert!(!call.seen.rtcp.is_empty());
    let now = call.now;
    let plain = receiver_report(&call, now);
    let mut forged = plain.clone();
    call.step(|media, now, sink| media.handle_rtcp(now, at(CARRIER_RTCP), &mut forged, sink));
    assert_eq!(call.report().remote_lost, None);
    let mut packet = plain.clone();
    packet.resize(plain.len() + srtp::MAX_RTCP_OVERHEAD_BYTES, 0);
    let (sender, _) = call.carrier.as_mut().unwrap();
    let len = sender.protect_rtcp(&mut packet, plain.len()).unwrap();
    call.step(|media, now, sink| {
        media.handle_rtcp(now, at(CARRIER_RTCP), &mut packet[..len], sink);
    });
    assert_eq!(call.report().remote_lost, Some(3));
}

#[test]
fn a_report_serialises_for_the_record() {
    let report = serde_json::to_value(Call::up().report()).unwrap();
    assert_eq!(report["packetsIn"], 0);
    assert_eq!(report["firstAudioDelayMs"], Value::Null);
    assert_eq!(report["sentBeforeHeard"], false);
}
