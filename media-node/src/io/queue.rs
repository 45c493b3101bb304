//! Queues that are bounded by the bytes in them: the goodbyes of a thousand calls pass in one instant,
//! and a reader that is stuck costs no more than the bound.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What an item costs beside its own bytes.
const OVERHEAD_BYTES: usize = 64;

pub(super) struct Sender<T> {
    items: mpsc::UnboundedSender<(T, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

pub(super) struct Receiver<T>(mpsc::UnboundedReceiver<(T, OwnedSemaphorePermit)>);

pub(super) fn bounded<T>(capacity_bytes: usize) -> (Sender<T>, Receiver<T>) {
    let (items, receiver) = mpsc::unbounded_channel();
    (Sender { items, room: Arc::new(Semaphore::new(capacity_bytes)) }, Receiver(receiver))
}

impl<T> Sender<T> {
    /// `false` when there is no room for `len_bytes` more, or nobody reads any longer.
    #[must_use]
    pub(super) fn send(&self, item: T, len_bytes: usize) -> bool {
        self.send_leaving(0, item, len_bytes)
    }

    /// The same, but room for `reserve_bytes` is left to others.
    #[must_use]
    pub(super) fn send_leaving(&self, reserve_bytes: usize, item: T, len_bytes: usize) -> bool {
        let len_bytes = len_bytes + OVERHEAD_BYTES;
        if self.room.available_permits() < len_bytes + reserve_bytes {
            return false;
        }
        let Ok(permits) = u32::try_from(len_bytes) else { return false };
        let Ok(permit) = self.room.clone().try_acquire_many_owned(permits) else { return false };
        self.items.send((item, permit)).is_ok()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.items.is_closed()
    }
}

impl<T> Receiver<T> {
    /// `None` when it is empty and no sender is left.
    pub(super) async fn recv(&mut self) -> Option<T> {
        self.0.recv().await.map(|(item, _)| item)
    }

    /// What is there already.
    pub(super) fn try_recv(&mut self) -> Option<T> {
        self.0.try_recv().ok().map(|(item, _)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: usize = 36 + OVERHEAD_BYTES;

    #[test]
    fn it_takes_items_until_their_bytes_fill_it_and_again_when_they_are_read() {
        let (sender, mut receiver) = bounded(2 * ITEM);
        assert!(sender.send('a', 36) && sender.send('b', 36));
        assert!(!sender.send('c', 0));
        assert_eq!(receiver.try_recv(), Some('a'));
        assert!(!sender.send('c', 37));
        assert!(sender.send('c', 36));
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Some('b'), Some('c')));
        assert_eq!(receiver.try_recv(), None);
    }

    #[test]
    fn what_is_reserved_is_left_to_others() {
        let (sender, _receiver) = bounded(3 * ITEM);
        assert!(sender.send_leaving(2 * ITEM, (), 36));
        assert!(!sender.send_leaving(2 * ITEM, (), 0));
        assert!(sender.send((), 36) && sender.send((), 36));
    }

    #[test]
    fn nothing_is_taken_that_nobody_will_read() {
        let (sender, receiver) = bounded(ITEM);
        drop(receiver);
        assert!(sender.is_closed() && !sender.send((), 0));
    }
}
