//! What of each kind is kept, and which of its changes matter.

use k8s_openapi::api::core::v1::{Node, NodeSpec, Secret};
use kube::core::PartialObjectMeta;
use kube::{Resource, ResourceExt};

use super::feed::Kind;

/// `kubectl apply` keeps a copy of what it was given here, of a Secret too.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn metadata<K: Resource>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// Objects of people: what they wrote matters, the status is our own.
pub(super) fn spec<K: Resource>() -> Kind<K> {
    Kind {
        required: true,
        labels: None,
        trim: metadata,
        same: |old, new| {
            let essence = |it: &K| {
                let meta = it.meta();
                (meta.uid.clone(), meta.generation, meta.deletion_timestamp.clone())
            };
            essence(old) == essence(new)
        },
    }
}

/// Objects with certain labels: whatever changes matters.
pub(super) fn labelled<K: Resource>(selector: &str) -> Kind<K> {
    Kind { required: true, labels: Some(selector.to_owned()), trim: metadata, same: |_, _| false }
}

/// Nodes change their status all the time; where they are, whether they work and take pods does not.
pub(super) fn nodes() -> Kind<Node> {
    Kind {
        required: false,
        labels: None,
        trim: |node| {
            metadata(node);
            if let Some(status) = &mut node.status {
                status.images = None;
                status.volumes_attached = None;
                status.volumes_in_use = None;
            }
        },
        same: |old, new| {
            let essence = |node: &Node| {
                let status = node.status.clone().unwrap_or_default();
                let ready = status
                    .conditions
                    .unwrap_or_default()
                    .into_iter()
                    .find(|it| it.type_ == "Ready");
                let NodeSpec { unschedulable, taints, .. } = node.spec.clone().unwrap_or_default();
                (
                    (node.uid(), node.labels().clone(), node.metadata.deletion_timestamp.clone()),
                    (unschedulable, taints, status.addresses, ready.map(|it| it.status)),
                )
            };
            essence(old) == essence(new)
        },
    }
}

/// Secrets by name and version only.
pub(super) fn versions() -> Kind<PartialObjectMeta<Secret>> {
    Kind {
        required: true,
        labels: None,
        trim: |secret| {
            secret.metadata.managed_fields = None;
            secret.metadata.annotations = None;
            secret.metadata.labels = None;
            secret.metadata.owner_references = None;
        },
        same: |old, new| old.resource_version() == new.resource_version(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::NodeStatus;
    use serde_json::json;

    fn node(value: serde_json::Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    fn at(heartbeat: &str, ready: &str) -> Node {
        node(json!({
            "metadata": {"name": "a", "uid": "1"},
            "status": {
                "addresses": [{"type": "ExternalIP", "address": "198.51.100.7"}],
                "conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat}],
            },
        }))
    }

    #[test]
    fn a_heartbeat_of_a_node_is_no_news_and_its_loss_is() {
        let same = nodes().same;
        let before = at("2026-11-23T08:00:00Z", "True");
        assert!(same(&before, &at("2026-11-23T08:00:10Z", "True")));
        assert!(!same(&before, &at("2026-11-23T08:00:10Z", "Unknown")));
        let mut cordoned = before.clone();
        cordoned.spec.get_or_insert_default().unschedulable = Some(true);
        assert!(!same(&before, &cordoned));
        let moved = Node { status: Some(NodeStatus::default()), ..before.clone() };
        assert!(!same(&before, &moved));
    }

    #[test]
    fn a_copy_of_a_secret_is_not_kept() {
        let mut secret: PartialObjectMeta<Secret> = serde_json::from_value(json!({
            "metadata": {"name": "a", "resourceVersion": "7", "annotations": {LAST_APPLIED: "hunter2"}},
        }))
        .unwrap();
        (versions().trim)(&mut secret);
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(secret.resource_version().as_deref(), Some("7"));
    }
}
