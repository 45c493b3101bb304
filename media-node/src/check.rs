//! `trunkline-media-node check DIR`: what is wrong with manifests, before a call finds out; and when
//! nothing is, what they amount to, presets and defaults filled in.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::UnixTime;

use crate::config::read::{self, Files, What};
use crate::config::{
    Agent, Config, Connect, Dtmf, Encryption, Fallback, IdleAudio, Manifests, Options, Pool,
    Rejected, Transport, Trunk,
};

/// Everything there is to say about a directory. `Display` is what the command prints; it holds no
/// value of any Secret.
pub struct CheckReport {
    config: Option<Arc<Config>>,
    files: usize,
    /// Why the directory itself is of no use.
    unreadable: Option<String>,
}

/// Reads and judges a directory of manifests, as `run` would. `now` is what certificates are judged
/// by, `advertised` what `--advertise` would give.
pub fn check(directory: &Path, now: UnixTime, advertised: Vec<IpAddr>) -> CheckReport {
    match read::directory(directory, What::Manifests) {
        Ok(files) if files.iter().next().is_none() => CheckReport {
            config: None,
            files: 0,
            unreadable: Some(format!(
                "{}: no manifests here; write Trunk and Agent into files that end in .yaml, .yml or .json",
                directory.display()
            )),
        },
        Ok(files) => check_files(&files, now, advertised),
        Err(error) => CheckReport { config: None, files: 0, unreadable: Some(error.to_string()) },
    }
}

fn check_files(files: &Files, now: UnixTime, advertised: Vec<IpAddr>) -> CheckReport {
    let config = Manifests::new(Options { advertised }).load(files, now);
    let unreadable =
        (config.rejected.is_empty() && config.trunks.is_empty() && config.agents.is_empty())
            .then(|| "no Trunk and no Agent in these files".to_owned());
    CheckReport { config: Some(config), files: files.iter().count(), unreadable }
}

impl CheckReport {
    pub fn problems(&self) -> &[Rejected] {
        self.config.as_ref().map_or(&[], |config| config.rejected.as_slice())
    }

    /// 0 when everything loads as written, 1 otherwise. Warnings are no failure.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.unreadable.is_some() || !self.problems().is_empty())
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(config) = &self.config {
            for problem in &config.rejected {
                writeln!(f, "{problem}")?;
            }
            if config.rejected.is_empty() && self.unreadable.is_none() {
                effective(f, config)?;
            }
            for (nth, warning) in config.warnings.iter().enumerate() {
                if nth == 0 {
                    writeln!(f)?;
                }
                writeln!(f, "warning: {warning}")?;
            }
            for ignored in &config.ignored {
                let field = if ignored.field.is_empty() { "not ours" } else { &ignored.field };
                writeln!(f, "ignored: {}/{}: {field}", ignored.kind, ignored.name)?;
            }
            writeln!(f)?;
        }
        if let Some(reason) = &self.unreadable {
            return writeln!(f, "{reason}");
        }
        let files = counted(self.files, "file");
        match self.problems().len() {
            0 => {
                let (trunks, agents) =
                    self.config.as_ref().map_or((0, 0), |it| (it.trunks.len(), it.agents.len()));
                writeln!(
                    f,
                    "good: {}, {} in {files}",
                    counted(trunks, "Trunk"),
                    counted(agents, "Agent")
                )
            }
            n => writeln!(f, "{} in {files}", counted(n, "problem")),
        }
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn effective(f: &mut fmt::Formatter<'_>, config: &Config) -> fmt::Result {
    pool(f, &config.pool)?;
    for it in &config.trunks {
        writeln!(f)?;
        trunk(f, it)?;
    }
    for it in config.agents.values() {
        writeln!(f)?;
        agent(f, it)?;
    }
    Ok(())
}

/// One line of an object: a word, and what it is set to.
fn row(f: &mut fmt::Formatter<'_>, word: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {word:<12}{value}")
}

fn pool(f: &mut fmt::Formatter<'_>, pool: &Pool) -> fmt::Result {
    let written = if pool.written { "" } else { " (built-in defaults; no MediaPool is written)" };
    writeln!(f, "MediaPool {}{written}", pool.name)?;
    let ports: Vec<String> = [
        (Transport::Udp, pool.sip.udp),
        (Transport::Tcp, pool.sip.tcp),
        (Transport::Tls, pool.sip.tls),
    ]
    .into_iter()
    .filter_map(|(transport, port)| Some(format!("{transport} {}", port?)))
    .collect();
    row(f, "sip", ports.join(", "))?;
    let media = &pool.media;
    row(f, "media", format_args!("UDP {}-{}, {} a pod", media.start, media.end, media.per_pod))?;
    row(f, "calls", format_args!("at most {}", pool.calls_per_pod))?;
    if !pool.address.fixed.is_empty() {
        row(f, "address", joined(&pool.address.fixed))?;
    }
    let certificate = match &pool.tls {
        Some(tls) => format!("chain of {}", tls.chain().len()),
        None => "self-signed, made at start".to_owned(),
    };
    row(f, "certificate", certificate)
}

fn trunk(f: &mut fmt::Formatter<'_>, trunk: &Trunk) -> fmt::Result {
    writeln!(f, "Trunk {}", trunk.name)?;
    if !trunk.filled.is_empty() {
        row(f, "preset", format_args!("{} fills {}", trunk.preset, trunk.filled.join(", ")))?;
    }
    let encryption = match trunk.encryption {
        Encryption::Required => "SRTP required",
        Encryption::Preferred => "SRTP preferred",
        Encryption::Disabled => "RTP without encryption",
    };
    row(f, "transport", format_args!("{}, {encryption}", trunk.transport))?;
    let codecs: Vec<_> = trunk.codecs.iter().map(|codec| codec.encoding_name()).collect();
    row(f, "codecs", format_args!("{}, {} ms a packet", codecs.join(", "), trunk.packet_time_ms))?;
    let dtmf = match trunk.dtmf {
        Dtmf::Auto => "Auto",
        Dtmf::Rfc4733 => "RFC4733",
        Dtmf::Info => "Info",
        Dtmf::InBand => "InBand",
    };
    row(f, "dtmf", dtmf)?;
    let idle = match trunk.idle_audio {
        IdleAudio::ComfortNoise => "comfort noise",
        IdleAudio::Silence => "silence",
        IdleAudio::None => "nothing",
    };
    row(f, "idle audio", idle)?;
    row(f, "inactivity", format_args!("{} s", trunk.inactivity.as_secs()))?;
    if let Some(inbound) = &trunk.inbound {
        let mut from = Vec::new();
        if !inbound.sources.is_empty() {
            from.push(joined(&inbound.sources));
        }
        if inbound.credentials.is_some() {
            from.push("digest".to_owned());
        }
        row(f, "from", from.join(" with "))?;
        let called = &inbound.called_number;
        let header = match called.header {
            crate::config::CalledHeader::RequestUri => "Request-URI",
            crate::config::CalledHeader::To => "To",
            crate::config::CalledHeader::PCalledPartyId => "P-Called-Party-ID",
        };
        let mut number = String::from(header);
        if !called.strip_prefix.is_empty() {
            let _ = write!(number, ", without {}", called.strip_prefix);
        }
        if !called.country_code.is_empty() {
            let _ = write!(number, ", country code {}", called.country_code);
        }
        row(f, "number", number)?;
    }
    if let Some(outbound) = &trunk.outbound {
        let asked = match outbound.options_period {
            Some(period) => format!("OPTIONS every {} s", period.as_secs()),
            None => "no OPTIONS".to_owned(),
        };
        let servers: Vec<String> = outbound.servers.iter().map(ToString::to_string).collect();
        row(f, "to", format_args!("{}, {asked}", servers.join(", ")))?;
    }
    let mut limits = Vec::new();
    limits.extend(trunk.limits.concurrent_calls.map(|n| format!("{n} calls")));
    limits.extend(trunk.limits.calls_per_second.map(|n| format!("{n} a second")));
    limits.push(format!("{} s a call", trunk.limits.call_duration.as_secs()));
    row(f, "limits", limits.join(", "))?;
    for route in &trunk.routes {
        let numbers = match route.patterns.as_slice() {
            [] => "every other number".to_owned(),
            patterns => joined(patterns),
        };
        let agents: Vec<_> = match route.agents.as_slice() {
            [(only, _)] => vec![only.clone()],
            several => several.iter().map(|(name, weight)| format!("{name} ({weight})")).collect(),
        };
        row(f, "route", format_args!("{numbers} -> {}", agents.join(", ")))?;
    }
    Ok(())
}

fn agent(f: &mut fmt::Formatter<'_>, agent: &Agent) -> fmt::Result {
    writeln!(f, "Agent {}", agent.name)?;
    let endpoint = &agent.endpoint;
    row(f, "endpoint", format_args!("{:?}, {:?}", endpoint.url, endpoint.dialect))?;
    let when = match agent.connect {
        Connect::Ringing => "while the phone rings",
        Connect::Answered => "after the call is answered",
    };
    row(f, "connect", format_args!("{when}, within {} s", endpoint.connect_timeout.as_secs()))?;
    match &agent.fallback {
        Some(Fallback::Agent(name)) => row(f, "fallback", format_args!("Agent {name}"))?,
        Some(Fallback::SipStatus(status)) => row(f, "fallback", format_args!("SIP {status}"))?,
        None => {}
    }
    if let Some(calls) = agent.concurrent_calls {
        row(f, "limits", format_args!("{calls} calls"))?;
    }
    Ok(())
}

fn joined(list: &[impl fmt::Display]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
