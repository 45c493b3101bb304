//! How long the agent takes to answer, and to be quiet.

use super::*;

fn turns(call: &mut Call) -> Vec<Turn> {
    let told = call.take_events().into_iter();
    told.filter_map(|event| match event {
        Event::Turn(turn) => Some(turn),
        _ => None,
    })
    .collect()
}

/// The caller speaks for so many packets, from number `n` on.
fn caller_speaks(call: &mut Call, n: u16, count: u16) {
    for n in n..n + count {
        call.caller_speaks(n, &[1; FRAME]);
        call.run(ms(20));
    }
}

#[test]
fn the_agents_answer_is_timed_from_the_callers_last_sound_to_what_leaves() {
    let mut call = Call::up();
    caller_speaks(&mut call, 0, 25);
    for n in 25..75 {
        call.caller_speaks(n, &[0xff; FRAME]);
        call.run(ms(20));
    }
    call.agent_speaks(&[0xff; 4 * FRAME]); // streams silence before it speaks
    call.run(ms(80));
    assert_eq!(turns(&mut call), []);
    call.agent_speaks(&speech(10 * FRAME));
    call.run(ms(300));
    let told = turns(&mut call);
    let [Turn::Response { after }] = told[..] else { panic!("{told:?}") };
    // From the packet at 480 ms to the frame that the speech was in time for.
    assert!((ms(1100)..=ms(1120)).contains(&after), "{after:?}");
    let report = call.report();
    let after_ms = Some(after.as_millis() as u64);
    assert_eq!(report.responses, 1);
    assert_eq!((report.mean_response_ms, report.longest_response_ms), (after_ms, after_ms));
}

#[test]
fn an_interruption_takes_effect_within_a_frame() {
    let mut call = Call::up();
    call.agent_speaks(&speech(100 * FRAME));
    call.run(ms(500));
    caller_speaks(&mut call, 0, 10);
    assert_eq!(turns(&mut call), []);
    call.agent_clears();
    call.run(ms(100));
    let told = turns(&mut call);
    let [Turn::Interruption { reaction, effect }] = told[..] else { panic!("{told:?}") };
    assert_eq!(reaction, Some(ms(200)));
    assert!(effect <= ms(20), "{effect:?}");
    let report = call.report();
    assert_eq!((report.interruptions, report.longest_reaction_ms), (1, Some(200)));
    assert!(report.longest_interruption_ms <= Some(20));
    assert_eq!((report.responses, report.mean_response_ms), (0, None));
}
