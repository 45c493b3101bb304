//! What kubelets and pods do between two plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use trunkline_crds::MediaPool;

use super::{Sim, annotation};
use crate::names;
use crate::plan::config;
use crate::world::{
    AdvertisedReport, AgentReport, CallCounts, NodeState, NodeStatus, Poll, TrunkReport,
};

impl Sim {
    /// Places and starts pods, ends terminating ones without calls, and asks all for their status.
    pub(in crate::plan::tests) fn kubelet(&mut self) {
        let names: Vec<String> = self.world.pods.keys().cloned().collect();
        for name in names {
            let pod = self.world.pods[&name].clone();
            let node = pod.spec.as_ref().unwrap().node_name.clone();
            if pod.metadata.deletion_timestamp.is_some() {
                let alive = node.as_deref().is_some_and(|it| self.is_node_ready(it));
                if alive && self.calls.get(&name).copied().unwrap_or(0) == 0 {
                    self.remove_pod(&name);
                }
                continue;
            }
            let node = node.or_else(|| self.schedule(&name));
            let status = match &node {
                None => json!({"phase": "Pending", "conditions": [{"type": "PodScheduled",
                    "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available"}]}),
                Some(node) if !self.is_node_ready(node) => continue,
                Some(_) => self.start(&pod),
            };
            let status: PodStatus = serde_json::from_value(status).unwrap();
            if pod.status.as_ref() != Some(&status) || pod.spec.as_ref().unwrap().node_name != node
            {
                let serial = self.serial();
                let pod = Arc::make_mut(self.world.pods.get_mut(&name).unwrap());
                pod.metadata.resource_version = Some(serial.to_string());
                pod.spec.as_mut().unwrap().node_name = node;
                pod.status = Some(status);
            }
            self.poll(&name);
        }
    }

    /// The ready node with fewest pods.
    fn schedule(&self, _pod: &str) -> Option<String> {
        let on = |node: &str| {
            let pods = self.world.pods.values();
            pods.filter(|it| it.spec.as_ref().unwrap().node_name.as_deref() == Some(node)).count()
        };
        let nodes = self.world.nodes.as_ref().unwrap();
        let free = nodes.iter().filter(|(name, node)| {
            let cordoned = node.spec.as_ref().unwrap().unschedulable == Some(true);
            self.room && !cordoned && self.is_node_ready(name)
        });
        free.map(|(name, _)| name).min_by_key(|it| on(it)).cloned()
    }

    fn start(&self, pod: &Pod) -> Value {
        let image = pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
        if !self.good_images.contains(&image) {
            return json!({"phase": "Pending", "containerStatuses": [{"name": "media-node",
                "image": image, "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not there"}}}]});
        }
        let told = |key| annotation(pod, key).is_some();
        let ready = annotation(pod, names::DRAIN).is_none()
            && (told(names::ADDRESS) || self.is_static())
            && (told(names::SIP_ADDRESS) || !self.is_balanced());
        let before = pod.status.as_ref().and_then(|it| it.conditions.as_ref());
        let before = before.into_iter().flatten().find(|it| it.type_ == "Ready");
        let word = if ready { "True" } else { "False" };
        let since =
            before.filter(|it| it.status == word).and_then(|it| it.last_transition_time.clone());
        let since = since.unwrap_or(Time(self.now));
        let ip = "10.0.0.5";
        json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": ip,
            "hostIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": word, "lastTransitionTime": since}],
            "containerStatuses": [{"name": "media-node", "image": image, "imageID": "",
                "ready": ready, "restartCount": 0, "state": {"running": {}}}]})
    }

    fn is_static(&self) -> bool {
        let source = |it: &Arc<MediaPool>| it.spec.exposure.address.source.to_string();
        self.world.pools.values().any(|it| source(it) == "Static")
    }

    fn is_balanced(&self) -> bool {
        let mode = |it: &Arc<MediaPool>| it.spec.exposure.mode.to_string();
        self.world.pools.values().any(|it| mode(it) == "LoadBalancer")
    }

    fn poll(&mut self, name: &str) {
        if !self.process_up(name) {
            return;
        }
        let pod = self.world.pods[name].clone();
        let uid = pod.metadata.uid.clone().unwrap();
        let now = self.now;
        let pool = pod.metadata.labels.as_ref().unwrap()[names::POOL].clone();
        let before = self.world.polls.get(&uid).and_then(|it| it.status.as_ref());
        let hash = match before.filter(|_| self.stale.contains(name)) {
            Some(before) => before.config_hash.clone(),
            None => config::in_force(&self.world, &pool).map(config::hash).unwrap_or_default(),
        };
        // Of the time before a kubelet that stands still.
        let stuck = before.filter(|_| self.missed.contains(name));
        let calls = self.calls.get(name).copied().unwrap_or(0);
        let draining = match stuck {
            Some(before) => before.state == NodeState::Draining,
            None => annotation(&pod, names::DRAIN).is_some(),
        };
        let told = [names::ADDRESS, names::SIP_ADDRESS].map(|it| annotation(&pod, it));
        let told = told.into_iter().flatten().flat_map(|it| it.split(','));
        let advertised = told.map(|it| AdvertisedReport {
            address: it.to_owned(),
            reaches_us: self.reaches_us,
            message: format!("{it}:5061 over TLS: WORDS"),
        });
        let advertised = match stuck {
            Some(before) => before.advertised.clone(),
            None => advertised.collect(),
        };
        let status = NodeStatus {
            config_hash: hash,
            state: if draining { NodeState::Draining } else { NodeState::Ready },
            calls: CallCounts { active: calls, setup: 0 },
            capacity: 500,
            drained: self.drained.get(name).copied().unwrap_or(0),
            trunks: BTreeMap::from([(
                "carrier-a".into(),
                TrunkReport { calls, options: self.options.clone(), ..TrunkReport::default() },
            )]),
            agents: BTreeMap::from([(
                "support".into(),
                AgentReport { calls, connection: self.connections.get(name).cloned() },
            )]),
            advertised,
            rejected: self.rejected.clone(),
            ..NodeStatus::default()
        };
        let poll: &mut Poll = self.world.polls.entry(uid).or_default();
        match self.silent.contains(name) {
            true => poll.failed(now),
            false => poll.heard(status, now),
        }
    }
}
