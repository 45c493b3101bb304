//! `POST /v1/calls/{id}/dtmf`: keys pressed in a call.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::errors::{ApiError, ErrorBody};
use super::{AdminCommand, AdminState};
use crate::call::CallView;
use crate::media::{Digits, KeyTiming};

/// Keys to press.
// No `Debug`: they may be a PIN.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SendDigits {
    /// `0`-`9`, `*`, `#`, `A`-`D`; `w` is a pause of half a second, `W` of one, `,` of two. At most
    /// 128.
    #[schema(example = "42#", max_length = 128)]
    digits: String,
    /// How long each key is held: 40 to 5000, default 100.
    tone_milliseconds: Option<u32>,
    /// How long the pause behind each key is: 40 to 5000, default 60.
    gap_milliseconds: Option<u32>,
}

impl SendDigits {
    fn parse(&self) -> Result<Digits, ApiError> {
        let usual = KeyTiming::default();
        let or = |given: Option<u32>, usual: std::time::Duration| {
            given.unwrap_or(usual.as_millis() as u32)
        };
        let tone = or(self.tone_milliseconds, usual.tone());
        let gap = or(self.gap_milliseconds, usual.gap());
        let timing = KeyTiming::new(tone, gap).ok_or_else(|| {
            let (least, most) = (KeyTiming::SHORTEST_MS, KeyTiming::LONGEST_MS);
            let message = format!(
                "toneMilliseconds ({tone}) and gapMilliseconds ({gap}) are {least} to {most}"
            );
            ApiError::bad_body(message)
        })?;
        Digits::parse(&self.digits, timing)
            .map_err(|error| ApiError::bad_body(format!("digits: {error}")))
    }
}

/// Presses keys, as telephone-event, SIP INFO or tones, whichever the trunk's `spec.media.dtmf` and the
/// carrier agree on. Speech waits until they are sent.
#[utoipa::path(
    post,
    path = "/v1/calls/{id}/dtmf",
    operation_id = "send_dtmf",
    tag = "calls",
    params(("id" = String, Path, description = "The call's id")),
    request_body = SendDigits,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The keys are being sent; the call as it stood a moment ago", body = CallView),
        (status = 400, description = "A character that is no key, or a body that cannot be read", body = ErrorBody),
        (status = 401, description = "No token, or a wrong one", body = ErrorBody),
        (status = 404, description = "No such call", body = ErrorBody),
        (status = 409, description = "The call is not active, has no way for keys, or is still sending others", body = ErrorBody),
        (status = 503, description = "The node is too busy to answer", body = ErrorBody),
    )
)]
#[expect(clippy::disallowed_methods, reason = "handlers serve the network and read the clock")]
pub(super) async fn send(
    Extract(state): Extract<AdminState>,
    Path(id): Path<String>,
    body: Result<Json<SendDigits>, JsonRejection>,
) -> Result<(StatusCode, Json<CallView>), ApiError> {
    let now = std::time::Instant::now();
    let call = state.calls.find(now, &id).ok_or_else(ApiError::no_such_call)?;
    // What serde says of a body may repeat it, and a body holds keys.
    let Json(body) = body.map_err(|_| {
        ApiError::bad_body(
            "write JSON, with Content-Type: application/json: {\"digits\": \"42#\"}; \
             toneMilliseconds and gapMilliseconds may stand beside it",
        )
    })?;
    let digits = body.parse()?;
    let (reply, answer) = oneshot::channel();
    let command = AdminCommand::SendDigits { id, digits, reply };
    state.commands.try_send(command).map_err(|_| ApiError::busy())?;
    match answer.await {
        Ok(Ok(())) => Ok((StatusCode::ACCEPTED, Json(call))),
        Ok(Err(why)) => Err(ApiError::unsendable(why)),
        Err(_) => Err(ApiError::busy()),
    }
}
