//! Header field names: compared without case, compact forms expanded (RFC 3261 §7.3.1, §7.3.3).

use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

use super::scan;

/// A name this library does not know, spelled as it came. Always a token, so it cannot end a line.
#[derive(Clone)]
pub struct OtherName(Bytes);

impl OtherName {
    pub fn as_str(&self) -> &str {
        scan::ascii(&self.0)
    }
}

impl fmt::Debug for OtherName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for OtherName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for OtherName {}

impl Hash for OtherName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|byte| byte.to_ascii_lowercase().hash(state));
    }
}

/// The longest name in the table below.
const LONGEST: usize = 24;

macro_rules! names {
    ($($variant:ident $text:literal $($key:literal)|+;)*) => {
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum HeaderName {
            $($variant,)*
            /// Any other token; made by [`HeaderName::new`].
            Other(OtherName),
        }

        impl HeaderName {
            /// The usual spelling; that of the sender where the name is unknown.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(name) => name.as_str(),
                }
            }

            /// For error messages: the usual spelling, `header` for an unknown name.
            pub(crate) fn field(&self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(_) => "header",
                }
            }

            fn known(lower: &[u8]) -> Option<Self> {
                match lower {
                    $($($key)|+ => Some(Self::$variant),)*
                    _ => None,
                }
            }

            #[cfg(test)]
            pub(crate) const KNOWN: &[(Self, &[&[u8]])] =
                &[$((Self::$variant, &[$($key),+])),*];
        }
    };
}

names! {
    Via "Via" b"via" | b"v";
    From "From" b"from" | b"f";
    To "To" b"to" | b"t";
    CallId "Call-ID" b"call-id" | b"i";
    CSeq "CSeq" b"cseq";
    Contact "Contact" b"contact" | b"m";
    MaxForwards "Max-Forwards" b"max-forwards";
    ContentLength "Content-Length" b"content-length" | b"l";
    ContentType "Content-Type" b"content-type" | b"c";
    ContentEncoding "Content-Encoding" b"content-encoding" | b"e";
    ContentDisposition "Content-Disposition" b"content-disposition";
    ContentLanguage "Content-Language" b"content-language";
    Route "Route" b"route";
    RecordRoute "Record-Route" b"record-route";
    Path "Path" b"path";
    ServiceRoute "Service-Route" b"service-route";
    Allow "Allow" b"allow";
    AllowEvents "Allow-Events" b"allow-events" | b"u";
    Supported "Supported" b"supported" | b"k";
    Require "Require" b"require";
    ProxyRequire "Proxy-Require" b"proxy-require";
    Unsupported "Unsupported" b"unsupported";
    Accept "Accept" b"accept";
    AcceptEncoding "Accept-Encoding" b"accept-encoding";
    AcceptLanguage "Accept-Language" b"accept-language";
    AcceptContact "Accept-Contact" b"accept-contact" | b"a";
    RejectContact "Reject-Contact" b"reject-contact" | b"j";
    RequestDisposition "Request-Disposition" b"request-disposition" | b"d";
    Authorization "Authorization" b"authorization";
    ProxyAuthorization "Proxy-Authorization" b"proxy-authorization";
    WwwAuthenticate "WWW-Authenticate" b"www-authenticate";
    ProxyAuthenticate "Proxy-Authenticate" b"proxy-authenticate";
    AuthenticationInfo "Authentication-Info" b"authentication-info";
    Expires "Expires" b"expires";
    MinExpires "Min-Expires" b"min-expires";
    SessionExpires "Session-Expires" b"session-expires" | b"x";
    MinSe "Min-SE" b"min-se";
    RSeq "RSeq" b"rseq";
    RAck "RAck" b"rack";
    ReferTo "Refer-To" b"refer-to" | b"r";
    ReferredBy "Referred-By" b"referred-by" | b"b";
    Replaces "Replaces" b"replaces";
    Event "Event" b"event" | b"o";
    SubscriptionState "Subscription-State" b"subscription-state";
    Reason "Reason" b"reason";
    Warning "Warning" b"warning";
    RetryAfter "Retry-After" b"retry-after";
    Server "Server" b"server";
    UserAgent "User-Agent" b"user-agent";
    Subject "Subject" b"subject" | b"s";
    Date "Date" b"date";
    Timestamp "Timestamp" b"timestamp";
    Organization "Organization" b"organization";
    Priority "Priority" b"priority";
    InReplyTo "In-Reply-To" b"in-reply-to";
    ReplyTo "Reply-To" b"reply-to";
    MimeVersion "MIME-Version" b"mime-version";
    AlertInfo "Alert-Info" b"alert-info";
    CallInfo "Call-Info" b"call-info";
    ErrorInfo "Error-Info" b"error-info";
    Identity "Identity" b"identity" | b"y";
    PAssertedIdentity "P-Asserted-Identity" b"p-asserted-identity";
    PPreferredIdentity "P-Preferred-Identity" b"p-preferred-identity";
    PCalledPartyId "P-Called-Party-ID" b"p-called-party-id";
    RemotePartyId "Remote-Party-ID" b"remote-party-id";
    Privacy "Privacy" b"privacy";
    Diversion "Diversion" b"diversion";
    HistoryInfo "History-Info" b"history-info";
    SipEtag "SIP-ETag" b"sip-etag";
    SipIfMatch "SIP-If-Match" b"sip-if-match";
    UserToUser "User-to-User" b"user-to-user";
}

impl HeaderName {
    /// `None` when `name` is not a token. Compact forms become the long ones.
    pub fn new(name: &str) -> Option<Self> {
        Self::of(name.as_bytes(), || Bytes::copy_from_slice(name.as_bytes()))
    }

    /// `name` is a part of `message`, and an unknown one stays so.
    pub(super) fn parse(message: &Bytes, name: &[u8]) -> Option<Self> {
        Self::of(name, || message.slice_ref(name))
    }

    fn of(name: &[u8], keep: impl FnOnce() -> Bytes) -> Option<Self> {
        let mut lower = [0; LONGEST];
        if let Some(lower) = lower.get_mut(..name.len()) {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            if let Some(known) = Self::known(lower) {
                return Some(known);
            }
        }
        scan::token_text(name).map(|_| Self::Other(OtherName(keep())))
    }

    /// May one line hold several values with commas between them (RFC 3261 §7.3.1, and the RFC of
    /// each later header)? Where this is false a comma is a part of the value.
    pub fn is_list(&self) -> bool {
        matches!(
            self,
            Self::Via
                | Self::Contact
                | Self::Route
                | Self::RecordRoute
                | Self::Path
                | Self::ServiceRoute
                | Self::Allow
                | Self::AllowEvents
                | Self::Supported
                | Self::Require
                | Self::ProxyRequire
                | Self::Unsupported
                | Self::Accept
                | Self::AcceptEncoding
                | Self::AcceptLanguage
                | Self::AcceptContact
                | Self::RejectContact
                | Self::RequestDisposition
                | Self::ContentEncoding
                | Self::ContentLanguage
                | Self::InReplyTo
                | Self::Reason
                | Self::Warning
                | Self::AlertInfo
                | Self::CallInfo
                | Self::ErrorInfo
                | Self::PAssertedIdentity
                | Self::PPreferredIdentity
                | Self::RemotePartyId
                | Self::Diversion
                | Self::HistoryInfo
                | Self::UserToUser
        )
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
