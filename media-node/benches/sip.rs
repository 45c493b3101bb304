//! What one message costs: a 1.5 kB INVITE with SDP, as a carrier's proxies leave it.
//!
//! `cargo bench --bench sip`; a name filters, as in `-- parse`.

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to say")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trunkline_media_node::sip::{
    Frame, Framer, HeaderName, Message, Request, Response, StatusCode,
};

const HEAD: &str = "INVITE sip:+442079460000@192.0.2.10:5061;transport=tls SIP/2.0\r\n\
    Record-Route: <sip:edge-1.carrier.example:5061;transport=tls;lr;ftag=as58f4a1c2>\r\n\
    Record-Route: <sip:10.20.30.40:5060;lr;r2=on;nat=yes>\r\n\
    Via: SIP/2.0/TLS 203.0.113.5:5061;branch=z9hG4bK2d4c.5d9a1be44aa0b7fdc3a1e6b0d1a94e20.0;i=8a1;rport\r\n\
    Via: SIP/2.0/UDP 10.20.30.41:5060;rport=5060;received=10.20.30.41;branch=z9hG4bK0f1d8e6b\r\n\
    Max-Forwards: 68\r\n\
    From: \"Alice Example\" <sip:+15551230001@carrier.example;user=phone>;tag=as58f4a1c2\r\n\
    To: <sip:+442079460000@192.0.2.10:5061>\r\n\
    Contact: <sip:+15551230001@10.20.30.41:5060;alias=10.20.30.41~5060~1>\r\n\
    Call-ID: 2f8a5c0d4b7e4a6f9c1d3e5b7a9f0c2e@10.20.30.41:5060\r\n\
    CSeq: 102 INVITE\r\n\
    User-Agent: Carrier SBC 7.2.1\r\n\
    Date: Mon, 23 Nov 2026 10:00:00 GMT\r\n\
    Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE, UPDATE\r\n\
    Supported: replaces, timer, 100rel\r\n\
    Session-Expires: 1800;refresher=uac\r\n\
    P-Asserted-Identity: \"Alice Example\" <sip:+15551230001@carrier.example>\r\n\
    X-Customer-Id: 8812-44\r\n\
    Content-Type: application/sdp\r\n";

const SDP: &str = "v=0\r\no=- 1732356000 1732356000 IN IP4 203.0.113.9\r\ns=-\r\n\
    c=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 18422 RTP/SAVP 0 8 101\r\n\
    a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-16\r\na=ptime:20\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\na=sendrecv\r\n";

fn invite() -> Bytes {
    Bytes::from(format!("{HEAD}Content-Length: {}\r\n\r\n{SDP}", SDP.len()))
}

fn request(bytes: &Bytes) -> Request {
    match Message::parse(bytes).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("an INVITE is a request"),
    }
}

/// What a UAS asks of an INVITE.
fn read_core(request: &Request) {
    let headers = &request.headers;
    black_box(headers.top_via().unwrap());
    black_box(headers.from().unwrap());
    black_box(headers.to().unwrap());
    black_box(headers.call_id().unwrap());
    black_box(headers.cseq().unwrap());
    black_box(headers.max_forwards().unwrap());
    black_box(headers.contacts().unwrap());
    black_box(headers.record_routes().unwrap());
    black_box(headers.content_type().unwrap());
    black_box(headers.tokens(&HeaderName::Supported).unwrap());
}

fn message(criterion: &mut Criterion) {
    let bytes = invite();
    let parsed = request(&bytes);
    let mut group = criterion.benchmark_group("sip");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| Message::parse(black_box(&bytes)).unwrap());
    });
    group.bench_function("typed", |bencher| bencher.iter(|| read_core(black_box(&parsed))));
    group.bench_function("write", |bencher| bencher.iter(|| black_box(&parsed).write()));
    group.bench_function("parse_typed_write", |bencher| {
        bencher.iter(|| {
            let request = request(black_box(&bytes));
            read_core(&request);
            request.write()
        });
    });
    group.bench_function("answer", |bencher| {
        bencher.iter(|| {
            let mut ringing = Response::to_request(black_box(&parsed), StatusCode::RINGING, None);
            ringing.headers.add_to_tag("0c2e7a9f");
            ringing.headers.stamp_via("203.0.113.5:5061".parse().unwrap()).unwrap();
            ringing.write()
        });
    });
    group.bench_function("frame", |bencher| {
        bencher.iter(|| {
            let mut framer = Framer::new();
            framer.push(black_box(&bytes));
            match framer.next() {
                Some(Ok(Frame::Message(bytes))) => bytes,
                _ => panic!("one whole message"),
            }
        });
    });
    group.finish();
}

criterion_group!(benches, message);
criterion_main!(benches);
