//! An Agent as the call machines use it.

use http::{HeaderName, HeaderValue, Uri};
use trunkline_crds::agent::{AgentSpec, Connect as Written, Header};

use super::references::References;
use super::{Fault, count, seconds};
use crate::config::{Agent, Connect, Dialect, Fallback, Secret, WebSocket, WebSocketUrl};

pub(super) fn resolve(
    namespace: &str,
    name: &str,
    spec: &AgentSpec,
    references: &References<'_>,
) -> Result<Agent, Vec<Fault>> {
    let mut faults = Vec::new();
    let Some(socket) = &spec.endpoint.web_socket else {
        return Err(vec![Fault::new("spec.endpoint", "write webSocket")]);
    };
    let at = "spec.endpoint.webSocket";
    let mut ok = |result: Result<_, Fault>| result.map_err(|fault| faults.push(fault)).ok();

    let url =
        ok(parse_url(&socket.url).map_err(|message| Fault::new(&format!("{at}.url"), &message)));
    let token = socket.auth_secret_ref.as_ref().and_then(|it| {
        let field = format!("{at}.authSecretRef");
        references.line(namespace, &it.name, &it.key, &field).map_err(|f| faults.push(f)).ok()
    });
    let ca = socket.ca_ref.as_ref().and_then(|it| {
        let field = format!("{at}.caRef");
        references
            .authorities(namespace, &it.name, &it.key, &field)
            .map_err(|fault| faults.push(fault))
            .ok()
    });
    let mut headers = Vec::new();
    for (index, it) in socket.headers.iter().enumerate() {
        match header(namespace, it, &format!("{at}.headers[{index}]"), references) {
            Ok(header) => headers.push(header),
            Err(fault) => faults.push(fault),
        }
    }
    let fallback = spec.fallback.as_ref().and_then(|it| {
        if let Some(agent) = &it.agent_ref {
            return Some(Fallback::Agent(agent.name.0.clone()));
        }
        it.sip_status.and_then(|status| u16::try_from(status).ok()).map(Fallback::SipStatus)
    });
    let (Some(url), true) = (url, faults.is_empty()) else { return Err(faults) };
    Ok(Agent {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        endpoint: WebSocket {
            url,
            dialect: Dialect::TwilioMediaStreams,
            token,
            headers,
            ca,
            connect_timeout: seconds(socket.connect_timeout_seconds),
        },
        variables: spec.variables.iter().map(|(k, v)| (k.clone(), v.0.clone())).collect(),
        header_variables: spec
            .header_variables
            .iter()
            .map(|it| (it.header.0.clone(), it.variable.clone()))
            .collect(),
        connect: match spec.connect {
            Written::Ringing => Connect::Ringing,
            Written::Answered => Connect::Answered,
        },
        concurrent_calls: spec.limits.as_ref().and_then(|it| it.concurrent_calls).map(count),
        fallback,
        region: spec.region.as_ref().map(ToString::to_string),
        zone: spec.zone.as_ref().map(ToString::to_string),
    })
}

fn header(
    namespace: &str,
    header: &Header,
    field: &str,
    references: &References<'_>,
) -> Result<(String, Secret), Fault> {
    if HeaderName::from_bytes(header.name.as_bytes()).is_err() {
        let message = "write the name of a header alone, without colon or blank, as X-Tenant";
        return Err(Fault::new(&format!("{field}.name"), message));
    }
    let (value, field) = if let Some(from) = &header.value_from {
        let field = format!("{field}.valueFrom.secretKeyRef");
        let key = &from.secret_key_ref;
        (references.line(namespace, &key.name, &key.key, &field)?, field)
    } else {
        let value = header.value.as_deref().unwrap_or_default();
        (Secret::from(value), format!("{field}.value"))
    };
    if HeaderValue::from_bytes(value.expose()).is_err() {
        return Err(Fault::new(&field, "write the value on one line, without control characters"));
    }
    Ok((header.name.0.clone(), value))
}

/// Takes apart a `ws://` or `wss://` URL.
pub(crate) fn parse_url(text: &str) -> Result<WebSocketUrl, String> {
    let uri: Uri =
        text.parse().map_err(|_| "write a url as wss://agents.example.com/ws".to_owned())?;
    let tls = match uri.scheme_str() {
        Some("wss") => true,
        Some("ws") => false,
        _ => return Err("write a url that begins with wss:// or ws://".to_owned()),
    };
    let authority = uri.authority().map_or("", |it| it.as_str());
    if authority.contains('@') {
        return Err(
            "write user and password as authSecretRef or a header, not in the url".to_owned()
        );
    }
    if text.contains('#') {
        return Err("leave out # and what follows it".to_owned());
    }
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err("write a host, as wss://agents.example.com/ws".to_owned());
    }
    // `http` reads a port that is not one as none.
    let digits = authority.rsplit_once(':').filter(|(_, after)| !after.contains(']'));
    let port = match (digits, uri.port_u16()) {
        (_, Some(port)) if port > 0 => port,
        (None, None) => {
            if tls {
                443
            } else {
                80
            }
        }
        _ => return Err("write a port from 1 to 65535, or none".to_owned()),
    };
    let path_and_query = uri.path_and_query().map_or("/", |it| it.as_str());
    let path_and_query = if path_and_query.starts_with('/') {
        path_and_query.to_owned()
    } else {
        format!("/{path_and_query}")
    };
    Ok(WebSocketUrl { text: text.to_owned(), tls, host: host.to_owned(), port, path_and_query })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        let table = [
            ("wss://agents.example.com/ws", Some((true, "agents.example.com", 443, "/ws"))),
            ("ws://127.0.0.1:8765", Some((false, "127.0.0.1", 8765, "/"))),
            ("ws://[2001:db8::1]:9/a?b=c", Some((false, "2001:db8::1", 9, "/a?b=c"))),
            ("wss://[2001:db8::1]", Some((true, "2001:db8::1", 443, "/"))),
            ("wss://host?x=1", Some((true, "host", 443, "/?x=1"))),
            ("https://host/", None),
            ("wss://user:pass@host/", None),
            ("wss://host:99999/", None),
            ("wss://host:0/", None),
            ("wss:///ws", None),
            ("host", None),
            ("", None),
        ];
        for (text, parts) in table {
            let found = parse_url(text).ok();
            let found = found
                .as_ref()
                .map(|it| (it.tls, it.host.as_str(), it.port, it.path_and_query.as_str()));
            assert_eq!(found, parts, "{text}");
        }
    }

    #[test]
    fn a_url_is_printed_without_its_query() {
        let url = parse_url("wss://host/ws?token=hunter2").unwrap();
        assert_eq!(format!("{url:?}"), "wss://host/ws");
    }
}
