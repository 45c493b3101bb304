//! The carrier's side: writes its own SIP and RTP, by hand, so that the node's writer is not its
//! own judge.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use trunkline_media_node::rtp::packet::Packet;
use trunkline_media_node::sip::{HeaderName, Method, Request, Response};

use super::net::{CARRIER, CARRIER_RTP, read};

/// An RTP packet as it was heard.
#[derive(Clone, Debug)]
pub(crate) struct HeardRtp {
    pub(crate) at: Instant,
    pub(crate) payload_type: u8,
    pub(crate) sequence_number: u16,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Carrier {
    pub(crate) address: SocketAddr,
    pub(crate) rtp: SocketAddr,
    pub(crate) call_id: String,
    /// Whether a 200 to INVITE is acknowledged.
    pub(crate) acks: bool,
    /// The status line with which it answers INFO.
    pub(crate) answers_info: &'static str,
    pub(crate) responses: Vec<Response>,
    pub(crate) requests: Vec<Request>,
    pub(crate) heard: Vec<HeardRtp>,
    pub(crate) to_tag: String,
    pub(crate) cseq: u32,
    pub(crate) number: String,
    /// What the next INVITE offers, as an `m=` line ends, and the type of the packets of speech.
    pub(crate) formats: &'static str,
    pub(crate) payload_type: u8,
    /// Packets of speech still to be sent.
    speech: Vec<Vec<u8>>,
    spoken: u16,
    ticking: bool,
    branch: u32,
}

impl Default for Carrier {
    fn default() -> Self {
        Self {
            address: CARRIER.parse().unwrap(),
            rtp: CARRIER_RTP.parse().unwrap(),
            call_id: "call-1".into(),
            acks: true,
            answers_info: "200 OK",
            responses: Vec::new(),
            requests: Vec::new(),
            heard: Vec::new(),
            to_tag: String::new(),
            cseq: 1,
            number: "+15551230001".into(),
            formats: "0 8 101",
            payload_type: 0,
            speech: Vec::new(),
            spoken: 0,
            ticking: false,
            branch: 0,
        }
    }
}

pub(crate) fn offer(direction: &str) -> String {
    offer_of("0 8 101", direction)
}

fn offer_of(formats: &str, direction: &str) -> String {
    format!(
        "v=0\r\no=- 7 7 IN IP4 203.0.113.7\r\ns=-\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP {formats}\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    )
}

impl Carrier {
    fn branch(&mut self) -> String {
        self.branch += 1;
        format!("z9hG4bK-{}-{}", self.call_id, self.branch)
    }

    /// A request of this call, with these extra lines (each ending in CRLF).
    pub(crate) fn request(&mut self, method: &str, extra: &str, body: &str) -> String {
        let branch = self.branch();
        self.request_in(method, &branch, extra, body)
    }

    fn request_in(&self, method: &str, branch: &str, extra: &str, body: &str) -> String {
        let to_tag = match self.to_tag.as_str() {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let has_kind = body.is_empty() || extra.contains("Content-Type");
        let kind = if has_kind { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:{number}@192.0.2.10 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 203.0.113.7:5060;branch={branch};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:+442079460123@203.0.113.7>;tag=carrier\r\n\
             To: <sip:{number}@192.0.2.10>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:gw@203.0.113.7:5060>\r\n{kind}{extra}Content-Length: {len}\r\n\r\n{body}",
            number = self.number,
            call_id = self.call_id,
            cseq = self.cseq,
            len = body.len(),
        )
    }

    /// An INVITE for a new call to `number`.
    pub(crate) fn invite(&mut self, number: &str) -> String {
        self.number = number.into();
        self.to_tag.clear();
        let offer = offer_of(self.formats, "sendrecv");
        self.request("INVITE", "", &offer)
    }

    /// The CANCEL of the INVITE that was sent last.
    pub(crate) fn cancel(&self) -> String {
        let branch = format!("z9hG4bK-{}-{}", self.call_id, self.branch);
        self.request_in("CANCEL", &branch, "", "")
    }

    pub(crate) fn next_request(&mut self, method: &str, body: &str) -> String {
        self.cseq += 1;
        self.request(method, "", body)
    }

    /// Takes what the node sent, and says what the carrier sends because of it.
    pub(crate) fn receive(&mut self, _: Instant, bytes: &Bytes) -> Vec<Bytes> {
        match read(bytes) {
            Ok(request) => {
                let status = match request.method {
                    Method::Info => self.answers_info,
                    _ => "200 OK",
                };
                let mut reply = format!("SIP/2.0 {status}\r\n");
                for name in [
                    HeaderName::Via,
                    HeaderName::From,
                    HeaderName::To,
                    HeaderName::CallId,
                    HeaderName::CSeq,
                ] {
                    let value = request.headers.text(&name).unwrap_or_default();
                    reply.push_str(&format!("{}: {value}\r\n", name.as_str()));
                }
                reply.push_str("Content-Length: 0\r\n\r\n");
                self.requests.push(request);
                vec![reply.into()]
            }
            Err(response) => {
                let cseq = response.headers.cseq().expect("a response has a CSeq");
                let invite = cseq.method == Method::Invite;
                let tag = response.headers.to().expect("a response has a To").tag();
                let status = response.status;
                self.responses.push(*response);
                if !invite || !status.is_final() {
                    return Vec::new();
                }
                if status.is_success() {
                    self.to_tag = tag.expect("a 200 has a tag").as_str().to_owned();
                    return match self.acks {
                        true => vec![self.request("ACK", "", "").into()],
                        false => Vec::new(),
                    };
                }
                // The ACK of a failure belongs to the INVITE's own transaction.
                let branch = format!("z9hG4bK-{}-{}", self.call_id, self.branch);
                let tag = tag.expect("a failure has a tag");
                let mut ack = self.request_in("ACK", &branch, "", "");
                ack = ack.replacen(
                    "@192.0.2.10>\r\nCall-ID",
                    &format!("@192.0.2.10>;tag={}\r\nCall-ID", tag.as_str()),
                    1,
                );
                vec![ack.into()]
            }
        }
    }

    /// Says these packets' payloads, 20 ms apart, from now on.
    pub(crate) fn speak(&mut self, frames: impl IntoIterator<Item = Vec<u8>>) {
        for frame in frames {
            let mut packet = vec![0x80, self.payload_type];
            packet.extend(self.spoken.to_be_bytes());
            packet.extend((u32::from(self.spoken) * 160).to_be_bytes());
            packet.extend(0x1234_5678_u32.to_be_bytes());
            packet.extend(frame);
            self.spoken = self.spoken.wrapping_add(1);
            self.speech.push(packet);
        }
    }

    /// Presses a key: RFC 4733 events of 100 ms, the end three times.
    pub(crate) fn press(&mut self, event: u8) {
        let timestamp = u32::from(self.spoken) * 160;
        for (index, (end, duration)) in
            [(0, 160), (0, 320), (0, 480), (0x80, 800), (0x80, 800), (0x80, 800)]
                .into_iter()
                .enumerate()
        {
            let mut packet = vec![0x80, if index == 0 { 0x80 | 101 } else { 101 }];
            packet.extend(self.spoken.to_be_bytes());
            packet.extend(timestamp.to_be_bytes());
            packet.extend(0x1234_5678_u32.to_be_bytes());
            packet.extend([event, end | 10]);
            packet.extend(u16::to_be_bytes(duration));
            self.spoken = self.spoken.wrapping_add(1);
            self.speech.push(packet);
        }
    }

    /// Whether there is something to say and no tick is under way; then one is.
    pub(crate) fn begins_to_tick(&mut self) -> bool {
        let begins = !self.speech.is_empty() && !self.ticking;
        self.ticking |= begins;
        begins
    }

    pub(crate) fn tick(&mut self) -> (Option<Vec<u8>>, Option<Duration>) {
        if self.speech.is_empty() {
            self.ticking = false;
            return (None, None);
        }
        (Some(self.speech.remove(0)), Some(Duration::from_millis(20)))
    }

    pub(crate) fn hear(&mut self, at: Instant, bytes: &[u8]) {
        let packet = Packet::parse(bytes).expect("the node writes RTP");
        self.heard.push(HeardRtp {
            at,
            payload_type: packet.header.payload_type,
            sequence_number: packet.header.sequence_number.0,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: packet.payload.to_vec(),
        });
    }
}
