//! How the rest of the node speaks to a shard: one bounded channel, and a bell for a thread that
//! waits in epoll.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::sync::mpsc;

use super::Opening;
use crate::call::CallKey;
use crate::call::media::{AgentFailure, Command};
use crate::io::agent::AgentSocket;

/// Mail that waits for a shard. A call has room for two reserved as long as it lives, the answer of
/// its agent and its last command.
const ROOM: usize = 16_384;

/// What a shard is told.
pub(super) enum Mail {
    Open(Box<Opening>),
    Agent(CallKey, Result<Box<AgentSocket>, AgentFailure>),
    Command(CallKey, Command),
}

/// No room, or nobody there.
#[derive(Debug)]
pub(crate) struct Undeliverable;

/// The senders' end.
#[derive(Clone)]
pub(super) struct Mailbox {
    sender: mpsc::Sender<Mail>,
    bell: Arc<Bell>,
}

/// Room for one piece of mail, held until it is used or dropped.
pub(super) struct Reserved {
    permit: mpsc::OwnedPermit<Mail>,
    bell: Arc<Bell>,
}

/// The shard's end.
pub(super) struct Inbox {
    receiver: mpsc::Receiver<Mail>,
    bell: Arc<Bell>,
}

/// Wakes the shard out of epoll, if that is where it is: a shard that sleeps looks by itself.
struct Bell {
    waits: AtomicBool,
    event: OwnedFd,
}

impl Bell {
    fn ring(&self) {
        if self.waits.swap(false, Ordering::SeqCst) {
            // It fails only when the counter is full, and then it has rung.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }
}

pub(super) fn mailbox() -> std::io::Result<(Mailbox, Inbox)> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let bell = Arc::new(Bell { waits: AtomicBool::new(false), event });
    let (sender, receiver) = mpsc::channel(ROOM);
    Ok((Mailbox { sender, bell: bell.clone() }, Inbox { receiver, bell }))
}

impl Mailbox {
    pub(super) fn send(&self, mail: Mail) -> Result<(), Undeliverable> {
        self.sender.try_send(mail).map_err(|_| Undeliverable)?;
        self.bell.ring();
        Ok(())
    }

    pub(super) fn reserve(&self) -> Result<Reserved, Undeliverable> {
        let permit = self.sender.clone().try_reserve_owned().map_err(|_| Undeliverable)?;
        Ok(Reserved { permit, bell: self.bell.clone() })
    }
}

impl Reserved {
    pub(super) fn send(self, mail: Mail) {
        self.permit.send(mail);
        self.bell.ring();
    }
}

impl Inbox {
    /// `Err` when everybody who could write is gone.
    pub(super) fn next(&mut self) -> Result<Option<Mail>, Undeliverable> {
        match self.receiver.try_recv() {
            Ok(mail) => Ok(Some(mail)),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(Undeliverable),
        }
    }

    /// From now on mail rings. False when there is some already: do not wait.
    pub(super) fn wait(&self) -> bool {
        self.bell.waits.store(true, Ordering::SeqCst);
        self.receiver.is_empty()
    }

    /// Nobody waits any more, and mail need not ring.
    pub(super) fn waited(&self) {
        self.bell.waits.store(false, Ordering::SeqCst);
    }

    /// The bell has rung, and stops.
    pub(super) fn silence(&self) {
        let _ = rustix::io::read(&self.bell.event, &mut [0_u8; 8]);
    }

    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Mail {
        Mail::Command(CallKey(1), Command::Answered)
    }

    #[test]
    fn mail_rings_only_for_a_shard_that_waits() {
        let (mailbox, mut inbox) = mailbox().unwrap();
        let rung = |inbox: &Inbox| rustix::io::read(inbox.bell(), &mut [0_u8; 8]).is_ok();
        mailbox.send(command()).unwrap();
        assert!(!rung(&inbox));
        assert!(!inbox.wait(), "there is mail");
        assert!(matches!(inbox.next(), Ok(Some(Mail::Command(..)))));
        assert!(inbox.wait());
        mailbox.reserve().unwrap().send(command());
        mailbox.send(command()).unwrap();
        assert!(rung(&inbox));
    }

    #[test]
    fn reserved_room_is_there_when_the_mailbox_is_full() {
        let (mailbox, mut inbox) = mailbox().unwrap();
        let last = mailbox.reserve().unwrap();
        while mailbox.send(command()).is_ok() {}
        assert!(mailbox.reserve().is_err());
        last.send(Mail::Command(CallKey(7), Command::Stop));
        let mut newest = None;
        while let Ok(Some(mail)) = inbox.next() {
            newest = Some(mail);
        }
        assert!(matches!(newest, Some(Mail::Command(CallKey(7), Command::Stop))));
    }

    #[test]
    fn a_shard_learns_that_nobody_is_left() {
        let (mailbox, mut inbox) = mailbox().unwrap();
        drop(mailbox);
        assert!(inbox.next().is_err());
    }
}
