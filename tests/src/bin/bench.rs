//! The whole node measured beside the machine's floor, in alternating windows of one run.
//!
//! For each number of calls: a window of the floor ([`floor`](../floor)), a window of TLS + SRTP calls to
//! an echo agent, and so on; medians count. The node's CPU is what the scheduler accounts to its process;
//! the load tool's and the agent's are kept apart and printed below. Delays and gaps count only from
//! windows in which the machine was idle enough and its time was its own; with too few of them the row
//! says "not measured".
//!
//! There are two floors. The hot one carries all calls in one sweep, round after round, and never sleeps:
//! nothing that carries calls as they come can be as cheap, for a core that was idle begins with cold
//! caches. The other is the same code in real time, looking at what has come once in a millisecond, as
//! the node does.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use trunkline_tests::certificate::Certificate;
use trunkline_tests::machine::{MachineTime, cpu_ns, resident_kb, thread_cpu};
use trunkline_tests::manifests::{Manifests, NodePorts, agent, pool, trunk};
use trunkline_tests::node::{Node, run_directory, tool};
use trunkline_tests::process::Process;
use trunkline_tests::statistics::{median, spread};

/// Below this share of idle time a delay says more of the machine than of the node.
const IDLE_ENOUGH_PERCENT: f64 = 30.0;
/// Above this share of time given to other machines it says nothing of either.
const STOLEN_PERCENT: f64 = 5.0;
/// How long the floor in real time sleeps between two looks, as a node with fifty calls does.
const GRID_US: u64 = 1000;
/// With fewer calls a node is woken for each packet, and so is the floor.
const MODERATED_CALLS: usize = 8;
const TALKING: &str = "+15551230001";
const SILENT: &str = "+15551230002";

/// Measures the media node of this build (use --release) beside the machine's floor, and prints CPU a
/// call, delay, cadence, memory a call and CPU a set-up with what they must and should reach.
#[derive(Parser)]
struct Arguments {
    /// Numbers of calls at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 50, 200])]
    calls: Vec<usize>,
    /// Windows of each kind.
    #[arg(long, default_value_t = 5)]
    windows: usize,
    /// Length of a window of calls, seconds; one of the floor takes half of it.
    #[arg(long, default_value_t = 6.0)]
    window: f64,
    /// Set-ups in a window, and how many a second.
    #[arg(long, default_value_t = 250)]
    setups: usize,
    #[arg(long, default_value_t = 50.0)]
    setup_rate: f64,
    /// Exit 1 unless every figure measured at this many calls is what it must be.
    #[arg(long)]
    require: Option<usize>,
}

/// Everything that runs during the bench.
struct Bench {
    directory: PathBuf,
    ca: PathBuf,
    ports: NodePorts,
    node: Node,
    agent: Process,
    runs: usize,
    /// The node watches the directory as long as it runs.
    _manifests: Manifests,
}

/// One window of the load tool, and what the processes used in it.
struct Window {
    result: Value,
    node_cpu_ns: f64,
    agent_cpu_ns: f64,
    seconds: f64,
    idle_percent: f64,
    stolen_percent: f64,
    resident_kb: f64,
    /// Share of each thread of the node's.
    threads: Vec<(String, f64)>,
}

impl Window {
    /// Whether a delay in it says something of the node.
    fn is_quiet(&self) -> bool {
        self.idle_percent >= IDLE_ENOUGH_PERCENT && self.stolen_percent <= STOLEN_PERCENT
    }

    fn number(&self, pointer: &str) -> f64 {
        self.result.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN)
    }
}

impl Bench {
    fn start(most_calls: usize) -> Self {
        let directory = run_directory("bench", "run");
        let certificate = Certificate::make(&directory);
        let mut agent_command = Command::new(tool("echo-agent"));
        agent_command.arg("--quiet");
        let mut echo = Process::start("echo-agent", agent_command, &directory);
        let port = echo.wait_for_event("listening", 0, Duration::from_secs(5))["port"].clone();
        let manifests = Manifests::new();
        // A closed port rests for seconds before it is used again: set-ups need more than calls held.
        let ports = NodePorts::free(most_calls as u16 + 300);
        manifests
            .write("pool.yaml", &pool(ports, Some(&certificate)))
            .write("echo.yaml", &agent("echo", &format!("ws://127.0.0.1:{port}/echo")))
            .write("silent.yaml", &agent("silent", &format!("ws://127.0.0.1:{port}/silent")))
            .write(
                "trunk.yaml",
                &trunk(
                    "carrier",
                    "TLS",
                    "Required",
                    "{sources: [\"127.0.0.0/8\"]}",
                    &[(SILENT, "silent"), ("", "echo")],
                ),
            );
        let node = Node::start("node", manifests.path(), &directory);
        let ca = certificate.ca_file;
        Self { ca, directory, ports, node, agent: echo, runs: 0, _manifests: manifests }
    }

    /// Runs the load tool; samples between its window-begin and window-end.
    fn load(&mut self, to: &str, arguments: &[String]) -> Window {
        self.runs += 1;
        let mut command = Command::new(tool("load"));
        command.args(["--target", &format!("127.0.0.1:{}", self.ports.tls), "--to", to]);
        command.arg("--ca").arg(&self.ca).args(arguments);
        let mut load = Process::start(&format!("load-{}", self.runs), command, &self.directory);
        let patience = Duration::from_secs(120);
        load.wait_for_event("window-begin", 0, patience);
        let (machine, node, agent) = (MachineTime::now(), self.node_cpu(), self.agent_cpu());
        let threads = thread_cpu(self.node.pid());
        let begun = std::time::Instant::now();
        load.wait_for_event("window-end", 0, patience);
        let seconds = begun.elapsed().as_secs_f64();
        let (node, agent) = (self.node_cpu() - node, self.agent_cpu() - agent);
        let idle_percent = MachineTime::now().idle_percent_since(machine);
        let stolen_percent = MachineTime::now().stolen_percent_since(machine);
        let resident = resident_kb(self.node.pid()).unwrap_or(0) as f64;
        let threads = used(&threads, &thread_cpu(self.node.pid()));
        let result = load.wait_for_event("result", 0, patience);
        load.wait(patience);
        Window {
            result,
            node_cpu_ns: node,
            agent_cpu_ns: agent,
            seconds,
            idle_percent,
            stolen_percent,
            resident_kb: resident,
            threads,
        }
    }

    fn node_cpu(&self) -> f64 {
        cpu_ns(self.node.pid()).expect("the node runs") as f64
    }

    fn agent_cpu(&self) -> f64 {
        cpu_ns(self.agent.pid()).expect("the agent runs") as f64
    }

    /// Thousandths of a core a call: hot, or in real time with so long a sleep between two looks.
    fn floor(&mut self, calls: usize, seconds: f64, real_time: Option<u64>) -> f64 {
        self.runs += 1;
        let mut command = Command::new(tool("floor"));
        if let Some(sleep_us) = real_time {
            command.args(["--paced", "--sleep", &sleep_us.to_string()]);
        }
        command.args(["--calls", &calls.to_string(), "--window", &seconds.to_string()]);
        let mut floor = Process::start(&format!("floor-{}", self.runs), command, &self.directory);
        let result = floor.wait_for_event("result", 0, Duration::from_secs(60));
        floor.wait(Duration::from_secs(10));
        result["mcore_per_call"].as_f64().unwrap_or(f64::NAN)
    }
}

/// CPU time each thread name has used between two looks, nanoseconds, most first.
fn used(before: &[(String, u64)], after: &[(String, u64)]) -> Vec<(String, f64)> {
    let mut names: Vec<(String, f64)> = Vec::new();
    for (sign, threads) in [(-1.0, before), (1.0, after)] {
        for (name, ns) in threads {
            match names.iter_mut().find(|(have, _)| have == name) {
                Some((_, sum)) => *sum += sign * *ns as f64,
                None => names.push((name.clone(), sign * *ns as f64)),
            }
        }
    }
    names.sort_by(|a, b| b.1.total_cmp(&a.1));
    names
}

/// A line of the table.
struct Row {
    what: String,
    unit: &'static str,
    value: f64,
    floor: Option<f64>,
    /// Upper bounds, on the ratio where there is a floor.
    must: f64,
    reach: f64,
    spread: f64,
    measured: bool,
}

impl Row {
    fn judged(&self) -> f64 {
        self.floor.map_or(self.value, |floor| self.value / floor)
    }

    fn verdict(&self) -> &'static str {
        if !self.measured || self.value.is_nan() {
            "not measured"
        } else if self.judged() <= self.reach {
            "reached"
        } else if self.judged() <= self.must {
            "ok"
        } else {
            "MISSED"
        }
    }

    fn line(&self) -> String {
        let shown = self.measured && !self.value.is_nan();
        let number = |value: f64| if shown { format!("{value:.3}") } else { "-".to_owned() };
        let times = if self.floor.is_some() { "x" } else { "" };
        let floor = self.floor.map_or_else(String::new, |floor| format!("{floor:.3}"));
        let ratio = match self.floor {
            Some(_) if shown => format!("{:.2}x", self.judged()),
            _ => String::new(),
        };
        format!(
            "  {:<38} {:>9} {:<6} {:>7} {:>7} {:>8} {:>8} {:>6}  {}",
            self.what,
            number(self.value),
            self.unit,
            floor,
            ratio,
            bound(self.must, times),
            bound(self.reach, times),
            if shown { format!("{:.0}%", self.spread * 100.0) } else { String::new() },
            self.verdict()
        )
    }

    fn json(&self) -> Value {
        json!({"what": self.what, "unit": self.unit, "value": self.value, "floor": self.floor,
               "ratio": self.floor.map(|floor| self.value / floor), "must": finite(self.must),
               "reach": finite(self.reach), "spread": self.spread, "verdict": self.verdict()})
    }
}

fn finite(bound: f64) -> Option<f64> {
    bound.is_finite().then_some(bound)
}

fn bound(bound: f64, times: &str) -> String {
    if bound.is_finite() { format!("<{bound}{times}") } else { String::new() }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    if cfg!(debug_assertions) {
        eprintln!("bench: this is a debug build; its figures mean nothing (use --release)");
    }
    let most = arguments.calls.iter().copied().max().unwrap_or(1);
    let mut bench = Bench::start(most);
    let mut report = String::new();
    let (mut sections, mut missed) = (Vec::new(), false);
    let mut memory: Option<(usize, f64)> = None;
    writeln!(
        report,
        "Trunkline media node, TLS + SRTP to WebSocket JSON, PCMU 20 ms both ways; medians of {} windows of {} s\n",
        arguments.windows, arguments.window
    )?;

    for &calls in &arguments.calls {
        let (rows, notes, resident) = at_calls(&mut bench, &arguments, calls, memory);
        memory = Some((calls, resident));
        section(&mut report, &format!("{calls} calls"), &rows, &notes);
        missed |=
            arguments.require == Some(calls) && rows.iter().any(|row| row.verdict() == "MISSED");
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        sections.push(json!({"calls": calls, "rows": rows, "notes": notes}));
    }

    let (rows, notes) = set_ups(&mut bench, &arguments);
    section(&mut report, "set-ups", &rows, &notes);
    missed |= arguments.require.is_some() && rows.iter().any(|row| row.verdict() == "MISSED");
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    sections.push(json!({"setups": arguments.setups, "rows": rows, "notes": notes}));

    print!("{report}");
    let kept = bench.directory.parent().unwrap_or(Path::new("."));
    std::fs::write(kept.join("bench.txt"), &report)?;
    std::fs::write(
        kept.join("bench.json"),
        serde_json::to_string_pretty(&json!({"sections": sections}))?,
    )?;
    println!("kept in {}", kept.display());
    if missed {
        return Err("a figure is not what it must be".into());
    }
    Ok(())
}

fn section(report: &mut String, title: &str, rows: &[Row], notes: &[String]) {
    let _ = writeln!(
        report,
        "{title}\n  {:<38} {:>9} {:<6} {:>7} {:>7} {:>8} {:>8} {:>6}",
        "", "node", "", "floor", "ratio", "must", "reach", "spread"
    );
    for row in rows {
        let _ = writeln!(report, "{}", row.line());
    }
    for note in notes {
        let _ = writeln!(report, "  ({note})");
    }
    report.push('\n');
}

/// Rows, notes and resident memory (kB) with that many calls.
fn at_calls(
    bench: &mut Bench,
    arguments: &Arguments,
    calls: usize,
    before: Option<(usize, f64)>,
) -> (Vec<Row>, Vec<String>, f64) {
    let started_with = resident_kb(bench.node.pid()).unwrap_or(0) as f64;
    let (mut hot, mut real_time) = (Vec::new(), Vec::new());
    let (mut windows, mut quiet) = (Vec::new(), Vec::new());
    let count = |to: &str, bench: &mut Bench| {
        bench.load(
            to,
            &[
                "--calls".to_owned(),
                calls.to_string(),
                "--window".to_owned(),
                arguments.window.to_string(),
            ],
        )
    };
    for window in 0..arguments.windows {
        eprintln!("bench: {calls} calls, window {} of {}", window + 1, arguments.windows);
        hot.push(bench.floor(calls, arguments.window / 2.0, None));
        let sleep_us = if calls >= MODERATED_CALLS { GRID_US } else { 0 };
        real_time.push(bench.floor(calls, arguments.window / 2.0, Some(sleep_us)));
        windows.push(count(TALKING, bench));
        quiet.push(count(SILENT, bench));
    }

    let mcore: Vec<f64> =
        windows.iter().map(|one| one.node_cpu_ns / one.seconds / 1e6 / calls as f64).collect();
    let cpu = |what: &str, floors: &[f64]| Row {
        what: what.to_owned(),
        unit: "mcore",
        value: median(&mcore),
        floor: Some(median(floors)),
        must: 2.2,
        reach: 1.5,
        spread: spread(&mcore),
        measured: true,
    };
    let mut rows =
        vec![cpu("CPU a call, floor in real time", &real_time), cpu("CPU a call, floor hot", &hot)];
    let delays = [
        ("echo delay p50", "/media/echo_ms/p50", f64::INFINITY, f64::INFINITY),
        ("echo delay p99", "/media/echo_ms/p99", f64::INFINITY, f64::INFINITY),
        ("delay caller to agent p50", "/media/to_agent_ms/p50", f64::INFINITY, 0.5),
        ("delay caller to agent p99", "/media/to_agent_ms/p99", 5.0, 2.0),
        ("delay agent to caller p50", "/media/from_agent_ms/p50", f64::INFINITY, 0.5),
        ("delay agent to caller p99", "/media/from_agent_ms/p99", 5.0, 2.0),
        ("gap within speech p99", "/media/gap_ms/p99", 22.0, 21.0),
    ];
    for (what, pointer, must, reach) in delays {
        rows.push(timing(what, &windows, pointer, must, reach));
    }
    rows.push(timing("gap within idle p99", &quiet, "/media/gap_ms/p99", 22.0, 21.0));

    let resident = windows.iter().chain(&quiet).map(|one| one.resident_kb).fold(0.0, f64::max);
    let (fewer, base) = before.unwrap_or((0, started_with));
    if calls > fewer && calls - fewer >= 20 {
        rows.push(Row {
            what: "memory a call".to_owned(),
            unit: "kB",
            value: (resident - base) / (calls - fewer) as f64,
            floor: None,
            must: 100.0,
            reach: 60.0,
            spread: 0.0,
            measured: true,
        });
    }

    let all = windows.iter().chain(&quiet);
    let idle: Vec<f64> = all.clone().map(|one| one.idle_percent).collect();
    let stolen: Vec<f64> = all.clone().map(|one| one.stolen_percent).collect();
    let troubles: f64 = all
        .clone()
        .map(|one| {
            calls as f64 - one.number("/answered")
                + one.number("/dropped")
                + one.number("/media/lost")
                + one.number("/media/bad")
                + one.number("/media/mute_calls")
                + one.number("/unanswered_byes")
        })
        .sum();
    let per_call = |ns: f64, one: &Window| ns / one.seconds / 1e6 / calls as f64;
    let own: Vec<f64> =
        windows.iter().map(|one| per_call(one.number("/own_cpu_seconds") * 1e9, one)).collect();
    let agents: Vec<f64> = windows.iter().map(|one| per_call(one.agent_cpu_ns, one)).collect();
    let lateness: Vec<f64> =
        windows.iter().map(|one| one.number("/media/own_lateness_ms/p99")).collect();
    let notes = vec![
        format!(
            "spread of the floor: in real time {:.0}%, hot {:.0}%",
            spread(&real_time) * 100.0,
            spread(&hot) * 100.0
        ),
        format!(
            "machine idle {:.0}% (lowest {:.0}%), given to others {:.0}% (highest {:.0}%); calls, packets or BYEs lost: {troubles}",
            median(&idle),
            idle.iter().copied().fold(f64::MAX, f64::min),
            median(&stolen),
            stolen.iter().copied().fold(0.0, f64::max)
        ),
        format!(
            "beside the node: load {:.3} and agent {:.3} mcore a call; frames left the load late by p99 {:.2} ms",
            median(&own),
            median(&agents),
            median(&lateness)
        ),
        windows.last().map_or_else(String::new, |one| format!("of the CPU {}", shares(one))),
    ];
    (rows, notes, resident)
}

/// Which threads of the node the CPU of a window went to.
fn shares(window: &Window) -> String {
    let total = window.node_cpu_ns.max(1.0);
    let share = |(name, ns): &(String, f64)| format!("{name} {:.0}%", 100.0 * ns / total);
    window.threads.iter().take(4).map(share).collect::<Vec<_>>().join(", ")
}

/// A row that counts only windows in which the machine was idle enough.
fn timing(what: &str, windows: &[Window], pointer: &str, must: f64, reach: f64) -> Row {
    let values: Vec<f64> = windows
        .iter()
        .filter(|one| one.is_quiet())
        .map(|one| one.number(pointer))
        .filter(|value| !value.is_nan())
        .collect();
    Row {
        what: what.to_owned(),
        unit: "ms",
        value: median(&values),
        floor: None,
        must,
        reach,
        spread: spread(&values),
        measured: values.len() * 2 > windows.len(),
    }
}

fn set_ups(bench: &mut Bench, arguments: &Arguments) -> (Vec<Row>, Vec<String>) {
    let (mut windows, mut cpu) = (Vec::new(), Vec::new());
    for window in 0..arguments.windows {
        eprintln!("bench: set-ups, window {} of {}", window + 1, arguments.windows);
        let one = bench.load(
            TALKING,
            &[
                "--setups".to_owned(),
                arguments.setups.to_string(),
                "--rate".to_owned(),
                arguments.setup_rate.to_string(),
                "--hold".to_owned(),
                "0.05".to_owned(),
            ],
        );
        cpu.push(one.node_cpu_ns / 1e6 / one.number("/answered"));
        windows.push(one);
    }
    let rows = vec![
        Row {
            what: "CPU a call set up and torn down".to_owned(),
            unit: "ms",
            value: median(&cpu),
            floor: None,
            must: 0.4,
            reach: 0.3,
            spread: spread(&cpu),
            measured: true,
        },
        timing("INVITE to 200 p50", &windows, "/setup_ms/p50", 5.0, 3.0),
        timing("INVITE to 200 p99", &windows, "/setup_ms/p99", f64::INFINITY, f64::INFINITY),
    ];
    let answered: f64 = windows.iter().map(|one| one.number("/answered")).sum();
    let idle: Vec<f64> = windows.iter().map(|one| one.idle_percent).collect();
    let notes = vec![
        format!(
            "{answered} of {} answered at {} a second, each with an agent connection of its own, held for 50 ms",
            arguments.setups * arguments.windows,
            arguments.setup_rate
        ),
        format!("machine idle {:.0}%", median(&idle)),
        windows.last().map_or_else(String::new, |one| format!("of the CPU {}", shares(one))),
    ];
    (rows, notes)
}
