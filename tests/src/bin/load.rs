//! Caller load: N calls at once, or set-ups at a rate, with what the callers saw as one JSON line.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};
use tokio::time::{sleep, sleep_until};
use trunkline_tests::agent::emit;
use trunkline_tests::caller::{
    Answered, Media, MediaCall, Options, Refused, Signalling, Transport,
};
use trunkline_tests::machine::own_cpu_ns;
use trunkline_tests::srtp::Session;
use trunkline_tests::statistics::Distribution;

/// Calls a SIP server on a loopback, private or documentation address (RFC 5737) and measures what its callers get: PCMU every
/// 20 ms both ways, the delay of each echoed frame, the gaps between packets, set-up times.
/// Prints JSON lines: window-begin, window-end, result.
#[derive(Parser)]
struct Arguments {
    /// SIP server.
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, value_enum, default_value = "tls")]
    transport: Transport,
    /// Authority of the server's certificate (PEM).
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Name in the server's certificate.
    #[arg(long, default_value = "localhost")]
    server_name: String,
    /// Plain RTP; without it TLS calls use SRTP and the others do not.
    #[arg(long)]
    no_srtp: bool,
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    local: IpAddr,
    #[arg(long, default_value = "+15550100")]
    from: String,
    #[arg(long, default_value = "+15551230001")]
    to: String,
    /// Calls at once; with --setups 0 they are held and measured.
    #[arg(long, default_value_t = 1)]
    calls: usize,
    /// New calls a second.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Seconds between the last answer and the window.
    #[arg(long, default_value_t = 2.0)]
    warm: f64,
    /// Length of the window, seconds.
    #[arg(long, default_value_t = 6.0)]
    window: f64,
    /// Seconds for which a caller says nothing once its call is answered.
    #[arg(long, default_value_t = 0.0)]
    silent: f64,
    /// End the window before its time when a line comes on standard input.
    #[arg(long)]
    until_told: bool,
    /// After the window ask each call again by a re-INVITE with the same offer, then hang up.
    #[arg(long)]
    refresh: bool,
    /// After the window go on by a new connection to this address, as carriers may.
    #[arg(long)]
    finish_at: Option<SocketAddr>,
    /// No held calls: this many set-ups at --rate, each hung up after --hold.
    #[arg(long, default_value_t = 0)]
    setups: usize,
    /// Seconds a call of --setups is held.
    #[arg(long, default_value_t = 0.5)]
    hold: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let ip = arguments.target.ip();
    let is_near = match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_documentation(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    };
    if !is_near {
        return Err(
            "the target must be a loopback, private or documentation address: this is a load tool"
                .into(),
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, async {
        let signalling = connect(&arguments, arguments.target).await?;
        if arguments.setups > 0 {
            set_up(&arguments, signalling).await
        } else {
            hold(&arguments, signalling).await
        }
    })?;
    emit("result", result);
    Ok(())
}

#[derive(Default)]
struct Tally {
    setup: Distribution,
    ringing: Distribution,
    failed: BTreeMap<String, u64>,
}

impl Tally {
    fn answered(&mut self, call: &Answered) {
        self.setup.push(call.setup.as_secs_f64() * 1000.0);
        if let Some(ringing) = call.ringing {
            self.ringing.push(ringing.as_secs_f64() * 1000.0);
        }
    }

    fn refused(&mut self, why: &Refused) {
        let why = match why {
            Refused::Status { status, reason, retry_after: None } => format!("{status} {reason}"),
            Refused::Status { status, reason, retry_after: Some(seconds) } => {
                format!("{status} {reason} (Retry-After: {seconds})")
            }
            Refused::Timeout => "timeout".to_owned(),
        };
        *self.failed.entry(why).or_default() += 1;
    }

    fn summary(&mut self) -> Value {
        json!({"answered": self.setup.len(), "failed": self.failed,
               "setup_ms": self.setup.summary(), "ringing_ms": self.ringing.summary()})
    }
}

/// A task for each of `count` calls, started at the rate asked for; `call` gets the call's number.
async fn start_each<F, Fut>(count: usize, rate: f64, mut call: F)
where
    F: FnMut(usize) -> Fut,
    Fut: Future<Output = ()> + 'static,
{
    let started = tokio::time::Instant::now();
    let mut tasks = Vec::with_capacity(count);
    for index in 0..count {
        sleep_until(started + Duration::from_secs_f64(index as f64 / rate)).await;
        tasks.push(tokio::task::spawn_local(call(index)));
    }
    for task in tasks {
        let _ = task.await;
    }
}

/// Holds all calls, measures one window, hangs up.
async fn hold(arguments: &Arguments, signalling: Signalling) -> std::io::Result<Value> {
    let media = Rc::new(Media::start());
    let tally = Rc::new(RefCell::new(Tally::default()));
    let calls = Rc::new(RefCell::new(Vec::new()));
    let (local, count) = (arguments.local, arguments.calls);
    let silent_us = (arguments.silent * 1e6) as u64;
    start_each(count, arguments.rate, |index| {
        let (signalling, media) = (signalling.clone(), media.clone());
        let (tally, calls) = (tally.clone(), calls.clone());
        async move {
            let socket = UdpSocket::bind((local, 0)).expect("a port is free");
            let address = socket.local_addr().expect("bound above");
            match signalling.call(address).await {
                Ok(call) => {
                    tally.borrow_mut().answered(&call);
                    socket.connect(call.remote_media).expect("an address of the same family");
                    media.add(MediaCall {
                        socket,
                        receive: call.keys.as_ref().map(|(theirs, _)| Session::new(theirs)),
                        send: call.keys.as_ref().map(|(_, own)| Session::new(own)),
                        phase_us: index as u64 * 20_000 / count as u64,
                        silent_us,
                    });
                    calls.borrow_mut().push(call);
                }
                Err(why) => tally.borrow_mut().refused(&why),
            }
        }
    })
    .await;
    sleep(Duration::from_secs_f64(arguments.warm)).await;

    let (begun, cpu) = (Instant::now(), own_cpu_ns());
    media.begin();
    emit("window-begin", json!({"calls": calls.borrow().len()}));
    let told = async {
        match arguments.until_told {
            true => line_of_input().await,
            false => pending().await,
        }
    };
    tokio::select! {
        () = sleep(Duration::from_secs_f64(arguments.window)) => {}
        () = told => {}
    }
    emit("window-end", json!({}));
    let mut measured = media.end();
    let (length, cpu) = (begun.elapsed().as_secs_f64(), own_cpu_ns() - cpu);

    let mut calls = std::mem::take(&mut *calls.borrow_mut());
    let mut ended_by_callee = BTreeMap::<String, u64>::new();
    calls.retain_mut(|call| match call.ended_by_callee() {
        Some(reason) => {
            *ended_by_callee.entry(reason).or_default() += 1;
            false
        }
        None => true,
    });
    let mut result = tally.borrow_mut().summary();
    result["media"] = measured.summary();
    result["contacts"] = calls.iter().map(Answered::contact).collect();
    result["remote_media"] = calls.iter().map(|call| call.remote_media.to_string()).collect();
    result["dropped"] = json!(ended_by_callee.values().sum::<u64>());
    result["ended_by_callee"] = json!(ended_by_callee);
    result["window_seconds"] = json!(length);
    result["own_cpu_seconds"] = json!(cpu as f64 / 1e9);
    if let Some(elsewhere) = arguments.finish_at {
        let signalling = connect(arguments, elsewhere).await?;
        calls.iter_mut().for_each(|call| call.go_on_by(&signalling));
    }
    let refresh = arguments.refresh;
    let endings: Vec<_> = calls
        .into_iter()
        .map(|mut call| {
            tokio::task::spawn_local(async move {
                (!refresh || call.refresh().await, call.hang_up().await)
            })
        })
        .collect();
    let (mut unrefreshed, mut unanswered) = (0, 0);
    for ending in endings {
        let (refreshed, answered) = ending.await.unwrap_or((false, false));
        unrefreshed += usize::from(!refreshed);
        unanswered += usize::from(!answered);
    }
    result["unaccepted_refreshes"] = json!(unrefreshed);
    result["unanswered_byes"] = json!(unanswered);
    Ok(result)
}

async fn connect(arguments: &Arguments, target: SocketAddr) -> std::io::Result<Signalling> {
    let ca = arguments.ca.as_ref().map(std::fs::read).transpose()?;
    let options = Options {
        target,
        transport: arguments.transport,
        tls: ca.map(|ca| (arguments.server_name.clone(), ca)),
        srtp: arguments.transport == Transport::Tls && !arguments.no_srtp,
        local: arguments.local,
        caller: arguments.from.clone(),
        called: arguments.to.clone(),
        patience: Duration::from_secs(32),
    };
    Signalling::connect(options).await
}

/// Until a line comes on standard input, or its end.
async fn line_of_input() {
    let (told, telling) = tokio::sync::oneshot::channel();
    // Reading cannot be broken off: the thread ends with the process.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        let _ = told.send(());
    });
    let _ = telling.await;
}

/// Sets up and tears down, without media.
async fn set_up(arguments: &Arguments, signalling: Signalling) -> std::io::Result<Value> {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let unanswered = Rc::new(RefCell::new(0));
    let held = Duration::from_secs_f64(arguments.hold);
    let socket = UdpSocket::bind((arguments.local, 0))?;
    let address = socket.local_addr()?;
    let (begun, cpu) = (Instant::now(), own_cpu_ns());
    emit("window-begin", json!({}));
    start_each(arguments.setups, arguments.rate, |_| {
        let (signalling, tally) = (signalling.clone(), tally.clone());
        let unanswered = unanswered.clone();
        async move {
            match signalling.call(address).await {
                Ok(call) => {
                    tally.borrow_mut().answered(&call);
                    sleep(held).await;
                    if !call.hang_up().await {
                        *unanswered.borrow_mut() += 1;
                    }
                }
                Err(why) => tally.borrow_mut().refused(&why),
            }
        }
    })
    .await;
    emit("window-end", json!({}));
    let mut result = tally.borrow_mut().summary();
    result["window_seconds"] = json!(begun.elapsed().as_secs_f64());
    result["own_cpu_seconds"] = json!((own_cpu_ns() - cpu) as f64 / 1e9);
    result["unanswered_byes"] = json!(*unanswered.borrow());
    Ok(result)
}
