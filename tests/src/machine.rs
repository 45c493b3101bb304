//! What the kernel says of processes and of the machine: CPU time, memory, idle share. Linux only.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// How often a measuring tool looks for packets. One that waited in epoll instead would be woken by the
/// node's own sends, and on a virtual machine that costs the sender more than the packet.
pub const GLANCE: std::time::Duration = std::time::Duration::from_micros(250);

/// CPU time of the calling thread, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

/// CPU time of this process, nanoseconds.
pub fn own_cpu_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

/// The monotonic clock, which all processes of a machine share, microseconds.
pub fn monotonic_us() -> u64 {
    nanoseconds(ClockId::Monotonic) / 1000
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CPU time of all threads of a process so far, nanoseconds. `None` when it is gone.
///
/// Taken from the scheduler's own account (`schedstat`, nanoseconds) where there is one: the ticks in
/// `stat` are 10 ms, too coarse for a single call. Threads that end in between take their share along,
/// so `stat` is used whenever it says more.
pub fn cpu_ns(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let tick = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let coarse = (tick(11)? + tick(12)?) * (1_000_000_000 / 100);
    let mut fine = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        fine += fs::read_to_string(task.path().join("schedstat"))
            .ok()
            .and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Some(if coarse > fine + 20_000_000 { coarse } else { fine })
}

/// CPU time of each thread of a process, by name, nanoseconds.
pub fn thread_cpu(pid: u32) -> Vec<(String, u64)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let ns = times.split_ascii_whitespace().next()?.parse().ok()?;
            Some((name.trim().to_owned(), ns))
        })
        .collect()
}

/// Resident memory of a process, kB.
pub fn resident_kb(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// All time and idle time of all cores since the machine started, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct MachineTime {
    all: u64,
    idle: u64,
    stolen: u64,
}

impl MachineTime {
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        let idle = ticks.get(3).unwrap_or(&0) + ticks.get(4).unwrap_or(&0);
        Self { all: ticks.iter().sum(), idle, stolen: *ticks.get(7).unwrap_or(&0) }
    }

    /// The share that the hypervisor gave to others since `earlier`, percent.
    pub fn stolen_percent_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        100.0 * self.stolen.saturating_sub(earlier.stolen) as f64 / all as f64
    }

    /// Idle share of the machine since `earlier`, percent.
    pub fn idle_percent_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        100.0 * self.idle.saturating_sub(earlier.idle) as f64 / all as f64
    }
}
