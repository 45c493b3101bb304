//! Events of `events.k8s.io`: what `kubectl describe` shows below an object.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event as Published, EventType, Recorder, Reporter};
use trunkline_crds::API_VERSION;

use crate::names::OPERATOR;
use crate::plan::Event;

/// The API server takes no longer note.
const MAX_NOTE_LEN_BYTES: usize = 1024;

/// Tells events; the same one within some minutes becomes a count.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// `instance` is the operator's pod.
    pub fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: OPERATOR.into(), instance: Some(instance) };
        Self(Recorder::new(client, reporter))
    }

    pub async fn publish(&self, namespace: &str, event: &Event) -> kube::Result<()> {
        let regarding = &event.regarding;
        let api_version = if regarding.kind == "Pod" { "v1" } else { API_VERSION };
        let reference = ObjectReference {
            api_version: Some(api_version.into()),
            kind: Some(regarding.kind.into()),
            name: Some(regarding.name.clone()),
            namespace: Some(namespace.into()),
            uid: Some(regarding.uid.clone()).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        };
        let published = Published {
            type_: if event.warning { EventType::Warning } else { EventType::Normal },
            reason: event.reason.into(),
            note: Some(shortened(&event.note, MAX_NOTE_LEN_BYTES)),
            action: "Reconcile".into(),
            secondary: None,
        };
        self.0.publish(&published, &reference).await
    }
}

fn shortened(text: &str, max_len_bytes: usize) -> String {
    if text.len() <= max_len_bytes {
        return text.to_owned();
    }
    let end = (0..=max_len_bytes - '…'.len_utf8())
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or_default();
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        assert_eq!(shortened("short", 8), "short");
        assert_eq!(shortened("abcdefghij", 8), "abcde…");
        assert_eq!(shortened("äöüäöü", 8), "äö…");
    }
}
