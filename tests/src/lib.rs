//! What the tests and the measuring tools share: a media node started and watched from outside,
//! peers that know nothing of its code, sound that can be compared, and a view of the machine.
//!
//! Nothing here uses the node's own modules: a fault in its SRTP or SIP would otherwise cancel out.

pub mod admin;
pub mod agent;
pub mod caller;
pub mod certificate;
pub mod g711;
pub mod machine;
pub mod manifests;
pub mod node;
pub mod peers;
pub mod ports;
pub mod process;
pub mod sip;
pub mod sound;
pub mod srtp;
pub mod stamp;
pub mod statistics;
pub mod wav;
