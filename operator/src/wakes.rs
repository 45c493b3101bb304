//! How watches and polls tell the loop where something has changed. Never blocks, never loses one, and
//! holds no more than there are namespaces.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// What has changed since it was last asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// Everything may have.
    pub all: bool,
    pub namespaces: BTreeSet<String>,
}

/// See the module.
#[derive(Default)]
pub struct Wakes {
    woken: Mutex<Woken>,
    notify: Notify,
}

impl Wakes {
    /// `None` is all of them.
    pub fn wake(&self, namespace: Option<&str>) {
        {
            let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
            match namespace {
                None => woken.all = true,
                Some(namespace) if !woken.namespaces.contains(namespace) => {
                    woken.namespaces.insert(namespace.to_owned());
                }
                Some(_) => return,
            }
        }
        self.notify.notify_one();
    }

    /// Waits until something has changed, and takes it.
    pub async fn woken(&self) -> Woken {
        loop {
            let notified = self.notify.notified();
            let woken =
                std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner));
            if woken != Woken::default() {
                return woken;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_while_nobody_listened_is_not_lost() {
        let wakes = Wakes::default();
        for namespace in ["b", "a", "b"] {
            wakes.wake(Some(namespace));
        }
        wakes.wake(None);
        let woken = wakes.woken().await;
        assert!(woken.all);
        assert_eq!(woken.namespaces.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        tokio::select! {
            biased;
            again = wakes.woken() => panic!("{again:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
}
