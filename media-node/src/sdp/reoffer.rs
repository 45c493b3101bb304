//! An offer in a call that is up: a re-INVITE or an UPDATE (RFC 3264 §8).
//!
//! What may change is where audio goes and which way: refresh, hold, resume, another address. A new
//! codec, a new key or another stream is refused, and the call goes on as it was.
#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;

use crate::media::Direction;

use super::description::SessionDescription;
use super::negotiate::{Agreed, Encryption, Policy, Reason, Unacceptable, choose};

/// What a re-offer asks of the audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: a refresh.
    Same,
    /// Hold or resume; ours.
    Direction(Direction),
    /// Another address, and the direction that holds with it; ours.
    Target { rtp: SocketAddr, rtcp: SocketAddr, direction: Direction },
}

/// A re-offer that can be met: what to tell the audio, and what holds from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reoffer {
    pub change: Change,
    /// Answer with [`Agreed::answer_again`] of this, and keep it for the next re-offer.
    pub agreed: Agreed,
    /// The peer still takes the events that were agreed on (RFC 4733), if any were.
    pub takes_events: bool,
}

/// Compares a new offer with what holds. `policy` is that of the call's beginning; its `codecs`,
/// `encryption` and `suites` no longer matter, for what was agreed stays.
pub fn reoffer(
    agreed: &Agreed,
    offer: &SessionDescription,
    policy: &Policy<'_>,
) -> Result<Reoffer, Unacceptable> {
    let refuse = |text: &str| Err(Unacceptable::new(Reason::Change, 399, text));
    let Some(media) = offer.media.get(agreed.media_index).filter(|media| media.is_audio()) else {
        return refuse("the audio stream of this call is missing from the new offer");
    };
    if media.port == 0 {
        return refuse("removing the audio stream is not supported; hang up with BYE");
    }
    let suite = agreed.crypto.as_ref().map(|crypto| crypto.remote.suite());
    let kept = Policy {
        codecs: &[agreed.codec],
        encryption: match suite {
            Some(_) => Encryption::Required,
            None => Encryption::Disabled,
        },
        suites: suite.as_slice(),
        packet_time_ms: agreed.packet_time_ms,
        ..*policy
    };
    let mut next = choose(offer, agreed.media_index, media, &kept)?.agreed;
    if next.payload_type != agreed.payload_type {
        return refuse("changing the payload type of a codec during a call is not supported");
    }
    if next.rtcp_mux != agreed.rtcp_mux {
        return refuse("changing rtcp-mux during a call is not supported");
    }
    let takes_events = next.telephone_event.is_some();
    next.telephone_event = match (agreed.telephone_event, next.telephone_event) {
        // Without the events in the new offer the peer will send none, and should be sent none.
        (Some(old), None) => Some(old),
        (old, new) if old == new => old,
        (None, Some(_)) => None,
        _ => return refuse("changing the payload type of telephone-event is not supported"),
    };
    next.packet_time_ms = agreed.packet_time_ms;
    if let Some(crypto) = &agreed.crypto {
        let same = media.cryptos().flatten().find(|offered| offered.key == crypto.remote);
        match same {
            Some(offered) => next.crypto = Some(crypto.renamed(&offered)),
            None => return refuse("a new key during a call is not supported"),
        }
    }
    // Who holds with c=0.0.0.0 resumes with an address; until then the old one stands.
    if next.remote_rtp.ip().is_unspecified() {
        next.remote_rtp = agreed.remote_rtp;
        next.remote_rtcp = agreed.remote_rtcp;
    }
    let direction = next.direction;
    let change = if (next.remote_rtp, next.remote_rtcp) != (agreed.remote_rtp, agreed.remote_rtcp) {
        Change::Target { rtp: next.remote_rtp, rtcp: next.remote_rtcp, direction }
    } else if direction != agreed.direction {
        Change::Direction(direction)
    } else {
        Change::Same
    };
    Ok(Reoffer { change, agreed: next, takes_events })
}
