//! Each machine by itself: every state met with every event, and every timer at its moment.

use super::client::Kind;
use super::invite_server::PROCEEDING_LIMIT;
use super::*;

#[expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
pub(super) fn start() -> Instant {
    Instant::now()
}

fn status(code: u16) -> StatusCode {
    StatusCode::new(code).unwrap()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// What a step looks like in a table.
fn told(step: &Step) -> String {
    match step {
        Step::Nothing => "-".to_owned(),
        Step::Transmit(bytes) => format!("send {}", String::from_utf8_lossy(bytes)),
        Step::PassUp => "up".to_owned(),
        Step::Failed(FailureCause::Timeout) => "timeout".to_owned(),
        Step::Failed(FailureCause::TransportError) => "broken".to_owned(),
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Repeat,
    Respond(u16, &'static str),
    Ack,
    Response(u16),
    Broken,
    /// Time passes to this many milliseconds after the start, with no timer run before.
    Time(u64),
}
use Event::*;

trait Driven {
    fn event(&mut self, start: Instant, event: Event) -> Step;
    fn deadline(&self) -> Option<Instant>;
    fn name(&self) -> &'static str;
}

impl Driven for InviteServer {
    fn event(&mut self, start: Instant, event: Event) -> Step {
        match event {
            Repeat => self.handle_repeat(),
            Respond(code, text) => self.respond(start, status(code), bytes(text)),
            Ack => self.handle_ack(start),
            Response(_) => unreachable!("a server gets no responses"),
            Broken => self.handle_transport_error(),
            Time(ms) => self.handle_timeout(start + Duration::from_millis(ms)),
        }
    }
    fn deadline(&self) -> Option<Instant> {
        self.poll_timeout()
    }
    fn name(&self) -> &'static str {
        self.state()
    }
}

impl Driven for Server {
    fn event(&mut self, start: Instant, event: Event) -> Step {
        match event {
            Repeat => self.handle_repeat(),
            Respond(code, text) => self.respond(start, status(code), bytes(text)),
            Ack | Response(_) => unreachable!("no such event here"),
            Broken => self.handle_transport_error(),
            Time(ms) => self.handle_timeout(start + Duration::from_millis(ms)),
        }
    }
    fn deadline(&self) -> Option<Instant> {
        self.poll_timeout()
    }
    fn name(&self) -> &'static str {
        self.state()
    }
}

impl<K: Kind> Driven for Client<K> {
    fn event(&mut self, start: Instant, event: Event) -> Step {
        match event {
            Response(code) => self.handle_response(start, status(code)),
            Repeat | Respond(..) | Ack => unreachable!("no such event here"),
            Broken => self.handle_transport_error(),
            Time(ms) => self.handle_timeout(start + Duration::from_millis(ms)),
        }
    }
    fn deadline(&self) -> Option<Instant> {
        self.poll_timeout()
    }
    fn name(&self) -> &'static str {
        self.state()
    }
}

/// Reaches each state by its events, then meets it with one more event.
fn check<M: Driven>(
    make: impl Fn(Instant) -> M,
    state: &str,
    reached_by: &[Event],
    rows: &[(Event, &str, &str)],
) {
    for (event, wanted, next) in rows {
        let start = start();
        let mut machine = make(start);
        for event in reached_by {
            machine.event(start, *event);
        }
        assert_eq!(machine.name(), state, "reached by {reached_by:?}");
        let step = machine.event(start, *event);
        assert_eq!(
            (told(&step).as_str(), machine.name()),
            (*wanted, *next),
            "{event:?} in {state} reached by {reached_by:?}"
        );
        assert_eq!(machine.deadline().is_none(), machine.name() == "Over");
    }
}

/// Lets a machine run on its own timers; (milliseconds since the start, what it did).
fn timeline<M: Driven>(start: Instant, machine: &mut M) -> Vec<(u128, String)> {
    let mut seen = Vec::new();
    while let Some(at) = machine.deadline() {
        let ms = (at - start).as_millis();
        let step = machine.event(start, Time(u64::try_from(ms).unwrap()));
        assert!(machine.deadline().is_none_or(|next| next > at), "would run hot at {ms} ms");
        if step != Step::Nothing || machine.name() == "Over" {
            seen.push((ms, told(&step)));
        }
        assert!(seen.len() < 100, "never ends");
    }
    assert_eq!(machine.name(), "Over");
    seen
}

fn moments(seen: &[(u128, String)]) -> Vec<u128> {
    seen.iter().map(|(ms, _)| *ms).collect()
}

const RINGING: Event = Respond(180, "180");
const OK: Event = Respond(200, "200");
const BUSY: Event = Respond(486, "486");

#[test]
fn invite_server_meets_every_event_in_every_state() {
    let limit = u64::try_from(PROCEEDING_LIMIT.as_millis()).unwrap();
    let udp = |now| InviteServer::new(now, false);
    let tcp = |now| InviteServer::new(now, true);
    let fresh = [
        (Repeat, "-", "Proceeding"),
        (RINGING, "send 180", "Proceeding"),
        (OK, "send 200", "Accepted"),
        (BUSY, "send 486", "Completed"),
        (Ack, "-", "Proceeding"),
        (Broken, "broken", "Over"),
        (Time(limit - 1), "-", "Proceeding"),
        (Time(limit), "timeout", "Over"),
    ];
    check(udp, "Proceeding", &[], &fresh);
    check(tcp, "Proceeding", &[], &fresh);

    let ringing = [
        (Repeat, "send 180", "Proceeding"),
        (Respond(183, "183"), "send 183", "Proceeding"),
        (OK, "send 200", "Accepted"),
        (BUSY, "send 486", "Completed"),
        (Ack, "-", "Proceeding"),
        (Broken, "broken", "Over"),
        (Time(limit), "timeout", "Over"),
    ];
    check(udp, "Proceeding", &[Respond(100, "100"), RINGING], &ringing);
    check(tcp, "Proceeding", &[Respond(100, "100"), RINGING], &ringing);

    let completed = |g: &'static str, confirmed: &'static str| {
        [
            (Repeat, "send 486", "Completed"),
            (RINGING, "-", "Completed"),
            (OK, "-", "Completed"),
            (Respond(500, "500"), "-", "Completed"),
            (Ack, "-", confirmed),
            (Broken, "broken", "Over"),
            (Time(499), "-", "Completed"),
            (Time(500), g, "Completed"),
            (Time(31_999), g, "Completed"),
            (Time(32_000), "timeout", "Over"),
        ]
    };
    check(udp, "Completed", &[BUSY], &completed("send 486", "Confirmed"));
    check(udp, "Completed", &[RINGING, BUSY], &completed("send 486", "Confirmed"));
    check(tcp, "Completed", &[BUSY], &completed("-", "Over"));

    check(
        udp,
        "Confirmed",
        &[BUSY, Ack],
        &[
            (Repeat, "-", "Confirmed"),
            (RINGING, "-", "Confirmed"),
            (OK, "-", "Confirmed"),
            (BUSY, "-", "Confirmed"),
            (Ack, "-", "Confirmed"),
            (Broken, "-", "Confirmed"),
            (Time(4_999), "-", "Confirmed"),
            (Time(5_000), "-", "Over"),
        ],
    );

    let accepted = [
        (Repeat, "-", "Accepted"),
        (RINGING, "-", "Accepted"),
        (OK, "send 200", "Accepted"),
        (BUSY, "-", "Accepted"),
        (Ack, "up", "Accepted"),
        (Broken, "-", "Accepted"),
        (Time(31_999), "-", "Accepted"),
        (Time(32_000), "-", "Over"),
    ];
    check(udp, "Accepted", &[OK], &accepted);
    check(tcp, "Accepted", &[RINGING, OK], &accepted);

    let over = [
        (Repeat, "-", "Over"),
        (RINGING, "-", "Over"),
        (OK, "-", "Over"),
        (BUSY, "-", "Over"),
        (Ack, "-", "Over"),
        (Broken, "-", "Over"),
        (Time(1_000_000), "-", "Over"),
    ];
    check(udp, "Over", &[BUSY, Time(32_000)], &over);
    check(tcp, "Over", &[BUSY, Ack], &over);
}

#[test]
fn server_meets_every_event_in_every_state() {
    let udp = |now| Server::new(now, false);
    let tcp = |now| Server::new(now, true);
    for reliable in [false, true] {
        let make = |now| Server::new(now, reliable);
        let end = if reliable { "Over" } else { "Completed" };
        check(
            make,
            "Trying",
            &[],
            &[
                (Repeat, "-", "Trying"),
                (Respond(100, "100"), "send 100", "Proceeding"),
                (OK, "send 200", end),
                (BUSY, "send 486", end),
                (Broken, "broken", "Over"),
                (Time(31_999), "-", "Trying"),
                (Time(32_000), "timeout", "Over"),
            ],
        );
        check(
            make,
            "Proceeding",
            &[Respond(100, "100")],
            &[
                (Repeat, "send 100", "Proceeding"),
                (Respond(182, "182"), "send 182", "Proceeding"),
                (OK, "send 200", end),
                (BUSY, "send 486", end),
                (Broken, "broken", "Over"),
                (Time(31_999), "-", "Proceeding"),
                (Time(32_000), "timeout", "Over"),
            ],
        );
    }
    check(
        udp,
        "Completed",
        &[OK],
        &[
            (Repeat, "send 200", "Completed"),
            (Respond(100, "100"), "-", "Completed"),
            (OK, "-", "Completed"),
            (BUSY, "-", "Completed"),
            (Broken, "-", "Over"),
            (Time(31_999), "-", "Completed"),
            (Time(32_000), "-", "Over"),
        ],
    );
    check(
        tcp,
        "Over",
        &[OK],
        &[
            (Repeat, "-", "Over"),
            (Respond(100, "100"), "-", "Over"),
            (OK, "-", "Over"),
            (Broken, "-", "Over"),
            (Time(32_000), "-", "Over"),
        ],
    );
}

#[test]
fn client_meets_every_event_in_every_state() {
    for reliable in [false, true] {
        let make = |now| Client::<NonInvite>::new(now, reliable, bytes("BYE"));
        let (end, again) = if reliable { ("Over", "-") } else { ("Completed", "send BYE") };
        check(
            make,
            "Trying",
            &[],
            &[
                (Response(100), "up", "Proceeding"),
                (Response(200), "up", end),
                (Response(481), "up", end),
                (Broken, "broken", "Over"),
                (Time(499), "-", "Trying"),
                (Time(500), again, "Trying"),
                (Time(32_000), "timeout", "Over"),
            ],
        );
        check(
            make,
            "Proceeding",
            &[Response(100)],
            &[
                (Response(183), "up", "Proceeding"),
                (Response(200), "up", end),
                (Response(600), "up", end),
                (Broken, "broken", "Over"),
                (Time(499), "-", "Proceeding"),
                (Time(500), again, "Proceeding"),
                (Time(32_000), "timeout", "Over"),
            ],
        );
    }
    check(
        |now| Client::<NonInvite>::new(now, false, bytes("BYE")),
        "Completed",
        &[Response(200)],
        &[
            (Response(100), "-", "Completed"),
            (Response(200), "-", "Completed"),
            (Response(500), "-", "Completed"),
            (Broken, "-", "Over"),
            (Time(4_999), "-", "Completed"),
            (Time(5_000), "-", "Over"),
        ],
    );
    check(
        |now| Client::<NonInvite>::new(now, true, bytes("BYE")),
        "Over",
        &[Response(200)],
        &[(Response(200), "-", "Over"), (Broken, "-", "Over"), (Time(32_000), "-", "Over")],
    );
}

#[test]
fn timer_g_repeats_a_refusal_over_udp_until_timer_h_and_tcp_never_repeats() {
    let start = start();
    let mut udp = InviteServer::new(start, false);
    udp.event(start, BUSY);
    let seen = timeline(start, &mut udp);
    let g = [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500];
    assert_eq!(moments(&seen[..10]), g);
    assert!(seen[..10].iter().all(|(_, did)| did == "send 486"));
    assert_eq!(seen[10..], [(32_000, "timeout".to_owned())]);

    let mut tcp = InviteServer::new(start, true);
    tcp.event(start, BUSY);
    assert_eq!(timeline(start, &mut tcp), [(32_000, "timeout".to_owned())]);
}

#[test]
fn timers_i_j_k_and_l_end_what_only_absorbs_copies() {
    let start = start();
    let end = |machine: &mut dyn DynDriven| machine.run(start);
    let mut confirmed = InviteServer::new(start, false);
    confirmed.event(start, BUSY);
    confirmed.event(start, Ack);
    assert_eq!(end(&mut confirmed), [(5_000, "-".to_owned())], "I");

    for reliable in [false, true] {
        let mut accepted = InviteServer::new(start, reliable);
        accepted.event(start, OK);
        assert_eq!(end(&mut accepted), [(32_000, "-".to_owned())], "L");
    }

    let mut answered = Server::new(start, false);
    answered.event(start, OK);
    assert_eq!(end(&mut answered), [(32_000, "-".to_owned())], "J");

    let mut done = Client::<NonInvite>::new(start, false, bytes("BYE"));
    done.event(start, Response(200));
    assert_eq!(end(&mut done), [(5_000, "-".to_owned())], "K");
}

trait DynDriven {
    fn run(&mut self, start: Instant) -> Vec<(u128, String)>;
}

impl<M: Driven> DynDriven for M {
    fn run(&mut self, start: Instant) -> Vec<(u128, String)> {
        timeline(start, self)
    }
}

#[test]
fn timer_e_repeats_a_request_over_udp_until_timer_f_and_tcp_never_repeats() {
    let start = start();
    let mut udp = Client::<NonInvite>::new(start, false, bytes("BYE"));
    let seen = timeline(start, &mut udp);
    let e = [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500, 32_000];
    assert_eq!(moments(&seen), e);
    assert_eq!(seen[10].1, "timeout");

    let mut tcp = Client::<NonInvite>::new(start, true, bytes("BYE"));
    assert_eq!(timeline(start, &mut tcp), [(32_000, "timeout".to_owned())]);
}

#[test]
fn after_a_provisional_response_timer_e_takes_gaps_of_t2() {
    let start = start();
    let mut udp = Client::<NonInvite>::new(start, false, bytes("BYE"));
    udp.event(start, Response(100));
    let seen = timeline(start, &mut udp);
    assert_eq!(moments(&seen), [500, 4500, 8500, 12500, 16500, 20500, 24500, 28500, 32_000]);
}

#[test]
fn each_provisional_response_renews_the_time_an_invite_may_wait() {
    let start = start();
    let mut machine = InviteServer::new(start, false);
    let later = start + PROCEEDING_LIMIT - T1;
    machine.respond(later, status(180), bytes("180"));
    assert_eq!(machine.poll_timeout(), Some(later + PROCEEDING_LIMIT));
}

/// The generic client with another kind: what an INVITE asks of it (§17.1.1) is there to be used.
struct Doubling;

impl Kind for Doubling {
    const LONGEST_GAP: Option<Duration> = None;
    const GAP_WHILE_PROCEEDING: Option<Duration> = None;

    fn linger(reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { TRANSACTION_TIMEOUT }
    }
}

#[test]
fn a_kind_without_a_longest_gap_doubles_on_and_waits_without_end_once_proceeding() {
    let start = start();
    let mut machine = Client::<Doubling>::new(start, false, bytes("INVITE"));
    let seen = timeline(start, &mut machine);
    assert_eq!(moments(&seen), [500, 1500, 3500, 7500, 15500, 31500, 32_000]);

    let mut machine = Client::<Doubling>::new(start, false, bytes("INVITE"));
    machine.event(start, Response(180));
    assert_eq!((machine.name(), machine.deadline()), ("Proceeding", None));
    machine.event(start, Response(200));
    assert_eq!(machine.deadline(), Some(start + TRANSACTION_TIMEOUT));
}
