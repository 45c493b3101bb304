//! INVITE, re-INVITE, ACK and BYE of many calls over one connection.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{random, random_hex};
use crate::sip::{Dialog, Message, take_message};
use crate::srtp;

/// T1 of RFC 3261: first gap between repeated requests over UDP.
const T1: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

/// Whom to call and how.
#[derive(Clone, Debug)]
pub struct Options {
    pub target: SocketAddr,
    pub transport: Transport,
    /// Name in the server's certificate, and the authority that signed it (PEM).
    pub tls: Option<(String, Vec<u8>)>,
    pub srtp: bool,
    pub local: IpAddr,
    pub caller: String,
    pub called: String,
    /// How long a call may ring.
    pub patience: Duration,
}

/// A call that was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    Status {
        status: u16,
        reason: String,
        /// Seconds, as the callee wrote them.
        retry_after: Option<String>,
    },
    Timeout,
}

impl Refused {
    /// It was answered, and with what cannot be used.
    fn unusable(status: u16, why: &str) -> Self {
        Self::Status { status, reason: why.to_owned(), retry_after: None }
    }
}

/// A call that was answered.
pub struct Answered {
    pub remote_media: SocketAddr,
    /// What the callee protects its RTP with, and what we do.
    pub keys: Option<(srtp::MasterKey, srtp::MasterKey)>,
    /// INVITE written to 200 read.
    pub setup: Duration,
    /// INVITE written to 180 read.
    pub ringing: Option<Duration>,
    dialog: Dialog,
    /// What was offered, and the number of the last request.
    offer: String,
    cseq: u32,
    inbox: UnboundedReceiver<Message>,
    signalling: Signalling,
}

type Calls = Rc<RefCell<HashMap<String, UnboundedSender<Message>>>>;

/// The connection all calls share.
#[derive(Clone)]
pub struct Signalling {
    options: Rc<Options>,
    local: SocketAddr,
    calls: Calls,
    out: UnboundedSender<String>,
}

impl Signalling {
    /// Connects, and starts its reader and writer on the current `LocalSet`.
    pub async fn connect(options: Options) -> io::Result<Self> {
        let calls: Calls = Rc::default();
        let (out, writes) = unbounded_channel();
        let local = match options.transport {
            Transport::Udp => {
                let socket = UdpSocket::bind((options.local, 0)).await?;
                socket.connect(options.target).await?;
                let local = socket.local_addr()?;
                tokio::task::spawn_local(run_datagrams(socket, calls.clone(), out.clone(), writes));
                local
            }
            Transport::Tcp => {
                let stream = TcpStream::connect(options.target).await?;
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?;
                tokio::task::spawn_local(run_stream(stream, calls.clone(), out.clone(), writes));
                local
            }
            Transport::Tls => {
                let stream = TcpStream::connect(options.target).await?;
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?;
                let (name, ca) = options
                    .tls
                    .as_ref()
                    .ok_or_else(|| io::Error::other("TLS needs the authority's certificate"))?;
                let connector = TlsConnector::from(Arc::new(client_config(ca)?));
                let name = ServerName::try_from(name.clone()).map_err(io::Error::other)?;
                let stream = connector.connect(name, stream).await?;
                tokio::task::spawn_local(run_stream(stream, calls.clone(), out.clone(), writes));
                local
            }
        };
        Ok(Self { options: Rc::new(options), local, calls, out })
    }

    /// Calls; media is to come to `media`. Returns when the call is answered (and the ACK sent) or refused.
    pub async fn call(&self, media: SocketAddr) -> Result<Answered, Refused> {
        let options = &self.options;
        let mut dialog = Dialog {
            transport: options.transport.name(),
            local: self.local,
            remote: options.target,
            caller: options.caller.clone(),
            called: options.called.clone(),
            call_id: random_hex::<12>(),
            tag: random_hex::<6>(),
            branch: branch(),
            to: String::new(),
            target: String::new(),
            routes: Vec::new(),
        };
        let own_key = options.srtp.then(|| srtp::MasterKey::new(random()));
        let offer = offer(media, own_key.as_ref());
        let invite = dialog.invite(&offer);
        let (sender, mut inbox) = unbounded_channel();
        self.calls.borrow_mut().insert(dialog.call_id.clone(), sender);

        let started = Instant::now();
        let give_up = started + options.patience;
        let mut gap = if options.transport == Transport::Udp { T1 } else { options.patience };
        let (mut heard, mut ringing) = (false, None);
        self.send(invite.clone());
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.calls.borrow_mut().remove(&dialog.call_id);
                return Err(Refused::Timeout);
            }
            let wait = if heard { left } else { gap.min(left) };
            let Ok(Some(message)) = timeout(wait, inbox.recv()).await else {
                if !heard {
                    self.send(invite.clone());
                    gap *= 2;
                }
                continue;
            };
            let Some(status) = message.status() else { continue };
            heard = true;
            match status {
                100 => {}
                101..200 => ringing = ringing.or_else(|| Some(started.elapsed())),
                200..300 => {
                    let setup = started.elapsed();
                    dialog.answered(&message);
                    self.send(dialog.within("ACK", 1, &branch()));
                    let (remote_media, their_key) = answer(&message.body)
                        .ok_or_else(|| Refused::unusable(status, "no media in the answer"))?;
                    let keys = match (their_key, own_key) {
                        (Some(theirs), Some(own)) => Some((theirs, own)),
                        (None, None) => None,
                        _ => return Err(Refused::unusable(status, "encryption differs")),
                    };
                    let signalling = self.clone();
                    return Ok(Answered {
                        remote_media,
                        keys,
                        setup,
                        ringing,
                        dialog,
                        offer,
                        cseq: 1,
                        inbox,
                        signalling,
                    });
                }
                _ => {
                    dialog.to = message.header("to").to_owned();
                    self.send(dialog.ack_of_failure());
                    self.calls.borrow_mut().remove(&dialog.call_id);
                    let reason = message.start.get(12..).unwrap_or_default().to_owned();
                    let retry_after = message.values("retry-after").next().map(str::to_owned);
                    return Err(Refused::Status { status, reason, retry_after });
                }
            }
        }
    }

    fn send(&self, text: String) {
        // The writer ends only with the connection; then no answer comes and the call times out.
        let _ = self.out.send(text);
    }
}

impl Answered {
    pub fn sip_call_id(&self) -> &str {
        &self.dialog.call_id
    }

    /// The URI of the callee's Contact.
    pub fn contact(&self) -> &str {
        &self.dialog.target
    }

    /// Says and hears the rest by another connection.
    pub fn go_on_by(&mut self, signalling: &Signalling) {
        let (sender, inbox) = unbounded_channel();
        signalling.calls.borrow_mut().insert(self.dialog.call_id.clone(), sender);
        self.dialog.local = signalling.local;
        (self.inbox, self.signalling) = (inbox, signalling.clone());
    }

    /// The `Reason` of the callee's BYE, if it has hung up; takes what has come in so far.
    pub fn ended_by_callee(&mut self) -> Option<String> {
        while let Ok(message) = self.inbox.try_recv() {
            if message.status().is_none() && message.method() == "BYE" {
                return Some(message.header("reason").to_owned());
            }
        }
        None
    }

    /// Offers the same again, as session timers do; false when that is not accepted.
    pub async fn refresh(&mut self) -> bool {
        self.cseq += 1;
        let branch_of_invite = branch();
        let invite = self.dialog.reinvite(self.cseq, &branch_of_invite, &self.offer);
        let status = self.ask("INVITE", &invite).await;
        let accepted = status.is_some_and(|it| it < 300);
        // The ACK of a failure belongs to the INVITE's transaction.
        let branch_of_ack = if accepted { branch() } else { branch_of_invite };
        if status.is_some() {
            self.signalling.send(self.dialog.within("ACK", self.cseq, &branch_of_ack));
        }
        accepted
    }

    /// Sends BYE and waits for its answer; false when none came.
    pub async fn hang_up(mut self) -> bool {
        self.cseq += 1;
        let bye = self.dialog.within("BYE", self.cseq, &branch());
        let answered = self.ask("BYE", &bye).await.is_some();
        self.signalling.calls.borrow_mut().remove(&self.dialog.call_id);
        answered
    }

    /// Sends a request of this method again and again, for half a minute; the status of its final
    /// response.
    async fn ask(&mut self, method: &str, request: &str) -> Option<u16> {
        for _ in 0..32 {
            self.signalling.send(request.to_owned());
            let answer = async {
                while let Some(message) = self.inbox.recv().await {
                    let last = message.status().filter(|it| *it >= 200);
                    if last.is_some() && message.method() == method {
                        return last;
                    }
                }
                None
            };
            if let Ok(Some(status)) = timeout(2 * T1, answer).await {
                return Some(status);
            }
        }
        None
    }
}

fn branch() -> String {
    format!("z9hG4bK{}", random_hex::<8>())
}

fn client_config(ca: &[u8]) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn offer(media: SocketAddr, key: Option<&srtp::MasterKey>) -> String {
    let (ip, port) = (media.ip(), media.port());
    let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
    let (profile, crypto) = match key {
        Some(key) => {
            ("RTP/SAVP", format!("a=crypto:1 {} inline:{}\r\n", srtp::SUITE, key.to_inline()))
        }
        None => ("RTP/AVP", String::new()),
    };
    format!(
        "v=0\r\no=- {port} 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} {profile} 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n{crypto}"
    )
}

/// Media address and key of an answer.
fn answer(sdp: &str) -> Option<(SocketAddr, Option<srtp::MasterKey>)> {
    let (mut ip, mut port, mut key) = (None, None, None);
    for line in sdp.lines() {
        if let Some(rest) = line.strip_prefix("c=IN IP") {
            ip = rest.get(2..)?.trim().parse::<IpAddr>().ok();
        } else if let Some(rest) = line.strip_prefix("m=audio ") {
            port = rest.split(' ').next()?.parse::<u16>().ok();
        } else if line.starts_with("a=crypto:") && line.contains(srtp::SUITE) {
            key = line.split_once("inline:").and_then(|(_, key)| srtp::MasterKey::parse(key));
        }
    }
    Some((SocketAddr::new(ip?, port?), key))
}

/// Hands a message to its call; a request of the callee's is answered 200.
fn dispatch(message: Message, calls: &Calls, out: &UnboundedSender<String>) {
    if message.status().is_none() && message.method() != "ACK" {
        let _ = out.send(message.response("200 OK", None));
    }
    let call = calls.borrow().get(message.header("call-id")).cloned();
    if let Some(call) = call {
        let _ = call.send(message);
    }
}

async fn run_datagrams(
    socket: UdpSocket,
    calls: Calls,
    out: UnboundedSender<String>,
    mut writes: UnboundedReceiver<String>,
) {
    let mut buffer = vec![0; 65_535];
    loop {
        tokio::select! {
            Some(text) = writes.recv() => { let _ = socket.send(text.as_bytes()).await; }
            read = socket.recv(&mut buffer) => {
                if let Some(message) = read.ok().and_then(|length| Message::parse(&buffer[..length])) {
                    dispatch(message, &calls, &out);
                }
            }
        }
    }
}

async fn run_stream<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    calls: Calls,
    out: UnboundedSender<String>,
    mut writes: UnboundedReceiver<String>,
) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut buffer = Vec::with_capacity(65_536);
    loop {
        tokio::select! {
            Some(text) = writes.recv() => {
                let written = writer.write_all(text.as_bytes()).await;
                if written.is_err() || writer.flush().await.is_err() {
                    return;
                }
            }
            read = reader.read_buf(&mut buffer) => {
                if read.is_err() || read.is_ok_and(|length| length == 0) {
                    return;
                }
                while let Some(message) = take_message(&mut buffer) {
                    dispatch(message, &calls, &out);
                }
            }
        }
    }
}
