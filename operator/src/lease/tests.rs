use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::election::{Election, Step, Timings};

const NAME: &str = "trunkline-operator";

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// An API server with one Lease in it.
#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u64,
    down: bool,
}

enum Answer {
    Done(Box<Lease>),
    Conflict,
    Failed,
}

impl Server {
    fn write(&mut self, mut lease: Lease) -> Answer {
        let expected =
            self.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        if self.down {
            return Answer::Failed;
        }
        if lease.metadata.resource_version != expected {
            return Answer::Conflict;
        }
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Answer::Done(Box::new(lease))
    }

    fn holder(&self) -> Option<&str> {
        let holder = self.lease.as_ref()?.spec.as_ref()?.holder_identity.as_deref()?;
        (!holder.is_empty()).then_some(holder)
    }
}

/// A candidate whose wall clock may be wrong, and which can be frozen.
struct Operator {
    election: Election,
    wall_skew: SignedDuration,
    frozen_until: Duration,
    exited: bool,
    /// Sees each change at once, as by a watch.
    watches: bool,
}

impl Operator {
    fn new(identity: &str, start: Instant) -> Self {
        Self {
            election: Election::new(identity.into(), Timings::default(), start),
            wall_skew: SignedDuration::ZERO,
            frozen_until: Duration::ZERO,
            exited: false,
            watches: true,
        }
    }

    fn leads(&self, now: Instant) -> bool {
        !self.exited && self.election.holds_until().is_some_and(|until| now < until)
    }

    /// All that is due. `answered` is when answers are received, seen from `now`.
    fn run(&mut self, server: &mut Server, now: Instant, latency: Duration) {
        for _ in 0..20 {
            let wall = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000) + self.wall_skew;
            match self.election.poll(now) {
                Step::Wait(until) => {
                    assert!(until > now, "a wait that is over");
                    return;
                }
                Step::Exit => {
                    self.exited = true;
                    return;
                }
                Step::Read if server.down => self.election.handle_failed(now, now + latency),
                Step::Read => self.election.handle_seen(server.lease.clone(), now + latency),
                Step::Write => match server.write(self.election.claim(NAME, wall)) {
                    Answer::Done(lease) => self.election.handle_written(*lease, now),
                    Answer::Conflict => self.election.handle_conflict(now + latency),
                    Answer::Failed => self.election.handle_failed(now, now + latency),
                },
            }
        }
        panic!("asks without end");
    }
}

struct Sim {
    start: Instant,
    at: Duration,
    server: Server,
    operators: Vec<Operator>,
}

impl Sim {
    fn new(names: &[&str]) -> Self {
        let start = Instant::now();
        let operators = names.iter().map(|name| Operator::new(name, start)).collect();
        Self { start, at: Duration::ZERO, server: Server::default(), operators }
    }

    fn now(&self) -> Instant {
        self.start + self.at
    }

    fn leaders(&self) -> Vec<usize> {
        let now = self.now();
        let leads = |index: &usize| self.operators[*index].leads(now);
        (0..self.operators.len()).filter(leads).collect()
    }

    /// Lets time pass in steps of 50 ms, and never sees two leaders.
    fn run_for(&mut self, span: Duration) {
        let end = self.at + span;
        while self.at < end {
            self.at += ms(50);
            let now = self.now();
            for operator in &mut self.operators {
                if operator.exited || self.at < operator.frozen_until {
                    continue;
                }
                let seen = self.server.lease.clone();
                let news = seen.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
                if operator.watches
                    && operator.election.is_standby()
                    && operator.election.seen_version().is_some()
                    && operator.election.seen_version() != news.as_deref()
                {
                    operator.election.handle_seen(seen, now);
                }
                operator.run(&mut self.server, now, ms(20));
            }
            assert!(self.leaders().len() <= 1, "two leaders at {:?}", self.at);
        }
    }
}

#[test]
fn the_first_leads_and_the_second_waits() {
    let mut sim = Sim::new(&["a", "b"]);
    sim.run_for(ms(60_000));
    assert_eq!(sim.leaders(), [0]);
    assert_eq!(sim.server.holder(), Some("a"));
    // A renewal every four seconds, not more.
    assert!((14..=16).contains(&sim.server.version), "{} writes a minute", sim.server.version);
}

#[test]
fn a_frozen_leader_is_replaced_within_20_s_and_exits_when_it_wakes() {
    let mut sim = Sim::new(&["a", "b"]);
    sim.run_for(ms(30_000));
    sim.operators[0].frozen_until = sim.at + ms(60_000);
    sim.run_for(ms(20_000));
    assert_eq!(sim.server.holder(), Some("b"));
    assert_eq!(sim.leaders(), [1]);
    sim.run_for(ms(40_000));
    // The moment it wakes, before it has asked anything, it may not write any more.
    assert!(!sim.operators[0].leads(sim.now()));
    sim.run_for(ms(1_000));
    assert!(sim.operators[0].exited);
    assert_eq!(sim.leaders(), [1]);
}

#[test]
fn clock_skew_of_ten_minutes_between_replicas_does_not_make_two_leaders() {
    for minutes in [-10, 10] {
        let mut sim = Sim::new(&["a", "b"]);
        sim.operators[1].wall_skew = SignedDuration::from_mins(minutes);
        sim.run_for(ms(120_000));
        assert_eq!(sim.leaders(), [0]);
        sim.operators[0].frozen_until = sim.at + ms(600_000);
        sim.run_for(ms(20_000));
        assert_eq!(sim.leaders(), [1]);
    }
}

#[test]
fn two_that_find_the_record_expired_do_not_both_get_it() {
    let mut sim = Sim::new(&["gone", "a", "b"]);
    sim.run_for(ms(1_000));
    sim.operators[0].frozen_until = Duration::MAX;
    // Both learnt of the record at the same moment, so it expires for both in the same step.
    sim.run_for(ms(30_000));
    assert_eq!(sim.leaders().len(), 1);
    let transitions = sim.server.lease.unwrap().spec.unwrap().lease_transitions;
    assert_eq!(transitions, Some(1));
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut sim = Sim::new(&["a", "b"]);
    sim.run_for(ms(10_000));
    let released = sim.operators[0].election.release(NAME, Timestamp::UNIX_EPOCH).unwrap();
    assert!(matches!(sim.server.write(released), Answer::Done(_)));
    assert!(!sim.operators[0].leads(sim.now()));
    sim.operators[0].exited = true;
    sim.run_for(ms(200));
    assert_eq!(sim.leaders(), [1]);
}

#[test]
fn without_an_api_server_the_leader_exits_before_others_may_lead() {
    let mut sim = Sim::new(&["a", "b"]);
    sim.run_for(ms(30_000));
    sim.server.down = true;
    sim.run_for(ms(11_000));
    assert!(sim.operators[0].exited);
    assert!(sim.leaders().is_empty());
    sim.run_for(ms(120_000));
    sim.server.down = false;
    sim.run_for(ms(3_000));
    assert_eq!(sim.leaders(), [1], "the standby waited and takes over after the outage");
}

#[test]
fn a_short_outage_costs_nothing() {
    let mut sim = Sim::new(&["a", "b"]);
    sim.run_for(ms(30_000));
    sim.server.down = true;
    sim.run_for(ms(5_000));
    sim.server.down = false;
    sim.run_for(ms(30_000));
    assert_eq!(sim.leaders(), [0]);
}

#[test]
fn a_write_whose_answer_was_lost_is_still_ours() {
    let mut sim = Sim::new(&["a"]);
    let now = sim.now();
    let election = &mut sim.operators[0].election;
    assert_eq!(election.poll(now), Step::Read);
    election.handle_seen(None, now);
    assert_eq!(election.poll(now), Step::Write);
    let claim = election.claim(NAME, Timestamp::UNIX_EPOCH);
    assert!(matches!(sim.server.write(claim), Answer::Done(_)));
    sim.operators[0].election.handle_failed(now, now + ms(3_000));
    sim.run_for(ms(4_000));
    assert_eq!(sim.leaders(), [0]);
}

#[test]
fn somebody_who_edits_a_label_does_not_depose_the_leader() {
    let mut sim = Sim::new(&["a", "b"]);
    sim.run_for(ms(10_000));
    let mut edited = sim.server.lease.clone().unwrap();
    edited.metadata.labels = Some([("team".to_owned(), "voice".to_owned())].into());
    assert!(matches!(sim.server.write(edited), Answer::Done(_)));
    sim.run_for(ms(10_000));
    assert_eq!(sim.leaders(), [0]);
    assert!(sim.server.lease.unwrap().metadata.labels.is_some(), "and the label stays");
}

#[test]
fn a_record_that_names_another_ends_the_leader_at_once() {
    let mut sim = Sim::new(&["a"]);
    sim.run_for(ms(10_000));
    let mut stolen = sim.server.lease.clone().unwrap();
    stolen.spec.as_mut().unwrap().holder_identity = Some("thief".into());
    assert!(matches!(sim.server.write(stolen), Answer::Done(_)));
    sim.run_for(ms(5_000));
    assert!(sim.operators[0].exited);
    assert_eq!(sim.server.holder(), Some("thief"));
}

#[test]
fn a_deleted_lease_is_made_again() {
    let mut sim = Sim::new(&["a", "b"]);
    sim.run_for(ms(10_000));
    sim.server.lease = None;
    sim.run_for(ms(30_000));
    assert_eq!(sim.leaders().len(), 1);
}

#[derive(Clone, Debug)]
enum Trouble {
    Freeze { operator: usize, milliseconds: u64 },
    Outage { milliseconds: u64 },
    Calm { milliseconds: u64 },
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        (0usize..3, 100u64..40_000)
            .prop_map(|(operator, milliseconds)| Trouble::Freeze { operator, milliseconds }),
        (100u64..20_000).prop_map(|milliseconds| Trouble::Outage { milliseconds }),
        (100u64..30_000).prop_map(|milliseconds| Trouble::Calm { milliseconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, `Sim::run_for` never sees two leaders; and somebody leads in the end.
    #[test]
    fn there_are_never_two_leaders(troubles in prop::collection::vec(trouble(), 1..12)) {
        let mut sim = Sim::new(&["a", "b", "c"]);
        // One that polls, because its watch is broken.
        sim.operators[2].watches = false;
        for trouble in troubles {
            match trouble {
                Trouble::Freeze { operator, milliseconds } => {
                    sim.operators[operator].frozen_until = sim.at + ms(milliseconds);
                    sim.run_for(ms(1_000));
                }
                Trouble::Outage { milliseconds } => {
                    sim.server.down = true;
                    sim.run_for(ms(milliseconds));
                    sim.server.down = false;
                }
                Trouble::Calm { milliseconds } => sim.run_for(ms(milliseconds)),
            }
            // The kubelet starts again what has exited, with a new identity.
            let (start, generation) = (sim.now(), sim.at.as_millis());
            for (index, operator) in sim.operators.iter_mut().enumerate() {
                if operator.exited {
                    *operator = Operator::new(&format!("{index}-{generation}"), start);
                }
            }
        }
        for operator in &mut sim.operators {
            operator.frozen_until = Duration::ZERO;
        }
        sim.run_for(ms(40_000));
        prop_assert_eq!(sim.leaders().len(), 1);
    }
}
