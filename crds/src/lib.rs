//! The API of Trunkline: [`Trunk`], [`Agent`] and [`MediaPool`], once, for everything that reads
//! or writes them. No client, no async, no I/O.
//!
//! ```text
//!   trunk, agent, media_pool ──derive──▶ OpenAPI schema + CEL rules ──▶ yaml/ (committed)
//!              │                                   │
//!              │                                   └──▶ validate: the API server's verdict, offline
//!              └──▶ effective: written > preset > built-in ──▶ what a trunk really does
//! ```
//!
//! A field that a preset may fill is an `Option` without a schema default; every other default
//! is in the schema, so that a stored object shows it. Doc comments of fields are the text of
//! `kubectl explain`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![allow(rustdoc::bare_urls, reason = "field docs are read in kubectl explain, as they stand")]
#![allow(clippy::duplicated_attributes, reason = "every printcolumn has a type of its own")]
#![allow(unreachable_pub, reason = "KubeSchema repeats every public struct inside a function")]

#[macro_use]
mod text;

pub mod address;
pub mod agent;
pub mod conditions;
pub mod definitions;
pub mod effective;
pub mod media_pool;
pub mod preset;
pub mod refs;
pub mod trunk;
pub mod validate;

pub use agent::{Agent, AgentSpec, AgentStatus};
pub use media_pool::{MediaPool, MediaPoolSpec, MediaPoolStatus};
pub use preset::PresetName;
pub use trunk::{Trunk, TrunkSpec, TrunkStatus};

/// The API group of all kinds.
pub const GROUP: &str = "trunkline.dev";
/// The only version, served and stored.
pub const VERSION: &str = "v1alpha1";
/// Group and version as manifests write them.
pub const API_VERSION: &str = "trunkline.dev/v1alpha1";
/// Counts additions to the schema. An older CRD prunes newer fields without a word, so whoever
/// renders configuration compares this with [`SCHEMA_ANNOTATION`] of the installed CRDs first.
pub const SCHEMA: u32 = 1;
/// Where a CRD carries [`SCHEMA`].
pub const SCHEMA_ANNOTATION: &str = "trunkline.dev/schema";
