//! Dialogs (RFC 3261 §12): what two user agents keep of each other between requests.
//!
//! A dialog knows the peer's Contact (the remote target), the proxies that want to stay in between
//! (the route set), both sequence numbers and both tags, and so can make a request that arrives,
//! and tell a request that comes in order from one that does not. It sends nothing itself.

use crate::sip::message::scan::Fault;
use crate::sip::{
    CSeq, CallId, HeaderName, HeaderValue, Malformed, Method, NameAddr, Request, Response,
    StatusCode, Tag, Uri,
};

/// What the first of our own requests in a dialog we did not begin is counted from.
const FIRST_SEQ: u32 = 1;
/// Sequence numbers of ours stay below 2³¹ (RFC 3261 §8.1.1.5).
const MAX_SEQ: u32 = 0x7fff_ffff;
const MAX_FORWARDS: u32 = 70;

/// What names a dialog, seen from our side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialogId {
    pub call_id: CallId,
    pub local_tag: Tag,
    /// `None` for a peer of RFC 2543, which knows no tags (RFC 3261 §12.1.1).
    pub remote_tag: Option<Tag>,
}

impl DialogId {
    /// The dialog a request was sent in; `None` outside any, and when a header cannot be read.
    pub fn of_request(request: &Request) -> Option<Self> {
        let headers = &request.headers;
        Some(Self {
            call_id: headers.call_id().ok()?,
            local_tag: headers.to().ok()?.tag()?,
            remote_tag: headers.from().ok()?.tag(),
        })
    }

    /// The dialog a response to a request of ours makes or belongs to; `None` without tags.
    pub fn of_response(response: &Response) -> Option<Self> {
        let headers = &response.headers;
        Some(Self {
            call_id: headers.call_id().ok()?,
            local_tag: headers.from().ok()?.tag()?,
            remote_tag: headers.to().ok()?.tag(),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Between a provisional response with a tag and the final one.
    Early,
    /// After a 2xx.
    Confirmed,
}

/// A request of the peer has a lower sequence number than one before it (RFC 3261 §12.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CSeq {got} after {expected_from}")]
pub struct OutOfOrder {
    pub got: u32,
    pub expected_from: u32,
}

impl OutOfOrder {
    pub fn status(&self) -> StatusCode {
        StatusCode::SERVER_INTERNAL_ERROR
    }

    pub fn label(&self) -> &'static str {
        "cseq_out_of_order"
    }
}

/// One dialog, from the first response that makes it to the BYE.
#[derive(Clone, Debug)]
pub struct Dialog {
    id: DialogId,
    state: State,
    /// The From of our requests, tag included.
    local: NameAddr,
    /// The To of our requests, tag included.
    remote: NameAddr,
    /// The CSeq number of our last request; `None` before the first.
    local_seq: Option<u32>,
    /// That of the peer's last one.
    remote_seq: Option<u32>,
    /// In the order our requests pass them.
    route_set: Vec<NameAddr>,
    remote_target: Uri,
    contact: NameAddr,
}

impl Dialog {
    /// The dialog that our answer to this INVITE makes (RFC 3261 §12.1.1), early until
    /// [`Self::confirm`]. `contact` is what the peer is to send its requests to.
    pub fn uas(invite: &Request, local_tag: Tag, contact: NameAddr) -> Result<Self, Malformed> {
        let headers = &invite.headers;
        let remote = headers.from()?;
        let mut local = headers.to()?;
        local.params.set("tag", Some(local_tag.as_str()));
        let id = DialogId { call_id: headers.call_id()?, local_tag, remote_tag: remote.tag() };
        Ok(Self {
            id,
            state: State::Early,
            local,
            remote,
            local_seq: None,
            remote_seq: Some(headers.cseq()?.seq),
            route_set: headers.record_routes()?,
            remote_target: target(headers.contacts()?)?,
            contact,
        })
    }

    /// The dialog that a 101–299 to our INVITE makes (§12.1.2): early with a provisional response,
    /// confirmed with a 2xx. `request` is the INVITE as it was sent.
    pub fn uac(
        request: &Request,
        response: &Response,
        contact: NameAddr,
    ) -> Result<Self, Malformed> {
        let local = request.headers.from()?;
        let remote = response.headers.to()?;
        let (Some(local_tag), Some(remote_tag)) = (local.tag(), remote.tag()) else {
            return Err(missing("To", "no tag in it"));
        };
        let call_id = request.headers.call_id()?;
        let id = DialogId { call_id, local_tag, remote_tag: Some(remote_tag) };
        let state = if response.status.is_success() { State::Confirmed } else { State::Early };
        let mut route_set = response.headers.record_routes()?;
        route_set.reverse();
        Ok(Self {
            id,
            state,
            local,
            remote,
            local_seq: Some(request.headers.cseq()?.seq),
            remote_seq: None,
            route_set,
            remote_target: target(response.headers.contacts()?)?,
            contact,
        })
    }

    pub fn id(&self) -> &DialogId {
        &self.id
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Where the peer wants our requests.
    pub fn remote_target(&self) -> &Uri {
        &self.remote_target
    }

    /// Where our next request goes: the first proxy of the route set, or the peer itself.
    pub fn next_hop(&self) -> &Uri {
        self.route_set.first().map_or(&self.remote_target, |route| &route.uri)
    }

    /// Our 2xx was sent.
    pub fn confirm(&mut self) {
        self.state = State::Confirmed;
    }

    /// A response of the peer to an INVITE or UPDATE of ours. A 2xx to an INVITE confirms an early
    /// dialog, and then the route set is taken anew (§13.2.2.4); any 2xx renews the target.
    pub fn handle_response(&mut self, response: &Response) -> Result<(), Malformed> {
        if !response.status.is_success() {
            return Ok(());
        }
        if self.state == State::Early && response.headers.cseq()?.method == Method::Invite {
            let mut route_set = response.headers.record_routes()?;
            route_set.reverse();
            self.route_set = route_set;
            self.state = State::Confirmed;
        }
        self.renew_target(response.headers.contacts()?)
    }

    /// Is a request of the peer in order (§12.2.2)? Gaps are allowed. ACK and CANCEL carry the
    /// number of their INVITE and always pass. An equal number passes too: a copy was absorbed by
    /// its transaction, and some peers count an INVITE and its BYE as one.
    pub fn check_cseq(&mut self, request: &Request) -> Result<(), OutOfOrder> {
        if matches!(request.method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        let Ok(CSeq { seq, .. }) = request.headers.cseq() else {
            return Err(OutOfOrder { got: 0, expected_from: self.remote_seq.unwrap_or(0) });
        };
        match self.remote_seq {
            Some(last) if seq < last => Err(OutOfOrder { got: seq, expected_from: last }),
            _ => {
                self.remote_seq = Some(seq);
                Ok(())
            }
        }
    }

    /// The number of the peer's last request in order.
    pub fn remote_seq(&self) -> Option<u32> {
        self.remote_seq
    }

    /// Takes the Contact of a re-INVITE or UPDATE as the new remote target (§12.2.2); without one
    /// the old target stays. The route set never changes within a dialog.
    pub fn refresh_target(&mut self, request: &Request) -> Result<(), Malformed> {
        self.renew_target(request.headers.contacts()?)
    }

    /// A new request in this dialog (§12.2.1.1), whole but for its Via. Not for ACK and CANCEL,
    /// whose number is that of their INVITE.
    pub fn request(&mut self, method: Method) -> Request {
        let seq = self.local_seq.map_or(FIRST_SEQ, |last| last.wrapping_add(1) & MAX_SEQ);
        self.local_seq = Some(seq);
        self.numbered_request(method, seq)
    }

    /// The ACK of a 2xx to our INVITE with this CSeq number (§13.2.2.4).
    pub fn ack(&self, invite_seq: u32) -> Request {
        self.numbered_request(Method::Ack, invite_seq)
    }

    /// The response to a request of this dialog, or to the INVITE that makes it: with our tag, and
    /// with our Contact where the peer needs one (§12.1.1, RFC 3311 §5.2).
    pub fn response(&self, to: &Request, status: StatusCode, reason: Option<&str>) -> Response {
        let mut response = Response::to_request(to, status, reason);
        if status != StatusCode::TRYING {
            response.headers.add_to_tag(self.id.local_tag.as_str());
        }
        if status.is_dialog_forming() && renews_target(&to.method) {
            response.headers.set(HeaderName::Contact, HeaderValue::from(&self.contact));
        }
        response
    }

    fn numbered_request(&self, method: Method, seq: u32) -> Request {
        let (uri, routes) = self.routing();
        let contact = renews_target(&method).then(|| HeaderValue::from(&self.contact));
        let cseq = CSeq { seq, method: method.clone() };
        let mut request = Request::new(method, uri);
        let headers = &mut request.headers;
        for route in &routes {
            headers.push(HeaderName::Route, HeaderValue::from(route));
        }
        headers.push(HeaderName::MaxForwards, MAX_FORWARDS);
        headers.push(HeaderName::From, HeaderValue::from(&self.local));
        headers.push(HeaderName::To, HeaderValue::from(&self.remote));
        headers.push(HeaderName::CallId, HeaderValue::from(&self.id.call_id));
        headers.push(HeaderName::CSeq, HeaderValue::from(&cseq));
        if let Some(contact) = contact {
            headers.push(HeaderName::Contact, contact);
        }
        request
    }

    /// Request-URI and Route of our requests. A first proxy without `lr` is a strict router: it
    /// wants its own URI as Request-URI and the target at the end of the route (§12.2.1.1).
    fn routing(&self) -> (Uri, Vec<NameAddr>) {
        let target = || self.remote_target.clone();
        let Some((first, rest)) = self.route_set.split_first() else {
            return (target(), Vec::new());
        };
        if first.uri.is_loose_router() {
            return (target(), self.route_set.clone());
        }
        let mut uri = first.uri.clone();
        // Neither may stand in a Request-URI (§19.1.1, table 1).
        uri.params.remove("method");
        uri.headers.clear();
        let mut routes = rest.to_vec();
        routes.push(NameAddr::new(target()));
        (uri, routes)
    }

    fn renew_target(&mut self, contacts: Vec<NameAddr>) -> Result<(), Malformed> {
        if !contacts.is_empty() {
            self.remote_target = target(contacts)?;
        }
        Ok(())
    }
}

/// The requests whose Contact renews the remote target, and whose 2xx carries one of ours.
fn renews_target(method: &Method) -> bool {
    matches!(
        method,
        Method::Invite | Method::Update | Method::Subscribe | Method::Notify | Method::Refer
    )
}

/// The one Contact that a message which makes a dialog must have (§8.1.1.8); of several, the first.
fn target(contacts: Vec<NameAddr>) -> Result<Uri, Malformed> {
    contacts
        .into_iter()
        .next()
        .map(|contact| contact.uri)
        .ok_or_else(|| missing("Contact", "missing"))
}

fn missing(field: &'static str, problem: &'static str) -> Malformed {
    Malformed::new(field, Fault::at(0, problem))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sip::Message;

    fn request(text: &str) -> Request {
        match Message::parse(&Bytes::from(text.replace('\n', "\r\n"))) {
            Ok(Message::Request(request)) => request,
            other => panic!("not a request: {other:?}"),
        }
    }

    fn invite(extra: &str) -> Request {
        request(&format!(
            "INVITE sip:+15550100@192.0.2.10 SIP/2.0\n\
             Via: SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bKone\n\
             Max-Forwards: 70\n\
             From: \"Caller\" <sip:+15550199@carrier.example>;tag=theirs\n\
             To: <sip:+15550100@192.0.2.10>\n\
             Call-ID: call-1@carrier.example\n\
             CSeq: 100 INVITE\n{extra}\
             Content-Length: 0\n\n"
        ))
    }

    const CONTACT: &str = "Contact: <sip:them@198.51.100.7:5062;transport=tcp>\n";

    fn in_dialog(method: &str, seq: u32, extra: &str) -> Request {
        request(&format!(
            "{method} sip:token@192.0.2.10 SIP/2.0\n\
             Via: SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bKtwo\n\
             Max-Forwards: 70\n\
             From: <sip:+15550199@carrier.example>;tag=theirs\n\
             To: <sip:+15550100@192.0.2.10>;tag=ours\n\
             Call-ID: call-1@carrier.example\n\
             CSeq: {seq} {method}\n{extra}\
             Content-Length: 0\n\n"
        ))
    }

    fn contact() -> NameAddr {
        NameAddr::parse(b"<sip:token@192.0.2.10:5060>").unwrap()
    }

    fn tag(text: &str) -> Tag {
        Tag::new(text).unwrap()
    }

    fn uas(extra: &str) -> Dialog {
        Dialog::uas(&invite(extra), tag("ours"), contact()).unwrap()
    }

    fn lines(request: &Request) -> Vec<String> {
        let text = String::from_utf8(request.write().to_vec()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn line(request: &Request, name: &str) -> Vec<String> {
        let prefix = format!("{name}: ");
        let value = |line: &String| line.strip_prefix(&prefix).map(str::to_owned);
        lines(request).iter().filter_map(value).collect()
    }

    #[test]
    fn a_bye_of_the_called_side_turns_the_headers_of_the_invite_round() {
        let mut dialog = uas(CONTACT);
        let bye = dialog.request(Method::Bye);
        assert_eq!(lines(&bye)[0], "BYE sip:them@198.51.100.7:5062;transport=tcp SIP/2.0");
        assert_eq!(line(&bye, "From"), ["<sip:+15550100@192.0.2.10>;tag=ours"]);
        assert_eq!(line(&bye, "To"), ["\"Caller\" <sip:+15550199@carrier.example>;tag=theirs"]);
        assert_eq!(line(&bye, "Call-ID"), ["call-1@carrier.example"]);
        assert_eq!(line(&bye, "CSeq"), ["1 BYE"]);
        assert_eq!(line(&bye, "Max-Forwards"), ["70"]);
        assert_eq!(line(&bye, "Contact"), [""; 0]);
        assert_eq!(line(&bye, "Via"), [""; 0], "the transaction writes it");
        assert_eq!(line(&dialog.request(Method::Info), "CSeq"), ["2 INFO"]);
        let update = dialog.request(Method::Update);
        assert_eq!(line(&update, "CSeq"), ["3 UPDATE"]);
        assert_eq!(line(&update, "Contact"), ["<sip:token@192.0.2.10:5060>"]);
    }

    #[test]
    fn loose_routers_are_listed_and_the_target_stays_on_top() {
        let routes = "Record-Route: <sip:p1.example;lr>, <sip:p2.example:5070;lr;x=1>\n\
                      Record-Route: <sip:p3.example;lr>\n";
        let mut dialog = uas(&format!("{routes}{CONTACT}"));
        let bye = dialog.request(Method::Bye);
        assert_eq!(lines(&bye)[0], "BYE sip:them@198.51.100.7:5062;transport=tcp SIP/2.0");
        assert_eq!(
            line(&bye, "Route"),
            ["<sip:p1.example;lr>", "<sip:p2.example:5070;lr;x=1>", "<sip:p3.example;lr>"]
        );
        assert_eq!(dialog.next_hop().to_string(), "sip:p1.example;lr");
    }

    #[test]
    fn a_strict_router_gets_its_own_uri_and_the_target_goes_last() {
        let routes =
            "Record-Route: <sip:p1.example;method=INVITE?Subject=x>, <sip:p2.example;lr>\n";
        let mut dialog = uas(&format!("{routes}{CONTACT}"));
        let bye = dialog.request(Method::Bye);
        assert_eq!(lines(&bye)[0], "BYE sip:p1.example SIP/2.0");
        assert_eq!(
            line(&bye, "Route"),
            ["<sip:p2.example;lr>", "<sip:them@198.51.100.7:5062;transport=tcp>"]
        );
    }

    #[test]
    fn requests_find_their_dialog_by_call_id_and_both_tags() {
        let dialog = uas(CONTACT);
        let id = DialogId::of_request(&in_dialog("BYE", 101, "")).unwrap();
        assert_eq!(id, *dialog.id());
        assert_eq!(DialogId::of_request(&invite("")), None, "outside any");

        let old = |text: &str| text.replace(";tag=theirs", "");
        let text = String::from_utf8(invite(CONTACT).write().to_vec()).unwrap();
        let old_invite = request(&old(&text.replace("\r\n", "\n")));
        let dialog = Dialog::uas(&old_invite, tag("ours"), contact()).unwrap();
        let text = String::from_utf8(in_dialog("BYE", 101, "").write().to_vec()).unwrap();
        let bye = request(&old(&text.replace("\r\n", "\n")));
        assert_eq!(DialogId::of_request(&bye).as_ref(), Some(dialog.id()), "RFC 2543");
    }

    #[test]
    fn a_lower_cseq_is_out_of_order_and_a_gap_is_not() {
        let mut dialog = uas(CONTACT);
        for (method, seq, fits) in [
            ("BYE", 99, false),
            ("ACK", 100, true),
            ("INFO", 101, true),
            ("ACK", 100, true),
            ("INFO", 100, false),
            ("CANCEL", 100, true),
            ("UPDATE", 500, true),
            ("UPDATE", 500, true),
            ("INFO", 499, false),
            ("BYE", u32::MAX, true),
        ] {
            let judged = dialog.check_cseq(&in_dialog(method, seq, ""));
            assert_eq!(judged.is_ok(), fits, "{seq} {method}");
            if let Err(out_of_order) = judged {
                assert_eq!(out_of_order.status().as_u16(), 500);
                assert_eq!(out_of_order.got, seq);
            }
        }
        assert_eq!(dialog.remote_seq(), Some(u32::MAX));
    }

    #[test]
    fn a_re_invite_moves_the_target_and_never_the_route() {
        let mut dialog = uas(&format!("Record-Route: <sip:p1.example;lr>\n{CONTACT}"));
        let moved = "Record-Route: <sip:other.example;lr>\nContact: <sip:new@203.0.113.4>\n";
        dialog.refresh_target(&in_dialog("INVITE", 101, moved)).unwrap();
        let bye = dialog.request(Method::Bye);
        assert_eq!(lines(&bye)[0], "BYE sip:new@203.0.113.4 SIP/2.0");
        assert_eq!(line(&bye, "Route"), ["<sip:p1.example;lr>"]);
        dialog.refresh_target(&in_dialog("UPDATE", 102, "")).unwrap();
        assert_eq!(dialog.remote_target().to_string(), "sip:new@203.0.113.4");
    }

    #[test]
    fn responses_carry_tag_contact_and_record_route_where_they_make_a_dialog() {
        let invite = invite(&format!("Record-Route: <sip:p1.example;lr>\n{CONTACT}"));
        let dialog = Dialog::uas(&invite, tag("ours"), contact()).unwrap();
        for (code, tagged, dialog_forming) in
            [(100, false, false), (180, true, true), (200, true, true), (486, true, false)]
        {
            let response = dialog.response(&invite, StatusCode::new(code).unwrap(), None);
            let headers = &response.headers;
            assert_eq!(headers.to().unwrap().tag(), tagged.then(|| tag("ours")), "{code}");
            assert_eq!(headers.contains(&HeaderName::Contact), dialog_forming, "{code}");
            assert_eq!(headers.contains(&HeaderName::RecordRoute), dialog_forming, "{code}");
        }
        let ok = |method| dialog.response(&in_dialog(method, 101, ""), StatusCode::OK, None);
        assert!(ok("UPDATE").headers.contains(&HeaderName::Contact));
        assert!(!ok("BYE").headers.contains(&HeaderName::Contact));
        assert_eq!(ok("BYE").headers.to().unwrap().tag(), Some(tag("ours")));
    }

    #[test]
    fn an_invite_without_contact_makes_no_dialog() {
        let malformed = Dialog::uas(&invite(""), tag("ours"), contact()).unwrap_err();
        assert_eq!((malformed.field, malformed.status), ("Contact", StatusCode::BAD_REQUEST));
    }

    fn answer(to: &Request, code: u16, to_tag: &str, extra: &[(HeaderName, &str)]) -> Response {
        let mut response = Response::to_request(to, StatusCode::new(code).unwrap(), None);
        response.headers.remove(&HeaderName::RecordRoute);
        response.headers.add_to_tag(to_tag);
        for (name, value) in extra {
            response.headers.push(name.clone(), *value);
        }
        response
    }

    #[test]
    fn the_calling_side_reverses_the_route_and_takes_it_anew_with_the_2xx() {
        let sent = invite("Contact: <sip:token@192.0.2.10:5060>\n");
        let routes = [
            (HeaderName::RecordRoute, "<sip:p2.example;lr>, <sip:p1.example;lr>"),
            (HeaderName::Contact, "<sip:callee@203.0.113.4>"),
        ];
        let ringing = answer(&sent, 180, "callee", &routes);
        let mut dialog = Dialog::uac(&sent, &ringing, contact()).unwrap();
        assert_eq!(dialog.state(), State::Early);
        assert_eq!(DialogId::of_response(&ringing).as_ref(), Some(dialog.id()));
        assert_eq!(dialog.next_hop().to_string(), "sip:p1.example;lr");

        let ok = answer(
            &sent,
            200,
            "callee",
            &[
                (HeaderName::RecordRoute, "<sip:p3.example;lr>"),
                (HeaderName::Contact, "<sip:callee@203.0.113.5>"),
            ],
        );
        dialog.handle_response(&ok).unwrap();
        assert_eq!(dialog.state(), State::Confirmed);
        let ack = dialog.ack(100);
        assert_eq!(lines(&ack)[0], "ACK sip:callee@203.0.113.5 SIP/2.0");
        assert_eq!(line(&ack, "Route"), ["<sip:p3.example;lr>"]);
        assert_eq!(line(&ack, "CSeq"), ["100 ACK"]);
        let bye = dialog.request(Method::Bye);
        assert_eq!(line(&bye, "CSeq"), ["101 BYE"]);
        assert_eq!(line(&bye, "From"), ["\"Caller\" <sip:+15550199@carrier.example>;tag=theirs"]);
        assert_eq!(line(&bye, "To"), ["<sip:+15550100@192.0.2.10>;tag=callee"]);
        assert!(dialog.check_cseq(&in_dialog("BYE", 1, "")).is_ok(), "theirs counts from anywhere");
    }

    #[test]
    fn a_response_without_tag_or_contact_makes_no_dialog() {
        let sent = invite("Contact: <sip:token@192.0.2.10:5060>\n");
        let untagged = answer(&sent, 180, "", &[(HeaderName::Contact, "<sip:a@203.0.113.4>")]);
        assert_eq!(Dialog::uac(&sent, &untagged, contact()).unwrap_err().field, "To");
        let nowhere = answer(&sent, 200, "callee", &[]);
        assert_eq!(Dialog::uac(&sent, &nowhere, contact()).unwrap_err().field, "Contact");
    }

    #[test]
    fn sequence_numbers_of_ours_stay_below_two_to_the_31() {
        let mut dialog = uas(CONTACT);
        dialog.local_seq = Some(MAX_SEQ - 1);
        assert_eq!(line(&dialog.request(Method::Info), "CSeq"), ["2147483647 INFO"]);
        dialog.request(Method::Info);
        assert!(dialog.local_seq.is_some_and(|seq| seq <= MAX_SEQ));
    }
}
