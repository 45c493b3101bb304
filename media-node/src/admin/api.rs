//! Routes, the token that guards them, and their description in OpenAPI.
#![expect(clippy::disallowed_methods, reason = "handlers serve the network and read the clock")]

use std::time::{Duration, Instant};

use aws_lc_rs::constant_time;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State as Extract};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use super::dtmf;
use super::errors::{ApiError, ErrorBody};
use super::status::{State, Status};
use super::{AdminCommand, AdminState, Filter, Relayed};
use crate::call::CallView;
use crate::call::record::CallState;
use crate::telemetry;

/// No request takes longer; a handler that would is stuck.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// What a request may say, but for what peers pass on.
const MAX_BODY_LEN_BYTES: usize = 64 * 1024;

/// A SIP message of the greatest size with what stands before it.
const MAX_FRAME_LEN_BYTES: usize = 128 * 1024;

/// The whole interface.
pub fn router(state: AdminState) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/calls", get(list_calls))
        .route("/v1/calls/{id}", get(show_call).delete(hang_up))
        .route("/v1/calls/{id}/dtmf", post(dtmf::send))
        .route("/v1/openapi.json", get(openapi_json))
        .route_layer(from_fn_with_state(state.clone(), authorize));
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        // Its bodies are sealed, which says more than a token.
        .route("/v1/relay", post(relay).layer(DefaultBodyLimit::max(MAX_FRAME_LEN_BYTES)))
        .merge(guarded)
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .fallback(async || ApiError::no_such_route())
        .layer(DefaultBodyLimit::max(MAX_BODY_LEN_BYTES))
        .layer(from_fn(limit_time))
        .with_state(state)
}

/// The description that `/v1/openapi.json` serves.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Trunkline media node",
        description = "Probes, metrics, status and calls of one media node.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        livez,
        readyz,
        metrics,
        status,
        list_calls,
        show_call,
        hang_up,
        dtmf::send,
        relay,
        openapi_json
    ),
    tags(
        (name = "calls", description = "Calls, live and just ended"),
        (name = "node", description = "The node itself"),
    ),
    modifiers(&Bearer),
)]
struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
            "The pool's token; none is asked for when a node run by hand has none.",
        ));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme.build()));
    }
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::busy().into_response(),
    }
}

async fn authorize(
    Extract(state): Extract<AdminState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(token) = (state.token)() else { return Ok(next.run(request).await) };
    let given = request.headers().get(header::AUTHORIZATION).and_then(bearer_token);
    let known = given.is_some_and(|given| {
        // An empty token is a mistake in a manifest, not a password.
        !token.is_empty() && constant_time::verify_slices_are_equal(given, token.expose()).is_ok()
    });
    match known {
        true => Ok(next.run(request).await),
        false => Err(ApiError::unauthorized()),
    }
}

/// `Bearer TOKEN` (RFC 6750 §2.1); the scheme's case does not matter (RFC 9110 §11.1).
fn bearer_token(header: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = header.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Answers when the process runs.
#[utoipa::path(get, path = "/livez", tag = "node", responses((status = 200, description = "Alive", body = String)))]
async fn livez() -> &'static str {
    "ok\n"
}

/// Answers 200 when new calls are taken.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "node",
    responses(
        (status = 200, description = "Ready", body = String),
        (status = 503, description = "Not ready, and why", body = ErrorBody),
    )
)]
async fn readyz(Extract(state): Extract<AdminState>) -> Result<&'static str, ApiError> {
    let status = (state.status)();
    match status.state {
        State::Ready => Ok("ok\n"),
        State::Draining if status.reasons.is_empty() => {
            Err(ApiError::not_ready(&["draining: calls go on, new ones are refused".to_owned()]))
        }
        State::Draining | State::NotReady => Err(ApiError::not_ready(&status.reasons)),
    }
}

/// Takes a SIP message, or an answer to one, that another node of the pool passes on.
#[utoipa::path(
    post,
    path = "/v1/relay",
    tag = "node",
    request_body(content_type = "application/octet-stream", description = "Sealed with a key of the pool"),
    responses(
        (status = 204, description = "Taken"),
        (status = 401, description = "Not sealed with the pool's key", body = ErrorBody),
        (status = 503, description = "Too much waits already", body = ErrorBody),
    )
)]
async fn relay(Extract(state): Extract<AdminState>, body: Bytes) -> Result<StatusCode, ApiError> {
    match (state.relay)(&body) {
        Relayed::Taken => Ok(StatusCode::NO_CONTENT),
        Relayed::Foreign => Err(ApiError::not_of_the_pool()),
        Relayed::Busy => Err(ApiError::busy()),
    }
}

/// Metrics for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "node",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
        (status = 401, description = "No token, or a wrong one", body = ErrorBody),
    )
)]
async fn metrics(Extract(state): Extract<AdminState>) -> impl IntoResponse {
    let Status { state: is, calls, capacity, strain, trunks, agents, .. } = (state.status)();
    let (ready, draining) = (is == State::Ready, is == State::Draining);
    state.metrics.set_load(calls.setup, calls.active, capacity, ready, draining);
    state.metrics.set_strain(strain.busy_permille, strain.late_permille);
    let asked = trunks.values().filter_map(|trunk| trunk.options.as_ref());
    state.metrics.set_carriers(asked.map(|it| it.ok));
    let tried = agents.values().filter_map(|agent| agent.connection.as_ref());
    state.metrics.set_agents(tried.map(|it| it.ok));
    ([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], state.metrics.write())
}

/// The node and how it fares.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "node",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Status", body = Status),
        (status = 401, description = "No token, or a wrong one", body = ErrorBody),
    )
)]
async fn status(Extract(state): Extract<AdminState>) -> Json<Status> {
    Json((state.status)())
}

/// A list of calls.
#[derive(Serialize, ToSchema)]
struct CallList {
    items: Vec<CallView>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallQuery {
    state: Option<String>,
    trunk: Option<String>,
    agent: Option<String>,
    limit: Option<usize>,
}

/// Live calls, the newest first, then those that ended in the last ten minutes.
#[utoipa::path(
    get,
    path = "/v1/calls",
    tag = "calls",
    params(
        ("state" = Option<CallState>, Query, description = "Only calls in this state"),
        ("trunk" = Option<String>, Query, description = "Only calls of this trunk"),
        ("agent" = Option<String>, Query, description = "Only calls of this agent"),
        ("limit" = Option<u32>, Query, description = "At most this many"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Calls", body = CallList),
        (status = 400, description = "A filter that is not known", body = ErrorBody),
        (status = 401, description = "No token, or a wrong one", body = ErrorBody),
    )
)]
async fn list_calls(
    Extract(state): Extract<AdminState>,
    query: Result<Query<CallQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<CallList>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_query(rejection.body_text()))?;
    let wanted = match query.state.as_deref() {
        None => None,
        Some("Trying") => Some(CallState::Trying),
        Some("Ringing") => Some(CallState::Ringing),
        Some("Active") => Some(CallState::Active),
        Some("Ended") => Some(CallState::Ended),
        Some(_) => {
            return Err(ApiError::bad_query("state is one of Trying, Ringing, Active, Ended"));
        }
    };
    let filter =
        Filter { state: wanted, trunk: query.trunk, agent: query.agent, limit: query.limit };
    Ok(Json(CallList { items: state.calls.list(Instant::now(), &filter) }))
}

/// One call, live or just ended.
#[utoipa::path(
    get,
    path = "/v1/calls/{id}",
    tag = "calls",
    params(("id" = String, Path, description = "The call's id")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The call", body = CallView),
        (status = 401, description = "No token, or a wrong one", body = ErrorBody),
        (status = 404, description = "No such call", body = ErrorBody),
    )
)]
async fn show_call(
    Extract(state): Extract<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<CallView>, ApiError> {
    state.calls.find(Instant::now(), &id).map(Json).ok_or_else(ApiError::no_such_call)
}

/// Hangs up. The call ends soon after the answer; its record says how.
#[utoipa::path(
    delete,
    path = "/v1/calls/{id}",
    tag = "calls",
    params(("id" = String, Path, description = "The call's id")),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The call is being ended; as it stood a moment ago", body = CallView),
        (status = 401, description = "No token, or a wrong one", body = ErrorBody),
        (status = 404, description = "No such call", body = ErrorBody),
        (status = 409, description = "The call has ended already", body = ErrorBody),
        (status = 503, description = "The node is too busy to answer", body = ErrorBody),
    )
)]
async fn hang_up(
    Extract(state): Extract<AdminState>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<CallView>), ApiError> {
    let call = state.calls.find(Instant::now(), &id).ok_or_else(ApiError::no_such_call)?;
    if call.state == CallState::Ended {
        return Err(ApiError::call_ended());
    }
    let (reply, answer) = oneshot::channel();
    let command = AdminCommand::HangUp { id, reply };
    state.commands.try_send(command).map_err(|_| ApiError::busy())?;
    match answer.await {
        Ok(true) => Ok((StatusCode::ACCEPTED, Json(call))),
        Ok(false) => Err(ApiError::call_ended()),
        Err(_) => Err(ApiError::busy()),
    }
}

/// This description.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "node",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"),
        (status = 401, description = "No token, or a wrong one", body = ErrorBody),
    )
)]
async fn openapi_json() -> Json<utoipa::openapi::OpenApi> {
    Json(openapi())
}
