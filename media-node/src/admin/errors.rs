//! Errors as the interface tells them: `{"error":{"code","message"}}` with the fitting status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::call::Unsendable;

/// A refusal. The code is for programs, the message for people.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// `not_found`, `unauthorized`, … from a fixed set.
    code: &'static str,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn unauthorized() -> Self {
        let message = "send the header Authorization: Bearer TOKEN with the pool's token";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(super) fn not_of_the_pool() -> Self {
        let message = "only nodes of the pool, who know its key, have something to say here";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(super) fn no_such_call() -> Self {
        let message = "no such call; ended calls are shown for ten minutes";
        Self::new(StatusCode::NOT_FOUND, "call_not_found", message)
    }

    pub(super) fn call_ended() -> Self {
        Self::new(StatusCode::CONFLICT, "call_ended", "the call has ended already")
    }

    pub(super) fn unsendable(why: Unsendable) -> Self {
        let code = match why {
            Unsendable::NoSuchCall => return Self::no_such_call(),
            Unsendable::NotActive => "call_not_active",
            Unsendable::NoWay => "dtmf_not_agreed",
            Unsendable::Busy => "dtmf_busy",
        };
        Self::new(StatusCode::CONFLICT, code, why.to_string())
    }

    pub(super) fn bad_body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_body", message)
    }

    pub(super) fn no_such_route() -> Self {
        let message = "no such path; /v1/openapi.json lists them";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "this path does not know that method; Allow lists those it knows";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    pub(super) fn bad_query(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_query", message)
    }

    pub(super) fn busy() -> Self {
        let message = "the node is too busy to answer; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    pub(super) fn not_ready(reasons: &[String]) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reasons.join("; "))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: ErrorDetail { code: self.code, message: self.message } };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"trunkline\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.code == "busy" {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
