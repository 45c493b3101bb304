//! Whether the installed CustomResourceDefinitions know all fields that this operator writes and
//! reads: an older one prunes newer fields without a word.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tracing::{error, info, warn};
use trunkline_crds::{SCHEMA, SCHEMA_ANNOTATION};

use crate::apply::Events;
use crate::client::in_words;
use crate::lease::Leadership;
use crate::plan::{Event, Regarding};
use crate::wakes::Wakes;

/// The installed definitions are read again after this: soon while they are not right.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// What the installed definitions are, as far as is known.
pub type Schema = watch::Receiver<Option<u32>>;

/// Reads the definitions' schema number now and then: an older definition prunes newer fields without
/// a word. A definition that is missing counts as 0.
pub async fn follow(client: Client, schema: watch::Sender<Option<u32>>, wakes: Arc<Wakes>) {
    let definitions: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client);
    loop {
        match installed_schema(&definitions).await {
            Ok(found) => {
                let changed = schema.send_if_modified(|known| known.replace(found) != Some(found));
                if changed {
                    info!(installed = found, needed = SCHEMA, "CustomResourceDefinitions read");
                    wakes.wake(None);
                }
            }
            Err(error) => {
                warn!(error = in_words(&error), "CustomResourceDefinitions cannot be read");
            }
        }
        let right = schema.borrow().is_some_and(|found| found >= SCHEMA);
        tokio::time::sleep(if right { AGAIN.1 } else { AGAIN.0 }).await;
    }
}

async fn installed_schema(
    definitions: &Api<PartialObjectMeta<CustomResourceDefinition>>,
) -> kube::Result<u32> {
    let mut lowest = u32::MAX;
    for wanted in trunkline_crds::definitions::all() {
        let found = definitions.get_opt(&wanted.name_any()).await?;
        let number = found.as_ref().and_then(|it| it.annotations().get(SCHEMA_ANNOTATION));
        lowest = lowest.min(number.and_then(|number| number.parse().ok()).unwrap_or(0));
    }
    Ok(lowest)
}

/// Says once that nothing will be done, on the leader's own pod.
pub async fn tell_when_old(
    events: Events,
    mut schema: Schema,
    mut leadership: Leadership,
    namespace: String,
    pod: String,
) {
    loop {
        if schema.wait_for(|found| found.is_some_and(|found| found < SCHEMA)).await.is_err() {
            return;
        }
        leadership.acquired().await;
        let note = too_old(*schema.borrow()).unwrap_or_default();
        error!("{note}");
        let event = Event {
            regarding: Regarding { kind: "Pod", name: pod.clone(), uid: String::new() },
            warning: true,
            reason: "DefinitionsTooOld",
            note,
        };
        if let Err(error) = events.publish(&namespace, &event).await {
            warn!(error = in_words(&error), "event not recorded");
        }
        if schema.wait_for(|found| found.is_some_and(|found| found >= SCHEMA)).await.is_err() {
            return;
        }
    }
}

/// What is wrong with the installed definitions, and what to do.
pub fn too_old(found: Option<u32>) -> Option<String> {
    let found = found.filter(|found| *found < SCHEMA)?;
    let what = match found {
        0 => "one of Trunkline's CustomResourceDefinitions is missing, or is not ours".to_owned(),
        _ => format!(
            "the CustomResourceDefinitions have schema {found}, this operator needs {SCHEMA}"
        ),
    };
    Some(format!(
        "{what}: nothing is changed and calls go on as they are; upgrade the chart with \
         crds.enabled=true, or run: trunkline-operator crds | kubectl apply --server-side -f -"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_definitions_are_explained_and_newer_ones_are_fine() {
        assert_eq!(too_old(None), None);
        assert_eq!(too_old(Some(SCHEMA)), None);
        assert_eq!(too_old(Some(SCHEMA + 1)), None);
        let why = too_old(Some(SCHEMA - 1)).unwrap();
        assert!(why.contains("calls go on") && why.contains("crds.enabled=true"), "{why}");
    }
}
