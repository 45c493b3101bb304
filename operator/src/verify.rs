//! `trunkline-operator verify`: whether an installation works, for `helm test`. Changes nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use trunkline_crds::{API_VERSION, SCHEMA, SCHEMA_ANNOTATION, Trunk};

use crate::cli;
use crate::client::in_words;
use crate::observe::poll;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

/// Prints a line for each check; an error is the sentence for the first that fails.
pub fn main(options: &cli::Verify) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config =
            kube::Config::infer().await.context("no way to the API server is configured")?;
        let client = Client::try_from(config)?;
        let deadline = Instant::now() + options.timeout;
        until(deadline, async || definitions(&client).await).await?;
        println!("ok: the CustomResourceDefinitions are established, schema {SCHEMA}");
        until(deadline, async || ready(&options.url).await).await?;
        println!("ok: the operator is ready");
        until(deadline, async || trunk(&client, &options.namespace).await).await?;
        println!("ok: a Trunk is accepted in namespace {} (dry run)", options.namespace);
        Ok(())
    })
}

/// Tries again until it succeeds or the time is up.
async fn until(
    deadline: Instant,
    mut check: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let result = match tokio::time::timeout(REQUEST_TIMEOUT, check()).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("no answer within {} s", REQUEST_TIMEOUT.as_secs())),
        };
        match result {
            Err(_) if Instant::now() + BETWEEN_ATTEMPTS < deadline => {
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            }
            result => return result,
        }
    }
}

async fn definitions(client: &Client) -> anyhow::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for wanted in trunkline_crds::definitions::all() {
        let name = wanted.name_any();
        let found = match definitions.get_opt(&name).await {
            Ok(Some(found)) => found,
            Ok(None) => bail!(
                "CustomResourceDefinition {name} is missing: install the chart with crds.enabled=true"
            ),
            Err(error) => {
                bail!("CustomResourceDefinition {name} cannot be read: {}", in_words(&error))
            }
        };
        let conditions = found.status.iter().flat_map(|status| &status.conditions).flatten();
        let established =
            conditions.into_iter().any(|it| it.type_ == "Established" && it.status == "True");
        if !established {
            bail!("CustomResourceDefinition {name} is not established yet");
        }
        let schema = found.annotations().get(SCHEMA_ANNOTATION).and_then(|it| it.parse().ok());
        if schema.is_none_or(|schema: u32| schema < SCHEMA) {
            bail!(
                "CustomResourceDefinition {name} is older than this operator: upgrade the chart with crds.enabled=true"
            );
        }
    }
    Ok(())
}

async fn ready(url: &str) -> anyhow::Result<()> {
    let url = format!("{}/readyz", url.trim_end_matches('/'));
    poll::get(&url, None, 64 * 1024, REQUEST_TIMEOUT)
        .await
        .with_context(|| format!("the operator is not ready: {url}"))?;
    Ok(())
}

async fn trunk(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let trunks: Api<Trunk> = Api::namespaced(client.clone(), namespace);
    let trunk: Trunk = serde_json::from_value(json!({
        "apiVersion": API_VERSION,
        "kind": "Trunk",
        "metadata": {"generateName": "verify-"},
        // A network for documentation (RFC 5737): no carrier is there.
        "spec": {"inbound": {"sources": ["192.0.2.0/24"]}},
    }))?;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match trunks.create(&params, &trunk).await {
        Ok(_) => Ok(()),
        Err(error) => {
            bail!("a Trunk is not accepted in namespace {namespace}: {}", in_words(&error))
        }
    }
}
