//! On a real Kubernetes of two nodes, which `bed` starts: what the API server takes and refuses, and
//! how the operator and its chart behave there.
//!
//! The tests share one cluster, each in a namespace of its own; one that breaks or changes what
//! belongs to the whole cluster starts its own. They wait on conditions, never for a time to pass.
//! Logs of all parts stay in the cluster's folder, which a failing start names.

mod bed;
mod carrier;
mod manifests;
mod release;
mod row;

mod balancers;
mod calls;
mod definitions;
mod drain;
mod failures;
mod ground;
mod nodes;
mod operators;
mod outages;
mod rights;
mod upgrade;
mod verdicts;
