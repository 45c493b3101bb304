//! Whose a message is. Nodes of one pool share addresses, so a message may come to one of them that
//! has never heard of its dialog or transaction. Therefore tags, branches and the user part of our
//! Contact begin with the number of the node that made them: `3-k2m8…`. A node that is alone has no
//! number, and writes none.

use super::Message;

/// A token that tells who made it.
pub fn mark(node: Option<u16>, token: &str) -> String {
    match node {
        Some(node) => format!("{node}-{token}"),
        None => token.to_owned(),
    }
}

/// Who made a token; `None` when it does not say.
fn of_token(token: &str) -> Option<u16> {
    let (node, rest) = token.split_once('-')?;
    let plain = !rest.is_empty() && node.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| node.parse().ok())?
}

/// The node whose dialog or transaction a message belongs to: that of the To tag of a request, and of
/// the topmost branch of a response. `None` for a message that says nothing of that kind.
pub fn of_message(message: &Message) -> Option<u16> {
    match message {
        Message::Request(request) => of_token(request.headers.to().ok()?.tag()?.as_str()),
        Message::Response(response) => {
            let via = response.headers.top_via().ok()?;
            of_token(via.branch.as_ref()?.as_str().strip_prefix("z9hG4bK")?)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn owner(text: &str) -> Option<u16> {
        let text = text.replace('\n', "\r\n") + "\r\n\r\n";
        of_message(&Message::parse(&Bytes::from(text)).expect("a message"))
    }

    fn request(to: &str) -> String {
        format!(
            "BYE sip:x@192.0.2.1 SIP/2.0\nVia: SIP/2.0/TLS 203.0.113.1;branch=z9hG4bK9-theirs\n\
             From: <sip:a@x>;tag=7-theirs\nTo: <sip:b@y>{to}\nCall-ID: c\nCSeq: 2 BYE"
        )
    }

    #[test]
    fn a_request_belongs_to_whom_its_to_tag_names() {
        assert_eq!(owner(&request(";tag=3-k2m8x7")), Some(3));
        assert_eq!(owner(&request("")), None);
        for unmarked in ["k2m8x7", "3-", "-k2m8", "70000-k2m8", "a-b", "+3-k2m8"] {
            let said = owner(&request(&format!(";tag={unmarked}")));
            assert_eq!(said, None, "{unmarked}");
        }
    }

    #[test]
    fn a_response_belongs_to_whom_its_branch_names() {
        let response = |branch: &str| {
            format!(
                "SIP/2.0 200 OK\nVia: SIP/2.0/TLS 192.0.2.1;branch={branch}\nFrom: <sip:b@y>;tag=3-a\n\
                 To: <sip:a@x>;tag=5-b\nCall-ID: c\nCSeq: 1 BYE"
            )
        };
        assert_eq!(owner(&response(&format!("z9hG4bK{}", mark(Some(12), "token")))), Some(12));
        assert_eq!(owner(&response(&format!("z9hG4bK{}", mark(None, "token")))), None);
        assert_eq!(owner(&response("12-token")), None);
    }
}
